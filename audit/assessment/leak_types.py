"""Which leak type a sighting is evidence of, and how severe a finding of that type is.

The types and their base severities are data (leak_types.toml); the few rules that need the evidence at
hand are here. Nothing here looks at bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Set as AbstractSet
from functools import cache
from importlib.resources import files

from msgspec import Struct, convert

from audit.adapters.model import Role
from audit.detection.addresses import parse_address
from audit.records import Canary, Granularity, Severity

_LEVELS: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
_NAME_ONLY = ("dns", "sni")
_BY_GRANULARITY: dict[Granularity, str] = {
    "full": "B1", "no_scheme": "B1", "no_query": "B3", "path": "B3", "host": "B6", "registrable_domain": "B6",
}  # fmt: skip
_HASHED = {"B1": "B5", "B3": "B5", "B6": "B7"}
_PAGES = ("B1", "B3")


class LeakType(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table. `feature_level` applies where a declared feature of the recipient explains
    the transmission. `kinds` of endpoints and `roles` of fields, as adapters tell them, make a value of this
    type."""

    score: int
    level: Severity
    feature_level: Severity | None = None
    kinds: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    opted_out: tuple[str, ...]
    types: dict[str, LeakType]


@cache
def table() -> Table:
    """The table as shipped; raises msgspec.ValidationError if it was damaged."""
    return convert(tomllib.loads(files(__package__).joinpath("leak_types.toml").read_text("utf-8")), Table)


def leak_type(
    canary: Canary,
    granularity: Granularity,
    form: str,
    channel: str,
    typed: bool,
    *,
    role: Role | None = None,
    kinds: AbstractSet[str] = frozenset(),
) -> str:
    """The type's code. `typed`: seen letter by letter, or where only typed text goes. `role` is what an
    adapter says of the field, `kinds` what it says of the endpoint."""
    if canary.kind != "url" and not typed and not kinds.isdisjoint(table().types["B2"].kinds):
        return "B2"
    if canary.kind == "url" and channel in _NAME_ONLY and not typed:
        return "D1"
    if typed or canary.kind == "text":
        return "S2"
    if canary.kind == "term":
        return "S1"
    if canary.kind == "title":
        return "B3"
    if canary.kind == "identifier":
        return "I3"
    address = parse_address(canary.value)
    code = "B6" if address and address.bare else _BY_GRANULARITY.get(granularity, "B6")
    if form != "plain":
        return _HASHED[code]
    return "B4" if code in _PAGES and role in table().types["B4"].roles else code


def severity(
    code: str, mode: str, setting: str | None, *, expected: bool, feature: bool, identified: bool
) -> Severity:
    """How severe a finding is. What is expected is information only."""
    known = table()
    row = known.types[code]
    if expected or row.level == "info":
        return "info"
    level = row.feature_level if feature and row.feature_level else row.level
    steps = (mode == "private") + (setting in known.opted_out) + identified
    return _LEVELS[min(_LEVELS.index(level) + steps, len(_LEVELS) - 1)]
