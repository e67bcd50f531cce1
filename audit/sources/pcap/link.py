"""Link layers: from a packet to the network protocol it carries and where that begins.

Vectorised: all functions take positions of many packets and give an EtherType (0: none known here) and the
position of the network header for each. Nothing beyond the captured bytes is believed. Link types of
which nothing is known are told to the caller, who states them.
Specifications: IEEE 802.3, 802.1Q, 802.11, RFC 1661/1662 (PPP), 2427 (frame relay), the link-layer header
types of libpcap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audit.sources.pcap.batch import I64, U8, U16

IPV4, IPV6 = 0x0800, 0x86DD
SEALED, SEVERAL = 0xFFFF, 0xFFFE
"""In the place of an EtherType, none of which these are: frames that are encrypted, and frames of 802.11 that hold
several packets."""
_VLAN = (0x8100, 0x88A8, 0x9100, 0x9200)
_PPPOE, _MPLS, _MPLS_MULTICAST = 0x8864, 0x8847, 0x8848
_TRILL_CMD = 0x8909  # Cisco metadata: a header of 8 bytes with the EtherType at its end
_NSH = 0x894F
_MACSEC, _ARISTA = 0x88E5, 0xD28B
_ICV = 16  # bytes that guard a MACsec frame
_MAX_TAGS = 8
_TAGGED = np.dtype(
    [("kind", ">u2"), ("tag", ">u2"), ("inner", ">u2")]
)  # an EtherType, and another behind a tag

Network = tuple[U16, I64]


def u8(data: U8, at: I64) -> I64:
    """Bytes at these positions."""
    return data[at].astype(np.int64)


def u16(data: U8, at: I64) -> I64:
    """Big-endian 16-bit words at these positions."""
    return data[at].astype(np.int64) << 8 | data[at + 1]


def ethernet(data: U8, at: I64, end: I64) -> Network:
    """IEEE 802.3 with its tags; LLC/SNAP where there is a length instead of a type."""
    shape = (len(data) - _TAGGED.itemsize + 1,)
    header = np.ndarray(shape, dtype=f"V{_TAGGED.itemsize}", buffer=data, strides=(1,))[at + 12].view(_TAGGED)
    kind, at = header["kind"].astype(np.int64), at + 14
    tagged = (kind == _VLAN[0]) & (at + 4 <= end)
    if tagged.any():
        kind = np.where(tagged, header["inner"], kind)
        at += tagged * np.int64(4)
    return ethertype(data, kind, at, end)


def ethertype(data: U8, kind: I64, at: I64, end: I64) -> Network:
    """Walk from an EtherType over VLAN tags, PPPoE, MPLS and LLC to a network protocol."""
    plain = (kind == IPV4) | (kind == IPV6)
    if not plain.all():
        kind, at = kind.copy(), at.copy()
        rest = np.flatnonzero(~plain)
        for _ in range(_MAX_TAGS):
            rest = rest[at[rest] + 4 <= end[rest]]
            if not len(rest):
                break
            before = kind[rest]
            kind[rest], at[rest] = _step(data, before, at[rest], end[rest])
            rest = rest[(kind[rest] != before) | np.isin(before, _VLAN)]
            rest = rest[(kind[rest] != IPV4) & (kind[rest] != IPV6)]
    known = ((kind == IPV4) | (kind == IPV6)) & (at < end) | (kind >= SEVERAL)
    return np.where(known, kind, 0).astype(np.uint16), at


def _step(data: U8, kind: I64, at: I64, end: I64) -> tuple[I64, I64]:
    tagged = np.isin(kind, _VLAN)
    kind, at = np.where(tagged, u16(data, at + 2), kind), np.where(tagged, at + 4, at)
    for index in np.flatnonzero(~tagged).tolist():
        kind[index], at[index] = _unwrap(data, int(kind[index]), int(at[index]), int(end[index]))
    return kind, at


def _unwrap(data: U8, kind: int, at: int, end: int) -> tuple[int, int]:
    """One header between the link and the network layer."""

    def word(place: int) -> int:
        return int(data[place]) << 8 | int(data[place + 1])

    if kind == _TRILL_CMD and at + 8 <= end:
        return word(at + 6), at + 8
    if kind == _NSH and at + 12 <= end:  # RFC 8300
        size, following = (int(data[at + 1]) & 0x3F) * 4, int(data[at + 3])
        if following == 3 and at + size + 14 <= end:
            return word(at + size + 12), at + size + 14
        return {1: IPV4, 2: IPV6}.get(following, 0), at + size
    if kind == _PPPOE and at + 8 <= end:
        return _PPP_KINDS.get(word(at + 6), 0), at + 8
    if kind in (_MPLS, _MPLS_MULTICAST):
        return mpls(data, at, end)
    if kind == _MACSEC and at + 8 <= end:  # IEEE 802.1AE: readable where it only protects integrity
        flags = int(data[at])
        place, short = at + (14 if flags & 0x20 else 6), int(data[at + 1]) & 0x3F
        whole = place + max(short, 2) + (_ICV if short else 0) <= end
        return (SEALED, at) if flags & 0x0C else (word(place), place + 2) if whole else (0, at)
    if kind == _ARISTA and at + 12 <= end and word(at) == 1:  # a time stamp of 64 or of 48 bits
        place = at + {0x10: 12, 0x20: 10}.get(word(at + 2) & 0xFF, end)
        return (word(place), place + 2) if place + 2 <= end else (0, at)
    if kind <= 1500 and at + 8 <= end and bytes(data[at : at + 3]) == b"\xaa\xaa\x03":
        return word(at + 6), at + 8
    if kind <= 1500 and bytes(data[at : at + 3]) == b"\x06\x06\x03":
        return IPV4, at + 3
    return kind, at


def mpls(data: U8, at: int, end: int) -> tuple[int, int]:
    """Behind the label stack: what the first nibble says; 0 is the control word of a pseudowire (RFC 4448)."""
    for _ in range(_MAX_TAGS * 2):
        if at + 5 > end:
            return 0, at
        bottom = int(data[at + 2]) & 1
        at += 4
        if bottom and int(data[at]) >> 4 == 0 and at + 18 <= end:
            kind = int(data[at + 16]) << 8 | int(data[at + 17])
            return (kind, at + 18) if kind in (IPV4, IPV6, *_VLAN) else (0, at)
        if bottom:
            return {4: IPV4, 6: IPV6}.get(int(data[at]) >> 4, 0), at
    return 0, at


_PPP_KINDS = {0x0021: IPV4, 0x0057: IPV6, 0x0281: _MPLS, 0x0283: _MPLS_MULTICAST}


def raw_ip(data: U8, at: I64, end: I64) -> Network:
    """No link header: the version nibble tells."""
    version = u8(data, at) >> 4
    kind = np.where(version == 4, IPV4, np.where(version == 6, IPV6, 0))
    return np.where(at < end, kind, 0).astype(np.uint16), at


def _fixed(kind: int) -> Callable[[U8, I64, I64], Network]:
    def network(data: U8, at: I64, end: I64) -> Network:  # noqa: ARG001 - the shape all of them have
        return np.full(len(at), kind, dtype=np.uint16), at

    return network


def _typed(header: int, field: int) -> Callable[[U8, I64, I64], Network]:
    """A header of fixed size that has an EtherType in it."""

    def network(data: U8, at: I64, end: I64) -> Network:
        kind, place = ethertype(data, u16(data, at + field), at + header, end)
        return np.where(at + header <= end, kind, 0).astype(np.uint16), place

    return network


_FAMILIES_6 = (10, 23, 24, 28, 30)  # AF_INET6 of Linux, the BSDs and macOS


def null(data: U8, at: I64, end: I64) -> Network:
    """BSD loopback: an address family in the byte order of whoever recorded it."""
    low, high = u8(data, at), u8(data, at + 3)
    family = np.where((low == 0) & (u8(data, at + 1) == 0), high, low)
    kind = np.where(family == 2, IPV4, np.where(np.isin(family, _FAMILIES_6), IPV6, 0))
    typed = u16(data, at + 2)  # some write an EtherType there
    kind = np.where((kind == 0) & ((typed == IPV4) | (typed == IPV6)), typed, kind)
    return np.where(at + 4 < end, kind, 0).astype(np.uint16), at + 4


def _each(one: Callable[[bytes], tuple[int, int]], head: int) -> Callable[[U8, I64, I64], Network]:
    """A vectorised face for a link layer told packet by packet from its first bytes."""

    def network(data: U8, at: I64, end: I64) -> Network:
        kind = np.zeros(len(at), dtype=np.int64)
        place = at.copy()
        for index, (first, last) in enumerate(zip(at.tolist(), end.tolist(), strict=True)):
            try:
                kind[index], offset = one(data[first : min(first + head, last)].tobytes())
            except IndexError:
                continue
            place[index] = first + offset
        return ethertype(data, kind, place, end)

    return network


def _word(packet: bytes, at: int) -> int:
    return packet[at] << 8 | packet[at + 1]


def _ppp(packet: bytes) -> tuple[int, int]:
    at = 2 if packet[:2] == b"\xff\x03" else 0
    if packet[at] & 1:  # a compressed protocol field
        return _PPP_KINDS.get(packet[at], 0), at + 1
    return _PPP_KINDS.get(_word(packet, at), 0), at + 2


def _ppp_direction(packet: bytes) -> tuple[int, int]:
    kind, at = _ppp(packet[1:])
    return kind, at + 1


def _hdlc(packet: bytes) -> tuple[int, int]:
    """PPP in HDLC framing, or Cisco's HDLC with an EtherType."""
    if packet[0] in (0x0F, 0x8F):
        return _word(packet, 2), 4
    return _ppp(packet)


