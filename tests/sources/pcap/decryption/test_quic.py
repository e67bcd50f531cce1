"""QUIC made here, opened with its key log and compared with what the server saw: every byte of every body."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aioquic.tls import CipherSuite

from audit.protocols import dns
from audit.records import Dns, Flow, Gap, Http, WebSocketMessage
from audit.sources.opening import opened as open_file
from audit.sources.pcap import reading

from . import talks
from .quic_talks import V1, V2, Http3, Link
from .wire import CLIENT, Wire

SUITES = [
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
]


def check(link: Link, http: Http3, folder: Path) -> list[object]:
    """Our records agree with what the server saw."""
    records = talks.opened(link.wire.write(folder), link.log())
    assert sorted(talks.exchanged(records)) == sorted(http.seen)
    assert len(http.seen) > 0
    assert {(r.version, r.secured_by) for r in records if isinstance(r, Http)} == {("3", "keylog")}
    assert not [r for r in records if isinstance(r, Gap)]
    return list(records)


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("suite", SUITES)
def test_every_byte_of_every_body(tmp_path: Path, version: int, suite: CipherSuite) -> None:
    link = Link(Wire(), tmp_path, versions=(version,), suite=suite)
    http = Http3(link)
    http.begin()
    http.ask(1, 24)
    records = check(link, http, tmp_path)
    (flow,) = (r for r in records if isinstance(r, Flow))
    assert (flow.observability, flow.secured_by) == ("observed", "keylog")
    assert flow.names["certificate"] == ("made.example",)


def test_the_dynamic_table_is_in_use(tmp_path: Path) -> None:
    """Else the other tests would prove less than they seem to."""
    import pylsqpack

    fed: list[bytes] = []
    real = pylsqpack.Decoder

    class Watched:
        def __init__(self, *given: int) -> None:
            self._real = real(*given)

        def feed_encoder(self, data: bytes) -> list[int]:
            fed.append(data)
            return self._real.feed_encoder(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    link = Link(Wire(), tmp_path)
    http = Http3(link)
    http.begin()
    http.ask(2, 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audit.protocols.http3.pylsqpack.Decoder", Watched)
        check(link, http, tmp_path)
    assert sum(map(len, fed)) > 100


def test_key_updates_of_both_sides(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path)
    http = Http3(link)
    http.begin()

    def update(number: int) -> None:
        (link.client if number % 8 else link.server).request_key_update()
        link.carry()

    http.ask(3, 40, between=update)
    check(link, http, tmp_path)


@pytest.mark.parametrize("chunk", [2_048, 12 << 20])
@pytest.mark.parametrize(
    "place", [(CLIENT, 50_777), (bytes((198, 51, 100, 9)), 50_000)], ids=["port", "address"]
)
@pytest.mark.parametrize("announced", [True, False])
def test_a_connection_that_moves(
    tmp_path: Path, place: tuple[bytes, int], announced: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To another port or network, under a new connection id or, where only a router forgot it, the same."""
    monkeypatch.setattr(reading, "_WORTH_SHARING", 0)
    link = Link(Wire(), tmp_path)
    http = Http3(link)
    http.begin()

    def move(number: int) -> None:
        if number == 8:
            link.address, link.port = place
            if announced:
                link.client.change_connection_id()
        link.carry()

    http.ask(4, 24, between=move)
    check(link, http, tmp_path)
    capture, log = link.wire.write(tmp_path), link.log()
    for jobs in (1, 3):
        with open_file(capture, "c") as source:
            records = list(
                reading.read(capture, source, "c", keys=(log,), chunk=chunk, jobs=jobs, bodies=True)
            )
        assert sorted(talks.exchanged(records)) == sorted(http.seen)
        flows = [r for r in records if isinstance(r, Flow)]
        before, after = (("10.9.0.2", 50_000), (str(IPv4Address(place[0])), place[1]))
        assert [(flow.src, flow.sport, flow.secured_by, flow.names["sni"]) for flow in flows] == [
            (*where, "keylog", ("made.example",)) for where in (before, after)
        ]


