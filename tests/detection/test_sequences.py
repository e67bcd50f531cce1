"""As-you-type sequences: two growing beginnings make one, a single beginning never does."""

from audit.detection.needles import Needles
from audit.detection.search import Typed
from audit.detection.sequences import PAUSE_SECONDS, Keystroke, sequences
from audit.records import Canary

NEEDLES = Needles(
    [
        Canary(id="n", kind="url", value="https://n7-lantern.example/a"),
        Canary(id="p", kind="url", value="https://p2-lantern.example/a"),
        Canary(id="t", kind="text", value="unsent pebble"),
    ]
)


def strokes(*texts: str, place: str = "x", gap: float = 0.1) -> list[Keystroke]:
    return [
        Keystroke(number * gap, number, (place,), Typed(prefix, "url.query", "q", ("form",), text))
        for number, text in enumerate(texts)
        for prefix in NEEDLES.prefix(text.encode())
    ]


def reached(found: list[Keystroke]) -> dict[str, tuple[int, int]]:
    return {s.canary: (s.reach, len(s.strokes)) for s in sequences(found, NEEDLES)}


def test_growing_beginnings_are_a_sequence_even_with_letters_skipped() -> None:
    assert reached(strokes("u", "uns", "unsent p")) == {"t": (8, 3)}


def test_a_shared_beginning_belongs_to_who_is_reached() -> None:
    assert reached(strokes("h", "https:/", "https://n7-la")) == {"n": (13, 3)}


def test_beginnings_that_fit_several_prove_nothing() -> None:
    assert reached(strokes("h", "https", "https://")) == {}


def test_one_beginning_is_no_sequence() -> None:
    assert reached(strokes("unsent p")) == {}
    assert reached(strokes("unsent p", "unsent p")) == {}


def test_letters_taken_back_do_not_end_it_and_a_pause_does() -> None:
    assert reached(strokes("unsent", "unse", "unsent pe")) == {"t": (9, 3)}
    assert reached(strokes("uns", "unsent", gap=PAUSE_SECONDS * 2)) == {}


def test_places_are_kept_apart() -> None:
    assert reached(strokes("unsent", place="x") + strokes("unsent pe", place="y")) == {}


def test_pages_that_begin_alike_are_not_typing() -> None:
    assert reached(strokes("https://n7-lantern.example", "https://n7-lantern.example/a")) == {}
