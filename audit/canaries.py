"""Makes plans: planted values that exist nowhere else, decoys, and the steps to plant them by, in order.

Each value is used in one phase for one purpose, so that a hit says when and how it was entered. It must
never make a value twice, one that begins another, or one that a dictionary holds; it knows no clock and
writes no file. What a value is good for: docs/method.md; the file it ends up in: docs/experiment.md.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from audit.records import Canary, CanaryKind, Experiment, Phase, Step

PlannedMode = Literal["idle", "normal", "private"]
DOMAIN = "example"  # reserved for documentation (RFC 2606): no address of ours is anybody's
MAX_TRIALS = 50

_SYLLABLES = (
    ("bdfgklmnprstvz", "aeiou"),
    ("bdfgklmnprstvz", "aeio"),
    ("dfgklmnprstvz", "u"),
)  # no such words
_LETTERS, _DIGITS = "bcdfghjkmnpqrstvwxz", "23456789"  # none that looks like another
_KINDS: tuple[CanaryKind, ...] = ("url", "term", "text")


class Outline(Struct, frozen=True, kw_only=True):
    """What to plan: how often everything is repeated, in which modes and settings, and the domain whose
    hosts the planted addresses have (everything below it has to answer, or is answered by the proxy)."""

    trials: int = 1
    modes: tuple[PlannedMode, ...] = ("idle", "normal", "private")
    settings: tuple[str, ...] = ("default",)
    domain: str = DOMAIN


def plan(outline: Outline, chance: random.Random | None = None) -> Experiment:
    """A new experiment with phases, canaries, decoys and steps, none of which has a time yet.

    `chance` decides in tests; otherwise the system's own randomness does. Every second trial takes the
    modes in reverse order, so that what one phase leaves behind does not always fall into the same other.
    """
    source = _Source(chance or secrets.SystemRandom(), outline.domain)
    phases: list[Phase] = []
    canaries: list[Canary] = []
    steps: list[Step] = []
    for setting in outline.settings:
        for trial in range(1, outline.trials + 1):
            modes = outline.modes if trial % 2 else (*outline.modes[:1], *reversed(outline.modes[1:]))
            for mode in modes:
                suffix = "" if setting == outline.settings[0] else f"-{_slug(setting)}"
                phase = Phase(id=f"{mode}-{trial}{suffix}", mode=mode, setting=setting)
                mine = [] if mode == "idle" else source.canaries(f"{phase.id}-", phase.id)
                phases.append(phase)
                canaries += mine
                steps += _steps(phase, mine)
    for number in range(1, outline.trials + 1):
        canaries += source.canaries(f"decoy-{number}-", None)
    return Experiment(phases=tuple(phases), canaries=tuple(canaries), steps=tuple(steps))


def _slug(setting: str) -> str:
    return "-".join(part for part in "".join(c if c.isalnum() else " " for c in setting.lower()).split())


def _steps(phase: Phase, canaries: Sequence[Canary]) -> Iterator[Step]:
    """What is done in one phase. The waits matter: telemetry is sent in batches, often a minute late."""
    if phase.mode == "idle":
        yield Step(action="wait", phase=phase.id, note="10 minutes; the browser stays closed")
        return
    url, term, text = canaries
    window = "a private window" if phase.mode == "private" else "a normal window"
    yield Step(action="other", phase=phase.id, note=f"open the browser with {window}")
    yield Step(action="visit", canary=url.id, note="scan or type the whole address, then open it")
    yield Step(action="type_and_submit", canary=term.id, note="type into the address bar, then search")
    yield Step(action="type_only", canary=text.id, note="type into the address bar, delete it again")
    yield Step(action="wait", phase=phase.id, note="1 minute; then put the browser into the background")


class _Source:
    """Where values come from. None is given twice, and none begins another."""

    def __init__(self, chance: random.Random, domain: str) -> None:
        self._chance = chance
        self._domain = domain.strip(".").lower()
        self._given: set[str] = set()

    def canaries(self, prefix: str, phase: str | None) -> list[Canary]:
        """One value of each kind; decoys where there is no phase."""
        return [
            Canary(id=f"{prefix}{kind}", kind=kind, value=self._value(kind), phase=phase, decoy=phase is None)
            for kind in _KINDS
        ]

    def _value(self, kind: CanaryKind) -> str:
        if kind == "url":
            host = f"{self._word()}-{self._tag()}.{self._domain}"
            path, query = (
                f"{self._word()}/{self._tag()}{self._tag()}",
                f"{self._word()}={self._tag()}{self._tag()}",
            )
            return f"https://{host}/{path}?{query}"
        return f"{self._word()} {self._word()} {self._tag()}"

    def _word(self) -> str:
        """A word that can be said and typed and means nothing: three syllables."""
        word = "".join(self._pick(letters) for syllable in _SYLLABLES for letters in syllable)
        if word in self._given:
            return self._word()
        self._given.add(word)
        return word

    def _tag(self) -> str:
        """Four characters, letters and digits in turn."""
        return "".join(self._pick(_LETTERS if n % 2 == 0 else _DIGITS) for n in range(4))

    def _pick(self, letters: str) -> str:
        return self._chance.choice(letters)
