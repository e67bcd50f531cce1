"""3DES and RC4, which OpenSSL does not speak any more: an independent implementation of TLS speaks them here."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from audit.records import Flow, Gap, Http

from . import talks
from .wire import Tcp, Wire

tlslite = pytest.importorskip("tlslite.api", reason="tlslite-ng is not installed")

TLS10, TLS11, TLS12 = (3, 1), (3, 2), (3, 3)
SUITES = [
    ("3des", "sha", TLS10, False, 0x000A),
    ("3des", "sha", TLS10, True, 0x000A),
    ("3des", "sha", TLS11, True, 0x000A),
    ("3des", "sha", TLS12, False, 0x000A),
    ("3des", "sha", TLS12, True, 0x000A),
    ("rc4", "sha", TLS10, True, 0x0005),
    ("rc4", "sha", TLS12, True, 0x0005),
    ("rc4", "md5", TLS12, True, 0x0004),
]


class _Recorded:
    """One end of a socket pair; what it sends is put on the wire first."""

    def __init__(self, end: socket.socket, on: Tcp, *, up: bool) -> None:
        self._end, self._on, self._up = end, on, up

    def send(self, data: bytes) -> int:
        self._on.send(bytes(data), up=self._up)
        self._end.sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.send(data)

    def recv(self, size: int) -> bytes:
        return self._end.recv(size)

    def close(self) -> None:
        self._end.close()


class Old:
    """A connection between two ends of that implementation, shaken hands on."""

    def __init__(
        self,
        wire: Wire,
        cipher: str,
        mac: str,
        version: tuple[int, int],
        *,
        encrypt_then_mac: bool,
        port: int,
    ) -> None:
        settings = tlslite.HandshakeSettings()
        settings.minVersion = settings.maxVersion = version
        settings.cipherNames, settings.macNames = [cipher], [mac]
        settings.keyExchangeNames = ["rsa"]
        settings.useEncryptThenMAC = encrypt_then_mac
        ends = socket.socketpair()
        on = wire.tcp(port)
        self.client = tlslite.TLSConnection(_Recorded(ends[0], on, up=True))
        self.server = tlslite.TLSConnection(_Recorded(ends[1], on, up=False))
        certificate, key = talks.certificate("rsa")
        chain = tlslite.X509CertChain()
        chain.parsePemList(certificate.decode())
        private = tlslite.parsePEMKey(key.decode(), private=True)
        serving = threading.Thread(
            target=self.server.handshakeServer,
            kwargs={"certChain": chain, "privateKey": private, "settings": settings},
        )
        serving.start()
        self.client.handshakeClientCert(settings=settings, serverName="made.example")
        serving.join(30)

    def say(self, data: bytes, up: bool) -> None:
        """One end says this; the other hears it."""
        speaker, hearer = (self.client, self.server) if up else (self.server, self.client)
        speaking = threading.Thread(target=speaker.write, args=(data,))
        speaking.start()
        assert hearer.read(max=len(data), min=len(data)) == data
        speaking.join(30)

    @property
    def line(self) -> str:
        """Its line in a key log."""
        return f"CLIENT_RANDOM {self.client._clientRandom.hex()} {self.client.session.masterSecret.hex()}\n"


@pytest.mark.parametrize(("cipher", "mac", "version", "encrypt_then_mac", "number"), SUITES)
def test_every_byte_of_every_body(
    tmp_path: Path, cipher: str, mac: str, version: tuple[int, int], encrypt_then_mac: bool, number: int
) -> None:
    wire = Wire()
    old = Old(wire, cipher, mac, version, encrypt_then_mac=encrypt_then_mac, port=40_001)
    assert old.client.session.cipherSuite == number
    said = talks.http1(old.say, 1, 4, largest=800)
    log = tmp_path / "keys.log"
    log.write_text(old.line)
    records = talks.opened(wire.write(tmp_path), log)
    assert talks.exchanged(records) == said
    assert {r.secured_by for r in records if isinstance(r, Http)} == {"keylog"}
    (flow,) = (r for r in records if isinstance(r, Flow))
    assert (flow.observability, flow.secured_by) == ("observed", "keylog")
    assert not [r for r in records if isinstance(r, Gap)]
    # a wrong secret opens none of it
    log.write_text(old.line[:-5] + "0000\n")
    closed = talks.opened(tmp_path / "made.pcap", log)
    assert not [r for r in closed if isinstance(r, Http)]
    assert [r.reason for r in closed if isinstance(r, Gap)] == ["no_key"]


@pytest.mark.parametrize("cipher", ["3des", "rc4"])
def test_lost_packets_garble_nothing(tmp_path: Path, cipher: str) -> None:
    wire = Wire(segment=200)
    said, lines = [], []
    for number in range(3):
        old = Old(wire, cipher, "sha", TLS12, encrypt_then_mac=True, port=40_001 + number)
        said += talks.http1(old.say, 10 + number, 6, largest=800)
        lines.append(old.line)
    log = tmp_path / "keys.log"
    log.write_text("".join(lines))
    records = talks.opened(wire.harmed(3, lost=0.02).write(tmp_path), log)
    told = [r for r in records if isinstance(r, Http)]
    assert len(told) > len(said) // 2
    known = {(e.method, e.path): e for e in said}
    assert {(r.method, r.path) for r in told} <= known.keys()
    lossy = {r.flow for r in records if isinstance(r, Gap)}
    assert lossy
    for r in told:
        if r.flow not in lossy:
            assert talks.digest(r.response_body or b"") == known[r.method, r.path].answered
