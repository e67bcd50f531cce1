"""Records that each say how long they are, found in many places of a window at once.

A window is cut into lanes, a record is guessed in each, and all lanes advance in lock-step. A lane must end exactly
where the next begins, so what is found is what a walk from record to record finds. No format is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audit.sources.pcap.batch import I64, Bools

LANE = 64 << 10
FEW = 32  # lanes below which a plain walk is as fast
STEPS = 64  # of all lanes, before those that are done are left behind


def chain(
    entries: Sequence[int], length: int, lengths: Sequence[NDArray[np.uint32]], header: int, least: int
) -> tuple[I64, int] | None:
    """Positions of the complete records in the first `length` bytes, from the first of `entries` on, and where they
    end; None where the lanes do not meet. `entries` are where each lane seems to have a record. A record takes
    `header` bytes and what `lengths` has at its position (one column for each of `STEPS` steps, of which each stands
    `header` bytes behind the one before it), at `least` so many."""
    here = np.array(entries, dtype=np.int64)
    limit = np.append(here[1:], length - least + 1)
    live = np.arange(len(here))
    counts, ends = np.zeros(len(here), dtype=np.int64), limit.copy()
    blocks: list[tuple[I64, I64, Bools]] = []
    headers = np.arange(STEPS + 1, dtype=np.int64) * header
    while len(live):
        # lanes that are done walk on into the next one, up to the end, which costs less than to stop them
        steps = np.empty((STEPS + 1, len(live)), dtype=np.int64)
        steps[0] = here
        for (before, after), column, end in zip(
            pairwise(steps), lengths, (length + 1 - headers[1:]).tolist(), strict=True
        ):
            np.add(before, column[before], out=after)
            np.minimum(after, end, out=after)
        steps += headers[:, None]  # so far without the headers that were passed
        inside = steps[:-1] < limit[live]
        passed = inside.sum(axis=0)
        counts[live] += passed
        blocks.append((live, steps, inside))
        ends[live] = steps[passed, np.arange(len(live))]
        going = np.flatnonzero(ends[live] < limit[live])
        if (steps[-1, going] - here[going] < STEPS * least).any():
            return None
        live, here = live[going], steps[-1, going]
    starts = np.empty(int(counts.sum()), dtype=np.int64)
    place = np.cumsum(counts) - counts
    for live, steps, inside in blocks:
        rows = np.arange(STEPS)[:, None] + place[live]
        kept = np.flatnonzero(inside)
        starts[rows.ravel()[kept]] = steps.ravel()[kept]
        place[live] += STEPS
    if (ends[:-1] != limit[:-1]).any():
        return None
    if ends[-1] <= length:
        return starts, int(ends[-1])
    return starts[:-1], int(starts[-1])
