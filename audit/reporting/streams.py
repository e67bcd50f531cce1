"""The flow picture: mode → data → recipient → country, as bands as wide as the number of leaks.

Only leaks are drawn; what is expected would hide them. Each band stands in the table behind the picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from audit.records import Audit, Finding
from audit.reporting.findings import severity_rank
from audit.reporting.modes import columns, kind, recipient_name
from audit.reporting.wire import inert
from audit.reporting.wording import country, words

WIDTH = 1000
_COLUMNS = 4
_NODE = 12
_LABEL = 150
_UNIT, _GAP, _MOST_UNITS = 26.0, 18.0, 420.0
_MOST_NODES = 9
_OTHERS = "others"


class Node(Struct, frozen=True, kw_only=True):
    """One bar with its label; `count` is of leaks."""

    x: float
    y: float
    height: float
    label: str
    count: int
    label_x: float
    end: bool


class Band(Struct, frozen=True, kw_only=True):
    """A band between two bars: its outline as path data, and its worst severity."""

    path: str
    severity: str


class Streams(Struct, frozen=True, kw_only=True):
    """The picture. `rows` are the table behind it: mode, data, recipient, country, leaks."""

    height: float
    nodes: tuple[Node, ...]
    bands: tuple[Band, ...]
    heads: tuple[tuple[float, bool, str], ...]
    rows: tuple[tuple[str, str, str, str, int], ...]


def streams(audit: Audit) -> Streams | None:
    """The picture of all leaks; None where there are none."""
    leaks = [finding for finding in audit.findings if kind(finding) == "leak"]
    if not leaks:
        return None
    labels = {(column.mode, column.setting or "default"): column.label for column in columns(audit)}
    steps: tuple[Callable[[Finding], str], ...] = (
        lambda f: labels.get((f.mode, f.setting or "default"), f.mode),
        lambda f: words(f.leak_type).title,
        lambda f: inert(recipient_name(f), 60),
        lambda f: country(f.recipient.country_located) if f.recipient.country_located else "Country unknown",
    )
    roads = [tuple(step(finding) for step in steps) for finding in leaks]
    rows = Counter(roads)
    kept = [
        {name for name, _ in sorted(Counter(road[at] for road in roads).items(), key=lambda p: (-p[1], p[0]))[
            : _MOST_NODES
        ]}
        for at in range(_COLUMNS)
    ]  # fmt: skip
    shown = [tuple(name if name in kept[at] else _OTHERS for at, name in enumerate(road)) for road in roads]
    rank = [severity_rank(finding.severity) for finding in leaks]
    unit = min(_UNIT, _MOST_UNITS / len(leaks))
    nodes: dict[tuple[int, str], list[float]] = {}
    height = 0.0
    for at in range(_COLUMNS):
        y = 30.0
        counts = Counter(road[at] for road in shown)
        order = dict.fromkeys(road[at] for road in sorted(shown, key=lambda r: r[: at + 1]))
        for name in sorted(order, key=lambda n: (n == _OTHERS, -counts[n], n)) if at else order:
            size = counts[name] * unit
            nodes[at, name] = [y, size, y, y]
            y += max(size, 14.0) + _GAP
        height = max(height, y)
    xs = [_LABEL + at * (WIDTH - 2 * _LABEL - _NODE) / (_COLUMNS - 1) for at in range(_COLUMNS)]
    bands = []
    for at in range(_COLUMNS - 1):
        pairs: dict[tuple[str, str], list[int]] = {}
        for number, road in enumerate(shown):
            pairs.setdefault((road[at], road[at + 1]), []).append(rank[number])
        places = [key[1] for key in nodes]
        for (left, right), ranks in sorted(
            pairs.items(), key=lambda p: (places.index(p[0][0]), places.index(p[0][1]))
        ):
            size = len(ranks) * unit
            one, other = nodes[at, left], nodes[at + 1, right]
            bands.append(
                Band(
                    path=_band(xs[at] + _NODE, one[3], xs[at + 1], other[2], size),
                    severity=("critical", "high", "medium", "low", "info")[min(ranks)],
                )
            )
            one[3] += size
            other[2] += size
    return Streams(
        height=round(height, 1),
        nodes=tuple(
            Node(
                x=round(xs[at], 1),
                y=round(place[0], 1),
                height=round(place[1], 1),
                label=name,
                count=sum(1 for road in shown if road[at] == name),
                label_x=round(xs[at] - 8 if at == 0 else xs[at] + _NODE + 8, 1),
                end=at == 0,
            )
            for (at, name), place in nodes.items()
        ),
        bands=tuple(bands),
        heads=tuple(
            (round(x - 8 if at == 0 else x, 1), at == 0, head)
            for at, (x, head) in enumerate(zip(xs, ("Mode", "Data", "Recipient", "Country"), strict=True))
        ),
        rows=tuple((*road, count) for road, count in sorted(rows.items())),  # type: ignore[misc]
    )


def _band(x0: float, y0: float, x1: float, y1: float, size: float) -> str:
    middle = (x0 + x1) / 2
    return (
        f"M{x0:.1f},{y0:.1f}C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}v{size:.1f}"
        f"C{middle:.1f},{y1 + size:.1f} {middle:.1f},{y0 + size:.1f} {x0:.1f},{y0 + size:.1f}z"
    )
