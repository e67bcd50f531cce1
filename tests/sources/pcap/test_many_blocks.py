"""pcapng blocks that are found many at once are those that a walk from block to block finds."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.records import Flow, Gap
from audit.sources.pcap import lanes, pcapng_file
from audit.sources.pcap.batch import Batch
from audit.sources.pcap.window import Window

from . import craft

STAMP = 1_700_000_000 * 10**6
NO_KEY_LOG = struct.pack("<II", 0x57474B4C, 4) + b"none"
CLOCKS = (b"", struct.pack("<HHB3x", 9, 1, 9), struct.pack("<HHB3xHHq", 9, 1, 0x94, 14, 8, 100))


def packet(chance: random.Random) -> bytes:
    """Bytes of a packet; some of them hold blocks themselves."""
    data = chance.randbytes(chance.choice((0, 1, 40, 61, 90, 1_400)))
    if chance.random() < 0.1:
        data += b"".join(craft.enhanced(data[:40], STAMP) for _ in range(chance.randrange(1, 30)))
    return data


def stretch(chance: random.Random, order: str, interfaces: int) -> Iterator[bytes]:
    """Blocks of packets, and now and then one that a reader passes over."""
    for _ in range(chance.randrange(40, 400)):
        yield craft.enhanced(
            packet(chance), STAMP + chance.randrange(10**6), chance.randrange(interfaces), order
        )
        if chance.random() < 0.02:
            yield craft.block(chance.choice((5, 0xBAD, 0x80000001)), chance.randbytes(20), order)
        if chance.random() < 0.02:  # of no interface, and too short to be one
            yield craft.enhanced(packet(chance), STAMP, interfaces + 7, order)
            yield craft.block(6, bytes(8), order)


def capture(chance: random.Random) -> bytes:
    """A file of several sections."""
    parts: list[bytes] = []
    for _ in range(chance.randrange(1, 4)):
        order = chance.choice("<>")
        parts.append(craft.section(order))
        interfaces = 0
        for _ in range(chance.randrange(1, 7)):
            kind = chance.randrange(6)
            if not interfaces or kind == 0:
                clock = chance.choice(CLOCKS) if order == "<" else b""
                parts.append(craft.interface(chance.choice((1, 101)), clock, order))
                interfaces += 1
            elif kind == 1:
                parts.append(craft.block(3, struct.pack(order + "I", 60) + chance.randbytes(60), order))
            elif kind == 2:
                body = struct.pack(order + "HHIIII", 0, 0, 0x60000, 5, 60, 60) + chance.randbytes(60)
                parts.append(craft.block(2, body, order))
            elif kind == 3:
                body = struct.pack(order + "HH", 1, 11) + bytes([1, 2, 3, 4]) + b"a.test\0" + bytes(5)
                parts.append(craft.block(4, body, order))
            elif kind == 4 and order == "<":
                parts.append(craft.block(10, NO_KEY_LOG))
            parts += stretch(chance, order, interfaces)
    return b"".join(parts)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file with one sort of damage."""
    at = chance.randrange(64, len(data))
    kind = chance.randrange(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + chance.randbytes(chance.randrange(1, 2_000)) + data[at:]
    if kind == 2:
        return data[: at // 4 * 4] + chance.choice((bytes(8), b"\xff" * 4)) + data[at // 4 * 4 + 4 :]
    return data[:at] + data[at + chance.randrange(1, 3_000) :]


def found(path: Path, chunk: int) -> list[tuple[object, ...]]:
    """What is read, packet by packet, and then all else: names may come before packets that stand before them."""
    told: list[tuple[object, ...]] = []
    rest: list[tuple[object, ...]] = []
    with path.open("rb") as file:
        for item in pcapng_file.read(Window(file, path.stat().st_size, chunk)):
            if not isinstance(item, Batch):
                rest.append((type(item).__name__, *item))
                continue
            columns = (item.start, item.captured, item.original, item.time, item.link)
            for number, row in enumerate(
                zip(*(column.tolist() for column in columns), strict=True), item.number
            ):
                start, size = row[:2]
                told.append((number, item.base + start, *row[1:], bytes(item.data[start : start + size])))
    return told + rest


@pytest.mark.parametrize("seed", range(40))
def test_the_same_as_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    data = capture(chance)
    path = tmp_path / "made.pcapng"
    path.write_bytes(data if seed % 2 else damaged(data, chance))
    chunk = chance.choice((5_000, 40_000, len(data)))
    monkeypatch.setattr(lanes, "FEW", 1 << 40)
    walked = found(path, chunk)
    monkeypatch.setattr(lanes, "FEW", 2)
    monkeypatch.setattr(lanes, "LANE", chance.choice((256, 2_048, 9_000)))
    monkeypatch.setattr(pcapng_file, "_WORTH", 1)
    assert found(path, chunk) == walked
    assert walked


def test_they_are_found_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    packets = [craft.enhanced(chance.randbytes(500), STAMP + at, 0, ">") for at in range(9_000)]
    path = tmp_path / "made.pcapng"
    path.write_bytes(craft.section(">") + craft.interface(order=">") + b"".join(packets))
    one_by_one: list[int] = []
    monkeypatch.setattr(pcapng_file, "_packet", lambda *given: one_by_one.append(given[3]) or True)
    assert len(found(path, 4 << 20)) == 9_000 - len(one_by_one)
    assert len(one_by_one) < 4_000  # in the last window, which is small
    assert one_by_one


@pytest.mark.parametrize("length", [0, 1, 4, 8, 12, 16, 0xFFFFFFFF])
def test_hostile_lengths_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(lanes, "LANE", 2_048)
    row = struct.pack("<II", 6, length)
    data = craft.section() + craft.interface() + craft.enhanced(b"x" * 60, STAMP) + row * 20_000
    path = tmp_path / "made.pcapng"
    path.write_bytes(data)
    many = found(path, 1 << 20)
    monkeypatch.setattr(lanes, "FEW", 1 << 40)
    assert found(path, 1 << 20) == many


def secrets(order: str, at: int) -> bytes:
    """A file with a key log behind so many bytes of packets."""
    log = b"CLIENT_RANDOM " + b"ab" * 32 + b" " + b"cd" * 48 + b"\n"
    body = struct.pack(order + "II", 0x544C534B, len(log)) + log
    parts = craft.section(order) + craft.interface(order=order)
    return parts + craft.enhanced(bytes(at), STAMP, 0, order) + craft.block(10, body, order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("at", [0, 4, 888, 892, 896, 900, 904, 908, 5_000])
def test_secrets_are_seen_wherever_they_stand(tmp_path: Path, order: str, at: int) -> None:
    path = tmp_path / "made.pcapng"
    path.write_bytes(secrets(order, at))
    with path.open("rb") as file:
        assert pcapng_file.holds_secrets(Window(file, path.stat().st_size, 1_024))


def test_what_only_looks_like_secrets_is_none(tmp_path: Path) -> None:
    path = tmp_path / "made.pcapng"
    path.write_bytes(craft.section() + craft.interface() + craft.enhanced(b"KSLTTLSK" * 99, STAMP))
    with path.open("rb") as file:
        assert not pcapng_file.holds_secrets(Window(file, path.stat().st_size, 1_024))


def test_secrets_out_of_step_are_stated(tmp_path: Path) -> None:
    good, begin = secrets("<", 60), len(craft.section() + craft.interface())
    gaps = [r for r in craft.read(tmp_path, good) if isinstance(r, Gap)]
    assert not any("--keys" in (gap.detail or "") for gap in gaps)
    damaged_file = good[:begin] + struct.pack("<II", 0xBAD, 12) + b"!!" + good[begin:]
    gaps = [r for r in craft.read(tmp_path, damaged_file) if isinstance(r, Gap)]
    assert any("--keys" in (gap.detail or "") for gap in gaps)


def test_packets_without_a_time_change_no_other_time(tmp_path: Path) -> None:
    query = craft.udp(b"what", 50_000, 9_999)
    simple = craft.block(3, struct.pack("<I", len(query)) + query)
    head = craft.section() + craft.interface()
    timed = [craft.enhanced(query, STAMP + second * 10**6) for second in (5, 6)]
    for order in ([timed[0], simple, timed[1]], [simple, *timed], [*timed, simple]):
        data = head + b"".join(order)
        for chunk in (256, 1 << 20):
            (flow,) = [r for r in craft.read(tmp_path, data, chunk=chunk) if isinstance(r, Flow)]
            assert (flow.first, flow.last) == (1_700_000_005, 1_700_000_006)
