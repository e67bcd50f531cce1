"""LZ-string (pieroxy's JavaScript library, version 1.4 and 1.5) in the forms that travel: base64, URI
component, UTF-16, bytes.

It has no header and accepts much by chance: a stream must reach its own end mark, and hold no control
character. Codes are read from a string of bits, each with its lowest bit first.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Callable

from audit.decoding.coding import BINARY, CONTROL, LOWER, UPPER, Piece, Purse

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_URI = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-$"
_BASE64_WHOLE = re.compile(rb"[A-Za-z0-9+/]{8,}+={0,3}")
_URI_WHOLE = re.compile(rb"[A-Za-z0-9+$-]{8,}+")
_UTF16_WHOLE = re.compile("[ -\u8020]{4,}")
_LITERAL_8, _LITERAL_16, _END = 0, 1, 2
_START = 16
_MAX_INPUT = 1 << 18
_MAX_OUTPUT = 1 << 20
_WORK = 64
_SLACK = 32  # bits behind the end: what fills up the last letter or byte, and what may follow


def decompress(bits: str, limit: int) -> str | None:
    """The text that a stream of bits ("0" and "1") stands for; None if it is none, or longer than
    `limit` characters, or ended long before the bits do; "" if it is cut."""
    at = 0
    width = 2
    words = ["", "", ""]
    room = 1  # how many more words the width can name; the first code is followed by one of three bits
    out: list[str] = []
    size = 0
    before = ""
    end = len(bits)
    while at + width <= end:
        code = int(bits[at : at + width][::-1], 2)
        at += width
        if code == _END:
            return "".join(out) if out and end - at <= _SLACK else None
        if code in (_LITERAL_8, _LITERAL_16):
            length = 8 if code == _LITERAL_8 else 16
            if at + length > end:
                return ""
            character = chr(int(bits[at : at + length][::-1], 2))
            at += length
            if not _plausible(character):
                return None
            words.append(character)
            word = character
            if before:
                room -= 1
                if not room:
                    room, width = 1 << width, width + 1
        elif code < len(words):
            word = words[code]
        elif code == len(words) and before:
            word = before + before[0]
        else:
            return None
        out.append(word)
        size += len(word)
        if size > limit:
            return None
        if before:
            words.append(before + word[0])
            room -= 1
            if not room:
                room, width = 1 << width, width + 1
        else:
            room, width = 4, 3
        before = word
    return ""


def _plausible(character: str) -> bool:
    return " " <= character < "\x7f" or character in "\t\n\r" or "\xa0" <= character < "\ufff0"


class LzString:
    """One form of LZ-string: a candidate where the data has the letters of that form."""

    name = "lz-string"
    covers = True

    def __init__(
        self,
        needs: tuple[bytes, ...],
        bars: bytes,
        bits: Callable[[bytes], str | None],
        first: Callable[[bytes], bytes] | None = None,
        *,
        chancy: bool = False,
    ) -> None:
        self._first = first
        self.chancy = chancy
        self.markless = True
        self.needs = needs
        self.bars = bars
        self._bits = bits

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not 8 <= len(data) <= _MAX_INPUT or not purse.charge(len(data)):
            return []
        if self._first and not may_begin(self._first(data), 0):
            return []
        start = self._bits(data[:_START])
        if start is None or decompress(start, _MAX_OUTPUT) is None:
            return []
        bits = self._bits(data)
        if bits is None:
            return []
        text = decompress(bits, min(_MAX_OUTPUT, purse.allowance(len(data))))
        if not text:
            return []
        purse.charge(len(bits) * _WORK)
        return [Piece(self.name, text.encode("utf-8", "surrogatepass"), "", 0, len(data))]


def _of_letters(alphabet: str, whole: re.Pattern[bytes]) -> Callable[[bytes], str | None]:
    table = {ord(letter): format(value & 63, "06b") for value, letter in enumerate(alphabet)}

    def bits(data: bytes) -> str | None:
        data = data.strip()
        return data.decode("ascii").translate(table) if whole.fullmatch(data) else None

    return bits


def _of_utf16(data: bytes) -> str | None:
    try:
        text, _ = codecs.utf_8_decode(data, "strict", False)  # the last character may be cut
    except UnicodeDecodeError:
        return None
    if not _UTF16_WHOLE.fullmatch(text):
        return None
    return "".join(format((ord(letter) - 32) & 32767, "015b") for letter in text)


def _of_bytes(data: bytes) -> str:
    return format(int.from_bytes(data), f"0{len(data) * 8}b")


def _first_bytes(letters: bytes) -> bytes:
    """What the first letters stand for; both alphabets begin like that of base64."""
    try:
        return binascii.a2b_base64(letters[:4].translate(_TO_STANDARD))
    except binascii.Error:
        return b"\xff\xff\xff"  # other letters: what no stream begins with


_TO_STANDARD = bytes.maketrans(b"-$=", b"/AA")
BYTES = LzString((BINARY,), b"", _of_bytes, bytes, chancy=True)
_MARKS = b'%=:"&\\<!;?{}.'
LZ_STRINGS = (
    LzString(
        (UPPER, LOWER),
        _MARKS.replace(b"=", b"") + b"$-" + BINARY + b" \n",
        _of_letters(_BASE64, _BASE64_WHOLE),
        _first_bytes,
    ),
    LzString((UPPER, LOWER), _MARKS + BINARY + b" \n", _of_letters(_URI, _URI_WHOLE), _first_bytes),
    LzString((b"\x80",), CONTROL, _of_utf16),
    BYTES,
)


def may_begin(data: bytes, at: int) -> bool:
    """Whether the first code of a stream of bytes is that of a literal, and the second one's may be too."""
    first, second = data[at], data[at + 1]
    if first & 0x40:
        return False
    if first & 0x80:
        # a letter of 16 bits: most text in them is Chinese, Japanese or Korean
        high = _MIRRORED[(second << 8 | data[at + 2]) >> 6 & 255]
        return high <= 0x06 or 0x20 <= high <= 0xD7
    letter = _MIRRORED[(first << 8 | second) >> 6 & 255]
    code = _MIRRORED[second << 2 & 0xE0]
    return 32 <= letter < 127 and code in (0, 1, 3, 4)


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
