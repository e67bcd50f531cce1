"""As-you-type sequences: a typed value that leaves letter by letter, one transmission after another.

A recipient that gets `m`, `ma`, `marb` … in the same place has been told what was typed, submitted or
not. One beginning alone proves nothing: a sequence is two or more beginnings of different length in the
same place, of which the longest belongs to one canary only. Letters may be skipped; taking letters back
does not end it, a pause does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audit.detection.needles import Needles, unled
from audit.detection.search import Typed

# A person who pauses longer than this begins anew; the beginnings before and after still stand alone.
PAUSE_SECONDS = 120.0


@dataclass(frozen=True)
class Keystroke:
    """A beginning of a canary in one transmission. `place` tells recipients, channels and paths apart."""

    time: float
    order: int
    place: tuple[str, ...]
    typed: Typed


@dataclass(frozen=True)
class Sequence:
    """The keystrokes of one canary in one place, in order of time. `reach` is the longest beginning."""

    canary: str
    place: tuple[str, ...]
    strokes: tuple[Keystroke, ...]

    @property
    def reach(self) -> int:
        return max(stroke.typed.prefix.length for stroke in self.strokes)


def sequences(strokes: Iterable[Keystroke], needles: Needles) -> list[Sequence]:
    """All sequences among these keystrokes of the canaries of `needles`."""
    addresses = {canary.id for canary in needles.canaries if canary.kind == "url"}
    places: dict[tuple[str, tuple[str, ...]], list[Keystroke]] = defaultdict(list)
    for stroke in strokes:
        places[stroke.typed.prefix.canary, stroke.place].append(stroke)
    found = []
    for (canary, place), there in sorted(places.items()):
        needed = needles.distinct_length(canary)
        for run in _runs(sorted(there, key=lambda s: (s.time, s.order))):
            lengths = {stroke.typed.prefix.length for stroke in run}
            typed = canary not in addresses or any(needles.inside_word(s.typed.text) for s in run)
            longest = max(len(unled(stroke.typed.text.encode())) for stroke in run)
            if len(lengths) >= 2 and longest >= needed and typed:
                found.append(Sequence(canary, place, tuple(run)))
    return found


def _runs(strokes: list[Keystroke]) -> Iterator[list[Keystroke]]:
    run: list[Keystroke] = []
    for stroke in strokes:
        if run and stroke.time - run[-1].time > PAUSE_SECONDS:
            yield run
            run = []
        run.append(stroke)
    if run:
        yield run
