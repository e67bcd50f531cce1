"""A file seen through one reused buffer: bytes in, a window of them out.

The window is a `bytearray` (it can be searched and unpacked) with `PAD` zero bytes behind what was read, so
that fixed-size headers may be gathered at any position of it. It never interprets a byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

CHUNK = 10 << 20  # bytes per window: large enough for vectors, small enough to stay in memory
PAD = 128
_ENDLESS = 1 << 62


class Window:
    """`raw[:length]` are the file's bytes from `offset` on."""

    def __init__(
        self, file: BinaryIO, size: int, chunk: int = CHUNK, more: Callable[[], bool] | None = None
    ) -> None:
        """`more` makes it follow a file that grows: it is asked whenever there is nothing new, waits a moment,
        and says whether to go on."""
        self._fd = file.fileno()
        self._more = more
        self._end = 0  # where the last look ended
        self.size = size if more is None else _ENDLESS
        self.offset = -1
        self.length = 0
        self._capacity = 0
        self._allocate(max(min(chunk, size), 256))

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self.raw = bytearray(capacity + PAD)
        self.data: NDArray[np.uint8] = np.frombuffer(self.raw, dtype=np.uint8)

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
        view = memoryview(self.raw)[: self._capacity]
        while self.length < self._capacity:
            got = os.preadv(self._fd, [view[self.length :]], offset + self.length)
            if not got:
                break
            self.length += got
        view.release()
        self.data[self.length : self.length + PAD] = 0

    def grow(self, needed: int) -> None:
        """Make room for a record of `needed` bytes."""
        if needed > self._capacity:
            self._allocate(needed)

    @property
    def ends(self) -> bool:
        """Whether the window reaches the end of the file, as far as it goes now."""
        return self.offset + self.length >= (self.size if self._more is None else self._end)
