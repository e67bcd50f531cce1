"""Microsoft Bond's compact binary protocol, version 1, without a schema (Bond's compact_binary.h).

Reads what the protocol itself says: field numbers, types, strings, containers. Version 1 of structures
only, one or several after another, as Microsoft's telemetry clients send them.
"""

from __future__ import annotations

from typing import Final

from audit.decoding.coding import Piece, Purse

_STOP, _STOP_BASE, _STRING, _STRUCT, _LIST, _SET, _MAP, _INT8, _WSTRING = 0, 1, 9, 10, 11, 12, 13, 14, 18
_SIZES: Final = {2: 1, 3: 1, 14: 1, 7: 4, 8: 8}
_NUMBERS: Final = frozenset((4, 5, 6, 15, 16, 17))
_MAX_DEPTH = 64
_MARSHALED = b"CB\x01\x00"


class _DamagedError(Exception):
    """The data is not in this protocol."""


class Bond:
    """Structures that end with the last byte and hold text."""

    name = "bond"
    covers = True
    needs = (b"\x00",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not data.endswith(b"\0"):
            return []
        reader = _Reader(data, purse.bounds.fields)
        reader.at = len(_MARSHALED) if data.startswith(_MARSHALED) else 0
        count = 0
        try:
            while reader.at < len(data):
                reader.structure(f"[{count}]" if count else "", 0)
                count += 1
        except _DamagedError:
            return []
        if not any(len(piece.data) >= 4 for piece in reader.pieces):
            return []
        if reader.full:
            purse.note("fields", f"bond: more than {purse.bounds.fields} values")
        return reader.pieces


class _Reader:
    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._most = most
        self.at = 0
        self.pieces: list[Piece] = []
        self.full = False

    def structure(self, path: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _DamagedError
        fields = 0
        while True:
            head = self._byte()
            kind, number = head & 31, head >> 5
            if kind == _STOP:
                if not fields and not depth:
                    raise _DamagedError
                return
            if kind == _STOP_BASE:
                continue
            if number == 6:
                number = self._byte()
            elif number == 7:
                number = self._byte() | self._byte() << 8
            fields += 1
            self._value(kind, f"{path}.{number}" if path else str(number), depth)

    def _value(self, kind: int, path: str, depth: int) -> None:
        if kind in _SIZES:
            self._take(_SIZES[kind])
        elif kind in _NUMBERS:
            self._number()
        elif kind in (_STRING, _WSTRING):
            self._string(kind, path)
        elif kind == _STRUCT:
            self.structure(path, depth + 1)
        elif kind in (_LIST, _SET):
            self._list(path, depth)
        elif kind == _MAP:
            self._map(path, depth)
        else:
            raise _DamagedError

    def _string(self, kind: int, path: str) -> None:
        size = self._number() * (2 if kind == _WSTRING else 1)
        start = self.at
        value = self._take(size)
        if kind == _WSTRING:
            try:
                value = value.decode("utf-16-le").encode("utf-8")
            except UnicodeDecodeError:
                raise _DamagedError from None
        if value:
            self._add(value, path, start, size)

    def _list(self, path: str, depth: int) -> None:
        kind, count = self._byte() & 31, self._number()
        if kind == _INT8:  # a list of signed bytes is what Bond calls a blob
            start = self.at
            value = self._take(count)
            if value:
                self._add(value, path, start, count)
            return
        self._fits(count)
        for index in range(count):
            self._value(kind, f"{path}[{index}]", depth + 1)

    def _map(self, path: str, depth: int) -> None:
        name_kind, kind, count = self._byte(), self._byte(), self._number()
        self._fits(count)
        for _ in range(count):
            before = len(self.pieces)
            self._value(name_kind, path + "~", depth + 1)
            named = self.pieces[before].data if len(self.pieces) == before + 1 else b"?"
            self._value(kind, f"{path}.{named.decode('utf-8', 'backslashreplace')[:128]}", depth + 1)

    def _add(self, value: bytes, path: str, start: int, size: int) -> None:
        if len(self.pieces) < self._most:
            self.pieces.append(Piece("bond", value, path, start, size))
        else:
            self.full = True

    def _fits(self, count: int) -> None:
        if count > len(self._data) - self.at:
            raise _DamagedError

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise _DamagedError
        return self._data[start : self.at]

    def _number(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise _DamagedError
