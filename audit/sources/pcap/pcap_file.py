"""Classic pcap files: from a window of bytes to batches of packet records.

Both byte orders, micro- and nanoseconds, and Kuznetzov's modified records. They are found many at once (see
`lanes`); where that fails they are walked one by one. Damage is stated, and the walk resumes where a chain of
plausible headers begins.
Specification: draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.sources.pcap import lanes
from audit.sources.pcap.batch import I64, MAX_RECORD, Batch, Damage, Item
from audit.sources.pcap.window import Window

FIRST = 24  # where the first record stands, behind the file header
_CHAIN = 3  # plausible headers in a row that prove a place to resume
_SURE = 8  # as many as leave hardly a doubt
_TRIES = 32  # places in a lane at which a header is sought
_SEARCH = 64 << 10  # bytes of a lane in which a header is sought


class Style(NamedTuple):
    """How the records of one file are written."""

    order: str  # "<" or ">"
    header: int  # bytes of a record header
    fraction: int  # units of the sub-second field in one second
    link: int
    old: bool = False  # a file version before 2.4: which of the two lengths comes first is not certain


_MAGIC = {0xA1B2C3D4: (16, 10**6), 0xA1B23C4D: (16, 10**9), 0xA1B2CD34: (24, 10**6)}


_RECORD = {order: struct.Struct(order + "IIII").unpack_from for order in "<>"}


def style_of(head: bytes) -> Style | None:
    """What the file header says, None if it is no pcap."""
    if len(head) < FIRST:
        return None
    for order in "<>":
        magic, major, minor, _, _, _, network = struct.unpack(order + "IHHiIII", head[:FIRST])
        if magic in _MAGIC:
            header, fraction = _MAGIC[magic]
            return Style(order, header, fraction, network & 0xFFFF, (major, minor) < (2, 4))
    return None


def read(window: Window) -> Iterator[Item]:
    """The records of a pcap file, in its order."""
    style = style_at(window)
    if style is None:
        yield Damage("truncated", 0, window.size, "the file header is cut off")
        return
    for item, _ in Records(style).read(window, FIRST, 1, window.size):
        yield item


def style_at(window: Window) -> Style | None:
    """What the header of the file says, None if it is cut off."""
    window.read(0)
    return style_of(bytes(window.raw[:FIRST])) if window.length >= FIRST else None


class Records:
    """The records of a pcap file of one style, window by window (see `turns.Format`)."""

    begin = FIRST

    def __init__(self, style: Style) -> None:
        self._style = style
        self.slack = MAX_RECORD + style.header

    def read(self, window: Window, position: int, number: int, until: int) -> Iterator[tuple[Item, int]]:
        """The records from the one at `position` on, which is packet `number`, in windows of which the last is the
        first to end at `until` or behind it. Beside each item stands where the next one begins."""
        style = self._style
        while position < min(until, window.size):
            window.read(position)
            starts, used = _index(window, style)
            position += used
            if len(starts):
                yield _batch(window, style, starts, number), position
                number += len(starts)
            if used < window.length and (used or not len(starts)):
                damage = _stopped(window, style, used)
                if damage is None:
                    continue
                if damage.reason == "malformed":
                    damage = _resumed(window, style, damage)
                else:
                    damage = _mistaken(window, style, damage)
                position = damage.offset + damage.bytes
                yield damage, position

    def section(self, window: Window, size: int) -> tuple[Batch, int] | None:
        """The records that begin in the first `size` bytes of the window, the first of them at its beginning, as
        packets from 0 on, and where the next begins; None if anything is wrong with one of them."""
        starts, used = _index(window, self._style)
        kept = int(np.searchsorted(starts, size))
        end = int(starts[kept]) if kept < len(starts) else used
        if not kept or (end < size and not (window.ends and end == window.length)):
            return None
        return _batch(window, self._style, starts[:kept], 0), end

    def first(self, window: Window, offset: int) -> int:
        """Where the first record behind `offset` seems to begin, the file's end if none does in reach."""
        window.read(offset)
        found = _resume(window, self._style, min(window.length, 2 * MAX_RECORD), _SURE)
        return window.size if found == window.length else offset + found


def _captured(window: Window, style: Style, at: int) -> int:
    """The captured length of the record at `at`; of old files the smaller one of the two lengths."""
    captured, original = struct.unpack_from(style.order + "II", window.raw, at + 8)
    return int(min(captured, original) if style.old else captured)


def _stopped(window: Window, style: Style, at: int) -> Damage | None:
    """Why the walk stopped at `at`: None if the record merely continues behind the window."""
    place, left = window.offset + at, window.size - window.offset - at
    cut = f"the last record is cut off; {left} bytes remain"
    if left < style.header:
        return Damage("truncated", place, left, cut)
    if window.length - at < style.header:
        return None
    captured = _captured(window, style, at)
    if not any(window.raw[at : at + style.header]):
        return Damage("malformed", place, left, "zeros where a record should be")
    if captured <= MAX_RECORD:
        if captured + style.header > left:
            return Damage("truncated", place, left, cut)
        if at == 0:
            window.grow(captured + style.header)
        return None
    return Damage("malformed", place, left, f"a record claims {captured} bytes")


def _resumed(window: Window, style: Style, damage: Damage) -> Damage:
    """The same damage, ending where reading can go on: there `_CHAIN` plausible headers follow each other."""
    at = damage.offset + 1
    longest = _CHAIN * (MAX_RECORD + style.header)
    window.grow(2 * longest)
    while True:
        window.read(at)
        end = window.length if window.ends else window.length - longest
        found = _resume(window, style, end, _CHAIN)
        if found < end or window.ends:
            return damage._replace(bytes=min(at + found, window.size) - damage.offset)
        at += end


