"""Identifiers, titles and terms as a stranger would write them, and what differs from each by a little."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from urllib.parse import quote

import pytest

from audit.decoding.channels import channels
from audit.detection.needles import Needles
from audit.detection.search import Searcher
from audit.records import Canary, CanaryKind, Http

IDENTIFIERS = (
    "9774d56d682e549c", "356938035643809", "A4:C1:38:0F:2B:9E", "38400000-8cf0-11bd-b23e-10b96e40000d",
)  # fmt: skip
TITLE = "Über den Röhren – Marble Otter 9x4q"
TERM = "marble otter zx4q8"
URL = "https://n7-lantern.example/reading/room7?note=violet-83"


@cache
def searcher(kind: CanaryKind, value: str) -> Searcher:
    return Searcher(Needles([Canary(id="c", kind=kind, value=value)]))


def sent(path: str = "/v1", body: bytes = b"", method: str = "GET", **headers: str) -> Http:
    return Http(
        capture="c", id="1", host="t.example.net", method=method, scheme="https", authority="t.example.net", path=path,
        version="2", body=body, headers=tuple((n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()),
    )  # fmt: skip


def told(kind: CanaryKind, value: str, text: str) -> set[str]:
    document = {"v": text, "o": "other text to fill the body to more than sixty-four bytes"}
    body = json.dumps(document, ensure_ascii=False).encode()
    record = sent(body=body, method="POST", content_type="application/json")
    return {s.match.granularity for s in searcher(kind, value).search(channels(record)).sightings}


def hexed(name: str, text: str) -> str:
    return hashlib.new(name, text.encode()).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("value", IDENTIFIERS)
def test_an_identifier(value: str) -> None:
    bare = value.replace(":", "").replace("-", "")
    written = [
        value, bare, value.upper(), value.lower(), bare.upper(), b64(value.encode()), b64(bare.encode()),
        quote(value, safe=""), hexed("md5", value), hexed("sha1", bare.upper()), hexed("sha256", value.lower()),
        hexed("md5", hexed("md5", value)), hexed("sha256", hexed("md5", bare)).upper(), hexed("sha512", value)[:32],
        hexed("sha256", value)[16:48], b64(hashlib.sha256(value.encode()).digest()),
    ]  # fmt: skip
    if not bare.isdigit():
        written.append(b64(bytes.fromhex(bare)))
    assert [text for text in written if told("identifier", value, text) != {"term"}] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("356938035643809", "35693803564380"),
        ("356938035643809", hexed("md5", "35693803564380")),
        ("A4:C1:38:0F:2B:9E", str(0xA4C1380F2B9E)),
        ("A4:C1:38:0F:2B:9E", "fe80::a6c1:38ff:fe0f:2b9e"),
        ("9774d56d682e549c", str(0x9774D56D682E549C)),
        ("9774d56d682e549c", b64(bytes.fromhex("9774d56d682e549c"))),
    ],
)
def test_an_identifier_in_rarer_writing(value: str, text: str) -> None:
    assert told("identifier", value, text) == {"term"}


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("9774d56d682e549c", ("json",)),
        (b64(b"9774d56d682e549c"), ("json", "base64")),
        (b64(bytes.fromhex("9774d56d682e549c")), ("json", "base64")),
        (bytes.fromhex("9774d56d682e549c")[::-1].hex(), ("json", "hex")),
    ],
)
def test_the_chain_to_an_identifier_is_no_longer_than_needed(text: str, layers: tuple[str, ...]) -> None:
    body = json.dumps({"v": text, "o": "other text to fill the body to more than sixty-four bytes"}).encode()
    record = sent(body=body, method="POST", content_type="application/json")
    found = searcher("identifier", "9774d56d682e549c").search(channels(record)).sightings
    assert [(s.path, s.layers) for s in found] == [("$.v", layers)]


@pytest.mark.parametrize("value", IDENTIFIERS)
def test_not_quite_an_identifier(value: str) -> None:
    bare = value.replace(":", "").replace("-", "")
    changed = value[:-1] + ("1" if value[-1] != "1" else "2")
    near = [
        value[1:], value[:-2], f"{value}0", f"1{value}", changed, f"{bare}a", f"x{bare}", hexed("md5", value)[:-1] + "g",
        hexed("md5", changed), hexed("sha256", value)[8:24], b64(changed.encode()),
    ]  # fmt: skip
    assert [text for text in near if told("identifier", value, text)] == []


@pytest.mark.parametrize(
    "text",
    [
        TITLE, TITLE.upper(), "u\u0308ber den ro\u0308hren – marble otter 9x4q", quote(TITLE),
        f"Title: {TITLE} | Site",
    ],
)  # fmt: skip
def test_a_title(text: str) -> None:
    assert told("title", TITLE, text) == {"term"}


@pytest.mark.parametrize(
    "text", [TITLE[:15], TITLE[18:], TITLE[:-1], f"{TITLE}q", TITLE.replace("Otter", "Otters")]
)
def test_not_quite_a_title(text: str) -> None:
    assert told("title", TITLE, text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "q=marble+otter+zx4q8&hl=de", "MARBLE_OTTER_ZX4Q8", "marble-otter-zx4q8.html", '"marble otter zx4q8"',
        "site:x marble otter zx4q8 -foo", "marble%2Botter%2Bzx4q8", "marble%2520otter%2520zx4q8",
        "\uff4d\uff41\uff52\uff42\uff4c\uff45 otter zx4q8", "marble\u00a0otter\u00a0zx4q8", "marble\u3000otter zx4q8",
        "#marbleotterzx4q8", "MarbleOtterZx4q8.example", "marble  otter  zx4q8", "marble\u2010otter\u2011zx4q8",
    ],
)  # fmt: skip
def test_a_term(text: str) -> None:
    assert told("term", TERM, text) == {"term"}


@pytest.mark.parametrize(
    "text",
    [
        "marble otter", "marble otter zx4q7", "marble otter zx4q88", "amarble otter zx4q8", "marble, otter, zx4q8",
        "zx4q8 otter marble", "marble x otter zx4q8", "zx4q8", "marble otterzx4q", "marble otter zx4 q8",
        "9marbleotterzx4q8", "marbleotterzx4q88", "marbleotterzx4q7",
    ],
)  # fmt: skip
def test_not_quite_a_term(text: str) -> None:
    assert told("term", TERM, text) == set()


def test_plain_words_without_spaces_count_only_as_a_whole_value() -> None:
    assert told("term", "private browsing", "PrivateBrowsing") == {"term"}
    assert told("term", "private browsing", "the setting privatebrowsing is on") == set()
    assert told("term", "private browsing", "see private-browsing here") == {"term"}


@pytest.mark.parametrize(
    ("text", "granularity"),
    [
        ("n7-lantern\u3002example", {"host"}),
        ("n7\u2011lantern.example", {"host"}),
        ("https://n7-lantern.example/reading/room77?note=violet-83", {"host", "path"}),
        ("https://n7-lantern.example//reading/room7?note=violet-83", {"host", "no_scheme"}),
    ],
)
def test_a_host_in_odd_writing_and_a_query_of_another_page(text: str, granularity: set[str]) -> None:
    assert told("url", URL, text) == granularity


def test_an_address_of_six_groups_or_with_sharp_s() -> None:
    six = "http://[2001:db8::7]/reading/room7?note=violet-83"
    assert "full" in told("url", six, f"see {six} there")
    assert told("url", six, "2001:db8::77") == set()
    sharp = "https://fa\u00df-zx4.example/a/b1"
    label = "fa\u00df-zx4".encode("punycode").decode()
    assert "full" in told("url", sharp, f"https://xn--{label}.example/a/b1")


@pytest.mark.parametrize("text", [URL, hashlib.sha1(URL.encode()).hexdigest()], ids=["plain", "hashed"])
def test_every_channel(text: str) -> None:
    coded = quote(text, safe="")
    records = [
        sent(f"/x/{coded}"), sent(f"/x?u={coded}"), sent(f"/#{coded}"), sent(x_u=text), sent(cookie=f"u={coded}"),
        sent(body=coded.encode(), method="POST"),
    ]  # fmt: skip
    for record in records:
        (sighting,) = searcher("url", URL).search(channels(record)).sightings
        assert sighting.match.granularity == "full"
