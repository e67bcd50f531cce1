"""Radix codings: base64 in its dialects and hex (RFC 4648), alone or in the midst of other text.

A run of letters is no proof of a coding. What a run decodes to must read as text or carry a known
header, or the run must have the mix of letters that encoded binary data has; else it is left alone.
"""

from __future__ import annotations

import binascii
import re

from audit.decoding.coding import Piece, Purse, is_text

# MIME wraps at 76 columns (RFC 2045, 6.8); JSON writers leave the line breaks escaped or raw.
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{12,}(?:\r?\n[A-Za-z0-9+/_-]{4,})*={0,2}")
_HEX_RUN = re.compile(rb"(?<![0-9A-Za-z])(?:0x)?((?:[0-9a-f]{2}){6,}|(?:[0-9A-F]{2}){6,})(?![0-9A-Za-z])")
_WHOLE = re.compile(rb"[A-Za-z0-9+/_-]{6,}={0,2}")
_HEADS = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x89PNG", b"\xff\xd8\xff", b"PK\x03\x04")
_MAX_RUNS = 4096
_UPPER = re.compile(rb"[A-Z]")
_LOWER = re.compile(rb"[a-z]")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def unbase64(run: bytes) -> bytes | None:
    """Decodes a run of either alphabet, with or without padding; None where its length forbids it."""
    body = run.rstrip(b"=").replace(b"\r", b"").replace(b"\n", b"")
    if len(body) % 4 == 1:
        return None
    try:
        return binascii.a2b_base64(body.translate(_TO_STANDARD) + b"=" * (-len(body) % 4))
    except binascii.Error:
        return None


def _meaningful(data: bytes) -> bool:
    """Whether decoded data shows that there was something to decode."""
    return data.startswith(_HEADS) or is_text(data)


def _mixed(run: bytes) -> bool:
    """Encoded data of this length has upper and lower case; words, paths and numbers seldom do."""
    return bool(_UPPER.search(run) and _LOWER.search(run))


class Base64:
    """Every run of base64 letters, whole or inside other text."""

    name = "base64"
    covers = False

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        whole = _WHOLE.fullmatch(data)
        if whole:
            return _decode_run(data, 0, whole=True)
        for count, match in enumerate(_RUN.finditer(data)):
            if count == _MAX_RUNS:
                purse.note("fields", f"base64: more than {_MAX_RUNS} runs in one value")
                break
            run = match.group()
            if not _mixed(run):
                continue
            found = _decode_run(run, match.start(), whole=False)
            if not found and (b"/" in run or b"-" in run or b"_" in run):
                # these letters also separate words: "/api/SGVsbG8gd29ybGQ"
                found = _decode_parts(run, match.start())
            pieces += found
        return pieces


def _decode_run(run: bytes, start: int, *, whole: bool) -> list[Piece]:
    name = "base64url" if b"-" in run or b"_" in run else "base64"
    decoded = unbase64(run)
    if decoded and (_meaningful(decoded) or (_mixed(run) and len(run) >= (16 if whole else 32))):
        return [Piece(name, decoded, "", start, len(run))]
    return []


def _decode_parts(run: bytes, start: int) -> list[Piece]:
    pieces: list[Piece] = []
    for match in re.finditer(rb"[A-Za-z0-9+]{12,}={0,2}", run):
        part = match.group()
        decoded = unbase64(part)
        if decoded and _mixed(part) and _meaningful(decoded):
            pieces.append(Piece("base64", decoded, "", start + match.start(), len(part)))
    return pieces


class Hex:
    """Every run of hex digits of one case, of whole bytes, at least six of them."""

    name = "hex"
    covers = False

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        for match in _HEX_RUN.finditer(data):
            digits = match.group(1)
            decoded = binascii.unhexlify(digits)
            if len(pieces) == _MAX_RUNS:
                purse.note("fields", f"hex: more than {_MAX_RUNS} runs in one value")
                break
            if not digits.isdigit() or _meaningful(decoded):
                pieces.append(Piece("hex", decoded, "", match.start(), len(match.group())))
        return pieces
