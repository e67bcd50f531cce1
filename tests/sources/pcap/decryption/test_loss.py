"""Packets lost and late, seeded: what survived is read, nothing comes out garbled, and every loss is told.

A request counts as survived if all packets are there that carried it, that shook hands for its connection,
and, where headers are compressed, that carried entries of the header table before it. What an end did not have
to send (bare acknowledgements) is not asked for.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from audit.records import AnyRecord, Flow, Gap, Http, Message

from . import quic_talks, talks
from .quic_talks import Http3, Link
from .talks import Exchanged
from .wire import CLIENT, Wire

LOST, LATE = 0.01, 0.05
SEEDS = range(3)
_ENOUGH = 0.95
_DATA, _HEADERS = 0, 1
_RUN = 6  # bytes of a body by which its place is found again
Bodies = dict[str, bytes]


class Asked(NamedTuple):
    """A request, the port it came from, and the packets it needs."""

    exchanged: Exchanged
    port: int
    needs: set[bytes]


class Marking:
    """Speaks over a TLS connection; keeps what the client said and the packets that carried it."""

    def __init__(self, wire: Wire, pair: talks.Pair) -> None:
        self._wire, self._say = wire, talks.say_over(pair)
        self.said: list[tuple[bytes, set[bytes]]] = []

    def __call__(self, data: bytes, up: bool) -> None:
        before = len(self._wire.packets)
        self._say(data, up)
        if up:
            self.said.append((data, _carrying(self._wire.packets[before:])))


def _carrying(packets: list[bytes], client: bool = True) -> set[bytes]:
    """Those of a side's TCP packets that carry something."""
    return {one for one in packets if (one[12:16] == CLIENT) == client and len(one) > 40}


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """All bodies by their digests."""
    known: Bodies = {}
    plain = talks.digest

    def kept(body: bytes) -> str:
        name = plain(body)
        known[name] = body
        return name

    monkeypatch.setattr(talks, "digest", kept)
    monkeypatch.setattr(quic_talks, "digest", kept)
    return known


def check(records: list[AnyRecord], asked: list[Asked], harmed: Wire, bodies: Bodies, least: float) -> None:
    """What survived was read, and everything told was said."""
    there = set(harmed.packets)
    whole = [one for one in asked if one.needs <= there]
    assert least * len(asked) < len(whole) < len(asked)
    said = {(one.exchanged.method, one.exchanged.path): one for one in asked}
    # a request whose header refers to entries that were lost is told without what is not known of it
    told = {(r.method, r.path): r for r in records if isinstance(r, Http) and r.method and r.path}
    found = [
        one for one in whole
        if (r := told.get((one.exchanged.method, one.exchanged.path))) is not None
        and talks.digest(r.body or b"") == one.exchanged.sent
    ]  # fmt: skip
    assert len(found) >= _ENOUGH * len(whole)
    assert told.keys() <= said.keys()
    missing = {r.sport for r in records if isinstance(r, Gap) and r.reason in ("lost", "malformed", "no_key")}
    missing |= {r.sport for r in records if isinstance(r, Flow) and r.observability != "observed"}
    silent = {one.port for one in asked} - {r.sport for r in records if isinstance(r, Flow)}
    assert not silent
    for key, one in said.items():
        request, true = told.get(key), one.exchanged
        if request is None:
            assert one.port in missing
            continue
        assert request.host in ("made.example", "", None)
        for body, name in ((request.body, true.sent), (request.response_body, true.answered)):
            assert _left_of(body or b"", bodies[name])
            assert talks.digest(body or b"") == name or one.port in missing


def _left_of(piece: bytes, whole: bytes) -> bool:
    """Whether a body is what is left of another one from which pieces were taken or became zeros."""
    at = 0
    while len(piece := piece.lstrip(b"\0")) >= _RUN:
        at = whole.find(piece[:_RUN], at)
        if at < 0:
            return False
        pairs = zip(piece, whole[at:], strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(piece), len(whole) - at))
        piece, at = piece[same:], at + same
    return True


def test_what_is_left_of_a_body() -> None:
    whole = bytes(range(200))
    assert _left_of(whole[:50] + whole[80:], whole)
    assert not _left_of(whole[80:] + whole[:50], whole)
    assert _left_of(whole[:50] + bytes(20) + whole[80:], whole)
    assert not _left_of(whole[:50] + b"not of it" + whole[80:], whole)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_http1(tmp_path: Path, seed: int, version: ssl.TLSVersion, bodies: Bodies) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path, version=version)
    asked: list[Asked] = []
    for port in range(40_000, 40_030):
        on = wire.tcp(port)
        before = len(wire.packets)
        pair = talks.Pair(ends, on)
        # TLS 1.3 is opened without its hellos; before it nothing can be derived without the ServerHello
        hello = set() if version == ssl.TLSVersion.TLSv1_3 else {_server_hello(wire.packets[before:])}
        speak = Marking(wire, pair)
        seen = talks.http1(speak, 1_000 * seed + port, 12, largest=20_000)
        asked += [Asked(one, port, took | hello) for one, (_, took) in zip(seen, speak.said, strict=True)]
        on.close()
    harmed = wire.harmed(seed, lost=LOST, late=LATE)
    records = talks.opened(harmed.write(tmp_path), tmp_path / "keys.log")
    check(records, asked, harmed, bodies, 0.8)


