"""TLS of every version and kind of cipher, made here, opened with its key log and compared with what was said."""

from __future__ import annotations

import ssl
from pathlib import Path

import h2.config
import h2.connection
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from audit.protocols import tls
from audit.records import Flow, Gap, Http, Tls
from audit.sources.opening import opened as open_file
from audit.sources.pcap import reading

from . import talks
from .wire import Wire

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
V = ssl.TLSVersion
MATRIX = [
    (V.TLSv1, "AES128-SHA", "rsa", 0),
    (V.TLSv1, "ECDHE-RSA-AES256-SHA", "rsa", talks.NO_ENCRYPT_THEN_MAC),
    (V.TLSv1_1, "AES256-SHA", "rsa", 0),
    (V.TLSv1_1, "ECDHE-RSA-AES128-SHA", "rsa", talks.NO_ENCRYPT_THEN_MAC),
    (V.TLSv1_2, "AES128-SHA256", "rsa", 0),
    (V.TLSv1_2, "ECDHE-RSA-AES256-SHA384", "rsa", talks.NO_ENCRYPT_THEN_MAC),
    (V.TLSv1_2, "ECDHE-ECDSA-AES256-SHA384", "ec", 0),
    (V.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256", "rsa", 0),
    (V.TLSv1_2, "AES256-GCM-SHA384", "rsa", 0),
    (V.TLSv1_2, "ECDHE-ECDSA-AES128-CCM", "ec", 0),
    (V.TLSv1_2, "ECDHE-ECDSA-AES256-CCM8", "ec", 0),
    (V.TLSv1_2, "ECDHE-RSA-CHACHA20-POLY1305", "rsa", 0),
    (V.TLSv1_3, "", "rsa", 0),
]


@pytest.mark.parametrize(("version", "ciphers", "kind", "options"), MATRIX)
def test_every_byte_of_every_body(
    tmp_path: Path, version: ssl.TLSVersion, ciphers: str, kind: str, options: int
) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path, version=version, ciphers=ciphers, kind=kind, options=options)
    said = talks.https(wire, ends, 1, 12)
    records = talks.opened(wire.write(tmp_path), tmp_path / "keys.log")
    assert talks.exchanged(records) == said
    assert {r.secured_by for r in records if isinstance(r, Http)} == {"keylog"}
    assert {r.scheme for r in records if isinstance(r, Http)} == {"https"}
    (flow,) = (r for r in records if isinstance(r, Flow))
    assert (flow.observability, flow.secured_by) == ("observed", "keylog")
    assert flow.names["certificate"] == ("made.example",)
    assert not [r for r in records if isinstance(r, Gap)]


def test_http2_with_padding_trailers_and_interleaved_streams(tmp_path: Path) -> None:
    wire = Wire()
    pair = talks.Pair(talks.contexts(tmp_path, alpn="h2"), wire.tcp(40_001))
    said = talks.http2(talks.say_over(pair), 2, 60)
    records = talks.opened(wire.write(tmp_path), tmp_path / "keys.log")
    assert sorted(talks.exchanged(records)) == sorted(said)
    assert {r.version for r in records if isinstance(r, Http)} == {"2"}
    trailed = [r for r in records if isinstance(r, Http) and b"x-checksum" in dict(r.response_headers)]
    assert len(trailed) == 20


def test_http2_with_a_response_that_was_not_asked_for(tmp_path: Path) -> None:
    wire = Wire()
    pair = talks.Pair(talks.contexts(tmp_path, alpn="h2"), wire.tcp(40_001))
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    asked = [(":method", "GET"), (":scheme", "https"), (":authority", "made.example")]
    client.send_headers(1, [*asked, (":path", "/page")], end_stream=True)
    up = client.data_to_send()
    pair.say(up, up=True)
    server.receive_data(up)
    server.push_stream(1, 2, [*asked, (":path", "/style")])
    for stream, body in ((2, b"pushed body"), (1, b"page")):
        server.send_headers(stream, [(":status", "200")])
        server.send_data(stream, body, end_stream=True)
    pair.say(server.data_to_send(), up=False)
    records = talks.opened(wire.write(tmp_path), tmp_path / "keys.log")
    answers = {(r.path, r.direction): (r.status, r.response_body) for r in records if isinstance(r, Http)}
    assert answers == {("/page", "up"): (200, b"page"), ("/style", "down"): (200, b"pushed body")}
    assert not [r for r in records if isinstance(r, Gap)]


