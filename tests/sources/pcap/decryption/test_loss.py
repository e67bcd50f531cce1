"""Packets lost and late, seeded: what survived is read, nothing comes out garbled, and every loss is a gap."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import pytest

from audit.records import AnyRecord, Gap, Http

from . import talks
from .quic_talks import Http3, Link
from .talks import Exchanged
from .wire import Wire

LOST, LATE = 0.01, 0.05
SEEDS = range(3)


class Asked(NamedTuple):
    """A request, and the packets that carried it."""

    exchanged: Exchanged
    packets: range


class Marking:
    """Speaks over a connection and remembers which packets each thing said by the client took."""

    def __init__(self, wire: Wire, say: talks.Say) -> None:
        self._wire, self._say = wire, say
        self.took: list[range] = []

    def __call__(self, data: bytes, up: bool) -> None:
        before = len(self._wire.packets)
        self._say(data, up)
        if up:
            self.took.append(range(before, len(self._wire.packets)))


def garbled(records: list[AnyRecord], said: list[Exchanged]) -> list[Http]:
    """Requests that were never asked, or whose bodies are not what was sent though no gap says so."""
    known = {(e.method, e.path): e for e in said}
    lossy = {r.flow for r in records if isinstance(r, Gap) and r.reason in ("lost", "malformed")}
    wrong = []
    for r in records:
        if not isinstance(r, Http) or (r.path == "" and r.method == ""):
            continue
        true = known.get((r.method, r.path))
        bodies = true and (
            talks.digest(r.body or b"") == true.sent
            and (r.status is None or talks.digest(r.response_body or b"") == true.answered)
        )
        if true is None or (not bodies and r.flow not in lossy):
            wrong.append(r)
    return wrong


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_http1(tmp_path: Path, seed: int, version: ssl.TLSVersion) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path, version=version)
    asked: list[Asked] = []
    for number in range(30):
        on = wire.tcp(40_000 + number)
        speak = Marking(wire, talks.say_over(talks.Pair(ends, on)))
        seen = talks.http1(speak, 1_000 * seed + number, 12, largest=20_000)
        asked += [Asked(*pair) for pair in zip(seen, speak.took, strict=True)]
        on.close()
    harmed = wire.harmed(seed, lost=LOST, late=LATE)
    records = talks.opened(harmed.write(tmp_path), tmp_path / "keys.log")
    there = set(harmed.packets)
    whole = [a for a in asked if all(wire.packets[number] in there for number in a.packets)]
    # before TLS 1.3 nothing at all can be derived without the ServerHello
    unsaid = {
        r.sport for r in records if isinstance(r, Gap) and r.detail == "its ServerHello was not recorded"
    }
    assert not unsaid or version is ssl.TLSVersion.TLSv1_2
    whole = [a for a in whole if 40_000 + int(a.exchanged.path.split("/")[1]) % 1_000 not in unsaid]
    told = {(r.method, r.path): r for r in records if isinstance(r, Http)}
    found = [
        a for a in whole
        if (r := told.get((a.exchanged.method, a.exchanged.path))) is not None
        and talks.digest(r.body or b"") == a.exchanged.sent
    ]  # fmt: skip
    assert len(whole) > 200
    assert len(found) >= 0.95 * len(whole)
    assert not garbled(records, [a.exchanged for a in asked])


@pytest.mark.parametrize("seed", SEEDS)
def test_http2(tmp_path: Path, seed: int) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path, alpn="h2")
    said: list[Exchanged] = []
    for number in range(30):
        on = wire.tcp(40_000 + number)
        pair = talks.Pair(ends, on)
        said += talks.http2(talks.say_over(pair), 1_000 * seed + number, 12, largest=8_000)
        on.close()
    harmed = wire.harmed(seed, lost=LOST, late=LATE)
    records = talks.opened(harmed.write(tmp_path), tmp_path / "keys.log")
    assert not garbled(records, said)
    named = {(r.method, r.path) for r in records if isinstance(r, Http)}
    assert len(named & {(e.method, e.path) for e in said}) > 0.7 * len(said)


@pytest.mark.parametrize("seed", SEEDS)
def test_http3(tmp_path: Path, seed: int) -> None:
    wire = Wire()
    said: list[Exchanged] = []
    for number in range(12):
        link = Link(wire, tmp_path)
        link.port = 50_000 + number
        http = Http3(link)
        http.begin()
        http.ask(1_000 * seed + number, 12, largest=6_000)
        said += http.seen
        log = link.log()
    harmed = wire.harmed(seed, lost=LOST, late=LATE)
    records = talks.opened(harmed.write(tmp_path), log)
    assert not garbled(records, said)
    named = {(r.method, r.path) for r in records if isinstance(r, Http)}
    assert len(named & {(e.method, e.path) for e in said}) > 0.7 * len(said)


def test_late_packets_cost_nothing(tmp_path: Path) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path)
    said: list[Exchanged] = []
    for number in range(5):
        said += talks.https(wire, ends, number, 12, 40_000 + number)
    records = talks.opened(wire.harmed(7, late=LATE).write(tmp_path), tmp_path / "keys.log")
    assert sorted(talks.exchanged(records)) == sorted(said)
    assert not [r for r in records if isinstance(r, Gap)]
