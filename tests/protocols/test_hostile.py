"""Every entry point against bytes of a stranger: Malformed or a result, nothing else, in bounded time."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.protocols import (
    connect,
    dhcp,
    dns,
    dtls,
    gquic,
    grpc,
    http1,
    http2,
    ja4,
    mqtt,
    quic,
    sctp,
    socks,
    ssdp,
    tls,
    websocket,
)
from audit.protocols.malformed import Malformed


def streamed(make: Callable[[], Any]) -> Callable[[bytes], object]:
    """An entry point of one argument: cut into pieces by its own bytes, with a loss in the middle."""

    def run(data: bytes) -> object:
        stream = make()
        dice = random.Random(data)
        at = 0
        lost = dice.random() < 0.5
        while at < len(data):
            size = dice.randrange(1, 60)
            stream.feed(data[at : at + size])
            at += size
            if lost and at > len(data) // 2:
                stream.gap(dice.randrange(1, 40))
                lost = False
        return stream.finish() if hasattr(stream, "finish") else None

    return run


class OneWay:
    """One direction of a parser of both, as an object with feed and gap."""

    def __init__(self, connection: Any, response: bool) -> None:
        self._connection = connection
        self._response = response
        if response:
            connection.feed(b"GET / HTTP/1.1\r\n\r\n", False)

    def feed(self, data: bytes) -> object:
        return self._connection.feed(data, self._response)

    def gap(self, size: int) -> object:
        return self._connection.gap(size, self._response)

    def finish(self) -> object:
        return self._connection.finish(self._response)


def fingerprint(data: bytes) -> str | None:
    return ja4.ja4(tls.client_hello(data))


ENTRIES: dict[str, Callable[[bytes], object]] = {
    "dns": dns.parse,
    "nbns": lambda data: dns.parse(data, nbns=True),
    "dns-tcp": streamed(dns.Framing),
    "client-hello": fingerprint,
    "server-hello": tls.server_hello,
    "certificate": tls.certificate,
    "tls": streamed(tls.Stream),
    "dtls": lambda data: dtls.Stream().feed(data),
    "quic": lambda data: quic.Initials().feed(data),
    "quic-frames": lambda data: list(quic.crypto_frames(data)),
    "gquic": gquic.client_hello,
    "requests": streamed(lambda: OneWay(http1.Connection(), False)),
    "responses": streamed(lambda: OneWay(http1.Connection(), True)),
    "http2-up": streamed(lambda: http2.Direction(False)),
    "http2-down": streamed(lambda: http2.Direction(True)),
    "http2-late": streamed(lambda: http2.Direction(True, late=True)),
    "websocket-up": streamed(lambda: websocket.Messages(False, websocket.Deflate(True, 15))),
    "websocket-down": streamed(lambda: websocket.Messages(True)),
    "mqtt": streamed(mqtt.Packets),
    "socks": socks.client,
    "socks-4": lambda data: socks.server(data, 4),
    "socks-5": lambda data: socks.server(data, 5),
    "connect": lambda data: connect.target(data.decode("latin-1")),
    "dhcp": dhcp.parse,
    "dhcp-6": dhcp.parse6,
    "ssdp": ssdp.parse,
    "sctp": sctp.data_chunks,
    "grpc": grpc.parse,
    "extensions": lambda data: websocket.negotiated(data.decode("latin-1"), response=True),
}

SEEDS: dict[str, list[str]] = {
    "dns": [
        "000181800001000200000001037777770161000001000103777777c0100005000100000001000261 61c00cc00c0041000100000009000900010000010003026832"
    ],
    "client-hello": [
        "0303"
        + "11" * 32
        + "00000413011302010000380000000e000c0000096c6f63616c686f73740010000500030268320000002b0003020304000d000400020403000a00040002001dfe0d000100"
    ],
    "tls": [
        "16030100050100000100",
        "1603010030010000" + "2c0303" + "22" * 32 + "000002130101000000",
        "15030100020228",
    ],
    "quic": [
        "c300000001088394c8f03e5157080000449e00000002" + "00" * 60,
        "80000000000461626364026566000000016b3343cf",
    ],
    "requests": [
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n".hex()
    ],
    "responses": [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 304 x\r\n\r\n".hex()],
    "http2-up": [
        (http2.PREFACE + bytes(3) + b"\4\0" + bytes(4)).hex()
        + "00000d0105000000018286 84410f7777772e657861".replace(" ", "")
    ],
    "websocket-up": ["818537fa213d7f9f4d5158c18737fa213dc5b2e8f4fe3d21", "890548656c6c6f"],
    "mqtt": ["101200044d5154540402003c00066c616d702d37", "300a0003612f6278797a7a79"],
    "socks": ["050100050100030161003500", "0401005000000001006100"],
    "dhcp-6": ["0161626300270006010461626364", "0b61626300100006000001570002"],
    "dhcp": [(b"\1\1\6\0" + bytes(232)).hex() + "638253630c0161350103ff"],
}


def run(entry: str, data: bytes) -> None:
    with contextlib.suppress(Malformed):
        ENTRIES[entry](data)


@pytest.mark.parametrize("entry", ENTRIES)
def test_any_bytes(entry: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=600))
    def check(data: bytes) -> None:
        run(entry, data)

    check()


@pytest.mark.parametrize("entry", SEEDS)
def test_mutations_of_valid_messages(entry: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.sampled_from(SEEDS[entry]), min_size=1, max_size=4),
        st.lists(
            st.tuples(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["set", "delete", "insert"])),
            max_size=6,
        ),
        st.integers(0, 400),
    )
    def check(parts: list[str], changes: list[tuple[int, int, str]], cut: int) -> None:
        data = bytearray(bytes.fromhex("".join(parts)))
        for place, byte, change in changes:
            place %= len(data) + 1
            if change == "set" and place < len(data):
                data[place] = byte
            elif change == "delete":
                del data[place : place + byte % 8]
            else:
                data[place:place] = bytes((byte,)) * (byte % 9)
        run(entry, bytes(data))
        run(entry, bytes(data[:cut]))

    check()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"\xc0", b"\x0a", b"\x16", b"\x81", b"\x10"])
def test_long_runs_of_one_byte(entry: str, byte: bytes) -> None:
    run(entry, byte * 20000)
