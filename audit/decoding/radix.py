"""Radix codings other than base64: hex and base32 (RFC 4648), base58 (draft-msporny-base58), ascii85
(Adobe's and btoa's), base85 (RFC 1924's alphabet as git and Python use it, and ZeroMQ's Z85),
uuencode (POSIX).

Hex and base32 are told by their alphabets. The others share their letters with much that is not encoded:
those give a candidate, and `unfold` keeps it only if what it yields means something.
"""

from __future__ import annotations

import base64 as standard
import binascii
import re
import struct
from collections.abc import Callable

from audit.decoding.coding import CONTROL, DIGIT, LETTER, LOWER, UPPER, Piece, Purse
from audit.decoding.evidence import telling

_HEX_RUN = re.compile(rb"[0-9A-Fa-f]{12,}+")
_HEX_LINES = re.compile(rb"(?:[0-9a-f]{24,}+\r?\n)++[0-9a-f]++\s?|(?:[0-9A-F]{24,}+\r?\n)++[0-9A-F]++\s?")
_ALNUM = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX_SPACED = re.compile(
    rb"(?<![0-9A-Za-z])(?:\\x|0x)?[0-9A-Fa-f]{2}(?:(?:, ?|[:;_.|\- \n]|(?=\\x))(?:\\x|0x)?[0-9A-Fa-f]{2}){7,}+"
)
_UUID_END = re.compile(rb"[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-$")
_MAX_RUNS = 4096


class Hex:
    """Every run of hex digits of one case, of whole bytes, at least six of them; or of pairs of digits
    with separators, at least eight."""

    name = "hex"
    covers = False
    needs = (b"20", b"02aA")
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        if len(data) < 12:
            return pieces
        if b"\n" in data and _HEX_LINES.fullmatch(data) and (joined := _joined(data)):
            return [Piece("hex", joined, "", 0, len(data))]
        for match in _HEX_RUN.finditer(data):
            start, end = match.span()
            digits = match.group()
            if (
                len(digits) % 2
                or digits not in (digits.lower(), digits.upper())
                or not _stands_alone(data, start, end)
            ):
                continue
            decoded = binascii.unhexlify(digits)
            if len(pieces) == _MAX_RUNS:
                purse.note("fields", f"hex: more than {_MAX_RUNS} runs in one value")
                break
            # digits alone are a number, unless they are of UTF-16 or UTF-32
            wide = decoded.count(0) * 3 >= len(decoded)
            if telling(decoded) or (len(digits) >= 16 and (wide or not digits.isdigit())):
                pieces.append(Piece("hex", decoded, "", start, end - start))
        if not pieces:
            for match in _HEX_SPACED.finditer(data):
                decoded = binascii.unhexlify(_digits(match.group()))
                pieces.append(Piece("hex", decoded, "", match.start(), len(match.group())))
                if len(pieces) == _MAX_RUNS:
                    purse.note("fields", f"hex: more than {_MAX_RUNS} runs in one value")
                    break
        return pieces


def _joined(data: bytes) -> bytes:
    """One value broken into lines of one length, or nothing where each line stands for itself."""
    lines = data.split()
    digits = b"".join(lines)
    if len(digits) % 2 or len({*map(len, lines[:-1])}) > 1 or len(lines[-1]) > len(lines[0]):
        return b""
    joined = binascii.unhexlify(digits)
    return joined if telling(joined) else b""


def _stands_alone(data: bytes, start: int, end: int) -> bool:
    """Whether digits are no part of a word, but for `0x` before them, nor the last group of a UUID."""
    if end < len(data) and data[end] in _ALNUM:
        return False
    if start and data[start - 1] in _ALNUM and data[start - 2 : start] != b"0x":
        return False
    return not _UUID_END.search(data, max(0, start - 16), start)


def _digits(pairs: bytes) -> bytes:
    return pairs.replace(b"\\x", b"").replace(b"0x", b"").translate(None, b" ,:;_.|-\n")


_BASE32_RUN = re.compile(rb"(?:[A-Z2-7]{12,}+(?:\r?\n[A-Z2-7]{4,}+)*+|[a-z2-7]{12,}+)={0,6}")
_BASE32_BESIDE = _ALNUM | frozenset(b"+")
_BASE32_LENGTHS = {0, 2, 4, 5, 7}


