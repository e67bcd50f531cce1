"""What was seen to hold nothing is not looked into again, and nothing is lost by that."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from urllib.parse import quote

import pytest

from audit.decoding import unfold
from audit.decoding.channels import Channel, channels
from audit.detection.dull import Dull
from audit.detection.needles import Needles
from audit.detection.search import Result, Searcher
from audit.records import Canary
from tests.benchmarks.leakbench import values
from tests.benchmarks.leakbench.benign import benign, post
from tests.benchmarks.leakbench.cases import plain_cases

PAGE = Canary(
    id="page", kind="url", value="https://zx4q7.canary.example/blue/heron-lake?q=tok7h3", phase=None
)
TOKEN = base64.urlsafe_b64encode(random.Random(1).randbytes(30)).decode()


def searched(searcher: Searcher, document: object) -> Result:
    """What is found in a posted document, at least as long as those that are asked about anew each time."""
    body = json.dumps({"padding": "many words " * 60, "value": document}, separators=(",", ":"))
    return searcher.search(channels(post(body.encode())))


def test_a_token_is_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []
    real = unfold

    def watched(data: bytes, *rest: object, **named: object) -> object:
        opened.append(data)
        return real(data, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("audit.detection.search.unfold", watched)
    searcher = Searcher(Needles([PAGE]))
    assert searched(searcher, [TOKEN, 1]) == searched(searcher, [TOKEN, 2]) == Result()
    assert len([data for data in opened if TOKEN.encode() in data]) == 1


def test_a_leak_beside_a_known_token_is_found() -> None:
    searcher = Searcher(Needles([PAGE]))
    searched(searcher, TOKEN)
    hidden = base64.b64encode(PAGE.value.encode()).decode()
    assert [s.path for s in searched(searcher, [TOKEN, hidden]).sightings] == ["$.value[1]"]
    assert [s.path for s in searched(searcher, [TOKEN, PAGE.value]).sightings] == ["$.value[1]"]


def test_a_token_that_told_something_tells_it_again() -> None:
    searcher = Searcher(Needles([PAGE]))
    hidden = base64.urlsafe_b64encode(PAGE.value.encode()).decode()
    first = searched(searcher, [TOKEN, hidden])
    assert first.sightings
    assert searched(searcher, [TOKEN, hidden]) == first


def test_a_piece_of_an_address_means_something_beside_its_host() -> None:
    """Alone, the parameters of a page's address are nothing; the same token beside the host is the page."""
    url = "https://zx4q7.canary.example/?k=heron41&note=lake72"
    searcher = Searcher(Needles([Canary(id="page", kind="url", value=url, phase=None)]))
    token = base64.b64encode(b'{"note":"lake72","k":"heron41"}').decode()
    assert searched(searcher, {"t": token}) == Result()
    found = searched(searcher, {"t": token, "host": "zx4q7.canary.example"}).sightings
    assert any("joined" in sighting.layers for sighting in found)
    assert found == searched(Searcher(Needles([Canary(id="page", kind="url", value=url, phase=None)])), {
        "t": token, "host": "zx4q7.canary.example"}).sightings  # fmt: skip


@pytest.mark.parametrize("written", [lambda raw: raw.hex(), lambda raw: str(int.from_bytes(raw)), bytes])
def test_a_short_digest_counts_where_its_name_says_so(written: Callable[[bytes], str | bytes]) -> None:
    short = written(hashlib.sha256(PAGE.value.encode()).digest()[:8])
    inner = short.encode() if isinstance(short, str) else short
    token = base64.b64encode(base64.b64encode(inner) if len(inner) == 8 else inner).decode()
    token = base64.b64encode(token.encode()).decode() if len(token) < 24 else token
    searcher = Searcher(Needles([PAGE]))
    assert searched(searcher, {"x": token}).sightings == ()
    fresh = searched(Searcher(Needles([PAGE])), {"url_hash": token})
    assert searched(searcher, {"url_hash": token}) == fresh
    assert fresh.sightings


def test_what_stays_closed_is_told_each_time() -> None:
    searcher = Searcher(Needles([PAGE]))
    closed = base64.b64encode(random.Random(2).randbytes(80)).decode()
    first = searched(searcher, closed)
    assert len(first.closed) == 1
    assert searched(searcher, closed) == first


def test_what_was_seen_before_changes_nothing() -> None:
    """The same findings whichever order: each case after all others, and each as the first."""
    canaries = values.planted(7)
    needles = Needles(canaries)
    records = [case.record for case in plain_cases(canaries, 7, 1, depths=(1, 2))][::5]
    records += [record for _, record in benign(canaries, 7, 40)]
    together = Searcher(needles)
    in_turn = [together.search(channels(record)) for record in records]
    for record, first in reversed([*zip(records, in_turn, strict=True)]):
        again = together.search(channels(record))
        assert again == first == Searcher(needles).search(channels(record))


def test_what_a_page_tells_its_own_site_is_found_where_it_is_told_to_others() -> None:
    searcher = Searcher(Needles([PAGE]))
    hidden = base64.b64encode(b"seen at " + PAGE.value.encode() + b" today").decode()
    state = quote(json.dumps({"ref": hidden, "padding": "many words " * 60}))
    own = [
        Channel("url.host", b"zx4q7.canary.example"),
        Channel("url.path", b"/blue/heron-lake"),
        Channel("url.query", f"q=tok7h3&state={state}".encode(), ("form",)),
    ]
    assert {s.match.granularity for s in searcher.search(own).sightings} <= {"full", "no_query"}
    assert [s.path for s in searched(searcher, {"ref": hidden}).sightings] == ["$.value.ref"]


def test_a_token_under_a_guess_is_looked_into_again() -> None:
    # a value reversed or under a key is not read in what was under a key itself
    searcher = Searcher(Needles([PAGE]))
    hidden = base64.b64encode(PAGE.value.encode()[::-1]).decode()
    document = json.dumps({"event": "load", "t": hidden, "href": "https://foo.example/abc?x=1"})
    assert not searcher.search([Channel("body", bytes(byte ^ 0x5A for byte in document.encode()))]).sightings
    assert [s.path for s in searched(searcher, {"t": hidden}).sightings] == ["$.value.t"]


def test_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.detection.dull._MOST", 3)
    dull = Dull()
    tokens = [f"{number:032x}" for number in range(9)]
    dull.learn(unfold(json.dumps(tokens).encode(), ("application/json",)))
    assert [token for token in tokens if token.encode() in dull] == tokens[-3:]
    text = json.dumps(tokens[-4:]).encode()
    assert dull.left_out(text) == json.dumps([tokens[-4], "", "", ""]).encode()
