"""Runs the audit over cases and innocent traffic, and counts what it found, missed and invented.

The system under test is the library's own road: channels of a record, then `Searcher.search`. A case
is found when its canary is sighted in the granularity in which it was sent, or a more telling one (for
hashes: by a digest); any other canary sighted there, and any
sighting in innocent traffic, is false. Nothing is asserted here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from audit.decoding.channels import channels
from audit.detection.needles import Needles
from audit.detection.search import Result, Searcher
from audit.records import AnyRecord, Canary
from tests.benchmarks.leakbench.cases import Case
from tests.benchmarks.leakbench.values import EXPECTED, at_least

Search = Callable[[AnyRecord], Result]


def searcher(canaries: Iterable[Canary]) -> Search:
    """The road of one transmission: its channels, searched."""
    found = Searcher(Needles(canaries))
    return lambda record: found.search(channels(record))


@dataclass
class Share:
    """So many of so many."""

    hit: int = 0
    of: int = 0

    @property
    def percent(self) -> float:
        return 100.0 * self.hit / self.of if self.of else 100.0


@dataclass
class Recall:
    """Recall by each of a case's properties. A value found only in part (its host, where the whole
    address was sent) is a miss, counted in `partly` by what was sent and what was told."""

    by: dict[str, dict[str, Share]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Share)))
    partly: Counter[tuple[str, str]] = field(default_factory=Counter)
    misses: list[Case] = field(default_factory=list)
    wrong: list[tuple[Case, str, str]] = field(default_factory=list)
    decoys: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> Share:
        return self.by["all"]["all"]


def recall(cases: Iterable[Case], search: Search, decoys: set[str]) -> Recall:
    """Searches every case."""
    result = Recall()
    for case in cases:
        try:
            sightings = search(case.record).sightings
        except Exception as error:
            result.failures.append((case.name, f"{type(error).__name__}: {error}"))
            sightings = ()
        told = {
            sighting.match.granularity
            for sighting in sightings
            if sighting.match.canary == case.canary and (sighting.match.form == "plain") == (not case.hash)
        }
        found = any(at_least(granularity, EXPECTED[case.granularity]) for granularity in told)
        _count(result, case, found)
        if told and not found:
            result.partly[case.granularity, "/".join(sorted(told))] += 1
        for sighting in sightings:
            if sighting.match.canary != case.canary:
                result.wrong.append((case, sighting.match.canary, sighting.match.form))
                result.decoys += sighting.match.canary in decoys
    return result


def _count(result: Recall, case: Case, hit: bool) -> None:
    rows = [
        ("all", "all"),
        ("depth", str(case.depth)),
        ("channel", case.channel),
        ("granularity", case.granularity),
    ]
    if case.coding:
        rows += [("coding", case.coding), ("coding and depth", f"{case.coding} @{case.depth}")]
    if case.hash:
        rows += [("hash", case.hash), ("digest", case.digest)]
    for group, key in rows:
        share = result.by[group][key]
        share.of += 1
        share.hit += hit
    if not hit:
        result.misses.append(case)


@dataclass
class Innocence:
    """What was reported in innocent traffic. `found` holds (sort, canary, form, excerpt)."""

    transmissions: int = 0
    false: int = 0
    decoys: int = 0
    limits: int = 0
    by_sort: Counter[str] = field(default_factory=Counter)
    found: list[tuple[str, str, str, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def per_thousand(self) -> float:
        return 1000.0 * self.false / max(1, self.transmissions)


def innocence(traffic: Iterable[tuple[str, AnyRecord]], search: Search, decoys: set[str]) -> Innocence:
    """Searches innocent traffic; a transmission with any sighting counts as one false positive."""
    result = Innocence()
    for sort, record in traffic:
        result.transmissions += 1
        try:
            answer = search(record)
        except Exception as error:
            result.failures.append((sort, f"{type(error).__name__}: {error}"))
            continue
        result.limits += bool(answer.limits)
        if answer.sightings:
            result.false += 1
            result.by_sort[sort] += 1
        for sighting in answer.sightings:
            result.decoys += sighting.match.canary in decoys
            told = f"{'>'.join(sighting.layers)} {sighting.path} {sighting.match.granularity}: {sighting.excerpt}"
            result.found.append((sort, sighting.match.canary, sighting.match.form, told))
    return result
