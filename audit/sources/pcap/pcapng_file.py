"""pcapng files: from a window of bytes to batches of packet records, secrets and names.

Sections of either byte order, any number of interfaces with their own link type and clock; enhanced,
simple and obsolete packet blocks; unknown blocks are skipped. Enhanced packet blocks, which nearly all are, are
found many at once (see `lanes`), all others one by one. Damage is stated, and the walk resumes at the next
block whose two lengths agree. Specification: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.sources.pcap import lanes
from audit.sources.pcap.batch import (
    I64,
    MAX_RECORD,
    NO_TIME,
    U16,
    U64,
    Batch,
    Bools,
    Damage,
    Item,
    Names,
    Secrets,
)
from audit.sources.pcap.window import Window

_SECTION, _INTERFACE, _OBSOLETE, _SIMPLE, _NAMES, _ENHANCED, _SECRETS = 0x0A0D0D0A, 1, 2, 3, 4, 6, 10
TLS_KEY_LOG = 0x544C534B  # the type of secrets that are an NSS key log
_KNOWN = (_INTERFACE, _OBSOLETE, _SIMPLE, _NAMES, 5, _ENHANCED, _SECRETS)
_MAJOR = 1  # of another major version nothing can be said
_MAX_BLOCK = 64 << 20
_MAX_RESUMED = 1 << 20  # bytes of a block at which reading may go on behind damage
_MAX_INTERFACES = 65_536
_SECOND = 1_000_000_000
_BREAKING = (
    _SECTION,
    _INTERFACE,
    _OBSOLETE,
    _SIMPLE,
    _NAMES,
    _SECRETS,
)  # a stretch of enhanced packet blocks
_LEAST = 12  # bytes of any block
_SHORTEST = 32  # bytes of an enhanced packet block
_TRIES = 32  # places in a lane at which such a block is sought
_GUESSES = 4_096  # places at which the first block of a window is sought
_SURE = 8  # blocks in a row that leave hardly a doubt
_ROOM_FOR_OPTIONS = 4_096  # bytes of a block beside its packet
_LOOKS = 4  # at a window for stretches: they are looked for anew in each section
_WORTH = 64  # blocks of a stretch, on the average, below which one by one is as fast
_FIELDS = ("block", "length", "interface", "high", "low", "captured", "original")
_HEADER = {order: np.dtype([(name, order + "u4") for name in _FIELDS]) for order in "<>"}


class Interface(NamedTuple):
    """An interface: link type, how much it keeps of a packet, and its clock."""

    link: int
    snap: int
    resolution: int  # as in if_tsresol
    offset: int  # seconds


@dataclass
class _Section:
    order: str = "<"
    major: int = _MAJOR
    interfaces: list[Interface] = field(default_factory=list)


@dataclass
class _Found:
    """Packets of the window not handed on yet: where they lie, and whose they are."""

    start: list[int] = field(default_factory=list)
    captured: list[int] = field(default_factory=list)
    original: list[int] = field(default_factory=list)
    stamp: list[int] = field(default_factory=list)
    interface: list[int] = field(default_factory=list)


class _Stretch(NamedTuple):
    """Whole blocks of which none but enhanced packet blocks matter: where each begins, and where the last one ends."""

    starts: I64
    end: int


def read(window: Window) -> Iterator[Item]:
    """The blocks of a pcapng file that matter, in its order."""
    for item, _ in Blocks().read(window, 0, 1, window.size):
        if item is not None:
            yield item


class Blocks:
    """The blocks of a pcapng file, window by window (see `turns.Format`), and what was said of its interfaces so far."""

    begin = 0
    slack = MAX_RECORD + _ROOM_FOR_OPTIONS

    def __init__(self) -> None:
        self._section = _Section()

    def read(
        self, window: Window, position: int, number: int, until: int
    ) -> Iterator[tuple[Item | None, int]]:
        """The blocks that matter from the one at `position` on, with the first packet as `number`, in windows of which
        the last is the first to end at `until` or behind it. Behind what stands in a window comes None; beside that,
        and beside damage, stands where the next block begins."""
        section = self._section
        barren = False  # whether few blocks were found before the last damage
        while position < min(until, window.size):
            window.read(position)
            begun = number
            found = _Found()
            at, damage, starved, cut = 0, None, False, False
            stretches: dict[int, _Stretch] | None = None
            looks = 0 if barren else _LOOKS
            while True:
                if stretches and (stretch := stretches.get(at)) is not None:
                    yield from _beside(_flush(window, section, found, number), position)
                    number += len(found.start)
                    found = _Found()
                    batch, strays = _enhanced(window, section, stretch, number)
                    if batch is not None:
                        yield batch, position
                        number += len(batch.start)
                    yield from _beside(strays, position)
                    at = stretch.end
                block, length, problem = _block(window, section, at)
                if problem:
                    break
                if length == 0 or at + length > window.length:
                    if window.offset + at + max(length, 12) > window.size:
                        cut = at < window.length
                    elif length and block not in (_SECTION, *_KNOWN):
                        at += length
                    elif at == 0:
                        starved = True
                        window.grow(max(length, 12))
                    break
                if block == _SECTION:
                    yield from _beside(_flush(window, section, found, number), position)
                    number += len(found.start)
                    found = _Found()
                    major, minor = struct.unpack_from(section.order + "HH", window.raw, at + 12)
                    section = self._section = _Section(section.order, major)
                    stretches = None  # which may have another byte order from here on
                    if major != _MAJOR:
                        unknown = f"a section of version {major}.{minor} is not read"
                        yield Damage("unsupported", window.offset + at, length, unknown), position
                elif section.major != _MAJOR:
                    pass
                elif block == _ENHANCED and stretches is None and looks:
                    stretches = _stretches(window, section, at)
                    looks -= 1
                    continue
                elif block in (_ENHANCED, _OBSOLETE, _SIMPLE):
                    if not _packet(window, section, block, at, length, found):
                        yield _stray(window, at, length), position
                elif block == _INTERFACE and len(section.interfaces) < _MAX_INTERFACES:
                    section.interfaces.append(_interface(window, section, at, length))
                elif block == _SECRETS and length >= 20:
                    # they count from here on, for no packet before
                    yield from _beside(_flush(window, section, found, number), position)
                    number += len(found.start)
                    found = _Found()
                    kind, size = struct.unpack_from(section.order + "II", window.raw, at + 8)
                    data = bytes(window.raw[at + 16 : at + min(16 + size, length - 4)])
                    yield Secrets(kind, window.offset + at, data), position
                elif block == _NAMES:
                    names = _names(bytes(window.raw[at + 8 : at + length - 4]), section.order)
                    yield from _beside(names, position)
                at += length
            yield from _beside(_flush(window, section, found, number), position)
            number += len(found.start)
            position += at
            if problem:
                damage = _damage(window, section, at, problem)
            elif cut:
                damage = _cut(window, section, at)
            barren = damage is not None and number - begun < lanes.FEW
            if damage is not None:
                position = damage.offset + damage.bytes
                yield damage, position
            elif at == 0 and not starved:
                position = window.size
            yield None, position

    def section(self, window: Window, size: int) -> tuple[Batch, int] | None:
        """The packets in the blocks that begin in the first `size` bytes of the window, the first of them at its
        beginning, as packets from 0 on, and where the next begins; None if there is anything else that matters."""
        section = self._section
        found = _chain(window, section.order, 0) if section.major == _MAJOR else None
        if found is None:
            return None
        starts, wrong, blocks, end = found
        kept = int(np.searchsorted(starts, size))
        end = int(starts[kept]) if kept < len(starts) else end
        if not kept or (end < size and not (window.ends and end == window.length)):
            return None
        if wrong[:kept].any() or np.isin(blocks[:kept], _BREAKING).any():
            return None
        batch, strays = _enhanced(window, section, _Stretch(starts[:kept], end), 0)
        return None if batch is None or strays else (batch, end)

    def first(self, window: Window, offset: int) -> int:
        """Where the first packet behind `offset` seems to begin, the file's end if none does in reach."""
        window.read(offset)
        order = self._section.order
        search = re.compile(re.escape(struct.pack(order + "I", _ENHANCED))).search
        place, stop = 0, min(window.length, 2 * MAX_RECORD)
        for _ in range(_GUESSES):
            found = search(window.raw, place, stop)
            if found is None:
                break
            place = found.start()
            if _chained(window, order, place):
                return offset + place
            place += 1
        return window.size


