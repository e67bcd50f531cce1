"""LZ-string's compressor (the published algorithm by Pieroxy), for encoding only.

Works on UTF-16 code units like the original; the two alphabets are those of `compressToBase64` and
`compressToEncodedURIComponent`.
"""

from __future__ import annotations

from collections.abc import Callable

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_ADDRESS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-$"


class _Bits:
    """Collects bits, most significant first, into units of `width` bits."""

    def __init__(self, width: int) -> None:
        self.units: list[int] = []
        self._width = width
        self._value = 0
        self._count = 0

    def put(self, value: int, count: int) -> None:
        for _ in range(count):
            self._value = self._value << 1 | value & 1
            value >>= 1
            self._count += 1
            if self._count == self._width:
                self.units.append(self._value)
                self._value = self._count = 0

    def close(self) -> None:
        self.units.append(self._value << self._width - self._count)


def _compress(units: list[str], width: int) -> list[int]:
    bits = _Bits(width)
    known: dict[str, int] = {}
    fresh: set[str] = set()
    size, enlarge, code_bits = 3, 2, 2

    def tick() -> None:
        nonlocal enlarge, code_bits
        enlarge -= 1
        if enlarge == 0:
            enlarge = 1 << code_bits
            code_bits += 1

    def emit(word: str) -> None:
        if word not in fresh:
            bits.put(known[word], code_bits)
        else:
            wide = ord(word) >= 256
            bits.put(1 if wide else 0, code_bits)
            bits.put(ord(word), 16 if wide else 8)
            tick()
            fresh.discard(word)
        tick()

    word = ""
    for unit in units:
        if unit not in known:
            known[unit] = size
            size += 1
            fresh.add(unit)
        if word + unit in known:
            word += unit
            continue
        emit(word)
        known[word + unit] = size
        size += 1
        word = unit
    if word:
        emit(word)
    bits.put(2, code_bits)
    bits.close()
    return bits.units


def _code_units(text: str) -> list[str]:
    raw = text.encode("utf-16-le")
    return [chr(int.from_bytes(raw[i : i + 2], "little")) for i in range(0, len(raw), 2)]


def _lettered(alphabet: str) -> Callable[[str], str]:
    return lambda text: "".join(alphabet[unit] for unit in _compress(_code_units(text), 6))


def to_base64(text: str) -> str:
    """`compressToBase64`, padded with `=` to a multiple of four."""
    out = _lettered(_BASE64)(text)
    return out + "=" * (-len(out) % 4)


to_address = _lettered(_ADDRESS)


def to_bytes(text: str) -> bytes:
    """`compressToUint8Array`: 16-bit units, big-endian."""
    return b"".join(unit.to_bytes(2, "big") for unit in _compress(_code_units(text), 16))
