"""Base64 in its dialects (RFC 4648, sections 4 and 5; MIME line breaks, RFC 2045, 6.8), alone, in the
midst of other text or of binary data, also glued to letters that are not part of it.

A run of letters is no proof of a coding. What a run decodes to must read as text or carry a known
header, or the run must have the mix of letters that encoded binary data has; else it is left alone.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from audit.decoding.coding import LOWER, UPPER, Piece, Purse
from audit.decoding.evidence import inflates, names_address, telling

# JSON writers leave the line breaks of MIME escaped or raw; possessive, so that no run is read twice
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{10,}+(?:(?:\r?\n|\\r\\n|\\n)[ \t]{0,16}+[A-Za-z0-9+/_-]{4,}+)*+={0,2}")
_WHOLE = re.compile(rb"[A-Za-z0-9+/_-]{6,}+(?:\r?\n[ \t]{0,16}+[A-Za-z0-9+/_-]+)*+={0,2}\s?")
# a `+` that nobody encoded was read as a space
_SPACED = re.compile(rb"[A-Za-z0-9/ ]{24,}+={0,2}")
_PART = re.compile(rb"[A-Za-z0-9+]{10,}+={0,2}|[A-Za-z0-9]{10,}+={0,2}")
_BREAKS = re.compile(rb"\\r|\\n|[\r\n \t]")
_UPPER = re.compile(rb"[A-Z]")
_LOWER = re.compile(rb"[a-z]")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# Four letters that stand for three printable ASCII bytes, at least four times: text, at any alignment.
_TEXT = re.compile(rb"(?:[I-Za-f][C-HS-Xi-ny-z0-3](?:[AEIMQUYcgkosw048][g-z0-9+/_-]|[BFJNRVZdhlptx159].)){4}")
# gzip, zstd, zlib in its three usual levels, JSON objects, at the alignment where they begin
_HEAD = re.compile(rb"H4sI|[BRhx][+-]LCA|fiwg|KLUv[/_]|eJ[wyxzyv0-9x-z]|eAE|eNp|eyJ|W3si|aHR0c")
_PHRASE = rb"(?:(?:[A-Z]?[a-z]{2,}+)++|[A-Z]{2,}+|[a-zA-Z]|[0-9]{1,4}+)"
_WORDS = re.compile(_PHRASE + rb"(?:[-_/]+" + _PHRASE + rb")*+")
_SURE_HEADS = (b"H4sI", b"KLUv/", b"KLUv_", b"eyJ", b"W3si", b"aHR0c")
_MAX_RUNS = 4096
_MIN_WHOLE, _MIN_INSIDE = 16, 24
_LEADS = 6
_OPENINGS = b'{[<%&"\x1f\x28\x04x'


def unbase64(run: bytes) -> bytes | None:
    """Decodes a run of either alphabet, with or without padding; None where its length forbids it."""
    body = run.rstrip(b"=\r\n \t")
    if b"\n" in body or b"\\" in body:
        body = _BREAKS.sub(b"", body)
    if len(body) % 4 == 1:
        return None
    try:
        return binascii.a2b_base64(body.translate(_TO_STANDARD) + b"=" * (-len(body) % 4))
    except binascii.Error:
        return None


def hidden_text(run: bytes) -> bool:
    """Whether a run of base64 letters holds printable text at some alignment. Wrong by chance once in
    a hundred thousand letters."""
    return _TEXT.search(run) is not None


def known_head(run: bytes) -> bool:
    """Whether a known header begins somewhere in a run of base64 letters."""
    return _HEAD.search(run) is not None


def mixed(run: bytes) -> bool:
    """Encoded data of this length has upper and lower case; words, paths and numbers seldom do, and
    where words are joined by their capitals, that can be told."""
    return bool(_UPPER.search(run) and _LOWER.search(run)) and not _WORDS.fullmatch(run)


class Base64:
    """Every run of base64 letters, whole or inside other data."""

    name = "base64"
    covers = False
    needs = (UPPER, LOWER)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if _WHOLE.fullmatch(data):
            return _whole(data)
        pieces = _spaced(data) if b" " in data else []
        if pieces:
            return pieces
        for count, match in enumerate(_RUN.finditer(data)):
            if count == _MAX_RUNS:
                purse.note("fields", f"base64: more than {_MAX_RUNS} runs in one value")
                break
            run = match.group()
            if _UPPER.search(run) and _LOWER.search(run):
                pieces += _run(run, match.start())
        return pieces


def _named(run: bytes) -> str:
    return "base64url" if b"-" in run or b"_" in run else "base64"


def _whole(run: bytes) -> list[Piece]:
    decoded = unbase64(run)
    if not decoded:
        return list(_inside(run, 0))
    if telling(decoded) or inflates(decoded):
        return list(_read(run, 0, decoded))
    if len(run) < _MIN_WHOLE or not mixed(run):
        return []
    return [Piece(_named(run), decoded, "", 0, len(run)), *_inside(run, 0, aligned=True)]


def _spaced(data: bytes) -> list[Piece]:
    """A value in which spaces stand where `+` was."""
    if not _SPACED.fullmatch(data) or data.count(b" ") * 12 > len(data):
        return []
    run = data.replace(b" ", b"+")
    decoded = unbase64(run)
    if not decoded or not mixed(run) or not (telling(decoded) or inflates(decoded)):
        return []
    return [Piece("base64", decoded, "", 0, len(data))]


def _read(run: bytes, start: int, decoded: bytes) -> Iterator[Piece]:
    """A run that is told as a whole. Letters in fours that it is glued to may have become text."""
    whole = Piece(_named(run), decoded, "", start, len(run))
    yield whole
    if decoded[0] not in _OPENINGS and len(decoded) >= _MIN_WHOLE and not names_address(decoded):
        for lead in (3, 6):
            yield whole._replace(data=decoded[lead:], guess=True)


def _run(run: bytes, start: int) -> list[Piece]:
    decoded = unbase64(run)
    if decoded and (telling(decoded) or (inflates(decoded) and len(run) >= _MIN_INSIDE)):
        return list(_read(run, start, decoded))
    whole = bool(decoded and len(run) >= _MIN_INSIDE and mixed(run))
    found = list(_inside(run, start, aligned=whole))
    if not found and any(separator in run for separator in (b"/", b"-", b"_")):
        # these letters also separate words: "/api/SGVsbG8gd29ybGQ"
        found = list(_parts(run, start))
    if decoded and whole:
        found.insert(0, Piece(_named(run), decoded, "", start, len(run)))
    if not found or (whole and len(found) == 1):
        found += _alignments(run, start)
    return found


def _alignments(run: bytes, start: int) -> Iterator[Piece]:
    """A run glued to letters before it may begin at any of its letters: a guess for each alignment."""
    if len(run) >= _MIN_INSIDE and mixed(run):
        for at in range(1, 4):
            yield Piece(_named(run), _aligned(run, at), "", start + at, len(run) - at, guess=True)


def _parts(run: bytes, start: int) -> Iterator[Piece]:
    for match in _PART.finditer(run):
        part = match.group()
        decoded = unbase64(part)
        if decoded and mixed(part) and telling(decoded):
            yield Piece("base64", decoded, "", start + match.start(), len(part))


def _inside(run: bytes, start: int, *, aligned: bool = False) -> Iterator[Piece]:
    """What begins within the run: a known header; or text, told with whatever stands before it at its
    alignment. `aligned`: the run is told as a whole already, so what is aligned with it is told there."""
    match = _HEAD.search(run)
    if match and match.group() not in _SURE_HEADS and not inflates(_aligned(run, match.start())):
        match = None
    match = match or _TEXT.search(run)
    if not match:
        return
    at = match.start()
    if match.re is _HEAD:
        if not (aligned and at % 4 == 0):
            yield from _from(run, start, at)
            if at >= 4:
                # it may stand in the midst of something
                yield from (piece._replace(guess=True) for piece in _from(run, start, at % 4))
        return
    # what looks like hex once decoded looks like text at the wrong alignments too
    for shift in range(4):
        if shift == 0 or _speaks(run, at + shift):
            yield from _text(run, start, at + shift, aligned=aligned, guess=shift > 0)


def _from(run: bytes, start: int, at: int) -> Iterator[Piece]:
    decoded = _aligned(run, at)
    if len(decoded) >= 6:
        yield Piece(_named(run[at:]), decoded, "", start + at, len(run) - at)


def _speaks(run: bytes, at: int) -> bool:
    """Whether the letters a little behind this place stand for printable ASCII."""
    few = _aligned(run[at + 4 : at + 28], 0)
    return len(few) >= 12 and few.isascii() and few.decode("ascii").isprintable()


def _text(run: bytes, start: int, at: int, *, aligned: bool, guess: bool) -> Iterator[Piece]:
    """The text at the alignment of `at`, with all before it; and without the letters that stood before it, as
    those that it is glued to may have become text too."""
    first = at % 4
    decoded = _aligned(run, first)
    if len(decoded) < 6 or (aligned and not first):
        return
    place = Piece(_named(run[first:]), decoded, "", start + first, len(run) - first, guess=guess)
    yield place
    begin = at // 4 * 3
    while begin and 32 <= decoded[begin - 1] < 127:
        begin -= 1
    for lead in range(begin or 1, min(begin + _LEADS, len(decoded) - 6) + 1):
        yield place._replace(data=decoded[lead:], guess=True)


def _aligned(run: bytes, at: int) -> bytes:
    """What the letters from `at` on decode to, without a last one that stands for nothing whole."""
    body = run[at:].rstrip(b"=\r\n ")
    return unbase64(body) or unbase64(body[:-1]) or b""
