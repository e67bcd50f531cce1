"""HAR as different exporters write it, in small files made here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from audit.records import AnyRecord, Flow, Gap, Http, WebSocketMessage

RecordsOf = Callable[[bytes], list[AnyRecord]]
STARTED = "2023-11-14T22:13:20.250Z"
NOW = 1_700_000_000.25


def entry(**told: Any) -> dict[str, Any]:
    request = {
        "method": "POST",
        "url": "https://Search.Example/p?q=x#top",
        "httpVersion": "h2",
        "bodySize": -1,
    }
    response = {"status": 200, "headers": [{"name": "a", "value": "b"}], "bodySize": 12}
    made: dict[str, Any] = {
        "startedDateTime": STARTED,
        "time": 1500,
        "request": request,
        "response": response,
    }
    for name, value in told.items():
        made[name] = {**made[name], **value} if isinstance(made.get(name), dict) else value
    return made


def har(*entries: object) -> bytes:
    return json.dumps({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": entries}}).encode()


def only_request(records: list[AnyRecord]) -> Http:
    (found,) = (r for r in records if isinstance(r, Http))
    return found


def test_an_entry(records_of: RecordsOf) -> None:
    seen, connected = records_of(har(entry(serverIPAddress="[2001:db8::1]", connection="17")))
    assert isinstance(seen, Http)
    assert (seen.id, seen.flow, seen.time, seen.dst, seen.dport) == ("f1", "c1", NOW, "2001:db8::1", 443)
    assert (seen.host, seen.authority, seen.path) == ("search.example", "Search.Example", "/p?q=x")
    assert (seen.scheme, seen.version, seen.status, seen.response_bytes) == ("https", "2", 200, 12)
    assert (seen.body, seen.direction, seen.secured_by) == (b"", "up", "proxy")
    assert isinstance(connected, Flow)
    assert (connected.first, connected.last, connected.dst) == (NOW, NOW + 1.5, "2001:db8::1")
    assert connected.names == {"http": ("search.example",)}


def test_pseudo_headers_are_dropped(records_of: RecordsOf) -> None:
    told = [{"name": ":authority", "value": "front.example"}, {"name": "x", "value": "1"}, {"name": 5}, 7]
    seen = only_request(records_of(har(entry(request={"headers": told}))))
    assert seen.headers == ((b"x", b"1"),)
    assert seen.authority == "front.example"


def test_cookies_listed_apart_become_their_header(records_of: RecordsOf) -> None:
    cookies = [{"name": "id", "value": "7"}, {"name": "b", "value": "c"}]
    seen = only_request(records_of(har(entry(request={"cookies": cookies}))))
    assert seen.headers == ((b"cookie", b"id=7; b=c"),)
    both = [{"name": "Cookie", "value": "id=7"}]
    seen = only_request(records_of(har(entry(request={"cookies": cookies, "headers": both}))))
    assert seen.headers == ((b"Cookie", b"id=7"),)


BODIES = {
    "text": ({"mimeType": "text/plain", "text": "süß"}, "süß".encode()),
    "text without a type": ({"text": "süß"}, "süß".encode()),
    "one character per byte": (
        {"mimeType": "application/octet-stream", "text": "\x1f\x8b\xff"},
        b"\x1f\x8b\xff",
    ),
    "wide text of a binary type": ({"mimeType": "application/x", "text": "ÿ→"}, "ÿ→".encode()),
    "bytes that Python could not decode": ({"mimeType": "text/plain", "text": "a\udc80\udcff"}, b"a\x80\xff"),
    "a lone surrogate": ({"mimeType": "text/plain", "text": "a\ud800"}, b"a\xed\xa0\x80"),
    "base64 as PCAPdroid": ({"mimeType": "x/y", "text": "AP8=", "encoding": "base64"}, b"\x00\xff"),
    "base64 with underscore": ({"mimeType": "x/y", "text": "AP8=", "_encoding": "base64"}, b"\x00\xff"),
    "base64 that is none": ({"mimeType": "x/y", "text": "é", "encoding": "base64"}, b"\xe9"),
    "params only": (
        {"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "q", "value": "a b&c"}, 7]},
        b"q=a+b%26c",
    ),
    "empty text and params": ({"mimeType": "", "text": "", "params": []}, b""),
    "multipart params": (
        {
            "mimeType": "multipart/form-data; boundary=XX",
            "params": [{"name": "q", "value": "v", "fileName": "f"}],
        },
        b'--XX\r\nContent-Disposition: form-data; name="q"; filename="f"\r\n\r\nv\r\n--XX--\r\n',
    ),
    "of a wrong type": ("text", b""),
}


@pytest.mark.parametrize(("post", "body"), BODIES.values(), ids=BODIES.keys())
def test_bodies(records_of: RecordsOf, post: object, body: bytes) -> None:
    seen = only_request(records_of(har(entry(request={"postData": post}))))
    assert (seen.body, seen.request_bytes) == (body, len(body))


def test_a_body_that_was_sent_and_not_kept(records_of: RecordsOf) -> None:
    seen = only_request(records_of(har(entry(request={"bodySize": 99}))))
    assert (seen.body, seen.request_bytes) == (None, 99)
    told = [{"name": "Content-Length", "value": "98"}]
    seen = only_request(records_of(har(entry(request={"headers": told}))))
    assert (seen.body, seen.request_bytes) == (None, 98)


@pytest.mark.parametrize(
    ("started", "time"),
    [
        ("2023-11-14T23:13:20.25+01:00", NOW),
        ("2023-11-14T22:13:20.250000Z", NOW),
        ("2023-11-14T22:13:20.25", None),  # no zone: any hour
        ("1901-01-01T00:00:00Z", None),
        ("yesterday", None),
        (None, None),
        (17, None),
    ],
)
def test_times(records_of: RecordsOf, started: object, time: float | None) -> None:
    assert only_request(records_of(har(entry(startedDateTime=started, time=-1)))).time == time


@pytest.mark.parametrize(
    ("told", "initiator"),
    [
        ({"_initiator": {"type": "parser", "url": "https://a.example/"}}, "https://a.example/"),
        (
            {"_initiator": {"type": "script", "stack": {"callFrames": [{"url": "https://a.example/x.js"}]}}},
            "https://a.example/x.js",
        ),
        ({"_initiator": {"type": "other"}, "_resourceType": "document"}, "document"),
        ({"_initiator": {"type": "preflight"}}, "preflight"),
        ({"_initiator": {"stack": []}}, None),
        ({}, None),
    ],
)
def test_initiators(records_of: RecordsOf, told: dict[str, Any], initiator: str | None) -> None:
    assert only_request(records_of(har(entry(**told)))).initiator == initiator


def test_websocket_messages(records_of: RecordsOf) -> None:
    told = [
        {"type": "send", "time": NOW, "opcode": 1, "data": "typed"},
        {"type": "receive", "time": NOW + 1, "opcode": 2, "data": base64.b64encode(b"\x00\xff").decode()},
        {"type": "send", "opcode": 1},
        "nothing",
    ]
    made = entry(_webSocketMessages=told, request={"url": "wss://live.example/s"}, response={"status": 101})
    records = records_of(har(made))
    up, down = (r for r in records if isinstance(r, WebSocketMessage))
    assert (up.id, up.direction, up.data, up.time, up.url) == (
        "f1.m1",
        "up",
        b"typed",
        NOW,
        "wss://live.example/s",
    )
    assert (down.id, down.direction, down.type, down.data) == ("f1.m2", "down", "binary", b"\x00\xff")
    assert [r.reason for r in records if isinstance(r, Gap)] == ["malformed", "malformed"]
    assert only_request(records).scheme == "https"


@pytest.mark.parametrize(
    "told",
    [
        {"_fromCache": "memory"},
        {"_fetchType": "Disk Cache"},
        {"response": {"_error": "net::ERR_BLOCKED_BY_CLIENT", "status": 0}},
        {"request": {"url": "data:text/plain,x"}},
        {"request": {"url": "chrome-extension://abc/x.js"}},
    ],
)
def test_what_never_left_the_device_is_listed_but_not_sent(
    records_of: RecordsOf, told: dict[str, Any]
) -> None:
    (seen,) = records_of(har(entry(**told)))
    assert isinstance(seen, Http)
    assert (seen.direction, seen.flow) == ("down", None)


def test_flows_by_connection_else_by_host(records_of: RecordsOf) -> None:
    def flows(*entries: dict[str, Any]) -> list[str | None]:
        return [r.flow for r in records_of(har(*entries)) if isinstance(r, Http)]

    one, two = {"url": "https://a.example/"}, {"url": "https://b.example/"}
    at = {"serverIPAddress": "192.0.2.1"}
    assert flows(entry(request=one), entry(request=two), entry(request=one)) == ["c1", "c2", "c1"]
    assert flows(entry(request=one, connection="5", **at), entry(request=two, connection="5", **at)) == [
        "c1",
        "c1",
    ]
    assert flows(entry(request=one, connection="5", **at), entry(request=one, connection="6", **at)) == [
        "c1",
        "c2",
    ]
    firefox = [entry(request=one, connection="443", serverIPAddress=f"192.0.2.{n}") for n in (1, 2)]
    assert flows(*firefox) == ["c1", "c2"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"request": None},
        {"request": {"method": 5, "url": "https://a/"}},
        {"request": {"method": "GET"}},
        [],
        5,
        "x",
    ],
)
def test_a_bad_entry_costs_only_itself(records_of: RecordsOf, bad: object) -> None:
    records = records_of(har(entry(), bad, entry()))
    assert sum(isinstance(r, Http) for r in records) == 2
    (gap,) = (r for r in records if isinstance(r, Gap))
    assert gap.reason == "malformed"
    assert gap.offset


def test_a_bad_response_does_not_cost_the_request(records_of: RecordsOf) -> None:
    seen = only_request(records_of(har({**entry(), "response": "none"})))
    assert (seen.path, seen.status, seen.response_bytes) == ("/p?q=x", None, None)


def test_a_url_that_is_none(records_of: RecordsOf) -> None:
    (gap,) = records_of(har(entry(request={"url": "no url"})))
    assert isinstance(gap, Gap)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_byte_order_marks(records_of: RecordsOf, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    content = har(entry(request={"url": "https://a.example/"})).decode()
    assert only_request(records_of((mark + content).encode(encoding))).host == "a.example"


@pytest.mark.parametrize("levels", [200, 100_000])
def test_deep_nesting_costs_at_most_its_entry(records_of: RecordsOf, levels: int) -> None:
    deep = b"[" * levels + b"]" * levels
    content = har(entry(), entry(_deep="HERE"), entry()).replace(b'"HERE"', deep)
    records = records_of(content)
    assert sum(isinstance(r, Http) for r in records) >= 2
    assert levels == 200 or any(isinstance(r, Gap) for r in records)


def test_a_200_level_body_is_a_body(records_of: RecordsOf) -> None:
    deep = "[" * 200 + "]" * 200
    post = {"mimeType": "application/json", "text": deep}
    assert only_request(records_of(har(entry(request={"postData": post})))).body == deep.encode()


def test_entries_named_within_a_string_or_elsewhere_are_not_taken(records_of: RecordsOf) -> None:
    log = {"_x": {"entries": [1, 2]}, "comment": '"entries": [{', "entries": [entry()]}
    assert only_request(records_of(json.dumps({"log": log}).encode())).host == "search.example"
