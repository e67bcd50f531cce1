"""The timeline: steps above, transmissions below, over the whole experiment and zoomed to each step.

One lane for each recipient. A dot is a span in which something left (its size: how much), a mark in the
colour of a leak is an occurrence of a leak. The table behind it lists the same moments in words.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec import Struct

from audit.records import Audit, Finding
from audit.reporting.masking import Masker
from audit.reporting.modes import kind, recipient_name
from audit.reporting.wire import inert
from audit.reporting.wording import words

WIDTH = 1000
LEFT = 190.0
_TURN = 850.0  # from here on labels stand to the left of their line
_TOP, _LANE, _MOST_LANES = 58.0, 22.0, 14
_BEFORE, _AFTER = 1.0, 9.0  # seconds shown around a step
_ZOOMS, _EVENTS, _DOTS = 24, 400, 4_000
_SAID = {
    "type_and_submit": "typed and submitted",
    "type_only": "typed, not submitted",
    "paste": "pasted",
    "click": "clicked",
    "search": "searched",
    "visit": "visited",
    "download": "downloaded",
    "wait": "waited",
    "other": "did something else",
}


class Dot(Struct, frozen=True, kw_only=True):
    """One mark. `sort` is `sent`, `leak`, `expected` or `apart`."""

    x: float
    y: float
    r: float
    sort: str


class Tick(Struct, frozen=True, kw_only=True):
    """One step, or one mark of the axis. `row` keeps labels apart."""

    x: float
    label: str
    row: int = 0


class Chart(Struct, frozen=True, kw_only=True):
    """One picture: phases as bands (x, width, label, mode), steps, lanes (y, name), marks, axis."""

    title: str
    height: float
    bands: tuple[tuple[float, float, str, str], ...]
    steps: tuple[Tick, ...]
    lanes: tuple[tuple[float, str], ...]
    dots: tuple[Dot, ...]
    axis: tuple[Tick, ...]
    lanes_left_out: int


class Event(Struct, frozen=True, kw_only=True):
    """One row of the table: when, what, to whom; `link` names a finding."""

    time: str
    what: str
    value: str
    recipient: str
    mode: str
    sort: str
    link: str


class Move(NamedTuple):
    """When the occurrences of one finding left, in order, and to whom."""

    name: str
    sort: str
    times: list[float]


class Timeline(Struct, frozen=True, kw_only=True):
    """The whole, the zooms, and the table behind them."""

    whole: Chart
    zooms: tuple[Chart, ...]
    events: tuple[Event, ...]
    events_left_out: int
    zooms_left_out: int


def timeline(audit: Audit, masker: Masker) -> Timeline | None:
    """The timeline; None where no time is known."""
    moments = [
        each.timestamp() for phase in audit.experiment.phases for each in (phase.start, phase.end) if each
    ]
    moments += [step.at.timestamp() for step in audit.experiment.steps if step.at]
    seen = [each for row in audit.recipients if row.activity for each, _ in row.activity.counts]
    found = seen or [round(at) for finding in audit.findings for at in _times(finding)]
    moments += [min(found), max(found) + 1] if found else []
    if not moments:
        return None
    moves = [
        Move(name, sort if sort in {"leak", "expected"} else "apart", sorted(_times(finding)))
        for finding in audit.findings
        for name, sort in [(inert(recipient_name(finding), 60), kind(finding))]
    ]
    values = {canary.id: canary.value for canary in audit.experiment.canaries}
    steps = [(step.at.timestamp(), step) for step in audit.experiment.steps if step.at]
    steps.sort(key=lambda pair: pair[0])
    zooms = []
    for at, step in steps[:_ZOOMS]:
        value = inert(values.get(step.canary or "", masker.sentence(step.note)), 60)
        title = f"{_clock(at)} {_SAID[step.action]}" + (f": {value}" if value else "")
        zooms.append(_chart(audit, moves, at - _BEFORE, at + _AFTER, title, exact=True))
    events = _events(audit, masker, values)
    return Timeline(
        whole=_chart(audit, moves, min(moments), max(moments), "The whole experiment", exact=False),
        zooms=tuple(zooms),
        events=tuple(events[:_EVENTS]),
        events_left_out=max(0, len(events) - _EVENTS),
        zooms_left_out=max(0, len(steps) - _ZOOMS),
    )


def _chart(audit: Audit, moves: list[Move], start: float, end: float, title: str, *, exact: bool) -> Chart:
    span = max(end - start, 1.0)

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 16) * (min(max(at, start), end) - start) / span, 1)

    lanes: dict[str, int] = {}
    amounts: dict[str, list[tuple[float, int]]] = {}
    marks: dict[str, list[tuple[float, str]]] = {}
    for row in audit.recipients:
        who = row.recipient
        name = inert(who.organisation or who.registrable_domain or who.host or who.ip or "unknown", 60)
        for at, count in row.activity.counts if row.activity else ():
            middle = at + (row.activity.width / 2 if row.activity else 0)
            if start <= middle <= end:
                amounts.setdefault(name, []).append((middle, count))
    for name, sort, times in moves:
        here = times[bisect_left(times, start) : bisect_right(times, end)]
        if here:
            marks.setdefault(name, []).extend((at, sort) for at in here[:_DOTS])
    names = set(amounts) | set(marks)

    def rank(name: str) -> tuple[bool, int, str]:
        leaks = sum(1 for _, sort in marks.get(name, ()) if sort == "leak")
        return leaks == 0, -leaks - sum(count for _, count in amounts.get(name, ())), name

    for name in sorted(names, key=rank)[:_MOST_LANES]:
        lanes[name] = len(lanes)
    dots: dict[tuple[str, int, str], Dot] = {}
    for name, lane in lanes.items():
        y = _TOP + _LANE * lane + _LANE / 2
        for moment, count in amounts.get(name, ()):
            place = x(moment)
            radius = round(min(7.0, 1.8 + math.sqrt(count)), 1)
            known = dots.get((name, int(place), "sent"))
            if known is None or known.r < radius:
                dots[name, int(place), "sent"] = Dot(x=place, y=y, r=radius, sort="sent")
        for moment, how in marks.get(name, ()):
            dots[name, int(x(moment) * 2), how] = Dot(x=x(moment), y=y, r=3.2, sort=how)
    order = ("sent", "apart", "expected", "leak")
    bands = [
        (x(from_), round(x(to) - x(from_), 1), phase.id, phase.mode)
        for phase in audit.experiment.phases
        if phase.start
        for from_, to in [(phase.start.timestamp(), phase.end.timestamp() if phase.end else end)]
        if to > start and from_ < end
    ]
    steps = []
    taken = [LEFT, LEFT]  # how far to the right each row of labels reaches
    for step in sorted(audit.experiment.steps, key=lambda each: each.at.timestamp() if each.at else 0.0):
        if step.at and start <= step.at.timestamp() <= end:
            place, label = x(step.at.timestamp()), _SAID[step.action]
            width = 12 + 7 * len(label)
            left = place - width if place > _TURN else place
            row_ = next((number for number in (0, 1) if taken[number] <= left), None)
            if row_ is not None:
                taken[row_] = left + width
            steps.append(Tick(x=place, label=label if row_ is not None else "", row=row_ or 0))
    return Chart(
        title=title,
        height=_TOP + _LANE * len(lanes) + 26,
        bands=tuple((a, b, inert(c, 30), d) for a, b, c, d in bands),
        steps=tuple(steps),
        lanes=tuple((_TOP + _LANE * at + _LANE / 2, name) for name, at in lanes.items()),
        dots=tuple(sorted(dots.values(), key=lambda dot: (order.index(dot.sort), dot.y, dot.x))),
        axis=tuple(Tick(x=x(at), label=_offset(at - start - (_BEFORE if exact else 0))) for at in _ticks(start, end, exact)),
        lanes_left_out=max(0, len(names) - _MOST_LANES),
    )  # fmt: skip


def _ticks(start: float, end: float, exact: bool) -> list[float]:
    if exact:
        return [start + _BEFORE + each for each in (0, 3, 6, 9)]
    span = max(end - start, 1.0)
    width = next(
        (each for each in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400) if span / each <= 9),
        span / 8,
    )  # fmt: skip
    return [start + width * number for number in range(int(span // width) + 1)]


def _offset(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:+.0f} s" if seconds else "0 s"
    if seconds < 7200:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"
    return f"{seconds / 3600:.1f} h"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _times(finding: Finding) -> list[float]:
    out = []
    for each in finding.occurrences:
        if each.time:
            try:
                out.append(datetime.fromisoformat(each.time).timestamp())
            except (ValueError, OverflowError):
                continue
    return out


def _events(audit: Audit, masker: Masker, values: dict[str, str]) -> list[Event]:
    """Steps, and the first and last moment of each finding, in order of time."""
    events = [
        Event(
            time=step.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            what=_SAID[step.action],
            value=values.get(step.canary or "", ""),
            recipient="",
            mode="",
            sort="step",
            link="",
        )
        for step in audit.experiment.steps
        if step.at
    ]
    for finding in audit.findings:
        timed = [each.time for each in finding.occurrences if each.time]
        count = len(timed)
        for at, said in {0: "", count - 1: " (last)"}.items() if count > 1 else {0: ""}.items():
            if timed:
                events.append(
                    Event(
                        time=timed[at],
                        what=words(finding.leak_type).title + said,
                        value=values.get(
                            finding.canary or "",
                            masker.inferred(finding.inferred) if finding.inferred else "",
                        ),
                        recipient=recipient_name(finding),
                        mode=finding.mode,
                        sort=kind(finding),
                        link=masker.finding_id(finding),
                    )
                )
    return sorted(
        events, key=lambda event: (event.time, event.sort != "step", event.what, event.recipient, event.link)
    )
