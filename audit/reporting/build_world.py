"""Builds `world.json`: the outlines of the countries, small enough to lie in every report.

Input: `countries-50m.json` of the package world-atlas 2.0.2 on the npm registry (Natural Earth 4.1, 1:50
million, public domain; TopoJSON) and `codes.json` of the package i18n-iso-countries (numeric to alpha-2
codes). Borders are projected (Robinson: table of the 1974 paper, Rand McNally), thinned (Visvalingam and
Whyatt 1993, by area) once per shared arc, so that neighbours still fit, and rounded. Run:
`python -m audit.reporting.build_world countries-50m.json codes.json`.
"""

from __future__ import annotations

import heapq
import json
import sys
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 1000, 507
_SCALE = 4  # quarters of a unit
_LEAST = 0.55  # area of the triangle, in square units, below which a corner goes
_SMALLEST = 1.3  # area of a ring, in square units, below which an island goes
# Robinson's table for each 5 degrees of latitude: length of the parallel, distance from the equator
_PARALLELS = (
    1.0000, 0.9986, 0.9954, 0.9900, 0.9822, 0.9730, 0.9600, 0.9427, 0.9216, 0.8962, 0.8679, 0.8350, 0.7986,
    0.7597, 0.7186, 0.6732, 0.6213, 0.5722, 0.5322,
)  # fmt: skip
_DISTANCES = (
    0.0000, 0.0620, 0.1240, 0.1860, 0.2480, 0.3100, 0.3720, 0.4340, 0.4958, 0.5571, 0.6176, 0.6769, 0.7346,
    0.7903, 0.8435, 0.8936, 0.9394, 0.9761, 1.0000,
)  # fmt: skip
# what the numeric codes do not tell; source: names in the input
_WITHOUT_CODE = {"Kosovo": "XK"}
_LEFT_OUT = {"AQ"}  # takes a fifth of the picture and has no recipients
Point = tuple[float, float]


def project(longitude: float, latitude: float) -> Point:
    """Where a place lies in a picture of WIDTH × HEIGHT (Robinson, straight lines between the table's rows)."""
    at = min(abs(latitude), 90.0) / 5
    row = min(int(at), 17)
    part = at - row
    length = _PARALLELS[row] + (_PARALLELS[row + 1] - _PARALLELS[row]) * part
    distance = _DISTANCES[row] + (_DISTANCES[row + 1] - _DISTANCES[row]) * part
    x = WIDTH / 2 * (1 + length * longitude / 180)
    y = HEIGHT / 2 * (1 - distance * (1 if latitude >= 0 else -1))
    return x, y


def thinned(line: list[Point]) -> list[Point]:
    """The places whose triangle with their neighbours is large enough; the ends always stay."""
    points = [project(*place) for place in line]
    count = len(points)
    before, after = list(range(-1, count - 1)), list(range(1, count + 1))
    gone = [False] * count

    def area(i: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = points[before[i]], points[i], points[after[i]]
        return abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2

    queue = [(area(i), i) for i in range(1, count - 1)]
    heapq.heapify(queue)
    current = {i: size for size, i in queue}
    while queue and queue[0][0] < _LEAST:
        size, i = heapq.heappop(queue)
        if gone[i] or current[i] != size:
            continue
        gone[i] = True
        left, right = before[i], after[i]
        after[left], before[right] = right, left
        for j in (left, right):
            if 0 < j < count - 1:
                current[j] = max(size, area(j))
                heapq.heappush(queue, (current[j], j))
    return [place for place, out in zip(line, gone, strict=True) if not out]


def unrolled(line: list[Point]) -> list[Point]:
    """The same places with longitudes that never jump: what crosses the 180th meridian goes beyond it."""
    out = line[:1]
    for longitude, latitude in line[1:]:
        turns = round((out[-1][0] - longitude) / 360)
        out.append((longitude + 360 * turns, latitude))
    return out


def build(atlas: dict[str, Any], codes: list[list[str]]) -> dict[str, Any]:
    """Path data (SVG) by alpha-2 code, and for each country the point at which it is marked."""
    (sx, sy), (tx, ty) = atlas["transform"]["scale"], atlas["transform"]["translate"]
    arcs: list[list[Point]] = []
    whole: list[list[Point]] = []
    for arc in atlas["arcs"]:
        x = y = 0
        line = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            line.append((x * sx + tx, y * sy + ty))
        line = unrolled(line)
        whole.append(line)
        arcs.append(thinned(line))
    alpha = {row[2]: row[0] for row in codes}
    shapes: dict[str, list[str]] = {}
    centres: dict[str, tuple[float, Point]] = {}
    for country in atlas["objects"]["countries"]["geometries"]:
        code = alpha.get(str(country.get("id", "")).zfill(3)) or _WITHOUT_CODE.get(
            country["properties"]["name"]
        )
        code = code or "-"
        if code in _LEFT_OUT or "arcs" not in country:
            continue
        polygons = [country["arcs"]] if country["type"] == "Polygon" else country["arcs"]
        for polygon in polygons:
            size, middle = _measured(_ring(polygon[0], whole))
            if code not in centres or size > centres[code][0]:
                centres[code] = size, middle
            if size < _SMALLEST:
                continue
            for number, indices in enumerate(polygon):
                ring = _ring(indices, arcs)
                if number == 0 or _measured(ring)[0] >= _SMALLEST:
                    shapes.setdefault(code, []).append(_path(ring))
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "shapes": {code: "".join(paths) for code, paths in sorted(shapes.items())},
        "centres": {
            code: [round(x), round(y)] for code, (_, (x, y)) in sorted(centres.items()) if code != "-"
        },
    }


def _ring(indices: list[int], arcs: list[list[Point]]) -> list[Point]:
    ring: list[Point] = []
    for index in indices:
        line = arcs[index] if index >= 0 else arcs[~index][::-1]
        ring += line[1:] if ring else line
    places = unrolled(ring)
    # what lies at both ends of the map is drawn where it is larger
    turn = 360 * round(sum(longitude for longitude, _ in places) / len(places) / 360)
    return [project(longitude - turn, latitude) for longitude, latitude in places]


def _measured(ring: list[Point]) -> tuple[float, Point]:
    """The area of a ring and its centre of gravity."""
    area = x = y = 0.0
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        cross = ax * by - bx * ay
        area, x, y = area + cross, x + (ax + bx) * cross, y + (ay + by) * cross
    if not area:
        return 0.0, ring[0]
    return abs(area) / 2, (x / (3 * area), y / (3 * area))


def _path(ring: list[Point]) -> str:
    """A closed ring in relative steps of a quarter of a unit (the picture is scaled accordingly)."""
    points = [(round(x * _SCALE), round(y * _SCALE)) for x, y in ring]
    if points[0] == points[-1]:
        points.pop()
    (x, y), steps = points[0], []
    for px, py in points[1:]:
        if (px, py) != (x, y):
            steps.append(f"{px - x},{py - y}")
            x, y = px, py
    return f"M{points[0][0]},{points[0][1]}l{' '.join(steps)}z" if len(steps) > 1 else ""


def main() -> None:
    """Reads the two inputs, writes world.json beside this file."""
    atlas, codes = (json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:3])
    world = build(atlas, codes)
    target = Path(__file__).with_name("world.json")
    target.write_text(json.dumps(world, indent=0, sort_keys=True) + "\n", "utf-8")
    print(f"{len(world['shapes'])} countries, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
