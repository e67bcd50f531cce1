"""What payloads tell, from packets to records: every protocol that can be read in clear, and what hides in another."""

from __future__ import annotations

import random
import struct
from collections import Counter
from pathlib import Path

import pytest
from cryptography import x509
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.netbios import NBNSHeader, NBNSRegistrationRequest

from audit.protocols import quic
from audit.records import AnyRecord, Dns, Flow, Gap, Http, Message, MqttMessage, Tls, WebSocketMessage
from audit.sources.pcap import datagrams, payloads, speakers
from tests.protocols.test_quic import crypto, seal
from tests.protocols.test_tls import certificate, handshake, hello, record, server_hello, sized, u16

from . import craft

HELLO = record(handshake(1, hello()))
NAME = "www.example.org"
PLAIN_EXTENSIONS = [(0, sized(b"\0" + sized(NAME.encode()))), (43, sized(u16(0x0304), 1))]


def talk(*turns: tuple[bool, bytes], dport: int = 80) -> list[bytes]:
    """A connection from its SYN on: who speaks (True: the client), and what."""
    sent = {True: 1, False: 1}
    packets = [
        craft.tcp(b"", 0, flags="S", dport=dport),
        craft.tcp(b"", 0, up=False, flags="SA", ack=1, dport=dport),
    ]
    for up, data in turns:
        packets.append(craft.tcp(data, sent[up], up=up, ack=sent[not up], dport=dport))
        sent[up] += len(data)
    return packets


def read(folder: Path, packets: list[bytes]) -> list[AnyRecord]:
    """The records, which do not depend on the size of the window."""
    found = craft.read(folder, craft.pcap(packets))
    assert craft.read(folder, craft.pcap(packets), chunk=300) == found
    return found


def names(records: list[AnyRecord], transport: str = "tls") -> list[str | None]:
    return [r.sni for r in records if isinstance(r, Tls) and r.transport == transport]


def paths(records: list[AnyRecord]) -> list[str]:
    return [r.path for r in records if isinstance(r, Http)]


CONNECT = b"CONNECT hidden.example:443 HTTP/1.1\r\nHost: hidden.example:443\r\n\r\n"
SOCKS5 = [
    (True, b"\5\1\0"),
    (False, b"\5\0"),
    (True, b"\5\1\0\3\x0bhidden.test\x01\xbb"),
    (False, b"\5\0\0\1\0\0\0\0\0\0"),
]
SOCKS4 = [(True, b"\4\1\1\xbb\0\0\0\1user\0hidden.test\0"), (False, b"\0\x5a\0\0\0\0\0\0")]
SMTP = [
    (False, b"220 mail.example ESMTP\r\n"),
    (True, b"EHLO phone.example\r\n"),
    (False, b"250-mail.example\r\n250 STARTTLS\r\n"),
    (True, b"STARTTLS\r\n"),
    (False, b"220 ready\r\n"),
]
IMAP = [(False, b"* OK IMAP4rev1 ready\r\n"), (True, b"a1 STARTTLS\r\n"), (False, b"a1 OK begin now\r\n")]


@pytest.mark.parametrize(
    ("turns", "dport"),
    [
        ([], 443),
        ([], 8_443),
        (SMTP, 587),
        (IMAP, 143),
        ([(True, CONNECT), (False, b"HTTP/1.1 200 OK\r\n\r\n")], 3_128),
        (SOCKS5, 1_080),
        (SOCKS4, 1_080),
        ([*SOCKS5, *SMTP], 1_080),
    ],
)
def test_tls_wherever_it_begins(tmp_path: Path, turns: list[tuple[bool, bytes]], dport: int) -> None:
    found = read(tmp_path, talk(*turns, (True, HELLO[:90]), (True, HELLO[90:]), dport=dport))
    assert names(found) == [NAME]
    (flow,) = (r for r in found if isinstance(r, Flow))
    assert NAME in flow.names["sni"]
    assert (flow.observability, flow.reason) == ("metadata_only", "ech")  # the hello has an ECH extension


@pytest.mark.parametrize("first", [1, 2, 3, 5])
@pytest.mark.parametrize("behind", [b"", b"\xff" * 40])
def test_a_hello_of_which_the_first_segment_is_short(tmp_path: Path, first: int, behind: bytes) -> None:
    """What stands behind a packet in the file is not part of it."""
    packets = talk((True, HELLO[:first]), (True, HELLO[first:]), dport=443)
    packets[2] += behind
    assert names(read(tmp_path, packets)) == [NAME]


