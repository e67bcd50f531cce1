"""snoop files of Solaris: from a window of bytes to batches of packet records (RFC 1761).

What snoop itself wrote, versions 1 and 2; a record that cannot be is the end of what can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from audit.sources.pcap.batch import MAX_RECORD, Batch, Damage, Item
from audit.sources.pcap.window import Window

MAGIC = b"snoop\0\0\0"
_FILE_HEADER = 16
_RECORD = struct.Struct(">IIIIII")  # original and captured length, that of the record, drops, time
_LINKS = {0: 1, 4: 1, 8: 101}  # their numbers of link types: IEEE 802.3, Ethernet, and others as raw IP
_UNKNOWN_LINK = 0xFFFF


def read(window: Window) -> Iterator[Item]:
    """The records of a snoop file, in its order."""
    window.read(0)
    if window.length < _FILE_HEADER:
        yield Damage("truncated", 0, window.size, "the file header is cut off")
        return
    (kind,) = struct.unpack_from(">I", window.raw, 12)
    link = _LINKS.get(kind, _UNKNOWN_LINK)
    position, number = _FILE_HEADER, 1
    while position < window.size:
        window.read(position)
        records: list[tuple[int, int, int, int]] = []
        at, damage = 0, None
        while damage is None and at + _RECORD.size <= window.length:
            original, captured, size, _, seconds, micros = _RECORD.unpack_from(window.raw, at)
            if size < captured + _RECORD.size or captured > MAX_RECORD or size > 2 * MAX_RECORD:
                left = window.size - window.offset - at
                damage = Damage("malformed", window.offset + at, left, f"a record claims {size} bytes")
            elif at + size > window.length:
                break
            else:
                time = (seconds * 1_000_000 + micros) * 1_000
                records.append((at + _RECORD.size, captured, max(original, captured), time))
                at += size
        if records:
            start, length, wire, time_of = np.array(records, dtype=np.int64).T.copy()
            yield Batch(
                data=window.data, base=window.offset, number=number, start=start, captured=length,
                original=wire, time=time_of, link=np.full(len(start), link, dtype=np.uint16),
            )  # fmt: skip
            number += len(records)
        position += at
        if damage is None and at == 0:
            if window.ends:
                left = window.size - position
                damage = Damage(
                    "truncated", position, left, f"the last record is cut off; {left} bytes remain"
                )
            else:
                window.grow(2 * MAX_RECORD)
        if damage is not None:
            yield damage
            return
