"""Needles in fields: unfolds every channel of a transmission and tells each place once.

The layers of a field are nested, so a value that stands in a JSON string also stands in the text of the
JSON document. It is told at the innermost field only, where its path is known. An address told in
pieces (host in one field, path or query in another of the same transmission) is joined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from msgspec import structs

from audit.decoding import Bounds, Tree, may_hide, unfold
from audit.decoding.channels import Channel
from audit.detection.needles import Needles, Prefix
from audit.records import Field, Granularity, LimitHit, Match

_EXCERPT_BEFORE = 48
_EXCERPT_AFTER = 80
_MAX_MATCHES = 10_000
_ADDRESS_CHANNELS = ("url.host", "url.path", "url.query")
_WITH_HOST = ("host", "no_query", "no_scheme", "full")


@dataclass(frozen=True)
class Sighting:
    """A match and where it was made. `excerpt` is the data around it, undecoded bytes escaped."""

    match: Match
    channel: str
    path: str
    layers: tuple[str, ...]
    excerpt: str


@dataclass(frozen=True)
class Typed:
    """A field that holds the beginning of a canary and nothing else."""

    prefix: Prefix
    channel: str
    path: str
    layers: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Result:
    """What one transmission showed, and the bounds that were hit while looking."""

    sightings: tuple[Sighting, ...] = ()
    typed: tuple[Typed, ...] = ()
    limits: tuple[LimitHit, ...] = ()


_NOTHING = Result()


class Searcher:
    """Looks for the needles of a set of canaries in transmissions."""

    def __init__(self, needles: Needles, bounds: Bounds | None = None) -> None:
        self._needles = needles
        self._bounds = bounds or Bounds()

    def search(self, channels: Iterable[Channel]) -> Result:
        """Every place in these channels where a canary stands. Pure; raises nothing on any bytes."""
        sightings: list[Sighting] = []
        typed: list[Typed] = []
        limits: list[LimitHit] = []
        channels = list(channels)
        address = {c.name: c.data for c in channels if c.name in _ADDRESS_CHANNELS}
        own = _own_address(address, self._needles) if address else []
        itself = {s.match.canary for s in own}
        for channel in channels:
            if not channel.data:
                continue
            tree = unfold(channel.data, channel.hints, bounds=self._bounds, worth=self._worth)
            limits += tree.limits
            found = self._in_tree(channel.name, tree)
            if len(found) > _MAX_MATCHES:
                limits.append(LimitHit(bound="matches", detail=f"{channel.name}: {len(found)} matches"))
                found = found[:_MAX_MATCHES]
            if channel.name in _ADDRESS_CHANNELS:
                found = [s for s in found if s.match.canary not in itself]
            sightings += found
            typed += self._typed(channel.name, tree)
        if not (own or sightings or typed or limits):
            return _NOTHING
        return Result((*own, *join_pieces(sightings)), tuple(typed), tuple(limits))

    def _worth(self, data: bytes) -> bool:
        return may_hide(data) or self._needles.present(data)

    def _in_tree(self, channel: str, tree: Tree) -> list[Sighting]:
        per_field: list[list[Match]] = [self._needles.find(field.data) for field in tree.fields]
        if not any(per_field):
            return []
        told = _told_below(tree.fields, per_field)
        sightings: dict[tuple[object, ...], Sighting] = {}
        for index, matches in enumerate(per_field):
            field = tree.fields[index]
            for match in matches:
                if any(
                    offset is None or offset <= match.offset for offset in told[index].get(match.canary, ())
                ):
                    continue
                key = (field.path, field.layers, match.canary, match.form, match.offset)
                sightings.setdefault(
                    key, Sighting(match, channel, field.path, field.layers, excerpt(field.data, match))
                )
        return list(sightings.values())

    def _typed(self, channel: str, tree: Tree) -> list[Typed]:
        found: dict[tuple[str, tuple[str, ...], Prefix], Typed] = {}
        for field in tree.fields:
            for prefix in self._needles.prefix(field.data):
                text = field.data.decode("utf-8", "replace")
                found.setdefault(
                    (field.path, field.layers, prefix), Typed(prefix, channel, field.path, field.layers, text)
                )
        return sorted(found.values(), key=lambda t: (t.path, t.layers, t.prefix))


def _told_below(fields: list[Field], per_field: list[list[Match]]) -> list[dict[str, list[int | None]]]:
    """Per field: for each canary found in the fields below it, where those begin in this one."""
    below: list[dict[str, list[int | None]]] = [{} for _ in fields]
    for index in range(len(fields) - 1, 0, -1):
        parent = fields[index].parent
        if parent is None:
            continue
        for canary in {m.canary for m in per_field[index]} | below[index].keys():
            below[parent].setdefault(canary, []).append(fields[index].offset)
    return below


def excerpt(data: bytes, match: Match) -> str:
    """The match with some of what stands around it; the rest is cut and marked with an ellipsis."""
    start = max(0, match.offset - _EXCERPT_BEFORE)
    end = min(len(data), match.offset + match.length + _EXCERPT_AFTER)
    text = data[start:end].decode("utf-8", "backslashreplace")
    return ("…" if start else "") + text + ("…" if end < len(data) else "")


def join_pieces(sightings: list[Sighting]) -> list[Sighting]:
    """Joins an address told in pieces: where one field holds a canary's host and others its path or its
    query, those are told as parts of the whole address, and marked `joined`."""
    hosts = {s.match.canary for s in sightings if s.match.granularity in _WITH_HOST}
    parts: dict[str, set[str]] = defaultdict(set)
    for sighting in sightings:
        if sighting.match.part:
            parts[sighting.match.canary].add(sighting.match.part)
    return [
        _joined(sighting, parts[sighting.match.canary])
        if sighting.match.part and sighting.match.canary in hosts
        else sighting
        for sighting in sightings
    ]


def _joined(sighting: Sighting, parts: set[str]) -> Sighting:
    granularity: Granularity = "no_scheme" if {"path", "query"} <= parts else "no_query"
    match = structs.replace(sighting.match, granularity=granularity)
    return replace(sighting, match=match, layers=(*sighting.layers, "joined"))


def _own_address(channels: dict[str, bytes], needles: Needles) -> list[Sighting]:
    """The canaries that the request's own address is, told in the channel of its last part. (The
    scheme is known: it is that of the request.)"""
    host, path, query = (channels.get(name, b"") for name in _ADDRESS_CHANNELS)
    text = host + path + (b"?" + query if query else b"")
    found = []
    for match in needles.find(text):
        if match.offset >= len(host) or match.granularity not in ("no_query", "no_scheme", "full"):
            continue
        whole = match.granularity != "no_query"
        in_query = whole and match.offset + match.length > len(host) + len(path)
        told = structs.replace(match, granularity="full" if whole else "no_query", offset=0)
        channel = "url.query" if in_query else "url.path"
        found.append(Sighting(told, channel, "", (), excerpt(text, match)))
    return found
