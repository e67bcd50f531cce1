"""Names for the live summary: DNS questions and TLS server names of single packets."""

from __future__ import annotations

import contextlib
import ssl

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Dot1Q, Ether

from audit.recording.glimpse import ETHERNET, RAW_IP, name_in
from tests.sources.pcap import craft

QUERY = bytes.fromhex("000101000001000000000000") + b"\x01a\x07example\0\0\1\0\1"


def hello(name: str) -> bytes:
    """What a real client sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_a_question_is_a_name_and_its_answer_is_not_counted_again() -> None:
    assert name_in(craft.udp(QUERY, 4000, 53), ETHERNET) == "a.example"
    assert name_in(craft.udp(QUERY, 53, 4000), ETHERNET) is None


def test_a_hello_tells_its_server() -> None:
    packet = craft.tcp(hello("b.example"), 1, dport=443)
    assert name_in(packet, ETHERNET) == "b.example"
    assert name_in(packet[14:], RAW_IP) == "b.example"
    ether = Ether(packet)
    assert (
        name_in(bytes(Ether(dst=ether.dst, src=ether.src) / Dot1Q() / ether.payload), ETHERNET) == "b.example"
    )


@given(st.binary(max_size=120))
def test_no_packet_is_too_strange(packet: bytes) -> None:
    for link in (ETHERNET, RAW_IP, 127):
        name_in(packet, link)
    name_in(bytes(12) + b"\x08\x00\x45" + packet, ETHERNET)
