"""A browser like the one of the Forbes case, made up: Sensors Analytics batches with addresses and search
words, in both modes, with the device's identifier; flushed late. The audit must call it what it is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from audit import pipeline
from audit.records import Audit, Browser, Canary, Experiment, Finding, Phase
from tests.test_pipeline import har_entry, write_har

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ANDROID_ID = "9774d56d682e549c"
PAGES = {
    "normal": "https://n4-harbour.example/a/room7?note=violet-83",
    "private": "https://p9-harbour.example/a/room8?note=amber-41",
}
WORDS = {"normal": "marble otter h4q2", "private": "copper finch w9z3"}
SINK = "https://sa.api.intl.miui.com/sa?project=global_browser_mini&r=PL"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def java_hash(text: str) -> int:
    value = 0
    for c in text:
        value = (31 * value + ord(c)) & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def batch(events: list[dict[str, object]]) -> str:
    """A Sensors Analytics form body, as the Android SDK sends it."""
    packed = gzip.compress(json.dumps(events).replace("/", "\\/").encode(), mtime=0)
    data = base64.b64encode(packed).decode()
    return f"crc={java_hash(data)}&gzip=1&data_list={quote(data, safe='')}"


def event(name: str, when: datetime, **properties: object) -> dict[str, object]:
    return {
        "_track_id": 1, "time": int(when.timestamp() * 1000), "type": "track", "event": name,
        "distinct_id": ANDROID_ID, "lib": {"$lib": "Android", "$lib_version": "3.2.9"},
        "properties": {"$device_id": ANDROID_ID, "$os": "Android", **properties},
    }  # fmt: skip


def post(
    url: str, when: datetime, body: str, media: str = "application/x-www-form-urlencoded"
) -> dict[str, object]:
    entry = har_entry("POST", url, when.isoformat(), body=body, user_agent="okhttp/3.12", content_type=media)
    entry["request"]["postData"]["mimeType"] = media  # type: ignore[index]
    return entry


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    entries = []
    for mode, minute in (("normal", 1.0), ("private", 11.0)):
        flag = "privacy" if mode == "private" else "general"
        entries.append(
            har_entry(
                "GET", PAGES[mode], at(minute).isoformat(), sec_fetch_dest="document", sec_fetch_site="none"
            )
        )
        events = [
            event("page_load_event_finish", at(minute), url=PAGES[mode], type=flag),
            event("search", at(minute + 1), search_word=WORDS[mode], used_searchengine="google"),
        ]
        # what happened in normal mode is sent when the private phase is already on
        entries.append(post(SINK, at(12.0 if mode == "normal" else 13.0), batch(events)))
    digest = hashlib.sha256(PAGES["private"].encode()).hexdigest()
    entries.append(
        post("https://stat.example/v1", at(13.5), json.dumps({"page_md": digest}), "application/json")
    )
    path = write_har(tmp_path_factory.mktemp("planted") / "page.har", entries)
    experiment = Experiment(
        browser=Browser(name="Made-up Browser", version="1"),
        phases=(
            Phase(id="n1", mode="normal", start=at(0), end=at(9)),
            Phase(id="p1", mode="private", start=at(10), end=at(19)),
        ),
        canaries=(
            Canary(id="n-url", kind="url", value=PAGES["normal"], phase="n1"),
            Canary(id="n-term", kind="term", value=WORDS["normal"], phase="n1"),
            Canary(id="p-url", kind="url", value=PAGES["private"], phase="p1"),
            Canary(id="p-term", kind="term", value=WORDS["private"], phase="p1"),
            Canary(
                id="decoy", kind="url", value="https://d5-harbour.example/a/room9?note=never-52", decoy=True
            ),
        ),
    )
    return pipeline.analyze([pipeline.Capture(path, path.name)], experiment)


def the(audit: Audit, code: str, canary: str, host: str) -> Finding:
    (finding,) = [
        f for f in audit.findings if (f.leak_type, f.canary, f.recipient.host) == (code, canary, host)
    ]
    return finding


def test_address_and_words_left_in_private_mode_with_the_devices_identifier(audit: Audit) -> None:
    for code, canary in (("B1", "p-url"), ("S1", "p-term")):
        finding = the(audit, code, canary, "sa.api.intl.miui.com")
        assert finding.expected is None
        assert finding.severity == "critical"
        assert finding.mode == "private"
        assert finding.recipient.organisation == "Xiaomi"
        assert ANDROID_ID in {i.value for i in finding.identifiers}
        (occurrence,) = finding.occurrences
        assert occurrence.layers == ("form", "percent", "base64", "gzip", "json")
        assert occurrence.path.startswith("$[")


def test_what_is_flushed_late_belongs_to_the_phase_of_its_canary(audit: Audit) -> None:
    finding = the(audit, "B1", "n-url", "sa.api.intl.miui.com")
    assert (finding.mode, finding.severity) == ("normal", "high")
    assert {o.mode_by for o in finding.occurrences} == {"canary"}


def test_a_hash_of_the_address_is_a_leak_of_its_own_type(audit: Audit) -> None:
    finding = the(audit, "B5", "p-url", "stat.example")
    assert finding.occurrences[0].form == "sha256"
    assert finding.occurrences[0].layers == ("json", "hex")
    assert finding.identifiers == ()


def test_the_visited_pages_are_expected_and_the_decoy_is_silent(audit: Audit) -> None:
    assert the(audit, "B1", "p-url", "p9-harbour.example").expected == "visited_site"
    assert not [f for f in audit.findings if f.canary == "decoy"]


def test_the_private_flag_and_the_usage_are_told(audit: Audit) -> None:
    codes = {(f.leak_type, f.mode) for f in audit.findings if f.recipient.host == "sa.api.intl.miui.com"}
    assert ("U1", "private") in codes


def test_both_modes_are_found_to_leak(audit: Audit) -> None:
    assert {v.mode: v.answer for v in audit.verdicts} == {"normal": "leak", "private": "leak"}


def test_without_canaries_the_events_own_time_tells_the_mode(audit: Audit, tmp_path: Path) -> None:
    page = "https://n4-harbour.example/a/room7?note=violet-83"
    path = write_har(tmp_path / "page.har", [
        har_entry("GET", page, at(1).isoformat(), sec_fetch_dest="document", sec_fetch_site="none"),
        post(SINK, at(12), batch([event("page_load_event_finish", at(1), url=page)])),
    ])  # fmt: skip
    found = pipeline.analyze(
        [pipeline.Capture(path, path.name)], Experiment(phases=audit.experiment.phases)
    ).findings
    (leak,) = [f for f in found if f.leak_type == "B1" and f.expected is None]
    assert (leak.mode, leak.occurrences[0].mode_by) == ("normal", "event_time")