def _server_hello(packets: list[bytes]) -> bytes:
    return next(one for one in packets if one[12:16] != CLIENT and one[40:41] == b"\x16")


@pytest.mark.parametrize("seed", SEEDS)
def test_http2(tmp_path: Path, seed: int, bodies: Bodies) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path, alpn="h2")
    asked: list[Asked] = []
    for port in range(40_000, 40_030):
        on = wire.tcp(port)
        before = len(wire.packets)
        pair = talks.Pair(ends, on)
        handshake = _carrying(wire.packets[before:]) | _carrying(wire.packets[before:], client=False)
        speak = Marking(wire, pair)
        seen = talks.http2(speak, 1_000 * seed + port, 12, largest=8_000)
        # the header table grows with each request, so those before it are needed, too
        table, own = set(handshake), {}
        for data, took in speak.said:
            for kind, stream in _frames(data):
                if kind == _HEADERS:
                    table |= took
                    own[stream] = set(table)
                elif kind == _DATA:
                    own[stream] |= took
        asked += [Asked(one, port, own[1 + 2 * number]) for number, one in enumerate(seen)]
        on.close()
    harmed = wire.harmed(seed, lost=LOST, late=LATE)
    records = talks.opened(harmed.write(tmp_path), tmp_path / "keys.log")
    check(records, asked, harmed, bodies, 0.5)


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Type and stream of each frame of HTTP/2 that was said at once."""
    at = len(_PREFACE) if data.startswith(_PREFACE) else 0
    while at < len(data):
        yield data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big")
        at += 9 + int.from_bytes(data[at : at + 3], "big")


@pytest.mark.parametrize("seed", SEEDS)
def test_http3(tmp_path: Path, seed: int, bodies: Bodies) -> None:
    wire = Wire()
    asked: list[Asked] = []
    for port in range(50_000, 50_012):
        before = len(wire.packets)
        link = Link(wire, tmp_path)
        link.port = port
        http = Http3(link)
        http.begin()
        handshake = set(wire.packets[before:])
        link.watched = []
        http.ask(1_000 * seed + port, 12, largest=6_000)
        log = link.log()
        table, own = set(handshake), {}
        for packet, streams in link.watched:
            if any(stream & 2 for stream in streams):  # of one direction: the table's, or the settings
                table.add(packet)
            for stream in streams:
                if not stream & 2:
                    own[stream] = own.get(stream, set()) | table | {packet}
        asked += [Asked(one, port, own[4 * number]) for number, one in enumerate(http.seen)]
    harmed = wire.harmed(seed, lost=LOST, late=LATE)
    records = talks.opened(harmed.write(tmp_path), log)
    check(records, asked, harmed, bodies, 0.5)


def _late_http1(wire: Wire, folder: Path) -> list[Exchanged]:
    ends = talks.contexts(folder)
    return [one for n in range(5) for one in talks.https(wire, ends, n, 12, 40_000 + n)]


def _late_http2(wire: Wire, folder: Path) -> list[Exchanged]:
    ends = talks.contexts(folder, alpn="h2")
    said: list[Exchanged] = []
    for number in range(5):
        on = wire.tcp(40_000 + number)
        said += talks.http2(talks.say_over(talks.Pair(ends, on)), number, 24, largest=20_000)
        on.close()
    return said


def _late_http3(wire: Wire, folder: Path) -> list[Exchanged]:
    said: list[Exchanged] = []
    for number in range(5):
        link = Link(wire, folder)
        link.port += number
        http = Http3(link)
        http.begin()
        http.ask(number, 24)
        link.log()
        said += http.seen
    return said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("talk", [_late_http1, _late_http2, _late_http3])
def test_late_packets_cost_nothing(
    tmp_path: Path, talk: Callable[[Wire, Path], list[Exchanged]], seed: int
) -> None:
    wire = Wire()
    said = talk(wire, tmp_path)
    records = talks.opened(wire.harmed(seed, late=LATE).write(tmp_path), tmp_path / "keys.log")
    assert sorted(talks.exchanged(records)) == sorted(said)
    assert not [r for r in records if isinstance(r, Gap)]


def _alone(folder: Path, version: ssl.TLSVersion) -> tuple[Wire, list[Exchanged]]:
    """Some requests of HTTP/1 over one connection."""
    wire = Wire()
    tcp = wire.tcp(40_001)
    pair = talks.Pair(talks.contexts(folder, version=version), tcp)
    said = talks.http1(talks.say_over(pair), 3, 6, 5_000)
    tcp.close()
    return wire, said


_VERSIONS = [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2]


@pytest.mark.parametrize("version", _VERSIONS)
def test_a_lost_beginning_shifts_no_response(tmp_path: Path, version: ssl.TLSVersion, bodies: Bodies) -> None:
    """Whatever is lost around the handshake and the first requests, what is told belongs together."""
    whole, said = _alone(tmp_path, version)
    answers = {(one.method, one.path): one.answered for one in said}
    told = 0
    for begin in range(3, 9):
        for end in range(begin + 1, begin + 8):
            harmed = Wire()
            harmed.packets = whole.packets[:begin] + whole.packets[end:]
            records = talks.opened(harmed.write(tmp_path), tmp_path / "keys.log")
            for r in records:
                if isinstance(r, Http) and r.status is not None:
                    told += 1
                    assert _left_of(r.response_body or b"", bodies[answers[r.method, r.path]]), (begin, end)
    assert told > 20


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("begin", [3, 0])
def test_a_connection_without_its_beginning_is_a_gap(
    tmp_path: Path, version: ssl.TLSVersion, begin: int
) -> None:
    """Both hellos are lost, or the connection is older than the capture."""
    whole, _ = _alone(tmp_path, version)
    harmed = Wire()
    harmed.packets = whole.packets[:begin] + whole.packets[5 if begin else 12 :]
    records = talks.opened(harmed.write(tmp_path), tmp_path / "keys.log")
    assert [gap.reason for gap in records if isinstance(gap, Gap)] == ["lost"]
    assert [flow.reason for flow in records if isinstance(flow, Flow)] == ["lost"]


def test_a_record_that_reads_like_text_by_chance_is_none(tmp_path: Path) -> None:
    wire = Wire()
    wire.tcp(50_000).send(b"\x17\x03\x03\0\x20" + b"like text by mere chance, often.", up=True)
    keys = tmp_path / "keys.log"
    keys.write_text(f"CLIENT_RANDOM {'ab' * 32} {'cd' * 48}\n")
    records = talks.opened(wire.write(tmp_path), keys)
    assert [flow.reason for flow in records if isinstance(flow, Flow)] == ["lost"]
    assert not [one for one in records if isinstance(one, Message)]


@pytest.mark.parametrize("version", _VERSIONS)
def test_late_hellos(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Both hellos are captured after the next few packets of both sides."""
    wire, said = _alone(tmp_path, version)
    hellos, rest = wire.packets[3:5], wire.packets[:3] + wire.packets[5:]
    for place in range(4, 9):
        late = Wire()
        late.packets = rest[:place] + hellos + rest[place:]
        records = talks.opened(late.write(tmp_path), tmp_path / "keys.log")
        assert talks.exchanged(records) == said, place


