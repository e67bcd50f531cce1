"""WebSocket messages of one direction of a connection.

RFC 6455 (frames), RFC 7692 (permessage-deflate), RFC 8441 (the same frames inside an HTTP/2 stream).
Must never raise, nor hold or inflate more than its bounds: what was cut or lost says so.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from audit.protocols import resync

MAX_MESSAGE = 8 << 20
MAX_FRAME = 1 << 32
MAX_INFLATED = 64 << 20
"""Bytes one message may inflate to before its direction's compression state is given up."""
_STEP = 1 << 16

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KINDS = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_CHAIN = 4
"""Frames in a row that prove the bounds of frames after a loss."""
_TAIL = b"\x00\x00\xff\xff"


class Message(NamedTuple):
    """A message or, with `kind` of CLOSE, PING or PONG, a control frame.

    `size` is the length on the wire; `cut` says that `data` holds less than was sent; `lost` bytes are
    missing in the capture, and a compressed message that lost bytes, or whose context did, has no data.
    """

    kind: int
    data: bytes
    size: int
    compressed: bool
    cut: bool
    lost: int


class Deflate(NamedTuple):
    """What permessage-deflate was agreed on for one direction (RFC 7692, 7.1)."""

    takeover: bool
    window: int


def negotiated(extensions: str, *, response: bool) -> Deflate | None:
    """Read the Sec-WebSocket-Extensions header of the server's handshake, for one direction."""
    side = "server" if response else "client"
    for extension in extensions.split(","):
        name, *parameters = [part.strip() for part in extension.split(";")]
        if name.lower() == "permessage-deflate":
            given = {
                key.strip().lower(): value.strip(' "')
                for key, _, value in (p.partition("=") for p in parameters)
            }
            bits = given.get(f"{side}_max_window_bits", "15")
            window = int(bits) if bits.isascii() and bits.isdigit() and len(bits) < 3 else 15
            return Deflate(f"{side}_no_context_takeover" not in given, min(max(window, 9), 15))
    return None


def unmask(data: bytes, key: bytes) -> bytes:
    """Undo the masking of a payload (RFC 6455, 5.3)."""
    size = len(data)
    mask = (key * (size + 3 >> 2))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Length of a frame's header and of its payload; (0, 0) if the header is not complete."""
    if len(data) < at + 2:
        return 0, 0
    second = data[at + 1]
    size = second & 127
    header = 2 + (4 if second & 128 else 0) + (2 if size == 126 else 8 if size == 127 else 0)
    if len(data) < at + header:
        return 0, 0
    if size == 126:
        size = data[at + 2] << 8 | data[at + 3]
    elif size == 127:
        size = int.from_bytes(data[at + 2 : at + 10], "big")
    return header, size


