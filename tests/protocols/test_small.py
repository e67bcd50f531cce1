"""MQTT, SOCKS, DHCP, SSDP and the framing of gRPC."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from audit.protocols import dhcp, grpc, mqtt, socks, ssdp
from audit.protocols.malformed import Malformed


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def packet(first: int, body: bytes) -> bytes:
    size = len(body)
    length = b""
    while True:
        size, byte = divmod(size, 128)
        length += bytes((byte | (128 if size else 0),))
        if not size:
            return bytes((first,)) + length + body


CONNECT = packet(
    0x10,
    text(b"MQTT")
    + b"\x04\xc6\0\x3c"
    + text(b"lamp-7")
    + text(b"will/t")
    + text(b"gone")
    + text(b"me")
    + text(b"pw"),
)
CONNECT_5 = packet(0x10, text(b"MQTT") + b"\x05\x02\0\x3c" + b"\x05\x11\0\0\0\x0a" + text(b"phone"))


def test_mqtt_packets_in_any_pieces() -> None:
    wire = (
        CONNECT + packet(0x82, b"\0\1" + text(b"home/#") + b"\0" + text(b"a/b") + b"\1") + packet(0xC0, b"")
    )
    wire += packet(0x33, text(b"home/lamp") + b"\0\x07" + b"x" * 200) + packet(0xA2, b"\0\2" + text(b"a/b"))
    expected = [
        mqtt.Connect(4, "lamp-7", "me", True, "will/t", b"gone"),
        mqtt.Subscribe(("home/#", "a/b"), False),
        mqtt.Other(12),
        mqtt.Publish("home/lamp", b"x" * 200, True, False),
        mqtt.Subscribe(("a/b",), True),
    ]
    assert mqtt.starts(wire)
    for step in (1, 7, len(wire)):
        packets = mqtt.Packets()
        assert [e for at in range(0, len(wire), step) for e in packets.feed(wire[at : at + step])] == expected


def test_mqtt_5_properties() -> None:
    packets = mqtt.Packets()
    wire = CONNECT_5 + packet(0x30, text(b"t") + b"\x03\x23\0\1" + b"payload")
    wire += packet(0x82, b"\0\1\0" + text(b"z") + b"\0")
    assert packets.feed(wire) == [
        mqtt.Connect(5, "phone", None, False, None, b""),
        mqtt.Publish("t", b"payload", False, False),
        mqtt.Subscribe(("z",), False),
    ]
    assert packets.level == 5
    own = b"\x26" + text(b"k") + text(b"v")
    assert packets.feed(packet(0x30, text(b"t") + bytes([len(own)]) + own + b"payload")) == [
        mqtt.Properties(own),
        mqtt.Publish("t", b"payload", False, False),
    ]
    old = packet(0x10, text(b"MQIsdp") + b"\x03\x02\0\x3c" + text(b"old"))
    assert mqtt.starts(old)
    assert mqtt.Packets().feed(old) == [mqtt.Connect(3, "old", None, False, None, b"")]


def test_mqtt_5_topic_aliases() -> None:
    def publish(topic: bytes, alias: int, data: bytes) -> bytes:
        properties = (
            b"\x01\1\x02\0\0\0\x09\x03" + text(b"json") + b"\x26" + text(b"a") + text(b"\x23") + b"\x0b\x81\1"
        )
        properties += b"\x23" + alias.to_bytes(2, "big")
        return packet(0x30, text(topic) + bytes([len(properties)]) + properties + data)

    packets = mqtt.Packets(5)
    wire = publish(b"home/hall", 1, b"on") + publish(b"home/den", 2, b"on") + publish(b"", 1, b"off")
    wire += publish(b"home/attic", 1, b"on") + publish(b"", 1, b"off") + publish(b"", 7, b"off")
    told = [event.topic for event in packets.feed(wire) if isinstance(event, mqtt.Publish)]
    assert told == ["home/hall", "home/den", "home/hall", "home/attic", "home/attic", ""]
    assert not packets.gap(10)
    behind = packets.feed(publish(b"", 2, b"off") * 3) + packets.finish()
    assert {event.topic for event in behind if isinstance(event, mqtt.Publish)} == {""}


def test_mqtt_after_loss() -> None:
    publish = [packet(0x30, text(b"topic/%d" % n) + b"y" * 150) for n in range(6)]
    packets = mqtt.Packets()
    wire = CONNECT + b"".join(publish)
    at = len(CONNECT) + 200
    events = packets.feed(wire[:at]) + packets.gap(100) + packets.feed(wire[at + 100 :])
    whole = [event.topic for event in events if isinstance(event, mqtt.Publish) and not event.cut]
    assert whole == ["topic/0", "topic/2", "topic/3", "topic/4", "topic/5"]
    with pytest.raises(Malformed):
        mqtt.Packets().feed(b"GET / HTTP/1.1\r\n")


def test_socks_5() -> None:
    greeting = b"\x05\x02\x00\x02"
    login = b"\x01\x04user\x06secret"
    request = b"\x05\x01\x00\x03\x0ba.example.c\x01\xbb"
    whole = greeting + login + request
    for size in range(1, len(whole)):
        assert socks.client(whole[:size]) is None
    assert socks.client(whole + b"\x16\x03") == socks.Target(5, 1, "a.example.c", 443, "user", len(whole))
    plain = b"\x05\x01\x00" + b"\x05\x01\x00\x04" + bytes(15) + b"\x01\0\x50"
    assert socks.client(plain) == socks.Target(5, 1, "::1", 80, None, len(plain))
    answer = b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\0\0\x01\x04\x38"
    for size in range(len(answer)):
        assert socks.server(answer[:size], 5) is None
    assert socks.server(answer + b"xx", 5) == socks.Answer(True, len(answer))
    for bad in (
        b"\x05\x01\x00\x09",
        b"\x05\x01\x00\x05\x01\x00\x07",
        b"\x16\x03\x01",
        b"\x04\x09" + bytes(8),
    ):
        with pytest.raises(Malformed):
            socks.client(bad)


def test_socks_4() -> None:
    request = b"\x04\x01\x00\x50\xc0\0\x02\x07fred\0"
    assert socks.client(request[:-1]) is None
    assert socks.client(request) == socks.Target(4, 1, "192.0.2.7", 80, "fred", len(request))
    named = b"\x04\x01\x01\xbb\0\0\0\x01\0shop.example\0"
    assert socks.client(named[:-1]) is None
    assert socks.client(named + b"tail") == socks.Target(4, 1, "shop.example", 443, None, len(named))
    assert socks.server(b"\0\x5a" + bytes(6), 4) == socks.Answer(True, 8)
    assert socks.server(b"\0\x5b" + bytes(6), 4) == socks.Answer(False, 8)


def test_dhcp() -> None:
    options = [
        ("message-type", "request"),
        ("hostname", b"Annas-Phone"),
        ("vendor_class_id", b"android-dhcp-14"),
        ("requested_addr", "192.0.2.33"),
        ("param_req_list", [1, 3, 6]),
        "end",
    ]
    message = dhcp.parse(bytes(BOOTP(chaddr=b"\x02\0\0\0\0\x07") / DHCP(options=options)) + bytes(20))
    assert message == dhcp.Message(
        False, 3, "02:00:00:00:00:07", "192.0.2.33", "Annas-Phone", None, "android-dhcp-14", b"\x01\x03\x06"
    )
    named = bytes(BOOTP(op=2) / DHCP(options=[])) + b"\x51\x0a\x04\0\0\x02pc\x02up\0\xff"
    assert dhcp.parse(named).domain_name == "pc.up"
    with pytest.raises(Malformed):
        dhcp.parse(bytes(300))


def test_dhcp_6() -> None:
    def option(code: int, value: bytes) -> bytes:
        return code.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value

    name = option(39, b"\1\x0cannas-laptop\3lan\0")
    maker = option(16, b"\0\0\1\x37" + text(b"MSFT 5.0"))
    solicit = b"\1abc" + option(1, b"\0\3\0\1\2\0\0\0\0\1") + option(8, b"\0\0") + maker + name
    assert dhcp.parse6(solicit) == dhcp.Message6(False, 1, "annas-laptop.lan", "MSFT 5.0")
    assert dhcp.parse6(b"\7abc") == dhcp.Message6(True, 7, None, None)
    assert dhcp.parse6(solicit[:-1]) == dhcp.Message6(False, 1, None, "MSFT 5.0")
    for bad in (b"", b"\1ab", b"\x0c\0" + bytes(32)):
        with pytest.raises(Malformed):
            dhcp.parse6(bad)


def test_ssdp() -> None:
    notify = (
        b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNT: upnp:rootdevice\r\nSERVER: Linux/5 UPnP/1.1 tv/2\r\n"
        b"LOCATION: http://192.0.2.5:80/d.xml\r\nUSN: uuid:1\r\n\r\n"
    )
    message = ssdp.parse(notify)
    assert (message.kind, message.target, message.server) == (
        "notify",
        "upnp:rootdevice",
        "Linux/5 UPnP/1.1 tv/2",
    )
    assert (message.location, message.usn, message.user_agent) == (
        "http://192.0.2.5:80/d.xml",
        "uuid:1",
        None,
    )
    search = ssdp.parse(
        b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\nUser-Agent: app/1\r\nCPFN.UPNP.ORG: Anna's phone\r\n\r\n"
    )
    assert (search.kind, search.target, search.user_agent, search.friendly_name) == (
        "search",
        "ssdp:all",
        "app/1",
        "Anna's phone",
    )
    with pytest.raises(Malformed):
        ssdp.parse(b"GET / HTTP/1.1\r\n\r\n")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(1, 50))
def test_grpc_messages_in_any_pieces(bodies: list[bytes], step: int) -> None:
    wire = b"".join(struct.pack(">BI", number % 2, len(body)) + body for number, body in enumerate(bodies))
    stream = grpc.Messages()
    found = [message for at in range(0, len(wire), step) for message in stream.feed(wire[at : at + step])]
    assert found == [grpc.Message(bool(number % 2), body, False, False) for number, body in enumerate(bodies)]


def test_grpc_ends() -> None:
    assert grpc.parse(b"\0\0\0\0\x09half") == [grpc.Message(False, b"half", True, False)]
    assert grpc.parse(b"\x80\0\0\0\x02ok")[0].trailers
    stream = grpc.Messages()
    assert stream.feed(b"\0\0\0\0\x09ha") == []
    assert stream.gap(3) == [grpc.Message(False, b"ha", True, False)]
    assert stream.feed(b"\0\0\0\0\x01a") == []
    with pytest.raises(Malformed):
        grpc.parse(b'{"a": 1}')
