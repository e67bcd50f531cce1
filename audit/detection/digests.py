"""Digests of canaries: a table from the first 8 bytes of a digest to what was hashed and how.

A digest is looked up, never searched letter by letter. A field that is a digest as raw bytes is asked for
here, and so is a run of base64 letters that may be one; unfolding turns other codings into bytes. Only
in bytes that nothing could open are digests searched for. What the table says is checked by hashing
again. Digests of 64 bits or less meet by chance, so they count only in a field that is named for a hash.

Functions: MD5 (RFC 1321), SHA-1 and SHA-2 (FIPS 180-4), SHA-3 (FIPS 202), BLAKE2 (RFC 7693),
RIPEMD-160 (ISO/IEC 10118-3), MurmurHash3 (Appleby), XXH3 and XXH64 (Collet); MD5, SHA-1 and SHA-2 also of
each other's hex, and all of them also cut to their first or middle 8 or 16 bytes.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal

import ahocorasick_rs
import mmh3
import xxhash
from Crypto.Hash import RIPEMD160, SHA512
from msgspec import structs

from audit.records import Canary, Granularity, Match

_HASHLIB = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512",
    "blake2b", "blake2s",
)  # fmt: skip
_OF_HEX = ("md5", "sha1", "sha256", "sha512")
_SURE = 16  # bytes of a digest that no two values share by chance
_SHORT = 8
_MAX_DIGEST = 64
_MAX_NAMING = 4096
_DIGITS = 15  # a number of 8 bytes seldom has fewer
_NAMES = ("hash", "md5", "sha1", "sha256", "sha512", "digest", "checksum", "murmur", "xxh", "fingerprint")
_NAMES_AS_BYTES = tuple(map(str.encode, _NAMES))
_NAMED = re.compile(r"(?i)" + "|".join(_NAMES) + r"|sha[_-]?[0-9]|\bfp\b|_h\b|hid\b")
# how a field named for a hash begins, in JSON and in forms
NAMED_FIELDS = tuple(f"{name}{sign}".encode() for name in _NAMES for sign in ('":', "="))
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_IS_LETTER = bytes(65 if c in _LETTERS else 32 for c in range(256))
# 16 bytes are 22 letters of base64, 8 bytes are 11
_MIN_RUN, _SHORT_RUN = 22, 11
_LONG = b"A" * _MIN_RUN
_GLUED = 4
_HEX_RUN = re.compile(rb"[0-9a-f]{32,}+|[0-9A-F]{32,}+")
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{22,}+")
_SHORT_TEXT = re.compile(rb"[A-Za-z0-9+/_-]{11}=?")
_NAMED_INSIDE = re.compile(
    rb"(?i)(?:" + "|".join(_NAMES).encode() + rb")[\w-]{0,16}[\"']?\s{0,2}[:=](?:[\s+]|=20|%20){0,2}[\"']?"
    rb"([A-Za-z0-9+/_-]{11}(?:=|[0-9A-Fa-f]{5})?)(?![A-Za-z0-9+/_-])"
)
_HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
_NUMBER = re.compile(rb"-?[0-9]{15,20}")
_ALNUM = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHOLE, _MIDDLE_8, _MIDDLE_16 = range(3)
_Function = Callable[[bytes], bytes]
_Written = Literal["", "base64", "base64url", "decimal", "hex"]


def _hashlib(name: str) -> _Function:
    make = getattr(hashlib, name)
    return lambda data: bytes(make(data, usedforsecurity=False).digest())


def _of_openssl(name: str, otherwise: _Function) -> _Function:
    """A function that not every build of Python's hashlib has; it is many times faster where it does."""
    if name not in hashlib.algorithms_available:
        return otherwise
    return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()


def _murmur_words(data: bytes) -> bytes:
    """MurmurHash3's two words each with its first byte first, as printing them in hex gives."""
    digest = mmh3.hash_bytes(data)
    return digest[7::-1] + digest[:7:-1]


