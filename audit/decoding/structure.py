"""Structures of text: JSON (RFC 8259), alone, as lines or records (RFC 7464), or within other text;
arrays of byte values; forms (WHATWG URL 5.1), cookies (RFC 6265), addresses with a query, JSON Web Tokens
(RFC 7519). They give each value its path; they do not decode the values.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from audit.decoding.base64_runs import unbase64
from audit.decoding.coding import CONTROL, DIGIT, LETTER, Piece, Purse
from audit.decoding.hiding import plain

_FORM_NAME = rb"[^\s=&?#<>\"{}\\;,/|^`']"
_FORM = re.compile(
    rb"(?:"
    + _FORM_NAME
    + rb"{1,256}+=[^\s&\"<>{}]*+)(?:&(?:"
    + _FORM_NAME
    + rb"{1,256}+(?:=[^\s&\"<>{}]*+)?)?)*+"
)
_COOKIES = re.compile(rb"[\w.$-]{1,64}+=[^\s;,\"]*+(?:; [\w.$-]{1,64}+=[^\s;,\"]*+)++;?")
_PADDING = re.compile(rb"[A-Za-z0-9+/_-]+={1,6}")
_ADDRESS = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]{0,63}:(?://)?[^\s?#\"<>]*|/[^\s?#\"<>]*|[\w-]{1,63}(?:\.[\w-]{1,63})+[^\s?#\"<>]*"
)
_LONG_NUMBER = 10**18
_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$]{0,23}")
_JSON_START = re.compile(rb"\s*[\[{\"]")
_WITHIN = re.compile(r"[{\[]\s*(?:\"|\{|\[\s*[\"{\[]|\d{1,3}\s*,)")
_SPACE = b" \t\r\n\x1e"
_MAX_SEGMENTS = 256
_MAX_PARTS = 20_000
_MAX_DOCUMENTS = 1_000
_MAX_FAILURES = 16


def step(name: str) -> str:
    """One member's name as it stands in a path: plain, or quoted where it holds other characters."""
    return f".{name}" if _NAME.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]"


@lru_cache(8192)
def _step(name: object) -> str:
    return step(_label(name))


class Json:
    """JSON documents; strings inside JSON strings are found by unfolding the strings."""

    name = "json"
    covers = True
    needs = (b'{"',)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _JSON_START.match(data):
            return []
        try:
            document = msgspec.json.decode(data)
        except RecursionError:
            purse.note("depth", "json: nested too deeply to be parsed")
            return []
        except (msgspec.DecodeError, ValueError):
            return []
        if data.count(b'":') - data.count(b'\\":') > _members(document) and purse.charge(len(data) * 4):
            document = _with_all_members(data, document)
        pieces = document_pieces(document, purse, self.name)
        # a document of which nothing is wanted is opened all the same: to itself
        return pieces or ([Piece(self.name, data)] if purse.coded_only else [])


def _members(document: object) -> int:
    """How many members all objects of a document have together."""
    count = 0
    stack = [document]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            count += len(node)
            stack += [value for value in node.values() if type(value) is dict or type(value) is list]
        elif type(node) is list:
            stack += [value for value in node if type(value) is dict or type(value) is list]
    return count


def _with_all_members(data: bytes, document: object) -> object:
    """The document again, where a name that an object has twice or more holds a list of its values (RFC 8259,
    section 4, leaves open which of them counts); as it was, where this reader is stricter."""
    try:
        return json.loads(data, object_pairs_hook=_all_of_a_name)
    except (ValueError, RecursionError):
        return document