def test_a_hello_that_lost_its_end(tmp_path: Path) -> None:
    wire = record(handshake(1, hello(extensions=[*PLAIN_EXTENSIONS, (21, bytes(900))])))
    sealed = b"\x17\3\3\0\x20" + bytes(range(200, 232))
    packets = talk((True, wire[:400]), (True, wire[400:]), (True, sealed), (False, sealed), dport=443)
    kept = [each for each in packets if wire[400:] not in each]
    late = craft.tcp(b"", 1 + len(sealed), up=False, flags="A", ack=1 + len(wire + sealed), dport=443)
    found = read(tmp_path, [*kept, *[late] * 6])
    assert len(kept) == len(packets) - 1
    assert names(found) == [NAME]
    assert [r.names["sni"] for r in found if isinstance(r, Flow)] == [(NAME,)]


def test_a_version_behind_a_cut_is_not_known(tmp_path: Path) -> None:
    wire = record(handshake(1, hello(extensions=PLAIN_EXTENSIONS)))
    versions = set()
    for size in range(90, len(wire) - 4):
        versions |= {
            r.version for r in read(tmp_path, talk((True, wire[:size]), dport=443)) if isinstance(r, Tls)
        }
    assert versions == {None}


def test_what_a_hello_says(tmp_path: Path) -> None:
    fresh = record(handshake(1, hello(extensions=PLAIN_EXTENSIONS)))
    again = record(handshake(1, hello(extensions=[*PLAIN_EXTENSIONS, (41, bytes(40))])))
    name = PLAIN_EXTENSIONS[:1]
    old = record(handshake(1, hello(extensions=name)))
    new = record(handshake(1, hello(extensions=name, session=b"")))
    asks = record(handshake(1, hello(extensions=[*name, (35, b"")], session=b"")))
    ticket = record(handshake(1, hello(extensions=[*name, (35, bytes(99))], session=b"")))
    either = record(handshake(1, hello(extensions=[*PLAIN_EXTENSIONS, (35, bytes(99))])))
    for wire, resumes in (
        (fresh, False), (again, True), (old, True), (new, False), (asks, False), (ticket, True), (either, True),
    ):  # fmt: skip
        found = read(tmp_path, talk((True, wire), dport=443))
        (told,) = (r for r in found if isinstance(r, Tls))
        assert (told.sni, told.resumes) == (NAME, resumes)
        assert [r.reason for r in found if isinstance(r, Flow)] == ["no_key"]
    (whole,) = (r for r in read(tmp_path, talk((True, HELLO), dport=443)) if isinstance(r, Tls))
    assert (whole.alpn, whole.version, whole.ech) == (("h2", "http/1.1"), "TLSv1.3", True)
    assert whole.ja4 is not None
    assert whole.ja4.startswith("t13d")


def test_a_certificate_before_tls_1_3_names_the_flow(tmp_path: Path) -> None:
    chain = sized(sized(certificate(x509.DNSName("told.example")), 3), 3)
    answer = record(handshake(2, server_hello())) + record(handshake(11, chain))
    found = read(tmp_path, talk((True, record(handshake(1, hello()))), (False, answer), dport=443))
    (flow,) = (r for r in found if isinstance(r, Flow))
    assert flow.names["certificate"] == ("told.example",)


@pytest.mark.parametrize("version", [quic.V1, quic.V2, 0xFF00001D])
@pytest.mark.parametrize("way", ["whole", "coalesced", "two packets", "reordered"])
def test_quic(tmp_path: Path, version: int, way: str) -> None:
    message = handshake(1, hello(extensions=PLAIN_EXTENSIONS))
    half = len(message) // 2
    pieces = {
        "whole": [crypto(0, message)],
        "coalesced": [crypto(half, message[half:]) + crypto(0, message[:half])],
        "two packets": [crypto(0, message[:half]), crypto(half, message[half:])],
        "reordered": [crypto(half, message[half:]), crypto(0, message[:half])],
    }[way]
    sealed = [seal(piece + bytes(1_100 - len(piece)), n, version=version) for n, piece in enumerate(pieces)]
    if way == "coalesced":
        sealed = [sealed[0] + bytes(40)]
    found = read(tmp_path, [craft.udp(packet, 50_000, 443) for packet in sealed])
    assert names(found, "quic") == [NAME]
    (flow,) = (r for r in found if isinstance(r, Flow))
    assert (flow.observability, flow.reason, flow.names["sni"]) == ("metadata_only", "quic", (NAME,))


