"""Processes that take turns at a file read what one of them reads alone: in sound files and in damaged ones."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from audit.records import AnyRecord
from audit.sources.pcap import turns

from . import craft
from .test_many_blocks import damaged as broken

GET = b"GET /p?q=%d HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def packets() -> list[bytes]:
    """Connections woven into each other, lookups, datagrams in fragments, and what is no IP."""
    made: list[bytes] = []
    for sport in range(40_000, 40_040):
        get = GET % sport
        made += [
            craft.tcp(b"", 100, flags="S", sport=sport),
            craft.udp(DNS(rd=1, qd=DNSQR(qname=f"n{sport}.example")), sport, 53),
            craft.tcp(b"", 500, up=False, flags="SA", ack=101, sport=sport),
            craft.tcp(get, 101, ack=501, sport=sport),
        ]
        if sport % 5 == 0:
            whole = (
                IP(src=craft.PHONE, dst=craft.SERVER, id=sport) / UDP(sport=sport, dport=99) / Raw(b"t" * 900)
            )
            made += [bytes(Ether() / part) for part in fragment(whole, fragsize=400)]
        made.append(bytes(Ether(type=0x0806) / Raw(b"\0" * 28)))
    made += [
        craft.tcp(OK, 501, up=False, ack=101 + len(GET % 1), sport=sport) for sport in range(40_000, 40_040)
    ]
    return made


def offsets(data: bytes) -> list[int]:
    """Where the records of a file stand."""
    places, at = [], 24
    while at < len(data):
        places.append(at)
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
    return places


def damaged(data: bytes, seed: int) -> bytes:
    """The file with one sort of damage."""
    chance = random.Random(seed)
    at = chance.choice(offsets(data))
    kind = seed % 5
    if kind == 0:
        return data[: at + chance.randrange(40)]
    if kind == 1:
        return data[: at + 8] + b"\xff" * 4 + data[at + 12 :]
    if kind == 2:
        return data[:at] + chance.randbytes(chance.randrange(1, 3_000)) + data[at:]
    if kind == 3:  # a file within a packet
        inner = Ether() / IP(src=craft.PHONE, dst=craft.SERVER) / UDP(sport=7, dport=9) / Raw(data[24:6_000])
        packet = bytes(inner)
        return (
            data[:at] + struct.pack("<IIII", 1_700_000_000, 5, len(packet), len(packet)) + packet + data[at:]
        )
    return data[: at + 20] + chance.randbytes(8) + data[at + 28 :]


def modern(packets: list[bytes], chance: random.Random | None) -> bytes:
    """The packets as a pcapng; with chance, more blocks of other kinds among them than most files have."""
    parts = [craft.section(), craft.interface()]
    for number, packet in enumerate(packets):
        parts.append(craft.enhanced(packet, 1_700_000_000_000_000 + number))
        kind = chance.randrange(60) if chance else -1
        if kind == 0:
            parts.append(craft.block(5, bytes(8)))
        elif kind == 1:
            parts += [craft.interface(101), craft.enhanced(packet[14:], 1_700_000_000_000_000 + number, 1)]
        elif kind == 2:
            parts += [craft.section(), craft.interface()]
        elif kind == 3:
            parts.append(craft.block(3, struct.pack("<I", len(packet)) + packet))
    return b"".join(parts)


def found(folder: Path, data: bytes, **options: int) -> list[AnyRecord]:
    return craft.read(folder, data, **options)


@pytest.mark.parametrize("seed", range(-1, 15))
def test_as_many_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    data = craft.pcap(packets())
    if seed >= 0:
        data = damaged(data, seed)
    alone = found(tmp_path, data)
    for jobs, chunk in ((2, 1 << 20), (2, 4_000), (3, 9_000)):
        assert found(tmp_path, data, jobs=jobs, chunk=chunk) == alone


@pytest.mark.parametrize("seed", range(-2, 20))
def test_as_many_as_one_at_a_pcapng(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    chance = random.Random(seed)
    data = modern(packets(), chance if seed > -2 else None)
    if seed >= 0:
        data = broken(data, chance)
    alone = found(tmp_path, data)
    for jobs, chunk in ((2, 1 << 20), (2, 4_000), (3, 9_000)):
        assert found(tmp_path, data, jobs=jobs, chunk=chunk) == alone


def test_turns_are_taken_at_a_pcapng(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[bool] = []
    agree = turns._agree

    def noted(*given: object) -> bool:
        rounds.append(agree(*given))  # type: ignore[arg-type]
        return rounds[-1]

    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    monkeypatch.setattr(turns, "_agree", noted)
    found(tmp_path, modern(packets(), None), jobs=2, chunk=4_000)
    assert len(rounds) > 3
    assert not rounds[0]  # the first window tells of the interface
    assert all(rounds[1:])


def test_turns_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[bool] = []
    agree = turns._agree

    def noted(*given: object) -> bool:
        rounds.append(agree(*given))  # type: ignore[arg-type]
        return rounds[-1]

    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    monkeypatch.setattr(turns, "_agree", noted)
    data = craft.pcap(packets())
    found(tmp_path, data, jobs=2, chunk=4_000)
    assert len(rounds) > 3
    assert all(rounds)
    rounds.clear()
    middle = offsets(data)[150]
    found(tmp_path, data[: middle + 8] + b"\xff" * 4 + data[middle + 12 :], jobs=2, chunk=4_000)
    assert rounds.count(False) == 1  # only the round with the damage is read by both


def test_more_than_there_is_room_for_is_read_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.sources.pcap.reading._WORTH_SHARING", 0)
    data = craft.pcap(packets())
    alone = found(tmp_path, data)
    monkeypatch.setattr(turns, "_ROOM", 4_096)
    assert found(tmp_path, data, jobs=2, chunk=20_000) == alone
