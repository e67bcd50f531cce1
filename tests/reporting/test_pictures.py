"""The pictures say what the tables say, and nothing where nothing is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from audit import reporting
from audit.reporting.build_world import HEIGHT, WIDTH, project, thinned, unrolled
from audit.reporting.masking import Masker
from audit.reporting.places import places, world
from audit.reporting.recurring import recurring
from audit.reporting.streams import streams
from audit.reporting.timeline import timeline
from tests.reporting import sample


def test_the_outlines_are_complete_and_lie_in_the_picture() -> None:
    data = json.loads(Path(reporting.__file__).with_name("world.json").read_text())
    assert len(data["shapes"]) > 170
    assert {"DE", "CN", "US", "SG", "HK", "RU", "XK"} <= set(data["centres"])
    assert all(re.fullmatch(r"(M-?\d+,-?\d+l[-\d, ]+z)+", path) for path in data["shapes"].values())
    x, y = data["centres"]["DE"]
    assert abs(x - project(10, 51)[0]) < 15
    assert abs(y - project(10, 51)[1]) < 15


def test_projection_and_thinning() -> None:
    assert project(0, 0) == (WIDTH / 2, HEIGHT / 2)
    assert project(180, 0)[0] == WIDTH
    line = [(each / 1000, 0.0) for each in range(1000)]
    assert thinned(line) == [line[0], line[-1]]
    assert unrolled([(179.0, 0.0), (-179.0, 0.0)]) == [(179.0, 0.0), (181.0, 0.0)]


def test_places_count_every_recipient_once() -> None:
    audit = sample.audit()
    rows = places(audit)
    assert sum(row.recipients for row in rows) == len(audit.recipients)
    assert [row.code for row in rows] == ["SG", "DE", None]
    assert rows[0].elsewhere == 1
    drawn = world(audit, rows)
    assert drawn
    assert [spot.leak for spot in drawn.spots if spot.label == "Singapore"] == [True]
    assert len(drawn.registered) == 1


def test_no_map_without_a_place() -> None:
    audit = sample.audit()
    nowhere = tuple(
        msgspec.structs.replace(
            row, recipient=msgspec.structs.replace(row.recipient, country_located=None)
        )
        for row in audit.recipients
    )  # fmt: skip
    audit = msgspec.structs.replace(audit, recipients=nowhere)
    assert world(audit, places(audit)) is None


def test_the_flow_picture_holds_every_leak() -> None:
    picture = streams(sample.audit())
    assert picture
    assert sum(row[-1] for row in picture.rows) == 7
    assert sum(node.count for node in picture.nodes) == 4 * 7
    assert {"Normal mode", "Private mode"} <= {node.label for node in picture.nodes}
    assert streams(msgspec.structs.replace(sample.audit(), findings=())) is None


def test_the_timeline_has_the_steps_and_zooms_to_them() -> None:
    audit = sample.audit()
    made = timeline(audit, Masker(audit))
    assert made
    assert len(made.zooms) == len(audit.experiment.steps)
    assert len(made.whole.steps) == len(audit.experiment.steps)
    assert {"leak", "expected", "sent"} <= {dot.sort for dot in made.whole.dots}
    assert all(190 <= dot.x <= 1000 for chart in (made.whole, *made.zooms) for dot in chart.dots)
    assert [event.time for event in made.events] == sorted(event.time for event in made.events)
    assert not [event for event in made.events if sample.INFERRED in event.value]


def test_an_identifier_in_both_modes_links_them() -> None:
    audit = sample.audit()
    (row,) = recurring(audit, Masker(audit))
    assert row.links
    assert row.modes == ("normal", "private")
    assert sample.DEVICE_ID not in row.value
    only = msgspec.structs.replace(audit, findings=tuple(f for f in audit.findings if f.mode == "private"))
    assert not recurring(only, Masker(only))[0].links