def test_dtls(tmp_path: Path) -> None:
    body = hello(extensions=PLAIN_EXTENSIONS, cookie=b"", version=0xFEFD)
    message = b"\1" + sized(body, 3)[:3] + bytes(5) + sized(body, 3)[:3] + body
    wire = b"\x16\xfe\xfd" + bytes(8) + sized(message)
    assert names(read(tmp_path, [craft.udp(wire, 50_000, 5_684)]), "dtls") == [NAME]


def test_pipelined_chunked_and_coded_http(tmp_path: Path) -> None:
    first = b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    second = b"GET /b HTTP/1.1\r\nHost: a.example\r\n\r\n"
    coded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    answers = coded + b"HTTP/1.1 204 No Content\r\n\r\n"
    found = read(tmp_path, talk((True, first + second), (False, answers)))
    assert [(r.path, r.body, r.status) for r in found if isinstance(r, Http)] == [
        ("/a", b"abcde", 200),
        ("/b", b"", 204),
    ]


def test_empty_lines_before_a_request(tmp_path: Path) -> None:
    request = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
    assert paths(read(tmp_path, talk((True, b"\r\n\r\n" + request + b"\r\n" + request)))) == ["/a", "/a"]


def test_a_websocket_in_clear(tmp_path: Path) -> None:
    ask = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    accept = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    frame = b"\x81\x85\1\2\3\4" + bytes(a ^ b for a, b in zip(b"hello", b"\1\2\3\4\1", strict=True))
    found = read(tmp_path, talk((True, ask), (False, accept), (True, frame)))
    (message,) = (r for r in found if isinstance(r, WebSocketMessage))
    assert (message.direction, message.url, message.data) == ("up", "ws://a.example/chat", b"hello")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return sized(payload, 3)[:3] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
FIELDS = b"\x83\x86\x44\x09/upload/x\x41\x09a.example"  # POST, http, path, authority


def test_http_2_in_clear(tmp_path: Path) -> None:
    up = PREFACE + frame(1, 4, 1, FIELDS) + frame(0, 1, 1, b"\0\0\0\0\3abc")
    down = frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x88") + frame(0, 1, 1, b"ok")
    found = read(tmp_path, talk((True, up), (False, down)))
    (told,) = (r for r in found if isinstance(r, Http))
    assert (told.method, told.authority, told.path, told.status) == ("POST", "a.example", "/upload/x", 200)
    assert told.body == b"\0\0\0\0\3abc"


def test_a_pushed_request_came_down(tmp_path: Path) -> None:
    up = PREFACE + frame(1, 5, 1, FIELDS)
    pushed = frame(5, 4, 1, struct.pack(">I", 2) + FIELDS.replace(b"upload", b"pushed"))
    found = read(tmp_path, talk((True, up), (False, pushed + frame(1, 5, 2, b"\x88"))))
    told = {r.path: r.direction for r in found if isinstance(r, Http)}
    assert told == {"/upload/x": "up", "/pushed/x": "down"}


def test_an_upgrade_to_http_2(tmp_path: Path) -> None:
    ask = b"GET /first HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    accept = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    found = read(tmp_path, talk((True, ask), (False, accept), (True, PREFACE + frame(1, 5, 3, FIELDS))))
    assert set(paths(found)) == {"/first", "/upload/x"}


def test_mqtt(tmp_path: Path) -> None:
    connect = b"\x10\x14\0\4MQTT\4\2\0\x3c\0\x08sensor-7"
    publish = b"\x30\x13\0\x09home/door" + b"was open"
    found = read(tmp_path, talk((True, connect), (False, b"\x20\2\0\0"), (True, publish), dport=1_883))
    said = [(r.topic, r.bytes, r.data) for r in found if isinstance(r, MqttMessage)]
    assert said == [(None, 8, b"sensor-7"), ("home/door", 8, b"was open")]


