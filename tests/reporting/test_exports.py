"""Exports hold what the report may show and nothing that it hides, in forms other tools read."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import msgspec
import pytest
import sarif_pydantic

from audit.decoding.channels import Channel
from audit.detection.needles import Needles
from audit.detection.search import Searcher
from audit.records import Audit, Canary, DeviceSeen, EncryptedDns, Http, WebSocketMessage
from audit.reporting import exports, har_export, har_full
from audit.reporting.findings import schema
from audit.reporting.html import render
from audit.reporting.shared import masked
from tests.reporting import cases, sample

SECRETS = (sample.DEVICE_ID, sample.COOKIE, sample.INFERRED)
FORMS: dict[str, Callable[[Audit], bytes]] = {
    "json": exports.to_json,
    "csv": exports.to_csv,
    "sarif": exports.to_sarif,
}


def told(content: bytes, secrets: tuple[str, ...] = SECRETS) -> list[str]:
    """The secrets that our own detector finds in a file, in whatever coding."""
    planted = [Canary(id=value, kind="identifier", value=value) for value in secrets]
    found: set[str] = set()
    for start in range(0, len(content), 1 << 16):
        part = content[max(0, start - 4096) : start + (1 << 16)]
        result = Searcher(Needles(planted)).search([Channel("body", part)])
        found |= {each.match.canary for each in result.sightings}
    return sorted(found)


def request(body: bytes, *headers: tuple[bytes, bytes]) -> Http:
    return Http(
        capture="flows.mitm", id="h1", method="POST", scheme="https", authority="suggest.search.example",
        host="suggest.search.example", path="/ac/?q=marble+otter+h4q2&uid=" + sample.DEVICE_ID, version="2", body=body,
        request_bytes=len(body), headers=((b"cookie", b"sid=" + sample.COOKIE.encode()), *headers), time=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_masked_exports_keep_what_was_planted_and_no_secret_in_plain(form: str) -> None:
    """In every coding: test_nothing_told.py."""
    content = FORMS[form](masked(sample.audit())).decode()
    assert sample.TERM in content
    assert [secret for secret in SECRETS if secret in content] == []


def test_masked_findings_fit_the_schema_and_can_be_read_back() -> None:
    content = exports.to_json(masked(sample.audit()))
    jsonschema.validate(json.loads(content), schema())
    audit = msgspec.json.decode(content, type=Audit)
    assert len(audit.findings) == len(sample.findings())
    assert audit.run.salt == audit.run.started == ""


def test_names_of_devices_and_of_sites_asked_for_are_masked() -> None:
    audit = msgspec.structs.replace(
        sample.audit(),
        devices=(DeviceSeen(address="10.0.0.2", names={"mdns": ("Annas-Phone.local",)}, audited=None),),
        encrypted_dns=(
            EncryptedDns(
                host=None, ip="192.0.2.53", carrier="doh", mode="private", questions=2, distinct=2,
                names=("clinic.example", "n7-lantern.example"),
            ),
        ),
    )  # fmt: skip
    content = exports.to_json(masked(audit)).decode()
    assert "Annas-Phone" not in content
    assert "clinic.example" not in content
    assert "n7-lantern.example" in content
    page = render(audit)
    assert "called themselves" in page
    assert "10.0.0.2" in page.replace("<wbr>", "")
    assert "Annas-Phone" in render(audit, unmask=True)
    assert "Annas-Phone" not in page
    assert "clinic.example" not in page


def test_csv_has_a_row_for_each_finding_and_no_formulas() -> None:
    rows = list(csv.DictReader(io.StringIO(exports.to_csv(masked(sample.audit())).decode())))
    assert len(rows) == len(sample.findings())
    assert {row["state"] for row in rows} == {"leak", "expected", "apart"}
    assert not [cell for row in rows for cell in row.values() if cell[:1] in {"=", "+", "-", "@"}]


def test_sarif_is_valid_and_only_leaks_fail() -> None:
    log = json.loads(exports.to_sarif(masked(sample.audit())))
    results = log["runs"][0]["results"]
    assert sum(1 for each in results if each["kind"] == "fail") == 7
    assert {each["level"] for each in results if each["kind"] != "fail"} == {"none"}
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[each["ruleIndex"]]["id"] == each["ruleId"] for each in results)
    sarif_pydantic.Sarif.model_validate(log)


def test_sarif_tells_levels_places_and_help() -> None:
    audit = masked(sample.audit())
    (run,) = json.loads(exports.to_sarif(audit))["runs"]
    levels = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
    for result, finding in zip(run["results"], audit.findings, strict=True):
        if result["kind"] == "fail":
            assert result["level"] == levels[finding.severity]
        assert ".. (" not in result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]["artifactLocation"]
        assert (
            run["artifacts"][place["index"]]["location"]["uri"]
            == place["uri"]
            == finding.occurrences[0].capture
        )
        assert location["message"]["text"] == f"transmission {finding.occurrences[0].transmission}"
    for rule in run["tool"]["driver"]["rules"]:
        assert len(rule["help"]["text"]) > len(rule["fullDescription"]["text"]) > 20
        assert rule["defaultConfiguration"]["level"] in {"error", "warning", "note"}


def test_sarif_knows_a_finding_again_in_the_next_run_whose_marks_are_others(tmp_path: Path) -> None:
    runs = [cases.planted(tmp_path), cases.unplanned(tmp_path), cases.unplanned(tmp_path)]
    assert runs[1].run.salt != runs[2].run.salt
    known = []
    for audit in runs:
        results = json.loads(exports.to_sarif(masked(audit)))["runs"][0]["results"]
        prints = [json.dumps(each["partialFingerprints"]) for each in results]
        assert len(set(prints)) == len(audit.findings) > 3
        known.append(prints)
    assert known[1] == known[2]
    assert json.loads(exports.to_sarif(masked(runs[1]))) != json.loads(exports.to_sarif(masked(runs[2])))
    assert not set(known[0]) & set(known[1])


def test_a_masked_har_is_clean_and_readable() -> None:
    body = f'{{"q":"{sample.TERM}","id":"{sample.DEVICE_ID}"}}'.encode()
    content = har_export.har(
        sample.audit(), [request(body, (b"content-type", b"application/json"), (b"sec-fetch-dest", b"empty"))]
    )
    assert told(content) == []
    (entry,) = json.loads(content)["log"]["entries"]
    assert entry["request"]["url"].startswith("https://suggest.search.example/ac/?q=marble+otter")
    assert sample.TERM in entry["request"]["postData"]["text"]
    assert {"name": "content-type", "value": "application/json"} in entry["request"]["headers"]
    assert entry["_resourceType"] == "empty"


def socket_and_binary() -> list[Http | WebSocketMessage]:
    """A request before an upgrade on the same connection, two messages, and a body that is no text."""
    first = msgspec.structs.replace(request(b"\x00\xff\xfe"), flow="c1", direction="up", status=200)
    upgrade = msgspec.structs.replace(
        first, id="h2", method="GET", path="/live", body=b"", request_bytes=0, status=101
    )
    said = WebSocketMessage(
        capture="flows.mitm", id="w1", flow="c1", direction="up", type="text", time=2.0,
        url="https://suggest.search.example/live", bytes=33, data=f"{sample.TERM} {sample.DEVICE_ID}".encode(),
    )  # fmt: skip
    answered = msgspec.structs.replace(
        said, id="w2", direction="down", type="binary", bytes=2, data=b"\x00\xff"
    )
    return [first, upgrade, said, answered]


def test_a_masked_har_has_the_fields_of_tweasel_and_of_browsers() -> None:
    audit = sample.audit()
    log = json.loads(har_export.har(audit, socket_and_binary()))["log"]
    told_by = log["_tweasel"]
    assert told_by["versions"] == {audit.tool.name: audit.tool.version}
    assert told_by["device"] == {"name": audit.experiment.device.name}
    assert (told_by["startDate"], told_by["endDate"]) == (
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:01.000Z",
    )
    assert (told_by["options"], told_by["metaVersion"]) == ({"mode": "device"}, "1.0")
    plain, upgrade = log["entries"]
    assert "_webSocketMessages" not in plain
    assert plain["request"]["postData"]["_masked"] == "3 bytes that are no text"
    assert "encoding" not in plain["request"]["postData"]
    up, down = upgrade["_webSocketMessages"]
    assert (up["type"], up["opcode"], up["time"]) == ("send", 1, 2.0)
    assert sample.TERM in up["data"]
    assert sample.DEVICE_ID not in up["data"]
    assert (down["type"], down["opcode"]) == ("receive", 2)


def test_a_whole_har_has_the_fields_of_pcapdroid_and_of_browsers() -> None:
    log = json.loads(b"".join(har_full.written(socket_and_binary())))["log"]
    plain, upgrade = log["entries"]
    assert plain["request"]["postData"]["encoding"] == "base64"
    assert base64.b64decode(plain["request"]["postData"]["text"]) == b"\x00\xff\xfe"
    assert plain["_securedBy"] == socket_and_binary()[0].secured_by
    up, down = upgrade["_webSocketMessages"]
    assert up["data"] == f"{sample.TERM} {sample.DEVICE_ID}"
    assert base64.b64decode(down["data"]) == b"\x00\xff"
    assert [each["opcode"] for each in (up, down)] == [1, 2]


def test_a_secret_that_masking_misses_is_taken_out_before_the_har_is_written() -> None:
    # an identifier told as the plain words of a path, which masking leaves readable
    audit = sample.audit()
    finding = msgspec.structs.replace(
        audit.findings[0],
        identifiers=(msgspec.structs.replace(sample.findings()[6].identifiers[0], value="quietharbour"),),
    )
    audit = msgspec.structs.replace(audit, findings=(finding, *audit.findings[1:]))
    content = har_export.har(audit, [request(b"", (b"x-trace", b"cXVpZXRoYXJib3Vy"))])
    assert told(content, ("quietharbour",)) == []


def test_what_cannot_be_made_clean_is_refused() -> None:
    # an identifier that is the name of a recipient: reports name recipients
    audit = sample.audit()
    kept = msgspec.structs.replace(sample.findings()[6].identifiers[0], value="suggest.search.example")
    finding = msgspec.structs.replace(audit.findings[0], identifiers=(kept,))
    audit = msgspec.structs.replace(audit, findings=(finding, *audit.findings[1:]))
    with pytest.raises(har_export.Refused, match="must stay hidden"):
        har_export.har(audit, [request(b"")])


def test_exports_are_the_same_each_time(tmp_path: Path) -> None:
    audit = sample.audit()
    turned = msgspec.structs.replace(audit, findings=audit.findings[::-1])
    for form in FORMS.values():
        assert form(masked(audit)) == form(masked(turned))
