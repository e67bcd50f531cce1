"""The hashes of the benchmark: one table from name to function over bytes.

hashlib where it has them. MurmurHash3 (Appleby's reference, x64 and x86 128 bit, seed 0) and XXH3-128
(the xxHash specification, inputs up to 240 bytes, seed 0) are written out here, so that the benchmark
shares no code with what it measures; `test_leakbench.py` holds them to published test vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

Function = Callable[[bytes], bytes]
_M32 = (1 << 32) - 1
_M64 = (1 << 64) - 1


def _rotate(value: int, bits: int, width: int) -> int:
    return (value << bits | value >> width - bits) & ((1 << width) - 1)


def _avalanche64(h: int) -> int:
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & _M64
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & _M64
    return h ^ h >> 33


def _avalanche32(h: int) -> int:
    h = (h ^ h >> 16) * 0x85EBCA6B & _M32
    h = (h ^ h >> 13) * 0xC2B2AE35 & _M32
    return h ^ h >> 16


def murmur3_x64(data: bytes) -> tuple[int, int]:
    """MurmurHash3_x64_128 with seed 0, as its two 64-bit words."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        k1 = int.from_bytes(data[at : at + 8], "little")
        k2 = int.from_bytes(data[at + 8 : at + 16], "little")
        h1 ^= _rotate(k1 * c1 & _M64, 31, 64) * c2 & _M64
        h1 = ((_rotate(h1, 27, 64) + h2) * 5 + 0x52DCE729) & _M64
        h2 ^= _rotate(k2 * c2 & _M64, 33, 64) * c1 & _M64
        h2 = ((_rotate(h2, 31, 64) + h1) * 5 + 0x38495AB5) & _M64
    tail = data[whole:]
    h2 ^= _rotate(int.from_bytes(tail[8:], "little") * c2 & _M64, 33, 64) * c1 & _M64
    h1 ^= _rotate(int.from_bytes(tail[:8], "little") * c1 & _M64, 31, 64) * c2 & _M64
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _M64
    h2 = (h2 + h1) & _M64
    h1, h2 = _avalanche64(h1), _avalanche64(h2)
    h1 = (h1 + h2) & _M64
    return h1, (h2 + h1) & _M64


def _murmur3_x86(data: bytes) -> bytes:
    c = (0x239B961B, 0xAB0E9789, 0x38B34AE5, 0xA1E38B93)
    turn, after, add = (15, 16, 17, 18), (19, 17, 15, 13), (0x561CCD1B, 0x0BCAA747, 0x96CD1C35, 0x32AC3B17)
    h = [0, 0, 0, 0]
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        for i in range(4):
            k = int.from_bytes(data[at + 4 * i : at + 4 * i + 4], "little")
            h[i] ^= _rotate(k * c[i] & _M32, turn[i], 32) * c[(i + 1) % 4] & _M32
            h[i] = ((_rotate(h[i], after[i], 32) + h[(i + 1) % 4]) * 5 + add[i]) & _M32
    tail = data[whole:]
    for i in range(4):
        k = int.from_bytes(tail[4 * i : 4 * i + 4], "little")
        h[i] ^= _rotate(k * c[i] & _M32, turn[i], 32) * c[(i + 1) % 4] & _M32
    h = [x ^ len(data) for x in h]
    for _ in range(2):
        h[0] = sum(h) & _M32
        h[1:] = [(x + h[0]) & _M32 for x in h[1:]]
        if _ == 0:
            h = [_avalanche32(x) for x in h]
    return b"".join(x.to_bytes(4, "little") for x in h)


def _murmur3_little(data: bytes) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in murmur3_x64(data))


def _murmur3_big(data: bytes) -> bytes:
    return b"".join(word.to_bytes(8, "big") for word in murmur3_x64(data))


_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_MX2 = 0x9FB21C651E98DF25


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _swap(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def _xxh3_avalanche(h: int) -> int:
    h = (h ^ h >> 37) * 0x165667919E3779F9 & _M64
    return h ^ h >> 32


def _xxh64_avalanche(h: int) -> int:
    h = (h ^ h >> 33) * _P64[1] & _M64
    h = (h ^ h >> 29) * _P64[2] & _M64
    return h ^ h >> 32


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product & _M64) ^ product >> 64


def _mix16(data: bytes, at: int, secret: int) -> int:
    return _fold(_u64(data, at) ^ _u64(_SECRET, secret), _u64(data, at + 8) ^ _u64(_SECRET, secret + 8))


def _mix32(acc: tuple[int, int], data: bytes, one: int, two: int, secret: int) -> tuple[int, int]:
    low = (acc[0] + _mix16(data, one, secret)) & _M64
    low ^= (_u64(data, two) + _u64(data, two + 8)) & _M64
    high = (acc[1] + _mix16(data, two, secret + 16)) & _M64
    high ^= (_u64(data, one) + _u64(data, one + 8)) & _M64
    return low, high


