"""What one reading of a capture has told: the records and the names of addresses. Those of which there are
many are rows of values until somebody wants them as something. No protocol is known here, so accounting
needs none of them.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from audit.records import AnyRecord, Dns, Http, Tls

if TYPE_CHECKING:
    from audit.sources.pcap.decryption.ring import KeyRing

Told = tuple[int, int, int, Any]
"""What was made of a record, and before it where it stands: the packet that completed it, its flow's first
packet, its ordinal. No two stand at the same place."""
Row = tuple[Any, ...]
"""A record of which there are many: where it stands (as in `Told`), its time in seconds, and its fields from
`src` on, without its `id`."""
IN_PART = "read in part"
"""Why a flow is not wholly observed though some of it was read: the rest is of no protocol known here."""
Ends = tuple[str, int, str, int]
"""The first four of these: address and port of the device's side and of the other."""


class Resolved(NamedTuple):
    """A DNS answer: at packet `number`, `address` was said to be `name`'s."""

    number: int
    address: str
    name: str


class Answers:
    """What was resolved. Each pair of address and name is kept once: many are given again and again."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], int] = {}
        self._numbers = array("q")
        self._given = array("q")  # places of the pairs

    def add(self, number: int, address: str, name: str) -> None:
        """At packet `number` the address was said to be the name's."""
        self._numbers.append(number)
        self._given.append(self._pairs.setdefault((address, name), len(self._pairs)))

    def packed(self) -> bytes:
        """All of it, for another process."""
        return msgspec.msgpack.encode((list(self._pairs), self._numbers.tobytes(), self._given.tobytes()))

    def take(self, packed: bytes) -> None:
        """Add what another process knows."""
        pairs, numbers, given = _PACKED.decode(packed)
        places = array("q", (self._pairs.setdefault(pair, len(self._pairs)) for pair in pairs))
        self._numbers.frombytes(numbers)
        self._given.extend(places[place] for place in array("q", given))

    def history(self) -> dict[str, list[Resolved]]:
        """For each address when it got another name, oldest first."""
        pairs = list(self._pairs)
        ranks = np.empty(len(pairs), dtype=np.int64)
        ranks[sorted(range(len(pairs)), key=pairs.__getitem__)] = np.arange(len(pairs))
        addresses: dict[str, int] = {}
        owners = np.array([addresses.setdefault(address, len(addresses)) for address, _ in pairs], np.int64)
        given, numbers = np.array(self._given, np.int64), np.array(self._numbers, np.int64)
        order = np.lexsort((ranks[given], numbers, owners[given]))
        given, numbers = given[order], numbers[order]
        changes = np.flatnonzero(np.diff(given, prepend=-1))
        history: dict[str, list[Resolved]] = {}
        for number, place in zip(numbers[changes].tolist(), given[changes].tolist(), strict=True):
            answer = Resolved(number, *pairs[place])
            history.setdefault(answer.address, []).append(answer)
        return history


_PACKED = msgspec.msgpack.Decoder(tuple[list[tuple[str, str]], bytes, bytes])


class Said:
    """Records: those of which there are few, each with where it stands, and rows."""

    __slots__ = ("records", "rows")

    def __init__(self) -> None:
        self.records: list[tuple[int, int, int, AnyRecord]] = []
        self.rows: dict[type[Dns | Tls | Http], list[Row]] = {Dns: [], Tls: [], Http: []}


class Ledger:
    """Everything the tellers of one reading have told."""

    def __init__(
        self,
        capture: str,
        kinds: frozenset[str],
        ring: KeyRing | None = None,
        *,
        bodies: bool = False,
        whole: bool = True,
    ) -> None:
        self.capture = capture
        self.kinds = kinds
        self.ring = ring
        self.bodies = bodies
        self.whole = whole
        self.resolved = Answers()
        self.said = Said()
