"""Network and transport headers of many packets at once: columns in, columns out.

IPv4 (RFC 791), IPv6 with extension headers (RFC 8200), TCP (RFC 9293), UDP (RFC 768), SCTP ports. Headers
are gathered as structured rows, one gather per protocol. Nothing behind the captured bytes is read as
content; lengths on the wire come from the headers. Where a tunnel is found, the packet's row becomes that
of the inner header and the outer one is kept apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from audit.sources.pcap.batch import I64, U8, U16, U64, Batch, Bools
from audit.sources.pcap.link import IPV4, IPV6, network_of
from audit.sources.pcap.tunnels import inner_headers

ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
WHOLE, FIRST, LATER = 0, 1, 2  # of a datagram: all of it, its first fragment, another fragment
_MAX_DEPTH = 4
_EXTENSIONS = (0, 43, 51, 60, 135, 139, 140)
_FRAGMENT = 44
_NOTHING = 59  # IPv6: no next header
_AUTHENTICATED = 51
_SOURCE_ROUTES = (131, 137)  # loose, strict
_MAX_EXTENSIONS = 8
IPV4_HIGH = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # the upper half of every IPv4 address; no IPv6 host has it

_IP4 = np.dtype([("vihl", "u1"), ("tos", "u1"), ("length", ">u2"), ("id", ">u2"), ("fragment", ">u2"),
                 ("ttl", "u1"), ("proto", "u1"), ("sum", ">u2"), ("src", ">u4"), ("dst", ">u4")])  # fmt: skip
_IP6 = np.dtype([("flow", ">u4"), ("length", ">u2"), ("next", "u1"), ("hops", "u1"),
                 ("src_hi", ">u8"), ("src_lo", ">u8"), ("dst_hi", ">u8"), ("dst_lo", ">u8")])  # fmt: skip
_TCP = np.dtype([("sport", ">u2"), ("dport", ">u2"), ("seq", ">u4"), ("ack", ">u4"),
                 ("offset", "u1"), ("flags", "u1")])  # fmt: skip
_UDP = np.dtype([("sport", ">u2"), ("dport", ">u2"), ("length", ">u2"), ("sum", ">u2")])


@dataclass(slots=True)
class Packets:
    """Columns of packets in the order of the file. IPv4 addresses have `IPV4_HIGH` as their upper half.

    `size` counts IP bytes on the wire; `payload` is where the transport payload begins in `data`,
    `carried` how much of it was captured, `sent` how much there was. `part` and `ident` tell of
    fragments; `more` whether others follow, `offset` where it lies in its datagram."""

    number: I64
    time: I64
    src_hi: U64
    src_lo: U64
    dst_hi: U64
    dst_lo: U64
    proto: U8
    sport: U16
    dport: U16
    size: I64
    payload: I64
    carried: I64
    sent: I64
    flags: U8
    seq: I64
    ack: I64
    part: U8
    ident: I64
    more: U8
    offset: I64
    valid: U8

    def take(self, rows: I64) -> Packets:
        """These rows, copied."""
        return Packets(*(getattr(self, name)[rows] for name in _COLUMNS))

    def put(self, rows: I64, other: Packets) -> None:
        """Overwrite these rows by those of `other`."""
        for name in _COLUMNS:
            getattr(self, name)[rows] = getattr(other, name)

    def __len__(self) -> int:
        return len(self.number)


_TYPES = {"I64": np.int64, "U64": np.uint64, "U8": np.uint8, "U16": np.uint16}
_COLUMNS = {column.name: np.dtype(_TYPES[str(column.type)]) for column in fields(Packets)}


def empty(count: int) -> Packets:
    """`count` rows of zeros."""
    return Packets(*(np.zeros(count, dtype=kind) for kind in _COLUMNS.values()))


def joined(tables: list[Packets]) -> Packets:
    """All rows of these tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    return Packets(*(np.concatenate([getattr(table, name) for table in tables]) for name in _COLUMNS))