def _beside(items: Iterable[Item], position: int) -> Iterator[tuple[Item, int]]:
    return ((item, position) for item in items)


def _chained(window: Window, order: str, at: int) -> bool:
    """Whether so many blocks that there is hardly a doubt follow each other from here on."""
    unpack = struct.Struct(order + "I").unpack_from
    for _ in range(_SURE):
        if at + _LEAST > window.length:
            return at == window.length and window.ends
        claimed = unpack(window.raw, at + 4)[0]
        if claimed < _LEAST or claimed % 4 or at + claimed > window.length:
            return False
        at += claimed
        if unpack(window.raw, at - 4)[0] != claimed:
            return False
    return True


def begins(head: bytes) -> bool:
    """Whether a file that begins so is a pcapng."""
    return head.startswith(b"\n\r\r\n")


def holds_secrets(window: Window) -> bool:
    """Whether TLS secrets may stand in the file: blocks begin at multiples of four bytes, where nothing is damaged."""
    position = 0
    while position < window.size:
        words: NDArray[np.uint32] = np.frombuffer(window.raw[: window.read(position) // 4 * 4], dtype="u4")
        for kind, log in ((_SECRETS, TLS_KEY_LOG), (_swapped(_SECRETS), _swapped(TLS_KEY_LOG))):
            found = np.flatnonzero(words[2:] == log)
            if (words[found] == kind).any():
                return True
        position += max(4 * len(words) - 8, 4)
    return False


def _swapped(word: int) -> int:
    return int.from_bytes(word.to_bytes(4, "little"), "big")


def _block(window: Window, section: _Section, at: int) -> tuple[int, int, str]:
    """Type and length of the block at `at`, or what is wrong with it; length 0: not all of it is here."""
    if at + 12 > window.length:
        return 0, 0, ""
    raw = window.raw
    head = bytes(raw[at : at + 12])
    if head[:4] == b"\n\r\r\n":
        if head[8:] == b"\x4d\x3c\x2b\x1a":
            section_order = "<"
        elif head[8:] == b"\x1a\x2b\x3c\x4d":
            section_order = ">"
        else:
            return 0, 0, "a section without a byte order"
        section.order = section_order
    block, length = struct.unpack_from(section.order + "II", raw, at)
    if length < 12 or (length > _MAX_BLOCK and block in (_SECTION, *_KNOWN)):
        return 0, 0, f"a block claims {length} bytes"
    length += -length % 4
    if at + length <= window.length:
        again = struct.unpack_from(section.order + "I", raw, at + length - 4)[0]
        if again + (-again % 4) != length:
            return 0, 0, "the two lengths of a block differ"
    return block, length, ""


def _damage(window: Window, section: _Section, at: int, problem: str, *, surely: bool = False) -> Damage:
    """What is wrong at `at`, up to the next block that is whole, or surely one."""
    place = window.offset + at
    at = place + 1
    window.grow(2 * _MAX_RESUMED)
    while True:
        window.read(at)
        end = window.length if window.ends else window.length - _MAX_RESUMED
        for candidate in _candidates(window, section, end):
            block, length, wrong = _block(window, _Section(section.order), candidate)
            whole = 0 < length <= min(window.length - candidate, _MAX_RESUMED)
            if wrong or not whole or block not in (_SECTION, *_KNOWN):
                continue
            if not surely or _chained(window, section.order, candidate):
                return Damage("malformed", place, at + candidate - place, problem)
        if window.ends:
            return Damage("malformed", place, window.size - place, problem)
        at += end


def _cut(window: Window, section: _Section, at: int) -> Damage:
    """The last block is cut off; or, if others stand behind it, its length is wrong."""
    place = window.offset + at
    behind = _damage(window, section, at, "a block claims more bytes than the file has", surely=True)
    if place + behind.bytes < window.size:
        return behind
    return Damage("truncated", place, window.size - place, "the last block is cut off")


def _candidates(window: Window, section: _Section, end: int) -> Iterator[int]:
    """Positions before `end`, ascending, where the type of a block that could follow stands."""
    types = [struct.pack(section.order + "I", kind) for kind in (_ENHANCED, _INTERFACE)] + [b"\n\r\r\n"]
    searches = [re.compile(re.escape(kind)).search for kind in types]
    place, found, clear = 0, [-1] * len(types), [0] * len(types)  # none of a kind begins before it is clear
    while True:
        nearest = end
        for which, search in enumerate(searches):
            if found[which] < place and clear[which] < nearest:  # behind the nearest it need not be looked
                match = search(window.raw, max(place, clear[which]), min(nearest + 3, end))
                found[which] = match.start() if match else -1
                clear[which] = match.start() if match else nearest
            if place <= found[which] < nearest:
                nearest = found[which]
        if nearest >= end:
            return
        yield nearest
        place = nearest + 1


def _stretches(window: Window, section: _Section, at: int) -> dict[int, _Stretch]:
    """The stretches behind `at`, by where they begin: none where that is not worth it."""
    if window.length - at < lanes.FEW * lanes.LANE:
        return {}
    found = _chain(window, section.order, at)
    if found is None:
        return {}
    starts, wrong, blocks, end = found
    if wrong.any():  # what is behind it may be no block at all
        first = int(np.argmax(wrong))
        starts, blocks, end = starts[:first], blocks[:first], int(starts[first])
    breaks = np.flatnonzero(np.isin(blocks, _BREAKING))
    bounds = np.append(breaks, len(starts))
    begins = np.append(0, breaks + 1)
    ends = np.append(starts, end)
    if len(bounds) * _WORTH > len(starts):
        return {}
    return {
        int(starts[begin]): _Stretch(starts[begin:bound], int(ends[bound]))
        for begin, bound in zip(begins.tolist(), bounds.tolist(), strict=True)
        if begin < bound
    }


def _chain(window: Window, order: str, at: int) -> tuple[I64, Bools, NDArray[np.uint32], int] | None:
    """Where the blocks from the one at `at` on stand, which of them are wrong (what is behind such a one may be no
    block at all), their types, and where the last complete one ends; None where that could not be found."""
    words = [
        np.ndarray((len(window.raw) - 3 - skipped,), order + "u4", window.raw, skipped, (1,))
        for skipped in (0, 4)
    ]
    found = lanes.chain(_entries(window, order, at), window.length, words[1:] * lanes.STEPS, 0, _LEAST)
    if found is None:
        return None
    starts, end = found
    claimed = words[1][starts].astype(np.int64)
    again = words[0][starts + np.maximum(claimed, 4) - 4]
    wrong = (claimed < _LEAST) | (claimed % 4 != 0) | (again != claimed) | (claimed > _MAX_BLOCK)
    return starts, wrong, words[0][starts], end


def _entries(window: Window, order: str, at: int) -> list[int]:
    """What looks like an enhanced packet block in every lane behind `at` that has one, and `at` itself."""
    raw, unpack = window.raw, struct.Struct(order + "I").unpack_from
    search = re.compile(re.escape(struct.pack(order + "I", _ENHANCED))).search
    entries = [at]
    last = window.length - _SHORTEST
    for lane in range(at + lanes.LANE, last, lanes.LANE):
        place, stop = lane, min(lane + lanes.LANE, last)
        for _ in range(_TRIES):
            found = search(raw, place, stop)
            if found is None:
                break
            place = found.start()
            claimed = unpack(raw, place + 4)[0]
            if (
                place > entries[-1]
                and _SHORTEST <= claimed <= window.length - place
                and claimed % 4 == 0
                and unpack(raw, place + claimed - 4)[0] == claimed
            ):
                entries.append(place)
                break
            place += 1
    return entries


def _stray(window: Window, at: int, length: int) -> Damage:
    detail = "a packet of an interface that the capture does not describe, or one that is too short"
    return Damage("malformed", window.offset + at, length, detail)


def _enhanced(
    window: Window, section: _Section, stretch: _Stretch, number: int
) -> tuple[Batch | None, list[Damage]]:
    """The packets of a stretch, None if there are none in it, and what is wrong with those that cannot be read."""
    header = _HEADER[section.order]
    shape = (len(window.raw) - header.itemsize + 1,)
    rows = np.ndarray(shape, f"V{header.itemsize}", window.raw, 0, (1,))[stretch.starts].view(header)
    whole = (rows["block"] == _ENHANCED) & (rows["length"] >= _SHORTEST)
    whole &= rows["interface"] < len(section.interfaces)
    starts, strays = stretch.starts, []
    if not whole.all():
        wrong = np.flatnonzero(~whole & (rows["block"] == _ENHANCED))
        lengths = rows["length"][wrong].tolist()
        strays = [_stray(window, *each) for each in zip(starts[wrong].tolist(), lengths, strict=True)]
        kept = np.flatnonzero(whole)
        rows, starts = rows[kept], starts[kept]
    if not len(starts):
        return None, strays
    stamps = rows["high"].astype(np.uint64) << np.uint64(32) | rows["low"]
    captured = np.minimum(rows["captured"].astype(np.int64), rows["length"].astype(np.int64) - _SHORTEST)
    owner = rows["interface"].astype(np.int64)
    batch = Batch(
        data=window.data,
        base=window.offset,
        number=number,
        start=starts + header.itemsize,
        captured=captured,
        original=np.maximum(rows["original"].astype(np.int64), captured),
        time=_times(stamps, owner, section),
        link=_links(owner, section),
    )
    return batch, strays


def _times(stamps: U64, owner: I64, section: _Section) -> I64:
    """The times that stamps of these interfaces stand for, in nanoseconds."""
    first = int(owner[0])
    if (owner == first).all():
        return _nanoseconds(stamps, section.interfaces[first])
    time = np.zeros(len(owner), dtype=np.int64)
    for index in np.unique(owner).tolist():
        mine = owner == index
        time[mine] = _nanoseconds(stamps[mine], section.interfaces[index])
    return time


def _links(owner: I64, section: _Section) -> U16:
    links: U16 = np.array([interface.link for interface in section.interfaces], dtype=np.uint16)
    return links[owner]


def _packet(window: Window, section: _Section, block: int, at: int, length: int, found: _Found) -> bool:
    """Take down the packet of a block; False if there is none that can be read."""
    raw, order = window.raw, section.order
    if block == _SIMPLE:
        if length < 16 or not section.interfaces:
            return False
        (original,) = struct.unpack_from(order + "I", raw, at + 8)
        snap = section.interfaces[0].snap or MAX_RECORD
        interface, start, captured, stamp = 0, at + 12, min(original, snap, length - 16), -1
    else:
        if length < 32:
            return False
        if block == _ENHANCED:
            interface, high, low, captured, original = struct.unpack_from(order + "IIIII", raw, at + 8)
        else:
            interface, _, high, low, captured, original = struct.unpack_from(order + "HHIIII", raw, at + 8)
        start, stamp = at + 28, high << 32 | low
        captured = min(captured, length - 32)
    if interface >= len(section.interfaces):
        return False
    found.start.append(start)
    found.captured.append(captured)
    found.original.append(max(original, captured))
    found.stamp.append(stamp)
    found.interface.append(interface)
    return True


def _flush(window: Window, section: _Section, found: _Found, number: int) -> Iterator[Batch]:
    if not found.start:
        return
    owner = np.array(found.interface, dtype=np.int64)
    time = _times(np.array([max(stamp, 0) for stamp in found.stamp], dtype=np.uint64), owner, section)
    time[np.array([stamp < 0 for stamp in found.stamp])] = NO_TIME
    yield Batch(
        data=window.data,
        base=window.offset,
        number=number,
        start=np.array(found.start, dtype=np.int64),
        captured=np.array(found.captured, dtype=np.int64),
        original=np.array(found.original, dtype=np.int64),
        time=time,
        link=_links(owner, section),
    )


def _nanoseconds(stamp: U64, interface: Interface) -> I64:
    """Stamps in the interface's units as nanoseconds, clipped to what 63 bits hold."""
    power = interface.resolution & 0x7F
    if interface.resolution & 0x80:
        bits = min(power, 63)
        seconds = stamp >> np.uint64(bits)
        fraction = stamp & np.uint64((1 << bits) - 1)
        less = max(bits - 34, 0)
        nanos = (fraction >> np.uint64(less)) * np.uint64(_SECOND) >> np.uint64(bits - less)
    else:
        unit = 10 ** min(power, 19)
        seconds = stamp // np.uint64(unit)
        fraction = stamp % np.uint64(unit)
        nanos = (
            fraction * np.uint64(_SECOND // unit) if power <= 9 else fraction // np.uint64(unit // _SECOND)
        )
    seconds = np.minimum(seconds, np.uint64(9_000_000_000)).astype(np.int64) + interface.offset
    return np.asarray(np.clip(seconds, -9_000_000_000, 9_000_000_000) * _SECOND + nanos.astype(np.int64))


def _interface(window: Window, section: _Section, at: int, length: int) -> Interface:
    if length < 20:
        return Interface(0, 0, 6, 0)
    link, _, snap = struct.unpack_from(section.order + "HHI", window.raw, at + 8)
    resolution, offset = 6, 0
    for code, value in _options(bytes(window.raw[at + 16 : at + length - 4]), section.order):
        if code == 9 and len(value) >= 1:
            resolution = value[0]
        elif code == 14 and len(value) >= 8:
            offset = struct.unpack(section.order + "q", value[:8])[0]
    return Interface(link, snap, resolution, max(min(offset, 4 << 32), -(4 << 32)))


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            return
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size + (-size % 4)


def _names(data: bytes, order: str) -> Iterator[Names]:
    for code, value in _options(data, order):
        size = {1: 4, 2: 16}.get(code)
        if size is not None and len(value) > size:
            names = value[size:].rstrip(b"\0").split(b"\0")
            yield Names(value[:size], tuple(name.decode("utf-8", "replace") for name in names if name))
