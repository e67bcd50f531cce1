"""The parsers against real captures and tshark's answers, where both are there; nothing of it is copied."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from audit.protocols import dns, gquic, http1, quic, tls
from audit.protocols.malformed import Malformed

CORPUS = Path(os.environ.get("PRIVACY_AUDIT_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
pytestmark = [
    pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real captures is not here"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]


def truth(capture: str, kind: str) -> list[dict[str, str]]:
    path = CORPUS / "truth" / f"{capture.replace('/', '__')}.{kind}.tsv"
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def payloads(capture: str, wanted: str, *fields: str) -> list[list[str]]:
    command = [
        "tshark",
        "-n",
        "-r",
        str(CORPUS / "captures" / capture),
        "-Y",
        wanted,
        "-T",
        "fields",
        "-E",
        "occurrence=l",
    ]
    for name in fields:
        command += ["-e", name]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line.split("\t") for line in output.splitlines() if line]


@pytest.mark.parametrize(
    "capture",
    [
        "mercury/unit_tests/pcaps/mdns_capture.pcap",
        "PcapPlusPlus/Tests/Pcap++Test/PcapExamples/DnsPackets.pcap",
        "tcpdump/tests/edns-opts.pcap",
        "dpkt/examples/data/nb6-http.pcap",
    ],
)
def test_dns_names(capture: str) -> None:
    found: Counter[tuple[str, int, str]] = Counter()
    for (payload,) in payloads(capture, "udp and (dns or mdns or llmnr) and not icmp", "udp.payload"):
        message = dns.parse(bytes.fromhex(payload))
        found.update(
            (q.name, q.type, "response" if message.response else "query") for q in message.questions if q.name
        )
    expected = Counter(
        (row["name"], int(row["type"]), row["qr"])
        for row in truth(capture, "dns")
        if row["l4"] == "udp" and not row["name"].startswith("<")
    )
    assert expected
    assert found == expected


@pytest.mark.parametrize(
    "capture",
    [
        "mercury/unit_tests/pcaps/emix.pcap",
        "mercury/unit_tests/pcaps/quic_reordered_frames.pcap",
        "mercury/unit_tests/pcaps/quic_v2.pcap",
        "mercury/unit_tests/pcaps/surfshark.pcap",
        "suricata-verify/tests/quic-frag-middle-gap/input.pcap",
        "suricata-verify/tests/quic-retry-multiple/input.pcap",
        "suricata-verify/tests/quic-initial-not-first/input.pcap",
        "arkime/tests/pcap/quic33-wireshark.pcap",
        "tcpdump/tests/quic_vn.pcap",
    ],
)
def test_quic_names(capture: str) -> None:
    flows: dict[str, quic.Initials] = {}
    found: Counter[str] = Counter()
    for flow, payload in payloads(
        capture, "udp and (quic or gquic) and not icmp", "udp.stream", "udp.payload"
    ):
        data = bytes.fromhex(payload)
        try:
            events = flows.setdefault(flow, quic.Initials()).feed(data)
        except Malformed:
            events = []
        hellos = [
            event
            for event in events
            if isinstance(event, quic.Hello) and event.kind == 1 and not event.server
        ]
        found.update(tls.client_hello(event.body).sni or "" for event in hellos)
        if not events and b"CHLO" in data:
            found[gquic.client_hello(data).sni or ""] += 1
    assert found
    assert found == Counter(row["sni"] for row in truth(capture, "sni") if row["transport"] != "tls")


@pytest.mark.parametrize(
    "capture",
    [
        "PcapPlusPlus/Tests/ExamplesTest/pcap_examples/many-protocols.pcap",
        "dpkt/examples/data/nb6-http.pcap",
        "suricata-verify/tests/http-range/http-range-simple/input.pcap",
    ],
)
def test_http_requests(capture: str) -> None:
    if not (CORPUS / "captures" / capture).is_file():
        pytest.skip("this capture is not in the corpus")
    streams: dict[tuple[str, str], dict[int, bytes]] = {}
    for stream, port, number, payload in payloads(
        capture, "tcp.len > 0 and not icmp", "tcp.stream", "tcp.srcport", "tcp.seq", "tcp.payload"
    ):
        segments = streams.setdefault((stream, port), {})
        data = bytes.fromhex(payload)
        if len(data) > len(segments.get(int(number), b"")):
            segments[int(number)] = data
    found: Counter[tuple[str, str]] = Counter()
    for segments in streams.values():
        if not any(http1.starts_request(data) for data in segments.values()):
            continue
        connection = http1.Connection()
        events: list[http1.Event] = []
        behind = min(segments)
        for number in sorted(segments):
            events += connection.gap(number - behind, False)
            data = segments[number][max(behind - number, 0) :]
            behind = max(behind, number) + len(data)
            events += connection.feed(data, False)
        events += connection.finish(False)
        found.update((event.method, event.target) for event in events if isinstance(event, http1.Request))
    expected = Counter(
        (row["method"], row["uri"]) for row in truth(capture, "http") if row["stream"].startswith("tcp")
    )
    assert expected
    assert found == expected
