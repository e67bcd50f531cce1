"""Text codings that stand for single characters: percent (RFC 3986, and form's `+`), HTML entities,
backslash escapes as JSON and JavaScript write them."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote_to_bytes

from audit.decoding.coding import Piece, Purse, is_text

_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ENTITY = re.compile(rb"&(?:#[0-9]{2,7}|#[xX][0-9A-Fa-f]{2,6}|[a-zA-Z]{2,8});")
_ESCAPE = re.compile(rb'\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[/\\"])')
_UNESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([/\\"]))')
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class Percent:
    """Percent-encoding of the whole value. In a form's value `+` stands for a space too (WHATWG URL,
    5.1); as some clients forget to encode a `+` of base64, the value is then opened both ways."""

    name = "percent"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        encoded = b"%" in data and _PERCENT.search(data) is not None
        spaced = hint == "form-value" and b"+" in data
        if not (encoded or spaced) or not is_text(data):
            return []
        purse.bytes -= len(data)
        pieces = []
        if spaced:
            pieces.append(Piece(self.name, unquote_to_bytes(data.replace(b"+", b" ")), "", 0, len(data)))
        if encoded and (not spaced or b" " not in data):
            pieces.append(Piece(self.name, unquote_to_bytes(data), "", 0, len(data)))
        return pieces


class HtmlEntities:
    """HTML character references, named, decimal and hexadecimal (WHATWG HTML, 13.5)."""

    name = "html"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if b"&" not in data or not _ENTITY.search(data) or not is_text(data):
            return []
        text = html.unescape(data.decode("utf-8", "surrogateescape"))
        out = text.encode("utf-8", "surrogateescape")
        return [Piece(self.name, out, "", 0, len(data))] if out != data else []


class Escapes:
    """Backslash escapes in text that is not, or no longer, a whole JSON document."""

    name = "escape"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if b"\\" not in data or not _ESCAPE.search(data) or not is_text(data):
            return []
        text = _UNESCAPE.sub(_character, data.decode("utf-8", "surrogateescape"))
        text = _SURROGATES.sub(lambda m: m.group().encode("utf-16", "surrogatepass").decode("utf-16"), text)
        out = text.encode("utf-8", "surrogatepass" if "\udc80" > max(text, default="") else "replace")
        return [Piece(self.name, out, "", 0, len(data))] if out != data else []


def _character(match: re.Match[str]) -> str:
    code = match.group(1) or match.group(2)
    return chr(int(code, 16)) if code else match.group(3)
