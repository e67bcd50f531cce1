"""Text from the wire can do nothing: no control, no hidden reordering, no unbounded length."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from audit.reporting.wire import LIMIT, inert


def test_shows_what_would_be_invisible() -> None:
    assert inert("a\u202eb\u200bc\x00d") == "a‹U+202E›b‹U+200B›c‹U+0000›d"
    assert inert("two\nlines\t") == "two‹U+000A›lines‹U+0009›"
    assert inert("￾￿") == "‹U+FFFE›‹U+FFFF›"


def test_shows_bytes_that_are_no_text() -> None:
    assert inert(b"gr\xfc\xdfe") == r"gr\xfc\xdfe"
    assert inert("grüße".encode()) == "grüße"
    assert inert("\ud800") == "‹U+D800›"


def test_counts_what_it_cuts_off() -> None:
    assert inert("x" * 1_000_000, 10) == "xxxxxxxxxx … (+999,990 more)"
    assert inert("x" * 10, 10) == "x" * 10


def test_breaks_up_piles_of_marks() -> None:
    assert inert("e" + "\u0301" * 6) == "e" + "\u0301" * 4 + "‹U+0301›" * 2


@given(st.text() | st.binary())
def test_is_inert_whatever_comes(text: str | bytes) -> None:
    shown = inert(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    shown.encode()
    assert len(shown) <= LIMIT * len("‹U+10FFFF›") + 40


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=LIMIT))
def test_leaves_ordinary_text_alone(text: str) -> None:
    assert inert(text) == text
