"""Which phase an occurrence belongs to, and how that is known.

A planted canary belongs to the phase it was planted in, whenever it arrives: telemetry is sent late.
Without one the event's own time stamp decides, else the time of arrival; where nothing tells, the mode is
unknown.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.experiment import mode_at, phase_of
from audit.records import Canary, Experiment, Mode, ModeBy, Phase


class Placing(NamedTuple):
    """Mode and setting of an occurrence, and what told them."""

    mode: Mode
    setting: str | None
    by: ModeBy
    phase: str | None


_UNKNOWN = Placing("unknown", None, "unknown", None)


def place(
    experiment: Experiment, canary: Canary, time: float | None, event_time: float | None = None
) -> Placing:
    """The phase of an occurrence of this canary that arrived at `time`, in an event that says of itself
    that it happened at `event_time` (both epoch seconds)."""
    own = phase_of(experiment, canary.id)
    if own:
        return _placed(own, "canary")
    return place_at(experiment, time, event_time)


def place_at(experiment: Experiment, time: float | None, event_time: float | None = None) -> Placing:
    """The phase in which something happened, or else arrived."""
    happened = mode_at(experiment, event_time) if event_time is not None else None
    if happened:
        return _placed(happened, "event_time")
    phase = mode_at(experiment, time) if time is not None else None
    return _placed(phase, "arrival") if phase else _UNKNOWN


def _placed(phase: Phase, by: ModeBy) -> Placing:
    return Placing(phase.mode, phase.setting, by, phase.id)
