"""Plans: every value is used once, none begins another, and each phase has its own."""

from __future__ import annotations

import random
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audit.canaries import Outline, plan
from audit.detection.needles import Needles
from audit.experiment import carried_out, load, save


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_is_an_experiment_that_can_be_saved(seed: int, tmp_path: Path) -> None:
    made = plan(Outline(trials=3, settings=("default", "opted out")), random.Random(seed))
    save(made, tmp_path)
    assert load(tmp_path) == made
    Needles(made.canaries)


def test_each_phase_has_an_address_a_term_and_a_text_of_its_own() -> None:
    made = plan(Outline(trials=2, settings=("default", "opted-out")))
    for phase in made.phases:
        kinds = [canary.kind for canary in made.canaries if canary.phase == phase.id]
        assert kinds == ([] if phase.mode == "idle" else ["url", "term", "text"])
    assert sum(canary.decoy for canary in made.canaries) == 6
    used = {step.canary for step in made.steps} - {None}
    assert used == {canary.id for canary in made.canaries if not canary.decoy}


def test_no_word_is_used_twice() -> None:
    made = plan(Outline(trials=20), random.Random(7))
    words = [word for canary in made.canaries for word in re.findall(r"[a-z]{6}", _own(canary.value))]
    assert len(words) == len(set(words)) == 20 * 3 * (3 + 2 + 2)


def _own(value: str) -> str:
    return re.sub(r"^https|example", "", value)


def test_the_address_has_host_path_and_query() -> None:
    (url,) = (c for c in plan(Outline(domain="Audit.Test")).canaries if c.id == "private-1-url")
    parts = urlsplit(url.value)
    assert re.fullmatch(r"[a-z]{6}-[a-z0-9]{4}\.audit\.test", parts.netloc)
    assert len(parts.path) > 10
    assert len(parts.query) > 10


def test_every_second_trial_turns_the_modes_round() -> None:
    modes = [phase.mode for phase in plan(Outline(trials=2)).phases]
    assert modes == ["idle", "normal", "private", "idle", "private", "normal"]


def test_what_was_only_planned_is_not_carried_out() -> None:
    made = carried_out(plan(Outline()))
    assert made.phases == made.steps == ()
    assert made.canaries
