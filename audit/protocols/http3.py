"""HTTP/3 as seen from aside: the streams of a QUIC connection in, messages out.

RFC 9114, and RFC 9204 (QPACK) through the pylsqpack library. The dynamic table of a direction lives on the other
side's settings and on a stream of its own; a header block that waits for either holds its stream back and nothing
else. What never becomes readable is told as unknown, never guessed. Events are those of HTTP/2, with the streams'
numbers; pushed responses have negative ones. Must never raise, nor hold more than its bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pylsqpack

from audit.protocols.http2 import Data, Event, Field, Fields, Unread
from audit.protocols.quic_frames import integer

MAX_BLOCK = 1 << 18
MAX_ENCODER = 1 << 20
"""Bytes of instructions kept while the settings they depend on are awaited."""
MAX_TABLE = 1 << 20
MAX_BLOCKED = 1_000
MAX_WAITING = 1 << 20
"""Bytes of one stream kept while its header block waits."""

_DATA, _HEADERS, _SETTINGS, _PUSH_PROMISE = 0, 1, 4, 5
_CONTROL, _PUSH, _ENCODER, _DECODER = range(4)
_TABLE_CAPACITY: Final = 0x01


@dataclass(slots=True)
class _Half:
    """One side of a stream: bytes not read yet, and the frame it stands in."""

    buffer: bytes = b""
    kind: int | None = None  # of a unidirectional stream
    push: int | None = None
    left: int = 0  # of the content of a DATA frame, or of a frame passed over
    passing: bool = False
    blocked: bool = False
    ended: bool = False
    lost: bool = False  # frames cannot be found any more
    headed: bool = False
    later: list[tuple[bytes, int, bool]] = field(default_factory=list)
    waiting: int = 0


class _Table:
    """The header compression of one direction."""

    def __init__(self) -> None:
        self.decoder: pylsqpack.Decoder | None = None
        self._static = pylsqpack.Decoder(0, 0)
        self._early = b""
        self._broken = False
        self.early_blocks: list[tuple[int, bytes]] = []

    def agreed(self, capacity: int) -> list[int]:
        """The other side's settings: how large the table may get. The blocks that waited for them."""
        if self.decoder is not None:
            return []
        self.decoder = pylsqpack.Decoder(min(capacity, MAX_TABLE), MAX_BLOCKED)
        early, self._early = self._early, b""
        self.instructions(early)
        return [stream for stream, _ in self.early_blocks]

    def instructions(self, data: bytes) -> list[int]:
        """Bytes of the encoder's stream. The streams whose header blocks can be read now."""
        if self._broken or not data:
            return []
        if self.decoder is None:
            self._early += data
            self._broken = len(self._early) > MAX_ENCODER
            return []
        try:
            return list(self.decoder.feed_encoder(data))
        except pylsqpack.EncoderStreamError:
            self._broken = True
            return []

    def lost(self) -> None:
        """Instructions are missing: no later ones can be read."""
        self._broken = True

    def block(self, stream: int, block: bytes) -> list[tuple[bytes, bytes]] | None:
        """Decode a header block; None if it has to wait. Raises ValueError for one that cannot be read."""
        decoder = self.decoder
        if decoder is None:
            if block[:1] != b"\0":
                self.early_blocks.append((stream, block))
                return None
            decoder = self._static
        try:
            return list(decoder.feed_header(stream, block)[1])
        except pylsqpack.StreamBlocked:
            return None
        except (pylsqpack.DecompressionFailed, ValueError) as error:
            raise ValueError("a header block that cannot be read") from error

    def resumed(self, stream: int) -> list[tuple[bytes, bytes]] | None:
        """The header block of a stream that waited. Raises ValueError as `block`."""
        for place, (waiting, block) in enumerate(self.early_blocks):
            if waiting == stream:
                del self.early_blocks[place]
                return self.block(stream, block)
        if self.decoder is None:
            return None
        try:
            return list(self.decoder.resume_header(stream)[1])
        except pylsqpack.StreamBlocked:
            return None
        except (pylsqpack.DecompressionFailed, ValueError) as error:
            raise ValueError("a header block that cannot be read") from error


