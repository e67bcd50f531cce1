"""Binary kin of JSON: MessagePack (its specification of 2013) and CBOR (RFC 8949).

Both are read only where the document ends with the last byte and holds some text or bytes. CBOR's tags
are skipped: none of them makes a value that could be looked for, and some make work.
"""

from __future__ import annotations

import struct

import msgspec

from audit.decoding.coding import BINARY, Piece, Purse
from audit.decoding.structure import document_pieces

_MAX_DEPTH = 128
_BREAK = object()


def _speaks(pieces: list[Piece]) -> bool:
    return any(len(piece.data) >= 4 and not piece.data.isdigit() for piece in pieces)


class MessagePack:
    """MessagePack documents."""

    name = "msgpack"
    covers = True
    needs = (b"\x80",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if data[0] < 0x80 or data[0] in (0xC1, 0xC2, 0xC3):
            return []
        try:
            document = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError, TypeError):
            return []
        pieces = document_pieces(document, purse, self.name)
        return pieces if "msgpack" in hint or _speaks(pieces) else []


class Cbor:
    """CBOR documents."""

    name = "cbor"
    covers = True
    needs = (BINARY,)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if data[0] < 0x40 or data[0] >= 0xE0:
            return []
        try:
            document, end = _item(data, 0, 0)
        except (ValueError, IndexError, struct.error):
            return []
        if end != len(data):
            return []
        pieces = document_pieces(document, purse, self.name)
        return pieces if "cbor" in hint or _speaks(pieces) else []


def _head(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Major type, argument (None for indefinite length), and where the item's content begins."""
    first = data[at]
    info = first & 31
    at += 1
    if info < 24:
        return first >> 5, info, at
    if info == 31:
        return first >> 5, None, at
    if info > 27:
        raise ValueError("reserved")
    size = 1 << (info - 24)
    if at + size > len(data):
        raise ValueError("cut")
    return first >> 5, int.from_bytes(data[at : at + size], "big"), at + size


def _item(data: bytes, at: int, depth: int) -> tuple[object, int]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    major, argument, at = _head(data, at)
    if major < 2:
        if argument is None:
            raise ValueError("no number")
        return (argument if major == 0 else -1 - argument), at
    if major in (2, 3):
        return _string(data, major, argument, at)
    if major == 4:
        return _array(data, argument, at, depth)
    if major == 5:
        return _map(data, argument, at, depth)
    if major == 6:
        return _item(data, at, depth + 1)
    return (_BREAK if argument is None else None), at


def _string(data: bytes, major: int, argument: int | None, at: int) -> tuple[object, int]:
    if argument is None:
        chunks = []
        while data[at] != 0xFF:
            kind, size, at = _head(data, at)
            if kind != major or size is None or size > len(data) - at:
                raise ValueError("no chunk")
            chunks.append(data[at : at + size])
            at += size
        value, at = b"".join(chunks), at + 1
    else:
        if argument > len(data) - at:
            raise ValueError("cut")
        value, at = data[at : at + argument], at + argument
    return (value.decode("utf-8") if major == 3 else value), at


def _array(data: bytes, argument: int | None, at: int, depth: int) -> tuple[object, int]:
    if argument is not None and argument > len(data) - at:
        raise ValueError("cut")
    items: list[object] = []
    while argument is None or len(items) < argument:
        item, at = _item(data, at, depth + 1)
        if item is _BREAK:
            if argument is None:
                break
            raise ValueError("break")
        items.append(item)
    return items, at


def _map(data: bytes, argument: int | None, at: int, depth: int) -> tuple[object, int]:
    if argument is not None and argument > len(data) - at:
        raise ValueError("cut")
    members: dict[object, object] = {}
    count = 0
    while argument is None or count < argument:
        name, at = _item(data, at, depth + 1)
        if name is _BREAK:
            if argument is None:
                break
            raise ValueError("break")
        members[name if isinstance(name, str | bytes | int) else repr(name)[:256]], at = _item(
            data, at, depth + 1
        )
        count += 1
    return members, at
