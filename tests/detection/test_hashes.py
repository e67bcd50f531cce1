"""Hashes of planted values: every function, hashes of hashes, every way in which a text is written before it is
hashed; and short hashes, which count only where the name of the field says what they are."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib

import mmh3
import pytest
import xxhash

from audit.decoding.channels import channels
from audit.detection.hashing import FUNCTIONS, SMALL, USUAL
from audit.detection.needles import Needles
from audit.detection.search import Searcher
from audit.records import Canary, Http

URL = "https://n7-lantern.example/reading/room7?note=violet-83#part"
PAGE = URL.partition("#")[0]
TERM = "marble otter zx4q8"
NEEDLES = Needles([Canary(id="u", kind="url", value=URL), Canary(id="t", kind="term", value=TERM)])
FILLER = "other text to fill the body to more than sixty-four bytes"
DOUBLED = (
    "md5",
    "sha1",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "sha3_256",
    "sha3_512",
    "sha3_224",
    "sha3_384",
    "blake2b",
    "blake2s",
    "ripemd160",
)


def told(document: object, **headers: str) -> list[tuple[str, str, str]]:
    body = json.dumps(document).encode() if document is not None else b""
    lines = {"content-type": "application/json", **headers} if body else headers
    record = Http(
        capture="c", id="1", host="t.example.net", method="POST", scheme="https", authority="t.example.net", path="/v1",
        version="2", body=body, headers=tuple((n.replace("_", "-").encode(), v.encode()) for n, v in lines.items()),
    )  # fmt: skip
    found = Searcher(NEEDLES).search(channels(record)).sightings
    return [(s.match.canary, s.match.granularity, s.match.form) for s in found]


def digest(name: str, data: bytes) -> str:
    return hashlib.new(name, data).hexdigest()


@pytest.mark.parametrize("outer", DOUBLED)
@pytest.mark.parametrize("inner", DOUBLED)
def test_a_hash_of_a_hash(outer: str, inner: str) -> None:
    shown = f"{outer}({inner})".replace("sha3_", "sha3-")
    assert told({"v": digest(outer, digest(inner, PAGE.encode()).encode()), "o": FILLER}) == [
        ("u", "full", shown)
    ]
    assert told({"v": digest(outer, digest(inner, PAGE[:-1].encode()).encode()), "o": FILLER}) == []


@pytest.mark.parametrize("name", ["md5", "ripemd160", "sha3_384"])
def test_a_hash_of_a_fast_hash_and_the_other_way_round(name: str) -> None:
    fast = xxhash.xxh3_128_hexdigest(PAGE.encode())
    shown = name.replace("sha3_", "sha3-")
    assert told({"v": digest(name, fast.encode()), "o": FILLER}) == [("u", "full", f"{shown}(xxh3-128)")]
    other = xxhash.xxh3_128_hexdigest(digest(name, PAGE.encode()).encode())
    assert told({"v": other, "o": FILLER}) == [("u", "full", f"xxh3-128({shown})")]


@pytest.mark.parametrize("outer", DOUBLED)
@pytest.mark.parametrize("inner", ["md5", "sha1", "sha256"])
def test_a_hash_of_a_hash_in_capitals(outer: str, inner: str) -> None:
    value = digest(outer, digest(inner, TERM.encode()).upper().encode())
    shown = f"{outer}({inner.upper()})".replace("sha3_", "sha3-")
    assert told({"v": value.upper(), "o": FILLER}) == [("t", "term", shown)]


def test_the_ways_of_hashing_have_names_of_their_own() -> None:
    names = [way.name for way in USUAL]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "granularity"),
    [
        (URL, "full"),
        (PAGE, "full"),
        (PAGE.upper(), "full"),
        ("https://n7-lantern.example:443/reading/room7?note=violet-83", "full"),
        ("http://n7-lantern.example:80/reading/room7?note=violet-83", "full"),
        ("https://N7-LANTERN.EXAMPLE/reading/room7?note=violet-83", "full"),
        ("https://www.n7-lantern.example/reading/room7/?note=violet-83", "full"),
        ("https%3A%2F%2Fn7-lantern.example%2Freading%2Froom7%3Fnote%3Dviolet-83", "full"),
        ("n7-lantern.example/reading/room7?note=violet-83", "no_scheme"),
        ("//n7-lantern.example/reading/room7?note=violet-83", "no_scheme"),
        ("n7-lantern.example:443/reading/room7", "no_query"),
        ("https://n7-lantern.example/reading/room7/", "no_query"),
        ("http://www.n7-lantern.example/reading/room7", "no_query"),
        ("/reading/room7", "path"),
        ("reading/room7", "path"),
        ("/reading/room7?note=violet-83", "path"),
        ("note=violet-83", "path"),
        ("?note=violet-83", "path"),
        ("n7-lantern.example", "host"),
        ("N7-LANTERN.EXAMPLE", "host"),
        ("n7-lantern.example:443", "host"),
        ("www.n7-lantern.example", "host"),
        ("http://n7-lantern.example", "host"),
        ("https://www.n7-lantern.example/", "host"),
    ],
)
@pytest.mark.parametrize("name", ["md5", "sha256", "sha3_256"])
def test_an_address_as_it_may_be_hashed(text: str, granularity: str, name: str) -> None:
    shown = name.replace("sha3_", "sha3-")
    assert told({"v": digest(name, text.encode()), "o": FILLER}) == [("u", granularity, shown)]
    for near in (
        text[:-1],
        text + "x",
        text.replace("n7", "n8").replace("room7", "room8").replace("83", "84"),
    ):
        if near not in (text, URL[:-5], PAGE, "n7-lantern.example", "https://n7-lantern.example"):
            found = told({"v": digest(name, near.encode()), "o": FILLER})
            assert found == [] or near.rstrip("/") in (text, text.rstrip("/")), near


@pytest.mark.parametrize(
    "text",
    [
        TERM, TERM.upper(), "Marble Otter Zx4q8", "Marble otter zx4q8", "marble+otter+zx4q8", "marble%20otter%20zx4q8",
        "marble-otter-zx4q8", "marble_otter_zx4q8", "marbleotterzx4q8",
    ],
)  # fmt: skip
def test_a_term_as_it_may_be_hashed(text: str) -> None:
    for name in ("md5", "sha1", "sha512"):
        assert told({"v": digest(name, text.encode()), "o": FILLER}) == [("t", "term", name)]
        assert told({"v": digest(name, f"{text}s".encode()), "o": FILLER}) == []


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("cut", [slice(0, 8), slice(0, 16), "middle 8", "middle 16"])
def test_the_beginning_and_the_middle_of_a_long_hash(name: str, cut: slice | str) -> None:
    whole = FUNCTIONS[name](PAGE.encode())
    size = int(cut.split()[1]) if isinstance(cut, str) else cut.stop
    start = (len(whole) - size) // 2 if isinstance(cut, str) else 0
    if len(whole) <= size:
        return
    part = whole[start : start + size]
    for text in (part.hex(), part.hex().upper(), base64.b64encode(part).decode()):
        assert {found[:2] for found in told({"url_hash": text, "o": FILLER})} == {("u", "full")}, text
        assert bool(told({"v": text, "o": FILLER})) == (size == 16), text
        changed = text[:3] + ("A" if text[3] != "A" else "B") + text[4:]
        assert told({"url_hash": changed, "o": FILLER}) == []


def small(text: str) -> dict[str, int]:
    java = fnv = 0
    fnv = 0x811C9DC5
    for letter in text.encode():
        java = java * 31 + letter & 0xFFFFFFFF
        fnv = (fnv ^ letter) * 0x01000193 & 0xFFFFFFFF
    return {
        "crc32": zlib.crc32(text.encode()), "murmur3-32": mmh3.hash(text, signed=False),
        "xxh32": xxhash.xxh32_intdigest(text.encode()), "java-hashcode": java, "fnv1a-32": fnv,
    }  # fmt: skip


NAMED = {
    "crc32": "crc32",
    "murmur3-32": "murmur_32",
    "xxh32": "xxh32",
    "java-hashcode": "hashCode",
    "fnv1a-32": "fnv1a",
}


@pytest.mark.parametrize("name", NAMED)
def test_a_hash_of_32_bits_counts_where_the_field_says_so(name: str) -> None:
    value = small(PAGE)[name]
    signed = value - (1 << 32) if value >> 31 else value
    written = (value, signed, str(value), str(signed), f"{value:08x}", f"{value:08X}", f"0x{value:08x}")
    for field in ("url_hash", "urlHash", "hashed_link", "pageHash", NAMED[name]):
        for text in written:
            assert told({field: text, "o": FILLER}) == [("u", "full", name)], (field, text)
    b64 = base64.b64encode(value.to_bytes(4, "big")).decode()
    assert told({"url_hash": b64, "o": FILLER}) == [("u", "full", name)]
    assert told(None, x_url_hash=str(value)) == [("u", "full", name)]


@pytest.mark.parametrize("name", NAMED)
def test_a_hash_of_32_bits_counts_nowhere_else(name: str) -> None:
    value = small(PAGE)[name]
    other = next(field for way, field in NAMED.items() if way != name)
    for field in ("hash", "id", "checksum", "count", "url", "h", other):
        assert told({field: value, "o": FILLER}) == [], field
        assert told({field: f"{value:08x}", "o": FILLER}) == [], field
    for near in (value ^ 1, small(PAGE[:-1])[name], small(PAGE + "x")[name]):
        assert told({"url_hash": near, "o": FILLER}) == []
    assert told({"url_hash": f"{value}0", "o": FILLER}) == []


@pytest.mark.parametrize("bits", [64])
def test_fnv_of_64_bits_counts_in_a_field_named_for_a_hash(bits: int) -> None:
    value = 0xCBF29CE484222325
    for letter in TERM.encode():
        value = (value ^ letter) * 0x100000001B3 & (1 << bits) - 1
    for text in (f"{value:016x}", str(value), value):
        assert told({"hash": text, "o": FILLER}) == [("t", "term", "fnv1a-64")]
        assert told({"id": text, "o": FILLER}) == []


def test_the_published_vectors_of_short_hashes() -> None:
    # FNV: Fowler, Noll and Vo's test vectors; CRC-32: its check value; Java: "hello".hashCode()
    assert SMALL["fnv1a-32"][1](b"foobar").hex() == "bf9cf968"
    assert SMALL["fnv1-32"][1](b"foobar").hex() == "31f0b262"
    assert SMALL["crc32"][1](b"123456789").hex() == "cbf43926"
    assert int.from_bytes(SMALL["java-hashcode"][1](b"hello"), "big") == 99162322


@pytest.mark.parametrize("words", [100, 2_000])
def test_a_short_hash_behind_its_name_in_text_of_any_length(words: int) -> None:
    text = "started harbour log value " * words
    digest = hashlib.sha256(PAGE.encode()).hexdigest()[:16]
    for said in (f"url_hash={digest} done", f"hash: {digest},", f"md5={digest};"):
        body = f"{text}\n{said}\n{text}"
        assert {found[:2] for found in told({"v": body, "o": FILLER})} == {("u", "full")}, said
    for near in (f"value={digest} done", f"hash={digest}0", f"hash={digest[:-1]}g"):
        assert told({"v": f"{text}\n{near}\n{text}", "o": FILLER}) == []


def test_murmur_hash_as_one_number() -> None:
    number = mmh3.hash128(PAGE.encode(), signed=False)
    assert told({"v": f"{number:032x}", "o": FILLER}) == [("u", "full", "murmur3-128-number")]
    assert told({"v": f"{number ^ 1:032x}", "o": FILLER}) == []


@pytest.mark.parametrize("glue", ["a", "aB3d", "aB3dE", "aB3dE6", "aB3dE6g", "aB3dE6gH9"])
@pytest.mark.parametrize("name", ["md5", "sha1", "sha224", "sha256", "sha512"])
def test_a_hash_in_base64_with_letters_glued_to_it(name: str, glue: str) -> None:
    made = base64.b64encode(hashlib.new(name, TERM.encode()).digest()).decode().rstrip("=")
    assert told({"v": f"{glue}{made}.tail9"}) == [("t", "term", name)]


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_a_hash_as_bytes_behind_text(name: str) -> None:
    packed = zlib.compress(
        b"GET /index other words and more of them\n" + hashlib.new(name, TERM.encode()).digest()
    )
    assert told({"v": base64.b64encode(packed).decode()}) == [("t", "term", name)]


@pytest.mark.parametrize("encode", [base64.b85encode, base64.a85encode])
@pytest.mark.parametrize("written", [bytes.hex, lambda raw: raw.hex().upper(), bytes])
def test_a_hash_under_base85_that_shows_no_mark(encode: object, written: object) -> None:
    """Of many values, one whose Base85 has nothing but letters and digits."""
    for number in range(200_000):
        value = f"marble otter zx{number}"
        raw = written(hashlib.md5(value.encode()).digest())  # type: ignore[operator]
        made = encode(raw if isinstance(raw, bytes) else raw.encode()).decode()  # type: ignore[operator]
        if made.isalnum():
            break
    needles = Needles([Canary(id="t", kind="term", value=value)])
    record = Http(
        capture="c", id="1", host="t.example.net", method="GET", scheme="https", authority="t.example.net",
        path="/v1", version="2", headers=((b"x-id", made.encode()),),
    )  # fmt: skip
    assert [s.match.form for s in Searcher(needles).search(channels(record)).sightings] == ["md5"]
