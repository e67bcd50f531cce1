"""Needles: what counts as the value, in which granularity, and what must never count."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.detection.addresses import parse_address
from audit.detection.hashing import FUNCTIONS
from audit.detection.needles import Needles
from audit.records import Canary

URL = Canary(id="u", kind="url", value="https://n7-lantern.example/reading/room7?note=violet-83#part")
TERM = Canary(id="t", kind="term", value="marble otter zx4q8")
NEEDLES = Needles([URL, TERM])


def found(text: str, needles: Needles = NEEDLES) -> list[tuple[str, str]]:
    return [(m.canary, m.granularity) for m in needles.find(text.encode())]


@pytest.mark.parametrize(
    ("text", "granularity"),
    [
        ("https://n7-lantern.example/reading/room7?note=violet-83#part", "full"),
        ("see https://n7-lantern.example/reading/room7?note=violet-83.", "full"),
        ("HTTPS://N7-LANTERN.EXAMPLE:443/reading/room7?note=violet-83", "full"),
        ("https://www.n7-lantern.example/reading/room7?note=violet-83&x=1", "full"),
        ("n7-lantern.example/reading/room7?note=violet-83", "no_scheme"),
        ("https://n7-lantern.example/reading/room7", "no_query"),
        ("https://n7-lantern.example/reading/room7/", "no_query"),
        ("n7-lantern.example/reading/room7?other=1", "no_query"),
        ("https://n7-lantern.example/reading/room", "host"),
        ("https://n7-lantern.example/", "host"),
        ("n7-lantern.example", "host"),
        ("n7-lantern.example.", "host"),
        ("/reading/room7", "path"),
    ],
)
def test_an_address_is_told_in_its_most_specific_granularity(text: str, granularity: str) -> None:
    assert found(text) == [("u", granularity)]


@pytest.mark.parametrize(
    "text",
    [
        "n7-lantern.example.com",
        "xn7-lantern.example",
        "n7-lantern.examples",
        "n7-lantern.exampl",
        "sub.n7-lanter.example",
        "/reading/room77",
        "marble otter zx4q7",
        "marble otter zx4q88",
        "xmarble otter zx4q8",
        "marble and otter and zx4q8",
        "otter marble zx4q8",
        "zx4q8",
    ],
)
def test_what_is_near_is_not_the_value(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "marble otter zx4q8",
        "MARBLE Otter zx4q8",
        "marble+otter+zx4q8",
        "marble%20otter%20zx4q8",
        "q=marble-otter-zx4q8;",
    ],
)
def test_a_term_is_found_in_any_case_and_with_any_joiner(text: str) -> None:
    assert found(text) == [("t", "term")]


def test_every_place_is_told() -> None:
    places = NEEDLES.find(b"marble otter zx4q8 https://n7-lantern.example/ marble_otter_zx4q8")
    assert [(m.canary, m.offset) for m in places] == [("t", 0), ("u", 19), ("t", 47)]


def test_the_domain_counts_only_where_it_belongs_to_one_canary() -> None:
    one = Needles([Canary(id="a", kind="url", value="https://a1.lantern.example/x")])
    assert found("lantern.example", one) == [("a", "registrable_domain")]
    two = Needles(
        [
            Canary(id="a", kind="url", value="https://a1.lantern.example/x"),
            Canary(id="b", kind="url", value="https://b1.lantern.example/x"),
        ]
    )
    assert found("lantern.example", two) == []


@pytest.mark.parametrize(
    "name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b"]
)
def test_digests_are_found_and_named(name: str) -> None:
    digest = hashlib.new(name, b"https://n7-lantern.example/reading/room7?note=violet-83").digest()
    (match,) = NEEDLES.find(digest)
    assert (match.canary, match.granularity, match.form) == ("u", "full", name.replace("sha3_", "sha3-"))
    assert NEEDLES.find(digest[::-1]) == []


def test_a_double_hash_is_named() -> None:
    inner = hashlib.sha256(b"marble otter zx4q8").hexdigest()
    (match,) = NEEDLES.find(hashlib.md5(inner.encode()).digest())
    assert (match.canary, match.form) == ("t", "md5(sha256)")


def test_a_beginning_belongs_to_all_that_begin_so() -> None:
    needles = Needles([URL, Canary(id="v", kind="url", value="https://n9.example/")])
    assert {p.canary for p in needles.prefix(b"https://n")} == {"u", "v"}
    assert {p.canary for p in needles.prefix(b"HTTPS://N7")} == {"u"}
    assert needles.prefix(b"ttps") == frozenset()
    assert needles.distinct_length("u") == 4
    near = Needles([URL, Canary(id="w", kind="url", value="https://www.n7-lanes.example/")])
    assert near.distinct_length("u") == near.distinct_length("w") == len("n7-lant")


def test_other_scripts_are_found_in_both_normal_forms() -> None:
    needles = Needles([Canary(id="c", kind="term", value="搜索 café")])
    assert found("wd=搜索 café", needles) == [("c", "term")]
    assert found("wd=搜索 cafe\u0301", needles) == [("c", "term")]


def test_an_international_host_is_found_in_both_forms() -> None:
    needles = Needles([Canary(id="c", kind="url", value="https://bücher-zx4.example/regal/7")])
    assert found(
        "https://xn--bcher-zx4-9db.example/regal/7".replace(
            "xn--bcher-zx4-9db.example", "bücher-zx4.example".encode("idna").decode()
        ),
        needles,
    ) == [("c", "full")]
    assert found("bücher-zx4.example", needles) == [("c", "host")]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    NEEDLES.find(data)
    NEEDLES.prefix(data)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_address_is_too_odd(text: str) -> None:
    address = parse_address(text)
    assert address is None or address.host
    Needles([Canary(id="x", kind="url", value=text or "x")]).find(text.encode("utf-8", "replace"))


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_value_between_other_bytes_is_found_unless_glued_to_a_word(before: bytes, after: bytes) -> None:
    matches = NEEDLES.find(before + b' "marble otter zx4q8" ' + after)
    assert ("t", len(before) + 2) in [(m.canary, m.offset) for m in matches]


def test_a_short_plain_word_counts_only_as_a_whole_value() -> None:
    needles = Needles([Canary(id="w", kind="term", value="otter")])
    assert found("Otter", needles) == [("w", "term")]
    assert found("the otter swims", needles) == []


def test_a_host_in_other_letters_is_found_in_both_cases() -> None:
    needles = Needles([Canary(id="c", kind="url", value="https://bücher-zx4.example/regal/7")])
    assert found("BÜCHER-ZX4.EXAMPLE", needles) == [("c", "host")]


def test_pages_of_one_site_are_told_apart() -> None:
    needles = Needles([
        Canary(id="a", kind="url", value="https://h1.example/find?q=a%20b&n=1"),
        Canary(id="b", kind="url", value="https://h1.example/find?q=c"),
        Canary(id="site", kind="url", value="https://h1.example/"),
    ])  # fmt: skip
    assert found("https://h1.example/find?q=a%20b&n=1", needles) == [("a", "full")]
    assert found("https://h1.example/find?q=a b&n=1", needles) == [("a", "full")]
    assert found("https://h1.example/find?q=c", needles) == [("b", "full")]
    assert found("host=h1.example", needles) == [("site", "host")]


WAYS = {
    "hex": lambda digest: digest.hex(),
    "base64": lambda digest: base64.b64encode(digest).decode(),
    "base64url": lambda digest: base64.urlsafe_b64encode(digest).decode().rstrip("="),
}
DIGEST = hashlib.sha256(b"https://n7-lantern.example/reading/room7?note=violet-83").digest()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_found_as_bytes_and_in_text(name: str) -> None:
    digest = FUNCTIONS[name](b"marble otter zx4q8")
    for data in (digest, WAYS["base64"](digest).encode(), WAYS["base64url"](digest).encode()):
        assert [m.form for m in NEEDLES.find(data, "$.term_hash")] == [name]
    if len(digest) > 8:
        assert NEEDLES.find(digest, "$.x")
        assert NEEDLES.find(bytes([digest[0] ^ 1]) + digest[1:], "$.x") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sha512-224", "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"),
        ("sha512-256", "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
    ],
)
def test_truncated_sha512_is_that_of_the_standard(name: str, value: str) -> None:
    # FIPS 180-4, example "abc"
    assert FUNCTIONS[name](b"abc").hex() == value


@pytest.mark.parametrize("way", ["base64", "base64url"])
@pytest.mark.parametrize("around", ["{}", "v1/{}/px.gif", "2|{}|9", "fb.1.{}.9", "a:{}", "see {}, and"])
@pytest.mark.parametrize("part", [DIGEST, DIGEST[:16], DIGEST[8:24]])
def test_a_digest_in_base64_is_found_between_delimiters(way: str, around: str, part: bytes) -> None:
    text = WAYS[way](part)
    data = around.format(text).encode()
    (match,) = NEEDLES.find(data)
    assert match.form in ("sha256", "sha256/128", "sha256/128-middle")
    assert match.written.startswith("base64")
    assert data[match.offset : match.offset + match.length].decode() == text.rstrip("=")


@pytest.mark.parametrize(
    "part", [DIGEST[:8], DIGEST[12:20], hashlib.md5(b"marble otter zx4q8").digest()[4:12]]
)
def test_eight_bytes_count_only_where_a_hash_is_named(part: bytes) -> None:
    number = int.from_bytes(part, "big", signed=True)
    for data in (part, *(WAYS[way](part).encode() for way in ("base64", "base64url")), str(number).encode()):
        assert len(NEEDLES.find(data, "$.url_hash")) == 1
        assert NEEDLES.find(data, "$.share") == []
        assert NEEDLES.find(b"x" + data, "$.url_hash") == []


@pytest.mark.parametrize("way", WAYS)
def test_a_long_digest_is_one_whatever_is_glued_to_it(way: str) -> None:
    text = WAYS[way](DIGEST).rstrip("=")
    for around in ("x{}", "{}x", "a7{}z9", "zq{}"):
        data = around.format(text).encode()
        assert [m.form for m in NEEDLES.find(data)] == ["sha256"], data


@pytest.mark.parametrize("way", WAYS)
def test_a_digest_that_is_cut_elsewhere_or_changed_is_none(way: str) -> None:
    text = WAYS[way](DIGEST).rstrip("=")
    for data in (text[3:], text[:20], text[: len(text) // 2][::-1], text.swapcase()[1:]):
        assert NEEDLES.find(data.encode()) == []


def test_a_page_with_a_short_hash_is_worth_opening() -> None:
    body = b'{"ts":1700000000,"words":["one","two","three","four"],"url_hash":"%s"}'
    body %= base64.b64encode(DIGEST[:8])
    assert NEEDLES.traced(body)


def test_a_short_hash_counts_behind_its_name_in_text_that_is_no_document() -> None:
    part = DIGEST[:8]
    for text in (part.hex(), part.hex().upper(), WAYS["base64"](part), WAYS["base64url"](part)):
        for around in ('s": 1, "url_hash": "{}", "n"', "x=1&urlHash={}&y", "md5: {}"):
            data = around.format(text).encode() + b' and "more" of it'
            assert [m.form for m in NEEDLES.find(data)] == ["sha256/64"], data
        assert NEEDLES.find(f'a": 1, "url_share": "{text}", "n"'.encode()) == []