def _is_text(body: bytes, whole: bool) -> bool:
    """Whether a payload is UTF-8, or if not `whole` the beginning of it."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return not whole and error.reason == "unexpected end of data"
    return True


def _is_close(body: bytes) -> bool:
    return len(body) >= 2 and 1000 <= body[0] << 8 | body[1] < 5000 and _is_text(body[2:], True)


_CANDIDATE = re.compile(rb"(?s)[\x00\x01\x02\x41\x42\x80-\x82\xc1\xc2\x88-\x8a]")


class Messages:
    """Joins one direction's frames to messages; what exceeds MAX_MESSAGE is counted, not kept.

    After a loss the first message found is only told as whole if it is text, for nothing else proves that
    it began there.
    """

    def __init__(self, response: bool, deflate: Deflate | None = None) -> None:
        self._masked = not response  # RFC 6455, 5.1
        self._deflate = deflate
        self._inflater = self._new_inflater()
        self._buffer = b""
        self._left = 0
        self._key = b""
        self._final = False
        self._lost = False
        self._parts: list[bytes] = []
        self._kind = -1
        self._compressed = False
        self._broken = self._doubtful = False
        self._held = self._size = self._missing = 0
        self.skipped = 0
        """Bytes that could not be read, other than those reported as lost; known when the direction has ended."""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with these bytes."""
        messages: list[Message] = []
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while at < len(buffer) or (self._final and not self._left and self._kind >= 0):
            if self._left:
                at += self._payload(buffer[at : at + self._left])
            if self._left:
                break
            if self._final:
                self._emit(messages)
                continue
            if self._lost:
                start, found = resync.find(buffer[at:], _CANDIDATE, 2, self._measure, chain=_CHAIN)
                at += start
                self.skipped += start
                if not found:
                    break
                self._lost = False
                self._doubtful = True
            header, size = _header(buffer, at)
            if not header:
                break
            kind = buffer[at] & 15
            if kind not in _KINDS or (kind >= CLOSE and size > 125) or size > MAX_FRAME:
                self._drop(messages)
                continue
            if kind >= CLOSE:
                if len(buffer) < at + header + size:
                    break
                body = buffer[at + header : at + header + size]
                if buffer[at + 1] & 128:
                    body = unmask(body, buffer[at + header - 4 : at + header])
                messages.append(Message(kind, body, size, False, self._doubtful, 0))
                self._doubtful = False
                at += header + size
                continue
            self._begin(buffer, at, header, size, messages)
            at += header
        self._buffer = buffer[at:]
        return messages

    def gap(self, size: int) -> list[Message]:
        """`size` bytes are missing here: within a payload only they are lost, else the frame's end too."""
        messages: list[Message] = []
        if size <= 0:
            return messages
        if not self._buffer and size <= self._left:
            self._left -= size
            self._missing += size
            self._size += size
            if self._key:
                turn = size % 4
                self._key = self._key[turn:] + self._key[:turn]
            if not self._left and self._final:
                self._emit(messages)
        else:
            if self._kind >= 0:
                self._missing += size
            self._drop(messages)
            self.skipped += len(self._buffer)
            self._buffer = b""
        return messages

    def finish(self) -> list[Message]:
        """The direction ended: the message that was begun, marked as cut."""
        messages: list[Message] = []
        if self._lost and self._buffer:
            start, found = resync.find(self._buffer, _CANDIDATE, 2, self._measure, chain=_CHAIN, end=True)
            if found:
                self._lost = False
                self._doubtful = True
                rest, self._buffer = self._buffer[start:], b""
                messages += self.feed(rest)
        if self._kind >= 0:
            self._broken = True
            self._left = 0
            self._emit(messages)
        self.skipped += len(self._buffer)
        self._buffer = b""
        return messages

    def _measure(self, data: bytes, at: int) -> int:
        """Length of a plausible frame, masked as this direction's frames are (for resync)."""
        header, size = _header(data, at)
        if not header:
            return resync.MORE
        first, second = data[at], data[at + 1]
        short = second & 127
        plausible = (
            first & 15 in _KINDS
            and not first & 0x30
            and (not first & 0x40 or (self._deflate is not None and first & 15 in {TEXT, BINARY}))
            and (first & 15 < CLOSE or (first & 128 and size <= 125))
            and self._masked == (second >= 128)
            and (short != 126 or size > 125)
            and (short != 127 or size >= 1 << 16)
            and size <= 1 << 17
        )
        if not plausible:
            return resync.NO
        if first & 15 in {TEXT, CLOSE} and not first & 0x40 and size:
            if len(data) < at + header + size:
                return resync.MORE
            body = data[at + header : at + header + size]
            body = unmask(body, data[at + header - 4 : at + header]) if second >= 128 else body
            if not (_is_text(body, first >= 128) if first & 15 == TEXT else _is_close(body)):
                return resync.NO
        return header + size

    def _begin(self, buffer: bytes, at: int, header: int, size: int, messages: list[Message]) -> None:
        first, second = buffer[at], buffer[at + 1]
        if first & 15 != CONTINUATION:
            if self._kind >= 0:
                self._broken = True
                self._emit(messages)
            self._kind = first & 15
            self._compressed = bool(first & 0x40) and self._deflate is not None
        elif self._kind < 0:
            # its beginning is lost: what there is, is told as a binary message that lost bytes
            self._kind = BINARY
            self._broken = True
            self._compressed = self._deflate is not None
        self._final = first >= 128
        self._left = size
        self._key = buffer[at + header - 4 : at + header] if second >= 128 else b""

    def _payload(self, part: bytes) -> int:
        size = len(part)
        self._left -= size
        self._size += size
        room = MAX_MESSAGE - self._held
        if room > 0:
            kept = part[:room]
            self._parts.append(unmask(kept, self._key) if self._key else kept)
            self._held += len(kept)
        if self._key and size % 4:
            turn = size % 4
            self._key = self._key[turn:] + self._key[:turn]
        return size

    def _emit(self, messages: list[Message]) -> None:
        """Tell the message whose last byte was seen."""
        data = b"".join(self._parts)
        cut = self._broken or bool(self._missing) or self._size > len(data)
        if self._compressed:
            if cut:
                data = b""
                self._inflater = (
                    self._new_inflater() if self._deflate and not self._deflate.takeover else None
                )
            else:
                data, cut = self._inflate(data)
        doubtful = self._doubtful and (self._kind != TEXT or self._compressed)
        self._doubtful = False
        messages.append(
            Message(self._kind, data, self._size, self._compressed, cut or doubtful, self._missing)
        )
        self._parts = []
        self._kind = -1
        self._final = self._compressed = self._broken = False
        self._held = self._size = self._missing = 0

    def _drop(self, messages: list[Message]) -> None:
        """The frames' bounds are lost: tell what was begun, look for the next frame."""
        if self._kind >= 0:
            self._broken = True
            self._emit(messages)
        elif self._deflate and self._deflate.takeover:
            self._inflater = None
        self._left = self._missing = 0
        self._final = False
        self._lost = True

    def _new_inflater(self) -> zlib._Decompress | None:
        return zlib.decompressobj(-self._deflate.window) if self._deflate else None

    def _inflate(self, data: bytes) -> tuple[bytes, bool]:
        """Undo permessage-deflate; (data, whether it is less than was sent)."""
        if self._deflate is None or self._inflater is None:
            return b"", True
        out: list[bytes] = []
        held = total = 0
        rest = data + _TAIL
        try:
            while rest and total < MAX_INFLATED:
                piece = self._inflater.decompress(rest, _STEP)
                rest = self._inflater.unconsumed_tail
                total += len(piece)
                if held < MAX_MESSAGE:
                    out.append(piece)
                    held += len(piece)
                if self._inflater.eof or (not piece and not rest):
                    break
            broken = bool(rest) and not self._inflater.eof
        except zlib.error:
            broken = True
        if not self._deflate.takeover or self._inflater.eof:
            self._inflater = self._new_inflater()
        elif broken:
            self._inflater = None
        return b"".join(out), broken or held < total
