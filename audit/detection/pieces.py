"""An address told in pieces: its host in one field, its path or its query in others of the same transmission.

The path may stand whole in a field or as a list of its segments, the query whole or as its parameters, each in a field
of its name. A piece counts only beside the host; what is joined says so. Nothing is decoded here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import unquote_to_bytes

from msgspec import structs

from audit.detection.addresses import Address
from audit.records import Field, Granularity, Match

_WITH_HOST = ("host", "no_query", "no_scheme", "full")
_OWN = ("url.host", "url.path")  # where every request to a site names it
_ITEM = re.compile(r"(.*)\[(\d+)\]")
_STEP = re.compile(r"([^.\[\]'\"]+)['\"]?\]?$")
_MIN_QUERY = 8
_MIN_VALUE = 4
_BEFORE, _AFTER = 48, 80


@dataclass(frozen=True)
class Sighting:
    """A match and where it was made. `excerpt` is the data around it, undecoded bytes escaped."""

    match: Match
    channel: str
    path: str
    layers: tuple[str, ...]
    excerpt: str


def excerpt(data: bytes, match: Match) -> str:
    """The match with some of what stands around it; the rest is cut and marked with an ellipsis."""
    start = max(0, match.offset - _BEFORE)
    end = min(len(data), match.offset + match.length + _AFTER)
    text = data[start:end].decode("utf-8", "backslashreplace")
    return ("…" if start else "") + text + ("…" if end < len(data) else "")


def wanted(sightings: Iterable[Sighting], addresses: Mapping[str, Address]) -> dict[str, Address]:
    """The canaries whose host was told beside other things and which have more that may stand in pieces."""
    told: dict[str, set[str]] = defaultdict(set)
    hosts = set()
    for sighting in sightings:
        match = sighting.match
        told[match.canary].add(match.part or match.granularity)
        if match.granularity in _WITH_HOST and sighting.channel not in _OWN:
            hosts.add(match.canary)
    return {
        canary: addresses[canary]
        for canary in sorted(hosts & addresses.keys())
        if told[canary].isdisjoint({"full", "no_scheme", "both"}) and _has_pieces(addresses[canary])
    }


def _has_pieces(address: Address) -> bool:
    return address.path.strip("/").count("/") > 0 or len(address.query) >= _MIN_QUERY


def may_hold(fields: Iterable[Field], address: Address) -> bool:
    """Whether the segments of this address, or the values of its parameters, all stand somewhere in the fields."""
    low = b"\n".join(field.data.lower() for field in fields)
    segments = _segments(address)
    values = _parameters(address).values()
    return (len(segments) > 1 and all(segment in low for segment in segments)) or (
        bool(values) and all(value in low for value in values)
    )


def spread(channel: str, fields: Iterable[Field], canary: str, address: Address) -> list[Sighting]:
    """Where the segments of an address stand in a list, one after another, and where its parameters stand each in
    a field of its name."""
    lists: dict[str, dict[int, Field]] = defaultdict(dict)
    named: dict[str, Field] = {}
    parameters = _parameters(address)
    for field in fields:
        item = _ITEM.fullmatch(field.path)
        if item:
            lists[item[1]][int(item[2])] = field
        step = _STEP.search(field.path)
        name = step[1].lower() if step else ""
        if name in parameters and field.data.lower() == parameters[name]:
            named[name] = field
    found = []
    segments = _segments(address)
    for items in lists.values() if len(segments) > 1 else ():
        for start in sorted(items):
            run = [items.get(start + step) for step in range(len(segments))]
            if all(f and f.data.lower().strip(b"/") == s for f, s in zip(run, segments, strict=True)):
                found.append(_piece(channel, [f for f in run if f], canary, "path", "/"))
    if parameters and named.keys() == parameters.keys():
        found.append(_piece(channel, [named[name] for name in parameters], canary, "query", "&"))
    return found


def _piece(
    channel: str, fields: list[Field], canary: str, part: Literal["path", "query"], joiner: str
) -> Sighting:
    last = fields[-1]
    match = Match(
        canary=canary, granularity="path", form="plain", offset=0, length=len(last.data), part=part, weak=True
    )
    text = joiner.join(field.data.decode("utf-8", "backslashreplace") for field in fields)
    return Sighting(match, channel, last.path, last.layers, text[: _BEFORE + _AFTER])


def _segments(address: Address) -> list[bytes]:
    return [unquote_to_bytes(segment).lower() for segment in address.path.strip("/").split("/")]


def _parameters(address: Address) -> dict[str, bytes]:
    """The parameters by which a page is told apart; none where they say too little. (Short ones, such as the number
    of a page, stand in everything.)"""
    if len(address.query) < _MIN_QUERY:
        return {}
    pairs = [pair.partition("=") for pair in address.query.split("&")]
    values = {name: unquote_to_bytes(value.replace("+", " ")).lower() for name, _, value in pairs}
    return {name: value for name, value in values.items() if name and len(value) >= _MIN_VALUE}


def join_pieces(sightings: list[Sighting], pathless: Collection[str] = ()) -> list[Sighting]:
    """Joins an address told in pieces: where one field holds a canary's host and others its path or its
    query, those are told as parts of the whole address, and marked `joined`. `pathless` are the canaries whose
    path is no more than a slash."""
    hosts = {s.match.canary for s in sightings if s.match.granularity in _WITH_HOST}
    sightings = [
        s for s in sightings if not s.match.weak or (s.match.canary in hosts and s.channel not in _OWN)
    ]
    parts: dict[str, set[str]] = defaultdict(set)
    for sighting in sightings:
        if sighting.match.part:
            parts[sighting.match.canary].add(sighting.match.part)
    return [
        _joined(sighting, parts[sighting.match.canary], sighting.match.canary in pathless)
        if sighting.match.part and sighting.match.canary in hosts
        else sighting
        for sighting in sightings
    ]


def _joined(sighting: Sighting, parts: set[str], pathless: bool) -> Sighting:
    whole = "both" in parts or {"path", "query"} <= parts or (pathless and "query" in parts)
    # a query without its path says which page it may have been, no more
    granularity: Granularity = "no_scheme" if whole else "no_query" if "path" in parts else "path"
    match = structs.replace(sighting.match, granularity=granularity)
    return replace(sighting, match=match, layers=(*sighting.layers, "joined"))
