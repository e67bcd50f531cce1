"""The structure of a mitmproxy flow file: where each flow lies, and its last readable state.

A file is a row of typed netstrings, one per state of a flow. A flow may have been written several times (our
recorder writes it when the request is complete and again when the flow has ended): the last readable state
counts, at the place of the first. A first pass keeps only where the states of each flow lie, the second
reads one flow at a time. What a frame holds is brought to today's format version by mitmproxy's migrations,
so every version that the installed mitmproxy reads is read here.

It must never lose what lies before the damage. Source: mitmproxy.io.io, mitmproxy.io.compat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, NamedTuple

from mitmproxy import version as mitmproxy_version
from mitmproxy.io import compat

from audit.records import Gap
from audit.sources import tnetstring, values
from audit.sources.flowstate import AnyFlow, flow_of

MAX_FLOW = 1 << 30  # bytes of one flow that are taken into memory
MAX_GAPS = 10_000  # unreadable flows after which the file is given up


@dataclass(slots=True)
class Places:
    """Where the states of one flow lie, oldest first. Up to format version 11 a WebSocket's messages were a
    flow of their own, which points to the flow with its handshake."""

    offsets: list[int] = field(default_factory=list)
    connection: bytes | None = None
    handshake: bytes | None = None
    merged: bool = False


@dataclass(slots=True)
class Index:
    """What the first pass found, in order of first appearance. `left` counts the flows per connection."""

    flows: dict[bytes, Places] = field(default_factory=dict)
    left: dict[bytes, int] = field(default_factory=dict)
    readable: int = 0
    unsupported: tuple[int, str] | None = None
    gaps: list[Gap] = field(default_factory=list)


class _Frame(NamedTuple):
    offset: int
    flow: tnetstring.Element


def _frame(file: BinaryIO, size: int, offset: int) -> _Frame | Gap:
    """The typed netstring at `offset`, or why it cannot be had; `bytes` of the gap are those affected."""

    def gap(reason: Literal["truncated", "malformed", "limit"], count: int, detail: str) -> Gap:
        return Gap(capture="", reason=reason, offset=offset, bytes=count, detail=detail)

    rest = size - offset
    file.seek(offset)
    head = file.read(13)
    header = tnetstring.HEADER.match(head)
    if header is None:
        if head.isdigit() and rest < 13:
            return gap("truncated", rest, "the file ends within a flow")
        return gap("malformed", rest, "not a flow; what follows cannot be read")
    whole = header.end() + int(header[1]) + 1
    if whole > rest:
        if tnetstring.HEADER.match(head, header.end()) or head[header.end() :].isdigit() or rest < 13:
            return gap("truncated", rest, "the file ends within a flow")
        return gap("malformed", rest, "not a flow; what follows cannot be read")
    if whole > MAX_FLOW:
        return gap("limit", whole, f"a flow of more than {MAX_FLOW} bytes was not read")
    file.seek(offset + header.end())
    data = file.read(whole - header.end())
    if len(data) < whole - header.end():
        return gap("truncated", rest, "the file ends within a flow")
    return _Frame(offset, tnetstring.Element(data, 0, len(data) - 1))


def index_of(file: BinaryIO, size: int) -> Index:
    """Walk over the frames, looking only at what tells flows apart."""
    index = Index()
    offset = 0
    while offset < size:
        frame = _frame(file, size, offset)
        if isinstance(frame, Gap):
            index.gaps.append(frame)
            if frame.reason != "limit":
                break
            offset += frame.bytes or size
            continue
        whole = file.tell() - offset
        try:
            _note(index, frame)
        except ValueError as error:
            index.gaps.append(_malformed(offset, whole, error))
        offset += whole
        if len(index.gaps) > MAX_GAPS:
            detail = f"more than {MAX_GAPS} flows cannot be read; the rest of the file was not looked at"
            index.gaps.append(
                Gap(capture="", reason="limit", offset=offset, bytes=size - offset, detail=detail)
            )
            break
    _merge_handshakes(index)
    return index


def _note(index: Index, frame: _Frame) -> None:
    """Enter one frame into the index.

    Raises:
        ValueError: it holds no flow.
    """
    facts = dict(tnetstring.members(frame.flow))
    if b"version" not in facts:
        raise ValueError("a flow without a version")
    number = tnetstring.parse(facts[b"version"])
    if not _is_supported(number):
        shown = ".".join(map(str, number)) if isinstance(number, list) else str(number)
        detail = f"flow format version {shown[:40]} is not read by {mitmproxy_version.MITMPROXY}"
        index.unsupported = index.unsupported or (frame.offset, detail)
        index.gaps.append(Gap(capture="", reason="unsupported", offset=frame.offset, detail=detail))
        return
    if b"id" not in facts:
        raise ValueError("a flow without an id")
    index.readable += 1
    flow = facts[b"id"].payload
    places = index.flows.setdefault(flow, Places())
    places.offsets.append(frame.offset)
    if b"type" in facts and facts[b"type"].payload == b"websocket":
        places.handshake = _member(facts.get(b"metadata"), b"websocket_handshake")
    if places.connection is None:
        places.connection = _member(facts.get(b"client_conn"), b"id")
        if places.connection is not None:
            index.left[places.connection] = index.left.get(places.connection, 0) + 1


def _member(part: tnetstring.Element | None, name: bytes) -> bytes | None:
    """The text of one member of a dictionary."""
    if part is None or part.kind != tnetstring.DICT:
        return None
    for key, value in tnetstring.members(part):
        if key == name and value.kind in (tnetstring.TEXT, tnetstring.BYTES):
            return value.payload
    return None


def _is_supported(number: object) -> bool:
    """Whether the installed mitmproxy reads this format version."""
    if isinstance(number, list):
        return all(isinstance(part, int) for part in number) and tuple(number[:2]) in compat.converters
    if not isinstance(number, int):
        return False
    return number == mitmproxy_version.FLOW_FORMAT_VERSION or number in compat.converters


def _merge_handshakes(index: Index) -> None:
    """A flow that is only the handshake of a WebSocket flow comes with that one, not by itself."""
    for flow in list(index.flows.values()):
        handshake = index.flows.get(flow.handshake) if flow.handshake else None
        if handshake is None or handshake.handshake is not None:
            flow.handshake = None
        elif not handshake.merged:
            handshake.merged = True
            if handshake.connection is not None:
                index.left[handshake.connection] -= 1


def _malformed(offset: int | None, count: int | None, error: Exception) -> Gap:
    return Gap(
        capture="",
        reason="malformed",
        offset=offset,
        bytes=count,
        detail=values.text(f"a flow that cannot be read ({str(error)[:120]})"),
    )


def states(file: BinaryIO, size: int, index: Index, places: Places) -> Iterator[AnyFlow | Gap]:
    """The last readable state of a flow, after a gap for each later one that cannot be read."""
    handshake = index.flows[places.handshake].offsets if places.handshake else []
    for offset in reversed((*handshake, *places.offsets)):
        try:
            if handshake:  # mitmproxy's migration keeps the handshake until the messages come
                _migrated(file, size, handshake[-1])
            state = _migrated(file, size, offset)
            flow = flow_of(state)
        except Exception as error:  # noqa: BLE001, RUF100 - migrations of a hostile flow raise anything
            yield _malformed(offset, None, error)
            continue
        yield flow
        return


def _migrated(file: BinaryIO, size: int, offset: int) -> Any:
    frame = _frame(file, size, offset)
    if isinstance(frame, Gap):
        raise ValueError(frame.detail)
    state: Any = tnetstring.parse(frame.flow)
    return compat.migrate_flow(state)
