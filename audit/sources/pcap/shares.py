"""Which share of the work a packet belongs to, where several processes divide the flows of a capture: a flow and
both of its directions are always in the same share.
"""

from __future__ import annotations

import numpy as np

from audit.sources.pcap.batch import I64, U64
from audit.sources.pcap.packets import UDP, Packets


def by_ends(packets: Packets, shares: int) -> I64:
    """Shares by addresses and ports."""
    mixed = (packets.src_lo ^ packets.dst_lo) + (packets.src_hi ^ packets.dst_hi)
    mixed ^= (packets.sport.astype(np.uint64) + packets.dport) * np.uint64(0x9E3779B97F4A7C15)
    return _spread(mixed, shares)


def by_hosts(packets: Packets, shares: int) -> I64:
    """Shares in which all TCP between two hosts is together, and all UDP: there a session may be resumed from another
    port, and a path may change."""
    mixed = (packets.src_lo ^ packets.dst_lo) + (packets.src_hi ^ packets.dst_hi)
    return np.where(packets.proto == UDP, 0, _spread(mixed, shares))


def _spread(mixed: U64, shares: int) -> I64:
    """One of so many shares for each word, whatever the words are like."""
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return ((mixed >> np.uint64(40)) * np.uint64(shares) >> np.uint64(24)).astype(np.int64)
