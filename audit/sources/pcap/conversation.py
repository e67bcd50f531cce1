"""A TCP connection as a conversation: its packets in the order of the file, to streams, to a speaker.

It begins at the first packet whose payload can tell something and stops as soon as nothing more can be
learnt. It holds what the two streams hold and no more.
"""

from __future__ import annotations

from audit.sources.pcap.speakers import Opening
from audit.sources.pcap.streams import UNKNOWN, Half, Piece
from audit.sources.pcap.telling import Teller

_SYN, _FIN, _RST, _ACK = 2, 1, 4, 16
_MASK = 0xFFFFFFFF


class Conversation:
    """Both halves of a connection and what is spoken over them."""

    __slots__ = ("_ended", "_halves", "_opening", "done", "last", "teller")

    def __init__(self, teller: Teller, expected: tuple[int, int]) -> None:
        self.teller = teller
        self._halves = (Half(expected[0]), Half(expected[1]))
        self._opening = Opening(teller)
        self._ended = 0  # one bit per side that has sent its FIN
        self.done = False
        self.last = 0

    @property
    def waits(self) -> bool:
        """Whether a hole is open, so that acknowledgements matter."""
        return bool(self._halves[0].waiting or self._halves[1].waiting)

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
        elif data or cut:
            for piece in half.segment(sequence, data, cut):
                self._speak(side, piece)
        if flags & _ACK:
            if other.expected == UNKNOWN and not flags & _RST:
                other.expected = acknowledged
            elif other.waiting:
                for piece in other.acknowledged(acknowledged):
                    self._speak(1 - side, piece)
        if flags & _FIN:
            self._ended |= 1 << side
        self.done = self._opening.done
        if self._ended == 3 and not self.waits:
            self.finish()

    def skip(self, side: int, sequence: int, size: int) -> bool:
        """Pass over a packet that continues its side, if only the number of its bytes matters; False if it is
        needed."""
        half, other = self._halves[side], self._halves[1 - side]
        if sequence != half.expected or half.waiting or other.waiting or other.expected == UNKNOWN:
            return False
        if not self._opening.skip(side, size):
            return False
        half.expected = sequence + size & _MASK
        return True

    def finish(self) -> None:
        """The connection ended: tell what is left."""
        if not self.done:
            for side in (0, 1):
                for piece in self._halves[side].flush():
                    self._speak(side, piece)
            self._opening.finish()
            self.done = True

    def _speak(self, side: int, piece: Piece) -> None:
        if self._opening.done:
            return
        if isinstance(piece, int):
            self.teller.lost += piece
            self._opening.gap(side, piece)
        else:
            self._opening.feed(side, piece)
