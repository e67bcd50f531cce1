"""The user data of an SCTP packet, with what puts it in order (RFC 9260; I-DATA of RFC 8260 is not read).

Must never hold anything: who follows an association keeps the order.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from audit.protocols.malformed import Malformed

COMMON_HEADER = 12  # bytes
_DATA = 0
_MAX_CHUNKS = 256


class Chunk(NamedTuple):
    """User data: its transmission sequence number, its stream, and how many of its bytes are missing."""

    tsn: int
    stream: int
    data: bytes
    cut: int


def data_chunks(packet: bytes) -> list[Chunk]:
    """The DATA chunks of a packet, in its order.

    Raises Malformed if a chunk is shorter than its own header.
    """
    found: list[Chunk] = []
    at = COMMON_HEADER
    for _ in range(_MAX_CHUNKS):
        if at + 4 > len(packet):
            break
        kind, _, size = struct.unpack_from(">BBH", packet, at)
        if size < (17 if kind == _DATA else 4):
            raise Malformed("an SCTP chunk is shorter than its header")
        if kind == _DATA and at + 16 <= len(packet):
            tsn, stream = struct.unpack_from(">IH", packet, at + 4)
            data = packet[at + 16 : at + size]
            found.append(Chunk(tsn, stream, data, size - 16 - len(data)))
        at += size + -size % 4
    return found
