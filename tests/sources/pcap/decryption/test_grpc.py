"""Calls by gRPC inside TLS: told with their number of messages, and searched inside compressed ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import h2.config
import h2.connection
import pytest
from click.testing import CliRunner

from audit import pipeline
from audit.cli import cli
from audit.records import Canary, Experiment

from . import talks
from .wire import Wire

WORDS = "marble otter q7"


@pytest.mark.parametrize("compressed", [False, True])
def test_messages(tmp_path: Path, compressed: bool) -> None:
    wire = Wire()
    pair = talks.Pair(talks.contexts(tmp_path, alpn="h2"), wire.tcp(40_001))
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "made.example"), (":path", "/log.Log/Put"),
              ("content-type", "application/grpc"), ("grpc-encoding", "gzip")]  # fmt: skip
    client.send_headers(1, fields)
    message = b"\x0a" + bytes((len(WORDS),)) + WORDS.encode()
    packed = gzip.compress(message * 3) if compressed else message * 3
    framed = bytes((compressed,)) + len(packed).to_bytes(4, "big") + packed
    client.send_data(1, framed * 2, end_stream=True)
    pair.say(client.data_to_send(), up=True)
    capture, log = wire.write(tmp_path), tmp_path / "keys.log"
    run = CliRunner().invoke(cli, ["inspect", str(capture), "--keys", str(log), "--kind", "grpc"])
    (line,) = map(json.loads, run.stdout.splitlines())
    assert (line["kind"], line["method"], line["messages"]) == ("grpc", "/log.Log/Put", 2)
    assert line["secured_by"] == "keylog"
    canary = Canary(id="c", kind="term", value=WORDS)
    audit = pipeline.analyze([pipeline.Capture(capture, "made.pcap", (log,))], Experiment(canaries=(canary,)))
    layers = {o.layers for finding in audit.findings for o in finding.occurrences}
    assert layers
    assert all(("gzip" in found) == compressed and "grpc" in found for found in layers)
