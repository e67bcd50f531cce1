"""The common shape of all codings, and what they share: pieces, kinds of bytes, bounds.

A coding is one small object with one method: `peel` takes data and returns the pieces it opened, or
nothing. It never recurses (that is `unfold`'s work), never raises on bad data, and never returns more
bytes than the purse allows. A coding whose pieces account for all of the data `covers` it: no other
coding is tried on that data then. `needs` and `bars` say which kinds of bytes the data must and must
not hold, so that most codings are never asked.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, Protocol

from audit.records import LimitHit


class Piece(NamedTuple):
    """Data opened by one layer.

    `path` is where it lies in a structure ("" for a plain recoding), `offset` where its encoded form
    starts in the data it came from (None where the decoder does not tell), `length` how long that
    form is, `hint` what is known about its content (a media type, or a name of this package such as
    `form-value`). `guess`: one of several readings, kept only if it leads to something.
    """

    layer: str
    data: bytes
    path: str = ""
    offset: int | None = 0
    length: int | None = None
    hint: str = ""
    guess: bool = False


class Sought(Protocol):
    """What is looked for. Decoding needs to know it only to be quick, and sure of what it guessed. Never changes."""

    def __hash__(self) -> int:
        """What was decoded is remembered for what was looked for."""

    def holds(self, data: bytes) -> bool:
        """Whether something looked for stands in the data as it is, and is no part of a longer word."""

    def traced(self, data: bytes) -> bool:
        """Whether something looked for shows in the data as it is, reversed, rotated, or begun."""

    def keys(self, data: bytes) -> tuple[int, ...]:
        """The single bytes under which, XORed over the data, something looked for stands in it."""


class Dull(Protocol):
    """Values that are known to hold nothing. It may grow and forget."""

    def __contains__(self, value: object, /) -> bool: ...

    def __hash__(self) -> int:
        """What was decoded is remembered for what need not be."""


@dataclass(frozen=True)
class Bounds:
    """What one transmission may cost. `work` is counted in bytes looked at (a slow decoder counts a byte
    several times), not in seconds, so that the same input gives the same result on every machine.
    `guessing` is how much work may go into readings that nothing marks."""

    depth: int = 16
    fields: int = 200_000
    expansion: int = 1_000
    bytes: int = 32 << 20
    work: int = 256 << 20
    guessing: int = 48 << 20
    nesting: int = 512

    @lru_cache(16)  # noqa: B019  (values, not objects with a life)
    def of_guesses(self) -> Bounds:
        """What all guesses about one transmission may cost together."""
        return replace(self, fields=40_000, bytes=32 << 20, work=self.guessing)


@dataclass
class Purse:
    """What is left of the bounds while one tree is being unfolded, and which bounds were hit. `empty`: something
    could not be paid. `coded_only`: of a document, only the values are wanted in which something may be encoded;
    `scalars`: short numbers and truth values are, too, which mean something only to who knows the document."""

    bounds: Bounds
    bytes: int
    work: int
    fields: int
    hits: list[LimitHit] = field(default_factory=list)
    empty: bool = False
    coded_only: bool = False
    scalars: bool = True

    @classmethod
    def filled(cls, bounds: Bounds) -> Purse:
        return cls(bounds, bounds.bytes, bounds.work, bounds.fields - 1)  # the root is one

    def allowance(self, size: int) -> int:
        """How many bytes data of that size may expand to."""
        return max(0, min(self.bytes, max(size, 64) * self.bounds.expansion))

    def charge(self, amount: int) -> bool:
        """Takes `amount` bytes of work; False when there is not that much left."""
        if amount <= self.work:
            self.work -= amount
            return True
        self.empty = True
        self.note("time", f"more than {self.bounds.work} bytes of decoding work")
        return False

    def take(self, size: int) -> bool:
        """Takes the room of one more value of `size` bytes; False when there is not that much left."""
        self.fields -= 1
        self.bytes -= size
        if self.fields < 0:
            self.note("fields", f"more than {self.bounds.fields} values")
        elif self.bytes < 0:
            self.note("bytes", f"more than {self.bounds.bytes} decoded bytes")
        paid = self.fields >= 0 and self.bytes >= 0
        self.empty |= not paid
        return paid

    def note(self, bound: str, detail: str) -> None:
        """Remembers that a bound was hit; the same one is said once."""
        hit = LimitHit(bound=bound, detail=detail)  # type: ignore[arg-type]
        if hit not in self.hits:
            self.hits.append(hit)


class Coding(Protocol):
    """One coding. `covers` says whether its pieces account for all of the data. `needs`: of each group,
    at least one kind of byte is in the data; `bars`: none of these is."""

    @property
    def name(self) -> str: ...

    @property
    def covers(self) -> bool: ...

    @property
    def needs(self) -> tuple[bytes, ...]: ...

    @property
    def bars(self) -> bytes: ...

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]: ...


class Candidate(Coding, Protocol):
    """A coding that nothing marks. `chancy`: it turns text into what may look like text by chance.
    `markless`: one of those of which no two are looked for on top of each other."""

    @property
    def chancy(self) -> bool: ...

    @property
    def markless(self) -> bool: ...


# --- kinds of bytes: each is named by one byte that stands for it --------------------------------

_SETS = (
    (b"a", b"abcdef"), (b"g", b"ghijklmnopqrstuvwxyz"), (b"A", b"ABCDEF"), (b"G", b"GHIJKLMNOPQRSTUVWXYZ"),
    (b"2", b"234567"), (b"0", b"0189"), (b"/", b"/"), (b"+", b"+"), (b"-", b"-_"), (b"{", b"{["), (b"}", b"}]"),
    (b".", b".,"), (b" ", b" \t\f"), (b"\n", b"\r\n"), (b'"', b"\"'"), (b";", b";"), (b"?", b"?"),
    (b"=", b"="), (b"%", b"%"), (b"&", b"&"), (b"\\", b"\\"), (b":", b":"), (b"<", b"<"), (b"$", b"$"),
    (b"\x00", b"\x00"), (b"\x01", bytes([*range(1, 9), 11, *range(14, 32), 127])),
    (b"\x80", bytes(range(128, 256))),
)  # fmt: skip
_BY_BYTE = {byte: name for name, members in _SETS for byte in members}
KIND_OF = b"".join(_BY_BYTE.get(byte, b"!") for byte in range(256))
_ALL_KINDS = bytes(sorted(set(KIND_OF)))

LOWER, UPPER, DIGIT = b"ag", b"AG", b"02"
LETTER = LOWER + UPPER
CONTROL = b"\x00\x01"
BINARY = b"\x00\x01\x80"
_SHORT = 2048


def kinds(data: bytes) -> frozenset[int]:
    """The kinds of bytes in data; a printable byte that is in no set above is of the kind `!`."""
    mapped = data.translate(KIND_OF)
    if len(mapped) < _SHORT:
        return frozenset(mapped)
    return frozenset(kind for kind in _ALL_KINDS if kind in mapped)


def fits(coding: Coding, present: AbstractSet[int]) -> bool:
    """Whether data with these kinds of bytes may be in that coding at all."""
    return present.isdisjoint(coding.bars) and all(not present.isdisjoint(group) for group in coding.needs)
