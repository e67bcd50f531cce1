"""A TCP connection as a conversation: its packets in the order of the file, to streams, to a speaker.

It begins at the first packet whose payload can tell something and stops as soon as nothing more can be
learnt. It holds what the two streams hold and no more.
"""

from __future__ import annotations

from audit.sources.pcap.speakers import Opening
from audit.sources.pcap.streams import BULK, MAX_HELD, UNKNOWN, Half, Piece
from audit.sources.pcap.telling import Teller

_SYN, _FIN, _RST, _ACK = 2, 1, 4, 16
_MASK = 0xFFFFFFFF


class Conversation:
    """Both halves of a connection and what is spoken over them."""

    __slots__ = ("_ended", "_ends", "_halves", "_opening", "done", "last", "teller", "waits")

    def __init__(self, teller: Teller, expected: tuple[int, int]) -> None:
        self.teller = teller
        self._halves = (Half(expected[0]), Half(expected[1]))
        self._opening = Opening(teller)
        self._ended = 0  # one bit per side that has sent its FIN
        self._ends = [UNKNOWN, UNKNOWN]  # the sequence numbers of these
        self.done = False
        self.last = 0
        self.waits = False
        """Whether a hole is open, so that acknowledgements matter."""

    def packet(self, side: int, flags: int, sequence: int, acknowledged: int, data: bytes, cut: int) -> None:
        """Take a packet that `side` sent; `cut` bytes of its payload were not recorded."""
        half, other = self._halves[side], self._halves[1 - side]
        if flags & _SYN:
            sequence = sequence + 1 & _MASK
            if half.expected == UNKNOWN:
                half.expected = sequence
        if data and not cut and sequence == half.expected and not half.waiting:
            half.expected = sequence + len(data) & _MASK  # nearly all of them
            self._opening.feed(side, data)
        elif (data or cut) and not (half.waiting and half.hold(sequence, data, cut)):
            for piece in half.segment(sequence, data, cut):
                self._speak(side, piece)
            self.waits = bool(half.waiting or other.waiting)
        if flags & _ACK:
            if other.expected == UNKNOWN and not flags & _RST:
                other.expected = acknowledged
            elif other.waiting:
                for piece in other.acknowledged(acknowledged):
                    self._speak(1 - side, piece)
                self.waits = bool(half.waiting or other.waiting)
        if flags & _FIN:
            self._ended |= 1 << side
            self._ends[side] = sequence + len(data) + cut & _MASK
        self.done = self._opening.done
        if self._ended == 3 and not self.waits and not self._missing(0) and not self._missing(1):
            self.finish()

    def _missing(self, side: int) -> int:
        """Bytes before the FIN of a side that have not come (yet)."""
        end, expected = self._ends[side], self._halves[side].expected
        missing = end - expected & _MASK if UNKNOWN not in (end, expected) else 0
        return missing if missing < MAX_HELD else 0

    def room(self, side: int, sequence: int) -> int:
        """Of how many bytes that `side` sends from here on, where it is continued, only the number matters."""
        http = self._opening.http
        if http is None or self.waits:
            return 0
        if sequence != self._halves[side].expected or self._halves[1 - side].expected == UNKNOWN:
            return 0
        return http.room(side)

    def skip(self, side: int, size: int) -> None:
        """Pass over bytes for which there is room."""
        if self._opening.http is not None:
            self._opening.http.skip(size)
        half = self._halves[side]
        half.expected = half.expected + size & _MASK

    def finish(self) -> None:
        """The connection ended: tell what is left."""
        if not self.done:
            for side in (0, 1):
                for piece in self._halves[side].flush():
                    self._speak(side, piece)
                if missing := self._missing(side):
                    self._speak(side, missing)
            self._opening.finish()
            self.done = True

    def _speak(self, side: int, piece: Piece) -> None:
        if self._opening.done:
            return
        if isinstance(piece, int):
            self.teller.lost += piece
            self._opening.gap(side, piece)
            return
        http = self._opening.http
        if http is not None and len(piece) >= BULK and http.room(side) >= len(piece):
            http.skip(len(piece))
        else:
            self._opening.feed(side, piece)