def test_mqtt_that_is_cut_or_none(tmp_path: Path) -> None:
    connect = b"\x10\x14\0\4MQTT\4\2\0\x3c\0\x08sensor-7"
    publish = b"\x30\x13\0\x09home/door" + b"was open"

    def said(*sent: bytes) -> list[object]:
        found = read(tmp_path, talk(*((True, each) for each in sent), dport=1_883))
        told: list[object] = [r.data for r in found if isinstance(r, MqttMessage)]
        told += [r.reason for r in found if isinstance(r, Gap)]
        return told + [r.observability for r in found if isinstance(r, Flow)]

    assert said(connect, publish[:-4]) == [b"sensor-7", b"was ", "lost", "observed"]
    assert said(connect, b"\0" * 9 + publish + publish, publish)[-2:] == ["malformed", "observed"]
    assert said(b"\x10\x04\0\4MQTT\4\2\0\x3c", publish) == ["not_observed"]


def test_mqtt_is_in_step_behind_a_loss(tmp_path: Path) -> None:
    def packet(kind: int, body: bytes) -> bytes:
        return bytes([kind, len(body) & 127 | 128, len(body) >> 7]) + body

    sent = packet(0x10, sized(b"MQTT") + b"\4\2\0\x3c" + sized(b"lamp"))
    for number in range(5):
        sent += packet(0x30, sized(b"home/%d" % number) + b"payload of %d, " % number * 90)
    pieces = [sent[at : at + 500] for at in range(0, len(sent), 500)]
    for lost in range(1, len(pieces) - 3):
        packets = talk(*((True, piece) for piece in pieces), dport=1_883)
        behind = craft.tcp(b"", 1, up=False, flags="A", ack=1 + len(sent), dport=1_883)
        del packets[-len(pieces) + lost]
        found = read(tmp_path, [*packets, *[behind] * 6])
        whole = [r.topic for r in found if isinstance(r, MqttMessage) and r.bytes == 1_260]
        assert len(whole) >= 3, lost


def test_dns_by_every_way(tmp_path: Path) -> None:
    over_tcp = sized(bytes(DNS(qd=DNSQR(qname="tcp.example"))))
    registration = NBNSHeader() / NBNSRegistrationRequest(QUESTION_NAME=b"ANNAS-PC")
    packets = [
        craft.udp(DNS(qd=DNSQR(qname="udp.example")), 50_000, 53),
        *talk((True, over_tcp[:9]), (True, over_tcp[9:]), dport=53),
        craft.udp(DNS(qd=DNSQR(qname="m.local")), 5353, 5353, dst="224.0.0.251"),
        craft.udp(DNS(qd=DNSQR(qname="l")), 50_001, 5355, dst="224.0.0.252"),
        craft.udp(bytes(registration), 137, 137, dst="192.168.1.255"),
    ]
    found = {r.carrier: r.name for r in read(tmp_path, packets) if isinstance(r, Dns)}
    assert {kind: found[kind] for kind in ("udp", "mdns", "llmnr")} == {
        "udp": "udp.example", "mdns": "m.local", "llmnr": "l",
    }  # fmt: skip
    assert found["tcp"] == "tcp.example"
    assert found["nbns"].startswith("ANNAS-PC")


def test_the_address_history_names_flows_at_their_time(tmp_path: Path) -> None:
    def resolved(name: str) -> bytes:
        answer = DNS(qr=1, qd=DNSQR(qname=name), an=[DNSRR(rrname=name, rdata=craft.SERVER)])
        return craft.udp(answer, 53, 50_000, src="192.168.1.1", dst=craft.PHONE)

    opens = [craft.tcp(b"", 0, flags="S", sport=40_000 + n, dport=443) for n in range(3)]
    found = read(tmp_path, [opens[0], resolved("a.example"), opens[1], resolved("b.example"), opens[2]])
    named = [r.names.get("dns") for r in found if isinstance(r, Flow) and r.transport == "tcp"]
    assert named == [None, ("a.example",), ("b.example",)]


def test_a_hello_behind_records_that_came_too_early(tmp_path: Path) -> None:
    early = craft.tcp(b"\x17\x03\x03\0\x20" + bytes(range(128, 160)), 1 + len(HELLO), dport=443)
    opening = craft.tcp(b"", 0, flags="S", dport=443)
    found = read(tmp_path, [opening, early, craft.tcp(HELLO, 1, dport=443)])
    assert names(found) == [NAME]


