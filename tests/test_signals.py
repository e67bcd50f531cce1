"""What is told beside planted values and without them: use of the device, private flags, hash prefixes,
identifiers that stay, and the mode of what was sent late."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec import structs

from audit import pipeline
from audit.records import Audit, Canary, Experiment, Finding, Phase
from tests.test_pipeline import har_entry, write_har
from tests.test_planted import PAGES, SINK, at, batch, event, post

EXPERIMENT = Experiment(
    phases=(
        Phase(id="n1", mode="normal", start=at(0), end=at(9)),
        Phase(id="p1", mode="private", start=at(10), end=at(19)),
        Phase(id="n2", mode="normal", setting="opted-out", start=at(20), end=at(29)),
    ),
    canaries=(
        Canary(id="n-url", kind="url", value=PAGES["normal"], phase="n1"),
        Canary(id="p-url", kind="url", value=PAGES["private"], phase="p1"),
        Canary(id="title", kind="title", value="Harbour walls at dusk zx4q8", phase="p1"),
        Canary(id="word", kind="text", value="marble otter zx4q8"),
    ),
)
DEVICE = "9774d56d682e549c"
INSTANCE = "e1f0c2d4-0b7a-4b11-9c39-5d1d1f2a7c01"


def audit_of(folder: Path, *entries: dict[str, object], experiment: Experiment = EXPERIMENT) -> Audit:
    path = write_har(folder / "sent.har", list(entries))
    return pipeline.analyze([pipeline.Capture(path, path.name)], experiment)


def of(audit: Audit, code: str) -> list[Finding]:
    return [finding for finding in audit.findings if finding.leak_type == code]


def onetrack(screen: str, when: float, arrives: float) -> dict[str, object]:
    events = [{
        "H": {"event": "app_open", "app_id": "31000000538", "instance_id": INSTANCE, "e_ts": int(at(when).timestamp() * 1000)},
        "B": {"page": screen},
    }]  # fmt: skip
    return post("https://tracking.miui.com/track/v4/o", at(arrives), json.dumps(events), "application/json")


def test_use_of_the_device_is_told_with_its_identifier_and_the_events_own_mode(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, onetrack("settings_main", 1, 12), onetrack("folder_photos", 13, 14))
    used = {finding.inferred: finding for finding in of(audit, "U1")}
    assert (used["settings_main"].mode, used["folder_photos"].mode) == ("normal", "private")
    for finding in used.values():
        assert {place.mode_by for place in finding.occurrences} == {"event_time"}
        assert INSTANCE in {identifier.value for identifier in finding.identifiers}
        assert finding.expected is None
        assert "field known from: SDK" in finding.occurrences[0].origin_evidence
    assert (used["settings_main"].severity, used["folder_photos"].severity) == ("medium", "high")


def test_a_flag_that_differs_by_mode_is_told_and_weighs_more_beside_an_address(tmp_path: Path) -> None:
    def sends(flag: str, when: float, arrives: float, **properties: object) -> dict[str, object]:
        return post(SINK, at(arrives), batch([event("download_files", at(when), type=flag, **properties)]))

    # what happened in normal mode arrives when the private phase is on
    alone = audit_of(tmp_path, sends("general", 1, 12), sends("privacy", 13, 14))
    beside = audit_of(tmp_path, sends("general", 1, 12), sends("privacy", 13, 14, url=PAGES["private"]))
    (plain,), (worse,) = of(alone, "P1"), of(beside, "P1")
    assert plain.inferred == "$[*].properties.type = privacy"
    assert plain.mode == worse.mode == "private"
    # both have the device's identifier beside them: no level is above that
    assert worse.severity == plain.severity == "high"
    assert of(audit_of(tmp_path, sends("general", 1, 2), sends("general", 13, 14)), "P1") == []


def prefix_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:4]


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_a_hash_prefix_of_the_page_is_information_and_names_the_canary(tmp_path: Path, version: str) -> None:
    page = PAGES["private"].partition("://")[2]

    def check(prefix: bytes) -> dict[str, object]:
        if version == "v4":
            entry = b"\x0a" + bytes([len(prefix)]) + prefix
            request = b"\x12" + bytes([len(entry) + 2]) + b"\x1a" + bytes([len(entry)]) + entry
            text = base64.urlsafe_b64encode(request).decode()
            url = f"https://safebrowsing.googleapis.com/v4/fullHashes:find?$req={text}"
        else:
            text = base64.urlsafe_b64encode(prefix).decode()
            url = f"https://safebrowsing.googleapis.com/v5/hashes:search?hashPrefixes={text}"
        return har_entry("GET", url, at(31).isoformat())

    (finding,) = of(audit_of(tmp_path, check(prefix_of(page))), "H1")
    assert (finding.canary, finding.inferred) == ("p-url", None)
    assert (finding.severity, finding.expected) == ("info", "visited_site")
    # it arrived after all phases: the canary tells the mode
    assert finding.mode == "private"
    assert {place.mode_by for place in finding.occurrences} == {"canary"}
    assert audit_of(tmp_path, check(prefix_of(page + "x"))).findings == ()


def test_the_page_before_is_told_as_such_only_in_a_field_for_it(tmp_path: Path) -> None:
    page = PAGES["private"].replace("?", "%3F").replace("&", "%26").replace("=", "%3D")

    def tongji(field: str) -> dict[str, object]:
        url = f"https://hm.baidu.com/hm.gif?si=0&{field}={page}"
        return har_entry("GET", url, at(12).isoformat(), user_agent="okhttp/3.12")

    (before,) = audit_of(tmp_path, tongji("su")).findings
    (opened,) = audit_of(tmp_path, tongji("u")).findings
    assert (before.leak_type, opened.leak_type) == ("B4", "B1")
    assert before.granularity == opened.granularity == "full"


def test_text_of_a_page_sent_for_translation_is_page_content(tmp_path: Path) -> None:
    body = json.dumps([[["Harbour walls at dusk zx4q8"], "auto", "de"], "te"])
    url = "https://translate-pa.googleapis.com/v1/translateHtml"
    (finding,) = audit_of(tmp_path, post(url, at(12), body, "application/json+protobuf")).findings
    assert (finding.leak_type, finding.canary) == ("B2", "title")
    elsewhere = audit_of(tmp_path, post("https://log.example/v1", at(12), body, "application/json"))
    assert [found.leak_type for found in elsewhere.findings] == ["B3"]


def report(when: float, page: str, **more: object) -> dict[str, object]:
    body = json.dumps({"page": page, **more})
    return post("https://metrics.example/v1", at(when), body, "application/json")


@pytest.mark.parametrize(
    ("value", "persists"),
    [
        ("k7qX2m9vT4bZ81", True),
        ("9774d56d682e549c", True),
        ("aaaaaaaa1", False),  # too little entropy
        ("harbour-walls", False),  # words
        ("1700000000123", False),  # a time
        ("anna.k92@mail.example", True),
        (839201746512, True),
        ({"device": {"v": ["k7qX2m9vT4bZ81"]}}, True),
        (base64.b64encode(json.dumps({"id": "k7qX2m9vT4bZ81"}).encode()).decode(), True),
        ("12.4.1107", False),  # a version
        ("2026-11-22T10:00:00Z", False),
        ("20261122-100000", False),
        ("1080x2340x440dpi", False),
        ("AIzaSyBqJZh-7pA44blAaAkH6490hUFOwX0KCYM", False),  # of the app, as the three after it
        ("1:839201746512:android:0a1b2c3d4e5f6a7b", False),
        ("G-7QX2M9VT4B", False),
        ({"api_key": "k7qX2m9vT4bZ81", "app.version": "v12a34b56c78"}, False),
        ("https://a.example/x1y2z3w4", False),  # an address
    ],
)
def test_a_value_that_recurs_over_phases_and_modes_identifies(
    tmp_path: Path, value: object, persists: bool
) -> None:
    leaks = audit_of(tmp_path, report(1, PAGES["normal"], tag=value), report(12, PAGES["private"], tag=value))
    for finding in of(leaks, "B1"):
        assert bool(finding.identifiers) == persists
        assert len(finding.identifiers) <= 1  # told in its innermost reading


def test_a_value_of_one_phase_alone_or_of_another_recipient_identifies_nobody(tmp_path: Path) -> None:
    tag = "k7qX2m9vT4bZ81"
    elsewhere = post("https://other.example/v1", at(3), json.dumps({"tag": tag}), "application/json")
    (once,) = of(audit_of(tmp_path, elsewhere, report(12, PAGES["private"], tag=tag)), "B1")
    assert once.identifiers == ()


def test_a_new_value_with_each_request_identifies_nobody(tmp_path: Path) -> None:
    pages = [PAGES["normal"] if n < 9 else PAGES["private"] for n in range(18)]
    audit = audit_of(tmp_path, *(report(n, page, tag=f"k7qX2m9vT4b{n:02d}q") for n, page in enumerate(pages)))
    assert of(audit, "B1")
    assert all(finding.identifiers == () for finding in of(audit, "B1"))


def test_the_mode_comes_from_the_canary_then_the_event_then_the_arrival(tmp_path: Path) -> None:
    def sends(when: float | None, arrives: float, **properties: object) -> dict[str, object]:
        happened = event("search", at(when if when is not None else 0), **properties)
        if when is None:
            del happened["time"]
        return post(SINK, at(arrives), batch([happened]))

    def told(entry: dict[str, object]) -> tuple[str, str | None, str]:
        (finding,) = [f for f in audit_of(tmp_path, entry).findings if f.canary]
        return finding.mode, finding.setting, finding.occurrences[0].mode_by

    # the canary's own phase wins over both clocks
    assert told(sends(12, 21, url=PAGES["normal"])) == ("normal", "default", "canary")
    # a value of no phase: the event's time wins over the arrival
    assert told(sends(12, 21, search_word="marble otter zx4q8")) == ("private", "default", "event_time")
    assert told(sends(None, 21, search_word="marble otter zx4q8")) == ("normal", "opted-out", "arrival")
    assert told(sends(None, 50, search_word="marble otter zx4q8")) == ("unknown", None, "unknown")
    # an event's time far from its arrival is no time of an event
    assert told(sends(-99 * 1440, 12, search_word="marble otter zx4q8")) == ("private", "default", "arrival")


def test_what_is_not_listed_is_told_as_a_bound(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, *(onetrack(f"screen_{n}", 1, 2) for n in range(60)))
    assert len([f for f in of(audit, "U1") if f.inferred and f.inferred.startswith("screen_")]) < 60
    (limit,) = [limit for limit in audit.limits if "U1" in limit.detail]
    assert limit.detail == "U1 in normal mode: 11 more values to tracking.miui.com are not listed"


def test_the_result_is_the_same_on_more_than_one_core(tmp_path: Path) -> None:
    captures = []
    for number, mode in enumerate(("normal", "private")):
        entry = post(
            SINK, at(1 + 10 * number), batch([event("x", at(1 + 10 * number), url=PAGES[mode], type=mode)])
        )
        closed = post(
            "https://sdk.example/v1",
            at(2 + 10 * number),
            base64.b64encode(random.Random(number).randbytes(300)).decode(),
        )
        path = write_har(tmp_path / f"{mode}.har", [entry, closed, onetrack("folder_photos", 1, 12)])
        captures.append(pipeline.Capture(path, path.name))
    decoders = ("rc4:key=text:secret-key", "aes-ecb:key=md5(field app)")
    one, two = (pipeline.analyze(captures, EXPERIMENT, jobs=jobs, decoders=decoders) for jobs in (1, 2))
    assert one.findings == two.findings
    assert one.coverage == two.coverage
    assert one.findings
    assert one.coverage.opaque


def with_identifier(value: str) -> Experiment:
    planted = Canary(id="device", kind="identifier", value=value)
    return structs.replace(EXPERIMENT, canaries=(*EXPERIMENT.canaries, planted))


def test_an_identifier_that_was_given_counts_beside_a_leak_in_any_form(tmp_path: Path) -> None:
    known = with_identifier(DEVICE)
    forms = (DEVICE, base64.b64encode(DEVICE.encode()).decode(), hashlib.md5(DEVICE.encode()).hexdigest())
    for form in forms:
        (leak,) = of(audit_of(tmp_path, report(12, PAGES["private"], tag=form), experiment=known), "B1")
        assert [(i.value, i.kind) for i in leak.identifiers] == [(DEVICE, "identifier")]
        assert leak.severity == "critical"
    apart = audit_of(
        tmp_path, report(12, PAGES["private"]), report(12.5, "nothing", tag=DEVICE), experiment=known
    )
    assert [leak.severity for leak in of(apart, "B1")] == ["high"]
    # nothing but itself stands beside it
    assert [leak.identifiers for leak in of(apart, "I3")] == [()]


def test_a_private_flag_is_told_for_each_setting(tmp_path: Path) -> None:
    phases = (
        *EXPERIMENT.phases,
        Phase(id="p2", mode="private", setting="opted-out", start=at(30), end=at(39)),
    )
    sent = [
        post(SINK, at(when), batch([event("download_files", at(when), type=flag)]))
        for flag, when in (("general", 1), ("privacy", 12), ("privacy", 32))
    ]
    told = of(audit_of(tmp_path, *sent, experiment=structs.replace(EXPERIMENT, phases=phases)), "P1")
    assert {(f.mode, f.setting, f.severity) for f in told} == {
        ("private", "default", "high"), ("private", "opted-out", "critical"),
    }  # fmt: skip


def test_a_referer_that_the_browser_itself_fills_tells_no_page(tmp_path: Path) -> None:
    def origin(host: str) -> str:
        entry = har_entry(
            "POST", f"https://{host}/collect", at(12).isoformat(), body="a=1", referer=PAGES["private"]
        )
        (leak,) = of(audit_of(tmp_path, entry), "B1")
        return leak.origin

    assert origin("gjtrack.ucweb.com") == "browser"
    assert origin("stat.example") == "page"


def test_what_is_typed_is_no_feature_of_an_engine_that_was_not_chosen(tmp_path: Path) -> None:
    word = Canary(id="s", kind="term", value="marble otter h4q2", phase="n1")
    submitted = har_entry(
        "GET", "https://www.google.com/search?q=marble+otter+h4q2", at(2).isoformat(),
        sec_fetch_dest="document", sec_fetch_site="none",
    )  # fmt: skip
    asked = [
        har_entry("GET", f"https://{page}marble+otter+h4q2", at(1).isoformat())
        for page in ("www.google.com/complete/search?client=chrome-omni&q=", "duckduckgo.com/ac/?q=")
    ]
    known = structs.replace(EXPERIMENT, canaries=(word,))
    levels = {
        f.recipient.host: f.severity
        for f in of(audit_of(tmp_path, submitted, *asked, experiment=known), "S2")
    }
    assert levels == {"www.google.com": "low", "duckduckgo.com": "medium"}
    unchosen = of(audit_of(tmp_path, *asked, experiment=known), "S2")
    assert {f.severity for f in unchosen} == {"low"}


def test_identifiers_in_headers_paths_and_bytes_recur_too(tmp_path: Path) -> None:
    def sent(when: float, page: str, path: str, authorization: str) -> dict[str, object]:
        entry = post(
            f"https://metrics.example/{path}", at(when), json.dumps({"page": page}), "application/json"
        )
        entry["request"]["headers"].append({"name": "Authorization", "value": authorization})  # type: ignore[index]
        return entry

    def told(path: str, authorization: str) -> set[str]:
        audit = audit_of(
            tmp_path,
            sent(1, PAGES["normal"], path, authorization),
            sent(12, PAGES["private"], path, authorization),
        )
        return {i.name for f in of(audit, "B1") for i in f.identifiers}

    assert told("v1", "Bearer k7qX2m9vT4bZ81aQ") == {"header:authorization"}
    assert told(f"install/{INSTANCE}/events", "none") == {"url.path /2"}
    assert told("install/4b11/app-7qx2m9vt4b.js", "none") == set()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("38400000-8cf0-11bd-b23e-10b96e40000d", True),
        ("00000000-0000-0000-0000-000000000000", False),
        ("null", False),
        ("", False),
    ],
)
def test_an_advertising_id_that_was_switched_off_identifies_nobody(
    tmp_path: Path, value: str, kept: bool
) -> None:
    body = f"gps_adid={value}&deeplink={quote(PAGES['private'], safe='')}"
    (leak,) = of(audit_of(tmp_path, post("https://app.adjust.com/session", at(12), body)), "B1")
    assert [i.kind for i in leak.identifiers] == (["ad_id"] if kept else [])
    assert leak.severity == ("critical" if kept else "high")


def test_dwell_times_are_numbers(tmp_path: Path) -> None:
    events = [event("$WebStay", at(12), event_duration=12.4), event("$WebStay", at(13), event_duration=9)]
    assert {f.inferred for f in of(audit_of(tmp_path, post(SINK, at(14), batch(events))), "I2")} == {
        "12.4",
        "9",
    }


def test_an_event_without_a_time_has_not_that_of_another(tmp_path: Path) -> None:
    first, second = event("search", at(1)), event("search", at(1), search_word="marble otter zx4q8")
    del second["time"]
    (found,) = [
        f for f in audit_of(tmp_path, post(SINK, at(12), batch([first, second]))).findings if f.canary
    ]
    assert (found.mode, found.occurrences[0].mode_by) == ("private", "arrival")


def test_a_value_that_was_looked_for_is_not_told_again_as_usage(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, onetrack("marble otter zx4q8", 12, 12))
    assert "marble otter zx4q8" not in {f.inferred for f in audit.findings}
    assert len([f for f in audit.findings if f.canary == "word"]) == 1


def test_an_identifier_alone_has_none_beside_it(tmp_path: Path) -> None:
    body = f"gps_adid={INSTANCE}&x=1"
    known = with_identifier(INSTANCE)
    (told,) = of(
        audit_of(tmp_path, post("https://app.adjust.com/session", at(12), body), experiment=known), "I3"
    )
    assert (told.identifiers, told.severity) == ((), "medium")
