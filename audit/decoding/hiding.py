"""Whether text can hide anything: the question asked before a text is taken apart.

Most traffic is plain JSON in which nothing is encoded. Answering this costs a few passes over the text in
C; only where one of them sees something is it looked at closer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from audit.decoding.base64_runs import hidden_text, known_head, mixed, unbase64
from audit.decoding.evidence import is_clean, is_zlib, reads, telling
from audit.decoding.radix import BASE58_WHOLE, unbase58

_RUN_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_REMEMBERED = 128
_ODD_ALONE = b"!#$*;<>@^`|~"
_CLASSES = bytes(
    65
    if c in _RUN_LETTERS
    else 33
    if c in _ODD_ALONE
    else 1
    if (c < 32 and c not in (9, 10, 12, 13)) or c == 127
    else 32
    for c in range(256)
)
_RUN = b"A" * 12
_DIGITS = bytes(48 if 48 <= c < 58 else 44 if c == 44 else 32 for c in range(256))
# (also of hex digits rotated by thirteen)
_PAIRS = bytes(
    48 if chr(c) in "0123456789abcdefnopqrsABCDEFNOPQRS" else 58 if c in b":;_.|- +" else 32
    for c in range(256)
)
_EIGHT = b"00:00:00:00:00:00:00:00"
_ANY_DIGIT = re.compile(rb"[0-9]")
_SPACE = b" \t\r\n-"
_RUNS = re.compile(rb"[A-Za-z0-9+/_-]{12,}+")
_UUID = re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HEX = re.compile(rb"(?<![0-9A-Za-z])(?:0x)?(?:[0-9a-f]{12,}+|[0-9A-F]{12,}+)(?![0-9A-Za-z])")
_BASE32 = re.compile(rb"(?<![0-9A-Za-z])(?:[A-Z2-7]{12,}+|[a-z2-7]{12,}+)(?![0-9A-Za-z])")
_ENTITY = re.compile(rb"&#?[0-9A-Za-z]{1,31};")
_BROKEN = re.compile(rb"(?:[0-9]++[A-Za-z]{1,4}+){4}")
# (of pairs of hex digits, also rotated by thirteen)
_QUOTED = re.compile(
    rb"=(?:3D|20[^&;,]|\r?\n|[0-9A-F]{2}=[0-9A-F]{2}|[0-9N-S]{2}=[0-9N-S]{2}"
    rb"|[0-9A-F]{2}[^&;=]{0,3}=[0-9A-F]{2}[^&;=]{0,3}=[0-9A-F]{2})"
)
_PARAMETER = re.compile(rb"[?&][A-Za-z_.-]{1,24}$")
_TOKEN = re.compile(rb"[A-Za-z0-9+/_-]+={0,6}")
_SPEAKING = re.compile(rb"[ -~]{5}")
_SOLID = re.compile(rb"[0-9A-Za-z]{12}")
_UUENCODED = re.compile(rb"begin [0-7]{3,4} [^\r\n]{1,255}\r?\n")
_DENSE = re.compile(rb"[^\s\"]{10,}")
_ODD = b"!#$()*;<>?@^`|~"
# a short word of all sorts of letters, with a mark in it that few words have
_GIT85 = re.compile(
    rb"(?=[^()?&{}%]{0,63}[()?&{}%])(?=[^A-Z]{0,63}[A-Z])(?=[^a-z]{0,63}[a-z])(?=[^0-9]{0,63}[0-9])"
    rb"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{10,64}"
)
# (of ascii85, those that base85 has not)
_ASCII85 = re.compile(
    rb"(?=[^\"'\[,]{0,63}[\"'\[,])(?=[^A-Z]{0,63}[A-Z])(?=[^a-u]{0,63}[a-u])(?=[^0-9]{0,63}[0-9])[!-u]{10,64}"
)
_SHORT_85 = 64


# Short words, numbers, lower-case names with separators, UUIDs.
_LETTER = rb"[A-Za-z0-9_/+-]"
_WORDS = (
    _LETTER + rb"{1,11}+(?!" + _LETTER + rb")"
    rb"|[/_-]*+(?:[a-z]{1,15}+(?![0-9])|[a-z0-9]{1,11}+)(?:[/_-]++(?:[a-z]{1,15}+(?![0-9])|[a-z0-9]{1,11}+))*+[/_-]*+(?!"
    + _LETTER
    + rb")"
    rb"|[0-9]{1,19}+(?!" + _LETTER + rb")"
    rb"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?!" + _LETTER + rb")"
)
_INERT = re.compile(rb"(?:" + _WORDS + rb"|[ .,:;])*+")
# and the signs of addresses, of which `=` could be of quoted-printable
_PLAIN = re.compile(rb"(?:" + _WORDS + rb"|[ .,:?&#()]|=(?![0-9A-F]{2}=|[0-9N-S]{2}=|3D|20[^&;,]))*+")


def inert(data: bytes) -> bool:
    """Whether data is nothing but words and numbers, in which no coding but a guess would see anything."""
    return _INERT.fullmatch(data) is not None and not _is_short_list(data)


def plain(data: bytes) -> bool:
    """Whether nothing is encoded in data, by the shortest way to tell."""
    return _is_plain_value(data) if len(data) <= _REMEMBERED else not may_hide(data) and reads(data)


@lru_cache(1 << 16)
def _is_plain_value(data: bytes) -> bool:
    # what telemetry says, it says again and again
    if _PLAIN.fullmatch(data):
        return not _is_short_list(data)
    return not may_hide(data) and reads(data)


def _is_short_list(data: bytes) -> bool:
    if len(data) < 15:
        return b"xn--" in data
    return (any(data.count(mark) >= 7 for mark in b",:;- ._") or b"xn--" in data) and _is_list(data)


def _is_list(data: bytes) -> bool:
    """Whether byte values are listed, as numbers or as pairs of hex digits, or a label is punycode."""
    if b"xn--" in data or (b"0x" in data and data.count(b"0x") >= 8):
        return True
    if b'"7":' in data and b'"0":' in data:
        return True
    digits = data.translate(_DIGITS, _SPACE)
    if b"00,00" in digits or b"0,0,0" in digits:
        return True
    return _lists_pairs(data) or in_threes(data)


def _lists_pairs(data: bytes) -> bool:
    pairs = data.translate(_PAIRS)
    at = pairs.find(_EIGHT)
    while at >= 0:
        if _ANY_DIGIT.search(data, at, at + len(_EIGHT)):
            return True  # else words of two letters: of an of of
        at = pairs.find(_EIGHT, at + len(_EIGHT))
    return False


def in_threes(data: bytes) -> bool:
    """Whether every third letter is the same, as of percent-encoding or pairs of digits under a key."""
    return len(data) >= 24 and data[:24:3].count(data[:1]) == 8 and len(set(data[:24])) > 3


def is_token(data: bytes) -> bool:
    """Whether data is one run of the letters of base64, and so of hex and base32."""
    return _TOKEN.fullmatch(data) is not None


def token_speaks(data: bytes) -> bool:
    """Whether a token, read as base64, hex or base32, begins like something known or holds text."""
    if not is_token(data):
        return False
    if hidden_text(data) or known_head(data):
        return True
    decoded = unbase64(data)
    if decoded and (is_clean(decoded) or _SPEAKING.search(decoded) or decoded.count(0) * 6 > len(decoded)):
        return True
    if BASE58_WHOLE.fullmatch(data):
        decoded = unbase58(data)
        if telling(decoded) or is_zlib(decoded) or _SPEAKING.search(decoded):
            return True
    letters = data.rstrip(b"=")
    if len(letters) % 2 == 0 and not letters.lower().strip(b"0123456789abcdef"):
        decoded = bytes.fromhex(letters.decode("ascii"))
        return telling(decoded) or is_zlib(decoded)
    return _BASE32.fullmatch(letters) is not None


def may_hide(data: bytes) -> bool:
    """Whether anything in text data could be encoded: marks of a coding of characters, a run of letters
    that may be base64, base32, base58 or hex, lists of byte values, letters of base85, reversed or
    rotated addresses, or anything that is no printable ASCII. Fast; never wrong when it says no, but for
    words reversed, rotated or XORed that are no address, and a form's `+` for a space."""
    if b"%" in data or b"\\" in data or not data.isascii() or b"//:" in data or b"uggc" in data:
        return True
    if b"=" in data and _is_quoted(data):
        return True
    if b"begin " in data and _UUENCODED.search(data):
        return True
    if b"&" in data and b";" in data and _ENTITY.search(data):
        return True
    if _is_list(data):
        return True
    classes = data.translate(_CLASSES)
    if b"\x01" in classes:
        return True
    at = classes.find(_RUN)
    while at >= 0:
        end = _RUNS.match(data, at).end()  # type: ignore[union-attr]
        if _may_be_coded(data[at:end]):
            return True
        at = classes.find(_RUN, end)
    return (b"!" in classes and _may_be_85(data)) or (
        len(data) <= _SHORT_85
        and (_GIT85.fullmatch(data) is not None or _ASCII85.fullmatch(data) is not None)
    )


