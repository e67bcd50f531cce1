"""Flows: packets grouped by their two endpoints and counted in both directions.

One sort groups the packets of a batch; keys are then compared exactly. A flow ends when its endpoints are
silent for longer than `IDLE`, or when a new connection is opened between them (a SYN with another initial
sequence number, unless it is only late: the bytes before it are counted from that number on). Nothing
depends on where a batch ends.

Which side is the device's: an address the experiment names; else the sender, if the receiver is a
multicast or broadcast address; else the only private one of two addresses; else the side that opened the
connection, the one with the higher port where a well-known port faces another, or the first to send.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from audit.records import SideBy
from audit.sources.pcap import addresses
from audit.sources.pcap.batch import I64, NO_TIME, U8, U64, Bools
from audit.sources.pcap.columns import Columns
from audit.sources.pcap.packets import TCP, Packets

_SECOND = 1_000_000_000
IDLE_TCP = 7_440 * _SECOND  # RFC 5382: no NAT may forget a connection earlier
IDLE = 300 * _SECOND  # RFC 4787's recommendation
SIDES: tuple[SideBy, ...] = ("told", "multicast", "private", "opened", "spoke_first")
_SYN, _ACK = 0x02, 0x10
_NEVER = np.iinfo(np.int64).max
_LATE = 1 << 16  # bytes that may be captured before the SYN they follow
_INDEX_BITS = 21
_RELEASED = 1 << 14  # new flows after which those that are not in use are left on disk
_COLUMNS: dict[str, type] = {
    "a_hi": np.uint64, "a_lo": np.uint64, "b_hi": np.uint64, "b_lo": np.uint64, "ports": np.uint64,
    "first_number": np.int64, "first": np.int64, "last": np.int64,
    "recent": np.int64, "isn": np.int64, "isn_answer": np.int64, "device_a": np.uint8, "side_by": np.uint8,
    "opener_a": np.uint8, "packets_ab": np.int64, "packets_ba": np.int64, "bytes_ab": np.int64,
    "bytes_ba": np.int64, "payload_ab": np.int64, "payload_ba": np.int64, "stage": np.uint8,
    "tried_a": np.int64, "tried_b": np.int64, "partly": np.uint8, "begun_a": np.int64, "begun_b": np.int64,
}  # fmt: skip


class Grouped(NamedTuple):
    """Packets of a batch by flow: `order` sorts them by (flow, packet), `starts` says where each flow
    begins in that order, `rows` which row of the table it is; `ab` (in order) whether a packet went from
    endpoint a to endpoint b."""

    order: I64
    starts: I64
    rows: I64
    ab: Bools


class FlowTable:
    """All flows seen so far, one row each; columns are attributes (see `_COLUMNS`). In a long table, those of flows
    that are over are on disk; memory holds of them what it takes to tell that a packet is none of theirs.

    `ports` is port a << 32 | port b << 16 | protocol."""

    def __init__(self, device: Collection[str] = ()) -> None:
        self.count = 0
        self._released = 0  # the count at which that was done last
        self._columns = Columns(_COLUMNS)
        vars(self).update(self._columns.made())
        self._hashes: U64 = np.zeros(0, dtype=np.uint64)  # of the open flows, ascending
        self._rows: I64 = np.zeros(0, dtype=np.int64)
        self._clashes: dict[tuple[int, ...], int] = {}
        self._device = [pair for address in device if (pair := addresses.halves(address)) is not None]

    a_hi: U64
    a_lo: U64
    b_hi: U64
    b_lo: U64
    ports: U64
    first_number: I64
    first: I64
    last: I64
    recent: I64  # time of the latest packet, which clocks that jump may put before `last`
    isn: I64  # initial sequence number of the side that opened it, -1: not seen
    isn_answer: I64
    begun_a: I64  # sequence number of endpoint a that the first packet tells, -1: it tells none
    begun_b: I64
    device_a: U8
    side_by: U8  # index in SIDES
    opener_a: U8
    packets_ab: I64
    packets_ba: I64
    bytes_ab: I64
    bytes_ba: I64
    payload_ab: I64
    payload_ba: I64
    stage: U8
    tried_a: I64  # payloads of endpoint a that begin nothing
    tried_b: I64
    partly: U8  # whether payloads were passed over that nobody here can read

    def add(self, packets: Packets, counted: Bools | None = None) -> Grouped:
        """Count these packets; `counted` leaves out those that were counted in another shape."""
        swap = _greater(packets)
        mask = np.uint64(0) - swap.astype(np.uint64)
        a_hi, b_hi = _pair(packets.src_hi, packets.dst_hi, mask)
        a_lo, b_lo = _pair(packets.src_lo, packets.dst_lo, mask)
        a_port, b_port = _pair(packets.sport.astype(np.uint64), packets.dport.astype(np.uint64), mask)
        ports: U64 = a_port << np.uint64(32) | b_port << np.uint64(16)
        ports |= packets.proto
        keys = (a_hi, a_lo, b_hi, b_lo, ports)
        hashes = _hash(keys)
        order, begins = _sorted(hashes, keys)
        starts = np.flatnonzero(begins)
        firsts = order[starts]
        rows = self._lookup(hashes[firsts], [column[firsts] for column in keys])
        time = packets.time.take(order)
        syns = _syns(packets, order)
        ab = ~swap.take(order)
        splits = self._splits(starts, rows, time, packets, order, ab, syns)
        if len(splits):
            group = np.cumsum(begins) - 1
            begins[splits] = True
            all_starts = np.flatnonzero(begins)
            fresh = np.isin(all_starts, splits) | ~_member(all_starts, starts)
            rows = np.where(fresh, -1, rows[group[all_starts]])
            starts = all_starts
        flags = packets.flags.take(order[starts])
        self._create(rows, packets, order, starts, keys, hashes, ab, flags)
        if len(order):
            group = np.cumsum(begins) - 1
            self._count(rows, packets, order, group, ab, counted)
            rising = bool((packets.time[1:] >= packets.time[:-1]).all()) and packets.time[0] != NO_TIME
            self._remember(rows, starts, time, rising=rising)
            owners = rows[group[syns.at]]
            answers, openings = np.flatnonzero(syns.answer), np.flatnonzero(~syns.answer)
            self.isn[owners[openings]] = syns.isn[openings]
            known = self.isn[owners[answers]]
            with_data = (known >= 0) & (syns.isn[answers] - known & 0xFFFFFFFF <= _LATE)  # RFC 7413
            self.isn[owners[answers]] = np.where(with_data, known, syns.isn[answers])
            self.isn_answer[owners[answers]] = packets.seq[order[syns.at[answers]]]
        return Grouped(order, starts, rows, ab)

    def release(self) -> None:
        """Keep no more of the table in memory than is used from here on."""
        self._released = self.count
        self._columns.release()

    def _splits(
        self, starts: I64, rows: I64, time: I64, packets: Packets, order: I64, ab: Bools, syns: _Syns
    ) -> I64:
        """The places of the order where a new flow begins between known endpoints."""
        count = len(time)
        if not count:
            return starts
        known = rows >= 0
        before = np.empty(count, dtype=np.int64)
        before[1:] = time[:-1]
        before[starts] = np.where(known, self.recent[rows], NO_TIME)
        late = np.flatnonzero((time - before > IDLE) & (before != NO_TIME) & (time != NO_TIME))
        idle = np.where(packets.proto[order[late]] == TCP, IDLE_TCP, IDLE)
        splits = late[time[late] - before[late] > idle]
        opening = syns.at[~syns.answer]
        opening = opening[~_member(opening, starts[~known])]
        if len(opening):
            group = np.searchsorted(starts, opening, side="right") - 1
            place = np.searchsorted(syns.at, opening)
            previous = np.maximum(place - 1, 0)
            inside = (place > 0) & (syns.at[previous] >= starts[group])
            row = rows[group]
            carried = np.where(row >= 0, self.isn[row], -1)
            last_isn = np.where(inside, syns.isn[previous], carried)
            isn = syns.isn[place]
            first = starts[group]
            begun_a, begun_b = _begun(packets, order[first], ab[first])
            begun_a = np.where(row >= 0, self.begun_a[row], begun_a)
            begun_b = np.where(row >= 0, self.begun_b[row], begun_b)
            begun = np.where(ab[opening], begun_a, begun_b)
            ahead = begun - isn & 0xFFFFFFFF
            only_late = (last_isn == -1) & (begun >= 0) & (ahead > 0) & (ahead <= _LATE)
            splits = np.union1d(splits, opening[(last_isn != isn) & ~only_late])
        return splits

    def _create(
        self, rows: I64, packets: Packets, order: I64, starts: I64, keys: tuple[U64, ...], hashes: U64,
        ab: Bools, flags: U8,
    ) -> None:  # fmt: skip
        """Make rows for the flows that have none (`rows` is changed in place); `flags` are those of the first
        packet of each."""
        fresh = np.flatnonzero(rows < 0)
        if not len(fresh):
            return
        new = np.arange(self.count, self.count + len(fresh))
        rows[fresh] = new
        self.count += len(fresh)
        self._reserve()
        at = starts[fresh]
        firsts = order[at]
        for name, column in zip(("a_hi", "a_lo", "b_hi", "b_lo", "ports"), keys, strict=True):
            getattr(self, name)[new] = column[firsts]
        self.first_number[new] = packets.number[firsts]
        self.first[new] = packets.time[firsts]
        self.last[new] = packets.time[firsts]
        self.isn[new] = self.isn_answer[new] = -1
        self.begun_a[new], self.begun_b[new] = _begun(packets, firsts, ab[at])
        syn = flags[fresh] & _SYN != 0
        answered = syn & (flags[fresh] & _ACK != 0)
        opened = syn & ~answered
        by_a = np.where(answered, ~ab[at], ab[at])
        port_a, port_b = (
            self.ports[new] >> np.uint64(32),
            self.ports[new] >> np.uint64(16) & np.uint64(0xFFFF),
        )
        served = ((port_a < 1024) != (port_b < 1024)) & ~opened & ~answered
        by_a = np.where(served, port_b < 1024, by_a)
        self.opener_a[new] = by_a
        self.device_a[new], self.side_by[new] = self._device_side(new, by_a, opened | answered | served)
        self._index(hashes[firsts], new)

    def _device_side(self, new: I64, opener_a: Bools, opener_known: Bools) -> tuple[Bools, I64]:
        """Whether endpoint a is the device's, and what tells it (an index in `SIDES`)."""
        a_hi, a_lo, b_hi, b_lo = self.a_hi[new], self.a_lo[new], self.b_hi[new], self.b_lo[new]
        private_a, private_b = addresses.private(a_hi, a_lo), addresses.private(b_hi, b_lo)
        many_a, many_b = addresses.many(a_hi, a_lo), addresses.many(b_hi, b_lo)
        side = np.where(private_a != private_b, private_a, opener_a)
        side = np.where(many_a != many_b, many_b, side)
        by = np.where(many_a != many_b, 1, np.where(private_a != private_b, 2, np.where(opener_known, 3, 4)))
        if self._device:
            named_a = np.zeros(len(new), dtype=np.bool_)
            named_b = np.zeros(len(new), dtype=np.bool_)
            for high, low in self._device:
                named_a |= (a_hi == np.uint64(high)) & (a_lo == np.uint64(low))
                named_b |= (b_hi == np.uint64(high)) & (b_lo == np.uint64(low))
            side = np.where(named_a != named_b, named_a, side)
            by = np.where(named_a != named_b, 0, by)
        return side, by

    def _count(
        self, rows: I64, packets: Packets, order: I64, group: I64, ab: Bools, counted: Bools | None
    ) -> None:
        slot, slots = group * 2 + ab, len(rows) * 2
        if counted is not None:
            mine = counted[order]
            slot, order = slot[mine], order[mine]
        # sums of floats are exact here: they stay below 2**53
        for name, column in (("packets", None), ("bytes", packets.size), ("payload", packets.sent)):
            weights = None if column is None else column.take(order)
            sums = np.bincount(slot, weights, slots).astype(np.int64)
            getattr(self, name + "_ab")[rows] += sums[1::2]
            getattr(self, name + "_ba")[rows] += sums[0::2]

    def _remember(self, rows: I64, starts: I64, time: I64, *, rising: bool) -> None:
        """Note the times of flows; `rising` where every packet has one, and none is earlier than the one before it."""
        last = time[np.append(starts[1:], len(time)) - 1]
        known = time if rising else np.where(time == NO_TIME, _NEVER, time)
        earliest = time[starts] if rising else np.minimum.reduceat(known, starts)
        latest = last if rising else np.maximum.reduceat(time, starts)
        first = self.first[rows]
        first = np.minimum(np.where(first == NO_TIME, _NEVER, first), earliest)
        self.first[rows] = np.where(first == _NEVER, NO_TIME, first)
        self.last[rows] = np.maximum(self.last[rows], latest)
        self.recent[rows] = last

    def _lookup(self, hashes: U64, keys: list[U64]) -> I64:
        """The open flow of each key, -1 where there is none."""
        rows = np.full(len(hashes), -1, dtype=np.int64)
        if not len(self._hashes):
            return rows
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        same = self._hashes[place] == hashes
        found = self._rows[place]
        exact = same.copy()
        for name, column in zip(("a_hi", "a_lo", "b_hi", "b_lo", "ports"), keys, strict=True):
            exact &= getattr(self, name)[found] == column
        rows[exact] = found[exact]
        for index in np.flatnonzero(same & ~exact).tolist():
            rows[index] = self._clashes.get(tuple(int(column[index]) for column in keys), -1)
        return rows

    def _index(self, hashes: U64, rows: I64) -> None:
        """Make these rows the open flows of their keys; the latest of one key wins."""
        by_hash = np.argsort(hashes, kind="stable")  # rows ascend
        hashes, rows = hashes[by_hash], rows[by_hash]
        last = np.append(hashes[1:] != hashes[:-1], True)
        # keys that share a hash are told apart in `_clashes`
        for index in np.flatnonzero(~last).tolist():
            self._clash(int(rows[index]))
        hashes, rows, shared = hashes[last], rows[last], np.append(False, ~last)[:-1][last]
        for index in np.flatnonzero(shared).tolist():
            self._clash(int(rows[index]))
        if len(self._hashes):
            place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
            same = self._hashes[place] == hashes
            for index in np.flatnonzero(same).tolist():
                old, new = int(self._rows[place[index]]), int(rows[index])
                if self._key(old) == self._key(new):
                    self._rows[place[index]] = new
                else:
                    self._clash(new)
            hashes, rows = hashes[~same], rows[~same]
        if len(hashes):
            count = len(self._hashes) + len(hashes)
            added = np.searchsorted(self._hashes, hashes) + np.arange(len(hashes))
            kept = np.ones(count, dtype=np.bool_)
            kept[added] = False
            merged_hashes, merged_rows = np.empty(count, dtype=np.uint64), np.empty(count, dtype=np.int64)
            merged_hashes[kept], merged_rows[kept] = self._hashes, self._rows
            merged_hashes[added], merged_rows[added] = hashes, rows
            self._hashes, self._rows = merged_hashes, merged_rows

    def _clash(self, row: int) -> None:
        self._clashes[self._key(row)] = row

    def _key(self, row: int) -> tuple[int, ...]:
        return (int(self.a_hi[row]), int(self.a_lo[row]), int(self.b_hi[row]), int(self.b_lo[row]),
                int(self.ports[row]))  # fmt: skip

    def _reserve(self) -> None:
        if self.count > self._columns.rows:
            held = {name: vars(self).pop(name) for name in _COLUMNS}
            vars(self).update(self._columns.grown(held, self.count))
        if self.count - self._released >= _RELEASED:
            self.release()


