"""Bytes to fields: peels one layer after another until nothing more opens, within bounds.

The codings are tried in a fixed order; the first that covers the data ends the trying, the others may
each open a part. What is left in doubt is then guessed at: each reading that nothing marks grows like any
other, on a purse of its own, and in the end those that led to nothing are cut off again. The tree is built
in order of discovery, so the same bytes give the same tree. This module decides nothing about what a value
means, and reads no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from msgspec import structs

from audit.decoding import (
    base64_runs,
    bond,
    charset,
    compression,
    dns_message,
    embedded,
    guesses,
    lzstring,
    markup,
    multipart,
    packed,
    protobuf,
    radix,
    structure,
    text,
)  # fmt: skip
from audit.decoding.coding import Bounds, Candidate, Coding, Dull, Piece, Purse, Sought, fits, kinds
from audit.decoding.evidence import (
    has_head,
    is_clean,
    is_media,
    is_noise,
    is_text,
    marked,
    names_address,
    reads,
    telling,
)
from audit.decoding.hiding import inert, is_token, may_hide, token_speaks
from audit.records import Field, LimitHit

__all__ = ["CODINGS", "Tree", "may_hide", "unfold"]

# What only a declaration can tell.
DECLARED: tuple[Coding, ...] = (compression.Declared(), charset.Declared())
# Order: what carries its own mark, then structures, then codings of characters, then runs inside text.
CODINGS: tuple[Coding, ...] = (
    compression.Headed(),
    charset.ByteOrderMark(),
    charset.Utf16And32(),
    structure.Cookies(),
    structure.ByteArray(),
    structure.Json(),
    structure.JsonLines(),
    radix.Uuencode(),
    radix.Adobe(),
    text.QuotedPrintable(),
    multipart.Multipart(),
    markup.Xml(),
    text.HtmlEntities(),
    structure.DataUrl(),
    structure.Form(),
    structure.JsonWebToken(),
    dns_message.DnsMessage(),
    protobuf.Grpc(),
    packed.MessagePack(),
    packed.Cbor(),
    bond.Bond(),
    protobuf.Protobuf(),
    charset.Gb18030(),
    structure.Address(),
    structure.JsonWithin(),
    text.Percent(),
    text.Escapes(),
    text.Punycode(),
    base64_runs.Base64(),
    radix.Hex(),
    radix.Base32(),
    compression.Inner(),
    embedded.Runs(),
)
# Candidates: codings that share their letters with plain text, then those that leave no mark at all.
XOR = guesses.Xor()
_CANDIDATES: tuple[Candidate, ...] = (
    radix.ASCII85,
    radix.GIT85,
    radix.Z85,
    radix.Base58(),
    *compression.RAW,
    *lzstring.LZ_STRINGS,
    *guesses.DISGUISES,
    XOR,
)
_OF_NOISE: tuple[Candidate, ...] = (*compression.RAW, lzstring.BYTES, XOR)
_OF_MARKS = (radix.ASCII85, radix.GIT85, radix.Z85)
_MARKLESS = frozenset(coding.name for coding in _CANDIDATES if coding.markless)
_CHANCY = frozenset(coding.name for coding in (*guesses.DISGUISES, XOR))
# Layers that chance does not produce: what they open must have been meant.
_PROOF = frozenset((
    "gzip", "zstd", "lz4", "snappy", "zlib", "json", "ndjson", "multipart", "jwt", "dns", "xml", "uuencode",
    "utf-32le", "utf-32be", "bytes", "data-url",
))  # fmt: skip
# How much a guess proves: a whole document is of more weight than a telling word (1).
_DOCUMENT, _HELD = 2, 3
_PACKED = frozenset(("gzip", "zlib", "zstd", "lz4", "snappy"))
_MIN_WHOLE = 24
# Layers that leave no doubt about what the data was; the others may read what was meant otherwise.
_CERTAIN = _PROOF | {
    "msgpack",
    "cbor",
    "bond",
    "protobuf",
    "grpc",
    "cookie",
    "utf-8",
    "brotli",
    "deflate",
}
# Layers that open parts of data and say nothing of the rest.
_PARTS = frozenset(("url", "punycode", embedded.NAME))
_DECLARING = frozenset(("form", "application/x-www-form-urlencoded", "cookie"))
# What handling a value costs beside looking at its bytes, in bytes looked at.
_PER_FIELD = 1_000
_SCALAR = re.compile(rb"true|false|-?[0-9]{1,9}\.[0-9]{1,20}(?:e-?[0-9]{1,3})?")
_MIN_TEXT = 8
_NOISE: list[Piece] = []  # in the place of readings: that there is nothing to see
_OPENING = (b"{", b"[")
_MOST_REMEMBERED = 2 << 10
_MOST_READINGS, _MOST_KEYS, _SHORT = 16, 48, 64
_LONG_TOKEN = 96
_MOST_GUESSED = 8 << 20  # nobody hides more than this without a mark of what it is


@dataclass(frozen=True)
class Tree:
    """The fields in order of discovery (the root first; a child after its parent) and the bounds hit."""

    fields: list[Field]
    limits: list[LimitHit]


def unfold(
    data: bytes,
    hints: tuple[str, ...] = (),
    *,
    bounds: Bounds | None = None,
    sought: Sought | None = None,
    extra: tuple[Candidate, ...] = (),
    sparing: bool = False,
    dull: Dull = (),
) -> Tree:
    """Opens every layer of `data`.

    hints: what is declared of the data, outermost first: HTTP content codings in the order in which
    they must be undone, then a media type or `form`, `cookie`, `form-value`.
    sought: what is looked for; makes sure of what could only be guessed.
    extra: candidates tried before the others, such as keyed layers (`audit.decoding.keyed`).
    sparing: text in which nothing is encoded, and nothing sought shows, is not taken apart.
    dull: values that are known to hold nothing, which are not taken apart either; may grow, must be hashable.
    Raises nothing: what cannot be opened stays a field, marked `opaque` if it is no text, and bounds
    that were hit are in the result.
    """
    bounds = bounds or Bounds()
    if extra or len(data) > _MOST_REMEMBERED:
        return _Growth(data, bounds, sought, extra, sparing=sparing, dull=dull).tree(hints)
    known = _unfolded(data, hints, bounds, sought, sparing, dull)
    return Tree([*known.fields], [*known.limits])


@lru_cache(1 << 9)
def _unfolded(
    data: bytes, hints: tuple[str, ...], bounds: Bounds, sought: Sought | None, sparing: bool,
    dull: Dull,
) -> Tree:  # fmt: skip
    # a client says most of what it says, such as its cookies, with each request
    return _Growth(data, bounds, sought, (), sparing=sparing, dull=dull).tree(hints)


class _Growth:
    """A tree while it grows. `guess` tells for each field the root of the guess it lies under (its own
    index, if it is that root; None for what is evident), `spent` whether a markless guess lies above it.
    `doubtful` are the fields to guess at, each with the readings that are known already."""

    def __init__(
        self,
        data: bytes,
        bounds: Bounds,
        sought: Sought | None,
        extra: tuple[Candidate, ...],
        *,
        sparing: bool = False,
        dull: Dull = (),
    ) -> None:
        self.bounds = bounds
        self.dull = dull
        self.sparing = sparing and sought is not None
        self.sought = sought
        self.keyed = frozenset(coding.name for coding in extra)
        self.candidates = extra + _CANDIDATES
        self.of_noise = extra + _OF_NOISE
        self.purse = Purse.filled(bounds)
        self.fields = [Field(path="", layers=(), data=data)]
        self.guess: list[int | None] = [None]
        self.spent = [False]
        self.doubtful: list[tuple[int, list[Piece]]] = []
        self.tried: set[tuple[bytes, bool]] = set()
        self.holding: set[int] = set()  # the fields in guesses that hold what is looked for

    def tree(self, hints: tuple[str, ...]) -> Tree:
        """Grows what is evident, then what is guessed, and cuts off the guesses that led to nothing."""
        self._grow([(0, hints)], self.purse)
        if not self.doubtful:
            return Tree(self.fields, self.purse.hits)
        purse = Purse.filled(self.bounds.of_guesses())
        for index, readings in self.doubtful:  # grows under way
            if purse.work <= 0:
                break
            self._guess(index, readings, purse)
        if purse.empty or purse.bytes <= 0:
            self.purse.note("time", "not every reading of what nothing marks was tried to its end")
        return Tree(self._pruned(), self.purse.hits)

    def _grow(self, todo: list[tuple[int, tuple[str, ...]]], purse: Purse) -> None:
        fields, sought = self.fields, self.sought
        while todo:
            index, hints = todo.pop()
            parent = fields[index]
            data = parent.data
            if not hints and (len(data) < 4 or _SCALAR.fullmatch(data) or data in self.dull):
                continue
            if len(parent.layers) >= self.bounds.depth:
                purse.note("depth", f"more than {self.bounds.depth} layers")
                continue
            if self.sparing and sought:
                traced = sought.traced(data)
                if not traced and len(data) >= 64 and data.isascii() and not may_hide(data) and reads(data):
                    continue
                purse.scalars = False
                # an escape may hide in the text what shows in its value
                purse.coded_only = not traced and b"\\" not in data and (data.isascii() or is_text(data))
            pieces, hints = self._open(index, hints, purse)
            opened = self._add(index, pieces, hints, purse)
            if not opened and not is_text(data):
                fields[index] = structs.replace(parent, opaque=True)
            opened.reverse()
            todo += opened

    def _add(
        self, index: int, pieces: list[Piece], hints: tuple[str, ...], purse: Purse
    ) -> list[tuple[int, tuple[str, ...]]]:
        guess, spent = self.guess[index], self.spent[index]
        opened = []
        for piece in pieces:
            if not purse.take(len(piece.data)):
                break
            if guess is None or (piece.data, spent) not in self.tried:
                opened.append((len(self.fields), (piece.hint,) if piece.hint else hints[1:]))
                if guess is not None:
                    self.tried.add((piece.data, spent))
            self._append(index, piece, guess, spent=spent)
        return opened

    def _append(self, index: int, piece: Piece, guess: int | None, *, spent: bool) -> None:
        child = len(self.fields)
        self.fields.append(_below(self.fields[index], index, piece))
        self.guess.append(guess)
        self.spent.append(spent)
        if guess is not None and self.sought and self.sought.holds(piece.data):
            self.holding.add(child)

    def _open(self, index: int, hints: tuple[str, ...], purse: Purse) -> tuple[list[Piece], tuple[str, ...]]:
        """What the first declaration that is true opens, or what opens undeclared."""
        data = self.fields[index].data
        if not purse.charge(len(data) + _PER_FIELD):
            return [], hints
        if inert(data) and (not hints or (hints[0] == "form-value" and b"+" not in data)):
            if len(data) >= _MIN_TEXT and not purse.coded_only:
                self.doubtful.append((index, []))
            return [], hints
        if not hints and is_noise(data):
            self.doubtful.append((index, _NOISE))
            return [], hints
        codings = _codings(kinds(data))
        while True:
            hint = hints[0] if hints else ""
            pieces, sure = _peel(DECLARED + codings if hint else codings, data, hint, purse)
            if pieces or len(hints) < 2:
                break
            hints = hints[1:]
        readings = [piece for piece in pieces if piece.guess]
        if readings:
            pieces = [piece for piece in pieces if not piece.guess]
        if readings or not sure:
            self.doubtful.append((index, readings))
        return pieces, hints

    def _guess(self, index: int, readings: list[Piece], purse: Purse) -> None:
        """Adds the readings of a field that nothing marks, and lets each grow."""
        for piece, markless in self._readings(index, readings, purse):
            if not purse.take(len(piece.data)):
                return
            child = len(self.fields)
            self._append(index, piece, child, spent=self.spent[index] or markless)
            # several readings often come down to the same
            if (piece.data, self.spent[child]) not in self.tried:
                self.tried.add((piece.data, self.spent[child]))
                self._grow([(child, ())], purse)
            if markless and child in self.holding:
                return
            if piece.layer in self.keyed and any(index >= child for index in self.holding):
                return  # whoever has the key need not guess

    def _readings(self, index: int, readings: list[Piece], purse: Purse) -> Iterator[tuple[Piece, bool]]:
        field = self.fields[index]
        data = field.data
        if not _MIN_TEXT <= len(data) <= _MOST_GUESSED or data.count(data[:1]) == len(data):
            return
        if is_media(data):
            return
        noise = readings is _NOISE
        text = not noise and is_clean(data)
        plain = text and data[-1:] not in _OPENING and not may_hide(data) and reads(data)
        if plain and (names_address(data) or (self.sought and not self.sought.traced(data))):
            return
        for piece in readings:
            yield piece, False
        token = text and len(data) < _LONG_TOKEN and is_token(data)
        opened = not self.keyed.isdisjoint(field.layers)  # nobody encrypts twice
        if token:
            for radix85 in _OF_MARKS:
                for piece in radix85.bare(data):
                    if is_clean(piece.data) or (self.sought and self.sought.holds(piece.data)):
                        yield piece, False
        for coding in self.of_noise if noise else _fitting(self.candidates, kinds(data)):
            if token and coding in _OF_MARKS:
                continue
            if (
                (self.spent[index] and coding.markless)
                or (opened and coding.name in self.keyed)
                or (coding.name in field.layers if coding.chancy else plain)
            ):
                continue
            if not purse.charge(len(data) + _PER_FIELD):
                return
            for piece in self._peeled(coding, data, purse):
                if len(piece.data) >= _MIN_TEXT and (not coding.chancy or self._promises(piece.data, data)):
                    yield piece, coding.markless
        if noise and has_head(data[:-_MIN_TEXT:-1]):
            yield from ((piece, True) for piece in guesses.Reversed().peel(data, "", purse))
        if not text:
            for piece in embedded.starts(data, purse, markless=not self.spent[index]):
                yield piece, piece.layer in _MARKLESS

    def _peeled(self, coding: Candidate, data: bytes, purse: Purse) -> list[Piece]:
        if coding is XOR and self.sought:
            keys = self.sought.keys(data)
            if keys:
                return [self._bared(piece, self.sought) for piece in guesses.under(data, keys)]
        return coding.peel(data, "", purse)[: _MOST_KEYS if len(data) <= _SHORT else _MOST_READINGS]

    @staticmethod
    def _bared(piece: Piece, sought: Sought) -> Piece:
        """The reading without the few bytes before and behind it that were never XORed, where these hide it."""
        for tail in range(embedded.TAILS + 1):
            for lead in range(embedded.LEADS + 1):
                part = piece.data[lead : len(piece.data) - tail]
                if sought.holds(part):
                    return piece._replace(data=part, offset=lead, length=len(part))
        return piece

    def _promises(self, data: bytes, before: bytes) -> bool:
        """Whether a chancy reading is worth a closer look: what it gives must show something by itself."""
        if self.sought and self.sought.holds(data):
            return True
        if not is_clean(data):
            # (bytes that are UTF-8 with more than ASCII under a key are so by no chance)
            return has_head(data) or (embedded.speaks(data) and (before.isascii() or not is_clean(before)))
        if is_token(data) and len(data) < _LONG_TOKEN:
            return token_speaks(data)
        return may_hide(data) or (names_address(data) and not names_address(before))

    def _pruned(self) -> list[Field]:
        """The fields without the guesses that led to nothing: of the readings of one field, those that lead to
        what is looked for, else the one that makes a whole document, else the first that proves itself. Where
        there is a document, nothing is guessed in what else chance opened of the field."""
        proof = [0] * len(self.fields)
        best: dict[int, tuple[int, bool, int]] = {}
        for index in range(len(self.fields) - 1, 0, -1):
            root = self.guess[index]
            above = self.fields[index].parent or 0
            proof[index] = max(proof[index], self._proof(index, root))
            proof[above] = max(proof[above], proof[index])
            if proof[index]:
                best[above] = max(best.get(above, (0, False, 0)), (proof[index], self._is_apt(index), -index))
        kept: list[Field] = []
        place: dict[int, int] = {}
        settled: set[int] = set()
        for index, field in enumerate(self.fields):
            parent = field.parent
            if parent is not None:
                if parent not in place:
                    continue
                most, _, first = best.get(parent, (0, False, 0))
                chosen = -first == index
                if self.guess[index] == index and not (
                    proof[index] == _HELD or (proof[index] and chosen and parent not in settled)
                ):
                    continue
                if parent in settled or (most == _DOCUMENT and self.guess[-first] == -first and not chosen):
                    settled.add(index)
                field = structs.replace(field, parent=place[parent])
            place[index] = len(kept)
            kept.append(field)
        return kept

    def _is_apt(self, index: int) -> bool:
        """Whether a reading is none that chance often gives: percent signs that make binary data of text."""
        field = self.fields[index]
        return self.guess[index] != index or field.layers[-1] != "percent" or is_clean(field.data)

    def _proof(self, index: int, root: int | None) -> int:
        """Whether it holds what is looked for, makes a whole document of a guess, or else shows that the
        reading was right; 0: none of these."""
        field = self.fields[index]
        if root is None:
            return int(field.layers[-1] in _PROOF or (is_clean(field.data) and marked(field.data)))
        if index in self.holding:
            return _HELD
        if index != root and field.layers[-1] in _PROOF:
            return _DOCUMENT if field.parent == root and _is_whole(self.fields[root], field) else 1
        reading = self.fields[root]
        before = self.fields[reading.parent or 0].data
        if not is_clean(field.data):
            # (keys are tried that make a header of zlib's two bytes: it must open, too)
            head = telling if reading.layers[-1] in _CHANCY else has_head
            return int(index == root and head(field.data))
        if reading.layers[-1] in _CHANCY:
            return int(names_address(field.data) and not names_address(before))
        # (a few letters together show in what any wrong key gives)
        chance = reading.layers[-1] == embedded.NAME and self.guess[reading.parent or 0] is not None
        return int(marked(field.data) or (index == root and len(field.data) >= _MIN_TEXT and not chance))


def _is_whole(field: Field, opened: Field) -> bool:
    """Whether all of a field is JSON or compressed, of more than chance writes."""
    data = field.data
    if len(data) < _MIN_WHOLE:
        return False
    if opened.layers[-1] == "json":
        return (data[:1], data[-1:]) in ((b"{", b"}"), (b"[", b"]"))
    return opened.layers[-1] in _PACKED and opened.offset == 0 and has_head(data)


def _below(parent: Field, index: int, piece: Piece) -> Field:
    return Field(
        path=piece.path or parent.path,
        layers=(*parent.layers, piece.layer),
        data=piece.data,
        offset=piece.offset,
        length=piece.length,
        parent=index,
    )


def _peel(codings: tuple[Coding, ...], data: bytes, hint: str, purse: Purse) -> tuple[list[Piece], bool]:
    """The pieces opened, and whether they leave no doubt that this was the coding."""
    pieces: list[Piece] = []
    for coding in codings:
        found = coding.peel(data, hint, purse)
        if found:
            # (what was declared once, and read as it is, goes on undeclared)
            pieces += [piece for piece in found if piece.data != data or hint == "form-value"]
            if coding.covers and not found[0].guess:
                return pieces, _is_sure(found, hint)
    half = len(data) // 2
    return pieces, any(
        (piece.length or 0) > half and not piece.guess and piece.layer not in _PARTS and telling(piece.data)
        for piece in pieces
    )


def _is_sure(found: list[Piece], hint: str) -> bool:
    first = found[0]
    if first.layer in _PROOF or hint in _DECLARING:
        return True
    if first.layer in _CERTAIN:
        return any(len(piece.data) >= 4 and telling(piece.data) for piece in found)
    return is_clean(first.data) and names_address(first.data)


@lru_cache(4096)
def _codings(present: frozenset[int]) -> tuple[Coding, ...]:
    return tuple(coding for coding in CODINGS if fits(coding, present))


@lru_cache(4096)
def _fitting(candidates: tuple[Candidate, ...], present: frozenset[int]) -> tuple[Candidate, ...]:
    return tuple(coding for coding in candidates if fits(coding, present))
