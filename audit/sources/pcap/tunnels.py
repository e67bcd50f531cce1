"""Tunnels: where the inner packet of an encapsulated one begins.

GRE (RFC 2784, 2890, PPTP's RFC 2637, ERSPAN), IP in IP (2003), 6in4 (4213), Teredo (4380), VXLAN (7348),
Geneve (8926), GTP-U (3GPP TS 29.281), MPLS in IP and UDP (4023, 7510), EtherIP (3378), L2TP (2661), PIM
registers (7761), LISP and its encapsulated control messages (6830), Ethernet in IPv6 (8986), and the packets
that a switch sampled (sFlow version 5; of several in one datagram the last). An inner header is only
believed if its version and lengths fit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audit.sources.pcap.batch import I64, U8, U16
from audit.sources.pcap.link import IPV4, IPV6, ethernet, ethertype, mpls

_PORTS = (1701, 2152, 3544, 4341, 4342, 4789, 4790, 6081, 6343, 6635, 8472)
_SOURCE_PORTS = (1701, 2152, 3544, 4789, 4790, 6081)
_PROTOCOLS = (4, 41, 47, 97, 103, 137, 143)
_WRAPS = np.zeros(256, dtype=np.bool_)
_WRAPS[list(_PROTOCOLS)] = True
_WRAPPED = np.zeros(65_536, dtype=np.uint8)  # 1: a port such packets are sent to, 2: one they are sent from
_WRAPPED[list(_PORTS)] |= 1
_WRAPPED[list(_SOURCE_PORTS)] |= 2
_METADATA = 0x8909
_ETHERNET, _ERSPAN2, _ERSPAN3, _PPP = 0x6558, 0x88BE, 0x22EB, 0x880B
_MAX_SAMPLES = 64
_Found = tuple[int, int]
_NONE: _Found = (0, 0)


def inner_headers(
    data: U8, proto: U8, sport: U16, dport: U16, part: U8, payload: I64, carried: I64
) -> tuple[I64, U16, I64, I64]:
    """Rows that carry a packet of their own: EtherType, position and end of the inner header."""
    candidate = _WRAPS.take(proto)
    candidate |= (proto == 17) & ((_WRAPPED.take(dport) & 1 | _WRAPPED.take(sport) & 2) != 0)
    candidate &= (part == 0) & (carried > 8)
    rows, kinds, places, ends = [], [], [], []
    for row in np.flatnonzero(candidate).tolist():
        at, end = int(payload[row]), int(payload[row] + carried[row])
        opener = (
            _BY_PROTOCOL[int(proto[row])]
            if proto[row] != 17
            else _BY_PORT.get(int(dport[row])) or _BY_PORT[int(sport[row])]
        )
        kind, place = opener(data, at, end)
        if kind and _plausible(data, kind, place, end):
            rows.append(row)
            kinds.append(kind)
            places.append(place)
            ends.append(end)
    return (
        np.array(rows, dtype=np.int64),
        np.array(kinds, dtype=np.uint16),
        np.array(places, dtype=np.int64),
        np.array(ends, dtype=np.int64),
    )


def _plausible(data: U8, kind: int, at: int, end: int) -> bool:
    if kind == IPV4:
        return at + 20 <= end and int(data[at]) >> 4 == 4 and int(data[at]) & 15 >= 5
    return kind == IPV6 and at + 40 <= end and int(data[at]) >> 4 == 6


def _of_type(data: U8, kind: int, at: int, end: int) -> _Found:
    place, stop = np.array([at]), np.array([end])
    if kind == _ETHERNET:
        found, where = ethernet(data, place, stop)
    else:
        found, where = ethertype(data, np.array([kind]), place, stop)
    return int(found[0]), int(where[0])


def _by_nibble(data: U8, at: int, end: int) -> _Found:
    return ({4: IPV4, 6: IPV6}.get(int(data[at]) >> 4, 0), at) if at < end else _NONE


def _gre(data: U8, at: int, end: int) -> _Found:
    flags, kind = int(data[at]) << 8 | int(data[at + 1]), int(data[at + 2]) << 8 | int(data[at + 3])
    at += 4
    at += 4 if flags & 0xC000 else 0  # checksum and offset
    at += 4 if flags & 0x2000 else 0  # key
    at += 4 if flags & 0x1000 else 0  # sequence number
    if flags & 7 == 1:
        at += 4 if flags & 0x80 else 0  # acknowledgment
        return _ppp(data, at, end) if kind == _PPP else _NONE
    if kind == _ERSPAN2:
        return _of_type(data, _ETHERNET, at + (8 if flags & 0x1000 else 0), end)
    if kind == _ERSPAN3:
        return _of_type(data, _ETHERNET, at + (20 if data[at + 11] & 1 else 12), end)
    if kind == _METADATA:  # Cisco's, between the type and the packet
        return _of_type(data, int(data[at]) << 8 | int(data[at + 1]), at + 8, end)
    if kind == 0x883E:  # WCCP, with its redirect header
        at += 4 if int(data[at]) >> 4 != 4 else 0
        kind = IPV4
    return _of_type(data, kind, at, end)


def _ppp(data: U8, at: int, end: int) -> _Found:
    if bytes(data[at : at + 2]) == b"\xff\x03":
        at += 2
    if int(data[at]) & 1:
        return ({0x21: IPV4, 0x57: IPV6}.get(int(data[at]), 0), at + 1) if at < end else _NONE
    return {0x21: IPV4, 0x57: IPV6}.get(int(data[at]) << 8 | int(data[at + 1]), 0), at + 2


def _vxlan(data: U8, at: int, end: int) -> _Found:
    flags = int(data[at])
    if not flags & 0x08:
        return _NONE
    if flags & 0x04:  # the generic protocol extension names what follows
        return _vxlan_gpe(data, at, end)
    return _of_type(data, _ETHERNET, at + 8, end)


def _vxlan_gpe(data: U8, at: int, end: int) -> _Found:
    """With the generic protocol extension, which has a port of its own."""
    if int(data[at]) & 0x08:
        following = {1: IPV4, 2: IPV6, 3: _ETHERNET, 4: 0x894F}.get(int(data[at + 3]), _ETHERNET)
        return _of_type(data, following, at + 8, end)
    return _NONE


def _geneve(data: U8, at: int, end: int) -> _Found:
    if int(data[at]) >> 6:
        return _NONE
    kind = int(data[at + 2]) << 8 | int(data[at + 3])
    return _of_type(data, kind, at + 8 + 4 * (int(data[at]) & 0x3F), end)


def _gtp(data: U8, at: int, end: int) -> _Found:
    flags, message = int(data[at]), int(data[at + 1])
    if flags >> 5 != 1 or not flags & 0x10 or message != 255:
        return _NONE
    place = at + 8
    if flags & 7:
        following = int(data[at + 11]) if flags & 4 else 0
        place += 4
        while following:
            size = int(data[place]) * 4
            if not size or place + size > end:
                return _NONE
            following = int(data[place + size - 1])
            place += size
    return _by_nibble(data, place, end)


def _teredo(data: U8, at: int, end: int) -> _Found:
    start = at
    if at + 4 < end and bytes(data[at : at + 2]) == b"\0\1":  # authentication
        at += 4 + int(data[at + 2]) + int(data[at + 3]) + 9
    if at + 8 < end and bytes(data[at : at + 2]) == b"\0\0":  # origin
        at += 8
    found = (IPV6, at) if at < end and int(data[at]) >> 4 == 6 else _NONE
    return found if _fits(data, found, start) else _NONE


def _lisp(data: U8, at: int, end: int) -> _Found:
    """RFC 9300: a header of eight bytes that says little, so what follows must."""
    found = _by_nibble(data, at + 8, end)
    return found if _fits(data, found, at) else _NONE


def _fits(data: U8, found: _Found, payload: int) -> bool:
    """Whether a packet found in the payload of a UDP datagram is no longer than that says it is: text may look like
    the first byte of one."""

    def word(place: int) -> int:
        return int(data[place]) << 8 | int(data[place + 1])

    kind, at = found
    size = word(at + 2) if kind == IPV4 else 40 + word(at + 4)
    return at - payload + size <= word(payload - 4) - 8


def _l2tp(data: U8, at: int, end: int) -> _Found:
    flags = int(data[at]) << 8 | int(data[at + 1])
    if flags & 0x8000 or flags & 15 != 2:
        return _NONE
    at += 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        at += 2 + (int(data[at]) << 8 | int(data[at + 1]))
    return _ppp(data, at, end) if at + 4 < end else _NONE


def _sflow(data: U8, at: int, end: int) -> _Found:
    """The last sampled packet header of a datagram."""

    def word(place: int) -> int:
        return int.from_bytes(bytes(data[place : place + 4]), "big") if place + 4 <= end else 0

    if word(at) != 5:
        return _NONE
    at += 20 + {1: 4, 2: 16}.get(word(at + 4), 0)
    found = _NONE
    for _ in range(min(word(at), _MAX_SAMPLES)):
        kind, size = word(at + 4), word(at + 8)
        record = at + 12 + {1: 32, 3: 44}.get(kind, size)
        at += 8 + size
        if at + 4 > end:
            break
        while record + 24 <= at + 4:
            if word(record) == 1:
                protocol, header = word(record + 8), record + 24
                follows = {1: _ETHERNET, 11: IPV4, 12: IPV6}.get(protocol, 0)
                inner = _of_type(data, follows, header, min(header + word(record + 20), end))
                found = inner if inner[0] else found
            record += 8 + word(record + 4)
    return found


def _pim(data: U8, at: int, end: int) -> _Found:
    return _by_nibble(data, at + 8, end) if int(data[at]) == 0x21 else _NONE


_BY_PROTOCOL: dict[int, Callable[[U8, int, int], _Found]] = {
    4: _by_nibble,
    41: _by_nibble,
    47: _gre,
    97: lambda data, at, end: _of_type(data, _ETHERNET, at + 2, end),
    103: _pim,
    137: mpls,
    143: lambda data, at, end: _of_type(data, _ETHERNET, at, end),
}
_BY_PORT: dict[int, Callable[[U8, int, int], _Found]] = {
    1701: _l2tp,
    2152: _gtp,
    3544: _teredo,
    4341: _lisp,
    4342: lambda data, at, end: _by_nibble(data, at + 4, end) if int(data[at]) >> 4 == 8 else _NONE,
    4789: _vxlan,
    4790: _vxlan_gpe,
    6081: _geneve,
    6343: _sflow,
    6635: mpls,
    8472: _vxlan,
}