class _Syns(NamedTuple):
    """The SYNs among packets: their places in the order, the initial sequence number of the side that opens,
    and whether they are its answer."""

    at: I64
    isn: I64
    answer: Bools


def _syns(packets: Packets, order: I64) -> _Syns:
    """Only TCP packets have flags."""
    at = np.flatnonzero((packets.flags & _SYN).take(order))
    which = order[at]
    answer = packets.flags[which] & _ACK != 0
    isn = np.where(answer, packets.ack[which] - 1, packets.seq[which]) & 0xFFFFFFFF
    return _Syns(at, isn, answer)


def _begun(packets: Packets, which: I64, ab: Bools) -> tuple[I64, I64]:
    """The sequence numbers of endpoints a and b that these packets tell, -1 where they tell none."""
    sender = np.where(packets.proto[which] == TCP, packets.seq[which], -1)
    receiver = np.where(packets.flags[which] & _ACK != 0, packets.ack[which], -1)
    return np.where(ab, sender, receiver), np.where(ab, receiver, sender)


def _greater(packets: Packets) -> Bools:
    """Whether the source endpoint comes after the destination endpoint."""
    low_same = packets.src_lo == packets.dst_lo
    greater = low_same & (packets.sport > packets.dport)
    greater |= packets.src_lo > packets.dst_lo
    greater &= packets.src_hi == packets.dst_hi
    return np.asarray(greater | (packets.src_hi > packets.dst_hi))


