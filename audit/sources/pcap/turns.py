"""Several processes take turns at the windows of one capture: each walks the headers of its own windows and
deals the packets out, to every process those of its share of the flows.

So no header is read twice. Where a window begins is guessed, and believed only if the one before it ends there;
where in a turn anything is unusual (damage, a link type that nobody knows, more packets than there is room for),
its windows are read by every process as if it were alone. What is read is the same either way.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from audit.sources.opening import Opened
from audit.sources.pcap import pcap_file, pcapng_file, rare
from audit.sources.pcap.analysis import Analysis
from audit.sources.pcap.batch import I64, U8, Batch, Bools, Item
from audit.sources.pcap.link import LINKS
from audit.sources.pcap.packets import WHOLE, Dealt, Packets, empty, walk
from audit.sources.pcap.window import PAD, Window

_ROOM = 32 << 20  # bytes that one process can deal to all others in one turn
_DEEP = 3  # turns whose windows are kept: one is walked ahead while another is still read elsewhere
_PROBE = 1 << 20  # bytes in which the first record of a window is sought
_SENT: dict[str, type] = {
    "number": np.uint32, "time": np.int64, "src_hi": np.uint64, "src_lo": np.uint64, "dst_hi": np.uint64,
    "dst_lo": np.uint64, "proto": np.uint8, "sport": np.uint16, "dport": np.uint16, "size": np.uint32,
    "payload": np.uint32, "carried": np.uint32, "sent": np.uint32, "flags": np.uint8, "seq": np.uint32,
    "ack": np.uint32,
}  # fmt: skip
_OF_PARTS: dict[str, type] = {"part": np.uint8, "ident": np.uint32, "more": np.uint8, "offset": np.uint32}

Sent = Mapping[str, type]
Shares = Callable[[Packets], I64]
"""Which share of the flows each packet belongs to (see `Analysis.shares`)."""


class Format(Protocol):
    """A file format as it is read window by window. `begin` is where reading begins; `slack` the bytes that the last
    record in a window may reach beyond it."""

    begin: int
    slack: int

    def read(
        self, window: Window, position: int, number: int, until: int
    ) -> Iterator[tuple[Item | None, int]]:
        """All from `position` on, in windows up to the first that ends at `until` or behind it; beside the last item
        of each stands where the next window is to begin."""

    def section(self, window: Window, size: int) -> tuple[Batch, int] | None:
        """The packets that begin in the first `size` bytes of the window, and where the next begins; None where there
        is anything else that matters."""

    def first(self, window: Window, offset: int) -> int:
        """Where the first packet behind `offset` seems to begin, the file's end if none does in reach."""


class _Section(msgspec.Struct, array_like=True):
    """What a process says of its window: where its first record begins and where the next window's should, how
    many packets it holds, how many of them without IP, how many are dealt to each, and whether there are parts
    of datagrams among them. `plain` is False if it is to be read by all."""

    begin: int
    end: int
    packets: int
    without_ip: int
    dealt: list[int]
    parts: bool
    plain: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Section).decode
_NONE: I64 = np.zeros(0, dtype=np.int64)
_ODD = _Section(0, 0, 0, 0, [], parts=False, plain=False)


class Table:
    """What the processes share, made before they part: a line between any two of them, the windows of a few turns
    side by side, and room for what one deals to another, twice: who plays a turn has taken all of the turn before,
    so what is two turns old is done with."""

    def __init__(self, format_: Format, count: int, lines: list[list[Connection | None]], chunk: int) -> None:
        self.format = format_
        self.count = count
        self.lines = lines
        self.chunk = chunk
        self.stride = chunk + format_.slack + PAD
        self.windows = [mmap.mmap(-1, count * self.stride) for _ in range(_DEEP)]
        size = _ROOM // count
        self.room = [[[mmap.mmap(-1, size) for _ in (0, 1)] for _ in range(count)] for _ in range(count)]

    def items(self, source: Opened, share: int, analysis: Analysis) -> Iterator[Item | Dealt]:
        """What stands in the file: the packets of each turn that were dealt to `share`, or all as they stand where
        all read alike."""
        self._sit(share)
        player = _Player(source, share, self, analysis.shares)
        alone: Window | None = None
        position, number, turn = self.format.begin, 1, 0
        ahead = False
        while position < source.size:
            if not ahead:
                player.play(turn, position)
            sections = player.sections()
            if _agree(sections, position, source.size):
                packets, data = player.taken(sections), player.data
                position = sections[-1].end
                ahead = position < source.size
                if ahead:  # nobody is to wait for a process that has more to read in this turn
                    player.play(turn + 1, position)
                packets.number += number
                number += sum(section.packets for section in sections)
                yield Dealt(data, packets, sum(section.without_ip for section in sections), number)
            else:
                until = (turn + 1) * self.count * self.chunk
                alone = alone or Window(source.file, source.size, self.chunk)
                for item, following in self.format.read(alone, position, number, until):
                    position = following
                    if isinstance(item, Batch):
                        number = item.number + len(item.start)
                        yield rare.translated(item)
                    elif item is not None:
                        yield item
                ahead = False
            turn += 1

    def _sit(self, share: int) -> None:
        """Close the ends of all others, so that one that is gone can be told."""
        for who, ends in enumerate(self.lines):
            for line in ends:
                if who != share and line is not None:
                    line.close()


