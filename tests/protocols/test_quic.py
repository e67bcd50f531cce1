"""QUIC packets: the vectors of RFC 9001 and RFC 9369, and Initials as networks deliver them."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.protocols import gquic, quic, tls
from audit.protocols.malformed import Malformed

DCID = bytes.fromhex("8394c8f03e515708")
# RFC 9001, A.2
HELLO = bytes.fromhex(
    "010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c0000041301130201"
    "0000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d001700180010000700050461"
    "6c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43"
    "e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001003900"
    "320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff"
)
# RFC 9001, A.3, and RFC 9369, A.3: the server's Initial
SERVER = bytes.fromhex(
    "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3"
    "8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
    "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee"
)
SERVER_V2 = bytes.fromhex(
    "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89237bbf872630"
    "17915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2"
    "c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca84bed8521e2e140"
)


def varint(value: int) -> bytes:
    return (value | 0x4000).to_bytes(2, "big") if value < 0x4000 else (value | 0x80000000).to_bytes(4, "big")


def seal(
    frames: bytes,
    number: int,
    *,
    version: int = quic.V1,
    origin: bytes = DCID,
    dcid: bytes | None = None,
    scid: bytes = b"",
    server: bool = False,
) -> bytes:
    """An Initial packet, protected as RFC 9001, 5 says; independent of the code under test but for HKDF."""
    secret = quic.expand_label(
        quic._initial_secret(version, origin), "server in" if server else "client in", 32
    )
    prefix = "quicv2" if version == quic.V2 else "quic"
    key, iv, hp = (
        quic.expand_label(secret, f"{prefix} {what}", size)
        for what, size in (("key", 16), ("iv", 12), ("hp", 16))
    )
    first = (0xD0 if version == quic.V2 else 0xC0) | 3
    target = dcid if dcid is not None else b"scid" if server else origin
    ids = bytes((len(target),)) + target + bytes((len(scid),)) + scid
    header = bytes((first,)) + version.to_bytes(4, "big") + ids + b"\0" + varint(len(frames) + 20)
    header += number.to_bytes(4, "big")
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    body = AESGCM(key).encrypt(nonce, frames, header)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(body[:16])
    masked = bytes(a ^ b for a, b in zip(header[-4:], mask[1:5], strict=True))
    return bytes((first ^ mask[0] & 15,)) + header[1:-4] + masked + body


def crypto(offset: int, data: bytes, kind: int = 6) -> bytes:
    return bytes((kind,)) + varint(offset) + varint(len(data)) + data


def test_keys_of_rfc_9001() -> None:
    secret = quic._initial_secret(quic.V1, DCID)
    assert secret.hex() == "7db5df06e7a69e432496adedb00851923595221596ae2ae9fb8115c1e9ed0a44"
    client = quic.expand_label(secret, "client in", 32)
    assert quic.expand_label(client, "quic key", 16).hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert quic.expand_label(client, "quic iv", 12).hex() == "fa044b2f42a3fd3b46fb255c"
    protection = quic.initial_protection(quic.V1, DCID, False)
    assert protection.mask(bytes.fromhex("d1b1c98dd7689fb8ec11d242b123dc9b"))[:5].hex() == "437b9aec36"


def test_the_client_s_initial_of_rfc_9001() -> None:
    packet = bytes.fromhex("c300000001088394c8f03e5157080000449e00000002")
    frames = crypto(0, HELLO) + bytes(1162 - 4 - len(HELLO))
    sealed = seal(b"\x06\x00" + varint(len(HELLO)) + HELLO + bytes(1162 - 4 - len(HELLO)), 2)
    assert len(frames) == 1163
    assert len(sealed) == 1200
    assert sealed[1:18] == packet[1:18]
    assert sealed[:34].hex() == "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242"[:68]
    assert sealed[-16:].hex() == "e221af44860018ab0856972e194cd934"
    (event,) = quic.Initials().feed(sealed)
    assert event == quic.Hello(quic.V1, DCID, False, 1, HELLO[4:])
    assert tls.client_hello(HELLO[4:]).sni == "example.com"


@pytest.mark.parametrize(("packet", "version"), [(SERVER, quic.V1), (SERVER_V2, quic.V2)])
def test_the_server_s_initial(packet: bytes, version: int) -> None:
    flow = quic.Initials()
    flow.feed(seal(crypto(0, HELLO) + bytes(900), 2, version=version))
    (event,) = flow.feed(packet)
    assert isinstance(event, quic.Hello)
    assert (event.server, event.kind, event.origin) == (True, 2, DCID)
    assert tls.server_hello(event.body).version == 0x0304


def test_a_server_s_initial_that_came_first_is_not_lost() -> None:
    flow = quic.Initials()
    assert flow.feed(SERVER) == []
    assert [
        event.server for event in flow.feed(seal(crypto(0, HELLO), 2)) if isinstance(event, quic.Hello)
    ] == [False, True]


@pytest.mark.parametrize(
    ("packet", "version"),
    [
        ("4cfe4189655e5cd55c41f69080575d7999c25a5bfb", quic.V1),
        ("5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba", quic.V2),
    ],
)
def test_chacha20_short_header(packet: str, version: int) -> None:
    # RFC 9001, A.5 and RFC 9369, A.5
    secret = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
    protection = quic.Protection(secret, version, quic.CHACHA20)
    data = bytes.fromhex(packet)
    (header,) = quic.packets(data)
    assert header.kind is quic.Kind.ONE_RTT
    opened = protection.open(data, header, 654360563)
    assert opened is not None
    assert opened[:2] == (654360564, b"\x01")
    assert protection.open(data[:-1] + b"\0", header, 654360563) is None


def test_retry_of_rfc_9001() -> None:
    packet = bytes.fromhex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba")
    (header,) = quic.packets(packet)
    assert (header.kind, header.token) == (quic.Kind.RETRY, b"token")
    assert quic.Initials().feed(packet) == [quic.Retry(quic.V1, bytes.fromhex("f067a5502a4262b5"))]


def test_after_a_retry_the_hello_goes_on_under_new_keys() -> None:
    flow = quic.Initials()
    half = len(HELLO) // 2
    assert flow.feed(seal(crypto(0, HELLO[:half]) + bytes(60), 0)) == []
    flow.feed(bytes.fromhex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba"))
    again = bytes.fromhex("f067a5502a4262b5")
    assert flow.feed(seal(crypto(half, HELLO[half:]), 1, origin=again)) == [
        quic.Hello(quic.V1, DCID, False, 1, HELLO[4:])
    ]
    assert flow.feed(seal(crypto(0, HELLO), 2, origin=again)) == []


def test_version_negotiation() -> None:
    packet = b"\x80" + bytes(4) + b"\x04abcd\x02ef" + bytes.fromhex("000000016b3343cf")
    assert quic.Initials().feed(packet) == [quic.Negotiation((quic.V1, quic.V2))]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([quic.V1, quic.V2, 0xFF00001D, 0xFACEB002]))
def test_crypto_frames_in_any_order_and_packing(seed: int, parts: int, version: int) -> None:
    dice = random.Random(seed)
    cuts = sorted(dice.sample(range(1, len(HELLO)), parts - 1))
    frames = [crypto(a, HELLO[a:b]) for a, b in zip([0, *cuts], [*cuts, len(HELLO)], strict=True)]
    frames += [crypto(5, HELLO[5:50]), b"\x01", b"\x02\x05\x00\x01\x02\x00\x01" + bytes(3)]
    dice.shuffle(frames)
    flow = quic.Initials()
    datagrams: list[bytes] = []
    for number, frame in enumerate(frames):
        packet = seal(frame + bytes(30), number, version=version)
        if datagrams and dice.random() < 0.4:
            datagrams[-1] += packet
        else:
            datagrams.append(packet)
    events = [event for datagram in datagrams for event in flow.feed(datagram)]
    assert events == [quic.Hello(version, DCID, False, 1, HELLO[4:])]


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=20)), max_size=8), st.randoms())
def test_frames_taken_in_together_read_as_one_by_one(
    odd: list[tuple[int, bytes]], dice: random.Random
) -> None:
    cuts = sorted(dice.sample(range(1, len(HELLO)), 4))
    whole = [(a, HELLO[a:b]) for a, b in zip([0, *cuts], [*cuts, len(HELLO)], strict=True)]
    dice.shuffle(whole)
    together, single = quic.CryptoStream(), quic.CryptoStream()
    for pieces in (odd, whole[:-1], odd[::-1], whole, [(len(HELLO) + 60, b"x"), (quic.MAX_CRYPTO, b"y")]):
        grew = any([single.add(offset, data) for offset, data in pieces])  # noqa: C419 - all are to be added
        assert together.join(pieces) is grew
        assert together.data == single.data


def test_a_packet_waits_for_what_opens_it() -> None:
    flow = quic.Initials()
    half = len(HELLO) // 2
    assert flow.feed(seal(crypto(0, HELLO[:half]) + bytes(60), 0)) == []
    # sent to an id that only the server's packet tells
    assert flow.feed(seal(crypto(half, HELLO[half:]), 1, dcid=b"cids")) == []
    (event,) = flow.feed(seal(b"\x01" * 40, 0, server=True, dcid=b"", scid=b"cids"))
    assert event == quic.Hello(quic.V1, DCID, False, 1, HELLO[4:])


def test_google_s_frames_and_chlo() -> None:
    frames = crypto(0, HELLO, 8)
    assert [
        event.kind
        for event in quic.Initials().feed(seal(frames, 0, version=0x54303531))
        if isinstance(event, quic.Hello)
    ] == [1]
    chlo = (
        b"CHLO" + b"\2\0\0\0" + b"SNI\0" + (11).to_bytes(4, "little") + b"VER\0" + (15).to_bytes(4, "little")
    )
    assert gquic.client_hello(b"xx" + chlo + b"example.orgQ043") == gquic.Hello("example.org", "Q043", None)
    for bad in (b"", chlo[:20], b"CHLO" + b"\xff" * 60):
        with pytest.raises(Malformed):
            gquic.client_hello(bad)


def test_a_hello_of_which_only_the_beginning_came() -> None:
    flow = quic.Initials()
    assert flow.feed(seal(crypto(0, HELLO[:120]), 0)) == []
    (partial,) = flow.partial()
    assert tls.client_hello(partial.body).sni == "example.com"


@pytest.mark.parametrize("data", ["", "00", "c0", "c000000001ff", "c00000000108aabb"])
def test_what_is_no_quic_is_refused(data: str) -> None:
    with pytest.raises(Malformed):
        quic.packets(bytes.fromhex(data))


def test_a_tampered_packet_says_nothing() -> None:
    packet = bytearray(seal(crypto(0, HELLO), 0))
    packet[-20] ^= 1
    assert quic.Initials().feed(bytes(packet)) == []


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 4))
def test_packet_numbers_are_recovered(expected: int, size: int) -> None:
    bits = size * 8
    for number in {max(expected - 3, 0), expected, expected + 100}:
        assert quic._recover(number & (1 << bits) - 1, bits, expected) == number


def test_the_appendix_example_of_packet_number_recovery() -> None:
    assert quic._recover(0x9B32, 16, 0xA82F30EA + 1) == 0xA82F9B32  # RFC 9000, A.3
