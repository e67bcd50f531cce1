"""Fuzz targets of packet captures: files, packets of every link type, one direction of TCP, the live glimpse."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from audit.recording import glimpse
from audit.sources import BadCapture
from audit.sources.pcap import rare
from audit.sources.pcap.link import LINKS
from audit.sources.pcap.streams import MAX_HELD, Half, Piece
from tests.fuzz.reading import capture
from tests.fuzz.targets import Target
from tests.protocols.test_hostile import SEEDS
from tests.sources.pcap import craft

logging.getLogger("scapy").setLevel(logging.ERROR)  # it misses addresses that no test needs
LINK_TYPES = sorted(LINKS)
RARE_TYPES = sorted(rare.READERS)


def packets(data: bytes) -> None:
    """A sound file of packets of any link type: the first byte says which, the rest is cut by lengths."""
    if data:
        link = LINK_TYPES[data[0] % len(LINK_TYPES)]
        capture(craft.pcap(_cut(data[1:]), link=link))


def _cut(data: bytes) -> Iterable[bytes]:
    while len(data) > 2:
        size = int.from_bytes(data[:2], "big") % 2048
        yield data[2 : 2 + size]
        data = data[2 + size :]


def _joined(link: int, parts: Iterable[bytes]) -> bytes:
    """What `packets` cuts into these packets."""
    framed = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return bytes((LINK_TYPES.index(link),)) + framed


def rare_packets(data: bytes) -> None:
    """The same for the link types that scapy reads."""
    if data:
        link = RARE_TYPES[data[0] % len(RARE_TYPES)]
        capture(craft.pcap(_cut(data[1:]), link=link))


_SEGMENT = struct.Struct(">BIBB")


def segments(data: bytes) -> None:
    """One direction of TCP: the bytes are segments, acknowledgements and ends of the stream."""
    half = Half()
    content = bytes(range(256)) * 8
    for at in range(0, len(data) - _SEGMENT.size + 1, _SEGMENT.size):
        kind, number, size, cut = _SEGMENT.unpack_from(data, at)
        if kind & 4:  # near what came before
            number = half.expected + (number % 4096) - 1024 & 0xFFFFFFFF
        if kind & 3 == 0:
            pieces = list(half.acknowledged(number))
        elif kind & 3 == 1 and kind & 8:
            pieces = list(half.flush())
        else:
            pieces = list(half.segment(number, content[: size * (1 + (kind >> 5))], cut if kind & 16 else 0))
        _sound(pieces)
        assert sum(len(part) for part, _ in half.waiting.values()) <= MAX_HELD
    _sound(list(half.flush()))
    assert not half.waiting


def _sound(pieces: list[Piece]) -> None:
    for piece in pieces:
        assert piece if isinstance(piece, bytes) else 0 < piece < 1 << 32


def _pcap_seeds() -> tuple[bytes, ...]:
    some = [craft.tcp(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 1), craft.udp(b"x" * 40, 5, 53)]
    return (craft.pcap(some), craft.pcap(some, ">", 0xA1B23C4D), craft.pcap(some, "<", 0xA1B2CD34, 101))


def _pcapng_seeds() -> tuple[bytes, ...]:
    some = craft.tcp(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 1)
    seeds = []
    for order in "<>":
        options = struct.pack(order + "HHBxxxHHqHH", 9, 1, 9, 14, 8, 5, 0, 0)
        names = b"\1\0\x0e\0" if order == "<" else b"\0\1\0\x0e"
        seeds.append(
            craft.section(order)
            + craft.interface(1, options, order)
            + craft.enhanced(some, 10**15, 0, order)
            + craft.block(3, struct.pack(order + "I", len(some)) + some, order)
            + craft.block(2, struct.pack(order + "HHIIII", 0, 0, 1, 2, len(some), len(some)) + some, order)
            + craft.block(4, names + b"\x08\x08\x08\x08a.example\0\0\0" + bytes(4), order)
            + craft.block(10, struct.pack(order + "II", 0x544C534B, 4) + b"CLIE", order)
        )
    return tuple(seeds)


def _packet_seeds() -> tuple[bytes, ...]:
    hello = bytes.fromhex("160301007b010000770303") + bytes(32) + b"\0\0\2\x13\1\1\0\0\x4c" + bytes(76)
    query = bytes.fromhex(SEEDS["dns"][0])
    six = bytes(Ether() / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5353, dport=5353) / query)
    inner = bytes(IP(src=craft.PHONE, dst=craft.SERVER) / TCP(sport=40_000, dport=443, flags="PA") / hello)
    return (
        _joined(1, [craft.udp(query, 5353, 53), craft.udp(query, 53, 5353), six]),
        _joined(1, [craft.tcp(hello, 1, dport=443), craft.tcp(b"HTTP/1.1 200 OK\r\n\r\n", 1, up=False)]),
        _joined(1, [craft.udp(bytes.fromhex(seed), 40_000, 443) for seed in SEEDS["quic"]]),
        _joined(1, [craft.tcp(bytes.fromhex(seed), 1, dport=1883) for seed in SEEDS["mqtt"]]),
        _joined(101, [inner, bytes(IP(flags="MF", proto=17) / inner), bytes(IP(frag=3, proto=17) / inner)]),
        _joined(1, [bytes(Ether() / IP(proto=47) / (b"\0\0\x08\0" + inner))]),
        _joined(1, [craft.udp(b"\x08\0\0\0\0\0\1\0" + bytes(Ether() / inner), 40_000, 4789)]),
    )


_FILES = (BadCapture,)
_SNOOP = b"snoop\0\0\0" + struct.pack(">8I", 2, 4, 44, 44, 68, 0, 1, 1) + craft.udp(b"xy", 1, 53)

TARGETS = {
    "pcap": Target(capture, _pcap_seeds(), _FILES),
    "pcapng": Target(capture, _pcapng_seeds(), _FILES),
    "snoop": Target(capture, (_SNOOP,), _FILES),
    "packets": Target(packets, _packet_seeds(), ()),
    "rare-packets": Target(
        rare_packets, (bytes((RARE_TYPES.index(230), 0, len(craft.MESH))) + craft.MESH,), ()
    ),
    "segments": Target(segments, (bytes(range(70)), b"\x06\0\0\0\x20\x09\0" * 12), ()),
    "glimpse": Target(
        lambda data: glimpse.name_in(data, glimpse.ETHERNET),
        (craft.udp(bytes.fromhex(SEEDS["dns"][0]), 5353, 53),),
        (),
    ),
}
