"""Protocol Buffers without a schema (protobuf encoding specification) and gRPC's length-prefixed messages
(gRPC over HTTP/2, "Length-Prefixed-Message").

Numbers carry no value that could be looked for as text; strings, bytes and messages within messages do.
Which of the three a length-delimited field holds is nowhere said: text is text, what parses as a message
is one, the rest are bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.decoding.coding import Piece, Purse
from audit.decoding.evidence import has_head, is_clean

_DECLARED = ("protobuf", "proto")
_MAX_FIELD = 1 << 29
_LIKELY_FIELD = 4096
_FIXED = {1: 8, 5: 4}
_MIN_DATA = 16
_TEXT_FIRST = 0x0A  # the key of a first field of text: with its length a letter, all may be printable


class _Leaf(NamedTuple):
    path: str
    start: int
    end: int


class Protobuf:
    """A whole message that holds something. Declared, or evident: every byte of it accounted for."""

    name = "protobuf"
    covers = True
    needs = (b"\x00\x01\x80\n",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        declared = any(word in hint for word in _DECLARED)
        if not declared and not (_begins(data) and (data[0] == _TEXT_FIRST or not is_clean(data))):
            return []
        leaves: list[_Leaf] = []
        if not self._walk(data, 0, len(data), "", leaves, purse):
            return []
        if not declared and not any(_speaks(data[leaf.start : leaf.end]) for leaf in leaves):
            return []
        return [Piece(self.name, data[start:end], path, start, end - start) for path, start, end in leaves]

    def _walk(self, data: bytes, at: int, end: int, path: str, leaves: list[_Leaf], purse: Purse) -> bool:
        if at >= end or path.count(".") > min(purse.bounds.nesting, 64):
            return False
        found: list[_Leaf] = []
        groups = 0  # these nest; their fields are read as if they stood outside
        while at < end:
            key, at = _varint(data, at, end)
            field, wire = key >> 3, key & 7
            if at < 0 or not 0 < field < _MAX_FIELD:
                return False
            if wire == 0:
                _, at = _varint(data, at, end)
                if at < 0:
                    return False
            elif wire == 2:
                size, at = _varint(data, at, end)
                if at < 0 or size > end - at:
                    return False
                if size:
                    self._field(data, at, at + size, f"{path}.{field}" if path else str(field), found, purse)
                at += size
            elif wire in _FIXED:
                at += _FIXED[wire]
                if at > end:
                    return False
            elif wire in (3, 4):
                groups += 1 if wire == 3 else -1
                if groups < 0:
                    return False
            else:
                return False
            if len(found) > purse.bounds.fields:
                purse.note("fields", f"protobuf: more than {purse.bounds.fields} values")
                break
        if groups:
            return False
        leaves += found
        return True

    def _field(self, data: bytes, at: int, end: int, path: str, leaves: list[_Leaf], purse: Purse) -> None:
        value = data[at:end]
        text = is_clean(value)
        known = len(leaves)
        if (
            (text and value[0] != 0x0A)
            or has_head(value)
            or not (purse.charge(len(value)) and self._walk(data, at, end, path, leaves, purse))
        ):
            leaves.append(_Leaf(path, at, end))
        elif len(leaves) == known and len(value) >= _MIN_DATA:
            leaves.append(_Leaf(path, at, end))  # of a message of numbers alone, it may be none


def _begins(data: bytes) -> bool:
    """Whether the first key is one that a message is likely to begin with."""
    key, at = _varint(data, 0, len(data))
    return at > 0 and 0 < key >> 3 < _LIKELY_FIELD and key & 7 in (0, 1, 2, 5)


def _speaks(value: bytes) -> bool:
    return len(value) >= 4 and (len(value) >= 8 or is_clean(value))


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A base-128 number and where it ends, or an end of -1."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return 0, -1


class Grpc:
    """Messages each led by a flag (1: compressed) and four bytes of length; gRPC-Web's trailers too."""

    name = "grpc"
    covers = True
    needs = (b"\x00\x01",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        at = frames = 0
        while at + 5 <= len(data):
            size = int.from_bytes(data[at + 1 : at + 5], "big")
            if data[at] & 0x7E or size > len(data) - at - 5 or frames > purse.bounds.fields:
                return []
            frames += 1
            at += 5
            if size:
                inner = "" if data[at - 5] & 0x81 or not hint else "protobuf"
                pieces.append(Piece(self.name, data[at : at + size], f"[{len(pieces)}]", at, size, inner))
            at += size
        return pieces if at == len(data) else []
