"""Needles in fields: unfolds every channel of a transmission and tells each place once.

The layers of a field are nested, so a value that stands in a JSON string also stands in the text of the
JSON document. It is told at the innermost field only, where its path is known. An address told in
pieces is joined (`pieces`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import inf
from typing import NamedTuple

from msgspec import structs

from audit.adapters import Adapter
from audit.decoding import Bounds, Tree, embedded, may_hide, unfold
from audit.decoding.channels import Channel
from audit.decoding.evidence import reads
from audit.decoding.keyed import Decoder
from audit.detection.beginnings import typed_values
from audit.detection.closed import Closed, closed
from audit.detection.digests import names_hash
from audit.detection.dull import Dull
from audit.detection.needles import SPECIFIC, Needles, Prefix
from audit.detection.opened import opened
from audit.detection.pieces import Sighting, excerpt, join_pieces, may_hold, spread, wanted
from audit.records import Field, LimitHit, Match

_MAX_MATCHES = 10_000
_REMEMBERED = 512
_ADDRESS_CHANNELS = ("url.host", "url.path", "url.query")


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
    """What one transmission showed, the bounds that were hit while looking, and what stayed closed."""

    sightings: tuple[Sighting, ...] = ()
    typed: tuple[Typed, ...] = ()
    limits: tuple[LimitHit, ...] = ()
    closed: tuple[Closed, ...] = ()


_NOTHING = Result()


class _AsItIs(NamedTuple):
    """A channel that is not worth taking apart."""

    fields: list[Field]
    typed: list[Typed]
    limits: list[LimitHit]


class Searcher:
    """Looks for the needles of a set of canaries in transmissions."""

    def __init__(self, needles: Needles, bounds: Bounds | None = None) -> None:
        self._needles = needles
        self._bounds = bounds or Bounds()
        self._identifiers = {canary.id for canary in needles.canaries if canary.kind == "identifier"}
        self._pathless = {name for name, page in needles.addresses.items() if page.path in ("", "/")}
        # most headers of a client are the same in all its requests
        self._remembered = lru_cache(1 << 12)(self._as_it_is)
        self._dull = Dull()

    def open(
        self, channels: Sequence[Channel], adapters: Iterable[Adapter] = (), decoders: Iterable[Decoder] = ()
    ) -> list[Tree]:
        """A tree for each of these channels, opened in full with what adapters and decoders know."""
        return opened(channels, adapters, decoders, bounds=self._bounds, sought=self._needles)

    def search(self, channels: Iterable[Channel], trees: Sequence[Tree] = ()) -> Result:
        """Every place in these channels where a canary stands. Pure; raises nothing on any bytes.

        trees: the channels opened in full, where that was done already; else only what is worth it is opened.
        """
        sightings: list[Sighting] = []
        typed: list[Typed] = []
        limits: list[LimitHit] = []
        stayed: list[Closed] = []
        channels = list(channels)
        address = {c.name: c.data for c in channels if c.name in _ADDRESS_CHANNELS}
        own = _own_address(address, self._needles) if address else []
        itself = {s.match.canary for s in own}
        texts: list[tuple[Channel, list[Field]]] = []
        for number, channel in enumerate(channels):
            if not channel.data:
                continue
            look = self._remembered if len(channel.data) <= _REMEMBERED else self._as_it_is
            if trees:
                tree = trees[number]
            elif whole := look(channel):
                texts.append((channel, whole.fields))
                typed += whole.typed
                limits += whole.limits
                continue
            else:
                tree = unfold(
                    channel.data, channel.hints, bounds=self._bounds, sought=self._needles, sparing=True,
                    dull=self._dull,
                )  # fmt: skip
            texts.append((channel, tree.fields))
            limits += tree.limits
            opaque = closed(channel.name, tree)
            stayed += opaque
            found = self._in_tree(channel.name, tree)
            if len(found) > _MAX_MATCHES:
                limits.append(LimitHit(bound="matches", detail=f"{channel.name}: {len(found)} matches"))
                found = found[:_MAX_MATCHES]
            begun = self._typed(channel, tree.fields, limits)
            # (what a request tells its own site is no news there, but may be elsewhere)
            if not (trees or found or begun or opaque or tree.limits):
                self._dull.learn(tree)
            if channel.name in _ADDRESS_CHANNELS:
                found = [s for s in found if s.match.canary not in itself]
            sightings += found
            typed += begun
        if not (own or sightings or typed or limits or stayed):
            return _NOTHING
        if sightings:
            elsewhere = [s for s in sightings if s.match.canary not in itself]
            pieces = self._in_pieces(elsewhere, texts, opened_in_full=bool(trees))
            sightings = join_pieces(sightings + pieces, self._pathless)
        return Result((*own, *sightings), tuple(typed), tuple(limits), tuple(stayed))

    def _as_it_is(self, channel: Channel) -> _AsItIs | None:
        """A channel that need not be taken apart, as nothing was ever encoded in it; None if it must be."""
        data = channel.data
        if (channel.hints and not _plain(data)) or names_hash(channel.name):
            return None
        rest = self._dull.left_out(data)
        if may_hide(rest) or not reads(rest) or self._needles.traced(data):
            return None
        limits: list[LimitHit] = []
        fields = [Field(path="", layers=(), data=data)]
        return _AsItIs(fields, self._typed(channel, fields, limits), limits)

    def _in_tree(self, channel: str, tree: Tree) -> list[Sighting]:
        # where only the text in the midst of bytes was read, the rest stayed closed
        partly = {field.parent for field in tree.fields if field.layers[-1:] == (embedded.NAME,)}
        per_field: list[list[Match]] = [
            self._needles.find(field.data, field.path or channel, closed=field.opaque or index in partly)
            for index, field in enumerate(tree.fields)
        ]
        if not any(per_field):
            return []
        per_field = [self._not_turned(*one) for one in zip(tree.fields, per_field, strict=True)]
        ranks = [
            [SPECIFIC.index(match.granularity) + self._is_raw(field.data, match) / 2 for match in matches]
            for field, matches in zip(tree.fields, per_field, strict=True)
        ]
        silent = _told_elsewhere(tree.fields, per_field, ranks)
        return [
            Sighting(match, channel, field.path, _layers(field, match), excerpt(field.data, match))
            for index, (field, matches) in enumerate(zip(tree.fields, per_field, strict=True))
            for number, match in enumerate(matches)
            if (index, number) not in silent
        ]

    def _is_raw(self, data: bytes, match: Match) -> bool:
        """Whether an identifier stands there as bytes: what was written in letters tells it as well, and without
        one more layer."""
        found = data[match.offset : match.offset + match.length]
        plain = match.form == "plain" and not match.written
        return plain and match.canary in self._identifiers and not found.isascii()

    def _not_turned(self, field: Field, matches: list[Match]) -> list[Match]:
        """The matches without those of bytes read backwards: these are looked for in both orders anyway."""
        if field.layers[-1:] != ("reversed",):
            return matches
        return [match for match in matches if not self._is_raw(field.data, match)]

    def _in_pieces(
        self, sightings: list[Sighting], texts: list[tuple[Channel, list[Field]]], *, opened_in_full: bool
    ) -> list[Sighting]:
        """The segments and parameters of addresses whose host was told. What was not worth taking apart before is
        now, where all of them stand in it."""
        found: list[Sighting] = []
        for canary, address in wanted(sightings, self._needles.addresses).items():
            for channel, fields in texts:
                if not opened_in_full and (self._stayed_dull(channel, fields) or may_hold(fields, address)):
                    fields = unfold(channel.data, channel.hints, bounds=self._bounds).fields
                if may_hold(fields, address):
                    found += spread(channel.name, fields, canary, address)
        return found

    def _stayed_dull(self, channel: Channel, fields: list[Field]) -> bool:
        """Whether something was left closed that may hold a piece, which means nothing alone."""
        return self._dull.stands_in(channel.data) or any(field.data in self._dull for field in fields)

    def _typed(self, channel: Channel, fields: list[Field], limits: list[LimitHit]) -> list[Typed]:
        found: dict[tuple[str, tuple[str, ...], Prefix], Typed] = {}
        for path, layers, data in typed_values(channel, fields, limits):
            for prefix in self._needles.prefix(data):
                text = data.decode("utf-8", "replace")
                found.setdefault((path, layers, prefix), Typed(prefix, channel.name, path, layers, text))
            for layer, text, prefix in self._needles.coded_prefix(data):
                inner = (*layers, layer)
                found.setdefault((path, inner, prefix), Typed(prefix, channel.name, path, inner, text))
        return sorted(found.values(), key=lambda t: (t.path, t.layers, t.prefix))


def _plain(data: bytes) -> bool:
    """Whether unfolding, too, would ask first if it is worth it."""
    return len(data) >= 64 and data.isascii()


def _layers(field: Field, match: Match) -> tuple[str, ...]:
    return (*field.layers, match.written) if match.written else field.layers


def _told_elsewhere(
    fields: list[Field], per_field: list[list[Match]], ranks: list[list[float]]
) -> set[tuple[int, int]]:
    """The matches (field, number) of values that are told better in another field.

    A match in a field is told better below it, where the part it stands in was opened and what was found
    there ranks as high (`ranks`, the lower the better). Parts that overlap are readings of the same bytes: of those, the one with the most specific match tells it, and
    among equals the shortest part, which has the narrower path.
    """
    below: list[dict[str, list[int]]] = [{} for _ in fields]
    best: list[dict[str, float]] = [{} for _ in fields]
    mute: list[set[str]] = [set() for _ in fields]
    for index in range(len(fields) - 1, -1, -1):
        for match, rank in zip(per_field[index], ranks[index], strict=True):
            best[index][match.canary] = min(rank, best[index].get(match.canary, rank))
        for canary, children in below[index].items():
            _mute_readings(canary, children, fields, best, mute)
            top = min(best[child][canary] for child in children)
            best[index][canary] = min(top, best[index].get(canary, top))
        parent = fields[index].parent
        if parent is not None:
            for canary in best[index]:
                below[parent].setdefault(canary, []).append(index)
    silent: set[tuple[int, int]] = set()
    for index, field in enumerate(fields):
        if field.parent is not None:
            mute[index] |= mute[field.parent]
        parts = {canary: Parts(fields, children) for canary, children in below[index].items()}
        for number, match in enumerate(per_field[index]):
            canary, rank = match.canary, ranks[index][number]
            inside = parts[canary].holding(match.offset) if canary in parts else []
            better = any(best[child][canary] <= rank for child in inside)
            if canary in mute[index] or better:
                silent.add((index, number))
            else:
                # a part of the value that was opened by itself tells less than the whole
                for child in inside:
                    mute[child].add(canary)
    return silent


def _mute_readings(
    canary: str, children: list[int], fields: list[Field], best: list[dict[str, float]], mute: list[set[str]]
) -> None:
    starts: list[int] = []  # of the parts kept, none of which overlaps another
    ends: list[int] = []
    for child in sorted(children, key=lambda c: (best[c][canary], fields[c].length or 0, c)):
        start, length = fields[child].offset, fields[child].length
        if start is None or length is None:
            continue  # which bytes it was opened from is not known
        at = bisect_left(starts, start + length)
        if at and ends[at - 1] > start:
            mute[child].add(canary)
        else:
            starts.insert(at, start)
            ends.insert(at, start + length)


class Parts:
    """The parts of a field that its children were opened from, to ask which of them hold a place."""

    def __init__(self, fields: list[Field], children: list[int]) -> None:
        self._anywhere = [child for child in children if fields[child].offset is None]
        spans = sorted(
            (field.offset, field.offset + (inf if field.length is None else field.length), child)
            for child, field in ((child, fields[child]) for child in children)
            if field.offset is not None
        )
        self._spans = spans
        self._starts = [start for start, _, _ in spans]
        # how far the parts reach that begin up to here
        self._reach = list(accumulate((end for _, end, _ in spans), max))

    def holding(self, offset: int) -> list[int]:
        """The children that what stands at this place of the field may have been opened into."""
        found = list(self._anywhere)
        at = bisect_right(self._starts, offset)
        while at and self._reach[at - 1] > offset:
            at -= 1
            if self._spans[at][1] > offset:
                found.append(self._spans[at][2])
        return found


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