def _is_quoted(data: bytes) -> bool:
    """Whether something is quoted-printable; `?id=2048` of an address is not."""
    for match in _QUOTED.finditer(data):
        start = match.start()
        if not data.startswith(b"=20", start) or not _PARAMETER.search(data, max(0, start - 26), start):
            return True
    return False


def _may_be_coded(run: bytes) -> bool:
    if run.isdigit():
        return _spells(run)
    if not (run.islower() or run.isupper()) and (mixed(run) or hidden_text(run)):
        return True
    if not _SOLID.search(run):
        return False
    bare = _UUID.sub(b"", run)
    if _BROKEN.search(bare):
        return True
    for match in _HEX.finditer(bare):
        if not match.group().isdigit() or _spells(match.group()):
            return True
    for match in _BASE32.finditer(bare):
        letters = match.group()
        if not letters.isdigit() and (not letters.isalpha() or len(letters) >= 16 or letters.isupper()):
            return True
    return False


def _spells(digits: bytes) -> bool:
    """Whether a number is the hex of printable ASCII, or of UTF-16 or UTF-32."""
    if len(digits) % 2:
        return False
    data = bytes.fromhex(digits.decode("ascii")).replace(b"\0", b"")
    return is_clean(data)


def _may_be_85(data: bytes) -> bool:
    for match in _DENSE.finditer(data):
        word = match.group()
        odd = len(word) - len(word.translate(None, _ODD))
        enough = 1 if len(word) == len(data) else 2
        if odd >= enough and odd * 32 >= len(word) and not word.startswith((b"http:", b"https:")):
            return True
    return False
