"""Damage costs only itself, and what could not be read is stated: files, fragments, requests, talks."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import pytest
import zstandard
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from audit.records import AnyRecord, Dns, Flow, Gap, Http, Message
from audit.sources import BadCapture
from audit.sources import read as read_any

from . import craft

QUERY = craft.udp(DNS(rd=1, qd=DNSQR(qname="a.example")), 50_000, 53)
STAMP = 1_700_000_000 * 10**6
SIZE = 16 + len(QUERY)
LONG = (70_000).to_bytes(4, "little")


def gaps(records: list[AnyRecord]) -> list[Gap]:
    return [r for r in records if isinstance(r, Gap)]


def lookups(records: list[AnyRecord]) -> int:
    return sum(isinstance(r, Dns) for r in records)


@pytest.mark.parametrize("chunk", [300, 1 << 20])
def test_a_length_beyond_the_end_of_the_file(tmp_path: Path, chunk: int) -> None:
    data = bytearray(craft.pcap([QUERY] * 12))
    at = 24 + 5 * SIZE
    data[at + 8 : at + 16] = LONG * 2
    found = craft.read(tmp_path, bytes(data), chunk=chunk)
    assert lookups(found) == 11
    (gap,) = gaps(found)
    assert (gap.reason, gap.offset, gap.bytes) == ("malformed", at, SIZE)


@pytest.mark.parametrize("chunk", [300, 1 << 20])
@pytest.mark.parametrize("kind", [6, 0xBAD])
def test_a_block_longer_than_the_file(tmp_path: Path, chunk: int, kind: int) -> None:
    block = craft.enhanced(QUERY, STAMP)
    bad = kind.to_bytes(4, "little") + LONG + block[8:]
    found = craft.read(
        tmp_path, craft.section() + craft.interface() + block * 5 + bad + block * 6, chunk=chunk
    )
    assert lookups(found) == 11
    (gap,) = gaps(found)
    assert (gap.reason, gap.bytes) == ("malformed", len(bad))


@pytest.mark.parametrize("chunk", [300, 1 << 20])
@pytest.mark.parametrize("size", [16, 33, 4_096])
def test_a_hole_of_zeros(tmp_path: Path, chunk: int, size: int) -> None:
    data = craft.pcap([QUERY] * 12)
    at = 24 + 5 * SIZE
    found = craft.read(tmp_path, data[:at] + bytes(size) + data[at:], chunk=chunk)
    assert lookups(found) == 12
    (gap,) = gaps(found)
    assert (gap.reason, gap.offset, gap.bytes) == ("malformed", at, size)


def test_packets_without_an_interface(tmp_path: Path) -> None:
    good, stray = craft.enhanced(QUERY, STAMP), craft.enhanced(QUERY, STAMP, 7)
    found = craft.read(tmp_path, craft.section() + craft.interface() + good + stray + good)
    assert lookups(found) == 2
    (gap,) = gaps(found)
    assert gap.bytes == len(stray)


def many() -> bytes:
    """A capture of some hundred kilobytes that is hard to compress."""
    chance = random.Random(4)
    return craft.pcap([QUERY, *(craft.udp(chance.randbytes(1_000), 7_000, 7_001) for _ in range(600)), QUERY])


@pytest.mark.parametrize("tail", [b"", b"not gzip any more"])
def test_a_damaged_gzip_gives_what_stands_before(tmp_path: Path, tail: bytes) -> None:
    packed = gzip.compress(many())
    path = tmp_path / "cut.pcap.gz"
    path.write_bytes(packed + tail if tail else packed[: len(packed) * 9 // 10])
    found = list(read_any(path, "c"))
    packets = sum(r.packets_up or 0 for r in found if isinstance(r, Flow))
    assert packets == 602 if tail else packets > 500
    assert any("compressed" in (gap.detail or "") for gap in gaps(found))


@pytest.mark.parametrize("frames", [1, 2])
def test_a_cut_zstd_is_stated(tmp_path: Path, frames: int) -> None:
    whole = craft.pcap([QUERY] * 24)
    half = 24 + 12 * SIZE
    parts = [whole[:half], whole[half:]] if frames == 2 else [whole]
    packed = [zstandard.ZstdCompressor().compress(part) for part in parts]
    path = tmp_path / "cut.pcap.zst"
    path.write_bytes(b"".join(packed))
    assert not gaps(list(read_any(path, "c")))
    path.write_bytes(b"".join(packed[:-1]) + packed[-1][:-7])
    if frames == 1:
        with pytest.raises(BadCapture):
            list(read_any(path, "c"))
        return
    found = list(read_any(path, "c"))
    assert lookups(found) == 12
    assert any("cut" in (gap.detail or "") for gap in gaps(found))


def test_fragments_that_stay_incomplete(tmp_path: Path) -> None:
    whole = IP(src=craft.PHONE, dst=craft.SERVER, id=7) / UDP(sport=7, dport=9) / Raw(b"t" * 900)
    parts = [bytes(Ether() / part) for part in fragment(whole, 400)]
    assert not gaps(craft.read(tmp_path, craft.pcap(parts)))
    (gap,) = gaps(craft.read(tmp_path, craft.pcap(parts[:-1])))
    assert gap.reason == "lost"


def test_a_tunnel_in_fragments(tmp_path: Path) -> None:
    get = b"GET /in HTTP/1.1\r\nHost: a.example\r\nX: " + b"y" * 900 + b"\r\n\r\n"
    inner = IP(src=craft.PHONE, dst=craft.SERVER) / TCP(sport=40_000, dport=80, seq=1, flags="PA") / Raw(get)
    whole = IP(src="10.0.0.1", dst="10.0.0.2", id=7) / GRE() / inner
    found = craft.read(tmp_path, craft.pcap([bytes(Ether() / part) for part in fragment(whole, 400)]))
    assert [r.path for r in found if isinstance(r, Http)] == ["/in"]
    (flow,) = [r for r in found if isinstance(r, Flow) and r.transport == "tcp"]
    assert (flow.packets_up, flow.payload_up) == (1, len(get))


def test_a_request_without_its_end(tmp_path: Path) -> None:
    head = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5000\r\n\r\n"
    found = craft.read(tmp_path, craft.pcap([craft.tcp(head + b"x" * 1_000, 1)]))
    (http,) = [r for r in found if isinstance(r, Http)]
    assert http.request_bytes == 1_000
    assert [gap.reason for gap in gaps(found)] == ["lost"]


def test_noise_inside_of_a_talk_is_not_observed(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3_000)
    talk = [
        (True, b"\x05\x01\x00"), (False, b"\x05\x00"), (True, b"\x05\x01\x00\x03\x09a.example\x00\x16"),
        (False, b"\x05\x00\x00\x01" + bytes(6)), (True, noise[:1_200]), (False, noise[1_200:2_400]),
    ]  # fmt: skip
    at = {True: 101, False: 501}
    packets = [
        craft.tcp(b"", 100, flags="S", dport=1080),
        craft.tcp(b"", 500, up=False, flags="SA", ack=101, dport=1080),
    ]
    for up, data in talk:
        packets.append(craft.tcp(data, at[up], up=up, ack=at[not up], dport=1080))
        at[up] += len(data)
    (flow,) = [r for r in craft.read(tmp_path, craft.pcap(packets)) if isinstance(r, Flow)]
    assert (flow.observability, flow.names["http"]) == ("metadata_only", ("a.example",))
    (flow,) = [r for r in craft.read(tmp_path, craft.pcap(packets[:-2])) if isinstance(r, Flow)]
    assert flow.observability == "observed"


def test_a_simple_block_before_any_interface(tmp_path: Path) -> None:
    simple = craft.block(3, struct.pack("<I", len(QUERY)) + QUERY)
    found = craft.read(tmp_path, craft.section() + simple + craft.interface() + craft.enhanced(QUERY, STAMP))
    assert lookups(found) == 1
    assert [gap.bytes for gap in gaps(found)] == [len(simple)]


def seen(folder: Path, packets: list[bytes]) -> list[tuple[str, str | None]]:
    found = craft.read(folder, craft.pcap(packets))
    return [(r.observability, r.reason) for r in found if isinstance(r, Flow)]


UNREADABLE = random.Random(5).randbytes(300)
UPGRADE = b"HTTP/1.1 101 Go on\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
ASKED = b"GET /s HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def tcp(*turns: tuple[bool, bytes], dport: int) -> list[bytes]:
    """A connection: who speaks, and what."""
    packets, at = [craft.tcp(b"", 0, flags="S", dport=dport)], {True: 1, False: 1}
    for up, data in turns:
        packets.append(craft.tcp(data, at[up], up=up, ack=at[not up], dport=dport))
        at[up] += len(data)
    return packets


@pytest.mark.parametrize(
    ("turns", "dport", "expected"),
    [
        ([(True, UNREADABLE)], 53, ("not_observed", "unknown protocol")),
        ([(True, b"\0\x40" + UNREADABLE[:64])], 53, ("not_observed", "unknown protocol")),
        ([(True, UNREADABLE), (True, b"what can be read of it\n")], 7_000, ("observed", "read in part")),
        ([(True, ASKED), (False, UPGRADE), (True, UNREADABLE)], 80, ("observed", "read in part")),
        ([(True, b"GET / HTTP/1.0\r\n\r\n"), (True, UNREADABLE)], 80, ("observed", None)),
        ([(True, b"GET / HTTP/1.0\r\n\r\n"), (False, UPGRADE[:17] + b"\r\n\r\n")], 80, ("observed", None)),
        ([(True, b"\5\1\0"), (False, b"\5\0"), (True, b"\5\7\7\7")], 1_080, ("metadata_only", "unknown protocol")),
    ],
)  # fmt: skip
def test_what_was_read_of_a_connection(
    tmp_path: Path, turns: list[tuple[bool, bytes]], dport: int, expected: tuple[str, str | None]
) -> None:
    assert seen(tmp_path, tcp(*turns, dport=dport)) == [expected]


def messages(found: list[AnyRecord]) -> list[bytes]:
    return [r.data for r in found if isinstance(r, Message)]


@pytest.mark.parametrize("port", [53, 137, 3544, 4341, 5353, 5355, 8053])
def test_text_on_ports_of_other_protocols(tmp_path: Path, port: int) -> None:
    said = b"ping to Ehe peer: https://one.example/a1b2c3 and more"
    assert messages(craft.read(tmp_path, craft.pcap([craft.udp(said, 50_000, port)]))) == [said]
    assert messages(craft.read(tmp_path, craft.pcap(tcp((True, said), dport=port)))) == [said]


def test_tls_of_which_the_hellos_are_lost(tmp_path: Path) -> None:
    sealed = b"\x17\3\3\0\x40" + UNREADABLE[:64]
    assert seen(tmp_path, tcp((True, sealed), (False, sealed), dport=53)) == [("metadata_only", "no_key")]
    turns = [(False, b"220 mail\r\n"), (True, b"STARTTLS\r\n"), (False, b"220 go\r\n"), (True, sealed)]
    assert seen(tmp_path, tcp(*turns, dport=25)) == [("metadata_only", "no_key")]


def test_what_stands_behind_a_lost_head_is_told(tmp_path: Path) -> None:
    body = b'{"q": "%s", "page": "https://one.example/a1b2c3"}' % (b"x" * 1_500)
    head = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(body)
    first = b"GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n"
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    packets = tcp(
        (True, first),
        (False, answer),
        (True, head),
        (True, body[:900]),
        (True, body[900:]),
        (False, answer),
        dport=80,
    )
    del packets[3]
    packets += [craft.tcp(b"", 29 * 2 - 1, up=False, flags="A", ack=1 + len(first + head + body))] * 6
    found = craft.read(tmp_path, craft.pcap(packets))
    assert b"".join(messages(found)) == body
    assert [r.path for r in found if isinstance(r, Http)] == ["/first"]


@pytest.mark.parametrize("count", [5, 12, 40, 300])
@pytest.mark.parametrize("chunk", [9_000, 1 << 20])
def test_a_download_that_began_before_the_capture(tmp_path: Path, count: int, chunk: int) -> None:
    rest = [(False, bytes([200 + turn % 50]) * 700) for turn in range(count)]
    packets = tcp(*rest, (True, b"GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"), dport=80)[1:]
    found = craft.read(tmp_path, craft.pcap(packets), chunk=chunk)
    assert [r.path for r in found if isinstance(r, Http)] == ["/next"]
    assert [r.reason for r in found if isinstance(r, Flow)] == ["read in part"]


def test_a_body_is_kept_in_bounds(tmp_path: Path) -> None:
    junk = [(True, bytes([7 + turn % 2]) * 60_000) for turn in range(20)]
    found = craft.read(
        tmp_path, craft.pcap(tcp((True, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), *junk, dport=80))
    )
    assert sum(map(len, messages(found))) == 1 << 20
    assert [gap.reason for gap in gaps(found)] == ["limit"]


def test_what_was_read_of_datagrams(tmp_path: Path) -> None:
    text, rest = (craft.udp(data, 40_000, 9_999) for data in (b"good morning to you", b"\x81" + UNREADABLE))
    assert seen(tmp_path, [text, text]) == [("observed", None)]
    assert seen(tmp_path, [rest, text]) == seen(tmp_path, [text, rest]) == [("observed", "read in part")]
    assert seen(tmp_path, [rest]) == [("not_observed", "unknown protocol")]
    broken = craft.udp(b"\0\1\1\0\0\x09" + bytes(6) + b"\xc0", 50_000, 53)
    assert seen(tmp_path, [QUERY, broken]) == [("observed", "read in part")]


CHINESE = "用户搜索了隐私保护".encode()


@pytest.mark.parametrize("said", [CHINESE, "тайна".encode(), CHINESE * 4, CHINESE[:-1], b"id=7;q=" + CHINESE])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_text_of_any_script(tmp_path: Path, said: bytes, transport: str) -> None:
    if transport == "udp":
        packets = [craft.udp(said, 40_000, 9_999)]
    else:
        packets = [
            craft.tcp(b"", 0, flags="S"),
            craft.tcp(said, 1),
            craft.tcp(b"", 1 + len(said), flags="FA"),
        ]
    found = craft.read(tmp_path, craft.pcap(packets))
    assert [r.data for r in found if isinstance(r, Message)] == [said]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    rng = random.Random(3)
    packets = [craft.udp(b"\x81" + rng.randbytes(40), 40_000 + turn, 9_999) for turn in range(300)]
    packets += [craft.udp(CHINESE + b"\0" * 12, 50_000, 9_999), craft.udp(CHINESE[1:], 50_001, 9_999)]
    found = craft.read(tmp_path, craft.pcap(packets))
    assert not [r for r in found if isinstance(r, Message)]
