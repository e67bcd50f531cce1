"""Columns that grow: nothing is lost on the way to disk, nor where there is no disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from audit.sources.pcap import columns, flows

from . import craft

KINDS = {"number": np.int64, "flag": np.uint8}


def filled(rows: int) -> dict[str, np.ndarray]:
    number = np.arange(rows, dtype=np.int64) * 7
    return {"number": number, "flag": (number % 251).astype(np.uint8)}


def grow(steps: list[int]) -> tuple[columns.Columns, dict[str, np.ndarray]]:
    """Columns that are written to as they grow."""
    table = columns.Columns(KINDS)
    held, written = table.made(), 0
    for rows in steps:
        if rows > table.rows:
            held = table.grown(held, rows)
        for name, values in filled(rows).items():
            held[name][written:rows] = values[written:]
        written = rows
        table.release()
    return table, held


def same(held: dict[str, np.ndarray], rows: int) -> bool:
    return all(
        (held[name][:rows] == values).all() and not held[name][rows:].any()
        for name, values in filled(rows).items()
    )


@pytest.mark.parametrize("steps", [[3], [8], [9], [8, 9, 40], [1, 5_000, 5_001, 70_000]])
def test_growing(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    monkeypatch.setattr(columns, "_ROOM", 8)
    table, held = grow(steps)
    assert table.rows >= steps[-1]
    assert same(held, steps[-1])


def test_where_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_ROOM", 8)
    calls = iter(range(100))
    real = os.posix_fallocate

    def full(descriptor: int, offset: int, size: int) -> None:
        if next(calls) in (1, 3, 4):  # of the two columns now one, now both
            raise OSError(28, "No space left on device")
        real(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    _, held = grow([5, 20, 90, 400, 2_000])
    assert same(held, 2_000)


def test_flows_of_a_long_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = [craft.udp(b"\x80" * 12, 40_000 + turn % 300, 9_999) for turn in range(900)]
    data = craft.pcap(packets)
    expected = craft.read(tmp_path, data)
    monkeypatch.setattr(columns, "_ROOM", 4)
    monkeypatch.setattr(flows, "_RELEASED", 7)
    assert craft.read(tmp_path, data, chunk=400) == expected
