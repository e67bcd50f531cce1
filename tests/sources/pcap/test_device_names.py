"""What devices call themselves tells which device an address is, and never names a recipient."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import VENDOR_CLASS_DATA, DHCP6_Solicit, DHCP6OptClientFQDN, DHCP6OptVendorClass
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from audit.pipeline import Capture, analyze
from audit.records import Device, DeviceName, Experiment, Flow

from . import craft

MULTICAST = "224.0.0.251"


def dhcp(options: list[object], src: str = "0.0.0.0", sport: int = 68) -> bytes:
    message = BOOTP(op=1 if sport == 68 else 2, chaddr=b"\2\0\0\0\0\1") / DHCP(options=[*options, "end"])
    packet = Ether() / IP(src=src, dst="255.255.255.255") / UDP(sport=sport, dport=135 - sport) / message
    return bytes(packet)


def mdns(address: str, src: str = craft.PHONE, dst: str = MULTICAST) -> bytes:
    answer = DNSRR(rrname="annas-phone.local", type="A", rdata=address)
    return craft.udp(DNS(qr=1, aa=1, qd=[], an=[answer]), 5353, 5353, src=src, dst=dst)


REQUEST = dhcp([("message-type", "request"), ("requested_addr", craft.PHONE), ("hostname", b"Pixel-7")])
VENDOR = dhcp([("message-type", "discover"), ("vendor_class_id", b"android-dhcp-14")])
WISH = (
    Ether()
    / IPv6(src="fe80::7", dst="ff02::1:2")
    / UDP(sport=546, dport=547)
    / DHCP6_Solicit(trid=1)
    / DHCP6OptVendorClass(enterprisenum=343, vcdata=[VENDOR_CLASS_DATA(data=b"MSFT 5.0")])
    / DHCP6OptClientFQDN(fqdn="annas-laptop.lan")
)
ACK = dhcp([("message-type", "ack"), ("hostname", b"router")], src="192.168.1.1", sport=67)
NOTIFY = (
    b"NOTIFY * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nServer: Linux UPnP/1.0 Sonos/63.2\r\nNT: x\r\n\r\n"
)
OFFERED = craft.udp(NOTIFY, 50_000, 1900, dst="239.255.255.250")


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (REQUEST, [(craft.PHONE, "Pixel-7", "dhcp")]),
        (VENDOR, [("0.0.0.0", "android-dhcp-14", "dhcp")]),
        (ACK, []),
        (bytes(WISH), [("fe80::7", "annas-laptop.lan", "dhcp")]),
        (bytes(WISH)[:-20], [("fe80::7", "MSFT 5.0", "dhcp")]),
        (mdns(craft.PHONE), [(craft.PHONE, "annas-phone.local", "mdns")]),
        (mdns("192.168.1.77"), []),  # somebody else's address
        (OFFERED, [(craft.PHONE, "Linux UPnP/1.0 Sonos/63.2", "ssdp")]),
        (craft.udp(DNS(qd=DNSQR(qname="printer.local")), 5353, 5353, dst=MULTICAST), []),
    ],
)  # fmt: skip
def test_who_says_what(tmp_path: Path, packet: bytes, told: list[tuple[str, str, str]]) -> None:
    found = craft.read(tmp_path, craft.pcap([packet]))
    assert [(r.src, r.name, r.by) for r in found if isinstance(r, DeviceName)] == told
    only = craft.read(tmp_path, craft.pcap([packet]), kinds={"device"})
    assert [(r.src, r.name, r.by) for r in only if isinstance(r, DeviceName)] == told


def test_a_devices_own_name_is_no_recipients(tmp_path: Path) -> None:
    found = craft.read(tmp_path, craft.pcap([mdns(craft.PHONE), REQUEST]))
    assert [r.names for r in found if isinstance(r, Flow)] == [{}, {}]


def test_the_audit_lists_devices(tmp_path: Path) -> None:
    path = tmp_path / "lan.pcap"
    path.write_bytes(craft.pcap([REQUEST, mdns(craft.PHONE), mdns("192.168.1.9", src="192.168.1.9")]))
    experiment = Experiment(device=Device(addresses=(craft.PHONE,)))
    audit = analyze([Capture(path, "lan.pcap")], experiment)
    assert [(one.address, one.names, one.audited) for one in audit.devices] == [
        (craft.PHONE, {"dhcp": ("Pixel-7",), "mdns": ("annas-phone.local",)}, True),
        ("192.168.1.9", {"mdns": ("annas-phone.local",)}, False),
    ]
    assert [one.audited for one in analyze([Capture(path, "lan.pcap")], Experiment()).devices] == [None, None]
