"""Requests that are cut, damaged or carried by a rare transport: nothing that was said is passed over."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from audit.records import AnyRecord, Http, Message

from . import craft

HEAD = b"GET /a?q=what+was+sought HTTP/1.1\r\nHost: shop.example\r\nCookie: id=12"


def requests(records: list[AnyRecord]) -> list[tuple[str, str, str]]:
    return [(r.method, r.authority, r.path) for r in records if isinstance(r, Http)]


def messages(records: list[AnyRecord]) -> list[bytes]:
    return [r.data for r in records if isinstance(r, Message)]


def cut(packet: bytes, size: int) -> bytes:
    """A pcap of one packet of which only `size` bytes were recorded."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, size, 1)
    return head + struct.pack("<IIII", 1_700_000_000, 0, size, len(packet)) + packet[:size]


@pytest.mark.parametrize("kept", [54 + 70, 54 + 60, 54 + len(HEAD)])
def test_a_head_cut_by_the_recording_is_told(tmp_path: Path, kept: int) -> None:
    found = craft.read(tmp_path, cut(craft.tcp(HEAD + b"34\r\n\r\n", 1), kept))
    assert requests(found) == [("GET", "shop.example", "/a?q=what+was+sought")]


def test_an_address_cut_by_the_recording_is_searched(tmp_path: Path) -> None:
    found = craft.read(tmp_path, cut(craft.tcp(HEAD, 1), 54 + 20))
    assert messages(found) == [HEAD[:20]]


def test_a_head_before_a_lost_segment_is_told_and_reading_goes_on(tmp_path: Path) -> None:
    later = b"GET /next HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    packets = [
        craft.tcp(HEAD, 1),
        craft.tcp(later, 1 + len(HEAD) + 500),
        *(craft.tcp(b"", 1, up=False, ack=1 + len(HEAD) + 500 + len(later), flags="A") for _ in range(60)),
    ]
    found = craft.read(tmp_path, craft.pcap(packets))
    assert [path for _, _, path in requests(found)] == ["/a?q=what+was+sought", "/next"]


def test_a_target_with_spaces_ends_at_the_first_and_the_line_is_kept(tmp_path: Path) -> None:
    line = b"GET /find my secret HTTP/1.1"
    found = craft.read(tmp_path, craft.pcap([craft.tcp(line + b"\r\nHost: a.example\r\n\r\n", 1)]))
    assert requests(found) == [("GET", "a.example", "/find")]
    assert messages(found) == [line]


@pytest.mark.parametrize(
    ("sent", "port", "asked", "said"),
    [
        (b"GET /old\r\n", 80, [("GET", "", "/old")], []),
        (b"GET /old\r\nHost: a.example\r\n\r\n", 80, [("GET", "a.example", "/old")], []),
        (b"GET /old\nthis is no header\n", 8000, [], [b"GET /old\nthis is no header\n"]),
        (b"PUT  HT\x80\x81\n\n", 80, [("PUT", "", "")], []),
        (b"POST abcd12345\n", 80, [], [b"POST abcd12345\n"]),
    ],
)
def test_requests_without_a_version(
    tmp_path: Path, sent: bytes, port: int, asked: list[tuple[str, str, str]], said: list[bytes]
) -> None:
    found = craft.read(tmp_path, craft.pcap([craft.tcp(sent, 1, dport=port)]))
    assert requests(found) == asked
    assert messages(found) == said


def test_what_is_no_request_on_port_80_stands_as_a_body(tmp_path: Path) -> None:
    sent = b"PUT  HT\x80\x81\n and what follows"
    (request,) = (r for r in craft.read(tmp_path, craft.pcap([craft.tcp(sent, 1)])) if isinstance(r, Http))
    assert request.body == sent


def sctp(tsn: int, data: bytes, *, up: bool = True) -> bytes:
    """An SCTP packet with one DATA chunk."""
    ports = (40_000, 80) if up else (80, 40_000)
    addresses = (craft.PHONE, craft.SERVER) if up else (craft.SERVER, craft.PHONE)
    chunk = struct.pack(">BBHIHHI", 0, 3, 16 + len(data), tsn, 0, 0, 0) + data + bytes(-len(data) % 4)
    packet = struct.pack(">HHII", *ports, 1, 0) + chunk
    return bytes(Ether() / IP(src=addresses[0], dst=addresses[1], proto=132) / packet)


def test_http_over_sctp(tmp_path: Path) -> None:
    first, second = (b"GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % number for number in (1, 2))
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    packets = [sctp(1, first), sctp(1, first), sctp(9, answer, up=False), sctp(2, second)]
    found = craft.read(tmp_path, craft.pcap(packets))
    assert requests(found) == [("GET", "a.example", "/1"), ("GET", "a.example", "/2")]
    assert craft.read(tmp_path, craft.pcap(packets), chunk=256) == found


def test_socks_asked_from_the_side_that_was_called(tmp_path: Path) -> None:
    request = b"GET /inside HTTP/1.1\r\nHost: a.example\r\n\r\n"
    packets = [
        craft.tcp(b"NZ\x8d\x08\x87N", 1),
        craft.tcp(b"\5\1\0", 1, up=False),
        craft.tcp(b"\5\1\0\1\1\2\3\4\0\x50", 4, up=False),
        craft.tcp(b"\5\0", 7),
        craft.tcp(b"\5\0\0\1\1\2\3\4\0\x50", 9),
        craft.tcp(request, 14, up=False),
    ]
    found = craft.read(tmp_path, craft.pcap(packets))
    assert requests(found) == [("GET", "a.example", "/inside")]
