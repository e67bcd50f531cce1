"""The frames of QUIC packets, as far as they carry something or name a connection (RFC 9000, 19; RFC 9221).

All others are stepped over by their shape. Must never raise: a frame that is cut or unknown ends its packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MAX_OFFSET = (1 << 62) - 1


class Stream(NamedTuple):
    """A piece of a stream."""

    stream: int
    offset: int
    data: bytes
    end: bool


class Crypto(NamedTuple):
    """A piece of the handshake."""

    offset: int
    data: bytes


class Reset(NamedTuple):
    """The sender gave up a stream after `size` bytes."""

    stream: int
    size: int


class NewId(NamedTuple):
    """Another connection id that the sender can be reached under."""

    id: bytes


class Datagram(NamedTuple):
    """A datagram that is no part of a stream."""

    size: int


Frame = Stream | Crypto | Reset | NewId | Datagram

# How many integers follow the type of the frames that are nothing but integers.
_INTEGERS = {0x05: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1, 0x19: 1,
             0x1E: 0, 0x1F: 0, 0xAF: 4}  # fmt: skip


def integer(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and the offset behind it (RFC 9000, 16). Raises IndexError if it is cut."""
    first = data[at]
    if first < 64:
        return first, at + 1
    if first < 128:
        return (first & 63) << 8 | data[at + 1], at + 2
    size = 1 << (first >> 6)
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "big") & ((1 << 8 * size - 2) - 1), at + size


def frames(payload: bytes) -> Iterator[Frame]:
    """The frames of one packet's payload."""
    at = 0
    while at < len(payload):
        try:
            frame, at = _frame(payload, at)
        except IndexError:
            return
        if frame is not None:
            yield frame


def _frame(data: bytes, at: int) -> tuple[Frame | None, int]:
    if data[at] == 0:  # padding comes in long runs
        return None, len(data) - len(data[at:].lstrip(b"\0"))
    kind, at = integer(data, at)
    if 0x08 <= kind <= 0x0F:
        stream, at = integer(data, at)
        offset, at = integer(data, at) if kind & 4 else (0, at)
        size, at = integer(data, at) if kind & 2 else (len(data) - at, at)
        _there(data, at + size)
        return Stream(stream, offset, data[at : at + size], bool(kind & 1)), at + size
    if kind in (0x02, 0x03):
        return None, _behind_ack(data, at, kind == 0x03)
    if kind == 0x06:
        offset, at = integer(data, at)
        size, at = integer(data, at)
        _there(data, at + size)
        return Crypto(offset, data[at : at + size]), at + size
    if kind == 0x04:
        stream, at = integer(data, at)
        _, at = integer(data, at)
        size, at = integer(data, at)
        return Reset(stream, size), at
    if kind == 0x18:
        _, at = integer(data, at)
        _, at = integer(data, at)
        size = data[at]
        _there(data, at + 17 + size)
        return NewId(data[at + 1 : at + 1 + size]), at + 17 + size
    if kind in (0x30, 0x31):
        size, at = integer(data, at) if kind == 0x31 else (len(data) - at, at)
        return Datagram(size), at + size
    return None, _behind(data, at, kind)


def _behind(data: bytes, at: int, kind: int) -> int:
    """The offset behind a frame that tells nothing here. Raises IndexError for one that is not known."""
    if kind == 0x01:
        return at
    if kind == 0x07:
        size, at = integer(data, at)
        return at + size
    if kind in (0x1A, 0x1B):
        return at + 8
    if kind in (0x1C, 0x1D):
        for _ in range(2 if kind == 0x1C else 1):
            _, at = integer(data, at)
        size, at = integer(data, at)
        return at + size
    if kind not in _INTEGERS:
        raise IndexError
    for _ in range(_INTEGERS[kind]):
        _, at = integer(data, at)
    return at


def _behind_ack(data: bytes, at: int, counts: bool) -> int:
    _, at = integer(data, at)
    _, at = integer(data, at)
    ranges, at = integer(data, at)
    for _ in range(1 + 2 * min(ranges, len(data)) + (3 if counts else 0)):
        _, at = integer(data, at)
    return at


def _there(data: bytes, end: int) -> None:
    if end > len(data):
        raise IndexError
