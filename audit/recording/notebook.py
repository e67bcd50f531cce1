"""Writes `events.jsonl`: whole lines at the end of a file that only its owner can read.

Several processes may write at once. A line that a crash cut off is closed, never removed; nothing that
was written is ever changed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from audit.protocols.notes import AnyNote, encode


class Notebook:
    """An open file of notes. Raises OSError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(self._fd, 0o600)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

    def write(self, *notes: AnyNote) -> None:
        """Appends the notes in one write. Raises OSError where the disk refuses."""
        data = b"".join(map(encode, notes))
        if data and os.write(self._fd, data) != len(data):
            raise OSError(28, "No space left on device", str(self.path))

    @classmethod
    def of_option(cls, name: str) -> Notebook:
        """The file that an addon's option names. Raises OptionsError where it cannot be written."""
        from mitmproxy.exceptions import OptionsError

        path = Path(name).expanduser()
        try:
            return cls(path)
        except OSError as error:
            why = f"cannot write {path}: {error.strerror}"
            raise OptionsError(why) from None  # type: ignore[no-untyped-call]

    def write_or_stop(self, *notes: AnyNote) -> None:
        """Appends the notes, or ends the proxy: nothing may pass without being noted."""
        try:
            self.write(*notes)
        except OSError as error:
            sys.stderr.write(f"cannot write {self.path}: {error.strerror}\nThe proxy stops.\n")
            sys.stderr.flush()
            sys.exit(1)

    def surface(self) -> None:
        """Brings what anybody wrote so far to the disk itself. Raises OSError where the disk refuses."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Brings everything to the disk's surface."""
        os.fsync(self._fd)
        os.close(self._fd)
