"""Fuzz targets of the parsers of wire formats, one for each way into one of them."""

from __future__ import annotations

from tests.fuzz.targets import Target
from tests.protocols.test_hostile import ENTRIES, SEEDS

TARGETS = {
    name: Target(entry, tuple(map(bytes.fromhex, SEEDS.get(name, ())))) for name, entry in ENTRIES.items()
}
