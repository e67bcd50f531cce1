"""Digests of canaries: a table from digest to what was hashed and how.

A digest is looked up, never searched letter by letter: unfolding turns hex and base64 into bytes, and a
field as long as a digest is asked for here; only in bytes that nothing could open are digests searched
for. Digests of 64 bits or less meet by chance, so they count only in a field that is named for a hash.

Functions: MD5 (RFC 1321), SHA-1 and SHA-2 (FIPS 180-4), SHA-3 (FIPS 202), BLAKE2 (RFC 7693),
RIPEMD-160 (ISO/IEC 10118-3), MurmurHash3 (Appleby), XXH3 and XXH64 (Collet); MD5, SHA-1 and SHA-2 also of
each other's hex, and the long ones also cut to their first or middle 8 or 16 bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import ahocorasick_rs
import mmh3
import xxhash
from Crypto.Hash import RIPEMD160

from audit.records import Canary, Granularity, Match

_HASHLIB = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512",
    "blake2b", "blake2s",
)  # fmt: skip
_OF_HEX = ("md5", "sha1", "sha256", "sha512")
_SURE = 16  # bytes of a digest that no two values share by chance
_SHORT = 8
_NAMED = re.compile(r"(?i)hash|md5|sha[0-9_-]?|digest|checksum|murmur|xxh|fingerprint|\bfp\b|_h\b|hid\b")
_Function = Callable[[bytes], bytes]


class Hashed(NamedTuple):
    """What a digest was made of: whose value, in which granularity, by which function."""

    canary: str
    granularity: Granularity
    form: str


def _hashlib(name: str, data: bytes) -> bytes:
    return hashlib.new(name, data, usedforsecurity=False).digest()


def _murmur_words(data: bytes) -> bytes:
    """MurmurHash3's two words each with its first byte first, as printing them in hex gives."""
    digest = mmh3.hash_bytes(data)
    return digest[7::-1] + digest[:7:-1]


def _blake2b(size: int, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


FUNCTIONS: dict[str, _Function] = {
    **{name.replace("sha3_", "sha3-"): partial(_hashlib, name) for name in _HASHLIB},
    "blake2b-256": partial(_blake2b, 32),
    "blake2b-160": partial(_blake2b, 20),
    "ripemd160": lambda data: RIPEMD160.new(data).digest(),
    "murmur3-128": mmh3.hash_bytes,
    "murmur3-128-words": _murmur_words,
    "murmur3-128-x86": lambda data: mmh3.hash_bytes(data, x64arch=False),
    "xxh3-128": xxhash.xxh3_128_digest,
    "xxh3-64": xxhash.xxh3_64_digest,
    "xxh64": xxhash.xxh64_digest,
}


class Digests:
    """The digests of a set of texts."""

    def __init__(self, rows: Iterable[tuple[bytes, Hashed]]) -> None:
        self._known: dict[bytes, list[Hashed]] = {}
        for digest, hashed in rows:
            entries = self._known.setdefault(digest, [])
            if not any(e.canary == hashed.canary and e.form == hashed.form for e in entries):
                entries.append(hashed)
        self._lengths = frozenset(len(digest) for digest in self._known)
        self._heads: tuple[ahocorasick_rs.BytesAhoCorasick, list[list[bytes]]] | None = None

    def find(self, data: bytes, name: str = "") -> list[Match]:
        """A match per canary if the whole of `data` is one of the digests, as raw bytes. `name` is that
        of the field: what it is called decides whether a short digest counts."""
        if len(data) not in self._lengths or (len(data) < _SURE and not _NAMED.search(name)):
            return []
        return _matches(self._known.get(data, ()), 0, len(data))

    def inside(self, data: bytes) -> list[Match]:
        """The long digests that stand anywhere in `data`, as raw bytes."""
        if len(data) < _SURE:
            return []
        automaton, digests = self._heads_automaton()
        found: list[Match] = []
        for index, start, _ in automaton.find_matches_as_indexes(data, overlapping=True):
            for digest in digests[index]:
                if data.startswith(digest, start):
                    found += _matches(self._known[digest], start, len(digest))
        return found

    def _heads_automaton(self) -> tuple[ahocorasick_rs.BytesAhoCorasick, list[list[bytes]]]:
        # made when first needed: most traffic has nothing that stays closed
        if self._heads is None:
            heads: dict[bytes, list[bytes]] = {}
            for digest in self._known:
                if len(digest) >= _SURE:
                    heads.setdefault(digest[:_SHORT], []).append(digest)
            self._heads = (ahocorasick_rs.BytesAhoCorasick(list(heads)), list(heads.values()))
        return self._heads


def _matches(hashed: Iterable[Hashed], offset: int, length: int) -> list[Match]:
    return [
        Match(canary=h.canary, granularity=h.granularity, form=h.form, offset=offset, length=length)
        for h in hashed
    ]


def digests(
    canaries: Iterable[Canary], inputs: Callable[[Canary], list[tuple[Granularity, bytes]]]
) -> Digests:
    """The table for these canaries; `inputs` gives the texts of each that may have been hashed, the most
    specific granularity first."""
    return Digests(_rows(canaries, inputs))


def _rows(
    canaries: Iterable[Canary], inputs: Callable[[Canary], list[tuple[Granularity, bytes]]]
) -> Iterator[tuple[bytes, Hashed]]:
    for canary in canaries:
        for granularity, text in inputs(canary):
            for name, function in FUNCTIONS.items():
                digest = function(text)
                yield digest, Hashed(canary.id, granularity, name)
                for form, cut in _cuts(name, digest):
                    yield cut, Hashed(canary.id, granularity, form)
                if name in _OF_HEX:
                    inner = digest.hex().encode()
                    for outer in _OF_HEX:
                        yield FUNCTIONS[outer](inner), Hashed(canary.id, granularity, f"{outer}({name})")


def _cuts(name: str, digest: bytes) -> Iterator[tuple[str, bytes]]:
    """The digest cut to 8 or 16 bytes, from its start and from its middle."""
    for size in (_SHORT, _SURE):
        if len(digest) > size:
            middle = (len(digest) - size) // 2
            yield f"{name}/{size * 8}", digest[:size]
            yield f"{name}/{size * 8}-middle", digest[middle : middle + size]
