"""Which identifiers beside a finding persist: known ones by their kind, others by coming back.

A value that a recipient got in two phases outlived what lies between them: a restart, a private window.
A value seen in one phase only may end with it and is not called persistent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from audit.assessment.phases import place_at
from audit.detection.identifiers import Companions, Key, Place
from audit.detection.scan import Scan
from audit.records import Canary, Experiment, Identifier

_LASTING = ("hardware_id", "account", "ad_id", "install_id", "identifier")


def merged(parts: Iterable[Companions]) -> Companions:
    """The companions of several captures of one experiment as one."""
    parts = list(parts)
    whole = Companions(frozenset().union(*(part.recipients for part in parts)))
    for part in parts:
        whole.transmissions |= part.transmissions
        whole.full |= part.full
        whole.hurried += part.hurried
        for where, place in part.places.items():
            mine = whole.places.setdefault(where, Place(place.kind))
            mine.overflown |= place.overflown
            for value, times in place.values.items():
                mine.values.setdefault(value, []).extend(times)
    return whole


Planted = Mapping[tuple[str, str], Mapping[str, Identifier]]


def planted(scans: Iterable[Scan], canaries: Iterable[Canary]) -> Planted:
    """The identifiers of the device that were given to be looked for, plain, coded or hashed: by
    transmission (capture, id), each by its canary."""
    values = {canary.id: canary.value for canary in canaries if canary.kind == "identifier"}
    found: dict[tuple[str, str], dict[str, Identifier]] = defaultdict(dict)
    for hit in (hit for scan in scans for hit in scan.hits if values):
        canary, place = hit.sighting.match.canary, f"{hit.sighting.channel} {hit.sighting.path}".strip()
        if canary in values:
            identifier = Identifier(name=place, value=values[canary], kind="identifier")
            found[hit.sent.capture, hit.sent.id].setdefault(canary, identifier)
    return found


class Persistent:
    """Answers which persistent identifiers went along with a transmission."""

    def __init__(
        self, companions: Companions, experiment: Experiment, planted: Planted | None = None
    ) -> None:
        self._companions = companions
        self._experiment = experiment
        self._planted = planted or {}

    def beside(
        self, recipient: Key, transmissions: Iterable[tuple[str, str]], *, but: str | None = None
    ) -> tuple[Identifier, ...]:
        """The persistent identifiers in these transmissions (capture, id) to that recipient, `but` that canary,
        which nothing but itself stands beside."""
        found: set[tuple[str, str, str]] = set()
        given: dict[str, Identifier] = {}
        for transmission in transmissions:
            given |= {
                canary: identifier
                for canary, identifier in self._planted.get(transmission, {}).items()
                if canary != but
            }
            for name, value in self._companions.transmissions.get(transmission, ()):
                place = self._companions.places.get((recipient, name))
                if place and not place.overflown and self._persists(place, value):
                    found.add((name, value, place.kind))
        told = {value for _, value, _ in found}
        found |= {(i.name, i.value, i.kind) for i in given.values() if i.value not in told}
        return tuple(Identifier(name=name, value=value, kind=kind) for name, value, kind in sorted(found))

    def _persists(self, place: Place, value: str) -> bool:
        if place.kind in _LASTING:
            return True
        phases = {place_at(self._experiment, time).phase for time in place.values.get(value, ())}
        return len(phases - {None}) >= 2
