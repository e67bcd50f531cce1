"""Search: every place once, at its innermost field, with the layers that lead to it."""

import base64
import gzip
import json

from hypothesis import given
from hypothesis import strategies as st

from audit.decoding import Bounds
from audit.decoding.channels import channels
from audit.detection.needles import Needles
from audit.detection.pieces import Sighting
from audit.detection.search import Parts, Searcher
from audit.records import Canary, Dns, Field, Http, Message, Tls, WebSocketMessage

URL = "https://n7-lantern.example/reading/room7?note=violet-83"
TERM = "marble otter h4q2"
SEARCHER = Searcher(Needles([Canary(id="u", kind="url", value=URL), Canary(id="t", kind="term", value=TERM)]))


def request(**given: object) -> Http:
    fields: dict[str, object] = {
        "capture": "a", "id": "1", "method": "GET", "scheme": "https", "authority": "t.example",
        "path": "/", "version": "1.1",
    }  # fmt: skip
    return Http(**{**fields, **given})  # type: ignore[arg-type]


def seen(record: object) -> list[Sighting]:
    return list(SEARCHER.search(channels(record)).sightings)  # type: ignore[arg-type]


def one(record: object) -> Sighting:
    (sighting,) = seen(record)
    return sighting


def test_the_sensors_form_shows_its_whole_chain() -> None:
    events = gzip.compress(json.dumps([{"properties": {"url": URL, "n": 1}}]).replace("/", "\\/").encode())
    body = b"crc=1&gzip=1&data_list=" + base64.b64encode(events).replace(b"+", b"%2B").replace(
        b"/", b"%2F"
    ).replace(b"=", b"%3D")
    sighting = one(
        request(method="POST", body=body, headers=((b"Content-Type", b"application/x-www-form-urlencoded"),))
    )
    assert sighting.channel == "body"
    assert sighting.path == "$[0].properties.url"
    assert sighting.layers[-2:] == ("gzip", "json")
    assert sighting.layers[0] == "form"
    assert sighting.match.granularity == "full"


def test_every_channel_is_searched() -> None:
    quoted = TERM.replace(" ", "%20")
    records = {
        "url.path": request(path=f"/s/{quoted}"),
        "url.query": request(path=f"/s?q={quoted}"),
        "header:referer": request(headers=((b"Referer", b"https://e.example/?q=" + quoted.encode()),)),
        "header:x-odd": request(headers=((b"X-Odd", base64.b64encode(TERM.encode())),)),
        "cookie": request(headers=((b"Cookie", b"a=b; last=" + quoted.encode()),)),
        "body": request(method="POST", body=TERM.encode()),
        "websocket": WebSocketMessage(capture="a", id="2", type="text", bytes=17, data=TERM.encode()),
        "tcp": Message(capture="a", id="3", transport="tcp", bytes=17, data=b"\x00\x01" + TERM.encode()),
        "udp": Message(capture="a", id="4", transport="udp", bytes=17, data=TERM.encode()),
    }
    assert {name: one(record).channel for name, record in records.items()} == {name: name for name in records}
    assert one(Dns(capture="a", id="5", name="n7-lantern.example", type="A", response=False)).channel == "dns"
    assert one(Tls(capture="a", id="6", sni="n7-lantern.example")).channel == "sni"


def test_what_came_in_is_not_searched() -> None:
    down = WebSocketMessage(capture="a", id="2", type="text", bytes=17, data=TERM.encode(), direction="down")
    assert seen(down) == []


def test_the_sites_own_address_is_one_sighting() -> None:
    sighting = one(request(authority="n7-lantern.example", path="/reading/room7?note=violet-83"))
    assert (sighting.channel, sighting.match.granularity) == ("url.query", "full")


def test_an_address_in_pieces_is_joined() -> None:
    found = seen(request(path="/ping?h=n7-lantern.example&p=%2Freading%2Froom7"))
    by_path = {s.path: s for s in found}
    assert by_path["p"].match.granularity == "no_query"
    assert by_path["p"].layers == ("form", "percent", "joined")
    assert by_path["h"].match.granularity == "host"


def test_a_value_told_twice_is_two_sightings_and_nested_text_is_one() -> None:
    body = json.dumps({"a": TERM, "b": {"c": [TERM, "x" * 80]}}).encode()
    found = seen(request(method="POST", body=body))
    assert [s.path for s in found] == ["$.a", "$.b.c[0]"]


def test_the_compressed_body_is_opened_as_declared() -> None:
    sighting = one(
        request(method="POST", body=gzip.compress(TERM.encode()), headers=((b"content-encoding", b"gzip"),))
    )
    assert sighting.layers == ("gzip",)


def test_a_bound_is_told() -> None:
    searcher = Searcher(Needles([]), Bounds(bytes=1 << 20))
    result = searcher.search(channels(request(method="POST", body=gzip.compress(bytes(1 << 24)))))
    assert "bytes" in [limit.bound for limit in result.limits]


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 20), st.none() | st.integers(1, 8)), max_size=12),
    st.integers(0, 25),
)
def test_the_parts_that_hold_a_place_are_found_without_asking_each(
    spans: list[tuple[int | None, int | None]], place: int
) -> None:
    fields = [Field(path="", layers=(), data=b"", offset=at, length=length) for at, length in spans]
    held = {
        child
        for child, (at, length) in enumerate(spans)
        if at is None or (at <= place and (length is None or place < at + length))
    }
    assert set(Parts(fields, list(range(len(fields)))).holding(place)) == held
