"""Addresses as columns: two 64-bit halves each, and what can be told from their ranges.

An IPv4 address is the lower half under `IPV4_HIGH`. Ranges: RFC 1918, 3927, 4193, 4291, 6598, 5771.
"""

from __future__ import annotations

import socket
from functools import lru_cache

import numpy as np

from audit.sources.pcap.batch import U64, Bools
from audit.sources.pcap.packets import IPV4_HIGH

HIGH = int(IPV4_HIGH)
_PRIVATE = ((0x0A000000, 8), (0xAC100000, 12), (0xC0A80000, 16), (0xA9FE0000, 16), (0x64400000, 10),
            (0x7F000000, 8), (0, 8))  # fmt: skip


@lru_cache(maxsize=4_096)
def text(high: int, low: int) -> str:
    """The address as people write it."""
    if high == HIGH and low < 1 << 32:
        return f"{low >> 24}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
    return socket.inet_ntop(socket.AF_INET6, (high << 64 | low).to_bytes(16, "big"))


def halves(address: str) -> tuple[int, int] | None:
    """The two halves of a written address, None if it is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, address)
        except OSError:
            continue
        if family == socket.AF_INET:
            return HIGH, int.from_bytes(packed, "big")
        return int.from_bytes(packed[:8], "big"), int.from_bytes(packed[8:], "big")
    return None


def private(high: U64, low: U64) -> Bools:
    """Addresses that only mean something on a local network."""
    four = high == IPV4_HIGH
    result = np.zeros(len(low), dtype=np.bool_)
    for base, bits in _PRIVATE:
        result |= low >> np.uint64(32 - bits) == np.uint64(base >> (32 - bits))
    six = (high >> np.uint64(57) == np.uint64(0xFC >> 1)) | (high >> np.uint64(54) == np.uint64(0xFE80 >> 6))
    six |= (high == 0) & (low <= 1)
    return np.asarray(np.where(four, result, six))


def many(high: U64, low: U64) -> Bools:
    """Multicast and broadcast addresses."""
    four = (low >> np.uint64(28) == np.uint64(14)) | (low == np.uint64(0xFFFFFFFF))
    return np.asarray(np.where(high == IPV4_HIGH, four, high >> np.uint64(56) == np.uint64(0xFF)))
