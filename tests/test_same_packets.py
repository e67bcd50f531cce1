"""The same packets give the same findings, whatever the window, the number of processes, the order of the captures,
the order in which segments came, and the format of the file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from audit import pipeline
from audit.records import Audit, Canary, Device, Experiment
from audit.sources import Wanted, read
from tests.sources.pcap import craft
from tests.sources.pcap.test_files import snoop

CANARY = Canary(id="c1", kind="term", value="lumbago remedies 4711")
EXPERIMENT = Experiment(canaries=(CANARY,), device=Device(addresses=(craft.PHONE,)))
SOUGHT = CANARY.value.replace(" ", "+").encode()


def connection(number: int) -> list[bytes]:
    """A request that tells the canary in its address and in its body, cut into small segments."""
    body = b'{"typed":"' + CANARY.value.encode() + b'"}'
    head = b"POST /p?q=" + SOUGHT + b" HTTP/1.1\r\nHost: t%d.example\r\nContent-Length: %d\r\n\r\n"
    data = head % (number, len(body)) + body
    sport = 40_000 + number
    packets = [craft.tcp(b"", 0, flags="S", sport=sport)]
    packets += [craft.tcp(data[at : at + 40], 1 + at, sport=sport) for at in range(0, len(data), 40)]
    return packets


PACKETS = [packet for number in range(12) for packet in connection(number)]


def audit(*paths: Path) -> Audit:
    return pipeline.analyze([pipeline.Capture(path, path.name) for path in paths], EXPERIMENT)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "a.pcap"
    path.write_bytes(craft.pcap(PACKETS))
    return path


def test_there_is_something_to_find(whole: Path) -> None:
    found = audit(whole).findings
    assert {one.recipient.host for one in found} == {f"t{n}.example" for n in range(12)}
    assert {o.channel for one in found for o in one.occurrences} == {"url.query", "body"}


@pytest.mark.parametrize("chunk", [256, 1_000, 1 << 20])
@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_windows_and_processes(whole: Path, chunk: int, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(read(whole, "a"))
    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    monkeypatch.setitem(_defaults(), "chunk", chunk)
    assert list(read(whole, "a", Wanted(jobs=jobs))) == expected


def _defaults() -> dict[str, Any]:
    from audit.sources.pcap import reading

    found = reading.read.__kwdefaults__
    assert found is not None
    return found


def test_the_order_of_the_captures(tmp_path: Path, whole: Path) -> None:
    other = tmp_path / "b.pcap"
    other.write_bytes(craft.pcap(PACKETS[:20]))
    assert audit(whole, other).findings == audit(other, whole).findings


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_segments(tmp_path: Path, whole: Path, seed: int) -> None:
    dice = random.Random(seed)
    mixed: list[bytes] = []
    for number in range(12):
        first, *rest = connection(number)
        dice.shuffle(rest)
        mixed += [first, *rest]
    path = tmp_path / "mixed.pcap"
    path.write_bytes(craft.pcap(mixed))
    assert [one.id for one in audit(path).findings] == [one.id for one in audit(whole).findings]


def test_the_format_of_the_file(tmp_path: Path, whole: Path) -> None:
    enhanced = (craft.enhanced(packet, (1_700_000_000 + n) * 10**6 + 5) for n, packet in enumerate(PACKETS))
    files = {
        "modern": craft.section() + craft.interface() + b"".join(enhanced),
        "big": craft.pcap(PACKETS, ">"),
        "snoop": snoop(PACKETS),
    }
    expected = audit(whole).findings
    for name, data in files.items():
        path = tmp_path / name / "a.pcap"
        path.parent.mkdir()
        path.write_bytes(data)
        assert audit(path).findings == expected, name
