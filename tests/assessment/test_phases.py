"""The phase of an occurrence: that of its canary, else of the event's own time, else of its arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from audit.assessment.phases import place, place_at
from audit.records import Canary, Experiment, Phase

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
BOUND = Canary(id="n-url", kind="url", value="https://n4-harbour.example/", phase="n1")
FREE = Canary(id="given-1", kind="term", value="marble otter")


def at(minute: float) -> float:
    return (START + timedelta(minutes=minute)).timestamp()


EXPERIMENT = Experiment(
    phases=(
        Phase(id="n1", mode="normal", start=START, end=START + timedelta(minutes=9)),
        Phase(id="p1", mode="private", setting="opted-out", start=START + timedelta(minutes=10)),
        Phase(id="later", mode="idle"),
    ),
    canaries=(BOUND, FREE),
)


@pytest.mark.parametrize(
    ("canary", "time", "event_time", "told"),
    [
        (BOUND, at(12), at(13), ("normal", "default", "canary", "n1")),  # sent late
        (BOUND, None, None, ("normal", "default", "canary", "n1")),
        (FREE, at(12), at(1), ("normal", "default", "event_time", "n1")),
        (FREE, at(12), at(9.5), ("private", "opted-out", "arrival", "p1")),  # the event was in no phase
        (FREE, at(12), None, ("private", "opted-out", "arrival", "p1")),
        (FREE, None, at(1), ("normal", "default", "event_time", "n1")),
        (FREE, at(9), None, ("unknown", None, "unknown", None)),  # an end is no longer in its phase
        (FREE, at(-1), None, ("unknown", None, "unknown", None)),
        (FREE, None, None, ("unknown", None, "unknown", None)),
    ],
)
def test_what_tells_the_phase(
    canary: Canary, time: float | None, event_time: float | None, told: tuple[str | None, ...]
) -> None:
    assert place(EXPERIMENT, canary, time, event_time) == told
    if canary is FREE:
        assert place_at(EXPERIMENT, time, event_time) == told


def test_without_phases_nothing_is_known() -> None:
    assert place(Experiment(), FREE, at(1)) == ("unknown", None, "unknown", None)