def _frame_relay(packet: bytes) -> tuple[int, int]:
    at = 0
    while not packet[at] & 1:
        at += 1
        if at > 3:
            return 0, 0
    at += 1
    if packet[at] != 3:
        return _word(packet, at), at + 2  # Cisco's encapsulation
    at += 1
    if packet[at] == 0:
        at += 1
    if packet[at] == 0x80:
        return (_word(packet, at + 4), at + 6) if packet[at + 1 : at + 4] == b"\0\0\0" else (0, at)
    return {0xCC: IPV4, 0x8E: IPV6}.get(packet[at], 0), at + 1


def _wifi(packet: bytes) -> tuple[int, int]:
    """An IEEE 802.11 data frame in clear, up to its LLC/SNAP header."""
    control, flags = packet[0], packet[1]
    if control & 0x0C != 0x08 or control & 0x40:
        return 0, 0  # no data
    if flags & 0x40:
        return SEALED, 0
    at = 24 + (6 if flags & 3 == 3 else 0)
    if control & 0x80:
        if packet[at] & 0x80:
            return SEVERAL, 0
        at += 2 + (4 if flags & 0x80 else 0)
    return (_word(packet, at + 6), at + 8) if packet[at : at + 3] == b"\xaa\xaa\x03" else (0, at)


