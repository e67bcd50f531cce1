"""Every bound of detection that is hit stands in the result; one that is not, does not."""

from __future__ import annotations

import base64
import json
import random

import pytest

from audit.adapters import load, search_engines
from audit.decoding import Bounds
from audit.decoding.channels import channels
from audit.detection import beginnings, exhibits, identifiers, inference, roles, scan
from audit.detection.needles import Needles
from audit.detection.scan import Scanner
from audit.detection.search import Searcher
from audit.records import AnyRecord, Canary, DeviceName, Dns, Experiment, Http

TEXT = Canary(id="t", kind="text", value="marble otter zx4q8")
NEEDLES = Needles([TEXT])


def http(
    path: str = "/", body: bytes = b"", host: str = "type.example", number: int = 0, **headers: str
) -> Http:
    return Http(
        capture="c", id=str(number), host=host, method="POST", scheme="https", authority=host, path=path, version="2",
        body=body, headers=tuple((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()),
    )  # fmt: skip


def limits(*records: AnyRecord) -> list[str]:
    scanner = Scanner("c", NEEDLES, Experiment())
    for record in records:
        scanner.add(record)
    return [limit.detail for limit in scanner.finished().limits]


def test_parts_of_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginnings, "_MAX_PARTS", 8)
    assert limits(http("/a/b/c/marble")) == []
    (said,) = limits(http("/a/b/c/d/e/f/g/h/i/marble"))
    assert "url.path" in said
    assert "first 8 parts" in said


def test_parts_of_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginnings, "_MAX_PARTS", 8)
    assert limits(http("/?" + "&".join(f"k{n}=v" for n in range(5)))) == []
    assert len(limits(http("/?" + "&".join(f"k{n}=v" for n in range(20))))) == 1


def test_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.detection.search._MAX_MATCHES", 5)
    assert limits(http(body=b" ".join([TEXT.value.encode()] * 5))) == []
    (said,) = limits(http(body=b" ".join([TEXT.value.encode()] * 9)))
    assert "body" in said


def test_bounds_of_decoding() -> None:
    body = json.dumps([["x" * 20, "\\u0041" * 10] for _ in range(50)]).encode()
    searcher = Searcher(NEEDLES, Bounds(fields=20))
    assert {limit.bound for limit in searcher.search(channels(http(body=body))).limits} == {"fields"}


def test_known_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps([{"H": {"event": f"e{n}"}, "B": {"page": "p"}} for n in range(20)]).encode()
    record = http("/track/v4/o", body, "tracking.miui.com", content_type="application/json")
    assert limits(record) == []
    monkeypatch.setattr(roles, "MAX_FIELDS", 10)
    monkeypatch.setattr(scan, "MAX_FIELDS", 10)
    assert any("known fields" in said for said in limits(record))


def test_a_known_value_that_is_cut_says_so() -> None:
    body = json.dumps([{"H": {"event": "e"}, "B": {"page": "p" * 600}}]).encode()
    record = http("/track/v4/o", body, "tracking.miui.com", content_type="application/json")
    parts, adapters = channels(record), load().recognise(record)
    told = roles.roles(parts, Searcher(NEEDLES).open(parts, adapters), adapters)
    assert next(row.value for row in told if row.path == "$[0].B.page") == b"p" * 512 + "…".encode()


def test_names_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_MAX_LOOKUPS", 3)
    asked = [
        Dns(capture="c", id=str(n), host="dns.example", name=f"n{n % 5}.example", type="A", response=False, carrier="doh")
        for n in range(20)
    ]  # fmt: skip
    assert limits(*asked[:3], *asked[:3]) == []
    (said,) = limits(*asked)
    assert "dns.example" in said


def test_names_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_MAX_NAMES", 2)
    names = [DeviceName(capture="c", src="192.0.2.7", by="dhcp", name=f"phone-{n}") for n in range(4)]
    assert limits(*names[:2], *names[:2]) == []
    assert len(limits(*names)) == 1


def test_addresses_of_a_recipient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_MAX_IPS", 2)

    def sent(number: int) -> AnyRecord:
        return Http(
            capture="c", id=str(number), host="t.example", dst=f"192.0.2.{number}", method="GET", scheme="https",
            authority="t.example", path="/", version="2",
        )  # fmt: skip

    assert limits(sent(1), sent(2), sent(1)) == []
    assert len(limits(sent(1), sent(2), sent(3), sent(4))) == 1


def test_transmissions_shown_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhibits, "_MOST", 2)
    sent = [http(body=TEXT.value.encode(), host=f"t{n}.example", number=n) for n in range(5)]
    assert limits(*sent[:2]) == []
    (said,) = limits(*sent)
    assert "told without the request" in said


def test_identifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifiers, "MAX_PLACES", 3)
    companions = identifiers.Companions(frozenset([("t.example", None)]))
    companions.add(http("/?a=9f8e7d6c5b4a39281706", host="t.example"))
    assert companions.limits() == ()
    companions.add(http("/?" + "&".join(f"k{n}=9f8e7d6c5b4a3928170{n}" for n in range(9)), host="t.example"))
    (said,) = companions.limits()
    assert "first 3 fields" in said.detail


def test_guessing_beside_a_leak() -> None:
    companions = identifiers.Companions(frozenset([("t.example", None)]))
    companions.add(http("/", random.Random(1).randbytes(400), host="t.example"))
    assert companions.limits() == ()
    closed = base64.b64encode(random.Random(1).randbytes(60_000)).decode()
    for number in range(2):
        companions.add(http("/", json.dumps({"n": number, "data": closed}).encode(), host="t.example"))
    (said,) = companions.limits()
    assert "in 2 transmissions identifiers were not looked for" in said.detail


def test_inferred_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MAX_VALUES", 3)
    found = inference.Inference()
    for number in range(5):
        path = f"/page/{number}"
        found.add(
            http(path, host=f"s{number}.example", referer=f"https://v{number}.example/some/page/{number}")
        )
    (said,) = found.limits()
    assert "2 more" in said.detail


def test_a_search_is_read_from_an_address_of_any_length() -> None:
    long = "&".join(f"k{n}={'v' * 40}" for n in range(3_000))
    search = search_engines().results_page("www.google.com", f"/search?{long}&q=marble+otter")
    assert search
    assert search.term == "marble otter"
    assert search_engines().results_page("www.google.com", f"/search?{long}&xq=marble+otter") is None


def test_a_parameter_far_behind_in_a_long_address_still_tells_the_page() -> None:
    needles = Needles([Canary(id="u", kind="url", value="https://n7-lantern.example/a/b?note=violet-83")])
    long = "&".join(f"k{n}={'v' * 40}" for n in range(100))
    (match,) = needles.find(f"see https://n7-lantern.example/a/b?{long}&note=violet-83 there".encode())
    assert match.granularity == "full"
