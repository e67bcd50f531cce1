"""Flows: counting, direction, port reuse, idle ends, shares; fragments and tunnels; what conversations tell."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from audit.records import Dns, Flow, Gap, Http, Message
from audit.sources.pcap import flows

from . import craft

GET = b"GET /a?q=x HTTP/1.1\r\nHost: site.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def conversation(sport: int = 40_000, seq: int = 100) -> list[bytes]:
    return [
        craft.tcp(b"", seq, flags="S", sport=sport),
        craft.tcp(b"", 500, up=False, flags="SA", ack=seq + 1, sport=sport),
        craft.tcp(GET, seq + 1, ack=501, sport=sport),
        craft.tcp(OK, 501, up=False, ack=seq + 1 + len(GET) & 0xFFFFFFFF, sport=sport),
    ]


def test_counts_against_scapy(tmp_path: Path) -> None:
    packets = conversation()
    (flow,) = [r for r in craft.read(tmp_path, craft.pcap(packets)) if isinstance(r, Flow)]
    assert (flow.src, flow.dst, flow.sport, flow.dport) == (craft.PHONE, craft.SERVER, 40_000, 80)
    assert (flow.packets_up, flow.packets_down) == (2, 2)
    assert flow.bytes_up == sum(
        Ether(packet)[IP].len for packet in packets if Ether(packet)[IP].src == craft.PHONE
    )
    assert (flow.payload_up, flow.payload_down) == (len(GET), len(OK))
    assert flow.last is not None
    assert flow.first is not None
    assert flow.last - flow.first == 3
    assert (flow.observability, flow.names) == ("observed", {"http": ("site.example",)})


def test_a_request_and_its_response(tmp_path: Path) -> None:
    (http,) = [r for r in craft.read(tmp_path, craft.pcap(conversation())) if isinstance(r, Http)]
    assert (http.method, http.host, http.path, http.status) == ("GET", "site.example", "/a?q=x", 200)
    assert (http.direction, http.id, http.flow) == ("up", "f1.0", "f1")


def test_segments_out_of_order_and_lost(tmp_path: Path) -> None:
    packets = conversation()
    head, tail = craft.tcp(GET[:9], 101, ack=501), craft.tcp(GET[9:], 110, ack=501)
    for middle in ([tail, head], [head, head, tail], [tail, tail, head]):
        (http,) = [
            r
            for r in craft.read(tmp_path, craft.pcap([*packets[:2], *middle, packets[3]]))
            if isinstance(r, Http)
        ]
        assert http.path == "/a?q=x"
    again = craft.tcp(GET, 101 + 2 * len(GET), ack=501)  # one request is missing between
    found = craft.read(tmp_path, craft.pcap([*packets[:3], again]))
    assert sum(isinstance(r, Http) for r in found) == 2


def test_ports_used_again_are_another_flow(tmp_path: Path) -> None:
    found = craft.read(tmp_path, craft.pcap([*conversation(seq=100), *conversation(seq=90_000)]))
    assert [r.flow for r in found if isinstance(r, Flow)] == ["f1", "f5"]
    assert [r.id for r in found if isinstance(r, Http)] == ["f1.0", "f5.0"]
    assert sum(isinstance(r, Flow) for r in craft.read(tmp_path, craft.pcap(conversation()[:1] * 3))) == 1


@pytest.mark.parametrize("seq", [100, 0xFFFFFFF0])
@pytest.mark.parametrize("chunk", [256, 1 << 20])
def test_a_late_syn_opens_no_other_flow(tmp_path: Path, seq: int, chunk: int) -> None:
    """Captured after the request it came before, where its answer comes still later or is lost."""
    opens, answer, asked, told = conversation(seq=seq)
    for order in ([asked, told, opens, answer], [asked, opens, told]):
        found = craft.read(tmp_path, craft.pcap(order), chunk=chunk)
        assert [r.flow for r in found if isinstance(r, Flow)] == ["f1"]
        assert [r.path for r in found if isinstance(r, Http)] == ["/a?q=x"]
    # one with a number of its own is another connection, whatever was seen of the one before
    for other in (seq + 70_000, seq - 70_000):
        packets = [asked, told, *conversation(seq=other & 0xFFFFFFFF)]
        found = craft.read(tmp_path, craft.pcap(packets), chunk=chunk)
        assert [r.flow for r in found if isinstance(r, Flow)] == ["f1", "f3"]


def test_the_device_is_told_or_inferred(tmp_path: Path) -> None:
    data = craft.pcap(conversation())
    (flow,) = [r for r in craft.read(tmp_path, data, device=[craft.SERVER]) if isinstance(r, Flow)]
    assert (flow.src, flow.packets_up) == (craft.SERVER, 2)
    (http,) = [r for r in craft.read(tmp_path, data, device=[craft.SERVER]) if isinstance(r, Http)]
    assert http.direction == "down"


def test_silence_ends_a_datagram_flow(tmp_path: Path) -> None:
    query = craft.udp(DNS(qd=DNSQR(qname="a.example")), 50_000, 53)
    data = bytearray(craft.pcap([query, query]))
    at = 24 + 16 + len(query)
    data[at : at + 4] = struct.pack("<I", 1_700_000_000 + 301)
    assert sum(isinstance(r, Flow) for r in craft.read(tmp_path, bytes(data))) == 2


def test_dns_names_flows_that_follow(tmp_path: Path) -> None:
    answer = DNS(qr=1, qd=DNSQR(qname="named.example"), an=DNSRR(rrname="named.example", rdata=craft.SERVER))
    reply = craft.udp(answer, 53, 50_000, src="192.168.1.1", dst=craft.PHONE)
    opaque = craft.udp(b"\x01\xff\xfe\x80\x90\xa0", 1, 9999)
    found = craft.read(tmp_path, craft.pcap([reply, opaque]))
    (flow,) = [r for r in found if isinstance(r, Flow) and r.dst == craft.SERVER]
    assert flow.names == {"dns": ("named.example",)}
    assert flow.observability == "not_observed"


def test_accounting_alone_touches_no_payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a payload was read")

    monkeypatch.setattr("audit.sources.pcap.tcp_flows.TcpFlows.read", refuse)
    monkeypatch.setattr("audit.sources.pcap.udp_flows.UdpFlows.read", refuse)
    (flow,) = craft.read(tmp_path, craft.pcap(conversation()), kinds={"flow"})
    assert isinstance(flow, Flow)
    assert flow.reason == "payloads were not read"


def test_keys_that_share_a_hash_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = craft.pcap([packet for sport in range(40_000, 40_040) for packet in conversation(sport)])
    usual = craft.read(tmp_path, data)
    monkeypatch.setattr(flows, "_hash", lambda keys: keys[4] % 3 << 40)
    for chunk in (1 << 20, 700):
        assert craft.read(tmp_path, data, chunk=chunk) == usual


def test_fragments_of_a_request(tmp_path: Path) -> None:
    whole = (
        IP(src=craft.PHONE, dst=craft.SERVER, id=7)
        / TCP(sport=40_000, dport=80, seq=1, flags="PA")
        / Raw(GET * 40)
    )
    parts = [bytes(Ether() / part) for part in fragment(whole, 200)]
    for packets in (parts, parts[::-1], [*parts[1:], parts[0]]):
        found = craft.read(tmp_path, craft.pcap(packets))
        assert sum(isinstance(r, Http) for r in found) == 40
        assert sum(r.packets_up or 0 for r in found if isinstance(r, Flow)) == len(parts)
    found = craft.read(tmp_path, craft.pcap(parts[:-1]))
    assert not any(isinstance(r, Http) for r in found)


@pytest.mark.parametrize(
    "outer",
    [
        Ether() / Dot1Q(vlan=5) / Dot1Q(vlan=6),
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / GRE(),
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2"),
        Ether() / IPv6(src="fd00::1", dst="fd00::2"),
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=4789) / VXLAN(vni=4) / Ether(),
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / GRE() / IP(src="10.1.0.1", dst="10.1.0.2"),
    ],
    ids=["qinq", "gre", "ipip", "ip in ipv6", "vxlan", "gre in ip"],
)
def test_tunnels_show_what_is_inside(tmp_path: Path, outer: Ether) -> None:
    inner = IP(craft.udp(DNS(qd=DNSQR(qname="inner.example")), 50_000, 53)[14:])
    found = craft.read(tmp_path, craft.pcap([bytes(outer / inner)]))
    assert [r.name for r in found if isinstance(r, Dns)] == ["inner.example"]
    assert [r.src for r in found if isinstance(r, Flow)] == [craft.PHONE]


def test_clear_text_of_no_known_protocol(tmp_path: Path) -> None:
    said = craft.udp(b'{"system":{"get_sysinfo":{"deviceId":"8006E9A1"}}}', 50_001, 9999)
    (message,) = [r for r in craft.read(tmp_path, craft.pcap([said])) if isinstance(r, Message)]
    assert message.direction == "up"
    assert b"deviceId" in message.data


def test_other_protocols_are_counted(tmp_path: Path) -> None:
    ping = bytes(Ether() / IP(src=craft.PHONE, dst=craft.SERVER) / ICMP())
    (flow,) = craft.read(tmp_path, craft.pcap([ping]))
    assert isinstance(flow, Flow)
    assert (flow.transport, flow.sport) == ("icmp", None)
    assert (flow.observability, flow.reason) == ("observed", "network control")


def test_lost_parts_of_a_body_are_said(tmp_path: Path) -> None:
    post = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 30\r\n\r\n" + b"x" * 10
    packets = [
        craft.tcp(b"", 100, flags="S"),
        craft.tcp(post, 101),
        craft.tcp(b"y" * 10, 101 + len(post) + 10),
    ]
    found = craft.read(tmp_path, craft.pcap(packets))
    (http,) = [r for r in found if isinstance(r, Http)]
    assert http.body == b"x" * 10 + bytes(10) + b"y" * 10
    assert [r.reason for r in found if isinstance(r, Gap)] == ["lost"]


def test_several_processes_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    answer = DNS(qr=1, qd=DNSQR(qname="named.example"), an=DNSRR(rrname="named.example", rdata=craft.SERVER))
    packets = [craft.udp(answer, 53, 50_000, src="192.168.1.1", dst=craft.PHONE)]
    packets += [packet for sport in range(40_000, 40_020) for packet in conversation(sport)]
    alone = craft.read(tmp_path, craft.pcap(packets))
    assert len(alone) == 42
    for jobs, chunk in ((2, 1 << 20), (3, 2_000)):
        assert craft.read(tmp_path, craft.pcap(packets), jobs=jobs, chunk=chunk) == alone
