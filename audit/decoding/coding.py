"""The common shape of all codings, and what they share: pieces, hints, bounds.

A coding is one small object with one method: `peel` takes data and returns the pieces it opened, or
nothing. It never recurses (that is `unfold`'s work), never raises on bad data, and never returns more
bytes than the purse allows. A coding whose pieces account for all of the data `covers` it: no other
coding is tried on that data then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from audit.records import LimitHit

TEXT_BYTES = bytes([9, 10, 12, 13, *range(32, 127)])


class Piece(NamedTuple):
    """Data opened by one layer.

    `path` is where it lies in a structure ("" for a plain recoding), `offset` where its encoded form
    starts in the data it came from (None where the decoder does not tell), `length` how long that
    form is, `hint` what is known about its content (a media type, or a name of this package such as
    `form-value`).
    """

    layer: str
    data: bytes
    path: str = ""
    offset: int | None = 0
    length: int | None = None
    hint: str = ""


@dataclass(frozen=True)
class Bounds:
    """What one transmission may cost. `work` is counted in bytes looked at, not in seconds, so that
    the same input gives the same result on every machine."""

    depth: int = 16
    fields: int = 50_000
    expansion: int = 1_000
    bytes: int = 64 << 20
    work: int = 512 << 20
    nesting: int = 512


@dataclass
class Purse:
    """What is left of the bounds while one tree is being unfolded, and which bounds were hit."""

    bounds: Bounds
    bytes: int
    work: int
    hits: list[LimitHit] = field(default_factory=list)

    @classmethod
    def filled(cls, bounds: Bounds) -> Purse:
        return cls(bounds, bounds.bytes, bounds.work)

    def allowance(self, size: int) -> int:
        """How many bytes data of that size may expand to."""
        return max(0, min(self.bytes, max(size, 64) * self.bounds.expansion))

    def charge(self, amount: int) -> bool:
        """Takes `amount` bytes of work; False when there is not that much left."""
        self.work -= amount
        if self.work >= 0:
            return True
        self.note("time", f"more than {self.bounds.work} bytes of decoding work")
        return False

    def note(self, bound: str, detail: str) -> None:
        """Remembers that a bound was hit; the same one is said once."""
        hit = LimitHit(bound=bound, detail=detail)  # type: ignore[arg-type]
        if hit not in self.hits:
            self.hits.append(hit)


class Coding(Protocol):
    """One coding. `covers` says whether its pieces account for all of the data."""

    name: str
    covers: bool

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]: ...


def is_text(data: bytes) -> bool:
    """Whether data reads as text: printable ASCII, or UTF-8 with next to no control characters."""
    rest = data.translate(None, TEXT_BYTES)
    if not rest:
        return True
    if len(rest) * 2 > len(data) + 64 and data.isascii():
        return False
    try:
        text = rest.decode("utf-8") if data.isascii() else data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    controls = sum(c < " " and c not in "\t\n\f\r" or c == "\x7f" for c in text)
    return controls * 20 <= len(data)
