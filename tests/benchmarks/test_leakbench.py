"""A small seeded part of leakbench, quick enough for every run: the benchmark itself, and its goals.

The encoders are checked against each other's inverses and published vectors; recall of plain values at
depths 1 and 2, false positives and decoy hits are held to the goals.
"""

from __future__ import annotations

import base64
import random

import pytest

from tests.benchmarks.leakbench import benign, cases, lzstring, recall, values
from tests.benchmarks.leakbench.codings import CODINGS, Coding
from tests.benchmarks.leakbench.hashes import all_hashes, xxh3_128

SEED = 7
CANARIES = values.planted(SEED)
DECOYS = {canary.id for canary in CANARIES if canary.decoy}
HASHES = {row.name: row.function for row in all_hashes()}


@pytest.fixture(scope="module")
def search() -> recall.Search:
    return recall.searcher(CANARIES)


def test_own_hashes_agree_with_reference_values() -> None:
    # made with the reference implementations (xxHash 0.8, SMHasher)
    address = b"https://example.test/a/b?q=1"
    assert xxh3_128(b"ab").hex() == "89c65ebc828eebaca873719c24d5735c"
    assert xxh3_128(b"abcde").hex() == "3043c78169f25c3f97d5a48ef320eec2"
    assert xxh3_128(b"abcdefghijk").hex() == "f63802ddeb8a84810c30617e220bd2c5"
    assert xxh3_128(address).hex() == "4e6e1a87085271d7bc3e10f417f7e0a0"
    assert xxh3_128(address * 5).hex() == "270c0bc096d2f1a555d7c27d201b06d0"
    assert HASHES["murmur3-x64-128"](address).hex() == "a928309b8ed5d52092140c3896566268"
    assert HASHES["murmur3-x86-128"](address).hex() == "ddfa6d13bc8ef70e9ddc13844c2f8e96"


def test_lz_string_agrees_with_reference_values() -> None:
    # made with lz-string's own compressor
    assert lzstring.to_base64("hello hello hello") == "BYUwNmD2AEoTcpA="
    assert lzstring.to_address("größe 安静") == "OYJwbw+wpgBIkdqE10oA"


def test_the_same_seed_makes_the_same_cases() -> None:
    first = list(cases.plain_cases(CANARIES, SEED, 1, depths=(3,)))
    assert [case.payload for case in first] == [
        case.payload for case in cases.plain_cases(CANARIES, SEED, 1, depths=(3,))
    ]
    assert all(sum(c.headerless for c in CODINGS if c.name in case.chain) <= 1 for case in first)


def test_every_coding_changes_the_value_and_has_cases_at_every_depth() -> None:
    made = {(case.coding, case.depth) for case in cases.plain_cases(CANARIES, SEED, 1)}
    assert made >= {(coding.name, depth) for coding in CODINGS for depth in cases.DEPTHS}


def test_no_near_miss_holds_a_planted_value() -> None:
    plain = [values.plain_text(c, "host" if c.kind == "url" else "term").lower().encode() for c in CANARIES]
    for sort, record in benign.benign(CANARIES, SEED, 1_000):
        body = getattr(record, "body", b"") or b""
        if sort.startswith("near"):
            spaced = body.lower().replace(b'"', b" ")
            assert not any(value + b" " in spaced or value + b"/" in spaced for value in plain), body


def test_plain_values_are_found_wherever_they_stand(search: recall.Search) -> None:
    result = recall.recall(cases.plain_cases(CANARIES, SEED, 0), search, DECOYS)
    assert _missed(result) == []


@pytest.fixture(scope="module")
def shallow() -> list[cases.Case]:
    return list(cases.plain_cases(CANARIES, SEED, 3, depths=(1, 2)))


@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding.name)
def test_wrapped_values_are_found_at_depths_one_and_two(
    coding: Coding, shallow: list[cases.Case], search: recall.Search
) -> None:
    made = [case for case in shallow if case.coding == coding.name]
    result = recall.recall(made, search, DECOYS)
    assert len(made) == 6
    assert _missed(result) == []
    assert result.wrong == []
    assert result.failures == []


def _missed(result: recall.Recall) -> list[tuple[str, str, bytes]]:
    return [(" > ".join(case.chain), case.channel, case.payload[:120]) for case in result.misses]


def test_innocent_traffic_shows_nothing(search: recall.Search) -> None:
    result = recall.innocence(benign.benign(CANARIES, SEED, 600), search, DECOYS)
    assert result.found == []
    assert result.decoys == 0
    assert result.failures == []


def test_a_planted_value_in_innocent_traffic_would_be_reported(search: recall.Search) -> None:
    """The check above can fail."""
    value = CANARIES[0].value
    body = benign.telemetry(random.Random(1)).replace(b'"com.example.reader"', b'"' + value.encode() + b'"')
    result = recall.innocence([("planted", benign.post(body))], search, DECOYS)
    assert result.false == 1
    wrapped = benign.post(base64.b64encode(body))
    assert recall.innocence([("planted", wrapped)], search, DECOYS).false == 1
