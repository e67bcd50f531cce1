"""Marks in an experiment while it runs: which phase is on since when, and which steps were taken.

One change is one atomic write under a lock, so the command line, the control page and the proxy may all
mark at once. Nothing is ever moved in time: a phase that was marked late was late.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from msgspec.structs import replace

from audit.experiment import change
from audit.records import Experiment, Phase

Mark = Literal["idle", "normal", "private", "end"]
MARKS: tuple[Mark, ...] = get_args(Mark)
MAX_SETTING = 100


class BadMark(Exception):  # noqa: N818 - beside BadExperiment
    """A mark that cannot be made. `str()` is one line: what is wrong; what to do."""


def running(experiment: Experiment) -> Phase | None:
    """The phase that has begun and not ended."""
    return next((phase for phase in experiment.phases if phase.start and not phase.end), None)


def mark(folder: Path, what: Mark, setting: str | None = None, now: datetime | None = None) -> Phase | None:
    """Ends the running phase and begins another one, now; None after `end`.

    The next planned phase of this mode (and setting, if one is named) is taken; if there is none, a new
    one. Raises BadMark, BadExperiment.
    """
    if what not in MARKS:
        raise BadMark(f"{what}: is no mode; choose one of {', '.join(MARKS)}")
    if setting is not None and (not setting.strip() or len(setting) > MAX_SETTING):
        raise BadMark(f"the setting has to have 1 to {MAX_SETTING} characters")

    def marked(before: Experiment) -> Experiment:
        moment = _utc(now)  # when the lock is ours: marks are in the order of their times
        latest = max((t for p in before.phases for t in (p.start, p.end) if t), default=moment)
        if latest > moment:
            raise BadMark(f"a phase of this experiment lies in the future ({latest}); set the clock right")
        phases = [replace(p, end=moment) if p.start and not p.end else p for p in before.phases]
        if what != "end":
            fits = [
                n
                for n, p in enumerate(phases)
                if p.start is None and p.mode == what and setting in (None, p.setting)
            ]
            if fits:
                phases[fits[0]] = replace(phases[fits[0]], start=moment)
            else:
                name = _free_id(what, {phase.id for phase in phases})
                phases.append(Phase(id=name, mode=what, setting=setting or "default", start=moment))
        return replace(before, phases=tuple(phases))

    return running(change(folder, marked))


def tick(folder: Path, number: int, done: bool = True, now: datetime | None = None) -> Experiment:
    """Writes down that the step with this number (from 0) was taken now, or, if not `done`, that it was not.

    Raises BadMark where there is no such step or its phase is not the one that runs; BadExperiment.
    """
    moment = _utc(now)

    def ticked(before: Experiment) -> Experiment:
        if not 0 <= number < len(before.steps):
            raise BadMark(f"there is no step {number + 1}; reload the page")
        step = before.steps[number]
        phase = step_phase(before, number)
        on = running(before)
        if done and phase is not None and (on is None or on.id != phase):
            raise BadMark(f"step {number + 1} belongs to phase {phase}, which is not running; start it first")
        steps = list(before.steps)
        steps[number] = replace(step, at=moment if done else None)
        return replace(before, steps=tuple(steps))

    return change(folder, ticked)


def step_phase(experiment: Experiment, number: int) -> str | None:
    """The phase that a step is meant for."""
    step = experiment.steps[number]
    if step.canary is None:
        return step.phase
    return next((canary.phase for canary in experiment.canaries if canary.id == step.canary), step.phase)


def _utc(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).astimezone(UTC)


def _free_id(mode: str, taken: set[str]) -> str:
    return next(name for n in range(1, len(taken) + 2) if (name := f"{mode}-{n}") not in taken)