@pytest.mark.parametrize("tickets", [True, False])
def test_a_resumed_session_needs_no_line_of_its_own(tmp_path: Path, tickets: bool) -> None:
    wire = Wire()
    ends = talks.contexts(
        tmp_path, version=V.TLSv1_2, options=0 if tickets else ssl.OP_NO_TICKET, ciphers="AES128-GCM-SHA256"
    )
    first = talks.Pair(ends, wire.tcp(40_001))
    said = talks.http1(talks.say_over(first), 3, 3)
    log = tmp_path / "keys.log"
    only_first = tmp_path / "first.log"
    only_first.write_bytes(log.read_bytes())
    second = talks.Pair(ends, wire.tcp(40_002), session=first.client.session)
    assert second.client.session_reused
    said += talks.http1(talks.say_over(second), 4, 3)
    capture = wire.write(tmp_path)
    assert talks.exchanged(talks.opened(capture, only_first)) == said
    assert talks.exchanged(talks.opened(capture, log)) == said


def test_sessions_of_tls_13_are_opened_when_resumed(tmp_path: Path) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path)
    first = talks.Pair(ends, wire.tcp(40_001))
    said = talks.http1(talks.say_over(first), 3, 3)
    second = talks.Pair(ends, wire.tcp(40_002), session=first.client.session)
    assert second.client.session_reused
    said += talks.http1(talks.say_over(second), 4, 3)
    assert talks.exchanged(talks.opened(wire.write(tmp_path), tmp_path / "keys.log")) == said


def test_lines_of_older_kinds(tmp_path: Path) -> None:
    """`RSA` with the premaster secret (here with the extended master secret, too) and `RSA Session-ID`."""
    wire = Wire()
    ends = talks.contexts(tmp_path, version=V.TLSv1_2, ciphers="AES128-SHA", options=ssl.OP_NO_TICKET)
    pair = talks.Pair(ends, wire.tcp(40_001))
    said = talks.http1(talks.say_over(pair), 5, 3)
    capture = wire.write(tmp_path)
    master = (tmp_path / "keys.log").read_text().split()[-1]
    (tmp_path / "session.log").write_text(
        f"RSA Session-ID:{pair.client.session.id.hex()} Master-Key:{master}\n"  # type: ignore[union-attr]
    )
    assert talks.exchanged(talks.opened(capture, tmp_path / "session.log")) == said
    encrypted = _encrypted_premaster(wire)
    key = load_pem_private_key(talks.certificate("rsa")[1], None)
    assert isinstance(key, rsa.RSAPrivateKey)
    premaster = key.decrypt(encrypted, padding.PKCS1v15())
    (tmp_path / "rsa.log").write_text(f"RSA {encrypted[:8].hex()} {premaster.hex()}\n")
    assert talks.exchanged(talks.opened(capture, tmp_path / "rsa.log")) == said


def _encrypted_premaster(wire: Wire) -> bytes:
    stream = b"".join(packet[40:] for packet in wire.packets if packet[12:16] == b"\x0a\x09\x00\x02")
    handshakes = tls.Handshakes()
    for record in tls.Records().feed(stream):
        for message in handshakes.feed(record.body) if record.kind == tls.HANDSHAKE else ():
            if message.kind == 16:
                return message.body[2:]
    raise AssertionError("no ClientKeyExchange")


class Inside:
    """A connection inside of another one."""

    def __init__(self, outer: talks.Pair) -> None:
        self._outer = outer

    def send(self, data: bytes, *, up: bool) -> None:
        self._outer.say(data, up=up)


CONNECT = b"CONNECT made.example:443 HTTP/1.1\r\nHost: made.example:443\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def test_tls_in_tls_in_connect(tmp_path: Path) -> None:
    wire = Wire()
    outer = talks.Pair(talks.contexts(tmp_path, log="outer.log"), wire.tcp(40_001))
    outer.say(CONNECT, up=True)
    outer.say(ESTABLISHED, up=False)
    inner = talks.Pair(talks.contexts(tmp_path, log="inner.log"), Inside(outer))  # type: ignore[arg-type]
    said = talks.http1(talks.say_over(inner), 6, 4)
    capture = wire.write(tmp_path)
    records = talks.opened(capture, tmp_path / "outer.log", tmp_path / "inner.log")
    assert talks.exchanged(records)[1:] == said
    assert next(r.method for r in records if isinstance(r, Http)) == "CONNECT"
    without = talks.opened(capture, tmp_path / "outer.log")
    assert [r.method for r in without if isinstance(r, Http)] == ["CONNECT"]
    assert [r.reason for r in without if isinstance(r, Gap)] == ["no_key"]
    assert len([r for r in without if isinstance(r, Tls)]) == 2


