"""A file seen through one reused buffer: bytes in, a window of them out.

Behind what was read stand `PAD` zero bytes, so that fixed-size headers may be gathered at any position of it.
It never interprets a byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

CHUNK = 8 << 20  # bytes per window: large enough for vectors, small enough to stay in memory
PAD = 128
_ENDLESS = 1 << 62


class Window:
    """`raw[:length]` are the file's bytes from `offset` on."""

    def __init__(
        self, file: BinaryIO, size: int, chunk: int = CHUNK, more: Callable[[], bool] | None = None,
        room: memoryview | None = None,
    ) -> None:  # fmt: skip
        """`more` makes it follow a file that grows: it is asked whenever there is nothing new, waits a moment,
        and says whether to go on. `room`, if given, is the buffer to be used, of `chunk` and `PAD` bytes."""
        self._fd = file.fileno()
        self._more = more
        self._end = 0  # where the last look ended
        self.size = size if more is None else _ENDLESS
        self.offset = -1
        self.length = 0
        self._use(memoryview(bytearray(max(min(chunk, size), 256) + PAD)) if room is None else room)

    def _use(self, room: memoryview) -> None:
        self._capacity = len(room) - PAD
        self.raw = room
        self.data: NDArray[np.uint8] = np.frombuffer(room, dtype=np.uint8)

    def read(self, offset: int) -> int:
        """Fill the window from `offset`; returns how many bytes are there (fewer only at the end, or where the
        file grows: there some are, and more than at the last look at the same place)."""
        seen = self._end if offset == self.offset else offset
        self._fill(offset)
        while self._more is not None and self.length < self._capacity and offset + self.length <= seen:
            going = self._more()
            self._fill(offset)
            if not going and offset + self.length <= seen:
                self._more = None
                self.size = offset + self.length
        self._end = offset + self.length
        return self.length

    def _fill(self, offset: int) -> None:
        self.offset, self.length = offset, 0
        while self.length < self._capacity:
            got = os.preadv(self._fd, [self.raw[self.length : self._capacity]], offset + self.length)
            if not got:
                break
            self.length += got
        self.data[self.length : self.length + PAD] = 0

    def grow(self, needed: int) -> None:
        """Make room for a record of `needed` bytes."""
        if needed > self._capacity:
            self._use(memoryview(bytearray(needed + PAD)))

    @property
    def ends(self) -> bool:
        """Whether the window reaches the end of the file, as far as it goes now."""
        return self.offset + self.length >= (self.size if self._more is None else self._end)
