"""What tells that data is what it was meant to be: text, known headers, telling marks.

Shared by everything that must decide whether a decoding made sense. It opens nothing.
"""

from __future__ import annotations

import re
import zlib

_TEXT = bytes([9, 10, 12, 13, *range(32, 127)])
_CONTROLS = bytes([*range(9), 11, *range(14, 32), 127])
# gzip, zstd, LZ4 frame, framed snappy; pictures, archives and fonts that are carried encoded
HEADS = (
    b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\xff\x06\x00\x00sNaPpY",
    b"\x89PNG\r\n", b"\xff\xd8\xff", b"PK\x03\x04", b"GIF8", b"RIFF", b"wOF2", b"wOFF", b"%PDF",
)  # fmt: skip
_MEDIA = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"wOF2\0", b"wOFF\0")
_MARK = re.compile(
    rb"https?:|://|www\.|\.(?:com|net|org)\b|\"\s*:\s*[\"\d{\[]|[\w.-]=[^\s&=]{0,80}&[\w.-]{1,40}=|%2[0-9A-F]|%3[AF]|"
    rb"&(?:quot|amp|lt|gt|#\d{1,6});"
)
_ADDRESS = re.compile(rb"https?:|www\.|\.(?:com|net|org|html?|php)\b|%2F|%3A")
_OTHERS = b"!#$*;<>@[\\]^`{|}~\t\n\r"
# the heads of small maps and arrays in MessagePack and CBOR
_SMALL = frozenset((*range(0x81, 0x90), *range(0xA1, 0xB0)))
# (RFC 1950, 2.2: the headers that zlib itself writes, at an inner offset too)
_ZLIB_INSIDE = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_SHOWING = re.compile(rb"[ -~]{4}|" + b"|".join(map(re.escape, HEADS)))
_LOOK = 1 << 16
_PEEK = 1024


def is_text(data: bytes) -> bool:
    """Whether data reads as text: printable ASCII, or UTF-8 with next to no control characters."""
    rest = data.translate(None, _TEXT)
    if not rest:
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return (len(data) - len(data.translate(None, _CONTROLS))) * 20 <= len(data)


def is_clean(data: bytes) -> bool:
    """Whether data is text without any control character."""
    rest = data.translate(None, _TEXT)
    if not rest:
        return bool(data)
    if len(data.translate(None, _CONTROLS)) != len(data):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_noise(data: bytes) -> bool:
    """Whether short data shows nothing at all: neither a few letters together, nor a header, nor UTF-16 or
    GB 18030. So look identifiers, digests and keys, of which telemetry is full."""
    if (
        not 8 <= len(data) <= 64
        or data.isascii()
        or data[0] in _SMALL
        or _SHOWING.search(data)
        or _ZLIB_INSIDE.search(data)
        or is_zlib(data)
    ):
        return False
    if len(data) == len(data.translate(None, _CONTROLS)):
        return False
    return not (_is_wide(data[::2]) or _is_wide(data[1::2])) and data.count(0) * 4 < len(data)


def _is_wide(high: bytes) -> bool:
    return min(high) >= 0x2E and max(high) <= 0xD7


def reads(data: bytes) -> bool:
    """Whether text has no more odd marks between its letters than sentences and addresses have."""
    return (len(data) - len(data.translate(None, _OTHERS))) * 16 <= len(data)


def has_head(data: bytes) -> bool:
    """Whether data begins with a known header, of a compression or a file format."""
    return data.startswith(HEADS) or is_zlib(data)


def is_media(data: bytes) -> bool:
    """Whether data is a picture or a font, which says what it is."""
    return data.startswith(_MEDIA) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")


def is_zlib(data: bytes) -> bool:
    """Whether data begins with a zlib header (RFC 1950, 2.2) without a dictionary."""
    return (
        len(data) > 6
        and data[0] & 15 == 8
        and data[0] >> 4 <= 7
        and not data[1] & 32
        and (data[0] << 8 | data[1]) % 31 == 0
    )


def inflates(data: bytes) -> bool:
    """Whether data begins with a zlib header and with a first block that gives something."""
    if not is_zlib(data):
        return False
    try:
        return bool(zlib.decompressobj().decompress(data[:_PEEK], 64))
    except zlib.error:
        return False


def telling(data: bytes) -> bool:
    """Whether decoded data shows that there was something to decode."""
    return data.startswith(HEADS) or is_clean(data)


def marked(data: bytes) -> bool:
    """Whether text holds marks that chance does not make: of addresses, JSON, forms, escapes."""
    return _MARK.search(data, 0, _LOOK) is not None


def names_address(data: bytes) -> bool:
    """Whether text holds letters that addresses are made of."""
    return _ADDRESS.search(data, 0, _LOOK) is not None