def test_moved_packets_that_look_like_google_s_older_quic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the move there is no long header to tell by, and chance puts a version where that protocol has it."""
    drawn = os.urandom
    monkeypatch.setattr(
        "aioquic.quic.connection.os.urandom",
        lambda size: drawn(8) + b"Q043" if size == 12 else drawn(size),
    )
    link = Link(Wire(), tmp_path, id_size=12)
    http = Http3(link)
    http.begin()

    def move(number: int) -> None:
        if number == 8:
            link.port = 50_777
        link.carry()

    http.ask(12, 24, between=move)
    check(link, http, tmp_path)


def test_early_data_of_a_resumed_connection(tmp_path: Path) -> None:
    wire = Wire()
    kept: dict[bytes, object] = {}
    first = Link(wire, tmp_path, tickets=kept)  # type: ignore[arg-type]
    http = Http3(first)
    http.begin()
    http.ask(5, 4)
    first.carry()
    first.log()
    second = Link(wire, tmp_path, ticket=first.tickets[0], tickets=kept)  # type: ignore[arg-type]
    second.port = 50_001
    again = Http3(second)
    again.begin(early=True)
    again.ask(6, 8)
    log = second.log()
    assert "CLIENT_EARLY_TRAFFIC_SECRET" in log.read_text()
    records = talks.opened(wire.write(tmp_path), log)
    assert sorted(talks.exchanged(records)) == sorted([*http.seen, *again.seen])
    assert second.client._packet_number > 0
    assert not [r for r in records if isinstance(r, Gap)]


def test_dns_over_quic(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path, alpn="doq")
    link.carry()
    question = b"\0\0\1\0\0\1\0\0\0\0\0\0\5house\7example\0\0\1\0\1"
    stream = link.client.get_next_available_stream_id()
    link.client.send_stream_data(stream, len(question).to_bytes(2, "big") + question, end_stream=True)
    link.carry()
    answer = b"\0\0\x81\x80" + question[4:6] + b"\0\1\0\0\0\0" + question[12:]
    answer += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x55"
    assert dns.parse(answer).answers
    link.server.send_stream_data(stream, len(answer).to_bytes(2, "big") + answer, end_stream=True)
    link.carry()
    records = talks.opened(link.wire.write(tmp_path), link.log())
    told = [(r.name, r.type, r.response, r.answers, r.carrier) for r in records if isinstance(r, Dns)]
    assert told == [
        ("house.example", "A", False, (), "doq"),
        ("house.example", "A", True, ("192.0.2.85",), "doq"),
    ]


def test_datagrams_are_counted(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path)
    http = Http3(link)
    http.begin()
    http.ask(7, 4)
    for _ in range(3):
        link.client.send_datagram_frame(b"\0outside of streams")
    link.carry()
    records = talks.opened(link.wire.write(tmp_path), link.log())
    (gap,) = (r for r in records if isinstance(r, Gap))
    assert (gap.reason, gap.detail) == ("unsupported", "3 QUIC datagrams up, 0 down, outside of streams")


def test_websocket_and_push_inside(tmp_path: Path) -> None:
    """A WebSocket connection in a stream (RFC 9220), and a response that was not asked for (RFC 9114, 4.6)."""
    link = Link(Wire(), tmp_path)
    http = Http3(link)
    http.begin()
    client, server = http.client, http.server
    stream = link.client.get_next_available_stream_id()
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"),
              (b":authority", b"made.example"), (b":path", b"/live?q=1")]  # fmt: skip
    client.send_headers(stream, fields)
    link.carry()
    server.send_headers(stream, [(b":status", b"200")])
    link.carry()
    for said in (b"\x81\x85\0\0\0\0hel", b"lo", b"\x02\x82\0\0\0\0\xff\xfe", b"\x80\x81\0\0\0\0\xfd"):
        client.send_data(stream, said, end_stream=False)
        link.carry()
    server.send_data(stream, b"\x81\x03yes", end_stream=False)
    link.carry()
    asking = link.client.get_next_available_stream_id()
    asked = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"made.example")]
    client.send_headers(asking, [*asked, (b":path", b"/page")], end_stream=True)
    link.carry()
    http.told()
    pushed = server.send_push_promise(asking, [*asked, (b":path", b"/style")])
    for one, body in ((pushed, b"pushed body"), (asking, b"page")):
        server.send_headers(one, [(b":status", b"200")])
        server.send_data(one, body, end_stream=True)
    link.carry()
    records = talks.opened(link.wire.write(tmp_path), link.log())
    messages = [(r.url, r.direction, r.data) for r in records if isinstance(r, WebSocketMessage)]
    url = "wss://made.example/live?q=1"
    assert messages == [(url, "up", b"hello"), (url, "up", b"\xff\xfe\xfd"), (url, "down", b"yes")]
    answers = {(r.method, r.path): (r.status, r.response_body) for r in records if isinstance(r, Http)}
    assert answers[("GET", "/style")] == (200, b"pushed body")
    assert answers[("GET", "/page")] == (200, b"page")
    assert ("CONNECT", "/live?q=1") in answers


def test_without_its_secrets(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path)
    http = Http3(link)
    http.begin()
    http.ask(8, 4)
    other = tmp_path / "other.log"
    other.write_text(f"CLIENT_RANDOM {'11' * 32} {'22' * 48}\n")
    records = talks.opened(link.wire.write(tmp_path), other)
    assert not [r for r in records if isinstance(r, Http)]
    assert [r.reason for r in records if isinstance(r, Gap)] == ["no_key"]
    (flow,) = (r for r in records if isinstance(r, Flow))
    assert (flow.observability, flow.reason) == ("metadata_only", "no_key")


def test_versions_agreed_on_in_the_handshake(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path, versions=(V2, V1))
    http = Http3(link)
    http.begin()
    http.ask(9, 8)
    assert link.client._version == V2
    check(link, http, tmp_path)


def test_a_connection_that_the_server_lets_try_again(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path, retry=True)
    http = Http3(link)
    http.begin()
    http.ask(10, 8)
    check(link, http, tmp_path)


def test_a_version_that_the_server_does_not_speak(tmp_path: Path) -> None:
    link = Link(Wire(), tmp_path, versions=(V2, V1), refused=True)
    http = Http3(link)
    http.begin()
    http.ask(11, 8)
    assert link.client._version == V2
    check(link, http, tmp_path)
