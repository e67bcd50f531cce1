"""Conversations made for tests: TLS without sockets, HTTP inside of it, and what the server saw of it.

Keys come from the library that encrypts, so nothing here knows how secrets are derived.
"""

from __future__ import annotations

import datetime
import hashlib
import random
import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from audit.records import AnyRecord, Http
from audit.sources import Wanted, read

from .wire import Tcp, Wire

NO_ENCRYPT_THEN_MAC = 1 << 19  # OpenSSL's SSL_OP_NO_ENCRYPT_THEN_MAC


class Exchanged(NamedTuple):
    """What the server saw of a request and sent for it."""

    method: str
    path: str
    sent: str  # digests of the bodies
    answered: str


def digest(body: bytes) -> str:
    """Of a body."""
    return hashlib.sha256(body).hexdigest()


def exchanged(records: list[AnyRecord]) -> list[Exchanged]:
    """What our reader saw, in the same form."""
    return [
        Exchanged(r.method, r.path, digest(r.body or b""), digest(r.response_body or b""))
        for r in records
        if isinstance(r, Http) and r.status is not None
    ]


def opened(capture: Path, *keys: Path, jobs: int = 1) -> list[AnyRecord]:
    """All records of a capture with these key logs."""
    return list(read(capture, capture.name, Wanted(keys=keys, bodies=True, jobs=jobs)))


