"""Google's QUIC before the IETF's (versions Q024 to Q050): the server name in a client's CHLO message.

Sources: Google's "QUIC Crypto" paper and the QUIC wire layout specification (2016). The CHLO stands in
clear in a stream or crypto frame; up to Q046 it is found by its tag, in Q050 inside the Initial packet
that `quic` opens. Must never read a tag's value outside the message.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from audit.protocols.malformed import Malformed

MAX_TAGS = 128
_CHLO = b"CHLO"


class Hello(NamedTuple):
    """What a CHLO says; None where it has no such tag, or the tag's value was cut."""

    sni: str | None
    version: str | None
    user_agent: str | None


def client_hello(data: bytes) -> Hello:
    """Read the first CHLO in a datagram or in the data of CRYPTO frames. Raises Malformed if there is none."""
    start = data.find(_CHLO)
    if start < 0 or start + 8 > len(data):
        raise Malformed("no CHLO")
    count = data[start + 4] | data[start + 5] << 8
    base = start + 8 + count * 8
    if not 0 < count <= MAX_TAGS or base > len(data):
        raise Malformed("a CHLO's tags are cut")
    begin = base
    found: dict[bytes, str] = {}
    for at in range(start + 8, base, 8):
        end = base + int(struct.unpack_from("<I", data, at + 4)[0])
        if end < begin:
            raise Malformed("a CHLO's tags are out of order")
        if end <= len(data):
            found[data[at : at + 4]] = data[begin:end].decode("latin-1")
        begin = end
    return Hello(found.get(b"SNI\0"), found.get(b"VER\0"), found.get(b"UAID"))