def _xxh3_short(data: bytes) -> tuple[int, int]:
    n = len(data)
    if n == 0:
        return (
            _xxh64_avalanche(_u64(_SECRET, 64) ^ _u64(_SECRET, 72)),
            _xxh64_avalanche(_u64(_SECRET, 80) ^ _u64(_SECRET, 88)),
        )
    if n <= 3:
        low = data[0] << 16 | data[n >> 1] << 24 | data[-1] | n << 8
        high = _rotate(_swap(low, 4), 13, 32)
        return (
            _xxh64_avalanche(low ^ (_u32(_SECRET, 0) ^ _u32(_SECRET, 4))),
            _xxh64_avalanche(high ^ (_u32(_SECRET, 8) ^ _u32(_SECRET, 12))),
        )
    if n <= 8:
        keyed = (_u32(data, 0) | _u32(data, n - 4) << 32) ^ (_u64(_SECRET, 16) ^ _u64(_SECRET, 24))
        product = keyed * (_P64[0] + (n << 2))
        low, high = product & _M64, product >> 64 & _M64
        high = (high + (low << 1)) & _M64
        low ^= high >> 3
        low = (low ^ low >> 35) * _MX2 & _M64
        return low ^ low >> 28, _xxh3_avalanche(high)
    flip_low = _u64(_SECRET, 32) ^ _u64(_SECRET, 40)
    flip_high = _u64(_SECRET, 48) ^ _u64(_SECRET, 56)
    first, last = _u64(data, 0), _u64(data, n - 8)
    product = (first ^ last ^ flip_low) * _P64[0]
    low, high = product & _M64, product >> 64
    low = (low + ((n - 1) << 54)) & _M64
    last ^= flip_high
    high = (high + last + (last & _M32) * (_P32[1] - 1)) & _M64
    low ^= _swap(high, 8)
    product = low * _P64[1]
    return _xxh3_avalanche(product & _M64), _xxh3_avalanche((product >> 64) + high * _P64[1] & _M64)


def xxh3_128(data: bytes) -> bytes:
    """XXH3_128bits with seed 0 in canonical (big-endian) form. Raises ValueError above 240 bytes."""
    n = len(data)
    if n > 240:
        raise ValueError("only inputs of up to 240 bytes")
    if n <= 16:
        low, high = _xxh3_short(data)
        return high.to_bytes(8, "big") + low.to_bytes(8, "big")
    acc = (n * _P64[0] & _M64, 0)
    if n <= 128:
        for i in range((n - 1) // 32, -1, -1):
            acc = _mix32(acc, data, 16 * i, n - 16 * (i + 1), 32 * i)
    else:
        for at in range(0, 128, 32):
            acc = _mix32(acc, data, at, at + 16, at)
        acc = (_xxh3_avalanche(acc[0]), _xxh3_avalanche(acc[1]))
        for at in range(128, n // 32 * 32, 32):
            acc = _mix32(acc, data, at, at + 16, 3 + at - 128)
        acc = _mix32(acc, data, n - 16, n - 32, 136 - 17 - 16)
    low = _xxh3_avalanche(sum(acc) & _M64)
    high = -_xxh3_avalanche((acc[0] * _P64[0] + acc[1] * _P64[3] + n * _P64[1]) & _M64) & _M64
    return high.to_bytes(8, "big") + low.to_bytes(8, "big")


def _of_hashlib(name: str) -> Function:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()


@dataclass(frozen=True)
class Hash:
    """One way to hash: `bits` of the result; 64 or less need a field named for it (`named`)."""

    name: str
    function: Function
    bits: int

    @property
    def named(self) -> bool:
        return self.bits <= 64


_PLAIN: dict[str, Function] = {
    name.replace("_", "-"): _of_hashlib(name)
    for name in (
        "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256", "sha3_224",
        "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s", "ripemd160",
    )
    if name in hashlib.algorithms_available
}  # fmt: skip
_PLAIN["blake2b-256"] = lambda data: hashlib.blake2b(data, digest_size=32).digest()
_PLAIN["murmur3-x64-128"] = _murmur3_little
_PLAIN["murmur3-x64-128 (words big-endian)"] = _murmur3_big
_PLAIN["murmur3-x86-128"] = _murmur3_x86
_PLAIN["xxh3-128"] = xxh3_128


def _double(outer: str, inner: str) -> Function:
    return lambda data: _PLAIN[outer](_PLAIN[inner](data).hex().encode())


def _part(name: str, middle: bool, size: int) -> Function:
    def run(data: bytes) -> bytes:
        digest = _PLAIN[name](data)
        start = (len(digest) - size) // 2 if middle else 0
        return digest[start : start + size]

    return run


def all_hashes() -> list[Hash]:
    """Every hash of the benchmark: plain, hash of a hash's hex, first and middle 8 or 16 bytes."""
    found = [Hash(name, run, len(run(b"")) * 8) for name, run in _PLAIN.items()]
    found += [
        Hash(f"{outer}({inner})", _double(outer, inner), len(_PLAIN[outer](b"")) * 8)
        for outer in ("md5", "sha1", "sha256", "sha512")
        for inner in ("md5", "sha1", "sha256")
    ]
    for name in ("md5", "sha1", "sha256", "sha512", "sha3-256", "blake2b"):
        for size in (8, 16):
            if len(_PLAIN[name](b"")) > size:
                found.append(Hash(f"{name} first {size}", _part(name, False, size), size * 8))
                found.append(Hash(f"{name} middle {size}", _part(name, True, size), size * 8))
    return found
