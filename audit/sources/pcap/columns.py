"""Columns that grow together, in memory while they are short, else in files without names: what is seldom used of
them is then on disk, and memory holds what is in use.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_ROOM = 1 << 15  # rows up to which columns are in memory
_DROP = getattr(mmap, "MADV_DONTNEED", None)  # not known on every system


class Columns:
    """An array of each of these kinds by its name, all of the same length; zero where nothing was written."""

    def __init__(self, kinds: Mapping[str, type]) -> None:
        self._kinds = kinds
        self._files: dict[str, IO[bytes]] = {}
        self._mapped: list[mmap.mmap] = []
        self.rows = _ROOM

    def made(self) -> dict[str, NDArray[Any]]:
        """The columns as they are at first."""
        return {name: _memory(kind, self.rows) for name, kind in self._kinds.items()}

    def grown(self, columns: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
        """The same columns with room for so many rows; those before must not be used any more."""
        self.rows = max(rows, 2 * self.rows)
        self._mapped = []
        return {name: self._longer(name, old) for name, old in columns.items()}

    def release(self) -> None:
        """Leave on disk what is in files; what is used again comes back by itself."""
        if _DROP is not None:
            for mapped in self._mapped:
                mapped.madvise(_DROP)

    def _longer(self, name: str, old: NDArray[Any]) -> NDArray[Any]:
        size = self.rows * old.itemsize
        known = self._files.get(name)
        try:
            file = known or tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the column
            os.posix_fallocate(
                file.fileno(), 0, size
            )  # told now that there is no room, not by a signal later
            mapped = mmap.mmap(file.fileno(), size)
        except (AttributeError, OSError):
            self._files.pop(name, None)
            known = None
            new = _memory(old.dtype.type, self.rows)
        else:
            self._files[name] = file
            self._mapped.append(mapped)
            new = np.frombuffer(mapped, dtype=old.dtype)
        if known is None:
            new[: len(old)] = old
        return new


def _memory(kind: type, rows: int) -> NDArray[Any]:
    """Zeros in pages of their own, of which only those that are written to take memory: a table that
    grows in the midst of short-lived arrays would leave holes among them."""
    return np.frombuffer(mmap.mmap(-1, rows * np.dtype(kind).itemsize), dtype=kind)
