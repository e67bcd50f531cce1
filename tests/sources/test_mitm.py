"""Flow files written by mitmproxy from flows made here: what each kind of flow becomes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from mitmproxy import connection, dns, flow, http, tcp, udp, websocket
from mitmproxy.io import tnetstring as theirs
from mitmproxy.net.dns import types
from wsproto.frame_protocol import Opcode

from audit.records import AnyRecord, Dns, Flow, Gap, Http, Message, Tls, WebSocketMessage
from audit.sources import BadCapture, read

Write = Callable[[Iterable[flow.Flow]], Path]
RecordsOf = Callable[[bytes], list[AnyRecord]]
DEVICE = ("10.0.0.1", 40_000)
SERVER = ("192.0.2.7", 443)
NOW = 1_700_000_000.25


def client(*, tls: bool = True, protocol: str = "tcp", peer: tuple[str, int] = DEVICE) -> connection.Client:
    made = connection.Client(peername=peer, sockname=SERVER, timestamp_start=NOW)
    made.transport_protocol = protocol  # type: ignore[assignment]
    if tls:
        made.tls = True
        made.sni = "Search.Example"
        made.alpn_offers = [b"h2", b"http/1.1"]
        made.timestamp_tls_setup = NOW + 0.1
    return made


def server(peer: tuple[str, int] | None = SERVER) -> connection.Server:
    made = connection.Server(address=("search.example", 443))
    made.peername = peer
    return made


def request(path: str = "/?q=x", body: bytes = b"", *, on: connection.Client | None = None) -> http.HTTPFlow:
    made = http.HTTPFlow(on or client(), server())
    made.request = http.Request.make("POST", f"https://search.example{path}", body)
    made.request.headers["Host"] = "Search.Example:443"
    made.request.timestamp_start = NOW + 1
    return made


def answered(made: http.HTTPFlow) -> http.HTTPFlow:
    made.response = http.Response.make(200, b"answer", {"content-type": "text/plain"})
    return made


def test_a_request_and_its_response(flow_file: Write) -> None:
    made = answered(request(body=b"\x1f\x8bas sent"))
    tls, seen, connected = read(flow_file([made]), "x.mitm")
    assert isinstance(tls, Tls)
    assert (tls.id, tls.host, tls.sni, tls.alpn) == (
        "c1.tls",
        "search.example",
        "Search.Example",
        ("h2", "http/1.1"),
    )
    assert isinstance(seen, Http)
    assert (seen.id, seen.flow, seen.capture, seen.time) == ("f1", "c1", "x.mitm", NOW + 1)
    assert (seen.src, seen.sport, seen.dst, seen.dport) == (*DEVICE, *SERVER)
    assert (seen.host, seen.authority, seen.path) == ("search.example", "Search.Example:443", "/?q=x")
    assert (seen.method, seen.version, seen.status, seen.secured_by) == ("POST", "1.1", 200, "proxy")
    assert (seen.body, seen.request_bytes, seen.response_bytes) == (b"\x1f\x8bas sent", 9, 6)
    assert isinstance(connected, Flow)
    assert (connected.observability, connected.transport) == ("observed", "tcp")
    assert connected.names == {"http": ("search.example",), "sni": ("search.example",)}
    assert connected.payload_up is not None
    assert connected.payload_up > 9


def test_the_last_state_of_a_flow_counts_at_its_first_place(flow_file: Write) -> None:
    first, second = request("/first"), request("/second")
    early = [first.copy(), second.copy()]
    early[0].id, early[1].id = first.id, second.id
    early[0].client_conn, early[1].client_conn = first.client_conn, second.client_conn
    path = flow_file([*early, answered(second), answered(first)])
    seen = [r for r in read(path, "x") if isinstance(r, Http)]
    assert [(r.id, r.path, r.status) for r in seen] == [("f1", "/first", 200), ("f2", "/second", 200)]


def test_an_earlier_state_is_kept_when_the_last_cannot_be_read(records_of: RecordsOf) -> None:
    made = request("/kept")
    good = made.get_state()
    bad = {**good, "request": {**good["request"], "headers": 7}}
    seen, gap = (
        [r for r in records_of(theirs.dumps(good) + theirs.dumps(bad)) if isinstance(r, kind)]
        for kind in (Http, Gap)
    )
    assert [r.path for r in seen] == ["/kept"]  # type: ignore[union-attr]
    assert [r.reason for r in gap] == ["malformed"]  # type: ignore[union-attr]


def test_flows_share_their_connection_and_its_record_follows_the_last(flow_file: Write) -> None:
    shared, alone = client(), client(peer=("10.0.0.1", 40_001))
    path = flow_file([request("/a", on=shared), request("/b", on=alone), request("/c", on=shared)])
    order = [(type(r).__name__, r.flow) for r in read(path, "x")]
    assert order == [
        ("Tls", "c1"),
        ("Http", "c1"),
        ("Tls", "c2"),
        ("Http", "c2"),
        ("Flow", "c2"),
        ("Http", "c1"),
        ("Flow", "c1"),
    ]


def test_websocket_messages_of_both_sides(flow_file: Write) -> None:
    made = request("/live")
    made.response = http.Response.make(101)
    made.websocket = websocket.WebSocketData(
        messages=[
            websocket.WebSocketMessage(Opcode.TEXT, True, b"typed", NOW + 2),
            websocket.WebSocketMessage(Opcode.BINARY, False, b"\x00\xff", NOW + 3),
            websocket.WebSocketMessage(Opcode.TEXT, True, b"ours", NOW + 4, injected=True),
        ]
    )
    records = list(read(flow_file([made]), "x"))
    up, down = (r for r in records if isinstance(r, WebSocketMessage))
    assert (up.id, up.direction, up.type, up.data, up.time) == ("f1.m1", "up", "text", b"typed", NOW + 2)
    assert (down.id, down.direction, down.type, down.bytes) == ("f1.m2", "down", "binary", 2)
    assert up.url == "wss://Search.Example:443/live"
    assert [r.reason for r in records if isinstance(r, Gap)] == ["unsupported"]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_messages_of_no_known_protocol(flow_file: Write, protocol: str) -> None:
    here = client(tls=False, protocol=protocol)
    made: tcp.TCPFlow | udp.UDPFlow
    if protocol == "tcp":
        made = tcp.TCPFlow(here, server())
        made.messages = [tcp.TCPMessage(True, b"hello", NOW), tcp.TCPMessage(False, b"you", NOW + 1)]
    else:
        made = udp.UDPFlow(here, server())
        made.messages = [udp.UDPMessage(True, b"hello", NOW), udp.UDPMessage(False, b"you", NOW + 1)]
    up, down, connected = read(flow_file([made]), "x")
    assert isinstance(up, Message)
    assert isinstance(down, Message)
    assert isinstance(connected, Flow)
    assert (up.id, up.direction, up.data, up.transport, up.host) == (
        "f1.m1",
        "up",
        b"hello",
        protocol,
        "search.example",
    )
    assert (down.direction, down.time) == ("down", NOW + 1)
    assert (connected.payload_up, connected.payload_down, connected.last) == (5, 3, NOW + 1)


def test_a_message_without_a_time_gets_none(flow_file: Write) -> None:
    made = tcp.TCPFlow(client(tls=False), server())
    made.messages = [tcp.TCPMessage(True, b"hello")]
    made.messages[0].timestamp = 0.0
    (message, _) = read(flow_file([made]), "x")
    assert message.time is None


def test_tls_that_the_proxy_did_not_open_is_no_readable_message(flow_file: Write) -> None:
    made = tcp.TCPFlow(client(tls=False), server())
    made.messages = [tcp.TCPMessage(True, b"\x16\x03\x01\x02\x00opaque", NOW)]
    (connected,) = read(flow_file([made]), "x")
    assert isinstance(connected, Flow)
    assert connected.observability == "metadata_only"
    assert connected.payload_up == 11


def test_dns_question_and_answers(flow_file: Write) -> None:
    made = dns.DNSFlow(client(tls=False, protocol="udp"), server(("192.0.2.53", 53)))
    question = dns.Question("a.example", types.A, 1)
    message = getattr(dns, "DNSMessage", None) or dns.Message  # its name from mitmproxy 12 on, and before
    made.request = message(
        timestamp=NOW,
        id=1,
        query=True,
        op_code=0,
        authoritative_answer=False,
        truncation=False,
        recursion_desired=True,
        recursion_available=False,
        reserved=0,
        response_code=0,
        questions=[question],
        answers=[],
        authorities=[],
        additionals=[],
    )
    made.response = made.request.copy()
    made.response.query = False
    made.response.timestamp = NOW + 1
    made.response.answers = [
        dns.ResourceRecord.CNAME("a.example", "b.example"),
        dns.ResourceRecord("b.example", types.A, 1, 60, socket.inet_aton("192.0.2.1")),
        dns.ResourceRecord("b.example", types.A, 1, 60, b"short"),
    ]
    asked, answer, _ = read(flow_file([made]), "x")
    assert isinstance(asked, Dns)
    assert isinstance(answer, Dns)
    assert (asked.id, asked.name, asked.type, asked.response, asked.direction) == (
        "f1.q",
        "a.example",
        "A",
        False,
        "up",
    )
    assert (answer.id, answer.response, answer.direction) == ("f1.r", True, "down")
    assert answer.answers == ("b.example", "192.0.2.1", "0x73686f7274")


def test_a_failed_request_is_still_a_transmission(flow_file: Write) -> None:
    made = request()
    made.error = flow.Error("server\nunreachable")
    _, seen, connected = read(flow_file([made]), "x")
    assert isinstance(seen, Http)
    assert isinstance(connected, Flow)
    assert (connected.observability, connected.reason) == ("observed", "server\nunreachable")


def test_a_connection_that_failed_before_anything_was_seen(flow_file: Write) -> None:
    here = client()
    here.timestamp_tls_setup = None
    made = tcp.TCPFlow(here, server())
    made.error = flow.Error("the client does not trust the proxy's certificate")
    tls, connected = read(flow_file([made]), "x")
    assert isinstance(tls, Tls)
    assert isinstance(connected, Flow)
    assert connected.observability == "capture_failed"
    assert "trust" in (connected.reason or "")


def test_a_streamed_body_was_not_kept(flow_file: Write) -> None:
    made = request(body=b"12345")
    made.request.data.content = None
    _, seen, _ = read(flow_file([made]), "x")
    assert isinstance(seen, Http)
    assert (seen.body, seen.request_bytes) == (None, 5)


def test_a_replayed_request_was_not_sent_by_the_device(flow_file: Write) -> None:
    made = request()
    made.is_replay = "request"
    records = list(read(flow_file([made]), "x"))
    assert not any(isinstance(r, Http) for r in records)
    assert any(isinstance(r, Gap) and "proxy" in r.detail for r in records)


def test_names_are_no_addresses(flow_file: Write) -> None:
    made = http.HTTPFlow(client(tls=False), server(None))
    made.request = http.Request.make("GET", "http://192.0.2.9:8080/")
    made.request.headers.pop("host", None)
    seen, _ = read(flow_file([made]), "x")
    assert isinstance(seen, Http)
    assert (seen.host, seen.dst, seen.authority) == (None, None, "192.0.2.9:8080")


def test_behind_an_upstream_proxy_its_address_is_not_the_server(flow_file: Write) -> None:
    made = request()
    made.server_conn.via = ("http", ("192.0.2.200", 3128))  # type: ignore[assignment]
    seen = [r for r in read(flow_file([made]), "x") if isinstance(r, Http)]
    assert seen[0].dst is None


def test_bytes_that_are_not_utf8_in_a_path_are_percent_encoded(flow_file: Write) -> None:
    made = request()
    made.request.data.path = b"/s?q=\xd6\xd0"
    _, seen, _ = read(flow_file([made]), "x")
    assert isinstance(seen, Http)
    assert seen.path == "/s?q=%D6%D0"


def test_a_damaged_flow_between_two_costs_only_itself(records_of: RecordsOf) -> None:
    good, last = request("/a").get_state(), request("/b").get_state()
    records = records_of(theirs.dumps(good) + b"7:garbage," + theirs.dumps(last))
    assert [r.path for r in records if isinstance(r, Http)] == ["/a", "/b"]
    (gap,) = (r for r in records if isinstance(r, Gap))
    assert (gap.reason, gap.offset, gap.bytes) == ("malformed", len(theirs.dumps(good)), 10)


def test_what_follows_broken_framing_is_a_gap(records_of: RecordsOf) -> None:
    good = theirs.dumps(request("/a").get_state())
    records = records_of(good + b"\x00" * 50 + good)
    assert sum(isinstance(r, Http) for r in records) == 1
    (gap,) = (r for r in records if isinstance(r, Gap))
    assert (gap.reason, gap.offset, gap.bytes) == ("malformed", len(good), 50 + len(good))


def test_a_newer_format_version_is_told_clearly(records_of: RecordsOf) -> None:
    newer = theirs.dumps({**request().get_state(), "version": 99})
    with pytest.raises(BadCapture, match=r"flow format version 99 .*mitmproxy"):
        records_of(newer)
    mixed = records_of(theirs.dumps(request("/old").get_state()) + newer)
    assert [r.path for r in mixed if isinstance(r, Http)] == ["/old"]
    assert [r.reason for r in mixed if isinstance(r, Gap)] == ["unsupported"]


def version_11(kind: str, flow_id: str, metadata: dict[str, object], **more: object) -> dict[str, object]:
    """A flow as mitmproxy 6 wrote it."""
    ends = {"address": ["10.0.0.1", 40_000], "tls_established": False, "tls": False, "cipher_name": None}
    ends |= {"tls_version": None, "sni": None, "timestamp_start": NOW, "alpn_offers": [], "state": 0}
    here = {**ends, "id": "client", "tls_extensions": None}
    there = {**ends, "id": "server", "ip_address": ["192.0.2.7", 80], "source_address": None, "via2": None}
    made = {"version": 11, "type": kind, "id": flow_id, "metadata": metadata, "marked": False, "error": None}
    return {
        **made,
        "client_conn": here,
        "server_conn": there,
        "is_replay": None,
        "intercepted": False,
        **more,
    }


@pytest.mark.parametrize("handshake_first", [True, False])
def test_a_websocket_that_an_old_version_wrote_as_two_flows(
    records_of: RecordsOf, handshake_first: bool
) -> None:
    request = {"host": "live.example", "port": 80, "method": b"GET", "scheme": b"http", "authority": b""}
    request |= {"path": b"/live", "http_version": b"HTTP/1.1", "headers": [], "content": b""}
    request |= {"timestamp_start": NOW, "timestamp_end": NOW}
    handshake = version_11("http", "h", {"websocket": True}, request=request, response=None)
    closing = {"close_sender": "client", "close_code": 1000, "close_reason": ""}
    messages = version_11(
        "websocket", "w", {"websocket_handshake": "h"}, messages=[[1, True, "typed", NOW, False]], **closing
    )
    order = (handshake, messages) if handshake_first else (messages, handshake)
    seen, message, _ = records_of(b"".join(theirs.dumps(state) for state in order))
    assert isinstance(seen, Http)
    assert isinstance(message, WebSocketMessage)
    assert (seen.path, seen.dst, seen.host) == ("/live", "192.0.2.7", "live.example")
    assert (message.data, message.direction) == (b"typed", "up")
