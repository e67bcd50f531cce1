"""A masked excerpt shows what was planted and hides the rest; equal values stay recognisable as equal."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.records import Canary
from audit.reporting.masking import MARK, Masker, Piece, variants
from tests.reporting import sample

MASKER = Masker(sample.audit())
UNMASKED = Masker(sample.audit(), unmask=True)


def shown(pieces: tuple[Piece, ...]) -> str:
    return "".join(piece.text for piece in pieces)


def hits(pieces: tuple[Piece, ...]) -> list[str]:
    return [piece.text for piece in pieces if piece.hit]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"q={quote_plus(sample.TERM)}&kl=us", ["marble+otter+h4q2"]),
        (f"u={quote(sample.URL, safe='')}&x=1", []),
        (f'{{"term":"{sample.TERM}"}}', [sample.TERM]),
        (sample.TERM.upper(), [sample.TERM.upper()]),
    ],
)
def test_marks_the_planted_value(text: str, expected: list[str]) -> None:
    assert hits(MASKER.excerpt(text, "n-term")) == expected


@pytest.mark.parametrize(
    "text",
    [
        sample.URL,
        quote(sample.URL, safe=""),
        "n7-lantern.example/reading/room7?note=violet-83",
        "n7-lantern.example",
    ],
)
def test_marks_an_address_in_any_part(text: str) -> None:
    assert hits(MASKER.excerpt(f"u={text}", "n-url")) == [text]


def test_another_planted_value_is_readable_but_no_hit() -> None:
    pieces = MASKER.excerpt(f"a={sample.TERM}", "n-url")
    assert shown(pieces) == f"a={sample.TERM}"
    assert hits(pieces) == []


def test_marks_what_was_typed_so_far_and_only_where_it_stands_alone() -> None:
    assert hits(MASKER.excerpt("q=marble+o&kl=xx", "n-term", typed=True)) == ["marble+o"]
    assert hits(MASKER.excerpt("q=m&tmp=3", "n-term", typed=True)) == ["m"]
    assert hits(MASKER.excerpt("q=marbles", "n-term", typed=True)) == []
    assert hits(MASKER.excerpt("q=m&tmp=3", "n-term")) == []


@pytest.mark.parametrize(
    "secret",
    [
        sample.COOKIE,
        sample.DEVICE_ID,
        sample.INFERRED,
        "anna.schmidt@mail.example",
        "Anna Schmidt",
        "356938035643809",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0",
        "dGhpcyBpcyBhIHNlY3JldA==",
        "a/b+c/d9QxZ/",
        "52.520008",
        "Müller",
        "ß" * 9,
    ],
)
@pytest.mark.parametrize(
    "frame", ["{}", "sid={}", '{{"name":"{}"}}', "Cookie: {}; x=1", "{}&q=marble+otter+h4q2", "[{}]"]
)
def test_hides_everything_else(secret: str, frame: str) -> None:
    text = shown(MASKER.excerpt(frame.format(secret), "n-term"))
    assert secret not in text
    assert MARK in text
    for word in secret.replace("/", " ").split():
        assert len(word) < 4 or word not in text


def test_keeps_what_makes_evidence_readable() -> None:
    text = f"GET https://suggest.search.example/ac/?q=marble&session_id={sample.COOKIE}"
    assert shown(MASKER.excerpt(text, "n-term", typed=True)).startswith(
        f"GET https://suggest.search.example/ac/?q=marble&session_id={MARK}"
    )
    json = shown(MASKER.excerpt('{"event":"x","flag":true,"none":null}', None))
    assert json.startswith(f'{{"event":"{MARK}')
    assert json.endswith('","flag":true,"none":null}')


def test_equal_values_have_equal_marks_in_one_audit_only() -> None:
    assert MASKER.mark("a") == MASKER.mark("a") != MASKER.mark("b")
    audit = sample.audit()
    later = msgspec.structs.replace(audit, run=msgspec.structs.replace(audit.run, seconds=1.234568))
    assert Masker(later).mark("a") != MASKER.mark("a")


def test_an_identifier_that_was_planted_is_readable() -> None:
    audit = sample.audit()
    planted = Canary(id="i", kind="identifier", value=sample.DEVICE_ID)
    experiment = msgspec.structs.replace(audit.experiment, canaries=(*audit.experiment.canaries, planted))
    masker = Masker(msgspec.structs.replace(audit, experiment=experiment))
    assert shown(masker.excerpt(f"id={sample.DEVICE_ID}", None)) == f"id={sample.DEVICE_ID}"


def test_sentences_paths_and_ids_keep_the_secret() -> None:
    assert sample.INFERRED not in MASKER.sentence(f"searched {sample.INFERRED} twice")
    assert MASKER.path("$.data_list[0].properties.$url") == "$.data_list[0].properties.$url"
    assert sample.DEVICE_ID not in MASKER.path(f"$.{sample.DEVICE_ID}.x")
    inferred = next(each for each in sample.findings() if each.inferred)
    assert inferred.id not in MASKER.finding_id(inferred)


def test_unmasked_shows_everything_and_still_marks() -> None:
    masker = Masker(sample.audit(), unmask=True)
    text = f"q=marble+otter+h4q2&sid={sample.COOKIE}"
    pieces = masker.excerpt(text, "n-term")
    assert shown(pieces) == text
    assert hits(pieces) == ["marble+otter+h4q2"]


def test_a_hash_of_a_planted_value_is_marked() -> None:
    digest = "3f0f6c0c3c3ea1a9"
    assert hits(MASKER.excerpt(digest, "n-term")) == []
    canary = next(each for each in sample.experiment().canaries if each.id == "n-term")
    assert hits(MASKER.excerpt(variants(canary)[0], "n-term"))


@given(st.text(max_size=200))
def test_any_text_passes_unmasked_and_masking_never_fails(text: str) -> None:
    assert shown(UNMASKED.excerpt(text, "n-term", typed=True)) == text
    MASKER.excerpt(text, "n-term", sample.INFERRED, typed=True)
    MASKER.path(text)


def test_no_part_of_an_inferred_visit_is_readable() -> None:
    audit = sample.audit()
    visit = "https://clinic.example/health/hiv-test?patient=anna"
    one = msgspec.structs.replace(audit.findings[0], canary=None, inferred=visit)
    masker = Masker(msgspec.structs.replace(audit, findings=(one,)))
    for text in (
        visit,
        "GET /health/hiv-test",
        "alth/hiv-test?pat",
        "https://clinic.example/health/",
        "/a/health",
    ):
        seen = shown(masker.excerpt(text, None, visit))
        assert not {word for word in ("health", "hiv", "clinic", "anna", "patient") if word in seen}, seen
    assert masker.inferred(visit).startswith(MARK)
