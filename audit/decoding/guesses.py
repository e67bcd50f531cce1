"""Light obfuscation that real SDKs use: reversed, rot13, one byte XORed over all.

Nothing marks these, so they are only ever candidates, for data that nothing else opened: `unfold` keeps
one if what it yields means something that the data before it did not.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from audit.decoding.coding import BINARY, CONTROL, LETTER, Piece, Purse, kinds
from audit.decoding.evidence import HEADS, is_clean, is_zlib
from audit.decoding.hiding import in_threes

_ROT13 = bytes(codecs.encode(chr(c), "rot13").encode("latin-1")[0] if c < 128 else c for c in range(256))
_MIN = 8
_MAX = 8 << 20


def reverse(data: bytes) -> bytes:
    """Data backwards: by characters where it is UTF-8, else by bytes."""
    if not data.isascii():
        try:
            return data.decode("utf-8")[::-1].encode("utf-8")
        except UnicodeDecodeError:
            pass
    return data[::-1]


def rot13(data: bytes) -> bytes:
    """Data with its ASCII letters moved by half the alphabet."""
    return data.translate(_ROT13)


class Reversed:
    """Text or bytes from the last to the first."""

    name = "reversed"
    covers = True
    chancy = True
    markless = True
    needs = ()
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _MIN <= len(data) <= _MAX or not purse.charge(len(data)):
            return []
        return [Piece(self.name, reverse(data), "", 0, len(data))]


class Rot13:
    """Letters moved by thirteen."""

    name = "rot13"
    covers = True
    chancy = True
    markless = True
    needs = (LETTER,)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _MIN <= len(data) <= _MAX or not purse.charge(len(data)):
            return []
        return [Piece(self.name, rot13(data), "", 0, len(data))]


# letters of codings of characters and bytes, of JSON, XML and forms, as a wrong key seldom makes them
_CODED = re.compile(
    rb"(?:\\x[0-9A-Fa-f]{2}){3,}+|(?:\\u[0-9A-Fa-f]{4}){2,}+|(?:%[0-9A-Fa-f]{2}){2,}+|(?:=[0-9A-F]{2}){2,}+"
    rb"|(?:&(?:amp;)?#?\w{1,8};){2,}+|(?:[0-9a-f]{2}[: ]){6,}+|(?:[0-9A-F]{2}[: ]){6,}+|(?:\d{1,3}, ){4,}+"
    rb"|\"[\w$]+\": ?[\[{\"\d]|</?[a-z]+[ >]|&\w+="
)
_RUN = re.compile(rb"[0-9a-f]{16,}+|[0-9A-F]{16,}+|[A-Z2-7]{24,}+|[a-z2-7]{24,}+|[A-Za-z0-9+/]{24,}+")
DISGUISES = (Reversed(), Rot13())
# the alphabets of 85 letters leave out some marks that a wrong key soon makes
_OF_85 = tuple(
    bytes(c for c in range(33, 127) if c not in without) for without in (b"vwxy{|}", b"\"',./:[\\]")
)
_SAMPLE = 4096
_SHORT_SAMPLE = 64
_RANKED = 256
_MIN_85 = 20
_HIGH = bytes(range(128, 256))
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])
_LIKELY = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \"':/.,{}[]=&%_-?+#;\n"
_LIKELY_UNDER = [bytes(c ^ key for c in _LIKELY) for key in range(256)]
# for each byte, the keys (as bits) under which it is a control character
_BARRED_BY = [sum(1 << (byte ^ control) for control in _CONTROLS) for byte in range(256)]
_ALL_KEYS = (1 << 256) - 1
_UNDER = [bytes(c ^ key for c in range(256)) for key in range(256)]
# The differences of neighbouring bytes do not depend on the key.
_WORDS = (b"://", b"http", b"www.", b'":"', b"%3A%2F", b".com", b"begin 6", b"=3D")
# (of headers, those that are long enough to be none by chance)
_MARKS = _WORDS + HEADS[:4] + HEADS[4:5]
_FIRST = {bytes(a ^ b for a, b in pairwise(mark)): mark[0] for mark in _MARKS}
_DIFFERENCES = re.compile(b"|".join(map(re.escape, _FIRST)))
_FRAME = 16
_ODD = b"!#$;<>@[\\]^`{|}~"


_ODD_KINDS = frozenset(BINARY + b'\n!{}$"\\<;')


class Xor:
    """One byte XORed over all: the keys that a known header, a telling word, or the share of letters
    and digits suggest, the likeliest first."""

    name = "xor"
    covers = True
    chancy = True
    markless = True
    needs = ()
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _MIN <= len(data) <= _MAX or not purse.charge(len(data)):
            return []
        if _ODD_KINDS.isdisjoint(kinds(data)):
            # nothing but letters: only UTF-16 whose zeros the key made one of them
            keys = [
                data[at]
                for at in (0, 1)
                if data.count(data[at]) * 2 >= len(data) - 1 and _is_every_second(data, at)
            ]
        else:
            keys = _keys(data)
        return under(data, keys) if purse.charge(len(data) * len(keys)) else []


def _is_every_second(data: bytes, at: int) -> bool:
    half = data[at::2]
    return half.count(data[at]) == len(half)


def under(data: bytes, keys: Iterable[int]) -> list[Piece]:
    """Data with each key undone; and, as some leave out the zeros, with zeros that stay zeros."""
    tables = [_UNDER[key] for key in keys]
    if b"\0" in data:
        tables += [b"\0" + table[1:] for table in tables]
    return [Piece(Xor.name, data.translate(table), "", 0, len(data)) for table in tables]


def differences(data: bytes) -> bytes:
    """Each byte XORed with the one before it, which no key changes: one byte less than the data."""
    number = int.from_bytes(data)
    return ((number >> 8) ^ number).to_bytes(len(data))[1:]


def _keys(data: bytes) -> list[int]:
    sample = data[:_SAMPLE]
    told = differences(sample)
    keys = _by_marks(sample, told)
    if keys[:1] == [0] or _reads_as_it_is(sample):
        return []
    size, sorts = len(sample), set(sample)
    high = size - len(sample.translate(None, _HIGH))
    if size <= _SHORT_SAMPLE and len(sorts) * 4 > size * 3 and size <= high * 4 <= size * 3:
        return keys  # no two alike, and of both halves: no text is so under any key
    if in_threes(sample):
        keys.append(sample[0] ^ 0x25)  # percent signs
    zlib_key = data[0] ^ 0x78
    if is_zlib(data[:8].translate(_UNDER[zlib_key])):
        keys.append(zlib_key)
    # lengths and UTF-16 have zeros: that of the most frequent byte, and those that stand next to each other
    common = max(sorts, key=sample.count)
    if sample.count(common) * 6 >= size:
        keys.append(common)
    if b"\0\0" in told[:_FRAME]:
        keys.append(sample[told.index(b"\0\0")])
    return [key for key in dict.fromkeys(keys + _by_letters(sample)) if key]


def _by_marks(sample: bytes, told: bytes) -> list[int]:
    """The keys under which a known header or a telling word stands in the data, the most frequent first."""
    keys = Counter(sample[match.start()] ^ _FIRST[match.group()] for match in _DIFFERENCES.finditer(told))
    return [key for key, _ in keys.most_common(4)]


def _reads_as_it_is(sample: bytes) -> bool:
    """Whether data is text that has spaces as sentences have them, and no more odd marks than text has."""
    odd = len(sample) - len(sample.translate(None, _ODD))
    return odd * 16 < len(sample) < sample.count(b" ") * 16 and not in_threes(sample) and is_clean(sample)


def _by_letters(sample: bytes) -> list[int]:
    """The keys under which the data is text, or mostly letters and digits as records with text are; those
    that make it look most like a coding, of the fewest kinds of characters, first."""
    size = len(sample)
    keys = set(_text_keys(sample[:_SHORT_SAMPLE]))
    high = size - len(sample.translate(None, _HIGH))
    if high * 3 < size or high * 3 > size * 2:
        first = 0 if high * 3 < size else 128  # likely letters share their first bit
        keys.update(
            key
            for key in range(first or 1, first + 128)
            if len(sample.translate(None, _LIKELY_UNDER[key])) * 4 <= size
        )
    ranked = []
    for key in keys:
        out = sample[:_RANKED].translate(_UNDER[key])
        coded, run = (sum(len(match) for match in pattern.findall(out)) for pattern in (_CODED, _RUN))
        if len(out) >= _MIN_85 and any(not out.translate(None, letters) for letters in _OF_85):
            coded = max(coded, len(out) // 2)
        rest = len(out.translate(None, _LIKELY))
        ranked.append((rest * 4 - coded * 4 - run * 3, len(kinds(out)), key))
    return [key for *_, key in sorted(ranked)]


def _text_keys(short: bytes) -> Iterator[int]:
    """The keys under which the data is UTF-8 without control characters."""
    barred = 1  # the key 0 changes nothing
    for byte in set(short):
        barred |= _BARRED_BY[byte]
    allowed = ~barred & _ALL_KEYS
    while allowed:
        key = (allowed & -allowed).bit_length() - 1
        allowed &= allowed - 1
        try:
            codecs.utf_8_decode(short.translate(_UNDER[key]), "strict", False)
        except UnicodeDecodeError:
            continue
        yield key
