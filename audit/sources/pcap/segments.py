"""The packets of TCP connections as plain lists, and what of them may be passed over many at once.

Columns say which packets carry nothing, and which go on where the one before them ended: a reader that wants
only the length of what comes next steps over a whole run of those. No payload is read here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from audit.sources.pcap.batch import I64
from audit.sources.pcap.flows import Grouped
from audit.sources.pcap.packets import Packets
from audit.sources.pcap.streams import BULK

_TURNS = 0x03  # SYN and FIN
_ENDS = 0x07  # SYN, FIN and RST
_MASK = 0xFFFFFFFF


class Run(NamedTuple):
    """Packets in the order of the file, connection after connection.

    `total` adds up `sent`. `last` is -1 for what cannot be passed over; else it names the last packet of those
    that go on from there, all of the same side and whole, with none between them that says anything else.
    `following` is the packet itself if it carries or turns something, else the next that does, which may be
    another connection's.
    """

    number: list[int]
    time: list[int]
    side: list[int]
    flags: list[int]
    sequence: list[int]
    acknowledged: list[int]
    place: list[int]
    carried: list[int]
    sent: list[int]
    total: list[int]
    last: list[int]
    following: list[int]


def run(packets: Packets, grouped: Grouped, places: I64, starts: I64) -> Run:
    """The packets at these places of the order; `starts` says where in `places` each connection begins."""
    rows = grouped.order[places]
    side = (~grouped.ab[places]).astype(np.int64)
    flags, sequence = packets.flags[rows], packets.seq[rows].astype(np.int64)
    carried, sent = packets.carried[rows], packets.sent[rows]
    count = len(rows)
    says = (sent > 0) | (flags & _TURNS > 0)
    told = np.flatnonzero(says)
    following = np.append(told, count)[np.cumsum(says) - says]
    bulk = ((carried == sent) & (sent >= BULK) & (flags & _ENDS == 0))[told]
    goes_on = np.zeros(len(told), dtype=np.bool_)
    goes_on[1:] = (
        bulk[1:]
        & bulk[:-1]
        & (side[told[1:]] == side[told[:-1]])
        & (sequence[told[1:]] == (sequence[told[:-1]] + sent[told[:-1]] & _MASK))
    )
    firsts = np.searchsorted(told, starts)
    goes_on[firsts[firsts < len(told)]] = False
    breaks = np.flatnonzero(~goes_on)
    lasts = np.append(breaks[1:], len(told)) - 1 if len(told) else breaks
    last = np.full(count, -1, dtype=np.int64)
    last[told] = np.where(bulk, told[np.repeat(lasts, np.diff(np.append(breaks, len(told))))], -1)
    columns = (
        packets.number[rows], packets.time[rows], side, flags, sequence, packets.ack[rows], packets.payload[rows],
        carried, sent, np.cumsum(sent), last, following,
    )  # fmt: skip
    return Run(*(column.tolist() for column in columns))
