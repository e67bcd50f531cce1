"""What is built to carry no address explains its hash prefixes and never an address in clear."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from audit import pipeline
from audit.records import Audit, Canary, Experiment

URL = "https://n7-lantern.example/reading/room7?note=violet-83"


def audit_of(folder: Path, url: str) -> Audit:
    request = {
        "method": "GET", "url": url, "httpVersion": "HTTP/2", "cookies": [], "queryString": [], "headersSize": -1,
        "bodySize": 0, "headers": [],
    }  # fmt: skip
    response = {
        "status": 200, "statusText": "", "httpVersion": "HTTP/2", "cookies": [], "headers": [], "headersSize": -1,
        "bodySize": 0, "redirectURL": "", "content": {"size": 0, "mimeType": ""},
    }  # fmt: skip
    entry = {
        "startedDateTime": "2026-11-22T10:00:00Z", "time": 1, "request": request, "response": response, "cache": {},
        "timings": {},
    }  # fmt: skip
    path = folder / "sent.har"
    log = {"version": "1.2", "creator": {"name": "t", "version": "1"}, "entries": [entry]}
    path.write_text(json.dumps({"log": log}))
    planted = Canary(id="page", kind="url", value=URL)
    return pipeline.analyze([pipeline.Capture(path, path.name)], Experiment(canaries=(planted,)))


@pytest.mark.parametrize(
    "url",
    [
        "https://safebrowsing.googleapis.com/v5/hashes:search?hashPrefixes=F_IFvQ%3D%3D&url=",
        "https://safebrowsing.googleapis.com/v4/threatMatches:find?url=",
        "https://clientservices.googleapis.com/uma/v2?url=",
    ],
)
def test_an_address_in_clear_is_a_leak_that_nothing_explains(tmp_path: Path, url: str) -> None:
    (finding,) = audit_of(tmp_path, url + quote(URL, safe="")).findings
    assert (finding.leak_type, finding.expected, finding.explanation) == ("B1", None, None)
    assert finding.severity == "medium"


def test_a_declared_check_of_addresses_explains_one(tmp_path: Path) -> None:
    (finding,) = audit_of(tmp_path, f"https://t1.gstatic.com/faviconV2?url={quote(URL, safe='')}").findings
    assert (finding.leak_type, finding.expected, finding.severity) == ("B1", None, "low")
    assert finding.explanation


def test_a_hash_prefix_of_another_page_tells_nothing(tmp_path: Path) -> None:
    url = "https://safebrowsing.googleapis.com/v5/hashes:search?hashPrefixes=F_IFvQ%3D%3D"
    assert audit_of(tmp_path, url).findings == ()
