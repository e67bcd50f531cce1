"""An address told in pieces is joined, however the pieces are told; pieces without the host, of another page or out of
order are not."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from audit.decoding.channels import channels
from audit.detection.needles import Needles
from audit.detection.pieces import Sighting
from audit.detection.search import Searcher
from audit.records import Canary, Http

HOST = "n7-lantern.example"
URL = f"https://{HOST}/search/results/page?q=tok-9f31&n=2"
SEARCHER = Searcher(Needles([Canary(id="u", kind="url", value=URL)]))
SEGMENTS = ["search", "results", "page"]
PARAMETERS = {"q": "tok-9f31", "n": "2"}


def sent(body: bytes, media: str = "application/json", path: str = "/v1", **headers: str) -> Http:
    lines = {"content-type": media, **headers}
    return Http(
        capture="c", id="1", host="t.example.net", method="POST", scheme="https", authority="t.example.net", path=path,
        version="2", body=body, headers=tuple((n.replace("_", "-").encode(), v.encode()) for n, v in lines.items()),
    )  # fmt: skip


def seen(record: Http) -> list[Sighting]:
    return list(SEARCHER.search(channels(record)).sightings)


def told(record: Http) -> set[str]:
    return {s.match.granularity for s in seen(record) if "joined" in s.layers}


def doc(**values: object) -> bytes:
    return json.dumps(
        values | {"filler": "text that says nothing, so that the body is not short at all"}
    ).encode()


def message(*texts: str) -> bytes:
    return b"".join(bytes([2 + 8 * n, len(t)]) + t.encode() for n, t in enumerate(texts, 1))


@pytest.mark.parametrize(
    ("record", "granularity"),
    [
        (sent(doc(host=HOST, segments=SEGMENTS)), "no_query"),
        (sent(doc(host=HOST, segments=["", *SEGMENTS])), "no_query"),
        (sent(doc(host=HOST, segments=["SEARCH", "Results", "page"])), "no_query"),
        (sent(doc(host=HOST, path={"parts": SEGMENTS})), "no_query"),
        (sent(doc(segments=SEGMENTS), x_site=HOST), "no_query"),
        (sent(doc(segments=SEGMENTS), origin=f"https://{HOST}"), "no_query"),
        (sent(doc(segments=SEGMENTS), path=f"/v1?site={HOST}"), "no_query"),
        (sent(doc(host=HOST, segments=SEGMENTS, params=PARAMETERS)), "no_scheme"),
        (sent(doc(host=HOST, path="/search/results/page", params=PARAMETERS)), "no_scheme"),
        (sent(doc(host=HOST, path="/search/results/page", query="q=tok-9f31&n=2")), "no_scheme"),
        (sent(doc(host=HOST, path="search/results/page", query="?q=tok-9f31&n=2")), "no_scheme"),
        (sent(doc(host=f"https://{HOST}", path="/search/results/page?q=tok-9f31&n=2")), "no_scheme"),
        (sent(doc(d=base64.b64encode(doc(host=HOST, segments=SEGMENTS)).decode())), "no_query"),
        (sent(gzip.compress(doc(host=HOST, segments=SEGMENTS)), content_encoding="gzip"), "no_query"),
        (sent(gzip.compress(doc(segments=SEGMENTS)), content_encoding="gzip", x_site=HOST), "no_query"),
        (sent(f"host={HOST}&s[0]=search&s[1]=results&s[2]=page".encode(), "application/x-www-form-urlencoded"), "no_query"),
        (sent(message(HOST, "/search/results/page"), "application/x-protobuf"), "no_query"),
        (sent(doc(path="/search/results/page"), cookie=f"site={HOST}; lang=de"), "no_query"),
    ],
)  # fmt: skip
def test_pieces_are_joined(record: Http, granularity: str) -> None:
    assert told(record) == {granularity}
    assert any(s.match.granularity == "host" for s in seen(record))


@pytest.mark.parametrize(
    "record",
    [
        sent(doc(host="other.example", segments=SEGMENTS, params=PARAMETERS)),
        sent(doc(host="n7-lanterns.example", path="/search/results/page")),
        sent(doc(host=HOST, segments=SEGMENTS[::-1])),
        sent(doc(host=HOST, segments=SEGMENTS[:2])),
        sent(doc(host=HOST, segments=["search", "other", "results", "page"])),
        sent(doc(host=HOST, words="search results page")),
        sent(doc(host=HOST, a="search", b="results", c="page")),
        sent(doc(host=HOST, params={"q": "tok-9f32", "n": "2"})),
        sent(doc(host=HOST, params={"x": "tok-9f31"})),
        sent(doc(host=HOST, note="tok-9f31")),
        sent(doc(host=HOST, path="/search/results/pages")),
    ],
)
def test_what_is_no_piece_of_it_is_not_joined(record: Http) -> None:
    assert told(record) == set()


def test_the_places_of_the_pieces_are_told() -> None:
    found = seen(sent(doc(host=HOST, segments=SEGMENTS, params=PARAMETERS)))
    assert {s.path for s in found} == {"$.host", "$.segments[2]", "$.params.q"}
    joined = next(s for s in found if s.path == "$.segments[2]")
    assert (joined.layers, joined.excerpt) == (("json", "joined"), "search/results/page")


def test_the_sites_own_request_is_not_told_in_pieces() -> None:
    own = Http(
        capture="c", id="1", host=HOST, method="GET", scheme="https", authority=HOST, version="2",
        path="/search/results/page?q=tok-9f31&n=2", headers=((b"referer", f"https://{HOST}/".encode()),),
    )  # fmt: skip
    assert told(own) == set()
