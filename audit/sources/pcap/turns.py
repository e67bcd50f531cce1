"""Several processes take turns at the windows of one pcap file: each walks the headers of its own windows and
deals the packets out, to every process those of its share of the flows.

So no header is read twice. Where a window begins is guessed, and believed only if the one before it ends there;
a round of windows in which anything is unusual (damage, a link type that nobody knows, more packets than there is
room for) is read by every process as if it were alone. What is read is the same either way.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

import msgspec
import numpy as np

from audit.sources.opening import Opened
from audit.sources.pcap import pcap_file
from audit.sources.pcap.analysis import Analysis
from audit.sources.pcap.batch import I64, MAX_RECORD, U8, Batch, Item
from audit.sources.pcap.link import LINKS
from audit.sources.pcap.packets import WHOLE, Packets, empty, walk
from audit.sources.pcap.window import Window

_ROOM = 16 << 20  # bytes that one process can deal to another in one round
_PROBE = 1 << 20  # bytes in which the first record of a window is sought
_SENT = {
    "number": np.uint32, "time": np.int64, "src_hi": np.uint64, "src_lo": np.uint64, "dst_hi": np.uint64,
    "dst_lo": np.uint64, "proto": np.uint8, "sport": np.uint16, "dport": np.uint16, "size": np.uint32,
    "payload": np.uint32, "carried": np.uint32, "sent": np.uint32, "flags": np.uint8, "seq": np.uint32,
    "ack": np.uint32, "part": np.uint8, "ident": np.uint32, "more": np.uint8, "offset": np.uint32,
    "valid": np.uint8,
}  # fmt: skip

Shares = Callable[[Packets], I64]
"""Which share of the flows each packet belongs to (see `Analysis.shares`)."""


class Dealt(NamedTuple):
    """The packets of a window that belong to one share (and all that are parts of others), where their bytes are,
    how many packets of the window have no IP, and the number behind its last one."""

    data: U8
    packets: Packets
    without_ip: int
    end: int


class _Section(msgspec.Struct, array_like=True):
    """What a process says of its window: where its first record begins and where the next window's should, how
    many packets it holds, how many of them without IP, and how many are dealt to each. `plain` is False if it
    is to be read by all."""

    begin: int
    end: int
    packets: int
    without_ip: int
    dealt: list[int]
    plain: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Section).decode
_ODD = _Section(0, 0, 0, 0, [], plain=False)


class Table:
    """What the processes share, made before they part: a line between any two of them, and room on the table for
    what one deals to another, twice, as one may be a round ahead."""

    def __init__(self, count: int, lines: list[list[Connection | None]]) -> None:
        self.count = count
        self.lines = lines
        self.room = [[[mmap.mmap(-1, _ROOM) for _ in (0, 1)] for _ in range(count)] for _ in range(count)]

    def sit(self, share: int) -> None:
        """Close the ends of all others, so that one that is gone can be told."""
        for who, ends in enumerate(self.lines):
            for line in ends:
                if who != share and line is not None:
                    line.close()


def possible(source: Opened) -> bool:
    """Whether turns can be taken at a capture: at a pcap file of a link type that is known."""
    style = pcap_file.style_at(Window(source.file, source.size, pcap_file.FIRST))
    return style is not None and not style.old and style.link in LINKS


def items(source: Opened, chunk: int, share: int, table: Table, analysis: Analysis) -> Iterator[Item | Dealt]:
    """What stands in a pcap file: packets as they were dealt to `share`, and as they stand where all read alike.
    The bytes of other processes' windows are only there if payloads are to be read."""
    table.sit(share)
    count, shares, payloads = table.count, analysis.shares, analysis.reads_payloads
    probe = Window(source.file, source.size, _PROBE)
    style = pcap_file.style_at(probe)
    if style is None:
        return
    alone: Window | None = None
    windows = [Window(source.file, source.size, chunk + MAX_RECORD + style.header) for _ in range(count)]
    position, number, turn = pcap_file.FIRST, 1, 0
    while position < source.size:
        first = turn * count
        dealer = _Dealer(table, share, turn & 1)
        begin = None if share else position
        mine = _section(windows[share], probe, style, (first + share) * chunk, chunk, begin, dealer, shares)
        sections = dealer.exchange(mine)
        if _agree(sections, position, source.size):
            for who, section in enumerate(sections):
                if section.packets:
                    window = windows[who]
                    if who != share and payloads:
                        window.read(section.begin)
                    packets = dealer.taken(who, section.dealt[share])
                    packets.number += number
                    number += section.packets
                    yield Dealt(window.data, packets, section.without_ip, number)
            position = sections[-1].end
        else:
            until = (first + count) * chunk
            alone = alone or Window(source.file, source.size, chunk)
            for item, following in pcap_file.records(alone, style, position, number, until):
                position = following
                if isinstance(item, Batch):
                    number = item.number + len(item.start)
                yield item
        turn += 1