def test_a_record_that_the_end_of_the_capture_cuts(tmp_path: Path) -> None:
    wire, said = _alone(tmp_path, ssl.TLSVersion.TLSv1_3)
    full = [number for number, one in enumerate(wire.packets) if one[12:16] != CLIENT and len(one) > 1_400]
    wire.packets = wire.packets[: full[-1]]
    records = talks.opened(wire.write(tmp_path), tmp_path / "keys.log")
    assert len(talks.exchanged(records)) < len(said)
    (gap,) = [r for r in records if isinstance(r, Gap)]
    assert gap.reason == "lost"
    assert "at its end" in (gap.detail or "")


def test_a_quic_connection_without_its_first_packet_is_a_gap(tmp_path: Path) -> None:
    wire = Wire()
    link = Link(wire, tmp_path)
    http = Http3(link)
    http.begin()
    http.ask(5, 6)
    harmed = Wire()
    harmed.packets = wire.packets[1:]
    records = talks.opened(harmed.write(tmp_path), link.log())
    assert [gap.reason for gap in records if isinstance(gap, Gap)] == ["lost"]


def test_a_lost_packet_of_requests_is_a_gap(tmp_path: Path) -> None:
    """Of several whole requests in one QUIC packet nothing is left but their responses."""
    wire = Wire()
    link = Link(wire, tmp_path)
    http = Http3(link)
    http.begin()
    http.ask(5, 6)
    log = link.log()
    missed = 0
    for number, packet in enumerate(wire.packets):
        if packet[12:16] != CLIENT or packet[28] >= 0x80:
            continue
        harmed = Wire()
        harmed.packets = wire.packets[:number] + wire.packets[number + 1 :]
        records = talks.opened(harmed.write(tmp_path), log)
        if len([r for r in records if isinstance(r, Http)]) < len(http.seen):
            missed += 1
            assert [r for r in records if isinstance(r, Gap) and r.reason == "lost"], number
    assert missed
