"""DNS messages: what resolvers send, what hostile senders send."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR

from audit.protocols import dns
from audit.protocols.malformed import Malformed


def header(questions: int = 1, answers: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">HHHHHH", 7, flags, questions, answers, 0, 0)


def name(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def test_question_and_answers() -> None:
    packet = DNS(
        id=77,
        qr=1,
        qd=DNSQR(qname="www.example.org", qtype="A"),
        an=[
            DNSRR(rrname="www.example.org", type="CNAME", rdata="edge.example.net", ttl=60),
            DNSRR(rrname="edge.example.net", type="A", rdata="192.0.2.1", ttl=30),
            DNSRR(rrname="edge.example.net", type="AAAA", rdata="2001:db8::1", ttl=30),
            DNSRR(rrname="edge.example.net", type="TXT", rdata=[b"a b", b"c"], ttl=30),
        ],
        ar=[DNSRR(rrname="ns.example.net", type="A", rdata="192.0.2.9", ttl=1)],
    )
    message = dns.parse(bytes(packet))
    assert message.id == 77
    assert message.response
    assert message.complete
    assert message.questions == (("www.example.org", 1, 1),)
    assert message.answers == (
        ("www.example.org", 5, 60, "edge.example.net"),
        ("edge.example.net", 1, 30, "192.0.2.1"),
        ("edge.example.net", 28, 30, "2001:db8::1"),
        ("edge.example.net", 16, 30, '"a b" "c"'),
    )
    assert message.others == (("ns.example.net", 1, 1, "192.0.2.9"),)


def test_the_unicast_bit_of_mdns_is_no_part_of_the_class() -> None:
    message = dns.parse(header() + name(b"_airplay", b"_tcp", b"local") + b"\x00\x0c\x80\x01")
    assert message.questions == (("_airplay._tcp.local", 12, 1),)


def test_odd_bytes_are_escaped() -> None:
    message = dns.parse(header() + name(b"a\x00\\\nb", b"Cats Claws", "é".encode(), b"\xff") + b"\0\1\0\1")
    assert message.questions[0].name == "a\\000\\\\\\nb.Cats Claws.é.�"


def test_https_record() -> None:
    # RFC 9460, appendix D.2: target foo.example.org, alpn h2 and h3-19, an address hint
    data = struct.pack(">H", 16) + name(b"foo", b"example", b"org")
    data += b"\0\1\0\x09\x02h2\x05h3-19\0\4\0\4\xc0\0\2\1\0\6\0\x10" + bytes(15) + b"\1" + b"\2\x9b\0\2hi"
    record = name(b"a") + struct.pack(">HHIH", 65, 1, 9, len(data)) + data
    answer = dns.parse(header(0, 1, 0x8000) + record).answers[0]
    assert answer.data == "16 foo.example.org alpn=h2,h3-19 ipv4hint=192.0.2.1 ipv6hint=::1 key667=6869"


def test_netbios_name() -> None:
    # RFC 1001, 14.1: "The NetBIOS name" in scope SCOPE.ID.COM
    label = b"FEGIGFCAEOGFHEECEJEPFDCAGOGBGNGF"
    question = header() + name(label, b"SCOPE", b"ID", b"COM") + b"\0\x20\0\1"
    assert dns.parse(question, nbns=True).questions[0].name == "The NetBIOS nam<65>.SCOPE.ID.COM"
    padded = bytes(b for char in b"PC             \0" for b in (65 + (char >> 4), 65 + (char & 15)))
    assert dns.parse(header() + name(padded) + b"\0\x20\0\1", nbns=True).questions[0].name == "PC<00>"


@pytest.mark.parametrize(
    "tail",
    [
        b"\xc0\x0c\0\1\0\1",  # points at itself
        b"\x3fshort",
        b"\x40\0\0\1\0\1",
        b"",
        name(*[b"x" * 60] * 5) + b"\0\1\0\1",
    ],
)
def test_a_name_that_cannot_be_read(tail: bytes) -> None:
    with pytest.raises(Malformed):
        dns.parse(header() + tail)


def test_what_stands_before_the_damage_is_kept() -> None:
    message = dns.parse(header(2, 5, 0x8180) + name(b"a", b"test") + b"\0\1\0\1" + b"\xc0")
    assert message.questions == (("a.test", 1, 1),)
    assert not message.complete


def test_a_count_is_not_believed() -> None:
    message = dns.parse(header(0xFFFF) + b"\0\0\1\0\1" * 9000)
    assert len(message.questions) == dns.MAX_RECORDS


LABEL = st.binary(min_size=1, max_size=20)


@settings(deadline=None)
@given(st.lists(LABEL, min_size=1, max_size=8), st.integers(0, 65535))
def test_names_come_back(labels: list[bytes], kind: int) -> None:
    question = dns.parse(header() + name(*labels) + struct.pack(">HH", kind, 1)).questions[0]
    assert question.type == kind
    if all(label.isalnum() and label.isascii() for label in labels):
        assert question.name == b".".join(labels).decode()


def test_framing_over_tcp_and_loss() -> None:
    messages = [header() + name(b"host%d" % number, b"example") + b"\0\1\0\1" for number in range(6)]
    framed = [struct.pack(">H", len(message)) + message for message in messages]
    stream = dns.Framing()
    assert stream.feed(b"".join(framed[:2]) + framed[2][:9]) == messages[:2]
    stream.gap(20)
    assert stream.feed(framed[2][29:] + b"".join(framed[3:5])) == messages[3:5]
    assert stream.feed(framed[5]) == messages[5:]
