"""Leaks in clear text in real packet captures, found without any canary. The captures stay where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit import pipeline
from audit.records import Audit, Experiment

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
