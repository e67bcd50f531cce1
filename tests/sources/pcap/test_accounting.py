"""What flows say of themselves: how they were seen and why, whose side is whose, and what fell into which phase."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from audit.records import Flow, Gap, Phase

from . import craft

START = 1_700_000_000  # when craft's captures begin; a packet a second
PUBLIC = "198.51.100.7"


def flows(folder: Path, packets: list[bytes], **options: Any) -> list[Flow]:
    return [r for r in craft.read(folder, craft.pcap(packets), **options) if isinstance(r, Flow)]


def ip(proto: int, payload: bytes, src: str = craft.PHONE, dst: str = craft.SERVER) -> bytes:
    return bytes(Ether() / IP(src=src, dst=dst, proto=proto) / Raw(payload))


SOLICITATION = bytes(Ether() / IPv6(src="fe80::1", dst="ff02::2") / ICMPv6ND_RS())
ECHO = IP(src=craft.PHONE, dst=craft.SERVER) / ICMP()


@pytest.mark.parametrize(
    ("packet", "observability", "reason"),
    [
        (SOLICITATION, "observed", "network control"),
        (bytes(Ether() / ECHO / Raw(bytes(56))), "observed", "network control"),
        (bytes(Ether() / ECHO / Raw(bytes(1_400))), "metadata_only", "more than network control carries"),
        (ip(2, b"\x16\0\0\0\xe0\0\0\xfb"), "observed", "network control"),
        (ip(50, bytes(100)), "metadata_only", "encrypted tunnel"),
        (ip(99, bytes(100)), "metadata_only", "no TCP or UDP"),
        (craft.udp(b"\x80\x81\x82" * 9, 40_000, 9_999), "not_observed", "unknown protocol"),
        (craft.udp(b"", 40_000, 9_999), "observed", "no payload was sent"),
        (craft.tcp(b"", 1, flags="S"), "observed", "no payload was sent"),
        (craft.tcp(b"\x80\x81\x82" * 9, 1, dport=9_999), "not_observed", "unknown protocol"),
        (craft.udp(b"said in clear", 40_000, 9_999), "observed", None),
        (craft.tcp(b"\x17\x03\x03\0\x20" + bytes(range(128, 160)), 9, dport=443), "metadata_only", "no_key"),
        (craft.tcp(b"SSH-2.0-dropbear\r\n" + bytes(range(128, 160)), 9, dport=22), "metadata_only", "ssh"),
    ],
)
def test_every_flow_says_how_it_was_seen_and_why(
    tmp_path: Path, packet: bytes, observability: str, reason: str | None
) -> None:
    (flow,) = flows(tmp_path, [packet])
    assert (flow.observability, flow.reason) == (observability, reason)


def test_payloads_not_asked_for_are_not_called_read(tmp_path: Path) -> None:
    (flow,) = flows(tmp_path, [craft.udp(b"said in clear", 40_000, 9_999)], kinds={"flow"})
    assert (flow.observability, flow.reason) == ("not_observed", "payloads were not read")


def test_packets_without_ip_are_accounted_for(tmp_path: Path) -> None:
    found = craft.read(tmp_path, craft.pcap([bytes(Ether() / ARP()), SOLICITATION, bytes(Ether() / ARP())]))
    (gap,) = [r for r in found if isinstance(r, Gap)]
    assert gap.reason == "unsupported"
    assert gap.detail.startswith("2 packets carry no IP")


def test_the_summary_of_an_audit_is_not_about_arp(tmp_path: Path) -> None:
    (tmp_path / "lan.pcap").write_bytes(craft.pcap([bytes(Ether() / ARP()), SOLICITATION]))
    command = [sys.executable, "-m", "audit", "analyze", "lan.pcap", "--device", "fe80::1", "-o", "out"]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, check=True
    )
    assert b"not read in full" not in done.stderr
    told = json.loads((tmp_path / "out/findings.json").read_bytes())
    assert told["experiment"]["device"]["addresses"] == ["fe80::1"]
    assert told["coverage"]["gaps"][0]["detail"].startswith("1 packets carry no IP")


@pytest.mark.parametrize(
    ("packet", "device", "near", "by"),
    [
        (craft.udp(b"x" * 9, 5_000, 9_999, src=PUBLIC, dst=craft.SERVER), (craft.SERVER,), craft.SERVER, "told"),
        (craft.udp(b"x" * 9, 5_000, 1_900, src=PUBLIC, dst="239.255.255.250"), (), PUBLIC, "multicast"),
        (craft.udp(b"x" * 9, 5_000, 9_999, src=PUBLIC, dst=craft.PHONE), (), craft.PHONE, "private"),
        (craft.tcp(b"", 1, flags="S"), (), craft.PHONE, "private"),
        (bytes(Ether() / IP(src=PUBLIC, dst=craft.SERVER) / UDP(sport=443, dport=5_000) / b"x"), (),
         craft.SERVER, "opened"),
        (craft.udp(b"x" * 9, 5_000, 9_999, src=PUBLIC, dst=craft.SERVER), (), PUBLIC, "spoke_first"),
    ],
)  # fmt: skip
def test_whose_side_is_the_devices_and_how_that_is_known(
    tmp_path: Path, packet: bytes, device: tuple[str, ...], near: str, by: str
) -> None:
    (flow,) = flows(tmp_path, [packet], device=device)
    assert (flow.src, flow.side_by) == (near, by)


def phase(name: str, start: int, end: int | None) -> Phase:
    begins = datetime.fromtimestamp(START + start, UTC)
    return Phase(
        id=name,
        mode="normal",
        start=begins,
        end=None if end is None else datetime.fromtimestamp(START + end, UTC),
    )


def test_a_flow_is_divided_by_phases(tmp_path: Path) -> None:
    packets = [craft.udp(bytes(10 * (n + 1)), 40_000, 9_999) for n in range(6)]
    packets.insert(3, craft.udp(bytes(7), 9_999, 40_000, src=craft.SERVER, dst=craft.PHONE))
    phases = (phase("a", 0, 2), phase("b", 2, 4), phase("planned", 0, None), phase("c", 100, None))
    (flow,) = flows(tmp_path, packets, phases=phases[:2] + phases[3:])
    assert [(p.phase, p.packets_up, p.packets_down, p.payload_up, p.payload_down) for p in flow.parts] == [
        (None, 3, 0, 150, 0), ("a", 2, 0, 30, 0), ("b", 1, 1, 30, 7),
    ]  # fmt: skip
    assert sum(p.bytes_up for p in flow.parts) == flow.bytes_up
    assert (flow.parts[1].first, flow.parts[1].last) == (START + 5e-6, START + 1 + 5e-6)
    again = flows(tmp_path, packets, phases=phases[:2] + phases[3:], chunk=256)
    assert again == [flow]
    assert flows(tmp_path, packets)[0].parts == ()


def test_many_flows_by_phase_on_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    packets = [craft.udp(bytes(9), 40_000 + n % 7, 9_999) for n in range(40)]
    phases = (phase("a", 0, 13), phase("b", 13, 29))
    alone = flows(tmp_path, packets, phases=phases)
    assert [sum(part.packets_up for part in flow.parts) for flow in alone] == [6, 6, 6, 6, 6, 5, 5]
    assert flows(tmp_path, packets, phases=phases, jobs=3, chunk=500) == alone


def test_a_day_long_flow_is_one_flow(tmp_path: Path) -> None:
    packet = craft.tcp(b"", 1, flags="A", dport=9_999)
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    for minute in range(0, 24 * 60, 30):
        data += struct.pack("<IIII", START + minute * 60, 0, len(packet), len(packet)) + packet
    (flow,) = (r for r in craft.read(tmp_path, data) if isinstance(r, Flow))
    assert (flow.packets_up, flow.last and flow.first and flow.last - flow.first) == (48, 84_600)
