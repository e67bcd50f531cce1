"""Fuzz targets that take a whole HAR or flow file, as `inspect` reads it, or one with a single odd value."""

from __future__ import annotations

import msgspec
from mitmproxy.io import tnetstring

from audit.sources import BadCapture
from tests.fuzz.reading import capture
from tests.fuzz.targets import Target
from tests.sources import test_hostile as sources


def har_entry(data: bytes) -> None:
    """A HAR whose only oddity is one value, somewhere in an entry."""
    path, new = _oddity(data, sources.places(sources.ENTRY))
    if not isinstance(new, bytes):
        entry = sources.replaced(sources.ENTRY, path, new)
        capture(msgspec.json.encode({"log": {"entries": [entry]}}))


def flow_state(data: bytes) -> None:
    """A flow file whose only oddity is one value, somewhere in a flow."""
    path, new = _oddity(data, sources.places(sources.STATE))
    capture(tnetstring.dumps(sources.replaced(sources.STATE, path, new)))  # type: ignore[arg-type]


def _oddity(data: bytes, places: list[tuple[str | int, ...]]) -> tuple[tuple[str | int, ...], object]:
    """A place by the first two bytes, and a value for it: the JSON of the others, or just these bytes."""
    place = places[int.from_bytes(data[:2], "big") % len(places)]
    try:
        return place, msgspec.json.decode(data[2:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return place, data[2:]


_FILES = (BadCapture,)
_ODDITIES = tuple(
    place.to_bytes(2, "big") + value
    for place in range(0, 90, 3)
    for value in (
        b"-1",
        b"null",
        b'"http://[a"',
        b'[{"a":1.5}]',
        b"\xff\xfe",
        b"1e300",
        b"18446744073709551615",
    )
)

TARGETS = {
    "har": Target(capture, (sources.HAR,), _FILES),
    "har-entries": Target(har_entry, _ODDITIES, _FILES),
    "flow-file": Target(capture, (sources.FLOWS,), _FILES),
    "flow-states": Target(flow_state, _ODDITIES, _FILES),
}
