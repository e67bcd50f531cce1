"""Our records against another analyser's answers, capture by capture; every difference is explained.

A sample runs by default, all captures with `-m slow`. Where the shared corpus is absent the tests skip."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from audit.sources import BadCapture

from . import corpus

pytestmark = pytest.mark.skipif(not corpus.CORPUS.is_dir(), reason="the shared corpus is not there")
CAPTURES = corpus.captures() if corpus.CORPUS.is_dir() else []
SAMPLE = CAPTURES[::20]
MOST_SECONDS = 10


def found_in(capture: str) -> dict[str, corpus.Rows]:
    """All our rows of a capture; none of what payloads tell if there is no packet in it."""
    try:
        rows = corpus.ours(corpus.records(capture))
    except BadCapture:
        rows = {kind: Counter() for kind in corpus.KINDS}
    return {**rows, "dest": corpus.destinations(capture)}


def check(captures: list[str]) -> dict[str, list[float]]:
    """Fails on a difference nobody explained; returns for each kind the share of rows that agree."""
    known = corpus.explained()
    seen: set[tuple[str, str, str]] = set()
    agreement: dict[str, list[float]] = {kind: [] for kind in corpus.KINDS}
    for capture in captures:
        started = time.monotonic()
        mine = found_in(capture)
        assert time.monotonic() - started < MOST_SECONDS, f"{capture} took too long: it may hang"
        for kind in corpus.KINDS:
            theirs = corpus.truth(capture, kind)
            seen |= corpus.differences(capture, kind, mine[kind])
            union = sum((theirs | mine[kind]).values())
            agreement[kind].append(sum((theirs & mine[kind]).values()) / union if union else 1.0)
    expected = {row for row in known if row[0] in set(captures)}
    assert not seen - expected, f"not explained: {sorted(seen - expected)[:20]}"
    assert not expected - seen, f"explained, but no difference any more: {sorted(expected - seen)[:20]}"
    return agreement


def test_a_sample_agrees() -> None:
    check(SAMPLE)


@pytest.mark.slow
def test_all_captures_agree(record_property: pytest.RecordProperty) -> None:
    agreement = check(CAPTURES)
    for kind, shares in agreement.items():
        whole = sum(share == 1 for share in shares) / len(shares)
        record_property(kind, f"{whole:.4f} of the captures, {sum(shares) / len(shares):.4f} of their rows")
        assert whole >= 0.99, kind
        assert sum(shares) / len(shares) >= 0.995, kind


@pytest.mark.parametrize("capture", SAMPLE[::4])
def test_the_window_does_not_matter(capture: str) -> None:
    try:
        whole = corpus.records(capture)
    except BadCapture:
        return
    assert corpus.records(capture, 300) == whole


def test_every_explanation_says_who_is_right() -> None:
    for row, (why, right) in corpus.explained().items():
        assert why, row
        assert right in ("ours", "theirs", "both", "neither"), row