class Base32:
    """Every run of base32 letters of one case that stands for itself."""

    name = "base32"
    covers = False
    needs = (LETTER,)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        for match in _BASE32_RUN.finditer(data):
            start, end = match.span()
            if (start and data[start - 1] in _BASE32_BESIDE) or (
                end < len(data) and data[end] in _BASE32_BESIDE
            ):
                continue
            letters = b"".join(match.group().split()).rstrip(b"=")
            if len(letters) % 8 not in _BASE32_LENGTHS:
                continue
            decoded = standard.b32decode(letters.upper() + b"=" * (-len(letters) % 8))
            # letters of one case and the digits 2 to 7 alone are rare by chance at this length
            wide = decoded.count(0) * 3 >= len(decoded)
            evident = len(letters) >= 24 and (wide or not letters.isalpha())
            if telling(decoded) or evident or letters.isupper():
                guess = not (telling(decoded) or evident)
                pieces.append(Piece("base32", decoded, "", match.start(), len(match.group()), guess=guess))
            if len(pieces) == _MAX_RUNS:
                purse.note("fields", f"base32: more than {_MAX_RUNS} runs in one value")
                break
        return pieces


_BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE58_WHOLE = re.compile(rb"[1-9A-HJ-NP-Za-km-z]{12,16384}+")
_TO_BASE58 = bytes.maketrans(_BASE58, bytes(range(58)))


def unbase58(letters: bytes) -> bytes:
    """Decodes letters of Bitcoin's alphabet; each leading `1` is a zero byte."""
    values = letters.translate(_TO_BASE58)
    zeros = len(letters) - len(letters.lstrip(b"1"))
    number = _number(values)
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _number(values: bytes) -> int:
    """The value of base-58 digits; by halves, as long multiplication digit by digit is quadratic."""
    if len(values) <= 64:
        number = 0
        for value in values:
            number = number * 58 + value
        return number
    half = len(values) // 2
    return int(_number(values[:-half]) * 58**half + _number(values[-half:]))


class Base58:
    """A whole value in Bitcoin's alphabet: a candidate."""

    name = "base58"
    covers = True
    chancy = False
    markless = False
    needs = (UPPER, LOWER, DIGIT)
    bars = b'+/-{}. \n;?=%&\\:<$"!\x00\x01\x80'

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not BASE58_WHOLE.fullmatch(data) or not purse.charge(len(data) * 64):
            return []
        return [Piece("base58", unbase58(data), "", 0, len(data))]


_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_GIT = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_ASCII85 = bytes(range(33, 118))
_ODD = b"!\"#$%&'()*,:;<>?@[\\]^`{|}~"
_OF_NUMBERS = b"0123456789.,:+- "
_MIN_85 = 10
_MAX_85 = 1 << 20


def _decode85(data: bytes, table: bytes) -> bytes | None:
    """Five letters to four bytes; a shorter last group is filled up with the highest letter and its
    bytes cut (all three dialects agree in this; Z85 proper never has one)."""
    short = -len(data) % 5
    if short == 4:
        return None
    values = data.translate(table) + b"\x54" * short
    out = bytearray()
    for a, b, c, d, e in struct.iter_unpack("5B", values):
        word = (((a * 85 + b) * 85 + c) * 85 + d) * 85 + e
        if word >> 32:
            return None
        out += word.to_bytes(4, "big")
    return bytes(out[: len(out) - short])