def _mistaken(window: Window, style: Style, damage: Damage) -> Damage:
    """The same if the last record is cut off; if others stand behind it, it is its length that is wrong."""
    window.grow(damage.bytes)
    window.read(damage.offset + 1)
    found = _resume(window, style, window.length, _SURE)
    if found == window.length:
        return damage
    return Damage("malformed", damage.offset, found + 1, "a record claims more bytes than the file has")


def _resume(window: Window, style: Style, end: int, links: int) -> int:
    """The first position before `end` with a chain of so many plausible headers, else the window's length."""
    order = style.order + "u4"
    words = np.ndarray((len(window.raw) - 3,), dtype=order, buffer=window.raw, strides=(1,))
    for first in range(0, end, _SEARCH):
        last = min(first + _SEARCH, end)
        captured, original = words[first + 8 : last + 8], words[first + 12 : last + 12]
        plausible = (words[first + 4 : last + 4] < style.fraction) & (captured > 0)
        plausible &= (captured <= original) & (original <= MAX_RECORD)
        for candidate in np.flatnonzero(plausible):
            if _chained(window, style, first + int(candidate), links):
                return first + int(candidate)
    return window.length


def _chained(window: Window, style: Style, at: int, links: int) -> bool:
    unpack = _RECORD[style.order]
    first = None
    for _ in range(links):
        if at + style.header > window.length:
            return at == window.length and window.ends and first is not None
        seconds, fraction, captured, original = unpack(window.raw, at)
        if first is None:
            first = seconds
        plausible = (
            fraction < style.fraction
            and 0 < captured <= min(original, MAX_RECORD)
            and original <= MAX_RECORD
            and abs(seconds - first) < 86_400
        )
        if not plausible:
            return False
        at += style.header + captured
    return True


def _index(window: Window, style: Style) -> tuple[I64, int]:
    """Positions of the complete records in the window, and where the walk ended."""
    if window.length >= lanes.FEW * lanes.LANE and not style.old:
        found = _lanes(window, style)
        if found is not None:
            return _before_zeros(window, style, *found)
    return _before_zeros(window, style, *_serial(window, style))


def _before_zeros(window: Window, style: Style, starts: I64, end: int) -> tuple[I64, int]:
    """The same up to a record that is zeros and nothing else: a hole in the file."""
    empty = np.flatnonzero(np.diff(starts, append=end) == style.header)
    for index in empty.tolist():
        at = int(starts[index])
        if not any(window.raw[at : at + style.header]):
            return starts[:index], at
    return starts, end


def _serial(window: Window, style: Style) -> tuple[I64, int]:
    unpack = struct.Struct(style.order + "I").unpack_from
    raw, header, end = window.raw, style.header, window.length
    starts: list[int] = []
    at = 0
    while at + header <= end:
        captured = _captured(window, style, at) if style.old else unpack(raw, at + 8)[0]
        after = at + header + captured
        if captured > MAX_RECORD or after > end:
            break
        starts.append(at)
        at = after
    return np.array(starts, dtype=np.int64), at


def _lanes(window: Window, style: Style) -> tuple[I64, int] | None:
    """The same as `_serial`, many lanes at once; None where the lanes do not meet."""
    entries = _entries(window, style)
    if len(entries) < lanes.FEW // 2:
        return None
    found = lanes.chain(entries, window.length, _lengths(window, style), style.header, style.header)
    if found is None:
        return None
    starts, end = found
    longest = np.diff(starts, append=end).max(initial=0) - style.header
    return None if longest > MAX_RECORD else found


def _lengths(window: Window, style: Style) -> list[NDArray[np.uint32]]:
    """The captured length of a record that begins at any position: one column for each step of the lanes, as each
    passes one more header."""
    size, order = len(window.raw) - 3, style.order + "u4"
    return [
        np.ndarray((size - 8 - skipped,), order, window.raw, 8 + skipped, (1,))
        for skipped in range(0, lanes.STEPS * style.header, style.header)
    ]


def _entries(window: Window, style: Style) -> list[int]:
    """A plausible record header in every lane that has one; the first is the window's beginning."""
    raw = window.raw
    seconds = struct.unpack_from(style.order + "I", raw, 0)[0]
    high = struct.pack(style.order + "I", seconds)
    pattern, shift = (high[2:4], 2) if style.order == "<" else (high[0:2], 0)
    search = re.compile(re.escape(pattern)).search
    entries = [0]
    for lane in range(lanes.LANE, window.length - style.header, lanes.LANE):
        at, stop = lane, min(lane + lanes.LANE, lane + _SEARCH, window.length - style.header)
        for _ in range(_TRIES):
            found = search(raw, at + shift, stop)
            if found is None:
                break
            at = found.start() - shift
            if at > entries[-1] and _chained(window, style, at, 2):
                entries.append(at)
                break
            at += 1
    return entries


def _batch(window: Window, style: Style, starts: I64, number: int) -> Batch:
    order = style.order + "u4"
    shape = (max(window.length - style.header + 1, 1),)
    header = np.dtype([("seconds", order), ("fraction", order), ("captured", order), ("original", order)])
    rows = np.ndarray(shape, dtype="V16", buffer=window.raw, strides=(1,))[starts].view(header)
    captured, original = rows["captured"].astype(np.int64), rows["original"].astype(np.int64)
    if style.old:
        captured, original = np.minimum(captured, original), np.maximum(captured, original)
    time = rows["seconds"].astype(np.int64) * 1_000_000_000
    time += rows["fraction"].astype(np.int64) * (1_000_000_000 // style.fraction)
    return Batch(
        data=window.data,
        base=window.offset,
        number=number,
        start=starts + style.header,
        captured=captured,
        original=np.maximum(original, captured),
        time=time,
        link=np.full(len(starts), style.link, dtype=np.uint16),
    )
