"""Character sets: UTF-16 and UTF-32 in both byte orders (Unicode Standard, 3.10), GB18030 (GB 18030-2022,
with its subsets GBK and GB 2312), UTF-8's byte order mark, and others where they are declared.

Undeclared ones are opened where they are evident: by a byte order mark, or because all of the data then
reads as text of scripts in use. The result is UTF-8.
"""

from __future__ import annotations

import codecs
import re

from audit.decoding.coding import BINARY, CONTROL, Piece, Purse

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32le"), (codecs.BOM_UTF32_BE, "utf-32be"),
    (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"),
)  # fmt: skip
_DECLARED = {
    "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030",
    "utf-16": "utf-16le", "utf-16le": "utf-16le", "utf-16be": "utf-16be", "utf-32le": "utf-32le",
    "utf-32be": "utf-32be", "utf-32": "utf-32le", "big5": "big5", "shift_jis": "shift_jis",
    "euc-jp": "euc-jp", "euc-kr": "euc-kr", "iso-8859-1": "iso-8859-1", "windows-1251": "windows-1251",
    "windows-1252": "windows-1252", "koi8-r": "koi8-r",
}  # fmt: skip
# ASCII, Latin, Greek, Cyrillic, Hebrew, Arabic, Indic to Thai, punctuation and symbols, kana, Hangul,
# unified ideographs, full-width forms, and (as surrogate pairs are one character here) emoji
_READABLE = re.compile(
    "[\t\n\r -~\xa0-\u024f\u0300-\u036f\u0370-\u06ff\u0900-\u0e5b\u2010-\u203a\u20ac\u2190-\u21ff\u3000-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uffee\U0001f300-\U0001faff]+"
)
_ASCII = re.compile(r"[ -~]")
_SAMPLE = 4096
# GB 2312's 3,755 ideographs of daily use and its row of full-width signs and punctuation
_COMMON = re.compile(rb"(?:[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe])")


class Declared:
    """The character set that the media type's `charset` parameter names."""

    name = "charset"
    covers = True
    needs = ()
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        kind, _, name = hint.partition(";charset=")
        charset = _DECLARED.get(name.strip())
        if not charset or (charset[:3] != "utf" and data.isascii()):
            return []
        text = _decoded(data, charset)
        return [Piece(charset, text, "", 0, len(data), kind)] if text else []


class Utf16And32:
    """UTF-16 and UTF-32, with a byte order mark or evident."""

    name = "utf-16"
    covers = True
    needs = (BINARY,)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        for mark, charset in _MARKS:
            if data.startswith(mark):
                text = _decoded(data[len(mark) :], charset)
                return [Piece(charset, text, "", 0, len(data))] if text else []
        if len(data) < 8 or len(data) % 2:
            return []
        for charset in self._plausible(data[:_SAMPLE]):
            text = _decoded(data, charset)
            if text and _reads(text):
                return [Piece(charset, text, "", 0, len(data))]
        return []

    @staticmethod
    def _plausible(data: bytes) -> tuple[str, ...]:
        if b"\0" not in data:
            return ("utf-16le", "utf-16be")
        if len(data) % 4 == 0:
            if not any(data[3::4]) and not any(b > 16 for b in data[2::4]):
                return ("utf-32le",)
            if not any(data[0::4]) and not any(b > 16 for b in data[1::4]):
                return ("utf-32be",)
        even, odd = data[0::2].count(0), data[1::2].count(0)
        return ("utf-16le",) if odd > even else ("utf-16be",)


def _reads(text: bytes) -> bool:
    """Whether all of a text is of scripts in use and some of it is ASCII, or CJK throughout."""
    sample = text[:_SAMPLE].decode("utf-8", "ignore")
    if not _READABLE.fullmatch(sample):
        return False
    ascii_share = len(_ASCII.findall(sample)) / len(sample)
    return ascii_share >= 0.2 or (len(sample) >= 10 and all("\u3000" <= c <= "\u9fff" for c in sample))


class Gb18030:
    """GB 18030 that nobody declared: not UTF-8, and ideographs of daily use with ASCII between them."""

    name = "gb18030"
    covers = True
    needs = (b"\x80",)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        high = len(data) - len(data.translate(None, _HIGH))
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return []
        if len(_COMMON.findall(data)) * 2 < high * 0.9 or high < 4:
            return []
        text = _decoded(data, "gb18030")
        return [Piece(self.name, text, "", 0, len(data))] if text else []


_HIGH = bytes(range(128, 256))


def _decoded(data: bytes, charset: str) -> bytes | None:
    try:
        return data.decode(charset.replace("le", "-le").replace("be", "-be")).encode("utf-8")
    except (UnicodeError, LookupError):
        return None


class ByteOrderMark:
    """UTF-8 with a byte order mark."""

    name = "utf-8"
    covers = True
    needs = (b"\x80",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not data.startswith(codecs.BOM_UTF8):
            return []
        return [Piece(self.name, data[3:], "", 3, len(data) - 3, hint)]