@pytest.mark.parametrize("inside", [V.TLSv1_2, V.TLSv1_3])
@pytest.mark.parametrize("outside", [V.TLSv1_2, V.TLSv1_3])
def test_tls_right_inside_of_tls(tmp_path: Path, outside: ssl.TLSVersion, inside: ssl.TLSVersion) -> None:
    wire = Wire()
    outer = talks.Pair(talks.contexts(tmp_path, version=outside), wire.tcp(40_001))
    ends = talks.contexts(tmp_path, version=inside, alpn="h2")
    inner = talks.Pair(ends, Inside(outer))  # type: ignore[arg-type]
    said = talks.http2(talks.say_over(inner), 6, 8)
    records = talks.opened(wire.write(tmp_path), tmp_path / "keys.log")
    assert sorted(talks.exchanged(records)) == sorted(said)
    assert len([r for r in records if isinstance(r, Tls)]) == 2
    assert not [r for r in records if isinstance(r, Gap)]


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
def test_tls_behind_connect_in_clear(tmp_path: Path, version: ssl.TLSVersion) -> None:
    wire = Wire()
    on = wire.tcp(40_001, 3_128)
    on.send(CONNECT, up=True)
    on.send(ESTABLISHED, up=False)
    pair = talks.Pair(talks.contexts(tmp_path, version=version), on)
    said = talks.http1(talks.say_over(pair), 6, 4)
    records = talks.opened(wire.write(tmp_path), tmp_path / "keys.log")
    assert talks.exchanged(records)[1:] == said
    assert next((r.method, r.secured_by) for r in records if isinstance(r, Http)) == ("CONNECT", "cleartext")
    assert {r.secured_by for r in records if isinstance(r, Http)} == {"cleartext", "keylog"}
    (flow,) = (r for r in records if isinstance(r, Flow))
    assert (flow.observability, flow.secured_by) == ("observed", "keylog")
    closed = talks.opened(tmp_path / "made.pcap", _other_log(tmp_path))
    assert [r.method for r in closed if isinstance(r, Http)] == ["CONNECT"]
    assert [r.reason for r in closed if isinstance(r, Gap)] == ["no_key"]


def _other_log(folder: Path) -> Path:
    path = folder / "other.log"
    path.write_text(f"CLIENT_RANDOM {'11' * 32} {'22' * 48}\n")
    return path


def test_a_secret_that_does_not_fit_is_not_believed(tmp_path: Path) -> None:
    wire = Wire()
    said = talks.https(wire, talks.contexts(tmp_path), 7, 3)
    capture = wire.write(tmp_path)
    lines = (tmp_path / "keys.log").read_text().splitlines()
    wrong = [f"{line.rpartition(' ')[0]} {'5a' * (len(line.rpartition(' ')[2]) // 2)}" for line in lines]
    (tmp_path / "wrong.log").write_text("\n".join(wrong))
    records = talks.opened(capture, tmp_path / "wrong.log")
    assert not [r for r in records if isinstance(r, Http)]
    (gap,) = (r for r in records if isinstance(r, Gap))
    assert (gap.reason, gap.detail) == ("no_key", "the secrets given for it do not open it")
    (flow,) = (r for r in records if isinstance(r, Flow))
    assert (flow.observability, flow.reason, flow.secured_by) == ("metadata_only", "no_key", None)
    assert talks.exchanged(talks.opened(capture, tmp_path / "wrong.log", tmp_path / "keys.log")) == said


def test_compression_is_refused_clearly() -> None:
    """No library here compresses any more, so the ServerHello says it does."""
    from audit.protocols.key_log import Keys
    from audit.protocols.tls_session import Resumable, Session

    session = Session(Keys(), Resumable())
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\xc0\x2f" + b"\x01"
    message = b"\x02" + len(hello).to_bytes(3, "big") + hello
    session.feed(b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message, True)
    assert session.refused == "its records are compressed"


def test_the_number_of_processes_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WORTH_SHARING", 0)
    wire = Wire()
    ends = talks.contexts(tmp_path, version=V.TLSv1_2)
    first = talks.Pair(ends, wire.tcp(40_001))
    talks.http1(talks.say_over(first), 8, 2)
    log = (tmp_path / "keys.log").read_bytes()
    for port in range(40_002, 40_012):
        talks.http1(talks.say_over(talks.Pair(ends, wire.tcp(port), session=first.client.session)), port, 2)
    (tmp_path / "first.log").write_bytes(log)
    capture = wire.write(tmp_path)
    alone = talks.opened(capture, tmp_path / "first.log")
    assert len([r for r in alone if isinstance(r, Http)]) == 22
    assert talks.opened(capture, tmp_path / "first.log", jobs=3) == alone
    with open_file(capture, "c") as source:
        small = list(
            reading.read(capture, source, "c", keys=(tmp_path / "first.log",), chunk=4_096, bodies=True)
        )
    assert talks.exchanged(small) == talks.exchanged(alone)
