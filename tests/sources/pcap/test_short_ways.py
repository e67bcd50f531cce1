"""The short ways, for what nearly all connections and lookups are, tell what the long ways tell."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgReader, wrpcap

from audit.records import AnyRecord, Dns, Tls
from audit.sources import BadCapture
from audit.sources.pcap import greetings, lookups

from . import corpus

PHONE = Path(__file__).resolve().parents[3] / "captures" / "chromium-156" / "phone.pcapng"


def told(path: Path, monkeypatch: pytest.MonkeyPatch, *, short: bool) -> list[AnyRecord]:
    with monkeypatch.context() as patched:
        if not short:
            patched.setattr(greetings, "read", lambda *_: None)
            patched.setattr(lookups, "lookup", lambda *_: None)
        try:
            return corpus.records(str(path))
        except BadCapture:
            return []


def bare(folder: Path) -> Path:
    """The project's own capture as a pcap, which carries no secrets."""
    path = folder / "bare.pcap"
    with PcapNgReader(str(PHONE)) as reader:
        wrpcap(str(path), list(reader))
    return path


def test_they_are_taken_and_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bare(tmp_path)
    taken = {"greetings": 0, "lookups": 0}
    read, tell = greetings.read, lookups.tell

    def greeted(*given: object) -> object:
        greeting = read(*given)  # type: ignore[arg-type]
        taken["greetings"] += greeting is not None
        return greeting

    def looked_up(*given: object) -> None:
        taken["lookups"] += 1
        tell(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(greetings, "read", greeted)
    monkeypatch.setattr(lookups, "tell", looked_up)
    short = told(path, monkeypatch, short=True)
    assert sum(isinstance(one, Tls) for one in short) > 5
    assert sum(isinstance(one, Dns) for one in short) > 20
    assert taken["greetings"] > 3
    assert taken["lookups"] > 10
    assert told(path, monkeypatch, short=False) == short


@pytest.mark.slow
@pytest.mark.skipif(not corpus.CORPUS.is_dir(), reason="the shared corpus is not there")
def test_they_tell_the_same_of_every_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    for capture in corpus.captures():
        path = corpus.CORPUS / "captures" / capture
        assert told(path, monkeypatch, short=True) == told(path, monkeypatch, short=False), capture


def disturbed(packets: list[Packet], chance: random.Random) -> list[Packet]:
    """The same packets as a bad line and a bad recorder leave them: late, twice, lost, cut, in other portions."""
    packets = [packet.copy() for packet in packets]
    for _ in range(chance.randrange(1, 40)):
        at = chance.randrange(len(packets) - 1)
        packet, kind = packets[at], chance.randrange(6)
        if kind == 0:
            del packets[at]
        elif kind == 1:
            packets.insert(chance.randrange(at, min(at + 9, len(packets))), packet.copy())
        elif kind == 2:
            packets[at], packets[at + 1] = packets[at + 1], packets[at]
        elif TCP in packet and kind == 3:
            packet[TCP].flags = chance.choice(["FA", "R", "RA", "SA", "PA", "P"])
        elif Raw not in packet or not packet[Raw].load:
            continue
        elif TCP in packet and kind == 4:
            data = bytes(packet[Raw])
            cut = chance.randrange(len(data))
            parts = [packet, packet.copy()]
            for part, begin, end in ((parts[0], 0, cut), (parts[1], cut, len(data))):
                part[TCP].seq = (packet[TCP].seq + begin) % (1 << 32) if begin else part[TCP].seq
                part[Raw].load = data[begin:end]
                del part[IP].len, part[IP].chksum, part[TCP].chksum
            packets[at : at + 1] = parts
        elif kind == 5:
            data = bytearray(bytes(packet[Raw]))
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            packet[Raw].load = bytes(data)
    return packets


@pytest.mark.parametrize("seed", range(40))
def test_they_tell_the_same_of_disturbed_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    with PcapNgReader(str(PHONE)) as reader:
        whole = [packet for packet in reader if IP in packet]
    begin = chance.randrange(len(whole) - 200)
    path = tmp_path / "disturbed.pcap"
    wrpcap(str(path), disturbed(whole[begin : begin + 200], chance))
    assert told(path, monkeypatch, short=False) == told(path, monkeypatch, short=True)
