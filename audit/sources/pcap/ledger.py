"""What one reading of a capture has told: the records and the names of addresses, in the order told. No
protocol is known here, so accounting needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from audit.sources.pcap.decryption.ring import KeyRing

Told = tuple[int, int, int, Any]
"""A record, or what was made of it, and before it where it stands: the packet that completed it, its flow's
first packet, its ordinal. No two stand at the same place."""


class Resolved(NamedTuple):
    """A DNS answer: at packet `number`, `address` was said to be `name`'s."""

    number: int
    address: str
    name: str


class Ledger:
    """Everything the tellers of one reading have told."""

    def __init__(
        self, capture: str, kinds: frozenset[str], ring: KeyRing | None = None, *, bodies: bool = False
    ) -> None:
        self.capture = capture
        self.kinds = kinds
        self.ring = ring
        self.bodies = bodies
        self.told: list[Told] = []
        self.resolved: list[Resolved] = []
