"""Hostile bodies: nothing raises, every bound that was hit is told, what came out before is kept."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.decoding import Bounds, may_hide, unfold
from tests.decoding import chains
from tests.decoding.chains import Value

ZEROS = bytes(1 << 27)
SMALL = Bounds(bytes=1 << 20, work=1 << 24, guessing=1 << 22)


def bounds_hit(data: bytes, hints: tuple[str, ...] = (), bounds: Bounds | None = None) -> set[str]:
    return {limit.bound for limit in unfold(data, hints, bounds=bounds).limits}


@pytest.mark.parametrize(
    ("data", "hints"),
    [
        (gzip.compress(ZEROS), ()),
        (zlib.compress(ZEROS), ()),
        (zstandard.compress(ZEROS), ()),
        (brotli.compress(ZEROS), ("br",)),
        (base64.b64encode(gzip.compress(gzip.compress(ZEROS))), ()),
    ],
    ids=["gzip", "zlib", "zstd", "brotli", "nested"],
)
def test_a_bomb_is_cut_and_told(data: bytes, hints: tuple[str, ...]) -> None:
    tree = unfold(data, hints, bounds=SMALL)
    assert sum(len(field.data) for field in tree.fields[1:]) <= SMALL.bytes
    assert {limit.bound for limit in tree.limits} & {"bytes", "ratio"}


def test_deep_json_is_told() -> None:
    assert bounds_hit(b"[" * 100_000) == {"depth"}
    assert bounds_hit(b'{"a":' * 600 + b'"x"' + b"}" * 600) == {"depth"}


def test_many_values_are_cut_and_told() -> None:
    data = json.dumps([f"value {i}" for i in range(2_000)]).encode()
    tree = unfold(data, bounds=Bounds(fields=100))
    assert len(tree.fields) == 100
    assert tree.limits[0].bound == "fields"


def test_work_on_guesses_is_cut_before_work_on_what_is_marked() -> None:
    rng = random.Random(1)
    values = [base64.b64encode(rng.randbytes(33)).decode() for _ in range(300)]
    values.append(base64.b64encode(gzip.compress(b"https://c4n4ry.example.test/")).decode())
    tree = unfold(json.dumps(values).encode(), bounds=Bounds(guessing=1 << 18))
    assert {limit.bound for limit in tree.limits} == {"time"}
    assert any(b"c4n4ry" in field.data for field in tree.fields)


def test_the_first_bytes_of_a_cut_body_are_kept() -> None:
    body = gzip.compress(b"https://c4n4ry.example.test/" + random.Random(2).randbytes(5_000))
    assert any(field.data.startswith(b"https://c4n4ry") for field in unfold(body[:3_000]).fields)


TRAPS = [
    b"A", b"a=", b"a=b&", b"<a ", b'<a "', b'<a \'"', b'{"a":', b'x [{"a":1,', b"%", b"%4", b"&#", b"&#x1", b"\\u00",
    b"=", b"=41", b"a1", b"a1:", b"0x1, ", b"1,", b"xn--a.", b"begin 644 a\n", b"--a\n", b"--abcd\r\n\r\n",
    b'{"a":1}\n', b"x\x9c", b"\x00\x1f\x8b\x08", b"\n\x02", b"\0", b"\x81", b"\x9f", b"\xdb\xff\xff\xff\xff", b"!{",
    b"; a=b", b"[", b"]", b"<![CDATA[", b"<!--", b"\xc0\x0c", b"ey", b"=?", b"\xa1", b"\xb0\xa1", b"Aa0+", b"..//",
]  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS, ids=repr)
def test_repetition_is_no_trap(trap: bytes) -> None:
    # a quadratic step anywhere would make this run for minutes
    for end in (b"", b"x", b"!", b"\xff"):
        unfold(trap * (100_000 // len(trap)) + end, bounds=Bounds(guessing=1 << 21))
        may_hide(trap * (100_000 // len(trap)) + end)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400), st.sampled_from([(), ("form",), ("cookie",), ("gzip", "application/json"), ("br",),
    ("deflate",), ("multipart/mixed",), ("application/x-protobuf",), ("text/plain;charset=gbk",)]))  # fmt: skip
def test_any_bytes_open_without_an_error(data: bytes, hints: tuple[str, ...]) -> None:
    tree = unfold(data, hints, sought=Value(b"zz"))
    assert tree.fields[0].data == data
    for index, field in enumerate(tree.fields[1:], 1):
        assert field.parent is not None
        assert field.parent < index
        assert len(field.layers) == len(tree.fields[field.parent].layers) + 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.data())
def test_damaged_encodings_open_without_an_error(seed: int, depth: int, draw: st.DataObject) -> None:
    body = bytearray(chains.chain(depth, random.Random(seed)).body)
    for _ in range(draw.draw(st.integers(1, 4))):
        body[draw.draw(st.integers(0, len(body) - 1))] = draw.draw(st.integers(0, 255))
    bounds = Bounds(guessing=1 << 20)
    unfold(bytes(body), bounds=bounds)
    unfold(bytes(body[: draw.draw(st.integers(0, len(body)))]), bounds=bounds)
