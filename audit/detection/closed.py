"""What stays closed in a transmission: data that nothing opened and that does not read as text.

It is counted, never judged: what it holds is unknown, never clean. Short values (identifiers, digests, keys
written in hex or base64) are left out, since they cannot hold an address and its frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audit.decoding import Tree
from audit.records import Field

# A key, digest or identifier has up to 32 bytes; one block of a cipher more may hold an address.
MIN_SIZE = 33


class Closed(NamedTuple):
    """One value that stayed closed. `channel` is without the name of the header."""

    channel: str
    data: bytes


def closed(channel: str, tree: Tree) -> list[Closed]:
    """The values of a tree that nothing opened, of 33 bytes and more. Of several readings of the same bytes
    the longest counts."""
    values = [field for field in tree.fields if field.opaque and len(field.data) >= MIN_SIZE]
    if len(values) > 1:
        values = _apart(values)
    return [Closed(channel.partition(":")[0], value.data) for value in values]


def _apart(values: list[Field]) -> list[Field]:
    """Those that were opened from different bytes."""
    kept: list[Field] = []
    ends: dict[int | None, int] = {}
    for value in sorted(values, key=lambda v: (v.parent or 0, v.offset or 0, -len(v.data))):
        start = value.offset or 0
        if value.offset is None or start >= ends.get(value.parent, 0):
            kept.append(value)
            ends[value.parent] = start + (value.length or 1)
    return kept


def _no_bytes() -> npt.NDArray[np.int64]:
    return np.zeros(256, np.int64)


@dataclass
class Stayed:
    """What stayed closed at one recipient: in how many transmissions, how many values, their size in bytes, and how
    often which byte. `known` says what an adapter knows of it."""

    transmissions: int = 0
    values: int = 0
    size: int = 0
    largest: int = 0
    known: str | None = None
    counts: npt.NDArray[np.int64] = field(default_factory=_no_bytes)

    def add(self, data: bytes) -> None:
        """Counts one more value."""
        self.values += 1
        self.size += len(data)
        self.largest = max(self.largest, len(data))
        self.counts = self.counts + np.bincount(np.frombuffer(data, np.uint8), minlength=256)

    def merge(self, other: Stayed) -> None:
        """Adds what stayed closed elsewhere."""
        self.transmissions += other.transmissions
        self.values += other.values
        self.size += other.size
        self.largest = max(self.largest, other.largest)
        self.known = self.known or other.known
        self.counts = self.counts + other.counts

    @property
    def entropy(self) -> float:
        """Shannon's entropy of the distribution of all these bytes together, 0 to 8 bits per byte."""
        shares = [int(count) / self.size for count in self.counts if count]
        return -math.fsum(share * math.log2(share) for share in shares)