def _blake2b(size: int, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


def _sha512_cut(bits: str, data: bytes) -> bytes:
    return SHA512.new(data, truncate=bits).digest()


def _ripemd160(data: bytes) -> bytes:
    return RIPEMD160.new(data).digest()


FUNCTIONS: dict[str, _Function] = {
    **{name.replace("sha3_", "sha3-"): _hashlib(name) for name in _HASHLIB},
    "sha512-224": _of_openssl("sha512_224", partial(_sha512_cut, "224")),
    "sha512-256": _of_openssl("sha512_256", partial(_sha512_cut, "256")),
    "blake2b-256": partial(_blake2b, 32),
    "blake2b-160": partial(_blake2b, 20),
    "ripemd160": _of_openssl("ripemd160", _ripemd160),
    "murmur3-128": mmh3.hash_bytes,
    "murmur3-128-words": _murmur_words,
    "murmur3-128-x86": lambda data: mmh3.hash_bytes(data, x64arch=False),
    "xxh3-128": xxhash.xxh3_128_digest,
    "xxh3-64": xxhash.xxh3_64_digest,
    "xxh64": xxhash.xxh64_digest,
}


def _of_hex(outer: _Function, inner: _Function, data: bytes) -> bytes:
    return outer(inner(data).hex().encode())


_WAYS: tuple[tuple[str, _Function], ...] = (
    *FUNCTIONS.items(),
    *(
        (f"{outer}({inner})", partial(_of_hex, FUNCTIONS[outer], FUNCTIONS[inner]))
        for outer in _OF_HEX
        for inner in _OF_HEX
    ),
)


class Digests:
    """The digests of a set of texts. `texts` says whose each one is and in which granularity."""

    def __init__(self, texts: dict[bytes, list[tuple[str, Granularity]]]) -> None:
        self._texts = list(texts)
        self._owners = list(texts.values())
        # from 8 bytes to numbers that name a text, a way of hashing and the place in the digest
        self._heads: dict[bytes, tuple[int, ...]] = {}
        for head, code in self._rows():
            self._heads[head] = (*self._heads.get(head, ()), code)
        self._automaton: tuple[ahocorasick_rs.BytesAhoCorasick, list[bytes]] | None = None

    def _rows(self) -> Iterator[tuple[bytes, int]]:
        code = 0
        for text in self._texts:
            for _, function in _WAYS:
                digest = function(text)
                yield digest[:_SHORT], code + _WHOLE
                size = len(digest)
                if size > _SHORT:
                    at = (size - _SHORT) // 2
                    yield digest[at : at + _SHORT], code + _MIDDLE_8
                if size > _SURE:
                    at = (size - _SURE) // 2
                    yield digest[at : at + _SHORT], code + _MIDDLE_16
                code += 3

    def find(self, data: bytes, name: str = "") -> list[Match]:
        """The digests that `data` is, as raw bytes, and those that stand in it as base64. `name` is that of
        the field: what it is called decides whether a short digest counts."""
        size = len(data)
        if size <= _MAX_DIGEST and data[:_SHORT] in self._heads:
            found = self._at(data, 0, size)
            if found:
                return found if size >= _SURE or _NAMED.search(name) else []
        if size < _MIN_RUN:
            found = self._short_text(data, size)
            return found if found and _NAMED.search(name) else []
        found = []
        if size <= _MAX_NAMING and (b'"' in data or b"=" in data):
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
        if len(data) < _SURE or not self._heads:
            return []
        automaton, heads = self._searched()
        found: list[Match] = []
        for index, start, _ in automaton.find_matches_as_indexes(data, overlapping=True):
            for code in self._heads[heads[index]]:
                form, part = self._part(code, data, start)
                if len(part) >= _SURE:
                    found += self._matches(code, form, start, len(part))
        return found

    def _at(self, data: bytes, start: int, size: int, written: _Written = "") -> list[Match]:
        """The digests of which the 8, 16 or all bytes are `data`."""
        found: list[Match] = []
        for code in self._heads.get(data[:_SHORT], ()):
            form, part = self._part(code, data, 0)
            if part == data:
                found += self._matches(code, form, start, size, written)
        return found

    def _part(self, code: int, data: bytes, start: int) -> tuple[str, bytes]:
        """The longest part of this digest that stands in `data` at `start`, and what it is called."""
        name, function = _WAYS[code // 3 % len(_WAYS)]
        digest = function(self._texts[code // (3 * len(_WAYS))])
        place = code % 3
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
        if not any(name in low for name in _NAMES_AS_BYTES):
            return []
        return [
            structs.replace(hit, offset=match.start(1))
            for match in _NAMED_INSIDE.finditer(data)
            for hit in self._short_text(match[1], len(match[1]))
        ]

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
                for code in self._heads.get(head, ()):
                    even = binascii.unhexlify(data[at : at + (end - at) // 2 * 2])
                    form, part = self._part(code, even, 0)
                    if len(part) >= _SURE:
                        found += self._matches(code, form, at, 2 * len(part), "hex")
        return found

    def _base64(self, data: bytes) -> list[Match]:
        """The digests of 16 bytes and more that stand in text as base64."""
        found: list[Match] = []
        for run in _RUN.finditer(data):
            letters = run.group().translate(_TO_STANDARD)
            for start in _starts(letters):
                head = binascii.a2b_base64(letters[start : start + 12])[:_SHORT]
                for code in self._heads.get(head, ()):
                    found += self._as_base64(code, data, run.start() + start, run.end())
        return found

    def _as_base64(self, code: int, data: bytes, start: int, last: int) -> list[Match]:
        _, function = _WAYS[code // 3 % len(_WAYS)]
        digest = function(self._texts[code // (3 * len(_WAYS))])
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
            for canary, granularity in self._owners[code // (3 * len(_WAYS))]
        ]

    def _searched(self) -> tuple[ahocorasick_rs.BytesAhoCorasick, list[bytes]]:
        # made when first needed: most traffic has nothing that stays closed
        if self._automaton is None:
            heads = [head for head, codes in self._heads.items() if any(c % 3 != _MIDDLE_8 for c in codes)]
            self._automaton = (ahocorasick_rs.BytesAhoCorasick(heads), heads)
        return self._automaton


def _starts(letters: bytes) -> Iterator[int]:
    """Where a digest may begin in a run of base64 letters: at its beginning, give or take a few letters that
    are glued to it, and behind what also separates words and parts of a path."""
    last = len(letters) - _MIN_RUN
    yield from range(min(_GLUED, last) + 1)
    for sign in (b"/", b"+"):
        at = letters.find(sign)
        while 0 <= at < last:
            if at >= _GLUED:
                yield at + 1
            at = letters.find(sign, at + 1)


def digests(
    canaries: Iterable[Canary], inputs: Callable[[Canary], list[tuple[Granularity, bytes]]]
) -> Digests:
    """The table for these canaries; `inputs` gives the texts of each that may have been hashed, the most
    specific granularity first."""
    texts: dict[bytes, list[tuple[str, Granularity]]] = {}
    for canary in canaries:
        for granularity, text in inputs(canary):
            owners = texts.setdefault(text, [])
            if all(owner != canary.id for owner, _ in owners):
                owners.append((canary.id, granularity))
    return Digests(texts)
