"""How a recording is asked to end: by a signal that is noted, and ends nothing by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came since; neither does anything else meanwhile."""
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in both]
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in zip(both, before, strict=True):
            signal.signal(number, handler)
