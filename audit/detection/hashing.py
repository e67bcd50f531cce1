"""The hash functions that are looked for, and the digests of a text under all of them.

MD5 (RFC 1321), SHA-1 and SHA-2 (FIPS 180-4), SHA-3 (FIPS 202), BLAKE2 (RFC 7693), RIPEMD-160 (ISO/IEC
10118-3), MurmurHash3 (Appleby), XXH3, XXH64 and XXH32 (Collet), FNV-1 and FNV-1a (Fowler, Noll and Vo), CRC-32
(ISO/IEC 8802-3), Java's String.hashCode; seeds are 0. Cryptographic ones also of each other's hex. This
module looks for nothing.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import mmh3
import xxhash
from Crypto.Hash import RIPEMD160, SHA512

_HASHLIB = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512",
    "blake2b", "blake2s",
)  # fmt: skip
Function = Callable[[bytes], bytes]


class Way(NamedTuple):
    """A way of hashing by its name."""

    name: str
    function: Function


def _hashlib(name: str) -> Function:
    make = getattr(hashlib, name)
    return lambda data: bytes(make(data, usedforsecurity=False).digest())


def _of_openssl(name: str, otherwise: Function) -> Function:
    """A function that not every build of Python's hashlib has; it is many times faster where it does."""
    if name not in hashlib.algorithms_available:
        return otherwise
    return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()


def _murmur_words(data: bytes) -> bytes:
    """MurmurHash3's two words each with its first byte first, as printing them in hex gives."""
    digest = mmh3.hash_bytes(data)
    return digest[7::-1] + digest[:7:-1]


def _murmur_number(data: bytes) -> bytes:
    """MurmurHash3 as one number of 128 bits, as printing that in hex gives."""
    return mmh3.hash_bytes(data)[::-1]


def _blake2b(size: int, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


def _sha512_cut(bits: str, data: bytes) -> bytes:
    return SHA512.new(data, truncate=bits).digest()


def _ripemd160(data: bytes) -> bytes:
    return RIPEMD160.new(data).digest()


def _fnv(bits: int, data: bytes, *, after: bool) -> bytes:
    """FNV-1, or FNV-1a where the multiplication comes `after`."""
    prime, value = (0x01000193, 0x811C9DC5) if bits == 32 else (0x100000001B3, 0xCBF29CE484222325)
    mask = (1 << bits) - 1
    for byte in data:
        value = (value ^ byte) * prime & mask if after else value * prime & mask ^ byte
    return value.to_bytes(bits // 8, "big")


def _java(data: bytes) -> bytes:
    """String.hashCode (java.lang.String), of UTF-16 units."""
    units = data.decode("utf-8", "replace").encode("utf-16-be")
    value = 0
    for at in range(0, len(units), 2):
        value = value * 31 + (units[at] << 8 | units[at + 1]) & 0xFFFFFFFF
    return value.to_bytes(4, "big")


# the first ones are those that texts in unusual writing, too, are hashed with
FUNCTIONS: dict[str, Function] = {
    **{name: _hashlib(name) for name in ("md5", "sha1", "sha256", "sha512")},
    "sha3-256": _hashlib("sha3_256"),
    "murmur3-128": mmh3.hash_bytes,
    "xxh3-128": xxhash.xxh3_128_digest,
    "xxh64": xxhash.xxh64_digest,
    **{name.replace("sha3_", "sha3-"): _hashlib(name) for name in _HASHLIB},
    "sha512-224": _of_openssl("sha512_224", partial(_sha512_cut, "224")),
    "sha512-256": _of_openssl("sha512_256", partial(_sha512_cut, "256")),
    "blake2b-256": partial(_blake2b, 32),
    "blake2b-160": partial(_blake2b, 20),
    "ripemd160": _of_openssl("ripemd160", _ripemd160),
    "murmur3-128-words": _murmur_words,
    "murmur3-128-number": _murmur_number,
    "murmur3-128-x86": lambda data: mmh3.hash_bytes(data, x64arch=False),
    "xxh3-64": xxhash.xxh3_64_digest,
}
# of 64 bits, and slow here: only of texts as they usually are
_SLOW: tuple[Way, ...] = (
    Way("fnv1-64", partial(_fnv, 64, after=False)),
    Way("fnv1a-64", partial(_fnv, 64, after=True)),
)
# of 32 bits, by the words that name the function
SMALL: dict[str, tuple[str, Function]] = {
    "crc32": ("crc", lambda data: zlib.crc32(data).to_bytes(4, "big")),
    "murmur3-32": (r"murmur|mmh", lambda data: mmh3.hash(data, signed=False).to_bytes(4, "big")),
    "xxh32": (r"xx_?h", xxhash.xxh32_digest),
    "fnv1-32": ("fnv", partial(_fnv, 32, after=False)),
    "fnv1a-32": ("fnv", partial(_fnv, 32, after=True)),
    "java-hashcode": (r"hash_?code|java", _java),
}
# those of less than 128 bits, and other ways of writing one function, are not hashed on
_DOUBLED = tuple(
    name for name in FUNCTIONS if name not in {"xxh64", "xxh3-64", "murmur3-128-words", "murmur3-128-number"}
)
_CAPITALS = ("md5", "sha1", "sha256")


def _of_hex(outer: Function, inner: Function, data: bytes) -> bytes:
    return outer(inner(data).hex().encode())


def _of_capitals(outer: Function, inner: Function, data: bytes) -> bytes:
    return outer(inner(data).hex().upper().encode())


SINGLE: tuple[Way, ...] = tuple(Way(name, function) for name, function in FUNCTIONS.items())
_COMMON = SINGLE[:8]
USUAL: tuple[Way, ...] = (
    *SINGLE,
    *_SLOW,
    *(
        Way(f"{outer}({inner})", partial(_of_hex, FUNCTIONS[outer], FUNCTIONS[inner]))
        for inner in _DOUBLED
        for outer in _DOUBLED
    ),
    *(
        Way(f"{outer}({inner.upper()})", partial(_of_capitals, FUNCTIONS[outer], FUNCTIONS[inner]))
        for inner in _CAPITALS
        for outer in _DOUBLED
    ),
)


def digests_of(text: bytes, *, usual: bool) -> Iterator[bytes]:
    """The digests of a text in the order of `USUAL`; of a text in unusual writing only the first ones."""
    for way in SINGLE if usual else _COMMON:
        yield way.function(text)
    if not usual:
        return
    for way in _SLOW:
        yield way.function(text)
    outers = [FUNCTIONS[name] for name in _DOUBLED]
    for name in _DOUBLED:
        written = FUNCTIONS[name](text).hex().encode()
        for outer in outers:
            yield outer(written)
    for name in _CAPITALS:
        written = FUNCTIONS[name](text).hex().upper().encode()
        for outer in outers:
            yield outer(written)
