"""What flows carried in each phase of an experiment: counts by flow and phase, many packets at once.

A connection may outlive the phase it was opened in; what passed after that belongs to the next one.
Phases are half-open intervals; where two overlap, the one named first counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audit.records import FlowPart
from audit.sources.pcap.batch import I64, NO_TIME, Bools
from audit.sources.pcap.flows import Grouped
from audit.sources.pcap.packets import Packets

_COUNTS = 6  # packets, bytes and payload, each forth and back


class Span(NamedTuple):
    """A phase on the clock of the packets: nanoseconds since the epoch; `end` of None: still running."""

    phase: str
    start: int
    end: int | None


class Phased:
    """The parts of all flows seen so far, ordered by flow and phase."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = tuple(spans)
        self._keys: I64 = np.zeros(0, dtype=np.int64)  # row * (spans + 1) + index of the span, 0 for none
        self._counts: I64 = np.zeros((0, _COUNTS), dtype=np.int64)
        self._first: I64 = np.zeros(0, dtype=np.int64)
        self._last: I64 = np.zeros(0, dtype=np.int64)

    def __bool__(self) -> bool:
        return bool(self._spans)

    def add(self, packets: Packets, grouped: Grouped, counted: Bools | None) -> None:
        """Count these packets; `counted` leaves out those that were counted in another shape."""
        order, starts, rows, ab = grouped
        if not self._spans or not len(order):
            return
        time = packets.time[order]
        index = np.zeros(len(order), dtype=np.int64)
        for number, span in reversed(list(enumerate(self._spans, 1))):
            end = np.iinfo(np.int64).max if span.end is None else span.end
            index[(time >= span.start) & (time < end)] = number
        lengths = np.diff(np.append(starts, len(order)))
        keys = np.repeat(rows, lengths) * (len(self._spans) + 1) + index
        one = np.ones(len(order), dtype=np.int64) if counted is None else counted[order].astype(np.int64)
        values = (one, packets.size[order] * one, packets.sent[order] * one)
        counts = np.stack(
            [np.where(side, value, 0) for value in values for side in (ab, ~ab)], axis=1
        )  # fmt: skip
        self._merge(
            np.concatenate([self._keys, keys]),
            np.concatenate([self._counts, counts]),
            np.concatenate([self._first, time]),
            np.concatenate([self._last, time]),
        )

    def _merge(self, keys: I64, counts: I64, first: I64, last: I64) -> None:
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys = keys[begins]
        self._counts = np.add.reduceat(counts[order], begins, axis=0)
        self._first = np.minimum.reduceat(first[order], begins)
        self._last = np.maximum.reduceat(last[order], begins)

    def parts(self, row: int, *, device_a: bool) -> tuple[FlowPart, ...]:
        """What the flow in this row carried in each phase, in the order of the phases; what was sent outside
        of all of them has no name."""
        if not self._spans:
            return ()
        width = len(self._spans) + 1
        begin, end = np.searchsorted(self._keys, [row * width, (row + 1) * width])
        found = []
        for at in range(int(begin), int(end)):
            counts = self._counts[at].tolist()
            up, down = (counts[0::2], counts[1::2]) if device_a else (counts[1::2], counts[0::2])
            index = int(self._keys[at]) % width
            first, last = int(self._first[at]), int(self._last[at])
            found.append(
                FlowPart(
                    phase=self._spans[index - 1].phase if index else None,
                    packets_up=up[0], packets_down=down[0], bytes_up=up[1], bytes_down=down[1],
                    payload_up=up[2], payload_down=down[2], first=None if first == NO_TIME else first / 1e9,
                    last=None if last == NO_TIME else last / 1e9,
                )
            )  # fmt: skip
        return tuple(found)
