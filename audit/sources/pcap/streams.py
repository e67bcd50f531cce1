"""One direction of a TCP connection put in order: segments in, contiguous bytes and gaps out (RFC 9293).

Reordering, retransmission and overlap are undone (the bytes that came first are kept). A hole is declared
lost, and reading goes on behind it, when too much waits behind it, when the other side has acknowledged
it some packets ago, or when the stream ends. It never waits for ever, and holds `MAX_HELD` bytes at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

MAX_HELD = 1 << 20
MAX_WAITING = 1_024  # segments
PATIENCE = 48  # packets of the connection after which an acknowledged hole is no reordering any more
UNKNOWN = -1
BULK = 256  # bytes from which on a segment may be the middle of something large
_JUMP = 1 << 26  # bytes: a sequence number this far off belongs to something else
_MASK = 0xFFFFFFFF

Piece = bytes | int
"""Bytes of the stream, or the size of a gap in it."""


class Half:
    """What one side sent. `waiting` holds the segments behind a hole; `expected` is the next sequence number, UNKNOWN before the first byte."""

    __slots__ = ("_acknowledged", "_ahead", "_held", "_place", "expected", "waiting")

    def __init__(self, expected: int = UNKNOWN) -> None:
        self.expected = expected
        self.waiting: dict[int, tuple[bytes, int]] = {}  # by their places
        self._ahead: list[int] = []  # these places as a heap
        self._place = 0  # that of `expected`, in bytes since the first hole
        self._held = 0
        self._acknowledged = 0  # packets seen since the hole was acknowledged

    def segment(self, sequence: int, data: bytes, cut: int) -> Iterator[Piece]:
        """Take a segment; `cut` bytes at its end were not recorded."""
        if self.expected < 0:
            self.expected = sequence
        ahead = (sequence - self.expected + 0x80000000 & _MASK) - 0x80000000
        if ahead == 0 and not self.waiting:
            yield from self._deliver(data, cut)
            return
        if abs(ahead) > _JUMP:
            yield from self.flush()
            yield _JUMP
            self.expected = sequence
            yield from self._deliver(data, cut)
            return
        if ahead < 0:
            size = len(data) + cut + ahead
            if size <= 0:
                return  # all of it was there before
            if -ahead >= len(data):
                data, cut = b"", size
            else:
                data = data[-ahead:]
            ahead = 0
        place = self._place + ahead
        known = self.waiting.get(place)
        if known is None:
            heappush(self._ahead, place)
        if known is None or len(known[0]) < len(data):
            self._held += len(data) - (len(known[0]) if known else 0)
            self.waiting[place] = (data, cut)
        if ahead == 0:
            yield from self._drain()
        while self._held > MAX_HELD or len(self.waiting) > MAX_WAITING:
            yield from self._skip()

    def hold(self, sequence: int, data: bytes, cut: int) -> bool:
        """Keep a segment behind an open hole, if that is all there is to do with it."""
        ahead = (sequence - self.expected + 0x80000000 & _MASK) - 0x80000000
        place = self._place + ahead
        waiting = self.waiting
        if not 0 < ahead <= _JUMP or place in waiting or len(waiting) >= MAX_WAITING:
            return False
        if self._held + len(data) > MAX_HELD:
            return False
        heappush(self._ahead, place)
        self._held += len(data)
        waiting[place] = data, cut
        return True

    def acknowledged(self, number: int) -> Iterator[Piece]:
        """The other side has everything before `number`."""
        if self.waiting:
            beyond = (number - self.expected + 0x80000000 & _MASK) - 0x80000000
            if 0 < beyond < _JUMP:
                self._acknowledged += 1
                if self._acknowledged > PATIENCE:
                    yield from self._skip()

    def flush(self) -> Iterator[Piece]:
        """The stream ended: whatever waits, with the gaps before it."""
        while self.waiting:
            yield from self._skip()

    def _deliver(self, data: bytes, cut: int) -> Iterator[Piece]:
        self.expected = self.expected + len(data) + cut & _MASK
        if data:
            yield data
        if cut:
            yield cut

    def _skip(self) -> Iterator[Piece]:
        """Declare the first hole lost."""
        first = self._ahead[0] - self._place
        self._acknowledged = 0
        if first > 0:
            yield first
            self._shift(first)
        yield from self._drain()

    def _drain(self) -> Iterator[Piece]:
        """Deliver what has no hole before it any more."""
        while self.waiting:
            first = self._ahead[0] - self._place
            if first > 0:
                return
            data, cut = self.waiting.pop(heappop(self._ahead))
            self._held -= len(data)
            size = len(data) + cut + first
            if size <= 0:
                continue
            data = data[-first:] if first else data
            cut = size - len(data)
            yield from ((data,) if data else ())
            if cut:
                yield cut
            self._shift(size)
        self._acknowledged = 0

    def _shift(self, size: int) -> None:
        self.expected = self.expected + size & _MASK
        self._place += size
