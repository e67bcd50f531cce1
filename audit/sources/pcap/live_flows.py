"""Flows whose payloads are being read: they are told and forgotten when they end, or have been silent for long.

Silence is counted in packets, because the clocks of captures jump, and looked for at the same packets whatever
the batches are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from audit.sources.pcap.knowledge import Knowledge

if TYPE_CHECKING:  # imported when there is a payload to read
    from audit.sources.pcap.decryption.ring import KeyRing
    from audit.sources.pcap.telling import Teller

UNTRIED, TALKING, OVER = 0, 1, 2  # the stages of a flow's payloads
QUIET = 400_000  # packets after which a silent flow is forgotten
_ROUND = 65_536  # how often that is looked at, in packets


class Live(Protocol):
    """A flow that is being read; `last` is the number of its latest packet."""

    teller: Teller
    last: int

    def finish(self) -> None:
        """It ended."""


One = TypeVar("One", bound=Live)


class LiveFlows(Generic[One]):
    """The flows of one sort that are being read, by their rows in the table."""

    def __init__(self, knowledge: Knowledge, ring: KeyRing | None) -> None:
        self._knowledge, self._table = knowledge, knowledge.table
        self._ring = ring
        self._live: dict[int, One] = {}
        self._looked = 0  # the packet before which it was looked what is silent

    def end(self, row: int, number: int) -> None:
        """A flow ended before packet `number`: tell what is left."""
        live = self._live.pop(row)
        live.teller.number = number
        live.finish()
        self._knowledge.learn(row, live.teller)
        self._table.stage[row] = UNTRIED
        self._table.tried_a[row] = self._table.tried_b[row] = 1

    def end_quiet(self, number: int) -> None:
        """End what has been silent too long before packet `number`."""
        if number // _ROUND == self._looked // _ROUND:
            return
        self._looked = number
        silent = [(row, ends) for row, one in self._live.items() if (ends := forgotten(one.last)) <= number]
        for row, ends in silent:
            self.end(row, ends)

    def end_all(self, number: int) -> None:
        """The capture ended before packet `number`."""
        for row in [*self._live]:
            self.end(row, number)


def forgotten(last: int) -> int:
    """The packet at which a flow is forgotten whose last packet was `last`."""
    return ((last + QUIET) // _ROUND + 1) * _ROUND