def _radiotap(packet: bytes) -> tuple[int, int]:
    size = packet[2] | packet[3] << 8
    padded = _radiotap_padding(packet)
    kind, at = _wifi(packet[size:])
    if not kind and padded:
        frame = packet[size:]
        header = 24 + (2 if frame[0] & 0x80 else 0)
        start = header + -header % 4
        if frame[start : start + 3] == b"\xaa\xaa\x03":
            return _word(frame, start + 6), size + start + 8
    return kind, size + at


def _radiotap_padding(packet: bytes) -> bool:
    """Whether the flags field says that the 802.11 header is padded to four bytes."""
    present = int.from_bytes(packet[4:8], "little")
    at, words = 8, present
    while words >> 31:
        words = int.from_bytes(packet[at : at + 4], "little")
        at += 4
        if at > 64:
            return False
    if present & 1:
        at += -at % 8 + 8
    return bool(present & 2) and bool(packet[at] & 0x20)


def _prism(packet: bytes) -> tuple[int, int]:
    size = int.from_bytes(packet[4:8], "big" if packet[0] == 0 else "little")
    kind, at = _wifi(packet[size:])
    return kind, size + at


def _nflog(packet: bytes) -> tuple[int, int]:
    """Type-length-value items; the packet is in item 9, its family in the header."""
    family, at = packet[0], 4
    while at + 4 <= len(packet):
        size = packet[at] | packet[at + 1] << 8
        if (packet[at + 2] | packet[at + 3] << 8) & 0x7FFF == 9:
            return {2: IPV4, 10: IPV6}.get(family, 0), at + 4
        at += max(size + -size % 4, 4)
    return 0, at


