"""What people, browsers and SDKs make of a value on its way: each form is still the value, told in its
granularity; and what is only like it is not."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from urllib.parse import quote

import pytest

from audit.decoding.channels import channels
from audit.detection.needles import SPECIFIC, Needles
from audit.detection.pieces import Sighting
from audit.detection.search import Searcher
from audit.detection.words import fold
from audit.records import Canary, CanaryKind, Http

URL = "https://n7-lantern.example/reading/room7?note=violet-83#part"
PAGE = URL.partition("#")[0]


def sent(document: object, method: str = "POST", path: str = "/v1", **headers: str) -> Http:
    body = json.dumps(document, ensure_ascii=False).encode() if document is not None else b""
    lines = {"content_type": "application/json", **headers} if body else headers
    return Http(
        capture="c", id="1", host="t.example.net", method=method, scheme="https", authority="t.example.net", path=path,
        version="2", body=body, headers=tuple((n.replace("_", "-").encode(), v.encode()) for n, v in lines.items()),
    )  # fmt: skip


def seen(kind: CanaryKind, value: str, record: Http) -> list[Sighting]:
    searcher = Searcher(Needles([Canary(id="c", kind=kind, value=value)]))
    return list(searcher.search(channels(record)).sightings)


def told(kind: CanaryKind, value: str, text: str) -> set[str]:
    filler = "other text to fill the body to more than sixty-four bytes"
    return {s.match.granularity for s in seen(kind, value, sent({"v": text, "o": filler}))}


@pytest.mark.parametrize(
    ("text", "granularity"),
    [
        ("https://bob:pw@n7-lantern.example/reading/room7?note=violet-83", "full"),
        ("http://n7-lantern.example/reading/room7?note=violet-83", "full"),
        ("n7-lantern.example:443/reading/room7?note=violet-83", "no_scheme"),
        ("https://n7-lantern.example/reading/room7/?note=violet-83", "full"),
        ("https://n7-lantern.example./reading/room7?note=violet-83", "full"),
        ("HTTPS://N7-LANTERN.EXAMPLE/READING/ROOM7?NOTE=VIOLET-83", "full"),
        ("//n7-lantern.example/reading/room7?note=violet-83", "no_scheme"),
        ("view-source:https://n7-lantern.example/reading/room7?note=violet-83", "full"),
        ("https://n7-lantern.example/reading/room7?note=violet-83&utm=1", "full"),
        ("https://n7-lantern.example/reading/room7?utm=1&note=violet-83", "full"),
        ("<https://n7-lantern.example/reading/room7?note=violet-83>", "full"),
        ("url:https://n7-lantern.example/reading/room7?note=violet-83", "full"),
        ("n7-lantern.example:8443", "host"),
        (".n7-lantern.example", "host"),
        ("*.n7-lantern.example", "host"),
    ],
)
def test_an_address_however_it_is_written(text: str, granularity: str) -> None:
    assert granularity in told("url", URL, text)


@pytest.mark.parametrize(
    "text",
    [
        "a.n7-lantern.example",
        "a-n7-lantern.example",
        "n7-lantern.example.org",
        "n7-lantern.example-x",
        "n7_lantern_example",
        "example.n7-lantern",
        "n7-lantern example",
        "https://n7-lanter.example/reading/room?note=violet-8",
    ],
)
def test_another_address_is_not_this_one(text: str) -> None:
    assert told("url", URL, text) == set()


def test_a_parameter_of_another_name_or_a_longer_value_is_not_this_query() -> None:
    for query in ("anote=violet-83", "x=1&note=violet-833", "x=1&note=violet-8"):
        assert told("url", URL, f"https://n7-lantern.example/reading/room7?{query}") == {"no_query"}


SPECIAL = "https://caf-zx4.example/café/räume?frage=größe zx4q8"


@pytest.mark.parametrize(
    "text",
    [
        SPECIAL,
        unicodedata.normalize("NFD", SPECIAL),
        SPECIAL.upper(),
        "https://caf-zx4.example/caf%C3%A9/r%C3%A4ume?frage=gr%C3%B6%C3%9Fe%20zx4q8",
        "https://caf-zx4.example/caf%c3%a9/r%c3%a4ume?frage=gr%c3%b6%c3%9fe+zx4q8",
    ],
)
def test_an_address_with_letters_of_its_own(text: str) -> None:
    assert "full" in told("url", SPECIAL, text)


CODED = "https://p1-lantern.example/a%20b/c%2Fd?x=%7B1%7D&y=a+b"


@pytest.mark.parametrize(
    "text",
    [
        CODED,
        CODED.replace("%2F", "%2f").replace("%7B", "%7b"),
        "https://p1-lantern.example/a b/c/d?x={1}&y=a b",
        quote(CODED, safe=""),
        CODED.replace("&", "&amp;"),
        CODED.replace("a+b", "a%20b"),
    ],
)
def test_an_address_however_its_signs_are_escaped(text: str) -> None:
    assert "full" in told("url", CODED, text)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (
            "what's new? c++ zx4q8",
            ["WHAT'S NEW? C++ ZX4Q8", "what%27s+new%3F+c%2B%2B+zx4q8", "what\u2019s new? c++ zx4q8"],
        ),
        (
            "größe straße zx4q8",
            ["GRÖSSE STRASSE ZX4Q8", "gro\u0308ße straße zx4q8", "gr%C3%B6%C3%9Fe+stra%C3%9Fe+zx4q8"],
        ),
        ("İstanbul kedi zx4q8", ["İSTANBUL KEDİ ZX4Q8", "istanbul kedi zx4q8"]),
        ("\uff21\uff22\uff23 full zx4q8", ["ABC full zx4q8", "\uff21\uff22\uff23 full zx4q8"]),
        ("abc full zx4q8", ["\uff41\uff42\uff43 \uff46ull zx4q8"]),
        ("東京 天気 zx4q8", ["東京+天気+zx4q8", "東京\u3000天気\u3000zx4q8"]),
        ("Привет мир zx4q8", ["ПРИВЕТ МИР ZX4Q8", "привет-мир-zx4q8", "приВет мИр zx4q8"]),
        ("marble otter zx4q8", ["marble\u00a0otter zx4q8", "Marble_Otter_ZX4Q8"]),
    ],
)
def test_words_however_they_are_typed(value: str, texts: list[str]) -> None:
    for text in (value, *texts):
        found = seen("term", value, sent({"v": f"«{text}»"}))
        assert {s.match.granularity for s in found} == {"term"}, text
        assert any("zx4q8" in s.excerpt.lower() or "full" in fold(s.excerpt) for s in found)


@pytest.mark.parametrize(
    "text", ["größe zx4q8 straße", "größe, eine straße zx4q8", "größe straße zx4q7", "größen"]
)
def test_words_apart_or_of_another_value_are_not_the_term(text: str) -> None:
    assert told("term", "größe straße zx4q8", text) == set()


def test_the_place_of_what_was_folded_is_right() -> None:
    needles = Needles([Canary(id="c", kind="term", value="größe straße zx4q8")])
    data = "ﬁrst ①  GRÖSSE STRASSE ZX4Q8 —".encode()
    (match,) = needles.find(data)
    assert data[match.offset : match.offset + match.length].decode() == "GRÖSSE STRASSE ZX4Q8"


@pytest.mark.parametrize("before", ["", "x" * 254, "o\u0308" * 400, "日本語 " * 300, "ﬁ" * 255 + "a\u0301"])
def test_the_place_is_right_in_long_text(before: str) -> None:
    needles = Needles([Canary(id="c", kind="term", value="größe straße zx4q8")])
    data = f"{before} GRÖSSE STRASSE ZX4Q8 and GRO\u0308SSE_STRASSE_ZX4Q8.".encode()
    found = needles.find(data)
    texts = [data[m.offset : m.offset + m.length].decode() for m in found]
    assert texts == ["GRÖSSE STRASSE ZX4Q8", "GRO\u0308SSE_STRASSE_ZX4Q8"]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (
            "9774d56d682e549c",
            [
                "9774D56D682E549C", "0x9774d56d682e549c", "android_9774d56d682e549c", b64(b"9774d56d682e549c"),
                b64(bytes.fromhex("9774d56d682e549c")), "10913582462901572764", "-7533161610807978852",
                hashlib.md5(b"9774d56d682e549c").hexdigest(), hashlib.sha1(b"9774D56D682E549C").hexdigest(),
            ],
        ),
        (
            "A4:C1:38:0F:2B:9E",
            [
                "a4:c1:38:0f:2b:9e", "A4C1380F2B9E", "a4-c1-38-0f-2b-9e", "a4c1.380f.2b9e",
                b64(bytes.fromhex("a4c1380f2b9e")), hashlib.sha1(b"a4c1380f2b9e").hexdigest(),
                hashlib.sha256(b"A4C1380F2B9E").hexdigest(), hashlib.sha1(bytes.fromhex("a4c1380f2b9e")).hexdigest(),
            ],
        ),
        (
            "356938035643809",
            ["35-693803-564380-9", "35 693803 564380 9", b64(b"356938035643809"), hashlib.md5(b"356938035643809").hexdigest()],
        ),
        (
            "38400000-8cf0-11bd-b23e-10b96e40000d",
            [
                "384000008cf011bdb23e10b96e40000d", "{38400000-8CF0-11BD-B23E-10B96E40000D}",
                b64(bytes.fromhex("384000008cf011bdb23e10b96e40000d")),
                hashlib.sha1(b"384000008cf011bdb23e10b96e40000d").hexdigest(),
                hashlib.md5(b"38400000-8CF0-11BD-B23E-10B96E40000D").hexdigest(),
            ],
        ),
    ],
)  # fmt: skip
def test_an_identifier_however_it_is_written(value: str, texts: list[str]) -> None:
    for text in (value, *texts):
        assert told("identifier", value, text) == {"term"}, text
        letters = list(text)
        for at in (5, len(text) // 2, len(text) - 3):
            letters[at] = "2" if letters[at] != "2" else "3"
        changed = "".join(letters)
        assert told("identifier", value, changed) == set(), changed


@pytest.mark.parametrize("value", ["9774d56d682e549c", "38400000-8cf0-11bd-b23e-10b96e40000d"])
def test_an_identifier_as_bytes_in_either_order(value: str) -> None:
    raw = bytes.fromhex(value.replace("-", ""))
    for data in (raw, raw[::-1], b"\x0a\x10" + raw + b"\x12\x05hello", b"\x09" + raw[::-1] + b"\xff\x00"):
        record = Http(
            capture="c", id="1", method="POST", scheme="https", authority="t.example", path="/", version="2", body=data,
            headers=((b"content-type", b"application/octet-stream"),),
        )  # fmt: skip
        assert {s.match.granularity for s in seen("identifier", value, record)} == {"term"}


PIECES = "https://n7-lantern.example/a/b?q=tok-9f31"


@pytest.mark.parametrize(
    ("record", "granularity"),
    [
        (sent({"h": "n7-lantern.example", "p": "/a/b", "o": "x" * 60}), "no_query"),
        (sent({"h": "n7-lantern.example", "p": "a/b", "o": "x" * 60}), "no_query"),
        (sent({"h": "n7-lantern.example", "p": "/a/b", "qs": "q=tok-9f31"}), "no_scheme"),
        (sent({"h": "n7-lantern.example", "p": "a/b", "qs": "?q=tok-9f31"}), "no_scheme"),
        (sent({"p": "/a/b?q=tok-9f31"}, x_host="n7-lantern.example"), "no_scheme"),
        (sent(None, "GET", "/ping?h=n7-lantern.example&p=%2Fa%2Fb&u=1"), "no_query"),
        (sent({"h": b64(b"n7-lantern.example"), "p": b64(b"/a/b?q=tok-9f31")}), "no_scheme"),
    ],
)
def test_an_address_told_in_pieces_is_joined(record: Http, granularity: str) -> None:
    found = seen("url", PIECES, record)
    joined = [s for s in found if "joined" in s.layers]
    assert {s.match.granularity for s in joined} == {granularity}
    assert any(s.match.granularity == "host" for s in found)


def test_a_plain_path_alone_or_as_the_requests_own_is_no_piece() -> None:
    assert seen("url", PIECES, sent({"p": "/a/b", "o": "x" * 60})) == []
    own = seen("url", PIECES, sent(None, "GET", "/a/b", referer="https://n7-lantern.example/"))
    assert [s.match.granularity for s in own] == ["host"]
    longer = seen("url", PIECES, sent({"h": "n7-lantern.example", "p": "see /a/b there"}))
    assert [s.match.granularity for s in longer] == ["host"]


def test_a_word_that_happens_to_be_the_path_is_no_piece() -> None:
    found = seen(
        "url", "https://n7-lantern.example/news", sent({"h": "n7-lantern.example", "s": "news", "t": "x"})
    )
    assert [s.match.granularity for s in found] == ["host"]
    found = seen(
        "url", "https://n7-lantern.example/news", sent({"h": "n7-lantern.example", "s": "/news", "t": "x"})
    )
    assert sorted(s.match.granularity for s in found) == ["host", "no_query"]


@pytest.mark.parametrize(
    ("text", "granularity"),
    [
        (URL, "full"),
        (PAGE, "full"),
        (PAGE.replace("https", "http"), "full"),
        (PAGE.replace("://", "://www."), "full"),
        (PAGE[8:], "no_scheme"),
        ("https://n7-lantern.example/reading/room7", "no_query"),
        ("https://n7-lantern.example/reading/room7/", "no_query"),
        ("/reading/room7", "path"),
        ("/reading/room7?note=violet-83", "path"),
        ("n7-lantern.example", "host"),
        ("www.n7-lantern.example", "host"),
        ("https://n7-lantern.example", "host"),
        ("https://n7-lantern.example/", "host"),
    ],
)
def test_a_hash_of_each_granularity(text: str, granularity: str) -> None:
    for name in ("md5", "sha256"):
        found = seen("url", URL, sent({"v": hashlib.new(name, text.encode()).hexdigest(), "o": 1}))
        assert [(s.match.granularity, s.match.form) for s in found] == [(granularity, name)]


@pytest.mark.parametrize(
    ("query", "granularity"),
    [
        ("b=22&note=violet-83&c=x", "full"),
        ("c=x&b=22&z=1&note=violet-83", "full"),
        ("c=x&b=2&note=violet-83", "no_query"),
        ("b=22&note=violet-83", "no_query"),
        ("c=x&b=22&note=violet-831", "no_query"),
    ],
)
def test_parameters_in_another_order_are_the_same_query(query: str, granularity: str) -> None:
    url = "https://n7-lantern.example/reading/room7?note=violet-83&b=22&c=x"
    found = seen("url", url, sent({"v": f"https://n7-lantern.example/reading/room7?{query}", "o": 1}))
    assert granularity == min((s.match.granularity for s in found if s.path == "$.v"), key=SPECIFIC.index)


def test_a_path_that_two_addresses_have_tells_neither_without_its_host() -> None:
    pages = (
        "https://n7-lantern.example/reading/room7?a=violet-83",
        "https://p9-harbour.example/reading/room7",
    )
    needles = Needles([Canary(id=page[8:10], kind="url", value=page) for page in pages])

    def told_of(**fields: str) -> set[tuple[str, str]]:
        found = Searcher(needles).search(channels(sent({**fields, "o": "text"}))).sightings
        return {(s.match.canary, s.match.granularity) for s in found}

    assert told_of(v="/reading/room7") == set()
    assert told_of(v=pages[0]) == {("n7", "full")}
    assert told_of(h="p9-harbour.example", p="/reading/room7") == {("p9", "host"), ("p9", "no_query")}


def test_a_path_inside_another_planted_path_is_not_told() -> None:
    pages = ("https://n7-lantern.example/reading/room7", "https://p9-harbour.example/reading/room7/chair4")
    needles = Needles([Canary(id=page[8:10], kind="url", value=page) for page in pages])
    for text in (pages[1], "/reading/room7/chair4"):
        found = Searcher(needles).search(channels(sent({"v": text, "o": "text"}))).sightings
        assert {s.match.canary for s in found} == {"p9"}
