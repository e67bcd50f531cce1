"""Recall: a value wrapped in random chains of every coding is found, as a plain part of some field."""

from __future__ import annotations

import base64
import gzip
import json
import random
import string
import zlib

import pytest

from audit.decoding import Bounds, unfold
from tests.decoding import chains

NAMES = [encoding.name for encoding in chains.ENCODINGS]


def missed(found: list[chains.Chain]) -> list[tuple[tuple[str, ...], bytes]]:
    return [
        (chain.names, chain.body[:120])
        for chain in found
        if not any(
            chain.value in field.data for field in unfold(chain.body, sought=chains.Value(chain.value)).fields
        )
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_coding_opens_alone(name: str) -> None:
    rng = random.Random(name)
    assert missed([chains.chain(1, rng, name) for _ in range(8)]) == []


@pytest.mark.parametrize(("depth", "share"), [(2, 0.99), (3, 0.97), (4, 0.96), (5, 0.96), (6, 0.96)])
def test_chains_in_random_order_open(depth: int, share: float) -> None:
    rng = random.Random(depth)
    tried = [chains.chain(depth, rng) for _ in range(25)]
    assert len(missed(tried)) <= (1 - share) * len(tried)


def test_ten_layers_and_more_open() -> None:
    data = b'{"u":"https://c4n4ry.example.test/a"}'
    for _ in range(6):
        data = base64.b64encode(gzip.compress(data, mtime=0))
    tree = unfold(data)
    assert tree.limits == []
    assert tree.fields[-1].data == b"https://c4n4ry.example.test/a"
    assert tree.fields[-1].layers == ("base64", "gzip") * 6 + ("json",)


def test_one_layer_more_than_the_bound_is_told() -> None:
    data = b"https://c4n4ry.example.test/a?q=tok"
    for _ in range(5):
        data = base64.b64encode(data)
    tree = unfold(data, bounds=Bounds(depth=4))
    assert [limit.bound for limit in tree.limits] == ["depth"]
    assert len(tree.fields[-1].layers) == 4


def test_the_same_bytes_give_the_same_tree() -> None:
    rng = random.Random(3)
    for _ in range(40):
        body = chains.chain(4, rng).body
        assert unfold(body) == unfold(body)


@pytest.mark.parametrize("size", [16, 20, 24, 32, 64, 200, 2000])
def test_random_bytes_open_next_to_nothing(size: int) -> None:
    rng = random.Random(size)
    opened = [len(unfold(rng.randbytes(size)).fields) - 1 for _ in range(200)]
    assert sum(opened) <= 20


def test_what_is_not_encoded_opens_little() -> None:
    rng = random.Random(5)
    letters = string.ascii_lowercase + string.digits
    kinds = {
        "uuid": lambda: f"{rng.getrandbits(32):08x}-1b2c-4d3e-8f90-{rng.getrandbits(48):012x}",
        "words": lambda: " ".join(
            "".join(rng.choices(letters[:26], k=rng.randrange(2, 11))) for _ in range(8)
        ),
        "name": lambda: "_".join("".join(rng.choices(letters[:26], k=6)) for _ in range(4)),
        "camel": lambda: "".join("".join(rng.choices(letters[:26], k=6)).title() for _ in range(4)),
        "path": lambda: (
            "/data/app/com.example.browser/files/" + "".join(rng.choices(letters[:26], k=9)) + ".txt"
        ),
        "version": lambda: (
            f"{rng.randrange(99)}.{rng.randrange(999)}.{rng.randrange(9999)}-rc{rng.randrange(9)}"
        ),
        "number": lambda: str(rng.randrange(10**13)),
        "decimal": lambda: f"{rng.uniform(-180, 180):.7f},{rng.uniform(-90, 90):.7f}",
        "agent": lambda: (
            "Mozilla/5.0 (Linux; Android 14; Pixel 7) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"
        ),
        "time": lambda: "2020-04-30T12:34:56.789Z",
        "address": lambda: f"https://www.shop-{rng.randrange(99)}.example/item/{rng.randrange(10**6)}",
    }
    for kind, make in kinds.items():
        opened = sum(len(unfold(make().encode()).fields) - 1 for _ in range(100))
        assert opened <= 2, kind


def test_plain_json_gives_its_values_and_nothing_else() -> None:
    document = {
        "event": "page_view",
        "model": "Redmi Note 8",
        "n": [1, 2, 3],
        "ok": True,
        "at": 1588291200123,
    }
    tree = unfold(json.dumps(document).encode())
    assert [(f.path, f.data) for f in tree.fields[1:]] == [
        ("$.event", b"page_view"),
        ("$.model", b"Redmi Note 8"),
        ("$.n[0]", b"1"),
        ("$.n[1]", b"2"),
        ("$.n[2]", b"3"),
        ("$.ok", b"true"),
        ("$.at", b"1588291200123"),
    ]


def test_short_zlib_in_a_frame_is_no_noise() -> None:
    packed = zlib.compress(b"vabodu kiremu h4q2")
    for body in (
        b"\x0a" + bytes([len(packed) + 2]) + b"\x12" + bytes([len(packed)]) + packed + b"\x18\x05",
        b"\x01\x00\x00\x20\x01\x29\x00\x00" + packed,
    ):
        assert any(field.data == b"vabodu kiremu h4q2" for field in unfold(body).fields)
