"""Marks: one atomic change each, whoever makes it, and never two phases at once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.canaries import Outline, plan
from audit.experiment import load, save
from audit.recording.marks import BadMark, mark, running, tick
from audit.records import Experiment

T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return T0 + timedelta(minutes=minutes)


def test_planned_phases_are_taken_in_order_then_new_ones_are_made(tmp_path: Path) -> None:
    save(plan(Outline(settings=("default", "opted-out"))), tmp_path)
    assert (first := mark(tmp_path, "private", now=at(0)))
    assert first.id == "private-1"
    assert (second := mark(tmp_path, "private", now=at(1)))
    assert (second.id, second.setting) == ("private-1-opted-out", "opted-out")
    assert (third := mark(tmp_path, "private", now=at(2)))
    assert third.id == "private-2"
    assert mark(tmp_path, "end", now=at(3)) is None
    begun = [phase for phase in load(tmp_path).phases if phase.start]
    assert [phase.end for phase in begun] == [at(1), at(2), at(3)]


def test_a_folder_without_a_plan_gets_phases(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert (phase := mark(folder, "normal", "opted-out", at(0)))
    assert (phase.id, phase.setting) == ("normal-1", "opted-out")
    assert running(load(folder)) == phase


def test_a_step_is_ticked_in_its_own_phase_only(tmp_path: Path) -> None:
    made = plan(Outline())
    save(made, tmp_path)
    number = next(n for n, step in enumerate(made.steps) if step.canary == "private-1-term")
    mark(tmp_path, "normal", now=at(0))
    with pytest.raises(BadMark, match="belongs to phase private-1"):
        tick(tmp_path, number, now=at(1))
    mark(tmp_path, "private", now=at(2))
    assert tick(tmp_path, number, now=at(3)).steps[number].at == at(3)
    assert tick(tmp_path, number, done=False).steps[number].at is None
    with pytest.raises(BadMark, match="no step"):
        tick(tmp_path, 99)


def test_a_clock_that_went_back_is_told(tmp_path: Path) -> None:
    mark(tmp_path, "normal", now=at(5))
    with pytest.raises(BadMark, match="future"):
        mark(tmp_path, "private", now=at(4))


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    save(Experiment(), tmp_path)
    script = (
        "import sys; from pathlib import Path; from audit.recording.marks import mark\n"
        "for _ in range(5): mark(Path(sys.argv[1]), 'normal')"
    )
    with ThreadPoolExecutor() as pool:
        done = pool.map(
            lambda _: subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, cwd=_ROOT),
            range(4),
        )
        assert [each.returncode for each in done] == [0] * 4
    phases = load(tmp_path).phases
    assert len(phases) == 20
    assert sum(phase.end is None for phase in phases) == 1


_ROOT = Path(__file__).resolve().parents[2]
