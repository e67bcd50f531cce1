"""Following a capture that is still being written, until it is interrupted or standard input ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PAUSE = 0.25  # seconds between two looks
_HEADER = 24  # bytes of a packet capture that must be there before it can be read


class Following:
    """A path and whether to go on; calling it waits a moment first."""

    def __init__(self, path: Path, ends: threading.Event) -> None:
        self.path = path
        self._ends = ends

    def __call__(self) -> bool:
        return not self._ends.wait(_PAUSE)


@contextmanager
def following(name: str) -> Iterator[Following]:
    """Follow a file, or standard input (`-`) through a private copy. The first interrupt ends it in order."""
    ends = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: ends.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with tempfile.NamedTemporaryFile(prefix="privacy-audit-") as copy:
            more = Following(Path(name) if name != "-" else Path(copy.name), ends)
            if name == "-":
                threading.Thread(target=_copy, args=(copy, ends), daemon=True).start()
            while more.path.is_file() and more.path.stat().st_size < _HEADER and more():
                pass
            yield more
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _copy(copy: BinaryIO, ends: threading.Event) -> None:
    while chunk := os.read(sys.stdin.fileno(), 1 << 16):
        copy.write(chunk)
        copy.flush()
    ends.set()
