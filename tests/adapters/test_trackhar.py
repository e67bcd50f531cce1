"""The converted TrackHAR endpoints, and the conversion: addresses, decoding recipes, paths, roles."""

from __future__ import annotations

from typing import Any

import pytest

from audit.adapters import load
from audit.adapters.build_trackhar import convert
from audit.records import Http

CONVERTED = [adapter for adapter in load().adapters if adapter.id.startswith("trackhar.")]


def entry(**change: Any) -> dict[str, Any]:
    return {
        "slug": "v1",
        "name": "Example endpoint",
        "tracker": {"slug": "example", "name": "Example Ltd."},
        "endpointUrls": ["https://collect.example.test/v1"],
        "decodingSteps": [{"function": "parseJson", "input": "body", "output": "res.body"}],
        "containedDataPaths": {},
    } | change


def test_all_are_attributed_and_bounded() -> None:
    assert len(CONVERTED) > 100
    assert [source.licence for source in load().data_sources] == ["CC0-1.0"]
    for adapter in CONVERTED:
        assert "TrackHAR" in adapter.source
        assert "CC0" in adapter.source
        for match in adapter.match:
            assert all(host.count(".") for host in match.hosts), adapter.id
            assert ".+" not in match.path
            assert ".*" not in match.path


def test_an_address_of_a_page_in_a_converted_endpoint() -> None:
    sent = Http(
        capture="c", id="1", host="gum.criteo.com", method="GET", scheme="https", authority="gum.criteo.com",
        path="/syncframe?origin=x&topUrl=shop.example.test", version="2",
    )  # fmt: skip
    (adapter,) = load().recognise(sent)
    assert adapter.id == "trackhar.criteo.gum-syncframe"
    role = adapter.role_of("url.query", "topUrl", ("form",))
    assert role is not None
    assert role.role == "visited_url"
    assert adapter.role_of("url.query", "origin", ("form",)) is None


@pytest.mark.parametrize(
    ("address", "hosts", "path"),
    [
        ("https://a.example.test/x/y", ("a.example.test",), "/x/y/?"),
        ("https://a.example.test", ("a.example.test",), "/?"),
        (
            {"pattern": r"^https:\/\/app(\.eu)?\.example\.(com|net\.in)\/s$"},
            ("app.eu.example.com", "app.eu.example.net.in", "app.example.com", "app.example.net.in"),
            "/s/?",
        ),
        ({"pattern": r"^https:\/\/.+\.example\.test\/w\/1\.0\/cm$"}, ("example.test",), r"/w/1\.0/cm/?"),
        (
            {"pattern": r"^https:\/\/(android|ios)?ads\d-?\d\.example\.test\/c\/\d+$"},
            ("example.test",),
            r"/c/\d{1,20}/?",
        ),
    ],
)
def test_addresses(address: str | dict[str, str], hosts: tuple[str, ...], path: str) -> None:
    adapter = convert(entry(endpointUrls=[address]), {})
    assert adapter is not None
    assert (adapter.match[0].hosts, adapter.match[0].path) == (hosts, path)


def test_an_address_without_a_literal_host_is_left_out_and_counted() -> None:
    left_out: dict[str, int] = {}
    assert convert(entry(endpointUrls=[{"pattern": r"^https:\/\/.+\/x$"}]), left_out) is None
    assert left_out == {"addresses": 1}


@pytest.mark.parametrize(
    ("steps", "context", "path", "place"),
    [
        ([("parseJson", "body", "res.body")], "body", "site.page", ("body", "$.site.page")),
        ([("parseJson", "body", "res.body")], "body", "e.*.u.0.id", ("body", "$.e[*].u[0].id")),
        ([("parseJson", "body", "res.body")], "body", "odd name.x", ("body", '$["odd name"].x')),
        ([("parseQueryString", "query", "res.query")], "query", "dl", ("url.query", "dl")),
        ([("parseQueryString", "query", "res.query")], "query", '$["a.b"]', ("url.query", "a.b")),
        ([("parseQueryString", "body", "res.body"), ("parseJson", "res.body.e", "res.body.e")], "body", "e.x", ("body", "$.x")),
        ([("decodeProtobuf", "body", "res.body")], "body", "1.*.16", ("body", "1.16")),
        ([("getProperty", "cookie", "res.cookie")], "cookie", "uid", ("cookie", "uid")),
        ([("getProperty", "cookie", "res.cookie")], "cookie", '$[?(@property.startsWith("KRT_"))]', ("cookie", "KRT_*")),
        ([("getProperty", "header", "res.header")], "header", "X-Id", ("header:x-id", "")),
    ],
)  # fmt: skip
def test_places(steps: list[tuple[str, str, str]], context: str, path: str, place: tuple[str, str]) -> None:
    written = [
        {"function": f, "input": i, "output": o} | ({"options": {"path": "$"}} if f == "getProperty" else {})
        for f, i, o in steps
    ]
    described = {"userId": {"context": context, "path": path, "reasoning": "name"}}
    adapter = convert(entry(decodingSteps=written, containedDataPaths=described), {})
    assert adapter is not None
    (row,) = adapter.fields
    assert (row.channels[0], row.paths[0], row.role) == (*place, "identifier")


def test_pages_titles_and_screens_are_told_apart() -> None:
    paths = ["site.page", "site.content.title", "app.activeScreen", "site.domain"]
    described = {"viewedPage": [{"context": "body", "path": path, "reasoning": "name"} for path in paths]}
    adapter = convert(entry(containedDataPaths=described), {})
    assert adapter is not None
    roles = {row.paths[0]: row.role for row in adapter.fields}
    assert roles == {
        "$.site.page": "visited_url",
        "$.site.content.title": "title",
        "$.app.activeScreen": "usage",
        "$.site.domain": "host",
    }


def test_filters_and_unknown_properties_are_left_out_and_counted() -> None:
    left_out: dict[str, int] = {}
    described = {
        "screenWidth": {"context": "body", "path": "w", "reasoning": "name"},
        "userId": {"context": "body", "path": "$.a[?(@.x == 'y')]", "reasoning": "name"},
        "referer": {"context": "header", "path": "Referer", "reasoning": "name"},
    }
    adapter = convert(entry(containedDataPaths=described), left_out)
    assert adapter is not None
    assert adapter.fields == ()
    assert left_out == {"properties without a role": 1, "paths": 1, "Referer header": 1}
