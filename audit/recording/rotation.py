"""Recorded blocks on disk: numbered private files, a new one when the size is reached.

A file never replaces another, is 0600, and ends with a whole block whatever happens: when the disk is full,
what did not fit entirely is taken back. It knows blocks, not what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_HELD = 1 << 20  # bytes kept before they are written


class Rotation:
    """Files `STEM-001SUFFIX`, `STEM-002SUFFIX` … in a folder, each beginning with `prelude`.

    `opened` is told the path of every file when it is there. Every method may raise OSError.
    """

    def __init__(
        self, folder: Path, stem: str, suffix: str, prelude: bytes, limit: int, opened: Callable[[Path], None]
    ) -> None:
        self._folder, self._stem, self._suffix = folder, stem, suffix
        self._prelude, self._limit, self._opened = prelude, limit, opened
        self._number = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._fd = -1
        self.paths: list[Path] = []
        self.size = 0  # of the current file, with what is held
        self._next()

    @property
    def full(self) -> bool:
        """Whether the next block has to go to another file."""
        return self.size >= self._limit

    def write(self, block: bytes) -> None:
        """Take one block."""
        self._held.append(block)
        self._held_bytes += len(block)
        self.size += len(block)
        if self._held_bytes >= _HELD:
            self.flush()

    def flush(self) -> None:
        """Hand all that is held to the system."""
        blocks, self._held, self._held_bytes = self._held, [], 0
        data = memoryview(b"".join(blocks))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            self.size -= len(data)
            for block in blocks:
                if len(block) > written:
                    break
                written -= len(block)
                self.size += len(block)
            os.ftruncate(self._fd, self.size)
            raise

    def rotate(self, last: bytes) -> None:
        """End the file with the block `last` and begin the next."""
        self.close(last)
        self._next()

    def close(self, last: bytes = b"") -> None:
        """End the file with the block `last`; does nothing when it is closed already."""
        if self._fd < 0:
            return
        try:
            self.write(last)
            self.flush()
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _next(self) -> None:
        while True:
            self._number += 1
            path = self._folder / f"{self._stem}-{self._number:03}{self._suffix}"
            try:
                self._fd = os.open(path, _FILE_FLAGS, 0o600)
                break
            except FileExistsError:
                continue
        self.size = 0
        self.write(self._prelude)
        try:
            self.flush()
        except OSError:
            os.close(self._fd)
            self._fd = -1
            path.unlink()  # an empty file is no capture
            raise
        self.paths.append(path)
        self._opened(path)