def _ppi(packet: bytes) -> tuple[int, int]:
    size = packet[2] | packet[3] << 8
    inner = int.from_bytes(packet[4:8], "little")
    if inner == 105:
        kind, at = _wifi(packet[size:])
    elif inner == 1:
        kind, at = _word(packet, size + 12), 14
    else:
        return 0, size
    return kind, size + at


def _llc(packet: bytes) -> tuple[int, int]:
    """RFC 1483 over ATM, and other links that begin with LLC."""
    if packet[:3] == b"\xaa\xaa\x03":
        return _word(packet, 6), 8
    return 0, 0


def _skip(header: int, one: Callable[[bytes], tuple[int, int]]) -> Callable[[bytes], tuple[int, int]]:
    def network(packet: bytes) -> tuple[int, int]:
        kind, at = one(packet[header:])
        return kind, header + at

    return network


def _arcnet(packet: bytes) -> tuple[int, int]:
    """ARCNET as Linux hands it over (RFC 1051, RFC 1201)."""
    kind = packet[4]
    if kind == 240:
        return IPV4, 5
    return (IPV4, 8) if kind == 212 and packet[5] != 0xFF else (0, 0)


def _pktap(packet: bytes) -> tuple[int, int]:
    """Apple's packet tap: a header that names the link type of what follows."""
    size = int.from_bytes(packet[:4], "little")
    inner = int.from_bytes(packet[8:12], "little")
    if inner == 1:
        return _word(packet, size + 12), size + 14
    if inner in (12, 14, 101):
        return {4: IPV4, 6: IPV6}.get(packet[size] >> 4, 0), size
    return 0, size


def _juniper_ethernet(packet: bytes) -> tuple[int, int]:
    """Juniper's header with its extensions, then an Ethernet frame."""
    if packet[:3] != b"MGC":
        return 0, 0
    at = 4 + (2 + _word(packet, 4) if packet[3] & 0x80 else 0)
    return (0, at) if packet[3] & 2 else (_word(packet, at + 12), at + 14)


def _ipnet(packet: bytes) -> tuple[int, int]:
    return {2: IPV4, 26: IPV6}.get(packet[1], 0), 24


_HEAD = 512
LINKS: dict[int, Callable[[U8, I64, I64], Network]] = {
    0: null,
    1: ethernet,
    9: _each(_ppp, 8),
    12: raw_ip,
    14: raw_ip,
    50: _each(_hdlc, 8),
    51: _each(_skip(6, _ppp), 16),
    100: _each(_llc, 16),
    101: raw_ip,
    104: _each(_hdlc, 16),
    105: _each(_wifi, 64),
    106: _each(_llc, 16),
    107: _each(_frame_relay, 16),
    108: null,
    109: _each(_skip(12, lambda packet: ({4: IPV4, 6: IPV6}.get(packet[0] >> 4, 0), 0)), 16),
    113: _typed(16, 14),
    119: _each(_prism, _HEAD),
    127: _each(_radiotap, _HEAD),
    129: _each(_arcnet, 16),
    149: _each(_pktap, _HEAD),
    166: _each(_ppp, 8),
    178: _each(_juniper_ethernet, _HEAD),
    192: _each(_ppi, _HEAD),
    204: _each(_ppp_direction, 8),
    226: _each(_ipnet, 32),
    228: _fixed(IPV4),
    229: _fixed(IPV6),
    239: _each(_nflog, _HEAD),
    242: _typed(44, 40),
    258: _each(_pktap, _HEAD),
    276: _typed(20, 0),
}


def network_of(link: int, data: U8, at: I64, end: I64) -> Network | None:
    """EtherType and position of the network header of packets of this link type; None: unknown type."""
    one = LINKS.get(link)
    return None if one is None else one(data, at, end)
