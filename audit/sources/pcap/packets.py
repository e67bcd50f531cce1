"""Network and transport headers of many packets at once: columns in, columns out.

IPv4 (RFC 791), IPv6 with extension headers (RFC 8200), TCP (RFC 9293), UDP (RFC 768), SCTP ports. Headers
are gathered as structured rows, one gather per protocol. Nothing behind the captured bytes is read as
content; lengths on the wire come from the headers. Where a tunnel is found, the packet's row becomes that
of the inner header and the outer one is kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.sources.pcap.batch import I64, U8, U16, U64, Batch, Bools
from audit.sources.pcap.link import IPV4, IPV6, SEALED, SEVERAL, network_of
from audit.sources.pcap.tunnels import inner_headers

ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
WHOLE, FIRST, LATER = 0, 1, 2  # of a datagram: all of it, its first fragment, another fragment
_OF_LINK = "of link type %d"
_UNREAD = {
    SEALED: "are encrypted on the link (802.11, MACsec)",
    SEVERAL: "stand with others in one frame of 802.11",
}
_MAX_DEPTH = 4
_FRAGMENT = 44
_EXTENDS = np.zeros(256, dtype=np.bool_)  # the extension headers
_EXTENDS[[0, 43, _FRAGMENT, 51, 60, 135, 139, 140]] = True
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


class Dealt(NamedTuple):
    """The packets of a window that belong to one share (and all that are parts of others), where their bytes are,
    how many packets of the window have no IP, and the number behind its last one."""

    data: U8
    packets: Packets
    without_ip: int
    end: int


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


def walk(batch: Batch) -> tuple[Packets, list[Packets], dict[str, int]]:
    """The IP packets of a batch (of tunnelled ones the innermost header), the outer headers, and how many
    packets of which sort nobody here can read."""
    end = batch.start + batch.captured
    link = int(batch.link[0])
    unread: dict[str, int] = {}
    if (batch.link == link).all():
        found = network_of(link, batch.data, batch.start, end)
        if found is None:
            return empty(0), [], {_OF_LINK % link: len(batch.start)}
        kind, at = found
    else:
        kind, at = np.zeros(len(end), dtype=np.uint16), batch.start.copy()
        for link in np.unique(batch.link).tolist():
            mine = np.flatnonzero(batch.link == link)
            found = network_of(link, batch.data, batch.start[mine], end[mine])
            if found is None:
                unread[_OF_LINK % link] = len(mine)
            else:
                kind[mine], at[mine] = found
    for sort, what in _UNREAD.items():
        if count := int(np.count_nonzero(kind == sort)):
            unread[what] = count
    number = np.arange(batch.number, batch.number + len(end), dtype=np.int64)
    outer: list[Packets] = []
    wire = batch.start + batch.original
    return _network(batch.data, kind, at, end, wire, number, batch.time, outer, 0), outer, unread


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
    if not (four | six).all():
        kept = np.flatnonzero(four | six)
        four, six, at, end, wire, number, time = (
            column[kept] for column in (four, six, at, end, wire, number, time)
        )
    if not len(at):
        return empty(0)
    packets = empty(len(at))
    packets.number, packets.time = number, time
    headers = _ip4(data, packets, at, end, wire) if four.any() else _Headers.none(packets)
    if six.any() or not packets.valid.all():
        misnamed = np.flatnonzero(four & (data[np.minimum(at, len(data) - 1)] >> 4 == 6))
        if len(misnamed):
            outer += _shells(number[misnamed])
            for name in ("part", "ident", "more", "offset"):
                getattr(packets, name)[misnamed] = 0
            six[misnamed] = True
        rows = _select(six)
        _ip6(data, headers, rows, at[rows], end[rows], wire[rows])
    _transport(data, headers)
    if not packets.valid.all():
        packets = packets.take(np.flatnonzero(packets.valid))
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


class _Headers(NamedTuple):
    """Rows without their transport columns, and for each the protocol, where its header begins, where the
    packet ends in the capture and where on the wire."""

    packets: Packets
    proto: U8
    begins: I64
    stop: I64
    wire_stop: I64

    @classmethod
    def none(cls, packets: Packets) -> _Headers:
        """Before any header is read."""
        return cls(packets, packets.proto, *np.zeros((3, len(packets)), dtype=np.int64))


def _rows(data: U8, at: I64, kind: np.dtype[np.void]) -> NDArray[np.void]:
    shape = (len(data) - kind.itemsize + 1,)
    # gathered as plain bytes, which is several times as fast as field by field
    return np.ndarray(shape, dtype=f"V{kind.itemsize}", buffer=data, strides=(1,))[at].view(kind)


def _ip4(data: U8, packets: Packets, at: I64, end: I64, wire: I64) -> _Headers:
    """Read all these headers as IPv4, which nearly all are; the rows of others are not valid."""
    header = _rows(data, at, _IP4)
    first = header["vihl"].copy()
    size = (first & 15).astype(np.int64)
    size <<= 2
    length = header["length"].astype(np.int64)
    unknown = length == 0
    if unknown.any():  # the network card cuts segments later
        length = np.where(unknown, wire - at, length)
    packets.size = length
    packets.src_hi[:] = packets.dst_hi[:] = IPV4_HIGH
    packets.src_lo = header["src"].astype(np.uint64)
    packets.dst_lo = header["dst"].astype(np.uint64)
    begins = at + size
    wire_stop = at + length
    good = (first >> 4 == 4) & (size >= 20) & (at + 20 <= end)
    good &= (size <= length) & (begins <= wire)  # else no host would take it
    packets.valid = good.view(np.uint8)
    proto = packets.proto = header["proto"].copy()
    stop = np.minimum(wire_stop, end)
    broken = (header["fragment"] & 0xBFFF != 0) & good
    if broken.any():
        _fragments4(packets, np.flatnonzero(broken), header)
    if ((size != 20) & good).any():
        for row in np.flatnonzero((size > 20) & good & (begins <= end)).tolist():
            _source_route(data, packets, row, int(at[row]) + 20, int(begins[row]))
    sealed = np.flatnonzero(proto == _AUTHENTICATED)
    if len(sealed):
        sealed = sealed[(begins[sealed] + 12 <= stop[sealed]) & (packets.part[sealed] != LATER)]
        proto[sealed] = data[begins[sealed]]
        begins[sealed] += (data[begins[sealed] + 1].astype(np.int64) + 2) * 4
    return _Headers(packets, proto, begins, stop, wire_stop)


def _fragments4(packets: Packets, rows: I64, header: NDArray[np.void]) -> None:
    """What the headers in these rows tell of fragments."""
    word = header["fragment"][rows].astype(np.int64)
    kept = np.flatnonzero(word & 0x3FFF)
    rows, word = rows[kept], word[kept]
    offset, more = (word & 0x1FFF) << 3, word & 0x2000 != 0
    packets.part[rows] = np.where(offset > 0, LATER, FIRST)
    packets.ident[rows] = header["id"][rows]
    packets.more[rows] = more
    packets.offset[rows] = offset


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


def _ip6(data: U8, headers: _Headers, rows: I64 | slice, at: I64, end: I64, wire: I64) -> None:
    """Read IPv6 headers into these rows."""
    if not len(at):
        return
    header = _rows(data, at, _IP6)
    packets = headers.packets
    following = header["next"].copy()
    length = header["length"].astype(np.int64) + 40
    bare = length == 40
    if bare.any():  # a jumbogram (RFC 2675) says how long it is in an option
        jumbo = bare & (following == 0)
        length = np.where(jumbo, np.maximum(wire - at, 40), length)
        bare &= np.isin(following, (TCP, UDP))  # which have no room for a header
        following[bare] = _NOTHING
    packets.size[rows] = length
    for column in ("src_hi", "src_lo", "dst_hi", "dst_lo"):
        getattr(packets, column)[rows] = header[column]
    packets.valid[rows] = (header["flow"] >> 28 == 6) & (at + 40 <= end)
    headers.proto[rows], headers.begins[rows] = following, at + 40
    headers.wire_stop[rows] = at + length
    headers.stop[rows] = np.minimum(at + length, end)
    extended = np.flatnonzero(_EXTENDS.take(following))
    if len(extended):
        places = np.arange(len(headers.begins))[rows]
        _extensions(data, packets, headers.proto, headers.begins, headers.stop, places[extended])


def _extensions(data: U8, packets: Packets, proto: U8, l4: I64, stop: I64, rows: I64) -> None:
    """Walk over the extension headers in these rows (in place)."""
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
        rows = rows[_EXTENDS.take(following) & (packets.part[rows] != LATER)]


def _transport(data: U8, headers: _Headers) -> None:
    packets, proto, begins, stop, wire_stop = headers
    l4 = np.minimum(begins, len(data) - 64)
    carried = np.maximum(stop - l4, 0)
    readable = (packets.part == WHOLE) & (packets.valid != 0) & (l4 + 4 <= stop)
    # all are read as TCP, which most are; of the others the ports stand in the same place
    tcp, udp = readable & (proto == TCP), readable & (proto == UDP)
    ported = tcp | udp
    header = _rows(data, l4, _TCP)
    packets.sport = header["sport"] * ported
    packets.dport = header["dport"] * ported
    size = (header["offset"] >> 4).astype(np.int64)
    size <<= 2
    np.maximum(size, 20, out=size)
    size *= tcp
    packets.flags = header["flags"] * tcp
    cut = tcp & (carried < 14)
    if cut.any():
        size[cut], packets.flags[cut] = 20, 0
    packets.seq, packets.ack = header["seq"].astype(np.int64), header["ack"].astype(np.int64)
    packets.seq *= tcp
    packets.ack *= tcp
    packets.payload = l4 + size
    packets.carried = np.maximum(carried - size, 0)
    packets.sent = np.maximum(wire_stop - l4 - size, 0)
    _udp(data, packets, np.flatnonzero(udp))
    sctp = np.flatnonzero(readable & (proto == SCTP))
    if len(sctp):
        header = _rows(data, l4[sctp], _UDP)
        packets.sport[sctp], packets.dport[sctp] = header["sport"], header["dport"]
    begun = np.flatnonzero(packets.part == FIRST)
    begun = begun[np.isin(proto[begun], (TCP, UDP)) & (l4[begun] + 4 <= stop[begun])]
    if len(begun):  # the payload of a fragment begins with the transport header
        header = _rows(data, l4[begun], _UDP)
        packets.sport[begun], packets.dport[begun] = header["sport"], header["dport"]


def _select(mask: Bools) -> I64 | slice:
    """All rows as a slice (no copies), or those of the mask."""
    return slice(None) if len(mask) and mask.all() else np.flatnonzero(mask)


def _udp(data: U8, packets: Packets, rows: I64) -> None:
    if not len(rows):
        return
    at = packets.payload[rows]
    header = _rows(data, at, _UDP)
    room = packets.sent[rows]
    claimed = header["length"].astype(np.int64)
    trusted = (claimed <= room) & (packets.part[rows] == WHOLE)
    jumbo = (claimed == 0) & (room > 0xFFFF) & (packets.src_hi[rows] != IPV4_HIGH)
    sent = np.where(trusted & ~jumbo, claimed, room) - 8
    packets.payload[rows] = at + 8
    packets.sent[rows] = np.maximum(sent, 0)
    packets.carried[rows] = np.maximum(np.minimum(packets.carried[rows] - 8, sent), 0)
