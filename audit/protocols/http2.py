"""HTTP/2 as seen from aside: frames and header blocks of both directions, read passively.

RFC 9113, and RFC 7541 (HPACK) through the hpack library. Flow control, priorities and the legality of
what is sent are the endpoints' business. A header table is shared state: after a late start or a loss
only what was added since is known, so a field that refers to older entries is told as unknown (None)
and never as another one. Must never raise, nor hold more than one frame and one header block.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hpack import Decoder
from hpack.exceptions import HPACKDecodingError, HPACKError
from hpack.table import HeaderTable

from audit.protocols import resync

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 1 << 20
"""Largest frame believed; peers allow up to 2^24, and in practice 2^14."""
MAX_BLOCK = 1 << 18
MAX_TABLE = 1 << 20
_CERTAIN_ENTRY = 4096 - 32 - 256
"""An entry of this size fits any table in use, also if its name is unknown and up to 256 bytes long."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
_END_STREAM, _END_HEADERS, _PADDED, _WITH_PRIORITY = 1, 4, 8, 32

Field = tuple[str | None, str | None]
"""Name and value as latin-1; None for what an unknown entry of the header table holds."""


class Fields(NamedTuple):
    """A header block. `kind`: request, response, informational, trailers or push.

    For `push`, `stream` is the promised one. `known` is False if any field is unknown.
    """

    response: bool
    stream: int
    kind: str
    fields: tuple[Field, ...]
    end: bool
    known: bool


class Data(NamedTuple):
    """The content of a DATA frame, or of a part of it where bytes were lost (`lost` of them, before it)."""

    response: bool
    stream: int
    data: bytes
    end: bool
    lost: int


class Reset(NamedTuple):
    """A stream was given up; `code` as in RFC 9113, 7."""

    response: bool
    stream: int
    code: int


class Away(NamedTuple):
    """The sender goes away; streams above `last` were not acted upon."""

    response: bool
    last: int
    code: int


class Unread(NamedTuple):
    """Something that could not be read: `reason` is lost, malformed, hpack or limit."""

    response: bool
    stream: int
    reason: str
    size: int


Event = Fields | Data | Reset | Away | Unread


_MAXSIZE: property = HeaderTable.__dict__["maxsize"]


class _Table(HeaderTable):
    """A header table whose older entries may be unknown: they are read as empty names and values.

    Entries are counted from the newest, so those added since are found under their true number, and to
    evict later than the sender does is harmless. Only an entry that may be too large for the sender's
    table, which then empties it, makes all numbers uncertain: from then on everything is unknown.
    """

    def __init__(self) -> None:
        super().__init__()
        self._late = False
        self._blind = False

    def get_by_index(self, index: int) -> tuple[bytes, bytes]:
        try:
            found: tuple[bytes, bytes] = super().get_by_index(index)
        except HPACKDecodingError:
            if not self._late or index < 1:
                raise
            return b"", b""
        return found

    def add(self, name: bytes, value: bytes) -> None:
        if self._late and len(name) + len(value) > _CERTAIN_ENTRY:
            _MAXSIZE.__set__(self, 0)
            self._blind = True
        elif not self._blind:
            super().add(name, value)

    def forget(self) -> None:
        """From now on only later entries are known."""
        self._late = True
        self._blind = False
        _MAXSIZE.__set__(self, 0)
        _MAXSIZE.__set__(self, MAX_TABLE)

    @property
    def maxsize(self) -> int:
        return int(_MAXSIZE.__get__(self))

    @maxsize.setter
    def maxsize(self, size: int) -> None:
        if size == 0:
            # emptied by the sender: all is known again
            self._late = self._blind = False
        _MAXSIZE.__set__(self, size)


def _new_decoder() -> tuple[Decoder, _Table]:
    decoder = Decoder(max_header_list_size=MAX_BLOCK)
    table = _Table()
    decoder.header_table = table
    decoder.max_allowed_table_size = MAX_TABLE
    return decoder, table


# Length below 2^16, type with flags that it may have, and a stream id below 2^24.
_CANDIDATE = re.compile(
    rb"(?s)\x00..(?:\x00[\x00\x01\x08\x09]|\x01[\x00-\x2d]|\x05[\x00-\x0c]|[\x04\x06][\x00\x01]|[\x02\x03\x07\x08]\x00|\x09[\x00\x04])\x00"
)
_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_CONNECTION = frozenset({SETTINGS, PING, GOAWAY})