def _agree(sections: list[_Section], position: int, size: int) -> bool:
    """Whether all windows could be read, and each ends where the next begins."""
    for section in sections:
        if not section.plain or section.begin != position:
            return False
        position = section.end
    return position <= size


def _section(
    window: Window, probe: Window, style: pcap_file.Style, nominal: int, chunk: int, begin: int | None,
    dealer: _Dealer, shares: Shares,
) -> _Section:  # fmt: skip
    """Walk one's own window, from the record at `begin` or, if that is not known, from the first in it."""
    if nominal >= window.size:
        return _Section(window.size, window.size, 0, 0, [0] * dealer.count, plain=True)
    if begin is None:
        begin = pcap_file.first_record(probe, style, nominal)
    stop = nominal + chunk
    if begin >= stop:
        return _ODD
    window.read(begin)
    found = pcap_file.section(window, style, stop - begin)
    if found is None:
        return _ODD
    batch, used = found
    packets, _, unknown = walk(batch)
    if unknown:
        return _ODD
    dealt = dealer.deal(packets, shares(packets))
    if dealt is None:
        return _ODD
    count = len(batch.start)
    return _Section(begin, begin + used, count, count - len(packets), dealt, plain=True)


class _Dealer:
    """One round of one process."""

    def __init__(self, table: Table, share: int, half: int) -> None:
        self.count = table.count
        self._table, self._share, self._half = table, share, half
        self._own = empty(0)

    def deal(self, packets: Packets, owners: I64) -> list[int] | None:
        """Lay out for each process what is its own; how many that are, None where there is not the room."""
        parts = packets.part != WHOLE
        dealt = []
        for who in range(self.count):
            rows = np.flatnonzero((owners == who) | parts)
            dealt.append(len(rows))
            if who == self._share:
                self._own = packets.take(rows)
                continue
            room = self._table.room[self._share][who][self._half]
            at = 0
            for name, kind in _SENT.items():
                end = at + len(rows) * np.dtype(kind).itemsize
                if end > len(room):
                    return None
                np.frombuffer(room, dtype=kind, count=len(rows), offset=at)[:] = getattr(packets, name)[rows]
                at = end + -end % 8
        return dealt

    def exchange(self, mine: _Section) -> list[_Section]:
        """What every process says of its window, in the order of the windows."""
        lines = self._table.lines[self._share]
        said = _encode(mine)
        for line in lines:
            if line is not None:
                line.send_bytes(said)
        return [mine if line is None else _decode(line.recv_bytes()) for line in lines]

    def taken(self, who: int, count: int) -> Packets:
        """What `who` dealt to this process."""
        if who == self._share:
            return self._own
        room = self._table.room[who][self._share][self._half]
        packets, at = empty(count), 0
        for name, kind in _SENT.items():
            getattr(packets, name)[:] = np.frombuffer(room, dtype=kind, count=count, offset=at)
            at += count * np.dtype(kind).itemsize
            at += -at % 8
        return packets