def _pair(source: U64, destination: U64, mask: U64) -> tuple[U64, U64]:
    """The two exchanged where the mask has ones."""
    differs = (source ^ destination) & mask
    return source ^ differs, destination ^ differs


def _hash(keys: tuple[U64, ...]) -> U64:
    mixed = np.zeros(len(keys[0]), dtype=np.uint64)
    for column in keys:
        mixed ^= column
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _sorted(hashes: U64, keys: tuple[U64, ...]) -> tuple[I64, Bools]:
    """An order by (key, index) and where in it a new key begins."""
    count = len(hashes)
    begins = np.ones(count, dtype=np.bool_)
    if count >> _INDEX_BITS:
        order = np.lexsort((np.arange(count), *keys))
    else:
        mask = np.uint64((1 << _INDEX_BITS) - 1)
        words = np.sort((hashes & ~mask) | np.arange(count, dtype=np.uint64))
        order = (words & mask).astype(np.int64)
        begins[1:] = words[1:] & ~mask != words[:-1] & ~mask
        if not (_changes(keys, order)[1:] & ~begins[1:]).any():
            return order, begins
        order = np.lexsort((np.arange(count), *keys))  # two keys share 43 bits of hash
    begins[1:] = _changes(keys, order)[1:]
    return order, begins


def _changes(keys: tuple[U64, ...], order: I64) -> Bools:
    changed = np.zeros(len(order), dtype=np.bool_)
    for column in keys:
        column = column.take(order)
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _member(values: I64, among: I64) -> Bools:
    """Which of the values are among those, which ascend."""
    if not len(among):
        return np.zeros(len(values), dtype=np.bool_)
    place = np.minimum(np.searchsorted(among, values), len(among) - 1)
    return np.asarray(among[place] == values)
