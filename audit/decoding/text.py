"""Text codings that stand for single characters: percent (RFC 3986, and form's `+`), HTML character
references (WHATWG HTML, 13.5), backslash escapes as JSON (RFC 8259, 7) and JavaScript write them,
quoted-printable (RFC 2045, 6.7), punycode in host names (RFC 3492, RFC 5890)."""

from __future__ import annotations

import html
import quopri
import re

from audit.decoding.base64_runs import mixed
from audit.decoding.coding import CONTROL, LETTER, Piece, Purse
from audit.decoding.evidence import reads

_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_BYTE_OF = {
    b"%" + (a + b).encode(): bytes.fromhex(a + b)
    for a in "0123456789abcdefABCDEF"
    for b in "0123456789abcdefABCDEF"
}
_TOKEN = re.compile(rb"[A-Za-z0-9/+]{16,}={0,2}")
_PERCENT_U = re.compile(rb"%u([0-9A-Fa-f]{4})")
_ENTITY = re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_ESCAPE = re.compile(rb'\\(?:u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|[/\\"\'nrtbf])')
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_SOFT = re.compile(rb"=(?:[0-9A-F]{2}|[ \t]*\r?\n|[ \t]*\Z)")
_UTF8 = re.compile(rb"=[C-F][0-9A-F]=[89AB][0-9A-F]")
_SPACES = re.compile(rb"=20[^&;,]")
_DENSE = re.compile(rb"=[0-9A-F]{2}=[0-9A-F]{2}=[0-9A-F]{2}")
_SEVERAL = re.compile(rb"=[0-9A-F]{2}=[0-9A-F]{2}|=[0-9A-F]{2}[^&;=]{0,3}=[0-9A-F]{2}[^&;=]{0,3}=[0-9A-F]{2}")
_LABELS = re.compile(
    rb"(?<![A-Za-z0-9-])(?:[A-Za-z0-9-]{1,63}\.){0,16}xn--[A-Za-z0-9-]{1,59}(?:\.[A-Za-z0-9-]{1,63}){0,16}"
)
_MAX_HOSTS = 256
_LONGEST_CHANCE = 4_096


class Percent:
    """Percent-encoding of the whole value. In a form's value `+` stands for a space too (WHATWG URL,
    5.1); as some clients forget to encode a `+` of base64, the value is then opened both ways. Anywhere
    else a space may have been written so all the same: a guess."""

    name = "percent"
    covers = True
    needs = (b"%+",)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        encoded = b"%" in data and (_PERCENT.search(data) or _PERCENT_U.search(data)) is not None
        spaced = hint == "form-value" and b"+" in data
        # whoever escapes letters escapes such marks, too: chance may have written these
        doubtful = encoded and not spaced and len(data) <= _LONGEST_CHANCE and not reads(data)
        pieces = []
        if spaced:
            pieces.append(Piece(self.name, _unquote(data.replace(b"+", b" ")), "", 0, len(data)))
        if (encoded and (not spaced or b" " not in data)) or (spaced and _is_base64(data)):
            pieces.append(Piece(self.name, _unquote(data), "", 0, len(data), guess=doubtful))
        if encoded and not spaced and b"+" in data and b" " not in data:
            pieces.append(Piece(self.name, _unquote(data.replace(b"+", b" ")), "", 0, len(data), guess=True))
        return pieces


def _is_base64(data: bytes) -> bool:
    """Whether the `+` of a form's value rather are letters of base64 than spaces between words."""
    return _TOKEN.fullmatch(data) is not None and mixed(data.replace(b"+", b"_"))


def _unquote(data: bytes) -> bytes:
    if b"%u" in data:
        # JavaScript's old escape() (ECMA-262, B.2.1.1)
        data = _PERCENT_U.sub(lambda match: _character(int(match.group(1), 16)), data)
    return _PERCENT.sub(lambda match: _BYTE_OF[match.group()], data)


def _character(code: int) -> bytes:
    return chr(code).encode("utf-8", "replace")


class HtmlEntities:
    """HTML character references, named, decimal and hexadecimal."""

    name = "html"
    covers = True
    needs = (b"&", b";")
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        out = _ENTITY.sub(_reference, data)
        return [Piece(self.name, out, "", 0, len(data))] if out != data else []


def _reference(match: re.Match[bytes]) -> bytes:
    return html.unescape(match.group().decode("ascii")).encode("utf-8", "replace")


class Escapes:
    """Backslash escapes in text that is not, or no longer, a whole JSON document."""

    name = "escape"
    covers = True
    needs = (b"\\",)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        out = _unescaped(data)
        return [Piece(self.name, out, "", 0, len(data))] if out != data else []


def _unescaped(data: bytes) -> bytes:
    high = b""  # the first half of a surrogate pair, until its second comes
    last = 0

    def one(match: re.Match[bytes]) -> bytes:
        nonlocal high, last
        text = match.group()
        digits = text[2:].strip(b"{}")
        first, high = high if match.start() == last else b"", b""
        last = match.end()
        if text[1] == 0x78:
            return bytes([int(digits, 16)])
        if text[1] != 0x75:
            return _PLAIN.get(text[1:], text[1:])
        code = int(digits, 16)
        if 0xD800 <= code < 0xDC00:
            high = digits
            return b""
        if 0xDC00 <= code < 0xE000:
            if not first:
                return text
            code = 0x10000 + ((int(first, 16) & 0x3FF) << 10 | code & 0x3FF)
        return _character(code) if code < 0x110000 else text

    return _ESCAPE.sub(one, data)


class QuotedPrintable:
    """Quoted-printable text. Each `=` must be a sign of it, one of them one that a form would not hold."""

    name = "quoted-printable"
    covers = True
    needs = (b"=",)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        sure = hint == self.name or self._evident(data)
        if not sure and not (_SPACES.search(data) or (_SEVERAL.search(data) and _all_signs(data))):
            return []
        out = quopri.decodestring(data)
        return [Piece(self.name, out, "", 0, len(data), guess=not sure)] if out != data else []

    @staticmethod
    def _evident(data: bytes) -> bool:
        signs = (b"=3D", b"=\n", b"=\r\n")
        if not (any(sign in data for sign in signs) or _UTF8.search(data) or _DENSE.search(data)):
            return False
        return _all_signs(data)


def _all_signs(data: bytes) -> bool:
    return len(_SOFT.findall(data)) == data.count(b"=")


class Punycode:
    """Host names with labels of internationalised domain names, as their users read them."""

    name = "punycode"
    covers = False
    needs = (b"-", LETTER)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if b"xn--" not in data:
            return []
        pieces: list[Piece] = []
        for match in _LABELS.finditer(data):
            labels = [_label(label) for label in match.group().split(b".")]
            host = b".".join(labels)
            if host != match.group():
                pieces.append(Piece(self.name, host, "", match.start(), len(match.group())))
            if len(pieces) == _MAX_HOSTS:
                purse.note("fields", f"punycode: more than {_MAX_HOSTS} names in one value")
                break
        return pieces


def _label(label: bytes) -> bytes:
    if label[:4].lower() != b"xn--":
        return label
    try:
        return label[4:].decode("punycode").encode()
    except (UnicodeError, ValueError, OverflowError):
        return label
