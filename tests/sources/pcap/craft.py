"""Small captures made by hand: packets with scapy, files byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from audit.records import AnyRecord
from audit.sources.opening import opened
from audit.sources.pcap import reading

PHONE, SERVER = "192.168.1.2", "93.184.216.34"
# a datagram from port 5683 to 5684 over 6LoWPAN in an IEEE 802.15.4 frame without its checksum
MESH = bytes.fromhex("41dc01cdab0800000000000002010000000000000a7e33f016331634abcd") + b"hello from the mesh"


def pcap(packets: Iterable[bytes], order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1) -> bytes:
    """A pcap with one packet a second."""
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, link)
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    for second, packet in enumerate(packets):
        data += (
            struct.pack(order + "IIII", 1_700_000_000 + second, 5, len(packet), len(packet)) + extra + packet
        )
    return data


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """A section header block."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, options: bytes = b"", order: str = "<") -> bytes:
    """An interface description block."""
    return block(1, struct.pack(order + "HHI", link, 0, 0) + options, order)


def enhanced(packet: bytes, stamp: int, which: int = 0, order: str = "<") -> bytes:
    """An enhanced packet block."""
    head = struct.pack(order + "IIIII", which, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), len(packet))
    return block(6, head + packet, order)


def tcp(
    payload: bytes,
    seq: int,
    *,
    up: bool = True,
    flags: str = "PA",
    ack: int = 0,
    sport: int = 40_000,
    dport: int = 80,
) -> bytes:
    """A TCP segment between the phone and the server."""
    src, dst = (PHONE, SERVER) if up else (SERVER, PHONE)
    ports = (sport, dport) if up else (dport, sport)
    return bytes(
        Ether()
        / IP(src=src, dst=dst)
        / TCP(sport=ports[0], dport=ports[1], seq=seq, ack=ack, flags=flags)
        / Raw(payload)
    )


def udp(payload: bytes | Packet, sport: int, dport: int, src: str = PHONE, dst: str = SERVER) -> bytes:
    """A UDP datagram."""
    inner = payload if isinstance(payload, Packet) else Raw(payload)
    return bytes(Ether() / IP(src=src, dst=dst) / UDP(sport=sport, dport=dport) / inner)


def read(folder: Path, data: bytes, **options: object) -> list[AnyRecord]:
    """The records of these bytes as a file."""
    path = folder / "made.pcap"
    path.write_bytes(data)
    with opened(path, "made") as source:
        return list(reading.read(path, source, "made", **options))  # type: ignore[arg-type]