def format_of(source: Opened) -> Format | None:
    """How a capture is read at which turns can be taken: a pcapng, or a pcap of a link type that is known."""
    view = Window(source.file, source.size, pcap_file.FIRST)
    style = pcap_file.style_at(view)
    if style is not None:
        return pcap_file.Records(style) if not style.old and style.link in LINKS else None
    return pcapng_file.Blocks() if pcapng_file.begins(bytes(view.raw[: view.length])) else None


def _agree(sections: list[_Section], position: int, size: int) -> bool:
    """Whether all windows could be read, and each ends where the next begins."""
    for section in sections:
        if not section.plain or section.begin != position:
            return False
        position = section.end
    return position <= size


class _Player:
    """One process at the table: it walks its window of a turn, deals, and takes what the others dealt."""

    def __init__(self, source: Opened, share: int, table: Table, shares: Shares) -> None:
        self._size = source.size
        self._share, self._table, self._shares = share, table, shares
        self._probe = Window(source.file, source.size, _PROBE)
        begin = share * table.stride
        self._windows = [
            Window(source.file, source.size, room=memoryview(room)[begin : begin + table.stride])
            for room in table.windows
        ]
        self._turn = 0
        self._own, self._kept = empty(0), _NONE
        self._said = _ODD

    @property
    def data(self) -> U8:
        """The windows of all processes in the latest turn, side by side."""
        return np.frombuffer(self._table.windows[self._turn % _DEEP], dtype=np.uint8)

    def play(self, turn: int, position: int) -> None:
        """Walk and deal one's own window of a turn, of which the first begins at `position`, and say so."""
        self._turn = turn
        self._own, self._kept = empty(0), _NONE
        nominal = (turn * self._table.count + self._share) * self._table.chunk
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
        size, format_ = self._size, self._table.format
        if nominal >= size:
            return _Section(size, size, 0, 0, [0] * self._table.count, parts=False, plain=True)
        if begin is None:
            begin = format_.first(self._probe, nominal)
        stop = nominal + self._table.chunk
        if begin >= stop:
            return _ODD
        window = self._windows[self._turn % _DEEP]
        window.read(begin)
        found = format_.section(window, stop - begin)
        if found is None:
            return _ODD
        batch, used = found
        packets, _, unread = walk(batch)
        parts = packets.part != WHOLE
        sent = _SENT | _OF_PARTS if parts.any() else _SENT
        dealt = None if unread else self._deal(packets, parts, sent)
        if dealt is None:
            return _ODD
        count = len(batch.start)
        return _Section(
            begin, begin + used, count, count - len(packets), dealt, parts=sent is not _SENT, plain=True
        )

    def _deal(self, packets: Packets, parts: Bools, sent: Sent) -> list[int] | None:
        """Lay out for each process what is its own; how many that are, None where there is not the room."""
        owners = self._shares(packets)
        dealt = []
        for who in range(self._table.count):
            rows = np.flatnonzero((owners == who) | parts)
            dealt.append(len(rows))
            if who == self._share:
                self._own, self._kept = packets, rows
                continue
            room = self._table.room[self._share][who][self._turn & 1]
            if _size(sent, len(rows)) > len(room):
                return None
            for name, column in _columns(room, sent, len(rows)):
                column[:] = getattr(packets, name)[rows]
        return dealt

    def taken(self, sections: list[_Section]) -> Packets:
        """What was dealt to this process in this turn, counted from packet 0 of the turn; a copy, as the room is
        used again. Payloads stand where they do in `data`."""
        share, table = self._share, self._table
        packets = empty(sum(section.dealt[share] for section in sections))
        packets.valid[:] = 1
        begin = number = 0
        for who, section in enumerate(sections):
            count = section.dealt[share]
            place = slice(begin, begin + count)
            sent = _SENT | _OF_PARTS if section.parts else _SENT
            if who == share:
                for name in sent:
                    getattr(packets, name)[place] = getattr(self._own, name)[self._kept]
            else:
                for name, column in _columns(table.room[who][share][self._turn & 1], sent, count):
                    getattr(packets, name)[place] = column
            packets.number[place] += number
            packets.payload[place] += who * table.stride
            number += section.packets
            begin += count
        return packets


def _columns(room: mmap.mmap, sent: Sent, count: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """The columns that are laid out in a room, of so many packets each."""
    at = 0
    for name, kind in sent.items():
        yield name, np.frombuffer(room, dtype=kind, count=count, offset=at)
        at += -(-count * np.dtype(kind).itemsize // 8) * 8


def _size(sent: Sent, count: int) -> int:
    """Bytes that these columns take."""
    return sum(-(-count * np.dtype(kind).itemsize // 8) * 8 for kind in sent.values())
