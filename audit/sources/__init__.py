"""One reader per format of capture: from a file to the records of `audit.records`.

The format is told by the content, never by the name. Everything in a file is accounted for as a
transmission, a flow or a gap. A source knows nothing of detectors and undoes no content coding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from audit.records import AnyRecord, Phase
from audit.sources.bad_capture import BadCapture
from audit.sources.opening import Opened, opened
from audit.sources.shape import AsRecords, Shape

__all__ = ["BadCapture", "Wanted", "capture_format", "read", "read_as"]

T = TypeVar("T")

_HEAD = 4096  # bytes that tell the format
_SUPPORTED = "give a mitmproxy flow file, a HAR file, a pcap or a pcapng"
# micro- and nanoseconds and Kuznetzov's variant, in both byte orders
_PCAP = re.compile(rb"\xa1\xb2(\xc3\xd4|\x3c\x4d|\xcd\x34)|(\xd4\xc3|\x4d\x3c|\x34\xcd)\xb2\xa1", re.DOTALL)


class Wanted(NamedTuple):
    """What the asker wants of a capture and knows of it: the kinds of records (None: all), the addresses
    of the device (of use in packet captures), and how many processes may work at it. `keys` are key
    logs that may open encrypted connections of packet captures; with `bodies`, those of responses are kept.
    `phases` divide the counts of flows in packet captures. With `more`, a packet capture that grows is
    followed: it is asked whenever there is nothing new, waits a moment, and says whether to go on."""

    kinds: frozenset[str] | None = None
    device: tuple[str, ...] = ()
    jobs: int = 1
    keys: tuple[Path, ...] = ()
    bodies: bool = False
    phases: tuple[Phase, ...] = ()
    more: Callable[[], bool] | None = None


class Format(NamedTuple):
    """A format: its name, how its first bytes look, and its reader."""

    name: str
    magic: re.Pattern[bytes]
    records: Callable[[Path, Opened, str, Wanted, Shape[Any]], Iterator[Any]]


def _har(path: Path, source: Opened, capture: str, wanted: Wanted, shape: Shape[Any]) -> Iterator[Any]:
    from audit.sources import har

    return map(shape.record, _of_kinds(har.records(path, source, capture), wanted))


def _events(path: Path, source: Opened, capture: str, wanted: Wanted, shape: Shape[Any]) -> Iterator[Any]:
    from audit.sources import events

    return map(shape.record, _of_kinds(events.records(path, source, capture), wanted))


def _app_privacy(
    path: Path, source: Opened, capture: str, wanted: Wanted, shape: Shape[Any]
) -> Iterator[Any]:
    from audit.sources import app_privacy

    return map(shape.record, _of_kinds(app_privacy.records(path, source, capture), wanted))


def _app_lists(path: Path, source: Opened, capture: str, wanted: Wanted, shape: Shape[Any]) -> Iterator[Any]:
    from audit.sources import app_lists

    return map(shape.record, _of_kinds(app_lists.records(path, source, capture), wanted))


def _mitm(path: Path, source: Opened, capture: str, wanted: Wanted, shape: Shape[Any]) -> Iterator[Any]:
    # mitmproxy takes longer to import than a small capture to read
    from audit.sources import mitm

    return map(shape.record, _of_kinds(mitm.records(path, source, capture, bodies=wanted.bodies), wanted))


def _pcap(path: Path, source: Opened, capture: str, wanted: Wanted, shape: Shape[Any]) -> Iterator[Any]:
    from audit.sources.pcap import reading

    kinds = reading.KINDS if wanted.kinds is None else wanted.kinds
    return reading.read(
        path,
        source,
        capture,
        kinds=kinds,
        device=wanted.device,
        jobs=wanted.jobs,
        phases=wanted.phases,
        more=wanted.more,
        keys=wanted.keys,
        bodies=wanted.bodies,
        shape=shape,
    )


def _of_kinds(records: Iterator[AnyRecord], wanted: Wanted) -> Iterator[AnyRecord]:
    kinds = wanted.kinds
    return records if kinds is None else (r for r in records if r.__struct_config__.tag in kinds)


# the first line of an App Privacy Report, or a line of one; the head of a list of connections
_APP_PRIVACY = re.compile(
    rb'\s*\{[^\r\n]{0,4000}"(_marker"\s*:\s*"<metadata>|type"\s*:\s*"(networkActivity|access))"'
)
_APP_LIST = re.compile(
    rb"(?i)(\xef\xbb\xbf)?(?=[^\r\n]*[,;\t])([^\r\n{}\0]{0,1000}[,;\t])?[\" ]*(IPProto|DstIp|daddr|BytesSent)"
    rb"[\" ]*([,;\t]|\r?\n|\Z)"
)

FORMATS = (
    Format("events", re.compile(rb'\s*\{"event":"'), _events),
    Format("app-privacy-report", _APP_PRIVACY, _app_privacy),
    Format("connection-list", _APP_LIST, _app_lists),
    Format("har", re.compile(rb"(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\0\s]*\{"), _har),
    Format("mitm", re.compile(rb"\d{1,12}:(\d|\}|$)"), _mitm),
    Format("pcapng", re.compile(rb"\x0a\x0d\x0d\x0a"), _pcap),
    Format("pcap", _PCAP, _pcap),
    Format("snoop", re.compile(rb"snoop\0\0\0"), _pcap),
)


def capture_format(path: Path) -> str:
    """The name of the format of `path`: `mitm`, `har`, `pcap`, `pcapng`, `events`,
    `app-privacy-report`, `connection-list`.

    Raises:
        BadCapture: it cannot be read, or is of no supported format.
    """
    with opened(path, path.name) as source:
        return _format(path, source).name


def read(path: Path, capture: str, wanted: Wanted = Wanted()) -> Iterator[AnyRecord]:  # noqa: B008 - immutable
    """The records of a capture, in its order. `capture` is the name the records carry.

    Raises:
        BadCapture: before the first record, if nothing at all can be read.
    """
    return read_as(AsRecords(), path, capture, wanted)


def read_as(shape: Shape[T], path: Path, capture: str, wanted: Wanted) -> Iterator[T]:
    """What `shape` makes of the records, in the same order."""
    with opened(path, capture) as source:
        known = _format(path, source)
        if wanted.more is not None and (known.records is not _pcap or not source.plain):
            raise BadCapture(path, "it cannot be followed", "only uncompressed packet captures can")
        yield from known.records(path, source, capture, wanted, shape)
        if source.gap is not None and (wanted.kinds is None or "gap" in wanted.kinds):
            yield shape.record(source.gap)


def _format(path: Path, source: Opened) -> Format:
    head = source.file.read(_HEAD)
    source.file.seek(0)
    for known in FORMATS:
        if known.magic.match(head):
            return known
    raise BadCapture(path, "no known capture format", _SUPPORTED)
