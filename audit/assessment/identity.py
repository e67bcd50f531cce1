"""Which identifiers beside a finding persist: known ones by their kind, others by coming back.

A value that a recipient got in two phases outlived what lies between them: a restart, a private window.
A value seen in one phase only may end with it and is not called persistent.
"""

from __future__ import annotations

from collections.abc import Iterable

from audit.assessment.phases import place_at
from audit.detection.identifiers import Companions, Key, Place
from audit.records import Experiment, Identifier

_LASTING = ("hardware_id", "account", "ad_id", "install_id", "identifier")


def merged(parts: Iterable[Companions]) -> Companions:
    """The companions of several captures of one experiment as one."""
    parts = list(parts)
    whole = Companions(frozenset().union(*(part.recipients for part in parts)))
    for part in parts:
        whole.transmissions |= part.transmissions
        whole.full |= part.full
        for where, place in part.places.items():
            mine = whole.places.setdefault(where, Place(place.kind))
            mine.overflown |= place.overflown
            for value, times in place.values.items():
                mine.values.setdefault(value, []).extend(times)
    return whole


class Persistent:
    """Answers which persistent identifiers went along with a transmission."""

    def __init__(self, companions: Companions, experiment: Experiment) -> None:
        self._companions = companions
        self._experiment = experiment

    def beside(self, recipient: Key, transmissions: Iterable[tuple[str, str]]) -> tuple[Identifier, ...]:
        """The persistent identifiers in these transmissions (capture, id) to that recipient."""
        found: set[tuple[str, str, str]] = set()
        for transmission in transmissions:
            for name, value in self._companions.transmissions.get(transmission, ()):
                place = self._companions.places.get((recipient, name))
                if place and not place.overflown and self._persists(place, value):
                    found.add((name, value, place.kind))
        return tuple(Identifier(name=name, value=value, kind=kind) for name, value, kind in sorted(found))

    def _persists(self, place: Place, value: str) -> bool:
        if place.kind in _LASTING:
            return True
        phases = {place_at(self._experiment, time).phase for time in place.values.get(value, ())}
        return len(phases - {None}) >= 2
