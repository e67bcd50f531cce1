"""What stays closed: how large it is and how random it looks. Opaque is unknown, never clean."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from audit.records import Field


class Opaque(NamedTuple):
    """A value that nothing opened: where it is, its size in bytes, its entropy in bits per byte."""

    path: str
    layers: tuple[str, ...]
    size: int
    entropy: float


def entropy(data: bytes) -> float:
    """Shannon's entropy of the distribution of bytes, from 0 to 8 bits per byte. It cannot exceed the
    logarithm of the length: 16 random bytes have at most 4."""
    if not data:
        return 0.0
    size = len(data)
    return sum(count / size * math.log2(size / count) for count in Counter(data).values())


def opaque_values(fields: Iterable[Field]) -> list[Opaque]:
    """The opaque fields of a tree, in its order."""
    return [
        Opaque(field.path, field.layers, len(field.data), round(entropy(field.data), 3))
        for field in fields
        if field.opaque
    ]
