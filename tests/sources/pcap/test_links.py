"""Link layers and tunnels that are rare: what is in them is found, and what contradicts itself is not believed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from audit.records import AnyRecord, Flow, Gap, Http, Message
from audit.sources.pcap import rare

from . import craft

REQUEST = b"GET /seen HTTP/1.1\r\nHost: inside.example\r\n\r\n"
INNER = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=40_000, dport=80, flags="PA", seq=1) / REQUEST)
FRAME = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"))[:12]


def paths(records: list[AnyRecord]) -> list[str]:
    return [record.path for record in records if isinstance(record, Http)]


def flows(records: list[AnyRecord]) -> list[Flow]:
    return [record for record in records if isinstance(record, Flow)]


def udp(payload: bytes, dport: int, sport: int = 40_000) -> bytes:
    return craft.udp(payload, sport, dport)


def checked(frame: bytes) -> bytes:
    """An IEEE 802.15.4 frame with its checksum behind it."""
    value = 0
    for byte in frame:
        for bit in range(8):
            mixed = (value ^ byte >> bit) & 1
            value = value >> 1 ^ (0x8408 if mixed else 0)
    return frame + value.to_bytes(2, "little")


@pytest.mark.parametrize(("link", "frame"), [(230, craft.MESH), (195, checked(craft.MESH))])
def test_scapy_reads_a_mesh_network(tmp_path: Path, link: int, frame: bytes) -> None:
    found = craft.read(tmp_path, craft.pcap([frame], link=link))
    (flow,) = flows(found)
    assert (flow.sport, flow.dport, flow.payload_up) == (5683, 5684, 19)
    assert [record.data for record in found if isinstance(record, Message)] == [b"hello from the mesh"]


def test_a_frame_with_a_wrong_checksum_is_not_believed(tmp_path: Path) -> None:
    found = craft.read(tmp_path, craft.pcap([craft.MESH + b"\0\0"], link=195))
    assert not flows(found)
    assert [(gap.reason, gap.detail) for gap in found if isinstance(gap, Gap)] == [
        ("unsupported", "1 packets of link type 195")
    ]


def test_rare_and_common_link_types_in_one_file(tmp_path: Path) -> None:
    data = craft.section() + craft.interface(230) + craft.interface(101)
    data += craft.enhanced(craft.MESH, 1, 0) + craft.enhanced(INNER, 2, 1) + craft.enhanced(craft.MESH, 3, 0)
    found = craft.read(tmp_path, data)
    assert paths(found) == ["/seen"]
    assert [(flow.dport, flow.packets_up) for flow in flows(found)] == [(5684, 2), (80, 1)]
    assert craft.read(tmp_path, data, chunk=256) == found


def test_common_link_types_never_wait_for_scapy() -> None:
    assert not set(rare.READERS) & {1, 101, 113, 276, 127, 105}


MACSEC = struct.pack(">H", 0x88E5)


@pytest.mark.parametrize(
    ("name", "packet", "read"),
    [
        ("integrity only", FRAME + MACSEC + b"\0\0\0\0\0\1\x08\0" + INNER + bytes(16), True),
        ("with an SCI", FRAME + MACSEC + b"\x20\0\0\0\0\1" + bytes(8) + b"\x08\0" + INNER + bytes(16), True),
        ("encrypted", FRAME + MACSEC + b"\x0c\0\0\0\0\1\x08\0" + INNER + bytes(16), False),
        ("shorter than it says", FRAME + MACSEC + b"\0\x2f\0\0\0\1\x08\0" + INNER[:40], False),
        ("pseudowire", FRAME + b"\x88\x47\0\1\1\xff\0\0\0\0" + FRAME + b"\x08\0" + INNER, True),
        ("LISP control", udp(b"\x80\0\0\0" + INNER, 4342), True),
        ("VXLAN with the generic protocol extension", udp(b"\x08\0\0\1\0\0\1\0" + INNER, 4790), True),
        ("its answer", udp(b"\x08\0\0\1\0\0\1\0" + INNER, 40_000, 4790), True),
        ("Geneve's answer", udp(b"\0\0\x65\x58\0\0\1\0" + FRAME + b"\x08\0" + INNER, 40_000, 6081), True),
        ("LISP map request", udp(b"\x10\0\0\0" + INNER, 4342), False),
        ("Cisco metadata in GRE", bytes(Ether() / IP(src="1.1.1.1", dst="2.2.2.2", proto=47) / Raw(
            b"\x20\0\x89\x09\0\0\0\1\x08\0\1\1\0\1\0\0" + INNER)), True),
        ("IPv6 where IPv4 is announced", FRAME + b"\x08\0" + struct.pack(
            ">IHBB", 6 << 28, len(INNER) - 20, 6, 64) + bytes(32) + INNER[20:], True),
        ("a header longer than its packet", FRAME + b"\x08\0" + b"\x4f" + INNER[1:40], False),
        ("a length below that of the header", FRAME + b"\x08\0" + INNER[:2] + b"\0\x0a" + INNER[4:], False),
        ("no length, for the card will cut it", FRAME + b"\x08\0" + INNER[:2] + b"\0\0" + INNER[4:], True),
    ],
)  # fmt: skip
def test_what_is_inside(tmp_path: Path, name: str, packet: bytes, *, read: bool) -> None:
    assert paths(craft.read(tmp_path, craft.pcap([packet]))) == (["/seen"] if read else []), name


def sample(frame: bytes) -> bytes:
    """An sFlow sample of an Ethernet frame."""
    record = struct.pack(">IIIIII", 1, 16 + len(frame), 1, len(frame), 0, len(frame)) + frame
    return struct.pack(">II", 1, 32 + len(record)) + struct.pack(">8I", 1, 1, 1, 1, 0, 1, 2, 1) + record


def test_packets_sampled_by_a_switch(tmp_path: Path) -> None:
    frame = FRAME + b"\x08\0" + INNER
    frame += bytes(-len(frame) % 4)
    datagram = struct.pack(">7I", 5, 1, 0x0A000001, 0, 1, 1, 2) + sample(frame[:60]) + sample(frame)
    (flow,) = flows(craft.read(tmp_path, craft.pcap([udp(datagram, 6343)])))
    assert (flow.dst, flow.dport, flow.packets_up) == ("10.0.0.2", 80, 1)


def test_a_source_route_ends_at_its_last_address(tmp_path: Path) -> None:
    option = b"\x83\x07\x04\x08\x08\x04\x04\0"
    packet = IP(src=craft.PHONE, dst="10.0.0.138", options=[Raw(option)]) / UDP(sport=1, dport=9) / b"x"
    (flow,) = flows(craft.read(tmp_path, craft.pcap([bytes(Ether() / packet)])))
    assert flow.dst == "8.8.4.4"


def test_a_datagram_without_a_length_tells_nothing(tmp_path: Path) -> None:
    packet = bytearray(udp(b"GET me if you can, all in clear", 9_999))
    packet[14 + 24 : 14 + 26] = b"\0\0"
    found = craft.read(tmp_path, craft.pcap([bytes(packet)]))
    assert not [record for record in found if isinstance(record, Message)]
    assert flows(found)[0].payload_up == 0


@pytest.mark.parametrize(("minor", "swapped"), [(2, True), (3, False), (3, True), (4, False)])
def test_the_two_lengths_of_old_files(tmp_path: Path, minor: int, *, swapped: bool) -> None:
    packet = FRAME + b"\x08\0" + INNER
    lengths = (len(packet) + 9, len(packet)) if swapped else (len(packet), len(packet) + 9)
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, minor, 0, 0, 65_535, 1)
    record = struct.pack("<IIII", 1_000_000_000, 0, *lengths) + packet
    found = craft.read(tmp_path, head + record + record)
    assert [(flow.dst, flow.packets_up) for flow in flows(found)] == [("10.0.0.2", 2)]


RADIOTAP = b"\0\0\x08\0\0\0\0\0"
ADDRESSES = bytes(2) + bytes(range(18)) + bytes(2)


@pytest.mark.parametrize(
    ("link", "packet", "why"),
    [
        (105, b"\x08\x41" + ADDRESSES + bytes(40), "1 packets are encrypted on the link (802.11, MACsec)"),
        (127, RADIOTAP + b"\x88\x42" + ADDRESSES + bytes(40), "1 packets are encrypted on the link (802.11, MACsec)"),
        (1, FRAME + MACSEC + b"\x0c\0\0\0\0\1\x08\0" + INNER, "1 packets are encrypted on the link (802.11, MACsec)"),
        (105, b"\x88\x02" + ADDRESSES + b"\x80\0" + bytes(40), "1 packets stand with others in one frame of 802.11"),
        (105, b"\x48\x01" + ADDRESSES, "1 packets carry no IP (ARP, link control) or a damaged header of it"),
        (105, b"\x80\0" + ADDRESSES + bytes(9), "1 packets carry no IP (ARP, link control) or a damaged header of it"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(tmp_path: Path, link: int, packet: bytes, why: str) -> None:
    found = craft.read(tmp_path, craft.pcap([packet], link=link))
    assert [(gap.reason, gap.detail) for gap in found if isinstance(gap, Gap)] == [("unsupported", why)]