def test_the_programs_of_a_secure_shell_are_named_and_the_rest_is_not_called_read(tmp_path: Path) -> None:
    client, server = b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-dropbear\r\n"
    sealed = bytes(range(128, 256))
    found = read(tmp_path, talk((False, server), (True, client), (True, sealed), (False, sealed), dport=22))
    assert [r.data for r in found if isinstance(r, Message)] == [server, client]
    assert [(r.observability, r.reason) for r in found if isinstance(r, Flow)] == [("metadata_only", "ssh")]


def test_what_is_encrypted_is_not_taken_for_words(tmp_path: Path) -> None:
    noise = random.Random(7)
    sealed = [noise.randbytes(200) for _ in range(4_000)]
    packets = talk(*((noise.random() < 0.5, each) for each in sealed[:24]), dport=6_000)
    packets += [
        craft.udp(each, 41_000 + number % 100, 6_000) for number, each in enumerate(sealed) if each[0] < 0x80
    ]
    padded = b"\x8f" * 40 + b"U" * 90 + noise.randbytes(20)
    packets.append(craft.udp(padded, 50_000, 6_000))
    found = read(tmp_path, packets)
    assert not [r for r in found if isinstance(r, Message)]
    assert {r.observability for r in found if isinstance(r, Flow)} == {"not_observed"}


def test_words_among_other_bytes_are_told_and_the_rest_is_not_called_read(tmp_path: Path) -> None:
    sealed = random.Random(8).randbytes(900)
    words = bytes(range(128, 160)) + b"\x15device vacuum-4711 of Anna\x80\x81"
    short = sealed[:40] + b"\x90lamp room\x91"
    turns = (True, words), (False, sealed[:99]), (True, sealed), (False, short), (True, sealed), (True, words)
    found = read(tmp_path, talk(*turns, dport=6_000))
    assert [r.data for r in found if isinstance(r, Message)] == [words, short, sealed + words]
    (flow,) = (r for r in found if isinstance(r, Flow))
    assert (flow.observability, flow.reason) == ("observed", "read in part")


def test_tls_behind_words_among_other_bytes(tmp_path: Path) -> None:
    """As where MySQL turns to TLS."""
    greeting = b"\x4a\0\0\0\x0a8.0.36\0\x0b\0\0\0\x91\x92\x93\0\xff\xff\xff\2\0caching_sha2_password_x\0"
    packets = talk((False, greeting), (True, b"\x20\0\0\1\x85\xae\xff\1"), (True, HELLO), dport=3_306)
    assert names(read(tmp_path, packets)) == [NAME]
    assert names(craft.read(tmp_path, craft.pcap(packets), kinds={"tls"})) == [NAME]


def test_a_long_talk_in_an_unknown_protocol_is_read_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = bytes(range(128, 160)) + b"\x15device vacuum-4711 of Anna\x80\x81"
    over_tcp = talk(*((bool(number % 2), words) for number in range(40)), dport=6_000)
    packets = over_tcp + [craft.udp(words, 41_000, 6_000)] * 40
    for bound, value, told in (("MAX_WORDS", 500, 500 // len(words) + 1), ("MAX_TOLD", 20, 20)):
        with monkeypatch.context() as patched:
            patched.setattr(speakers, bound, value)
            if bound == "MAX_TOLD":
                patched.setattr(datagrams, bound, value)
            found = craft.read(tmp_path, craft.pcap(packets))
        counts = Counter(r.transport for r in found if isinstance(r, Message))
        assert counts["tcp"] == told
        assert counts["udp"] == (20 if bound == "MAX_TOLD" else 40)
        gaps = [r.reason for r in found if isinstance(r, Gap)]
        assert gaps == ["limit"] * (2 if bound == "MAX_TOLD" else 1)


@pytest.mark.parametrize("size", [32, 40, 64, 400])
def test_random_data_seldom_looks_like_text(size: int) -> None:
    noise = random.Random(size)
    assert sum(payloads.readable(noise.randbytes(size)) for _ in range(10_000)) < 30


def test_text_between_binary_fields_is_readable() -> None:
    call = b"\x80\x01\0\x01\0\0\0\x0bsearchQuery\0\0\0\x01\x0b\0\x01\0\0\0\x17"  # as Thrift frames them
    assert payloads.readable(call + b"headache in the morning")
