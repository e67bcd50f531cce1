"""The whole road on real recordings: what the audit must say about them, and that it says it every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit import pipeline
from audit.experiment import capture_paths, load
from audit.records import Audit, Canary, Experiment, Finding
from audit.reporting import findings as findings_file
from audit.reporting import html

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared/corpus/experiments/chromium-156"
OWN = sorted(ROOT.glob("captures/chromium-*"))
BACKGROUND = ("accounts.google.com", "update.googleapis.com", "optimizationguide-pa.googleapis.com")


def audit_of(folder: Path) -> Audit:
    experiment = load(folder)
    captures = [pipeline.Capture(p, p.name) for p in capture_paths(folder, experiment) if p.suffix == ".mitm"]
    return pipeline.analyze(captures, experiment)


@pytest.fixture(scope="module", params=[CORPUS, *OWN], ids=lambda path: path.parent.name + "/" + path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    if not path.is_dir():
        pytest.skip(f"{path.name}: the folder is not here")
    return path


@pytest.fixture(scope="module")
def audit(folder: Path) -> Audit:
    return audit_of(folder)


def of(audit: Audit, mode: str, kind: str, code: str) -> list[Finding]:
    ids = {
        c.id
        for c in audit.experiment.canaries
        if c.kind == kind
        and not c.decoy
        and any(p.id == c.phase and p.mode == mode for p in audit.experiment.phases)
    }
    assert ids, f"the experiment has no {kind} canary in {mode} mode"
    return [f for f in audit.findings if f.canary in ids and f.leak_type == code]


def test_typed_text_went_to_the_engine_letter_by_letter_in_normal_mode(audit: Audit) -> None:
    for kind, granularity in (("term", "term"), ("text", "term"), ("url", "host")):
        (finding,) = of(audit, "normal", kind, "S2")
        canary = next(c for c in audit.experiment.canaries if c.id == finding.canary)
        assert finding.expected is None
        assert finding.recipient.host == "duckduckgo.com"
        assert finding.granularity == granularity
        assert all("/ac/" in o.request for o in finding.occurrences)
        lengths = [len(o.excerpt) for o in finding.occurrences]
        assert lengths == sorted(lengths)
        assert lengths[0] < 4
        reached = finding.occurrences[-1].excerpt
        whole = canary.value if kind != "url" else "/".join(canary.value.split("/")[:3])
        assert reached.rstrip("/") == whole


def test_what_was_asked_for_is_expected(audit: Audit) -> None:
    for mode in ("normal", "private"):
        (search,) = of(audit, mode, "term", "S1")
        assert (search.expected, search.recipient.host) == ("chosen_engine", "duckduckgo.com")
        (visit,) = of(audit, mode, "url", "B1")
        assert visit.expected == "visited_site"
        assert visit.granularity == "full"
        names = of(audit, mode, "url", "D1")
        assert names
        assert all(f.expected == "visited_site" and f.severity == "info" for f in names)


def test_private_mode_has_no_leak_and_the_decoy_no_hit(audit: Audit) -> None:
    assert [f.id for f in audit.findings if f.mode == "private" and f.expected is None] == []
    decoys = {c.id for c in audit.experiment.canaries if c.decoy}
    assert decoys
    assert [f.id for f in audit.findings if f.canary in decoys] == []
    answers = {v.mode: v.answer for v in audit.verdicts}
    assert answers["normal"] == "leak"
    assert answers["private"] == "no_leak_seen"


def test_background_recipients_are_named_and_accused_of_nothing(audit: Audit) -> None:
    rows = {r.recipient.host: r for r in audit.recipients}
    for host in BACKGROUND:
        assert rows[host].recipient.organisation == "Google"
        assert rows[host].findings == ()
        # the recording's addresses are of a test range (RFC 2544), which belongs to nobody
        assert rows[host].recipient.country_located is None
        assert rows[host].recipient.asn is None


def test_the_same_input_gives_the_same_bytes(folder: Path, audit: Audit) -> None:
    def stable(result: Audit) -> dict[str, object]:
        content: dict[str, object] = json.loads(findings_file.encode(result))
        assert content.pop("run")
        return content

    assert json.dumps(stable(audit)) == json.dumps(stable(audit_of(folder)))
    assert html.render(audit) == html.render(audit)


def har_entry(method: str, url: str, time: str, body: str | None = None, **headers: str) -> dict[str, object]:
    request: dict[str, object] = {
        "method": method, "url": url, "httpVersion": "HTTP/2", "cookies": [], "queryString": [],
        "headers": [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()],
        "headersSize": -1, "bodySize": -1,
    }  # fmt: skip
    if body is not None:
        request["postData"] = {"mimeType": "application/json", "text": body}
    response = {
        "status": 200, "statusText": "", "httpVersion": "HTTP/2", "cookies": [], "headersSize": -1, "bodySize": -1,
        "headers": [{"name": "content-type", "value": "text/html"}], "redirectURL": "",
        "content": {"size": 0, "mimeType": "text/html"},
    }  # fmt: skip
    return {
        "startedDateTime": time,
        "time": 1,
        "request": request,
        "response": response,
        "cache": {},
        "timings": {},
    }


def write_har(path: Path, entries: list[dict[str, object]]) -> Path:
    log = {"log": {"version": "1.2", "creator": {"name": "test", "version": "1"}, "entries": entries}}
    path.write_text(json.dumps(log))
    return path


def test_without_canaries_the_search_is_inferred_and_who_else_got_it(tmp_path: Path) -> None:
    path = write_har(tmp_path / "page.har", [
        har_entry("GET", "https://www.google.com/search?q=quiet+harbour+lights", "2026-11-22T10:00:00Z",
                  sec_fetch_dest="document", sec_fetch_mode="navigate", sec_fetch_site="none"),
        har_entry("POST", "https://telemetry.example/v1", "2026-11-22T10:00:01Z",
                  body='{"events":[{"word":"quiet harbour lights"}]}'),
        har_entry("POST", "https://other.example/v1", "2026-11-22T10:00:01Z", body='{"events":["quiet"]}'),
    ])  # fmt: skip
    audit = pipeline.analyze([pipeline.Capture(path, path.name)], Experiment())
    found = {(f.leak_type, f.recipient.host, f.expected) for f in audit.findings}
    assert ("S1", "www.google.com", "chosen_engine") in found
    assert ("S1", "telemetry.example", None) in found
    assert not any(f.recipient.host == "other.example" for f in audit.findings)
    assert {f.inferred for f in audit.findings} == {"quiet harbour lights"}
    assert {f.mode for f in audit.findings} == {"unknown"}


def test_one_broken_capture_costs_nothing_but_itself(tmp_path: Path) -> None:
    good = write_har(tmp_path / "page.har", [har_entry("GET", "https://a.example/", "2026-11-22T10:00:00Z")])
    bad = tmp_path / "bad.har"
    bad.write_bytes(b"\x89PNG....")
    audit = pipeline.analyze(
        [pipeline.Capture(good, "page.har"), pipeline.Capture(bad, "bad.har")], Experiment()
    )
    assert [r.recipient.host for r in audit.recipients] == ["a.example"]
    assert [(g.capture, g.reason) for g in audit.coverage.gaps] == [("bad.har", "unsupported")]


def test_any_number_of_jobs_gives_the_same(tmp_path: Path) -> None:
    files = [
        write_har(
            tmp_path / f"{n}.har",
            [har_entry("GET", f"https://s{n}.example/page/7?x=12345678", f"2026-11-22T10:00:0{n}Z")],
        )
        for n in range(3)
    ]
    captures = [pipeline.Capture(path, path.name) for path in files]
    one = json.loads(findings_file.encode(pipeline.analyze(captures, Experiment())))
    two = json.loads(findings_file.encode(pipeline.analyze(captures, Experiment(), jobs=2)))
    del one["run"], two["run"]
    assert one == two


def expected_of(path: Path, entries: list[dict[str, object]]) -> dict[str | None, str | None]:
    canary = Canary(id="t", kind="term", value="marble otter h4q2")
    audit = pipeline.analyze(
        [pipeline.Capture(write_har(path, entries), path.name)], Experiment(canaries=(canary,))
    )
    return {f.recipient.host or f.recipient.ip: f.expected for f in audit.findings}


def test_only_a_submission_makes_an_engine_the_chosen_one(tmp_path: Path) -> None:
    query = "q=marble+otter+h4q2"
    person = {"sec_fetch_dest": "document", "sec_fetch_site": "none"}
    redirect = {"sec_fetch_dest": "document", "sec_fetch_site": "cross-site"}
    found = expected_of(tmp_path / "a.har", [
        har_entry("GET", f"https://duckduckgo.com/?{query}", "2026-11-22T10:00:00Z", **person),
        har_entry("GET", f"https://r.adnet.example/click?{query}", "2026-11-22T10:00:01Z", **redirect),
        har_entry("GET", f"http://10.0.0.9/?{query}", "2026-11-22T10:00:02Z", **person),
        har_entry("GET", f"http://203.0.113.5/p.gif?{query}", "2026-11-22T10:00:03Z", sec_fetch_dest="image"),
    ])  # fmt: skip
    assert found == {
        "duckduckgo.com": "chosen_engine",
        "r.adnet.example": None,
        "10.0.0.9": "chosen_engine",
        "203.0.113.5": None,
    }


def test_a_search_submitted_by_post_is_expected_at_its_engine(tmp_path: Path) -> None:
    entry = har_entry(
        "POST", "https://html.duckduckgo.com/html/", "2026-11-22T10:00:00Z", body="q=marble+otter+h4q2",
        sec_fetch_dest="document", sec_fetch_site="same-origin", content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert expected_of(tmp_path / "a.har", [entry]) == {"html.duckduckgo.com": "chosen_engine"}
