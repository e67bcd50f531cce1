"""DNS inside of TLS and of HTTP: the names, told with what carried them (over QUIC: test_quic.py)."""

from __future__ import annotations

import base64
from pathlib import Path

import h2.config
import h2.connection
import pytest
from mitmproxy.test import tflow

from audit import pipeline
from audit.records import AnyRecord, Dns, Experiment
from audit.reporting import html
from tests.sources.test_mitm import request

from . import talks
from .wire import Wire

QUESTION = b"\0\0\1\0\0\1\0\0\0\0\0\0\5house\7example\0\0\1\0\1"
ANSWER = b"\0\0\x81\x80\0\1\0\1\0\0\0\0" + QUESTION[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x55"


def told(records: list[AnyRecord]) -> list[tuple[object, ...]]:
    return [
        (r.name, r.type, r.response, r.direction, r.answers, r.carrier) for r in records if isinstance(r, Dns)
    ]


def expected(carrier: str) -> list[tuple[object, ...]]:
    return [
        ("house.example", "A", False, "up", (), carrier),
        ("house.example", "A", True, "down", ("192.0.2.85",), carrier),
    ]


def test_over_tls(tmp_path: Path) -> None:
    wire = Wire()
    pair = talks.Pair(talks.contexts(tmp_path, alpn="dot"), wire.tcp(40_001, 853))
    for message, up in ((QUESTION, True), (ANSWER, False)):
        pair.say(len(message).to_bytes(2, "big") + message, up=up)
    assert told(talks.opened(wire.write(tmp_path), tmp_path / "keys.log")) == expected("dot")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_over_http2(tmp_path: Path, method: str) -> None:
    wire = Wire()
    pair = talks.Pair(talks.contexts(tmp_path, alpn="h2"), wire.tcp(40_001))
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    path = "/dns-query"
    if method == "GET":
        path += "?dns=" + base64.urlsafe_b64encode(QUESTION).decode().rstrip("=")
    fields = [(":method", method), (":scheme", "https"), (":authority", "made.example"), (":path", path),
              ("accept", "application/dns-message"), ("content-type", "application/dns-message")]  # fmt: skip
    client.send_headers(1, fields, end_stream=method == "GET")
    if method == "POST":
        client.send_data(1, QUESTION, end_stream=True)
    up = client.data_to_send()
    pair.say(up, up=True)
    server.receive_data(up)
    server.send_headers(1, [(":status", "200"), ("content-type", "application/dns-message")])
    server.send_data(1, ANSWER, end_stream=True)
    pair.say(server.data_to_send(), up=False)
    assert told(talks.opened(wire.write(tmp_path), tmp_path / "keys.log")) == expected("doh")


def test_the_same_through_a_proxy(tmp_path: Path) -> None:
    from mitmproxy.io import FlowWriter

    flow = request("/dns-query", QUESTION)
    flow.request.headers["content-type"] = "application/dns-message"
    flow.response = tflow.tresp(content=ANSWER)
    flow.response.headers["content-type"] = "application/dns-message"
    path = tmp_path / "flows.mitm"
    with path.open("wb") as file:
        FlowWriter(file).add(flow)
    assert told(talks.opened(path)) == expected("doh")


def test_the_report_has_a_section_of_its_own(tmp_path: Path) -> None:
    wire = Wire()
    pair = talks.Pair(talks.contexts(tmp_path, alpn="dot"), wire.tcp(40_001, 853))
    for message, up in ((QUESTION, True), (ANSWER, False)) * 2:
        pair.say(len(message).to_bytes(2, "big") + message, up=up)
    capture = pipeline.Capture(wire.write(tmp_path), "made.pcap", (tmp_path / "keys.log",))
    audit = pipeline.analyze([capture], Experiment())
    (row,) = audit.encrypted_dns
    assert (row.host, row.carrier, row.mode) == ("made.example", "dot", "unknown")
    assert (row.questions, row.distinct, row.names) == (2, 1, ("house.example",))
    assert "Names asked over encrypted connections" in html.render(audit)
    without = pipeline.analyze([pipeline.Capture(capture.path, "made.pcap")], Experiment())
    assert without.encrypted_dns == ()
    assert "Names asked over encrypted connections" not in html.render(without)
