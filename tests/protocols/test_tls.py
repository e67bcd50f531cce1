"""Hellos of TLS and DTLS, their records and fragments, and the client's fingerprint."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import struct

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.protocols import dtls, ja4, tls
from audit.protocols.malformed import Malformed


def u16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def sized(data: bytes, width: int = 2) -> bytes:
    return len(data).to_bytes(width, "big") + data


def hello(
    *,
    ciphers: tuple[int, ...] = (0x0A0A, 0x1301, 0xC02F),
    extensions: list[tuple[int, bytes]] | None = None,
    cookie: bytes | None = None,
    version: int = 0x0303,
    session: bytes = b"S" * 32,
) -> bytes:
    if extensions is None:
        extensions = [
            (0x1A1A, b""),
            (0, sized(b"\0" + sized(b"www.example.org"))),
            (10, sized(u16(0x2A2A, 29, 23))),
            (13, sized(u16(0x0403, 0x0804))),
            (16, sized(sized(b"h2", 1) + sized(b"http/1.1", 1))),
            (43, sized(u16(0x3A3A, 0x0304, 0x0303), 1)),
            (0xFE0D, b"\0" * 30),
            (42, b""),
            (41, b"\0" * 40),
        ]
    body = u16(version) + bytes(range(32)) + sized(session, 1)
    if cookie is not None:
        body += sized(cookie, 1)
    body += sized(u16(*ciphers)) + b"\x01\x00"
    return body + sized(b"".join(u16(kind) + sized(data) for kind, data in extensions))


def handshake(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + sized(body, 3)


def record(body: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes((kind,)) + u16(version) + sized(body)


def test_everything_in_a_client_hello() -> None:
    found = tls.client_hello(hello())
    assert found == tls.ClientHello(
        version=0x0303,
        random=bytes(range(32)),
        session_id=b"S" * 32,
        ciphers=(0x0A0A, 0x1301, 0xC02F),
        extensions=(0x1A1A, 0, 10, 13, 16, 43, 0xFE0D, 42, 41),
        sni="www.example.org",
        alpn=("h2", "http/1.1"),
        versions=(0x3A3A, 0x0304, 0x0303),
        groups=(0x2A2A, 29, 23),
        signature_algorithms=(0x0403, 0x0804),
        ech=True,
        psk=True,
        ticket=False,
        early_data=True,
        complete=True,
    )


def test_a_cut_hello_tells_what_stood_before_the_cut() -> None:
    whole = hello()
    for size in range(len(whole)):
        try:
            found = tls.client_hello(whole[:size])
        except Malformed:
            assert size < 80
            continue
        # TLS 1.0 allows a hello to end behind its compression methods
        assert found.complete == (size == 77)
        assert found.sni == ("www.example.org"[: max(size - 92, 0)] if size > 91 else None)


def test_python_s_own_hello() -> None:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="shop.example")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    (found,) = tls.Stream().feed(outgoing.read())
    assert isinstance(found, tls.ClientHello)
    assert (found.sni, found.alpn, found.complete) == ("shop.example", ("h2", "http/1.1"), True)
    assert (ja4.ja4(found) or "")[:4] == "t13d"


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=30), st.lists(st.integers(1, 60), max_size=30))
def test_records_and_segments_may_be_cut_anywhere(record_sizes: list[int], segment_sizes: list[int]) -> None:
    message = handshake(1, hello())
    wire = b""
    at = 0
    for size in [*record_sizes, len(message)]:
        if at < len(message):
            wire += record(message[at : at + size])
            at += size
    wire += record(b"\2\x28", 21)
    stream = tls.Stream()
    events: list[tls.Event] = []
    at = 0
    for size in [*segment_sizes, len(wire)]:
        events += stream.feed(wire[at : at + size])
        at += size
    assert events == [tls.client_hello(hello()), tls.Alert(2, 40)]


def server_hello(random: bytes = bytes(32), session: bytes = b"S" * 32, extensions: bytes = b"") -> bytes:
    return u16(0x0303) + random + sized(session, 1) + u16(0x1301) + b"\0" + sized(extensions)


def test_server_hello() -> None:
    chosen = u16(43) + sized(u16(0x0304)) + u16(16) + sized(sized(sized(b"h2", 1))) + u16(41) + sized(u16(0))
    found = tls.server_hello(server_hello(extensions=chosen))
    assert (found.version, found.cipher, found.alpn, found.psk, found.retry) == (
        0x0304,
        0x1301,
        "h2",
        True,
        False,
    )
    client = tls.client_hello(hello())
    assert tls.resumed(client, found)
    assert tls.resumed(client, tls.server_hello(server_hello()))
    assert not tls.resumed(client, tls.server_hello(server_hello(session=b"T" * 32)))


def test_a_second_hello_after_a_retry_is_told_and_the_rest_is_sealed() -> None:
    first = record(handshake(1, hello()))
    wire = first + record(b"\1", 20) + record(handshake(1, hello(ciphers=(0x1302,)))) + record(b"x" * 50, 23)
    stream = tls.Stream()
    events = stream.feed(wire)
    assert [type(event) for event in events] == [tls.ClientHello, tls.ClientHello, tls.Sealed]
    assert stream.sealed
    assert stream.feed(first) == []


def test_encrypted_handshake_records_are_not_taken_for_messages() -> None:
    wire = record(handshake(2, server_hello())) + record(b"\1", 20) + record(b"\x01\x99" + b"z" * 38)
    events = tls.Stream().feed(wire)
    assert [type(event) for event in events] == [tls.ServerHello, tls.Sealed]


def certificate(*names: x509.GeneralName) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "common.example")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 5, begin, begin + datetime.timedelta(9)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_certificate_names() -> None:
    der = certificate(
        x509.DNSName("a.example"),
        x509.DNSName("*.b.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    )
    message = handshake(11, sized(sized(der, 3) + sized(certificate(), 3), 3))
    events = tls.Stream().feed(record(message))
    assert events == [tls.Certificate("common.example", ("a.example", "*.b.example", "192.0.2.7"))]
    assert tls.Stream().feed(record(handshake(11, sized(sized(der[:-9], 3), 3)))) == []
    assert tls.certificate(sized(sized(certificate(), 3), 3)).names == ()
    strange = certificate().replace(b"\x0c\x0ecommon.example", b"\x91\x0ecommon.example")  # no type of string
    with pytest.raises(Malformed):
        tls.certificate(sized(sized(strange, 3), 3))


def test_reading_goes_on_after_loss() -> None:
    filler = record(b"f" * 300, 21)
    wire = filler * 3 + record(handshake(1, hello())) + record(b"\2\x28", 21)
    for at, size in ((100, 50), (100, 500), (305, 10), (0, 7), (306, 305)):
        stream = tls.Stream()
        events = stream.feed(wire[:at])
        stream.gap(size)
        for place in range(at + size, len(wire), 90):
            events += stream.feed(wire[place : min(place + 90, len(wire))])
        assert events == [tls.client_hello(hello()), tls.Alert(2, 40)]


def test_what_is_no_tls_is_refused() -> None:
    with pytest.raises(Malformed):
        tls.Stream().feed(b"GET / HTTP/1.1\r\n")


def test_a_hello_cut_by_the_end_is_told() -> None:
    stream = tls.Stream()
    assert stream.feed(record(handshake(1, hello()))[:150]) == []
    (found,) = stream.finish()
    assert isinstance(found, tls.ClientHello)
    assert (found.sni, found.complete) == ("www.example.org", False)


def dtls_record(body: bytes, epoch: int = 0) -> bytes:
    return bytes((22,)) + u16(0xFEFD, epoch) + bytes(6) + sized(body)


def test_dtls_hello_in_fragments_out_of_order() -> None:
    body = hello(cookie=b"cookie", version=0xFEFD)
    parts = [
        dtls_record(
            bytes((1,)) + sized(body, 3)[:3] + u16(0) + at.to_bytes(3, "big") + sized(body[at : at + 60], 3)
        )
        for at in range(0, len(body), 60)
    ]
    stream = dtls.Stream()
    events = [event for part in reversed(parts) for event in stream.feed(part)]
    assert events == [tls.client_hello(body, dtls=True)]
    assert isinstance(events[0], tls.ClientHello)
    assert events[0].sni == "www.example.org"
    with pytest.raises(Malformed):
        dtls.Stream().feed(b"\0" * 40)
    assert dtls.Stream().feed(dtls_record(b"x" * 30, epoch=1)) == []
    assert dtls.Stream().feed(b"\x2c" + b"x" * 30) == []


def test_ja4_of_the_published_example() -> None:
    # the example in FoxIO's technical description of JA4
    ciphers = "1301 1302 1303 c02b c02f c02c c030 cca9 cca8 c013 c014 009c 009d 002f 0035"
    kinds = "001b 0000 0033 0010 4469 0017 002d 000d 0005 0023 0012 002b ff01 000b 000a 0015"
    contents = {
        0x0000: sized(b"\0" + sized(b"a.example")),
        0x0010: sized(sized(b"h2", 1)),
        0x000D: sized(u16(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)),
        0x002B: sized(u16(0x5A5A, 0x0304, 0x0303), 1),
    }
    body = hello(
        ciphers=(0x0A0A, *(int(cipher, 16) for cipher in ciphers.split())),
        extensions=[
            (0x6A6A, b""),
            *((kind := int(text, 16), contents.get(kind, b"")) for text in kinds.split()),
        ],
    )
    assert ja4.ja4(tls.client_hello(body)) == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert (ja4.ja4(tls.client_hello(body), ja4.QUIC) or "")[0] == "q"


@pytest.mark.parametrize(
    ("alpn", "shown"),
    [(b"h2", "h2"), (b"\xab", "ab"), (b"\x30\xab", "3b"), (b"\xabc\x30", "a0"), (b"x", "xx")],
)
def test_ja4_alpn(alpn: bytes, shown: str) -> None:
    found = tls.client_hello(hello(extensions=[(16, sized(sized(alpn, 1)))]))
    assert ja4.ja4(found) == f"t12i0201{shown}_{ja4._ciphers((0x1301, 0xC02F))[1]}_e3b0c44298fc"


def test_ja4_without_extensions() -> None:
    assert (ja4.ja4(tls.client_hello(hello(extensions=[]))) or "").endswith("_000000000000")
