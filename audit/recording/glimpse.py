"""Which name a packet tells, for the live summary only: a DNS question or the server name of a TLS hello.

It looks at one packet at a time and remembers none, so it misses what is split or encrypted; the analysis
of the recording does not. It never raises and never decides anything.
Specifications: RFC 791, 8200, 9293, 768; the names are read by `audit.protocols`.
"""

from __future__ import annotations

from audit.protocols import dns, tls
from audit.protocols.malformed import Malformed

ETHERNET, RAW_IP = 1, 101
_TAGS = (b"\x81\x00", b"\x88\xa8")
_INTERNET = (b"\x08\x00", b"\x86\xdd")
_TCP, _UDP = 6, 17


def name_in(packet: bytes, link: int) -> str | None:
    """The name, None if the packet tells none. `link` is a link type of pcap; others than
    ETHERNET and RAW_IP tell nothing."""
    at = _network(packet, link)
    if at < 0 or len(packet) < at + 28:
        return None
    version = packet[at] >> 4
    if version == 4:
        fragment = int.from_bytes(packet[at + 6 : at + 8], "big") & 0x1FFF
        protocol, at = packet[at + 9], at + (packet[at] & 15) * 4
        if fragment:
            return None
    elif version == 6:
        protocol, at = packet[at + 6], at + 40
    else:
        return None
    try:
        if protocol == _UDP and packet[at + 2 : at + 4] == b"\x00\x35":
            return _asked(packet[at + 8 :])
        if protocol == _TCP and len(packet) > at + 20:
            payload = packet[at + (packet[at + 12] >> 4) * 4 :]
            if payload[:2] == b"\x16\x03" and payload[5:6] == b"\x01":
                return _served(payload)
    except Malformed:
        pass
    return None


def _network(packet: bytes, link: int) -> int:
    if link == RAW_IP:
        return 0
    if link != ETHERNET:
        return -1
    at = 12
    while packet[at : at + 2] in _TAGS:
        at += 4
    return at + 2 if packet[at : at + 2] in _INTERNET else -1


def _asked(message: bytes) -> str | None:
    questions = dns.parse(message).questions
    return questions[0].name if questions else None


def _served(payload: bytes) -> str | None:
    stream = tls.Stream()
    for event in (*stream.feed(payload), *stream.finish()):
        if isinstance(event, tls.ClientHello):
            return event.sni
    return None
