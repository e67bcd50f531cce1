"""Structures: JSON (RFC 8259), forms (WHATWG URL 5.1), cookies (RFC 6265), addresses with a query,
multipart (RFC 2046, RFC 7578). They give each value its path; they do not decode the values."""

from __future__ import annotations

import re

import msgspec

from audit.decoding.coding import Piece, Purse

_FORM = re.compile(rb"[^\s=&?#<>\"{}]{0,256}=[^\s&=\"<>{}]*(?:=[^\s&=\"<>{}]*)*(?:&[^\s=&\"<>{}]*(?:=[^\s&\"<>{}]*)?)*")
_PADDING = re.compile(rb"[A-Za-z0-9+/_-]+={1,2}")
_ADDRESS = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:(?://)?[^\s?#\"<>]*")
_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$]{0,23}")
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{\"]")
_MAX_PARTS = 20_000
_MAX_BOUNDARY = 200


def step(name: str) -> str:
    """One member's name as it stands in a path: plain, or quoted where it holds other characters."""
    return f".{name}" if _NAME.fullmatch(name) else "[" + msgspec.json.encode(name).decode() + "]"


class Json:
    """JSON documents; strings inside JSON strings are found by unfolding the strings."""

    name = "json"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _JSON_START.match(data):
            return []
        try:
            document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except RecursionError:
            purse.note("depth", "json: nested too deeply to be parsed")
            return []
        except (msgspec.DecodeError, UnicodeDecodeError):
            return []
        pieces = json_pieces(document, purse, self.name)
        purse.bytes -= len(data)
        return pieces


def json_pieces(document: object, purse: Purse, layer: str) -> list[Piece]:
    """Every string, long number and telling name of a JSON-like document (dict, list, str, bytes,
    number), each with its path from `$`. A member's name has the path of the member and `~`."""
    pieces: list[Piece] = []
    stack: list[tuple[object, str, int]] = [(document, "$", 0)]
    while stack:
        node, path, depth = stack.pop()
        if isinstance(node, str):
            if node:
                pieces.append(Piece(layer, node.encode("utf-8", "surrogatepass"), path, None))
        elif isinstance(node, bytes):
            if node:
                pieces.append(Piece(layer, node, path, None))
        elif isinstance(node, dict | list) and depth >= purse.bounds.nesting:
            purse.note("depth", f"{layer}: nested more than {purse.bounds.nesting} levels deep")
        elif isinstance(node, dict):
            for name, value in reversed(node.items()):
                name = name if isinstance(name, str) else str(name)
                below = path + step(name)
                stack.append((value, below, depth + 1))
                if not _PLAIN_NAME.fullmatch(name):
                    pieces.append(Piece(layer, name.encode("utf-8", "surrogatepass"), below + "~", None))
        elif isinstance(node, list):
            for index in range(len(node) - 1, -1, -1):
                stack.append((node[index], f"{path}[{index}]", depth + 1))
        elif isinstance(node, int | float) and not isinstance(node, bool) and abs(node) >= 1000:
            pieces.append(Piece(layer, str(node).encode(), path, None))
        if len(pieces) > purse.bounds.fields:
            purse.note("fields", f"{layer}: more than {purse.bounds.fields} values")
            break
    return pieces


class Form:
    """`name=value&name=value`, declared or evident. Names that carry content become fields as well."""

    name = "form"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        declared = hint in ("form", "application/x-www-form-urlencoded")
        if not declared and (b"=" not in data or not _FORM.fullmatch(data) or _PADDING.fullmatch(data)):
            return []
        return form_pieces(data, 0, self.name, purse)


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
    """The Cookie header."""

    name = "cookie"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if hint != "cookie":
            return []
        pieces = []
        at = 0
        for part in data.split(b";"):
            name, _, value = part.partition(b"=")
            start = at + len(name) + 1
            label = name.strip().decode("utf-8", "backslashreplace")
            if value.strip():
                pieces.append(Piece(self.name, value.strip().strip(b'"'), label, start, len(value)))
            at += len(part) + 1
        return pieces


class Address:
    """An address with a query or fragment inside a value: the part before stays whole, the query opens
    like a form, so that an address told in a parameter of an address keeps its own parameters."""

    name = "url"
    covers = False

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if b"?" not in data or b"=" not in data:
            return []
        match = _ADDRESS.match(data)
        if not match or data[match.end() : match.end() + 1] != b"?":
            return []
        start = match.end() + 1
        query, _, _ = data[start:].partition(b"#")
        return form_pieces(query, start, self.name, purse)


class Multipart:
    """multipart/* bodies, with the boundary declared or taken from the first line."""

    name = "multipart"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not data.startswith(b"--") and not hint.startswith("multipart/"):
            return []
        line_end = data.find(b"\n", 0, _MAX_BOUNDARY)
        boundary = data[:line_end].rstrip(b"\r\n") if data.startswith(b"--") else b""
        if len(boundary) < 4 or data.count(boundary) < 2:
            return []
        pieces = []
        at = 0
        for index, part in enumerate(data.split(boundary)):
            start, at = at, at + len(part) + len(boundary)
            if index == 0 or part.startswith(b"--"):
                continue
            if index > _MAX_PARTS:
                purse.note("fields", f"multipart: more than {_MAX_PARTS} parts")
                break
            piece = _part(part, start, index - 1)
            if piece:
                pieces.append(piece)
        return pieces


def _part(part: bytes, start: int, index: int) -> Piece | None:
    for blank in (b"\r\n\r\n", b"\n\n"):
        head, found, body = part.partition(blank)
        if found:
            break
    else:
        return None
    fields = dict(
        (name.strip().lower(), value.strip())
        for name, colon, value in (line.partition(b":") for line in head.split(b"\n"))
        if colon
    )
    name = re.search(rb'[; ]name="?([^";\r\n]*)', fields.get(b"content-disposition", b""))
    path = name.group(1).decode("utf-8", "backslashreplace") if name else str(index)
    media = fields.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("ascii", "replace")
    coding = fields.get(b"content-transfer-encoding", fields.get(b"content-encoding", b""))
    hint = coding.decode("ascii", "replace").lower() if coding.lower() in (b"gzip", b"br", b"deflate") else media
    offset = start + len(head) + len(blank)
    body = body.removesuffix(b"\n").removesuffix(b"\r")
    return Piece("multipart", body, path, offset, len(body), hint)
