"""Leak types: the table is that of the taxonomy, and circumstances raise a level as it says."""

from __future__ import annotations

import pytest

from audit.assessment.leak_types import leak_type, severity, table
from audit.records import Canary, CanaryKind, Granularity

SCORES = {
    "B1": 10, "S1": 10, "B2": 10, "S2": 9, "B3": 8, "B4": 8, "B5": 7, "B6": 6, "B7": 5, "I1": 6, "I2": 4, "P1": 4,
    "H1": 1, "D1": 1, "O1": 0,
}  # fmt: skip


def test_the_base_scores_are_those_of_the_taxonomy() -> None:
    known = {code: row.score for code, row in table().types.items()}
    assert {code: known[code] for code in SCORES} == SCORES
    # added by this project: an identifier planted by the auditor, and the use of the device
    assert known.keys() - SCORES.keys() == {"I3", "U1"}


def how(code: str, mode: str = "normal", setting: str = "default", **given: bool) -> str:
    circumstances = {"expected": False, "feature": False, "identified": False, **given}
    return severity(code, mode, setting, **circumstances)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (how("B1", "private", identified=True), "critical"),
        (how("S1", "private", identified=True), "critical"),
        (how("B1", "private"), "high"),
        (how("S1", "private"), "high"),
        (how("B1", identified=True), "high"),
        (how("S1", identified=True), "high"),
        (how("B1"), "medium"),
        (how("B6", identified=True), "medium"),
        (how("S2"), "medium"),
        (how("S2", feature=True), "low"),
        (how("B6"), "low"),
        (how("B1", feature=True), "low"),
        (how("B1", setting="opted-out"), "high"),
        (how("B1", "private", "opted-out"), "critical"),
        (how("H1", "private", identified=True), "info"),
        (how("D1", "private"), "info"),
        (how("B1", "private", identified=True, expected=True), "info"),
    ],
)
def test_circumstances_raise_and_features_lower_the_level(told: str, expected: str) -> None:
    assert told == expected


@pytest.mark.parametrize(
    ("kind", "granularity", "form", "channel", "code"),
    [
        ("url", "full", "plain", "body", "B1"),
        ("url", "no_scheme", "plain", "body", "B1"),
        ("url", "no_query", "plain", "body", "B3"),
        ("url", "path", "plain", "body", "B3"),
        ("url", "host", "plain", "body", "B6"),
        ("url", "registrable_domain", "plain", "body", "B6"),
        ("url", "full", "sha256", "body", "B5"),
        ("url", "host", "md5", "body", "B7"),
        ("url", "host", "plain", "dns", "D1"),
        ("url", "host", "plain", "sni", "D1"),
        ("term", "term", "plain", "url.query", "S1"),
        ("text", "term", "plain", "body", "S2"),
        ("title", "term", "plain", "body", "B3"),
        ("identifier", "term", "plain", "body", "I3"),
    ],
)
def test_the_type_follows_from_what_was_seen_and_where(
    kind: CanaryKind, granularity: Granularity, form: str, channel: str, code: str
) -> None:
    canary = Canary(
        id="c", kind=kind, value="https://n7-lantern.example/a/b?q=1" if kind == "url" else "marble otter"
    )
    assert leak_type(canary, granularity, form, channel, False) == code


def test_typing_is_a_type_of_its_own_wherever_it_is_seen() -> None:
    canary = Canary(id="c", kind="url", value="https://n7-lantern.example/")
    assert {leak_type(canary, "host", "plain", channel, True) for channel in ("body", "dns", "sni")} == {"S2"}
