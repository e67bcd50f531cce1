"""Finding the next unit of a framed stream after bytes were lost.

A place counts as a start if `chain` units in a row begin there plausibly. Decisions are only taken on
bytes that are there, so that the same stream cut into other pieces gives the same answer. Must never
look twice at a place that was ruled out, nor wait for more than one unit's length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

MORE = 0
"""A measure's answer: too few bytes to tell."""
NO = -1
"""A measure's answer: no unit starts here."""

Measure = Callable[[bytes, int], int]
"""Length in bytes of the unit that starts at an offset, or MORE, or NO."""


def find(
    data: bytes,
    candidates: re.Pattern[bytes],
    header: int,
    measure: Measure,
    *,
    chain: int = 2,
    end: bool = False,
) -> tuple[int, bool]:
    """The first place where `chain` units follow one another: (offset, True).

    (offset, False) where nothing is decided from `offset` on. `candidates` matches the first bytes of a
    header of `header` bytes. With `end`, the data ends here: units that end exactly with it count too.
    """
    for start in _places(data, candidates):
        at = start
        verdict = True
        for _ in range(chain):
            size = measure(data, at)
            if size == NO:
                verdict = False
                break
            if size == MORE or at + size > len(data):
                if not end:
                    return start, False
                verdict = False
                break
            at += size
            if end and at == len(data):
                break
        if verdict:
            return start, True
    return max(len(data) - header + 1, 0), False


def _places(data: bytes, candidates: re.Pattern[bytes]) -> Iterator[int]:
    """Every offset at which the pattern matches, overlapping matches included."""
    at = 0
    while (match := candidates.search(data, at)) is not None:
        yield match.start()
        at = match.start() + 1