class Connection:
    """Both directions of one connection, stream by stream."""

    def __init__(self) -> None:
        self._halves: dict[tuple[int, bool], _Half] = {}
        self._tables = (_Table(), _Table())  # of what the client sends, of what the server sends

    def feed(self, stream: int, server: bool, data: bytes, lost: int, end: bool) -> list[Event]:
        """The next bytes of one side of a stream, behind `lost` bytes that are missing."""
        events: list[Event] = []
        self._feed(stream, server, data, lost, end, events)
        return events

    def finish(self) -> list[Event]:
        """The connection ended: header blocks that never became readable."""
        events: list[Event] = []
        for (stream, server), half in self._halves.items():
            if half.blocked:
                events.append(Unread(server, self._number(stream, half), "lost", 0))
                if not half.headed:
                    kind = "response" if server else "request"
                    events.append(Fields(server, self._number(stream, half), kind, (), True, False))
        self._halves.clear()
        return events

    def _feed(
        self, stream: int, server: bool, data: bytes, lost: int, end: bool, events: list[Event]
    ) -> None:  # fmt: skip
        half = self._halves.get((stream, server))
        if half is None:
            half = self._halves[stream, server] = _Half()
        if half.blocked:
            half.waiting += len(data)
            if half.waiting <= MAX_WAITING:
                half.later.append((data, lost, end))
            return
        half.ended = half.ended or end
        if stream & 2:
            self._one_way(half, stream, server, data, lost, events)
        else:
            self._messages(half, stream, server, data, lost, events)
        if half.ended and not half.blocked:
            if not stream & 2 or half.kind == _PUSH:
                events.append(Data(server, self._number(stream, half), b"", True, 0))
            self._halves.pop((stream, server), None)

    @staticmethod
    def _number(stream: int, half: _Half) -> int:
        return stream if half.push is None else -1 - half.push

    # --- streams of one direction ------------------------------------------------------------------

    def _one_way(
        self, half: _Half, stream: int, server: bool, data: bytes, lost: int, events: list[Event]
    ) -> None:  # fmt: skip
        if half.kind is None:
            if lost:
                half.lost = True
            half.buffer += data
            try:
                half.kind, at = integer(half.buffer, 0)
                if half.kind == _PUSH:
                    half.push, at = integer(half.buffer, at)
            except IndexError:
                half.kind = None
                return
            data, half.buffer, lost = half.buffer[at:], b"", 0
        if half.kind == _ENCODER:
            if lost or half.lost:
                self._tables[server].lost()
            self._unblocked(self._tables[server].instructions(data), server, events)
        elif half.kind == _CONTROL:
            self._control(half, server, data, lost, events)
        elif half.kind == _PUSH:
            self._messages(half, stream, server, data, lost, events)

    def _control(self, half: _Half, server: bool, data: bytes, lost: int, events: list[Event]) -> None:
        """The settings, which come first (RFC 9114, 7.2.4); nothing else on this stream matters here."""
        if half.lost or half.headed:
            return
        half.lost = bool(lost)
        half.buffer += data
        try:
            kind, at = integer(half.buffer, 0)
            size, at = integer(half.buffer, at)
        except IndexError:
            return
        if kind != _SETTINGS or size > MAX_BLOCK:
            half.lost = True
            return
        if len(half.buffer) < at + size:
            return
        settings: dict[int, int] = {}
        body = half.buffer[at : at + size]
        half.headed, half.buffer, at = True, b"", 0
        while at < len(body):
            try:
                name, at = integer(body, at)
                settings[name], at = integer(body, at)
            except IndexError:
                break
        other = not server  # what one side allows, the other one's encoder uses
        self._unblocked(self._tables[other].agreed(settings.get(_TABLE_CAPACITY, 0)), other, events)

    def _unblocked(self, streams: list[int], server: bool, events: list[Event]) -> None:
        for stream in streams:
            half = self._halves.get((stream, server))
            if half is None or not half.blocked:
                continue
            try:
                fields = self._tables[server].resumed(stream)
            except ValueError:
                fields = []
                events.append(Unread(server, self._number(stream, half), "qpack", 0))
            if fields is None:
                continue
            half.blocked = False
            self._fields(half, stream, server, fields, events)
            later, half.later, half.waiting = half.later, [], 0
            rest, half.buffer = half.buffer, b""
            half.ended, ended = False, half.ended
            self._feed(stream, server, rest, 0, ended and not later, events)
            for data, lost, end in later:
                self._feed(stream, server, data, lost, end, events)

    # --- streams of requests -------------------------------------------------------------------------

    def _messages(
        self, half: _Half, stream: int, server: bool, data: bytes, lost: int, events: list[Event]
    ) -> None:  # fmt: skip
        number = self._number(stream, half)
        if half.lost:
            events.append(Unread(server, number, "lost", lost + len(data)))
            return
        if lost and not self._hole(half, number, server, lost, events):
            return
        buffer = half.buffer + data if half.buffer else data
        at = 0
        while at < len(buffer) and not half.blocked:
            if half.left:
                part = buffer[at : at + half.left]
                half.left -= len(part)
                at += len(part)
                if not half.passing:
                    events.append(Data(server, number, part, False, 0))
                continue
            try:
                kind, behind = integer(buffer, at)
                size, behind = integer(buffer, behind)
            except IndexError:
                break
            if kind in (_HEADERS, _PUSH_PROMISE):
                if size > MAX_BLOCK:
                    events.append(Unread(server, number, "limit", size))
                    half.lost = True
                    return
                if len(buffer) < behind + size:
                    break
                at = behind + size
                self._block(half, stream, server, kind, buffer[behind:at], events)
                continue
            half.passing = kind != _DATA
            half.left, at = size, behind
        half.buffer = buffer[at:]

    def _hole(self, half: _Half, number: int, server: bool, lost: int, events: list[Event]) -> bool:
        """Bytes are missing. Within a DATA frame only they are lost, else all that follows in the stream."""
        if half.left >= lost and not half.buffer:
            half.left -= lost
            if not half.passing:
                events.append(Data(server, number, b"", False, lost))
            return True
        half.lost = True
        half.buffer = b""
        events.append(Unread(server, number, "lost", lost))
        return False

    def _block(
        self, half: _Half, stream: int, server: bool, kind: int, block: bytes, events: list[Event]
    ) -> None:  # fmt: skip
        if kind == _PUSH_PROMISE:
            try:
                push, at = integer(block, 0)
                fields = self._tables[server].block(-1 - push, block[at:])
            except (IndexError, ValueError, OverflowError):
                fields = None
            if fields is None:
                events.append(Unread(server, stream, "qpack", len(block)))
            else:
                events.append(Fields(server, -1 - push, "push", _text(fields), True, True))
            return
        try:
            decoded = self._tables[server].block(stream, block)
        except ValueError:
            events.append(Unread(server, self._number(stream, half), "qpack", len(block)))
            if not half.headed:
                shape = "response" if server else "request"
                events.append(Fields(server, self._number(stream, half), shape, (), False, False))
                half.headed = True
            return
        if decoded is None:
            half.blocked = True
        else:
            self._fields(half, stream, server, decoded, events)

    def _fields(
        self, half: _Half, stream: int, server: bool, fields: list[tuple[bytes, bytes]], events: list[Event]
    ) -> None:  # fmt: skip
        told = _text(fields)
        kind = "trailers" if half.headed else "response" if server else "request"
        if server and not half.headed:
            status = next((value for name, value in told if name == ":status"), None) or ""
            if status.startswith("1"):
                kind = "informational"
        half.headed = half.headed or kind != "informational"
        events.append(Fields(server, self._number(stream, half), kind, told, False, True))


def _text(fields: list[tuple[bytes, bytes]]) -> tuple[Field, ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