def _merged(tables: list[Packets]) -> Packets:
    """The rows of these tables in the order of their numbers."""
    order = np.argsort(np.concatenate([table.number for table in tables]), kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    merged, begin = empty(len(order)), 0
    for table in tables:
        merged.put(place[begin : begin + len(table)], table)
        begin += len(table)
    return merged


def walk(batch: Batch) -> tuple[Packets, list[Packets], dict[int, int]]:
    """The IP packets of a batch (of tunnelled ones the innermost header), the outer headers, and how many
    packets were of link types that nobody here can read."""
    end = batch.start + batch.captured
    link = int(batch.link[0])
    unknown: dict[int, int] = {}
    if (batch.link == link).all():
        found = network_of(link, batch.data, batch.start, end)
        if found is None:
            return empty(0), [], {link: len(batch.start)}
        kind, at = found
    else:
        kind, at = np.zeros(len(end), dtype=np.uint16), batch.start.copy()
        for link in np.unique(batch.link).tolist():
            mine = np.flatnonzero(batch.link == link)
            found = network_of(link, batch.data, batch.start[mine], end[mine])
            if found is None:
                unknown[link] = len(mine)
            else:
                kind[mine], at[mine] = found
    number = np.arange(batch.number, batch.number + len(end), dtype=np.int64)
    outer: list[Packets] = []
    wire = batch.start + batch.original
    return _network(batch.data, kind, at, end, wire, number, batch.time, outer, 0), outer, unknown


def network(data: U8, kind: U16, at: I64, end: I64, number: I64, time: I64) -> tuple[Packets, list[Packets]]:
    """The same for packets whose network header is known already, such as reassembled datagrams."""
    outer: list[Packets] = []
    return _network(data, kind, at, end, end, number, time, outer, 0), outer


def _network(
    data: U8,
    kind: U16,
    at: I64,
    end: I64,
    wire: I64,
    number: I64,
    time: I64,
    outer: list[Packets],
    depth: int,
) -> Packets:
    four, six = kind == IPV4, kind == IPV6
    tables: list[Packets] = []
    for mine, reader in ((four, _ip4), (six, _ip6)):
        if reader is _ip6 and tables and len(tables[0]) < np.count_nonzero(four):
            misnamed = four & (data[np.minimum(at, len(data) - 1)] >> 4 == 6)
            outer += _shells(number[misnamed])
            mine = six | misnamed
        if mine.all() and len(mine):
            tables.append(_read(reader, data, at, end, wire, number, time))
        elif mine.any():
            tables.append(_read(reader, data, at[mine], end[mine], wire[mine], number[mine], time[mine]))
    if not tables:
        return empty(0)
    packets = tables[0] if len(tables) == 1 else _merged(tables)
    if depth < _MAX_DEPTH:
        rows, inner_kind, inner_at, inner_end = inner_headers(
            data, packets.proto, packets.sport, packets.dport, packets.part, packets.payload, packets.carried
        )
        if len(rows):
            inner = _network(
                data, inner_kind, inner_at, inner_end, inner_end, packets.number[rows], packets.time[rows],
                outer, depth + 1,
            )  # fmt: skip
            kept = rows[np.isin(packets.number[rows], inner.number)]
            outer.append(packets.take(kept))
            packets.put(kept, inner)
    return packets


def _shells(number: I64) -> list[Packets]:
    """What was named IPv4 around an IPv6 header, as outer headers that are not valid."""
    if not len(number):
        return []
    shell = empty(len(number))
    shell.number[:] = number
    return [shell]


_Headers = tuple["Packets", U8, I64, I64, I64]
"""Rows without their transport columns, and for each the protocol, where it begins, where the packet ends
in the capture and where on the wire."""


def _read(
    reader: Callable[[U8, I64, I64, I64], _Headers],
    data: U8,
    at: I64,
    end: I64,
    wire: I64,
    number: I64,
    time: I64,
) -> Packets:
    packets, proto, l4, stop, wire_stop = reader(data, at, end, wire)
    packets.number, packets.time = number, time
    packets.proto = proto
    _transport(data, packets, l4, stop, wire_stop)
    if not packets.valid.all():
        packets = packets.take(np.flatnonzero(packets.valid))
    return packets


def _rows(data: U8, at: I64, kind: np.dtype[np.void]) -> NDArray[np.void]:
    shape = (len(data) - kind.itemsize + 1,)
    # gathered as plain bytes, which is several times as fast as field by field
    return np.ndarray(shape, dtype=f"V{kind.itemsize}", buffer=data, strides=(1,))[at].view(kind)


def _ip4(data: U8, at: I64, end: I64, wire: I64) -> _Headers:
    header = _rows(data, at, _IP4)
    packets = empty(len(at))
    size = (header["vihl"] & 15).astype(np.int64) * 4
    length = header["length"].astype(np.int64)
    unknown = length == 0
    if unknown.any():  # the network card cuts segments later
        length = np.where(unknown, wire - at, length)
    packets.size = length
    packets.src_hi[:] = packets.dst_hi[:] = IPV4_HIGH
    packets.src_lo = header["src"].astype(np.uint64)
    packets.dst_lo = header["dst"].astype(np.uint64)
    fragment = header["fragment"].astype(np.int64)
    offset = (fragment & 0x1FFF) << 3
    more = (fragment & 0x2000) != 0
    broken = (offset > 0) | more
    if broken.any():
        packets.part = np.where(offset > 0, LATER, np.where(more, FIRST, WHOLE)).astype(np.uint8)
        packets.ident = header["id"].astype(np.int64)
        packets.more = more.astype(np.uint8)
        packets.offset = offset
    good = (header["vihl"] >> 4 == 4) & (size >= 20) & (at + 20 <= end)
    good &= (size <= length) & (size <= wire - at)  # else no host would take it
    packets.valid = good.astype(np.uint8)
    proto, l4, stop = header["proto"].copy(), at + size, np.minimum(at + length, end)
    for row in np.flatnonzero((size > 20) & good & (l4 <= end)).tolist():
        _source_route(data, packets, row, int(at[row]) + 20, int(l4[row]))
    sealed = np.flatnonzero((proto == _AUTHENTICATED) & (l4 + 12 <= stop) & (packets.part != LATER))
    if len(sealed):
        proto[sealed] = data[l4[sealed]]
        l4[sealed] += (data[l4[sealed] + 1].astype(np.int64) + 2) * 4
    return packets, proto, l4, stop, at + length


def _source_route(data: U8, packets: Packets, row: int, at: int, end: int) -> None:
    """Where a source route is not at its end, the header names the next hop; the last address is the one
    the packet is for (RFC 791)."""
    while at + 2 < end and data[at] != 0:
        kind, size = int(data[at]), 1 if data[at] == 1 else int(data[at + 1])
        if size < 1 or at + size > end or (kind != 1 and size < 2):
            return
        if kind in _SOURCE_ROUTES and size >= 7 and data[at + 2] < size:
            packets.dst_lo[row] = int.from_bytes(bytes(data[at + size - 4 : at + size]), "big")
        at += size


def _ip6(data: U8, at: I64, end: I64, wire: I64) -> _Headers:
    header = _rows(data, at, _IP6)
    packets = empty(len(at))
    length = header["length"].astype(np.int64) + 40
    bare = length == 40
    if bare.any():  # a jumbogram (RFC 2675) says how long it is in an option
        jumbo = bare & (header["next"] == 0)
        length = np.where(jumbo, np.maximum(wire - at, 40), length)
        bare &= np.isin(header["next"], (TCP, UDP))  # which have no room for a header
    packets.size = length
    for column in ("src_hi", "src_lo", "dst_hi", "dst_lo"):
        setattr(packets, column, header[column].astype(np.uint64))
    packets.valid = ((header["flow"] >> 28 == 6) & (at + 40 <= end)).astype(np.uint8)
    stop, wire_stop = np.minimum(at + length, end), at + length
    proto, l4 = np.where(bare, _NOTHING, header["next"]).astype(np.uint8), at + 40
    _extensions(data, packets, proto, l4, stop)
    return packets, proto, l4, stop, wire_stop


def _extensions(data: U8, packets: Packets, proto: U8, l4: I64, stop: I64) -> None:
    """Walk over the extension headers of those that have some (in place)."""
    rows = np.flatnonzero(np.isin(proto, (*_EXTENSIONS, _FRAGMENT)))
    for _ in range(_MAX_EXTENSIONS):
        rows = rows[l4[rows] + 8 <= stop[rows]]
        if not len(rows):
            return
        here, kind = l4[rows], proto[rows]
        following, size = data[here], data[here + 1].astype(np.int64)
        cut = kind == _FRAGMENT
        if cut.any():
            mine, place = rows[cut], here[cut]
            word = data[place + 2].astype(np.int64) << 8 | data[place + 3]
            more, offset = (word & 1) != 0, word & 0xFFF8
            whole = ~more & (offset == 0)
            packets.part[mine] = np.where(whole, WHOLE, np.where(offset > 0, LATER, FIRST))
            packets.more[mine], packets.offset[mine] = more, offset
            packets.ident[mine] = sum(
                data[place + 4 + byte].astype(np.int64) << (24 - 8 * byte) for byte in range(4)
            )
        l4[rows] = here + np.where(cut, 8, np.where(kind == _AUTHENTICATED, (size + 2) * 4, (size + 1) * 8))
        proto[rows] = following
        rows = rows[np.isin(following, (*_EXTENSIONS, _FRAGMENT)) & (packets.part[rows] != LATER)]


def _transport(data: U8, packets: Packets, l4: I64, stop: I64, wire_stop: I64) -> None:
    l4 = np.minimum(l4, len(data) - 64)
    packets.payload = l4
    packets.carried = np.maximum(stop - l4, 0)
    packets.sent = np.maximum(wire_stop - l4, 0)
    readable = (packets.part == WHOLE) & (packets.valid != 0)
    _tcp(data, packets, _select(readable & (packets.proto == TCP) & (l4 + 4 <= stop)))
    _udp(data, packets, _select(readable & (packets.proto == UDP) & (l4 + 4 <= stop)))
    sctp = np.flatnonzero(readable & (packets.proto == SCTP) & (l4 + 4 <= stop))
    if len(sctp):
        header = _rows(data, l4[sctp], _UDP)
        packets.sport[sctp], packets.dport[sctp] = header["sport"], header["dport"]

    begun = np.flatnonzero((packets.part == FIRST) & np.isin(packets.proto, (TCP, UDP)) & (l4 + 4 <= stop))
    if len(begun):  # the payload of a fragment begins with the transport header
        header = _rows(data, l4[begun], _UDP)
        packets.sport[begun], packets.dport[begun] = header["sport"], header["dport"]


def _select(mask: Bools) -> I64 | slice:
    """All rows as a slice (no copies), or those of the mask."""
    return slice(None) if len(mask) and mask.all() else np.flatnonzero(mask)


def _tcp(data: U8, packets: Packets, rows: I64 | slice) -> None:
    at = packets.payload[rows]
    if not len(at):
        return
    header = _rows(data, at, _TCP)
    packets.sport[rows], packets.dport[rows] = header["sport"], header["dport"]
    full = packets.carried[rows] >= 14
    size = np.where(full, (header["offset"] >> 4).astype(np.int64) * 4, 20)
    size = np.maximum(size, 20)
    packets.flags[rows] = np.where(full, header["flags"], 0)
    packets.seq[rows], packets.ack[rows] = header["seq"], header["ack"]
    packets.payload[rows] = at + size
    packets.carried[rows] = np.maximum(packets.carried[rows] - size, 0)
    packets.sent[rows] = np.maximum(packets.sent[rows] - size, 0)


def _udp(data: U8, packets: Packets, rows: I64 | slice) -> None:
    at = packets.payload[rows]
    if not len(at):
        return
    header = _rows(data, at, _UDP)
    packets.sport[rows], packets.dport[rows] = header["sport"], header["dport"]
    room = packets.sent[rows]
    claimed = header["length"].astype(np.int64)
    trusted = (claimed <= room) & (packets.part[rows] == WHOLE)
    jumbo = (claimed == 0) & (room > 0xFFFF) & (packets.src_hi[rows] != IPV4_HIGH)
    sent = np.where(trusted & ~jumbo, claimed, room) - 8
    packets.payload[rows] = at + 8
    packets.sent[rows] = np.maximum(sent, 0)
    packets.carried[rows] = np.maximum(np.minimum(packets.carried[rows] - 8, sent), 0)