@cache
def certificate(kind: str) -> tuple[bytes, bytes]:
    """A certificate for `made.example` and its key, as PEM."""
    key = (
        rsa.generate_private_key(65_537, 2_048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("made.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, form, plain),
    )


def certificate_files(folder: Path, kind: str = "rsa") -> tuple[Path, Path]:
    """The same as files."""
    paths = folder / f"{kind}.crt", folder / f"{kind}.key"
    for path, content in zip(paths, certificate(kind), strict=True):
        path.write_bytes(content)
    return paths


class Contexts(NamedTuple):
    """Both ends' settings; the client's logs its secrets."""

    client: ssl.SSLContext
    server: ssl.SSLContext


def contexts(
    folder: Path, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, ciphers: str = "", kind: str = "rsa",
    alpn: str = "http/1.1", options: int = 0, log: str = "keys.log",
) -> Contexts:  # fmt: skip
    """Settings for one version and one list of ciphers."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.keylog_filename = str(folder / log)
    server.load_cert_chain(*map(str, certificate_files(folder, kind)))
    for one in (client, server):
        one.set_ciphers((ciphers or "DEFAULT") + ":@SECLEVEL=0")
        one.minimum_version = one.maximum_version = version
        one.options |= options
        one.set_alpn_protocols([alpn])
    return Contexts(client, server)


class Pair:
    """A TLS connection between two ends in memory, put on a wire."""

    def __init__(self, ends: Contexts, on: Tcp, session: ssl.SSLSession | None = None) -> None:
        self._bios = [ssl.MemoryBIO() for _ in range(4)]
        to_client, from_client, to_server, from_server = self._bios
        self.client = ends.client.wrap_bio(
            to_client, from_client, server_hostname="made.example", session=session
        )
        self.server = ends.server.wrap_bio(to_server, from_server, server_side=True)
        self._on = on
        waiting = [self.client, self.server]
        while waiting:
            for end in list(waiting):
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    pass
                self.flush()

    def flush(self) -> None:
        """Carry what the ends wrote over the wire."""
        to_client, from_client, to_server, from_server = self._bios
        for source, sink, up in ((from_client, to_server, True), (from_server, to_client, False)):
            data = source.read()
            if data:
                self._on.send(data, up=up)
                sink.write(data)

    def say(self, data: bytes, *, up: bool) -> None:
        """One end says this; the other hears it."""
        for at in range(0, len(data), 60_000):
            (self.client if up else self.server).write(data[at : at + 60_000])
            self.flush()
            self.hear(up=not up)

    def hear(self, *, up: bool) -> bytes:
        """What an end has to read."""
        heard = b""
        while True:
            try:
                piece = (self.client if up else self.server).read(1 << 16)
            except ssl.SSLWantReadError:
                return heard
            if not piece:
                return heard
            heard += piece


Say = Callable[[bytes, bool], None]


def http1(say: Say, seed: int, count: int, largest: int = 40_000) -> list[Exchanged]:
    """Requests and responses of random sizes; what the server saw."""
    chance = random.Random(seed)
    seen = []
    for number in range(count):
        sent = chance.randbytes(chance.randrange(largest)) if chance.random() < 0.5 else b""
        answered = chance.randbytes(chance.randrange(largest))
        method, path = ("POST" if sent else "GET"), f"/{seed}/{number}?q=word+{chance.randrange(10**6)}"
        say(
            f"{method} {path} HTTP/1.1\r\nHost: made.example\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
            + sent,
            True,
        )
        say(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answered)}\r\n\r\n".encode() + answered, False)
        seen.append(Exchanged(method, path, digest(sent), digest(answered)))
    return seen


def http2(say: Say, seed: int, count: int, largest: int = 40_000) -> list[Exchanged]:
    """The same over HTTP/2: streams interleaved, bodies padded, trailers on some."""
    chance = random.Random(seed)
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    for one in (client, server):
        one.increment_flow_control_window(1 << 30)

    def carry() -> None:
        while (up := client.data_to_send()) or (down := server.data_to_send()):
            if up:
                say(up, True)
                server.receive_data(up)
            else:
                say(down, False)
                client.receive_data(down)

    carry()
    seen = []
    for first in range(0, count, 4):
        together: list[tuple[int, bytes, h2.connection.H2Connection, list[tuple[str, str]] | None]] = []
        for number in range(first, min(first + 4, count)):
            stream = client.get_next_available_stream_id()
            sent = chance.randbytes(chance.randrange(largest // 8)) if chance.random() < 0.5 else b""
            answered = chance.randbytes(chance.randrange(largest))
            method, path = ("POST" if sent else "GET"), f"/{seed}/{number}?q=word+{chance.randrange(10**6)}"
            fields = [(":method", method), (":scheme", "https"), (":authority", "made.example"), (":path", path),
                      ("user-agent", "a browser made for tests"), ("x-number", str(number))]  # fmt: skip
            client.send_headers(stream, fields, end_stream=not sent)
            if sent:
                together.append((stream, sent, client, None))
            server_fields = [(":status", "200"), ("server", "made"), ("x-turn", str(number % 3))]
            trailers = [("x-checksum", digest(answered)[:8])] if number % 3 == 0 else None
            seen.append(Exchanged(method, path, digest(sent), digest(answered)))
            carry()
            server.send_headers(stream, server_fields)
            client.increment_flow_control_window(1 << 24, stream)
            server.increment_flow_control_window(1 << 24, stream)
            carry()
            together.append((stream, answered, server, trailers))
        _interleaved(chance, together, carry)
    return seen


def _interleaved(
    chance: random.Random,
    bodies: list[tuple[int, bytes, h2.connection.H2Connection, list[tuple[str, str]] | None]],
    carry: Callable[[], None],
) -> None:
    left = [list(entry) for entry in bodies]
    while left:
        entry = chance.choice(left)
        stream, body, end, trailers = entry
        size = chance.randrange(1, 12_000)
        last = len(body) <= size
        end.send_data(
            stream, body[:size], end_stream=last and not trailers, pad_length=chance.choice((None, 7))
        )
        entry[1] = body[size:]
        if last:
            left.remove(entry)
            if trailers:
                end.send_headers(stream, trailers, end_stream=True)
        carry()


def say_over(pair: Pair) -> Say:
    """Speak over a TLS connection."""
    return lambda data, up: pair.say(data, up=up)


def https(wire: Wire, ends: Contexts, seed: int, count: int, port: int = 40_001) -> list[Exchanged]:
    """One connection of HTTP/1 over TLS; what the server saw."""
    on = wire.tcp(port)
    pair = Pair(ends, on)
    seen = http1(say_over(pair), seed, count)
    on.close()
    return seen
