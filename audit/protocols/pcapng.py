"""pcapng blocks to bytes, one function per kind of block; who strings them together writes a file.

A file is a section header, then an interface description, then packets, and statistics at its end. All of
it little-endian, times in microseconds since 1970 (the resolution a reader assumes where none is named).
It never holds a packet back and knows no file. Specification: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

MAX_OPTION = 0xFFFF  # bytes
_SECTION, _INTERFACE, _STATISTICS, _ENHANCED, _SECRETS = 0x0A0D0D0A, 1, 5, 6, 10
_TLS_KEY_LOG = 0x544C534B
_BYTE_ORDER, _UNKNOWN_LENGTH = 0x1A2B3C4D, -1
_HEAD = struct.Struct("<II")
_PACKET = struct.Struct("<IIIIIII")


class Counts(NamedTuple):
    """What an interface saw since the recording began; `dropped` packets were seen and lost."""

    received: int
    dropped: int


def section(application: str) -> bytes:
    """A section header block (4.1). Its length is left open, so that it can grow."""
    body = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
    return _block(_SECTION, body + _option(4, application.encode()) + _option(0, b""))


def interface(link: int, name: str, snaplen: int, system: str, *, digits: int = 6) -> bytes:
    """An interface description block (4.2): link type, name, bytes kept per packet, operating system, and
    the decimal digits of its clock."""
    body = struct.pack("<HHI", link, 0, snaplen)
    options = _option(2, name.encode()) + _option(9, bytes((digits,))) + _option(12, system.encode())
    return _block(_INTERFACE, body + options + _option(0, b""))


def packet(microseconds: int, data: bytes, original: int, *, interface: int = 0) -> bytes:
    """An enhanced packet block (4.3); `original` is the length on the wire, the time in units of the
    interface's clock."""
    size = len(data)
    padding = -size % 4
    total = 32 + size + padding
    high, low = microseconds >> 32 & 0xFFFFFFFF, microseconds & 0xFFFFFFFF
    head = _PACKET.pack(_ENHANCED, total, interface, high, low, size, original)
    return b"".join((head, data, bytes(padding), total.to_bytes(4, "little")))


def secrets(log: bytes, *, order: Literal["little", "big"] = "little") -> bytes:
    """A decryption secrets block (4.7) with an NSS key log, for a section of this byte order."""
    body = _TLS_KEY_LOG.to_bytes(4, order) + len(log).to_bytes(4, order) + log + bytes(-len(log) % 4)
    size = (len(body) + 12).to_bytes(4, order)
    return _SECRETS.to_bytes(4, order) + size + body + size


def statistics(microseconds: int, counts: Counts) -> bytes:
    """An interface statistics block (4.6) of the first interface, as of this moment."""
    body = struct.pack("<III", 0, microseconds >> 32 & 0xFFFFFFFF, microseconds & 0xFFFFFFFF)
    options = _option(4, struct.pack("<Q", counts.received)) + _option(5, struct.pack("<Q", counts.dropped))
    return _block(_STATISTICS, body + options + _option(0, b""))


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return _HEAD.pack(kind, size) + body + size.to_bytes(4, "little")


def _option(code: int, value: bytes) -> bytes:
    value = value[:MAX_OPTION]
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
