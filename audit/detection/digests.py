"""Digests of canaries: a table from the first 8 bytes of a digest to what was hashed and how.

A digest is looked up, never searched letter by letter. A field that is a digest as raw bytes is asked for
here, and so is a run of base64 letters that may be one; unfolding turns other codings into bytes. Only
in bytes that nothing could open are digests searched for. What the table says is checked by hashing
again. Digests of 64 bits or less meet by chance: they count only in a field that is named for a hash, those of
32 bits only where the name also says which function, or what was hashed (`crc32`, `url_hash`).
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import structs

from audit.detection.hashed_texts import HashedText
from audit.detection.hashing import SINGLE, SMALL, USUAL, digests_of
from audit.records import Granularity, Match

_SURE = 16  # bytes of a digest that no two values share by chance
_SHORT = 8
_MAX_DIGEST = 64
_DIGITS = 15  # a number of 8 bytes seldom has fewer
_NAMES = (
    "hash", "md5", "sha1", "sha256", "sha512", "digest", "checksum", "murmur", "xxh", "fingerprint", "fnv", "crc32",
)  # fmt: skip
_NAMES_AS_BYTES = tuple(map(str.encode, _NAMES))
_NAMED = re.compile(r"(?i)" + "|".join(_NAMES) + r"|sha[_-]?[0-9]|\bfp\b|_h\b|hid\b")
# how a field named for a hash begins, in JSON, forms, XML and text
NAMED_FIELDS = (
    *(f"{name}{sign}".encode() for name in _NAMES for sign in ('"', "=", ">", ":")),
    b"hash_", b"hash3", b"hash6", b"hashc", b"hashe", b"hash-", b"crc32", b"murmur", b"fnv1", b"xxh", b"mmh3",
)  # fmt: skip
# what a small hash may be of, so that the name of its field says enough
_OF_WHAT = re.compile(
    r"(?i)ur[li]|link|href|host|domain|site|addr|page|path|query|search|term|keyword|word|text|title|referr?er|"
    r"device|android|imei|mac|gaid|adid|oaid"
)
_SMALL_NAME = re.compile(r"(?i)hash|crc|fnv|murmur|mmh|xx_?h|digest|checksum|fingerprint|_h$")
_STEPS = re.compile(r"[^.\[\]/:]+")
_SMALL_SIZES = frozenset((4, *range(6, 13)))
_SMALL_NUMBER = re.compile(rb"-?[0-9]{6,10}")
_SMALL_HEX = re.compile(rb"(?:0x)?(?:[0-9a-f]{7,8}|[0-9A-F]{7,8})")
_SMALL_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{6}(?:==)?")
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_IS_LETTER = bytes(65 if c in _LETTERS else 32 for c in range(256))
# 16 bytes are 22 letters of base64, 8 bytes are 11
_MIN_RUN, _SHORT_RUN = 22, 11
_LONG = b"A" * _MIN_RUN
_GLUED = 12
_HEX_RUN = re.compile(rb"[0-9a-f]{32,}+|[0-9A-F]{32,}+")
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{22,}+")
_SHORT_TEXT = re.compile(rb"[A-Za-z0-9+/_-]{11}=?")
_BEHIND_NAME = re.compile(
    rb"[\w-]{0,16}[\"']?\s{0,2}[:=](?:[\s+]|=20|%20){0,2}[\"']?"
    rb"([A-Za-z0-9+/_-]{11}(?:=|[0-9A-Fa-f]{5})?)(?![A-Za-z0-9+/_-])"
)
_HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
_NUMBER = re.compile(rb"-?[0-9]{15,20}")
_ALNUM = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SIX_BITS = bytes.maketrans(_ALPHABET, bytes(range(64)))
_WHOLE, _MIDDLE_8, _MIDDLE_16 = range(3)
_OF_HEX = ("md5", "sha1", "sha256", "sha512")
_HALVED = {way.name for way in SINGLE} | {f"{outer}({inner})" for outer in _OF_HEX for inner in _OF_HEX}
_STEP = 1 << 20
_Written = Literal["", "base64", "base64url", "decimal", "hex"]


def _places(name: str, size: int) -> list[tuple[int, slice]]:
    """Which 8 bytes of a digest of that size stand in the table: those at its beginning, and those that begin
    its middle."""
    found = [(_WHOLE, slice(0, _SHORT))]
    if name in _HALVED and size > _SHORT:
        at = (size - _SHORT) // 2
        found.append((_MIDDLE_8, slice(at, at + _SHORT)))
        if size > _SURE:
            at = (size - _SURE) // 2
            found.append((_MIDDLE_16, slice(at, at + _SHORT)))
    return found


_PLACES = [_places(way.name, len(way.function(b""))) for way in USUAL]
_SLICES = [tuple(part for _, part in places) for places in _PLACES]
# of each row of a text: which way of hashing, and which place in the digest
_ROWS = [(way, place) for way, places in enumerate(_PLACES) for place, _ in places]
_LENGTHS = frozenset((_SHORT, _SURE, *(len(way.function(b"")) for way in USUAL)))


class Digests:
    """The digests of the texts of a set of canaries, told by id."""

    def __init__(self, canaries: Iterable[tuple[str, list[HashedText]]]) -> None:
        owners: dict[bytes, list[tuple[str, Granularity]]] = {}
        usual: set[bytes] = set()
        for canary, texts in canaries:
            for text, granularity, is_usual in texts:
                mine = owners.setdefault(text, [])
                if all(owner != canary for owner, _ in mine):
                    mine.append((canary, granularity))
                if is_usual:
                    usual.add(text)
        self._texts = list(owners)
        self._owners = list(owners.values())
        self._starts: list[int] = []
        self._small: dict[bytes, list[tuple[int, str]]] = {}
        heads = bytearray()
        for number, text in enumerate(self._texts):
            self._starts.append(len(heads) // _SHORT)
            digests = digests_of(text, usual=text in usual)
            rows = zip(_SLICES, digests, strict=False)
            heads += b"".join([digest[part] for parts, digest in rows for part in parts])
            if text in usual:
                for name, (_, function) in SMALL.items():
                    self._small.setdefault(function(text), []).append((number, name))
        self._fill(np.frombuffer(heads, ">u8").astype(np.uint64))

    def _fill(self, heads: npt.NDArray[np.uint64]) -> None:
        """The table: heads in order, the number of the row of each, and which first three bytes there are."""
        self._order = np.argsort(heads, kind="stable").astype(np.uint32)
        self._heads = heads[self._order]
        self._firsts = np.zeros(1 << 24, np.uint8)
        self._firsts[(heads >> np.uint64(40)).astype(np.int64)] = 1
        self._first = memoryview(self._firsts.data)

    def _codes(self, head: bytes) -> Iterable[int]:
        """The rows of the digests that have these 8 bytes."""
        value = int.from_bytes(head, "big")
        if not self._first[value >> 40]:
            return ()
        at = int(np.searchsorted(self._heads, np.uint64(value)))
        found = []
        while at < len(self._heads) and int(self._heads[at]) == value:
            found.append(int(self._order[at]))
            at += 1
        return found

    def find(self, data: bytes, name: str = "") -> list[Match]:
        """The digests that `data` is, as raw bytes, and those that stand in it as base64. `name` is that of
        the field: what it is called decides whether a short digest counts."""
        size = len(data)
        if size in _LENGTHS:
            found = self._at(data, 0, size)
            if found:
                return found if size >= _SURE or _NAMED.search(name) else []
        if size in _SMALL_SIZES and (functions := _small_functions(name)):
            found = self._small_hash(data, functions)
            if found:
                return found
        if size < _MIN_RUN:
            found = self._short_text(data, size)
            return found if found and _NAMED.search(name) else []
        found = []
        if b"=" in data or b":" in data:
            found = self._named_inside(data)
        if _LONG not in data.translate(_IS_LETTER):
            return found
        found += self._glued_hex(data)
        if data.islower() or data.isupper():
            return found  # base64 of so many bytes has letters of both cases
        return found + self._base64(data)

    def known(self, data: bytes) -> bool:
        """Whether the whole of `data` is a digest of more than 64 bits, as raw bytes."""
        return _SURE <= len(data) <= _MAX_DIGEST and bool(self._at(data, 0, len(data)))

    def inside(self, data: bytes) -> list[Match]:
        """The long digests that stand anywhere in `data`, as raw bytes."""
        found: list[Match] = []
        for start in self._starts_inside(data):
            for code in self._codes(data[start : start + _SHORT]):
                form, part = self._part(code, data, start)
                if len(part) >= _SURE:
                    found += self._matches(code, form, start, len(part))
        return _outermost(found)

    def _starts_inside(self, data: bytes) -> Iterator[int]:
        """Where in `data` 8 bytes stand that the table has."""
        for begin in range(0, len(data) - _SURE + 1, _STEP):
            part = np.frombuffer(data, np.uint8, min(_STEP + _SHORT - 1, len(data) - begin), begin)
            wide = part.astype(np.int32)
            likely = np.flatnonzero(self._firsts[wide[:-7] << 16 | wide[1:-6] << 8 | wide[2:-5]])
            if not len(likely):
                continue
            heads = np.zeros(len(likely), np.uint64)
            for step in range(_SHORT):
                heads = heads << np.uint64(8) | part[likely + step].astype(np.uint64)
            at = np.minimum(np.searchsorted(self._heads, heads), len(self._heads) - 1)
            yield from (begin + int(place) for place in likely[self._heads[at] == heads])

    def _at(self, data: bytes, start: int, size: int, written: _Written = "") -> list[Match]:
        """The digests of which the 8, 16 or all bytes are `data`."""
        found: list[Match] = []
        for code in self._codes(data[:_SHORT]):
            form, part = self._part(code, data, 0)
            if part == data:
                found += self._matches(code, form, start, size, written)
        return found

    def _text_of(self, code: int) -> tuple[int, int]:
        """Which text a row belongs to, and which of its rows it is."""
        number = bisect_right(self._starts, code) - 1
        return number, code - self._starts[number]

    def _part(self, code: int, data: bytes, start: int) -> tuple[str, bytes]:
        """The longest part of this digest that stands in `data` at `start`, and what it is called."""
        number, row = self._text_of(code)
        way, place = _ROWS[row]
        name, function = USUAL[way]
        digest = function(self._texts[number])
        sizes = (
            (len(digest), _SURE, _SHORT) if place == _WHOLE else (_SHORT if place == _MIDDLE_8 else _SURE,)
        )
        for size in sizes:
            at = 0 if place == _WHOLE else (len(digest) - size) // 2
            part = digest[at : at + size]
            if len(part) == size and data.startswith(part, start):
                cut = f"/{size * 8}" if size < len(digest) else ""
                return f"{name}{cut}{'-middle' if place else ''}", part
        return name, b""

    def _short_text(self, data: bytes, size: int) -> list[Match]:
        """8 bytes as base64, in hex or as a number, which is the whole of `data`."""
        if _SHORT_RUN <= size <= _SHORT_RUN + 1 and _SHORT_TEXT.fullmatch(data):
            digest = binascii.a2b_base64(data[:_SHORT_RUN].translate(_TO_STANDARD) + b"=")
            return self._at(digest, 0, size, "base64")
        if size == 2 * _SHORT and _HEX.fullmatch(data):
            return self._at(bytes.fromhex(data.decode()), 0, size, "hex")
        if size >= _DIGITS and _NUMBER.fullmatch(data) and -(1 << 63) <= (number := int(data)) < 1 << 64:
            digest = (number % (1 << 64)).to_bytes(8, "big")
            return self._at(digest, 0, size, "decimal") or self._at(digest[::-1], 0, size, "decimal")
        return []

    def _named_inside(self, data: bytes) -> list[Match]:
        """8 bytes behind the name of a hash, in text that was not taken apart into its fields."""
        low = data.lower()
        found: dict[tuple[str, int], Match] = {}
        for name in _NAMES_AS_BYTES:
            at = low.find(name)
            while at >= 0:
                at += len(name)
                if match := _BEHIND_NAME.match(data, at):
                    for hit in self._short_text(match[1], len(match[1])):
                        told = structs.replace(hit, offset=match.start(1))
                        found[told.canary, told.offset] = told
                at = low.find(name, at)
        return list(found.values())

    def _glued_hex(self, data: bytes) -> list[Match]:
        """The digests of 16 bytes and more in hex that other letters or digits stand next to. (Those that
        stand for themselves, unfolding opens.)"""
        found: list[Match] = []
        for run in _HEX_RUN.finditer(data):
            start, end = run.span()
            alone = (not start or data[start - 1] not in _ALNUM) and (
                end == len(data) or data[end] not in _ALNUM
            )
            if alone and (end - start) % 8 == 0:
                continue
            for at in range(start, min(start + _GLUED, end - 2 * _SURE) + 1):
                head = binascii.unhexlify(data[at : at + 2 * _SHORT])
                for code in self._codes(head):
                    even = binascii.unhexlify(data[at : at + (end - at) // 2 * 2])
                    form, part = self._part(code, even, 0)
                    if len(part) >= _SURE:
                        found += self._matches(code, form, at, 2 * len(part), "hex")
        return _outermost(found)

    def _base64(self, data: bytes) -> list[Match]:
        """The digests of 16 bytes and more that stand in text as base64."""
        found: list[Match] = []
        first = self._first
        for run in _RUN.finditer(data):
            letters = run.group().translate(_TO_STANDARD)
            six = letters.translate(_SIX_BITS)
            for start in _starts(letters):
                if not first[six[start] << 18 | six[start + 1] << 12 | six[start + 2] << 6 | six[start + 3]]:
                    continue
                head = binascii.a2b_base64(letters[start : start + 12])[:_SHORT]
                for code in self._codes(head):
                    found += self._as_base64(code, data, run.start() + start, run.end())
        return _outermost(found)

    def _as_base64(self, code: int, data: bytes, start: int, last: int) -> list[Match]:
        number, row = self._text_of(code)
        digest = USUAL[_ROWS[row][0]].function(self._texts[number])
        for size in (len(digest), _SURE):
            letters = -(-size * 4 // 3)
            text = data[start : start + letters]
            end = start + letters
            if end > last:
                continue
            decoded = binascii.a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-letters % 4))
            form, part = self._part(code, decoded, 0)
            if part == decoded and len(part) >= _SURE:
                written: _Written = "base64url" if b"-" in text or b"_" in text else "base64"
                return self._matches(code, form, start, letters, written)
        return []

    def _matches(self, code: int, form: str, start: int, size: int, written: _Written = "") -> list[Match]:
        return [
            Match(
                canary=canary, granularity=granularity, form=form, offset=start, length=size, written=written
            )
            for canary, granularity in self._owners[self._text_of(code)[0]]
        ]

    def _small_hash(self, data: bytes, functions: frozenset[str]) -> list[Match]:
        """The hashes of 32 bits under these functions that are the whole of `data`: as bytes in either order,
        as a number, in hex, in base64."""
        return [
            Match(
                canary=canary, granularity=granularity, form=name, offset=0, length=len(data), written=written
            )
            for digest, written in _small_values(data)
            for number, name in self._small.get(digest, ())
            if name in functions
            for canary, granularity in self._owners[number]
        ]


def _outermost(found: list[Match]) -> list[Match]:
    """Without the middle part of a digest that was found whole."""
    if len(found) < 2:
        return found
    kept: list[Match] = []
    end = 0
    for match in sorted(found, key=lambda match: (match.offset, -match.length)):
        if match.offset + match.length > end or (kept and match.offset == kept[-1].offset):
            kept.append(match)
            end = max(end, match.offset + match.length)
    return kept


@lru_cache(4096)
def names_hash(name: str) -> bool:
    """Whether a field of this name may hold a hash that counts for its name alone."""
    return _NAMED.search(name) is not None or bool(_small_functions(name))


@lru_cache(4096)
def _small_functions(name: str) -> frozenset[str]:
    """The functions of 32 bits that the name of a field speaks of: the one it names, or all where it names a
    hash and what is hashed."""
    said = ".".join([step for step in _STEPS.findall(name) if not step.isdigit()][-2:])
    if not _SMALL_NAME.search(said):
        return frozenset()
    if _OF_WHAT.search(said):
        return frozenset(SMALL)
    return frozenset(way for way, (pattern, _) in SMALL.items() if re.search(f"(?i){pattern}", said))


def _small_values(data: bytes) -> Iterator[tuple[bytes, _Written]]:
    """The 4 bytes that `data` may stand for."""
    if len(data) == 4:
        yield data, ""
        yield data[::-1], ""
    elif _SMALL_NUMBER.fullmatch(data) and -(1 << 31) <= (number := int(data)) < 1 << 32:
        yield (number % (1 << 32)).to_bytes(4, "big"), "decimal"
    if _SMALL_HEX.fullmatch(data):
        digest = int(data, 16).to_bytes(4, "big")
        yield digest, "hex"
        yield digest[::-1], "hex"
    elif _SMALL_BASE64.fullmatch(data):
        digest = binascii.a2b_base64(data[:6].translate(_TO_STANDARD) + b"==")
        yield digest, "base64"
        yield digest[::-1], "base64"


def _starts(letters: bytes) -> list[int]:
    """Where a digest may begin in a run of base64 letters: at its beginning, give or take a few letters that
    are glued to it, and behind what also separates words and parts of a path."""
    last = len(letters) - _MIN_RUN
    starts = list(range(min(_GLUED, last) + 1))
    for sign in (b"/", b"+"):
        at = letters.find(sign, _GLUED, last)
        while at >= 0:
            starts.append(at + 1)
            at = letters.find(sign, at + 1, last)
    return starts
