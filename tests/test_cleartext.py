"""Leaks in clear text: in real packet captures, found without any canary (the captures stay where they are), and in
protocols that devices speak."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from audit import pipeline
from audit.records import Audit, Canary, Experiment
from tests.sources.pcap import craft

CAPTURES = Path(__file__).resolve().parents[2] / "shared/corpus/captures/PcapPlusPlus/Tests"


def audit_of(name: str) -> Audit:
    path = CAPTURES / name
    if not path.is_file():
        pytest.skip(f"{name}: the corpus is not here")
    return pipeline.analyze([pipeline.Capture(path, path.name)], Experiment())


def leaks(audit: Audit, host: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [
        (finding.leak_type, finding.inferred or "", occurrence.channel, occurrence.layers)
        for finding in audit.findings
        if finding.expected is None and finding.recipient.host == host
        for occurrence in finding.occurrences
    ]


def test_the_double_encoded_job_search() -> None:
    found = leaks(audit_of("ExamplesTest/pcap_examples/tcp-reassembly.pcap"), "tag.crsspxl.com")
    searches = [f for f in found if "jobkeyword=Marketing%20Operations" in f[1] and f[0] == "B1"]
    assert {channel for _, _, channel, _ in searches} == {"url.query", "header:referer"}
    assert any("percent" in layers for _, _, channel, layers in searches if channel == "url.query")


def test_the_search_that_only_defragmentation_shows() -> None:
    (found,) = leaks(audit_of("ExamplesTest/pcap_examples/frag_http_req.pcap"), "js.bizographics.com")
    assert found[0] == "B1"
    assert "jobkeyword=Marketing%20Operations" in found[1]
    assert found[2] == "header:referer"


@pytest.mark.slow
def test_the_used_car_search() -> None:
    found = leaks(audit_of("Pcap++Test/PcapExamples/4KHttpRequests.pcap"), "www.google.com")
    cars = [f for f in found if "Cars/Car.php?AreaID=15&ModelID=5" in f[1]]
    assert {"url.query", "header:referer"} <= {channel for _, _, channel, _ in cars}
    # the page before is told as well
    assert any(f[1] == "http://www.yad2.co.il/Cars/Car.php" for f in found)


@pytest.mark.slow
def test_the_address_told_in_pieces() -> None:
    found = leaks(audit_of("ExamplesTest/pcap_examples/many-protocols.pcap"), "ping.chartbeat.net")
    assert any("joined" in layers and "0,7340,L-8,00.html" in value for _, value, _, layers in found)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _mqtt(kind: int, body: bytes) -> bytes:
    return bytes([kind, len(body)]) + body


def test_what_devices_say_of_planted_values(tmp_path: Path) -> None:
    own = b"\x26" + _sized(b"page") + _sized(b"https://one.example/a1b2c3")
    said = [
        _mqtt(0x10, _sized(b"MQTT") + b"\5\2\0\x3c\0" + _sized(b"lamp-7")),
        _mqtt(
            0x30, _sized(b"home/q7w8e9r0") + bytes([len(own)]) + own + b'{"u": "https://two.example/d4e5f6"}'
        ),
    ]
    packets, at = [craft.tcp(b"", 0, flags="S", dport=1883)], 1
    for each in said:
        packets.append(craft.tcp(each, at, dport=1883))
        at += len(each)
    packets.append(craft.udp("поиск: канарейка-9".encode(), 41_000, 9_999))
    (tmp_path / "home.pcap").write_bytes(craft.pcap(packets))
    planted = {
        "page": ("url", "https://one.example/a1b2c3"),
        "other": ("url", "https://two.example/d4e5f6"),
        "room": ("text", "q7w8e9r0"),
        "word": ("term", "канарейка-9"),
    }
    canaries = tuple(Canary(id=name, kind=kind, value=value) for name, (kind, value) in planted.items())
    audit = pipeline.analyze(
        [pipeline.Capture(tmp_path / "home.pcap", "home.pcap")], Experiment(canaries=canaries)
    )
    told = {(f.canary, o.channel, o.layers) for f in audit.findings for o in f.occurrences}
    assert ("page", "mqtt", ("embedded",)) in told
    assert ("other", "mqtt", ("json",)) in told
    assert ("room", "mqtt", ()) in told
    assert ("word", "udp", ()) in told


def test_planted_values_in_what_is_no_text(tmp_path: Path) -> None:
    """A device's own protocols: compressed telemetry behind a binary head, a field among binary ones, over TCP and UDP."""
    url, word = "https://one.example/a1b2c3", "q7w8e9r0t1"
    telemetry = gzip.compress(b'{"page": "%b"}' % url.encode())
    framed = bytes([0, 1, 0x29, 0, 0, len(telemetry)]) + telemetry
    fields = bytes(range(128, 160)) + b"\x0a\x1fsearch words: " + word.encode() + bytes(range(128, 140))
    packets = [
        craft.tcp(b"", 0, flags="S", dport=6_000),
        craft.tcp(framed[:30], 1, dport=6_000),
        craft.tcp(framed[30:], 31, dport=6_000),
        craft.udp(zlib.compress(b'{"page": "%b"}' % url.encode()), 41_000, 9_999),
        craft.udp(fields, 41_001, 9_999),
    ]
    (tmp_path / "home.pcap").write_bytes(craft.pcap(packets))
    audit = pipeline.analyze(
        [pipeline.Capture(tmp_path / "home.pcap", "home.pcap")],
        Experiment(
            canaries=(Canary(id="page", kind="url", value=url), Canary(id="word", kind="term", value=word))
        ),
    )
    told = {(f.canary, o.channel, o.layers) for f in audit.findings for o in f.occurrences}
    assert ("page", "tcp", ("gzip", "json")) in told
    assert ("page", "udp", ("zlib", "json")) in told
    assert any((canary, channel) == ("word", "udp") for canary, channel, _ in told)
    assert {flow.reason for flow in audit.coverage.flows} == {"read in part"}