def _measure(data: bytes, at: int) -> int:
    """Length of a plausible frame (for resync and for starts without a preface)."""
    if len(data) < at + 9:
        return resync.MORE
    size = int.from_bytes(data[at : at + 3], "big")
    kind = data[at + 3]
    stream = int.from_bytes(data[at + 5 : at + 9], "big")
    fits = _SIZES.get(kind, size) == size and size <= 1 << 16 and stream < 1 << 24 and kind <= CONTINUATION
    if kind in _CONNECTION:
        fits = fits and stream == 0 and (kind != SETTINGS or not size % 6) and (kind != GOAWAY or size >= 8)
    elif kind != WINDOW_UPDATE:
        fits = fits and stream > 0
    return 9 + size if fits else resync.NO


class Direction:
    """One direction of a connection. A client's begins with the preface unless `late`."""

    def __init__(self, response: bool, *, late: bool = False) -> None:
        self._response = response
        self._buffer = b""
        self._decoder, self._table = _new_decoder()
        self._block = b""
        self._open: tuple[int, int, bool] | None = None
        self._first = True
        self._lost = False
        self._skipped = 0
        self._body: tuple[int, int, bool] | None = None
        if late:
            self._lost = True
            self._table.forget()

    def feed(self, data: bytes) -> list[Event]:
        """What is complete with these bytes."""
        events: list[Event] = []
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if self._body is not None:
            at = self._rest_of_data(buffer, events)
        while at < len(buffer):
            if self._lost:
                start, found = resync.find(buffer[at:], _CANDIDATE, 9, _measure)
                at += start
                self._skipped += start
                if not found:
                    break
                self._found(events)
            if self._first and not self._begin(buffer[at : at + len(PREFACE)]):
                break
            if self._first:
                self._first = False
                if buffer.startswith(PREFACE, at):
                    at += len(PREFACE)
                continue
            if len(buffer) - at < 9:
                break
            size = int.from_bytes(buffer[at : at + 3], "big")
            if size > MAX_FRAME:
                events.append(Unread(self._response, 0, "malformed", 0))
                self._lose()
                continue
            if len(buffer) - at < 9 + size:
                break
            self._frame(
                buffer[at + 3],
                buffer[at + 4],
                buffer[at + 5 : at + 9],
                buffer[at + 9 : at + 9 + size],
                events,
            )
            at += 9 + size
        self._buffer = buffer[at:]
        return events

    def gap(self, size: int) -> list[Event]:
        """`size` bytes are missing here. Inside a DATA frame only they are lost; else also the table."""
        events: list[Event] = []
        buffer = self._buffer
        if size <= 0:
            return events
        frame = 9 + int.from_bytes(buffer[:3], "big")
        whole = (
            len(buffer) >= 9
            and buffer[3] == DATA
            and not buffer[4] & _PADDED
            and not self._lost
            and not self._first
        )
        if self._body is None and whole and len(buffer) + size <= frame <= MAX_FRAME and self._open is None:
            stream = int.from_bytes(buffer[5:9], "big") & 0x7FFFFFFF
            end = bool(buffer[4] & _END_STREAM)
            if len(buffer) > 9:
                events.append(Data(self._response, stream, buffer[9:], False, 0))
            self._buffer = b""
            self._body = (stream, frame - len(buffer), end)
        if self._body is not None and size <= self._body[1]:
            stream, left, end = self._body
            left -= size
            events.append(Data(self._response, stream, b"", end and not left, size))
            self._body = (stream, left, end) if left else None
            return events
        self._body = None
        self._skipped += len(self._buffer) + size
        self._buffer = b""
        self._lose()
        return events

    def finish(self) -> list[Event]:
        """The direction ended: data of a cut DATA frame, and what could not be read."""
        events: list[Event] = []
        buffer, self._buffer = self._buffer, b""
        if self._lost and buffer:
            start, found = resync.find(buffer, _CANDIDATE, 9, _measure, end=True)
            if found:
                self._skipped += start
                self._found(events)
                events += self.feed(buffer[start:])
                buffer, self._buffer = self._buffer, b""
        if not self._lost and len(buffer) > 9 and buffer[3] == DATA and not buffer[4] & _PADDED:
            stream = int.from_bytes(buffer[5:9], "big") & 0x7FFFFFFF
            events.append(Data(self._response, stream, buffer[9:], False, 0))
        elif buffer or self._skipped:
            events.append(Unread(self._response, 0, "lost", self._skipped + len(buffer)))
        return events

    def _begin(self, head: bytes) -> bool:
        """Whether the first bytes decide how this direction starts; without its preface it is late."""
        if self._response:
            # a server begins with its settings (RFC 9113, 3.4)
            if len(head) < 9:
                return False
            if head[3] != SETTINGS or _measure(head, 0) == resync.NO:
                self._table.forget()
            if _measure(head, 0) == resync.NO:
                self._lose()
                self._first = False
            return True
        if head != PREFACE[: len(head)]:
            self._table.forget()
            self._lost = True
            return True
        return len(head) == len(PREFACE)

    def _lose(self) -> None:
        """Frames are lost, and with them perhaps entries of the header table."""
        self._lost = True
        self._first = False
        self._open = None
        self._block = b""
        self._table.forget()

    def _found(self, events: list[Event]) -> None:
        if self._skipped:
            events.append(Unread(self._response, 0, "lost", self._skipped))
        self._skipped = 0
        self._lost = False
        self._first = False

    def _rest_of_data(self, buffer: bytes, events: list[Event]) -> int:
        """Go on in a DATA frame that lost bytes; returns the offset behind what was taken."""
        if self._body is None:
            return 0
        stream, left, end = self._body
        part = buffer[:left]
        left -= len(part)
        events.append(Data(self._response, stream, part, end and not left, 0))
        self._body = (stream, left, end) if left else None
        return len(part)

    def _frame(self, kind: int, flags: int, stream_id: bytes, body: bytes, events: list[Event]) -> None:
        stream = int.from_bytes(stream_id, "big") & 0x7FFFFFFF
        if self._open is not None and (kind != CONTINUATION or stream != self._open[0]):
            # a header block may not be interrupted (RFC 9113, 4.3)
            events.append(Unread(self._response, self._open[0], "malformed", len(self._block)))
            self._open = None
            self._block = b""
            self._table.forget()
        if flags & _PADDED and kind in {DATA, HEADERS, PUSH_PROMISE}:
            padding = body[0] if body else 256
            if padding >= len(body):
                events.append(Unread(self._response, stream, "malformed", len(body)))
                if kind != DATA:
                    self._table.forget()
                return
            body = body[1 : len(body) - padding]
        if kind == DATA:
            events.append(Data(self._response, stream, body, bool(flags & _END_STREAM), 0))
        elif kind == HEADERS:
            self._open = (stream, stream, bool(flags & _END_STREAM))
            self._add(body[5:] if flags & _WITH_PRIORITY else body, flags, events)
        elif kind == PUSH_PROMISE:
            self._open = (stream, -(int.from_bytes(body[:4], "big") & 0x7FFFFFFF), False)
            self._add(body[4:], flags, events)
        elif kind == CONTINUATION and self._open is not None:
            self._add(body, flags, events)
        elif kind == CONTINUATION:
            events.append(Unread(self._response, stream, "lost", len(body)))
            self._table.forget()
        elif kind == RST_STREAM and len(body) == 4:
            events.append(Reset(self._response, stream, int.from_bytes(body, "big")))
        elif kind == GOAWAY and len(body) >= 8:
            last = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
            events.append(Away(self._response, last, int.from_bytes(body[4:8], "big")))

    def _add(self, part: bytes, flags: int, events: list[Event]) -> None:
        """A further part of the open header block; decode it with its last."""
        if self._open is None:
            return
        block = self._block + part if self._block else part
        if len(block) > MAX_BLOCK:
            events.append(Unread(self._response, self._open[0], "limit", len(block)))
            self._lose()
            return
        self._block = block
        if not flags & _END_HEADERS:
            return
        _, place, end = self._open
        self._open = None
        self._block = b""
        try:
            decoded = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError):
            events.append(Unread(self._response, abs(place), "hpack", len(block)))
            self._table.forget()
            return
        fields: list[Field] = []
        known = True
        for name, value in decoded:
            if name:
                fields.append((name.decode("latin-1"), value.decode("latin-1")))
            else:
                known = False
                fields.append((None, value.decode("latin-1") or None))
        events.append(
            Fields(self._response, abs(place), self._kind(place, fields, known), tuple(fields), end, known)
        )

    def _kind(self, place: int, fields: list[Field], known: bool) -> str:
        if place < 0:
            return "push"
        for name, value in fields:
            if name in {":method", ":path", ":scheme", ":authority"}:
                return "request"
            if name == ":status":
                return "informational" if value is not None and value.startswith("1") else "response"
        if known:
            return "trailers"
        return "response" if self._response else "request"


class Connection:
    """Both directions of one connection."""

    def __init__(self, *, late: bool = False) -> None:
        self._up = Direction(False, late=late)
        self._down = Direction(True, late=late)

    def feed(self, data: bytes, response: bool) -> list[Event]:
        """What is complete with these bytes of one direction."""
        return (self._down if response else self._up).feed(data)

    def gap(self, size: int, response: bool) -> list[Event]:
        """`size` bytes of one direction are missing here."""
        return (self._down if response else self._up).gap(size)

    def finish(self, response: bool) -> list[Event]:
        """One direction ended."""
        return (self._down if response else self._up).finish()