class Base85:
    """A whole value in one of the alphabets of 85 letters: a candidate."""

    covers = True
    chancy = False
    markless = False
    needs = (b'!"{};?=%&\\:<$./-+' + DIGIT,)
    bars = b"\x00\x01\x80"

    def __init__(self, name: str, alphabet: bytes, prepare: Callable[[bytes], bytes | None]) -> None:
        self.name = name
        self._alphabet = alphabet
        self._table = bytes.maketrans(alphabet, bytes(range(85)))
        self._prepare = prepare

    def bare(self, token: bytes) -> list[Piece]:
        """A short token without any mark of this coding, as if it were in it."""
        if len(token) < _MIN_85 or token.translate(None, self._alphabet):
            return []
        decoded = _decode85(token, self._table)
        return [Piece(self.name, decoded, "", 0, len(token))] if decoded else []

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _MIN_85 <= len(data) <= _MAX_85 or is_adobe(data):
            return []
        letters = self._prepare(data)
        if letters is None or letters.translate(None, self._alphabet):
            return []
        # a third of the alphabet are marks of punctuation; in UTF-32 there are many zeros
        odd = (
            len(letters) != len(letters.translate(None, _ODD))
            or data.startswith(b"<~")
            or letters.count(b"000") * 8 > len(letters)
        )
        if (
            len(letters.translate(None, _OF_NUMBERS)) * 8 < len(letters)
            or (not odd and (len(letters) < 60 or letters.isalpha()))
            or b"://" in letters
            or not purse.charge(len(letters) * 16)
        ):
            return []
        if len(letters) > 80 and _decode85(letters[:40], self._table) is None:
            return []
        decoded = _decode85(letters, self._table)
        return [Piece(self.name, decoded, "", 0, len(data))] if decoded else []


def _plain(data: bytes) -> bytes | None:
    data = data.strip()
    return None if b" " in data or b"\n" in data else data


def is_adobe(data: bytes) -> bool:
    """Whether the marks stand around data that Adobe's tools put around Ascii85."""
    return data.startswith(b"<~") and data.rstrip().endswith(b"~>")


def _adobe(data: bytes) -> bytes | None:
    data = b"".join(data.split()).removeprefix(b"<~").removesuffix(b"~>")
    return data.replace(b"z", b"!!!!!") if data.count(b"z") * 4 <= len(data) else None


class Adobe:
    """Ascii85 with the marks of Adobe's tools around it."""

    name = "ascii85"
    covers = True
    needs = (b"<",)
    bars = b"\x80"

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not is_adobe(data) or len(data) > _MAX_85 or not purse.charge(len(data) * 16):
            return []
        letters = _adobe(data)
        if not letters or letters.translate(None, _ASCII85):
            return []
        decoded = _decode85(letters, _ASCII85_VALUES)
        doubtful = any(sign in data and not other.search(data) for sign, other in _WRAPPED)
        return [Piece(self.name, decoded, "", 0, len(data), guess=doubtful)] if decoded else []


# Letters of Ascii85 that may be marks of a coding put on top of it: where there are no others of the kind.
_WRAPPED = (
    (b"=", re.compile(rb"=(?![0-9A-F]{2}|\r?\n)")),
    (b"%", re.compile(rb"%(?![0-9A-Fa-f]{2})")),
    (b"\\", re.compile(rb"\\(?![\\/\"'nrtbfux])|(?<!\\)/")),
    (b"&", re.compile(rb"&(?!#?\w{1,31};)")),
)
_ASCII85_VALUES = bytes.maketrans(_ASCII85, bytes(range(85)))
ASCII85 = Base85("ascii85", _ASCII85, _adobe)
GIT85 = Base85("base85", _GIT, _plain)
Z85 = Base85("base85", _Z85, _plain)

_LOWER = re.compile(rb"[a-z]")
_UU = re.compile(rb"^begin [0-7]{3,4} [^\r\n]{0,255}\r?\n", re.MULTILINE)


class Uuencode:
    """uuencoded files: lines between `begin` and `end`."""

    name = "uuencode"
    covers = True
    needs = (b" ", b"\n")
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        match = _UU.search(data)
        while match:
            if len(pieces) == _MAX_RUNS:
                purse.note("fields", f"uuencode: more than {_MAX_RUNS} files in one value")
                break
            end = data.find(b"\nend", match.end() - 1)
            end = len(data) if end < 0 else end
            out: list[bytes] = []
            if _LOWER.search(data, match.end(), end):
                break  # its letters end before the small ones: something else was put on top of it
            for line in data[match.end() : end].splitlines():
                try:
                    out.append(binascii.a2b_uu(line))
                except binascii.Error:
                    break
            if out:
                pieces.append(Piece("uuencode", b"".join(out), "", match.start(), end - match.start()))
            match = _UU.search(data, end)
        return pieces
