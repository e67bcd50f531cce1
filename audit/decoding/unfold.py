"""Bytes to fields: peels one layer after another until nothing more opens, within bounds.

The codings are tried in a fixed order; the first that covers the data ends the trying, the others may
each open a part. Where nothing opened, candidates are tried, and kept if they lead to something that
means anything. The tree is built in order of discovery, so the same bytes give the same tree. This
module decides nothing about what a value means, and reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from msgspec import structs

from audit.decoding import (
    base64_runs,
    bond,
    charset,
    compression,
    dns_message,
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
from audit.decoding.coding import Bounds, Candidate, Coding, Piece, Purse, fits, kinds
from audit.decoding.evidence import has_head, is_clean, is_text, marked, names_address, telling
from audit.decoding.hiding import inert, may_hide
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
    multipart.Multipart(),
    markup.Xml(),
    radix.Uuencode(),
    text.QuotedPrintable(),
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
    text.HtmlEntities(),
    text.Punycode(),
    base64_runs.Base64(),
    radix.Hex(),
    radix.Base32(),
    compression.Inner(),
)
# Candidates: codings that share their letters with plain text, then those that leave no mark at all.
# One of the second kind is looked for between things that are evident.
RADIX_CANDIDATES: tuple[Candidate, ...] = (radix.ASCII85, radix.GIT85, radix.Z85, radix.Base58())
MARKLESS_CANDIDATES: tuple[Candidate, ...] = (
    *compression.RAW,
    *lzstring.LZ_STRINGS,
    *guesses.DISGUISES,
    guesses.Xor(),
)
_CANDIDATES = RADIX_CANDIDATES + MARKLESS_CANDIDATES
# Layers that chance does not produce: what they open must have been meant.
_PROOF = frozenset((
    "gzip", "zstd", "lz4", "snappy", "zlib", "json", "ndjson", "multipart", "jwt", "dns", "xml", "uuencode",
    "msgpack", "cbor", "bond", "utf-32le", "utf-32be", "bytes",
))  # fmt: skip
# Layers that leave no doubt about what the data was; the others may read what was meant otherwise.
_CERTAIN = _PROOF | {"protobuf", "grpc", "cookie", "utf-8", "gb18030", "brotli", "deflate"}
_TRIAL = Bounds(depth=8, fields=256, bytes=1 << 20, work=1 << 22, guessing=1 << 21)
# What handling a value costs beside looking at its bytes, in bytes looked at.
_PER_FIELD, _PER_CANDIDATE, _PER_TRIAL = 1_000, 500, 5_000
_MIN_TEXT = 8
_OPENING = (b"{", b"[")
_MOST_TRIALS = 16
_MOST_GUESSED = 8 << 20  # nobody hides more than this without a mark of what it is
_MIN_TRIAL = 24


@dataclass(frozen=True)
class Tree:
    """The fields in order of discovery (the root first; a child after its parent) and the bounds hit."""

    fields: list[Field]
    limits: list[LimitHit]


@dataclass(frozen=True)
class _Asked:
    """What the caller wants: questions to ask of data, and candidates still allowed."""

    worth: Callable[[bytes], bool] | None
    probe: Callable[[bytes], bool] | None
    candidates: tuple[Candidate, ...]

    def of_trial(self, coding: Candidate) -> _Asked:
        """What is asked of a trial: it may hold one more candidate, of the other sort than `coding`."""
        if self.candidates[-1:] != _CANDIDATES[-1:]:
            return _Asked(None, self.probe, ())
        others = MARKLESS_CANDIDATES if coding in RADIX_CANDIDATES else RADIX_CANDIDATES
        return _Asked(None, self.probe, others)


def unfold(
    data: bytes,
    hints: tuple[str, ...] = (),
    *,
    bounds: Bounds | None = None,
    worth: Callable[[bytes], bool] | None = None,
    probe: Callable[[bytes], bool] | None = None,
    extra: tuple[Candidate, ...] = (),
) -> Tree:
    """Opens every layer of `data`.

    hints: what is declared of the data, outermost first: HTTP content codings in the order in which
    they must be undone, then a media type or `form`, `cookie`, `form-value`.
    worth: asked before a text is parsed into its values; where it says no, the text stays one field.
    probe: whether data holds something that is looked for; makes sure of what could only be guessed.
    extra: candidates tried before the others, such as keyed layers (`audit.decoding.keyed`).
    Raises nothing: what cannot be opened stays a field, marked `opaque` if it is no text, and bounds
    that were hit are in the result.
    """
    purse = Purse.filled(bounds or Bounds())
    asked = _Asked(worth, probe, extra + _CANDIDATES)
    return Tree(_grow(data, hints, purse, asked), purse.hits)


def _grow(data: bytes, hints: tuple[str, ...], purse: Purse, asked: _Asked) -> list[Field]:
    fields = [Field(path="", layers=(), data=data)]
    todo: list[tuple[int, tuple[str, ...]]] = [(0, hints)]
    worth = asked.worth
    while todo:
        index, hints = todo.pop()
        parent = fields[index]
        data = parent.data
        if len(data) < 4 and not hints:
            continue
        if len(parent.layers) >= purse.bounds.depth:
            purse.note("depth", f"more than {purse.bounds.depth} layers")
            continue
        if worth and len(data) >= 64 and data.isascii() and not worth(data):
            continue
        pieces, hints = _open(parent, hints, purse, asked)
        if not pieces:
            if not is_text(data):
                fields[index] = structs.replace(parent, opaque=True)
            continue
        opened: list[tuple[int, tuple[str, ...]]] = []
        for piece in pieces:
            if len(fields) >= purse.bounds.fields:
                purse.note("fields", f"more than {purse.bounds.fields} values")
                break
            purse.bytes -= len(piece.data)
            if purse.bytes < 0:
                purse.note("bytes", f"more than {purse.bounds.bytes} decoded bytes")
                break
            opened.append((len(fields), (piece.hint,) if piece.hint else hints[1:]))
            fields.append(
                Field(
                    path=piece.path or parent.path,
                    layers=(*parent.layers, piece.layer),
                    data=piece.data,
                    offset=piece.offset,
                    length=piece.length,
                    parent=index,
                )
            )
        opened.reverse()
        todo += opened
    return fields


def _open(
    field: Field, hints: tuple[str, ...], purse: Purse, asked: _Asked
) -> tuple[list[Piece], tuple[str, ...]]:
    """What the first declaration that is true opens, or what opens undeclared."""
    if not purse.charge(len(field.data) + _PER_FIELD):
        return [], hints
    if inert(field.data) and (not hints or (hints[0] == "form-value" and b"+" not in field.data)):
        return _candidate(field, guesses.DISGUISES, purse, asked), hints
    present = kinds(field.data)
    codings = _codings(present)
    while True:
        hint = hints[0] if hints else ""
        pieces, sure = _peel(DECLARED + codings if hint else codings, field.data, hint, purse)
        if pieces or len(hints) < 2:
            break
        hints = hints[1:]
    if not sure:
        pieces = pieces + _candidate(field, _fitting(asked.candidates, present), purse, asked)
    return pieces, hints


def _peel(codings: tuple[Coding, ...], data: bytes, hint: str, purse: Purse) -> tuple[list[Piece], bool]:
    """The pieces opened, and whether they leave no doubt that this was the coding."""
    pieces: list[Piece] = []
    for coding in codings:
        found = coding.peel(data, hint, purse)
        if found:
            found = [piece for piece in found if piece.data != data]
        if found:
            pieces += found
            if coding.covers:
                return pieces, found[0].layer in _CERTAIN or bool(hint)
    half = len(data) // 2
    return pieces, any((piece.length or 0) > half and telling(piece.data) for piece in pieces)


@lru_cache(4096)
def _codings(present: frozenset[int]) -> tuple[Coding, ...]:
    return tuple(coding for coding in CODINGS if fits(coding, present))


@lru_cache(4096)
def _fitting(candidates: tuple[Candidate, ...], present: frozenset[int]) -> tuple[Candidate, ...]:
    return tuple(coding for coding in candidates if fits(coding, present))


def _candidate(field: Field, candidates: tuple[Candidate, ...], purse: Purse, asked: _Asked) -> list[Piece]:
    """The first candidate that leads to something, if any does."""
    data = field.data
    if not candidates or not asked.candidates or len(data) > _MOST_GUESSED:
        return []
    plain = candidates is guesses.DISGUISES or (
        is_clean(data) and data[-1:] not in _OPENING and not may_hide(data)
    )
    if plain and names_address(data):
        return []
    for coding in candidates:
        if (coding.name in field.layers) if coding.chancy else plain:
            continue
        if not purse.guess(len(data) + _PER_CANDIDATE):
            return []
        pieces = coding.peel(data, "", purse)
        if asked.probe:
            for piece in pieces:
                if asked.probe(piece.data):
                    return [piece]
        for piece in pieces[:_MOST_TRIALS]:
            if _means(piece.data, data, coding) or (
                not plain
                and len(data) >= _MIN_TRIAL
                and _leads_somewhere(piece.data, data, coding, purse, asked)
            ):
                return [piece]
    return []


def _means(data: bytes, before: bytes, coding: Candidate) -> bool:
    """Whether what a candidate yields means, as it stands, something that the data before did not."""
    if is_clean(data):
        if not coding.chancy and len(data) >= _MIN_TEXT:
            return True
        return names_address(data) and not names_address(before)
    return has_head(data)


def _leads_somewhere(data: bytes, before: bytes, coding: Candidate, purse: Purse, asked: _Asked) -> bool:
    """Whether the layers below a candidate prove it."""
    if data == before or not purse.guess(len(data) + _PER_TRIAL):
        return False
    trial = Purse.filled(_TRIAL)
    fields = _grow(data, (), trial, asked.of_trial(coding))
    purse.guess(_TRIAL.work - trial.work + _TRIAL.guessing - trial.guessing)
    return any(_proves(field, before, coding, asked) for field in fields[1:])


def _proves(field: Field, before: bytes, coding: Candidate, asked: _Asked) -> bool:
    if field.layers[-1] in _PROOF or (asked.probe and asked.probe(field.data)):
        return True
    if not is_clean(field.data):
        return False
    return names_address(field.data) and not names_address(before) if coding.chancy else marked(field.data)
