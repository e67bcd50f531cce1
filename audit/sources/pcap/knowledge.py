"""What payloads said of flows as a whole: a statement for each, shared by all flows that are alike.

It makes the tellers of flows, and takes down what they learnt. No payload is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from audit.records import Observability, SecuredBy
from audit.sources.pcap import addresses
from audit.sources.pcap.batch import I64
from audit.sources.pcap.flows import FlowTable
from audit.sources.pcap.ledger import IN_PART, Ends, Ledger

if TYPE_CHECKING:  # imported when there is a payload to read
    from audit.sources.pcap.telling import Teller

MAX_ALIKE = 8_192  # statements about flows that are kept to be shared by others like them
_UNNAMED: dict[str, tuple[str, ...]] = {}


class Known(NamedTuple):
    """What payloads said of a flow as a whole."""

    observability: Observability
    reason: str | None
    names: dict[str, tuple[str, ...]]
    told: int  # records so far
    secured: SecuredBy | None = None


class Knowledge:
    """What is known of the flows of a table; `of` has a statement for each row, None where nothing was said."""

    def __init__(self, table: FlowTable, ledger: Ledger) -> None:
        self.table = table
        self.ledger = ledger
        self.of: list[Known | None] = []
        self._alike: dict[tuple[object, ...], Known] = {}

    def reserve(self) -> None:
        """Make room for the flows that the table has now."""
        self.of += [None] * (self.table.count - len(self.of))

    def tellers(self, rows: I64) -> dict[int, Teller]:
        """A teller for each of these flows."""
        from audit.sources.pcap.telling import Teller

        table = self.table
        columns = (
            table.first_number,
            table.device_a,
            table.a_hi,
            table.a_lo,
            table.b_hi,
            table.b_lo,
            table.ports,
        )
        tellers = {}
        for row, number, device_a, a_hi, a_lo, b_hi, b_lo, ports in zip(
            rows.tolist(), *(column[rows].tolist() for column in columns), strict=True
        ):
            a, port_a = addresses.text(a_hi, a_lo), ports >> 32
            b, port_b = addresses.text(b_hi, b_lo), ports >> 16 & 0xFFFF
            ends: Ends = (a, port_a, b, port_b) if device_a else (b, port_b, a, port_a)
            tellers[row] = teller = Teller(self.ledger, number, bool(device_a), ends)
            known = self.of[row]
            if known is not None:
                teller.resume(known.told, known.names, (known.observability, known.reason))
                teller.opened = known.secured
        return tellers

    def learn(self, row: int, teller: Teller) -> None:
        """Take down what a teller knows of its flow."""
        reason: str | None
        observability, reason = teller.status or ("not_observed", "unknown protocol")
        if observability == "observed" and reason is None:
            reason = IN_PART if teller.partly else "lost" if teller.lost else None
        names = teller.named() if teller.names else _UNNAMED
        alike = observability, reason, teller.count, teller.opened, *names.items()
        known = self._alike.get(alike)
        if known is None:
            if len(self._alike) >= MAX_ALIKE:
                self._alike.clear()
            known = self._alike[alike] = Known(observability, reason, names, teller.count, teller.opened)
        self.of[row] = known
