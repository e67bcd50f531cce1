"""The world map: which countries received, as located by address, in numbers and as a drawing.

Outlines: Natural Earth (public domain), built into `world.json` by build_world.py. A country is where the
data sources locate an address; where they locate none, nothing is drawn and the table says unknown.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from audit.records import Audit
from audit.reporting.modes import kind
from audit.reporting.wording import country

_SCALE = 4  # path data is in quarters
_TOP, _BOTTOM = 0, 452  # nothing is drawn south of Cape Horn
_SMALL, _LARGE = 5.0, 15.0
_LABELS = 12


class Place(Struct, frozen=True, kw_only=True):
    """One country of the table. `code` of None: located nowhere."""

    code: str | None
    name: str
    recipients: int
    hosts: tuple[str, ...]
    transmissions: int
    bytes: int
    leaks: int
    elsewhere: int


class Spot(Struct, frozen=True, kw_only=True):
    """A circle on the map, and whether a leak went there."""

    x: float
    y: float
    r: float
    leak: bool
    label: str
    label_x: float
    end: bool


class World(Struct, frozen=True, kw_only=True):
    """The drawing: path data of land, of countries that received, of those that received leaks."""

    view: str
    land: str
    received: str
    leaked: str
    spots: tuple[Spot, ...]
    registered: tuple[tuple[float, float, float, float], ...]
    scale: int


def places(audit: Audit) -> tuple[Place, ...]:
    """The countries by leaks, then by bytes; what was located nowhere comes last."""
    leaks = {finding.id for finding in audit.findings if kind(finding) == "leak"}
    rows: dict[str | None, list[Any]] = {}
    for row in audit.recipients:
        rows.setdefault(row.recipient.country_located, []).append(row)
    made = [
        Place(
            code=code,
            name=country(code) if code else "located nowhere",
            recipients=len(here),
            hosts=tuple(sorted(row.recipient.host or row.recipient.ip or "unknown" for row in here)),
            transmissions=sum(sum(row.transmissions.values()) for row in here),
            bytes=sum(sum(row.bytes_up.values()) for row in here),
            leaks=sum(len(leaks & set(row.findings)) for row in here),
            elsewhere=sum(1 for row in here if row.recipient.country_registered not in {None, code}),
        )
        for code, here in rows.items()
    ]
    return tuple(
        sorted(made, key=lambda place: (place.code is None, -place.leaks, -place.bytes, place.code or ""))
    )


def world(audit: Audit, shown: tuple[Place, ...]) -> World | None:
    """The map; None where no recipient could be located."""
    data = _world()
    centres: dict[str, list[int]] = data["centres"]
    located = [place for place in shown if place.code in centres]
    if not located:
        return None
    shapes: dict[str, str] = data["shapes"]
    leaked = {place.code for place in located if place.leaks}
    received = {place.code for place in located} - leaked
    most = max(place.bytes for place in located) or 1
    spots = []
    for number, place in enumerate(located):
        x, y = centres[place.code or ""]
        radius = _SMALL + (_LARGE - _SMALL) * math.sqrt(place.bytes / most)
        end = x > data["width"] - 150
        spots.append(
            Spot(
                x=x,
                y=y,
                r=round(radius, 1),
                leak=bool(place.leaks),
                label=place.name.rpartition(" (")[0] if number < _LABELS else "",
                label_x=round(x - radius - 4 if end else x + radius + 4, 1),
                end=end,
            )
        )
    lines = {
        (row.recipient.country_located, row.recipient.country_registered)
        for row in audit.recipients
        if None not in {row.recipient.country_located, row.recipient.country_registered}
    }
    return World(
        view=f"0 {_TOP} {data['width']} {_BOTTOM}",
        land="".join(path for code, path in shapes.items() if code not in leaked | received),
        received="".join(shapes.get(code or "", "") for code in sorted(map(str, received))),
        leaked="".join(shapes.get(code or "", "") for code in sorted(map(str, leaked))),
        spots=tuple(sorted(spots, key=lambda spot: -spot.r)),
        registered=tuple(
            (centres[one][0], centres[one][1], centres[other][0], centres[other][1])
            for one, other in sorted(lines, key=str)
            if one and other and one != other and one in centres and other in centres
        ),
        scale=_SCALE,
    )


@cache
def _world() -> dict[str, Any]:
    text = Path(__file__).with_name("world.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
