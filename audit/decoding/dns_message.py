"""DNS messages as a body or parameter (RFC 1035, 4; RFC 8484): the names in them become fields.

Only what the message says of names; questions and answers as records are the sources' work.
"""

from __future__ import annotations

from audit.decoding.coding import Piece, Purse

_SECTIONS = ("question", "answer", "authority", "additional")
_CLASSES = (1, 3, 4, 254, 255)
_NAMES_WITHIN = {2: 0, 5: 0, 12: 0, 39: 0, 15: 2}  # NS, CNAME, PTR, DNAME; MX has a preference first
_OPT = 41
_MAX_RECORDS = 512


class _DamagedError(Exception):
    """The data is no DNS message."""


class DnsMessage:
    """A whole message with at least one question."""

    name = "dns"
    covers = True
    needs = (b"\x00",)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        counts = [int.from_bytes(data[at : at + 2], "big") for at in range(4, 12, 2)]
        if len(data) < 17 or data[2] & 0x40 or not 1 <= counts[0] <= 8 or sum(counts) > _MAX_RECORDS:
            return []
        pieces: list[Piece] = []
        try:
            at = 12
            for section, count in zip(_SECTIONS, counts, strict=True):
                for index in range(count):
                    at = self._record(data, at, f"{section}[{index}]", pieces)
        except (_DamagedError, IndexError):
            return []
        return pieces if at == len(data) else []

    def _record(self, data: bytes, at: int, path: str, pieces: list[Piece]) -> int:
        start = at
        name, at = _name(data, at)
        kind = int.from_bytes(data[at : at + 2], "big")
        group = int.from_bytes(data[at + 2 : at + 4], "big") & 0x7FFF  # mDNS has a flag in the first bit
        if at + 4 > len(data) or (kind != _OPT and group not in _CLASSES):
            raise _DamagedError
        if name:
            pieces.append(Piece(self.name, name, f"{path}.name", start, at - start))
        at += 4
        if path.startswith("question"):
            return at
        size = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6
        if at + size > len(data):
            raise _DamagedError
        skipped = _NAMES_WITHIN.get(kind)
        if skipped is not None:
            target, end = _name(data, at + skipped)
            pieces.append(Piece(self.name, target, f"{path}.data", at, end - at))
        elif kind != _OPT and size:
            pieces.append(Piece(self.name, data[at : at + size], f"{path}.data", at, size))
        return at + size


def _name(data: bytes, at: int) -> tuple[bytes, int]:
    """A name and where it ends. Pointers must lead backwards, so none can lead in a circle."""
    labels: list[bytes] = []
    end = -1
    size = 0
    while (length := data[at]) != 0:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[at + 1]
            end = at + 2 if end < 0 else end
            if target >= at or target < 12:
                raise _DamagedError
            at = target
            continue
        size += length + 1
        if length > 63 or size > 255 or at + length >= len(data):
            raise _DamagedError
        labels.append(data[at + 1 : at + 1 + length])
        at += length + 1
    return b".".join(labels), (at + 1 if end < 0 else end)
