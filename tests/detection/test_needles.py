"""Needles: what counts as the value, in which granularity, and what must never count."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.detection.needles import Needles, parse_address
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
    assert needles.distinct_length("u") == len("https://n7")


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


@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    NEEDLES.find(data)
    NEEDLES.prefix(data)


@given(st.text(max_size=60))
def test_no_address_is_too_odd(text: str) -> None:
    address = parse_address(text)
    assert address is None or address.host
    Needles([Canary(id="x", kind="url", value=text or "x")]).find(text.encode("utf-8", "replace"))


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
