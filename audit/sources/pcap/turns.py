"""Several processes take turns at the windows of one pcap file: each walks the headers of its own windows and
deals the packets out, to every process those of its share of the flows.

So no header is read twice. Where a window begins is guessed, and believed only if the one before it ends there;
where in a turn anything is unusual (damage, a link type that nobody knows, more packets than there is room for),
its windows are read by every process as if it were alone. What is read is the same either way.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import msgspec
import numpy as np

from audit.sources.opening import Opened
from audit.sources.pcap import pcap_file
from audit.sources.pcap.analysis import Analysis
from audit.sources.pcap.batch import I64, MAX_RECORD, Batch, Item
from audit.sources.pcap.link import LINKS
from audit.sources.pcap.packets import WHOLE, Dealt, Packets, empty, walk
from audit.sources.pcap.window import Window

_ROOM = 32 << 20  # bytes that one process can deal to all others in one turn
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
    """What the processes share, made before they part: a line between any two of them, and room for what one deals
    to another, twice: who plays a turn has taken all of the turn before, so what is two turns old is done with."""

    def __init__(self, count: int, lines: list[list[Connection | None]]) -> None:
        self.count = count
        self.lines = lines
        size = _ROOM // count
        self.room = [[[mmap.mmap(-1, size) for _ in (0, 1)] for _ in range(count)] for _ in range(count)]

    def items(self, source: Opened, chunk: int, share: int, analysis: Analysis) -> Iterator[Item | Dealt]:
        """What stands in a pcap file: packets as they were dealt to `share`, and as they stand where all read alike.
        The bytes of other processes' windows are only there if payloads are to be read."""
        self._sit(share)
        player = _Player(source, chunk, share, self, analysis.shares)
        others: Window | None = None
        alone: Window | None = None
        position, number, turn = pcap_file.FIRST, 1, 0
        ahead = False
        while position < source.size:
            if not ahead:
                player.play(turn, position)
            sections = player.sections()
            if _agree(sections, position, source.size):
                own = player.window
                hands = [player.taken(who, section.dealt[share]) for who, section in enumerate(sections)]
                position = sections[-1].end
                ahead = position < source.size
                if ahead:  # nobody is to wait for a process that has more to read in this turn
                    player.play(turn + 1, position)
                for who, (section, packets) in enumerate(zip(sections, hands, strict=True)):
                    if section.packets:
                        window = own
                        if who != share and analysis.reads_payloads:
                            window = others = others or player.opened()
                            window.read(section.begin)
                        packets.number += number
                        number += section.packets
                        yield Dealt(window.data, packets, section.without_ip, number)
            else:
                until = (turn + 1) * self.count * chunk
                alone = alone or Window(source.file, source.size, chunk)
                for item, following in pcap_file.records(alone, player.style, position, number, until):
                    position = following
                    if isinstance(item, Batch):
                        number = item.number + len(item.start)
                    yield item
                ahead = False
            turn += 1

    def _sit(self, share: int) -> None:
        """Close the ends of all others, so that one that is gone can be told."""
        for who, ends in enumerate(self.lines):
            for line in ends:
                if who != share and line is not None:
                    line.close()


def possible(source: Opened) -> bool:
    """Whether turns can be taken at a capture: at a pcap file of a link type that is known."""
    style = pcap_file.style_at(Window(source.file, source.size, pcap_file.FIRST))
    return style is not None and not style.old and style.link in LINKS


def _agree(sections: list[_Section], position: int, size: int) -> bool:
    """Whether all windows could be read, and each ends where the next begins."""
    for section in sections:
        if not section.plain or section.begin != position:
            return False
        position = section.end
    return position <= size


class _Player:
    """One process at the table: it walks its window of a turn, deals, and takes what the others dealt."""

    def __init__(self, source: Opened, chunk: int, share: int, table: Table, shares: Shares) -> None:
        self._source, self._chunk = source, chunk
        self._share, self._table, self._shares = share, table, shares
        self._probe = Window(source.file, source.size, _PROBE)
        style = pcap_file.style_at(self._probe)
        if style is None:
            raise ValueError("turns are taken at pcap files only")
        self.style = style
        self._windows = [self.opened(), self.opened()]  # the one before may still be read
        self._turn = 0
        self._own = empty(0)
        self._said = _ODD

    @property
    def window(self) -> Window:
        """One's own window of the latest turn."""
        return self._windows[self._turn & 1]

    def opened(self) -> Window:
        """A window in which a chunk and the last record in it have room."""
        return Window(self._source.file, self._source.size, self._chunk + MAX_RECORD + self.style.header)

    def play(self, turn: int, position: int) -> None:
        """Walk and deal one's own window of a turn, of which the first begins at `position`, and say so."""
        self._turn = turn
        nominal = (turn * self._table.count + self._share) * self._chunk
        self._said = self._section(nominal, None if self._share else position)
        said = _encode(self._said)
        for line in self._table.lines[self._share]:
            if line is not None:
                line.send_bytes(said)

    def sections(self) -> list[_Section]:
        """What every process said of its window in this turn, in the order of the windows."""
        lines = self._table.lines[self._share]
        return [self._said if line is None else _decode(line.recv_bytes()) for line in lines]

    def _section(self, nominal: int, begin: int | None) -> _Section:
        """Walk the window, from the record at `begin` or, if that is not known, from the first in it."""
        size = self._source.size
        if nominal >= size:
            return _Section(size, size, 0, 0, [0] * self._table.count, plain=True)
        if begin is None:
            begin = pcap_file.first_record(self._probe, self.style, nominal)
        stop = nominal + self._chunk
        if begin >= stop:
            return _ODD
        self.window.read(begin)
        found = pcap_file.section(self.window, self.style, stop - begin)
        if found is None:
            return _ODD
        batch, used = found
        packets, _, unknown = walk(batch)
        dealt = None if unknown else self._deal(packets)
        if dealt is None:
            return _ODD
        count = len(batch.start)
        return _Section(begin, begin + used, count, count - len(packets), dealt, plain=True)

    def _deal(self, packets: Packets) -> list[int] | None:
        """Lay out for each process what is its own; how many that are, None where there is not the room."""
        owners, parts = self._shares(packets), packets.part != WHOLE
        dealt = []
        for who in range(self._table.count):
            rows = np.flatnonzero((owners == who) | parts)
            dealt.append(len(rows))
            if who == self._share:
                self._own = packets.take(rows)
                continue
            room = self._table.room[self._share][who][self._turn & 1]
            at = 0
            for name, kind in _SENT.items():
                end = at + len(rows) * np.dtype(kind).itemsize
                if end > len(room):
                    return None
                np.frombuffer(room, dtype=kind, count=len(rows), offset=at)[:] = getattr(packets, name)[rows]
                at = end + -end % 8
        return dealt

    def taken(self, who: int, count: int) -> Packets:
        """What `who` dealt to this process in this turn; a copy, as the room is used again."""
        if who == self._share:
            return self._own
        room = self._table.room[who][self._share][self._turn & 1]
        packets, at = empty(count), 0
        for name, kind in _SENT.items():
            getattr(packets, name)[:] = np.frombuffer(room, dtype=kind, count=count, offset=at)
            at += count * np.dtype(kind).itemsize
            at += -at % 8
        return packets