def _all_of_a_name(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = dict(pairs)
    if len(found) < len(pairs):
        several: dict[str, list[object]] = {}
        for name, value in pairs:
            several.setdefault(name, []).append(value)
        found |= {name: values for name, values in several.items() if len(values) > 1}
    return found


# Where a value lies: the place of what holds it, its name or index there, and its path once that was asked
# for. Most places are passed and never told.
_Place = list[Any]


def _path(place: _Place) -> str:
    above, name, path = place
    if path is None:
        path = place[2] = _path(above) + (f"[{name}]" if type(name) is int else _step(name))
    return str(path)


def document_pieces(document: object, purse: Purse, layer: str) -> list[Piece]:
    """Every string, number, truth value and telling name of a JSON-like document (dict, list, str, bytes,
    number, bool), each with its path from `$`. A member's name has the path of the member and `~`; an array
    of byte values stays one value. Where the purse says so, values that hide nothing are left out."""
    pieces: list[Piece] = []
    stack: list[tuple[object, _Place, int]] = [(document, [None, "", "$"], 0)]
    coded_only, nesting, most = purse.coded_only, purse.bounds.nesting, purse.bounds.fields
    scalars = purse.scalars and not coded_only
    while stack:
        node, place, depth = stack.pop()
        kind = type(node)
        value = b""
        if kind is str:
            value = node.encode("utf-8", "surrogatepass")  # type: ignore[attr-defined]
        elif kind is int or kind is float:
            if scalars or abs(node) >= (_LONG_NUMBER if coded_only else 1000):  # type: ignore[arg-type]
                value = _digits(node)  # type: ignore[arg-type]
        elif kind is bool:
            value = (b"true" if node else b"false") if scalars else b""
        elif isinstance(node, bytes):
            value = node
        elif not node:
            continue
        elif depth >= nesting:
            purse.note("depth", f"{layer}: nested more than {nesting} levels deep")
        elif isinstance(node, dict) and _is_byte_map(node):
            value = b",".join(b"%d" % byte for byte in node.values())
        elif isinstance(node, dict):
            members = [(member, [place, name, None], depth + 1) for name, member in node.items()]
            for _, below, _ in members:
                if not _is_plain_name(below[1], coded_only=coded_only):
                    name = _label(below[1]).encode("utf-8", "surrogatepass")
                    pieces.append(Piece(layer, name, _path(below) + "~", None))
            members.reverse()
            stack += members
        elif isinstance(node, list):
            if len(node) >= 8 and type(node[0]) is int and _are_bytes(node):
                value = b",".join(b"%d" % byte for byte in node)
            else:
                stack += [(node[at], [place, at, None], depth + 1) for at in range(len(node) - 1, -1, -1)]
        if value and not (coded_only and plain(value)):
            pieces.append(Piece(layer, value, _path(place), None))
            if len(pieces) > most:
                purse.note("fields", f"{layer}: more than {most} values")
                break
    return pieces


@lru_cache(8192)
def _is_plain_name(name: object, *, coded_only: bool) -> bool:
    """Whether a member's name carries nothing to look for."""
    label = _label(name)
    return _PLAIN_NAME.fullmatch(label) is not None or (
        coded_only and plain(label.encode("utf-8", "replace"))
    )


def _digits(number: float) -> bytes:
    try:
        return str(number).encode()
    except ValueError:
        return b""  # an integer longer than Python is willing to write out


def _label(name: object) -> str:
    if isinstance(name, str):
        return name
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else repr(name)[:256]


def _is_byte_map(node: dict[object, object]) -> bool:
    """Whether an object is an array of bytes as JavaScript writes a typed one: `{"0":104,"1":116}`."""
    return (
        len(node) >= 8
        and type(node.get("0")) is int
        and list(node) == [str(at) for at in range(len(node))]
        and _are_bytes([*node.values()])
    )


def _are_bytes(node: list[object]) -> bool:
    return all(type(value) is int and -128 <= value <= 255 for value in node)


class JsonLines:
    """Lines of JSON, or JSON records each led by RS: at least two, with whatever else stands between."""

    name = "ndjson"
    covers = True
    needs = (b"{", b"\n\x01")
    bars = b"\x00"

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        lines = data.split(b"\x1e" if data.startswith(b"\x1e") else b"\n")
        documents = sum(_JSON_START.match(line) is not None for line in lines)
        if documents < 2 or documents * 2 < len(lines) - 1:
            return []
        pieces: list[Piece] = []
        at = 0
        parsed = 0
        for index, line in enumerate(lines):
            text = line.strip(_SPACE)
            if text and len(pieces) < _MAX_PARTS:
                if parsed < 2 and _JSON_START.match(text):
                    try:
                        msgspec.json.decode(text)
                    except (msgspec.DecodeError, ValueError, RecursionError):
                        return []
                    parsed += 1
                pieces.append(Piece(self.name, text, f"[{index}]", at, len(line)))
            at += len(line) + 1
        if len(lines) > _MAX_PARTS:
            purse.note("fields", f"ndjson: more than {_MAX_PARTS} lines")
        return pieces


class JsonWithin:
    """JSON documents anywhere in other text: `callback({...})`, an assignment, a guard before it."""

    name = "json"
    covers = False
    needs = (b"{", b"}", b'"02')
    bars = CONTROL

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(strict=False, parse_int=_number, parse_float=_number)

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not purse.charge(len(data)):
            return []
        text = data.decode("utf-8", "surrogateescape")
        pieces: list[Piece] = []
        at = failures = documents = 0
        while match := _WITHIN.search(text, at):
            if failures == _MAX_FAILURES or documents == _MAX_DOCUMENTS:
                purse.note("fields", f"json: looked for at {failures + documents} places within one text")
                break
            start = match.start()
            at = start + 1
            try:
                document, at = self._decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as refused:
                failures += 1
                if not purse.charge(2 * (getattr(refused, "pos", len(text)) - start)):
                    break
                continue
            documents += 1
            length = at - start
            if document and length >= 8:
                written = text[start:at].encode("utf-8", "surrogateescape")
                found = _BYTES.peel(written, "", purse) or document_pieces(document, purse, self.name)
                if data.isascii():  # else offsets in the text are none in the data
                    found = [piece._replace(offset=start, length=length) for piece in found]
                pieces += found
        return pieces


def _number(digits: str) -> str:
    return digits  # as text: cheaper, exact, and of any length


class ByteArray:
    """Byte values written out as numbers: `[104,116,116,112]`; Java writes those above 127 negative."""

    name = "bytes"
    covers = True
    needs = (DIGIT, b".")
    bars = LETTER + b'+%=:"&\\<$!?;/\x00\x01\x80'
    _VALUES = re.compile(rb"\s*\[?\s*(-?\d{1,3}(?:\s*,\s*-?\d{1,3}){7,})\s*,?\s*\]?\s*")

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        match = self._VALUES.fullmatch(data)
        if not match:
            return []
        values = [int(value) for value in match.group(1).split(b",")]
        if max(values) > 255 or min(values) < -128:
            return []
        return [Piece(self.name, bytes(value & 255 for value in values), "", 0, len(data))]


_BYTES = ByteArray()


class Form:
    """`name=value&name=value`, declared or evident, also one such form per line. Names that carry content
    become fields as well."""

    name = "form"
    covers = True
    needs = (b"=",)
    bars = b"\x00\x01"

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if hint in ("form", "application/x-www-form-urlencoded"):
            return form_pieces(data, 0, self.name, purse)
        if b"\n" not in data:
            if not _FORM.fullmatch(data) or _PADDING.fullmatch(data):
                return []
            return form_pieces(data, 0, self.name, purse)
        return self._lines(data, purse)

    def _lines(self, data: bytes, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        at = 0
        for line in data.split(b"\n"):
            text = line.rstrip(b"\r")
            if text:
                if not _FORM.fullmatch(text) or _PADDING.fullmatch(text):
                    return []
                pieces += form_pieces(text, at, self.name, purse)
            at += len(line) + 1
        return pieces


def form_pieces(data: bytes, base: int, layer: str, purse: Purse) -> list[Piece]:
    """The values of a form that begins at offset `base` of the data it lies in."""
    pieces: list[Piece] = []
    at = base
    for part in data.split(b"&"):
        if len(pieces) >= _MAX_PARTS:
            purse.note("fields", f"{layer}: more than {_MAX_PARTS} values")
            break
        name, equals, value = part.partition(b"=")
        if not equals:
            name, value = b"", part
        label = name.decode("utf-8", "backslashreplace")
        if value:
            start = at + (len(name) + 1 if equals else 0)
            pieces.append(Piece(layer, value, label, start, len(value), "form-value"))
        if len(name) >= 24:
            pieces.append(Piece(layer, name, label + "~", at, len(name), "form-value"))
        at += len(part) + 1
    return pieces


class Cookies:
    """The Cookie header, or what reads like one: `name=value; name=value`."""

    name = "cookie"
    covers = True
    needs = (b"=",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if hint != "cookie" and not (b"; " in data and _COOKIES.fullmatch(data)):
            return []
        pieces: list[Piece] = []
        at = 0
        for part in data.split(b";"):
            if len(pieces) >= _MAX_PARTS:
                purse.note("fields", f"cookie: more than {_MAX_PARTS} values")
                break
            name, equals, value = part.partition(b"=")
            if not equals:
                name, value = b"", part
            start = at + (len(name) + 1 if equals else 0)
            label = name.strip().decode("utf-8", "backslashreplace")
            if value.strip():
                pieces.append(Piece(self.name, value.strip().strip(b'"'), label, start, len(value)))
            at += len(part) + 1
        return pieces


class Address:
    """An address or path: its query opens like a form, so that an address told in a parameter of an address
    keeps its own parameters; of its path, the segments that hold more than words."""

    name = "url"
    covers = False
    needs = (b"/?",)
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        match = _ADDRESS.match(data)
        if not match or (match.end() < len(data) and data[match.end()] not in b"?#"):
            return []
        pieces = self._segments(match.group(), purse)
        start = match.end() + 1
        query, _, fragment = data[start:].partition(b"#")
        if data[match.end() : start] == b"?" and query:
            pieces += form_pieces(query, start, self.name, purse)
        if b"=" in fragment:
            pieces += form_pieces(fragment, start + len(query) + 1, self.name, purse)
        return pieces

    def _segments(self, path: bytes, purse: Purse) -> list[Piece]:
        if b"/" not in path:
            return []
        pieces: list[Piece] = []
        at = 0
        for index, segment in enumerate(path.split(b"/")):
            if index == _MAX_SEGMENTS:
                purse.note("fields", f"url: more than {_MAX_SEGMENTS} segments of a path")
                break
            if b"%" in segment or (len(segment) >= 12 and not plain(segment)):
                pieces.append(Piece(self.name, segment, f"/{index}", at, len(segment)))
            at += len(segment) + 1
        return pieces


_DATA_URL = re.compile(
    rb"\s*data:(?:[\w.+-]{1,80}/[\w.+-]{1,80})?(?:;[\w.+-]{1,40}=[^;,]{0,80}){0,4}(;base64)?,", re.IGNORECASE
)


class DataUrl:
    """What an address holds itself (RFC 2397), such as a picture."""

    name = "data-url"
    covers = True
    needs = (b":", b".")
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        match = _DATA_URL.match(data)
        if not match:
            return []
        held = data[match.end() :]
        decoded = unbase64(held) if match.group(1) else unquote_to_bytes(held)
        return [Piece(self.name, decoded, "", match.end(), len(held))] if decoded else []


_JWT = re.compile(
    rb"(?:[A-Za-z]{1,16} +)?(ey[A-Za-z0-9_-]{8,})\.(ey[A-Za-z0-9_-]{2,}|[A-Za-z0-9_-]{4,})\.[A-Za-z0-9_-]*"
)


class JsonWebToken:
    """A signed token, with or without a scheme's name such as `Bearer` before it. The signature is left."""

    name = "jwt"
    covers = True
    needs = (b".", b"ag", b"AG")
    bars = CONTROL

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        match = _JWT.fullmatch(data)
        if not match:
            return []
        pieces: list[Piece] = []
        for number, path in ((1, "header"), (2, "payload")):
            decoded = unbase64(match.group(number))
            if not decoded or (number == 1 and not decoded.startswith(b'{"')):
                return []
            start, end = match.span(number)
            pieces.append(Piece(self.name, decoded, path, start, end - start))
        return pieces
