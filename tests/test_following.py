"""`inspect --follow`: records appear while the capture is still being written, and an interrupt ends it in order."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR

from audit.records import AnyRecord, Dns, Flow, Gap
from audit.sources import Wanted, read
from tests.sources.pcap import craft

PATIENCE = 60  # seconds until a record must have come


def query(name: str) -> bytes:
    return craft.udp(DNS(qd=DNSQR(qname=name)), 50_000, 53)


def writes(path: Path, pieces: list[bytes]) -> list[AnyRecord]:
    """What is read of a file that gets these pieces one after the other, whenever the reader has to wait."""
    path.write_bytes(pieces[0])
    rest = iter(pieces[1:])

    def more() -> bool:
        piece = next(rest, None)
        if piece is not None:
            with path.open("ab") as file:
                file.write(piece)
        return piece is not None

    return list(read(path, "c", Wanted(more=more)))


PACKETS = [query(f"{n}.example") for n in range(5)]
OLD = craft.pcap(PACKETS)
NEW = craft.section() + craft.interface() + b"".join(craft.enhanced(p, n) for n, p in enumerate(PACKETS))


@pytest.mark.parametrize("whole", [OLD, NEW])
@pytest.mark.parametrize("step", [1, 7, 100, 1_000])
def test_a_growing_file_is_read_like_a_whole_one(tmp_path: Path, whole: bytes, step: int) -> None:
    pieces = [whole[:24], *(whole[at : at + step] for at in range(24, len(whole), step))]
    found = writes(tmp_path / "grows", pieces)
    assert [r.name for r in found if isinstance(r, Dns)] == [f"{n}.example" for n in range(5)]
    (tmp_path / "whole").write_bytes(whole)
    assert found == list(read(tmp_path / "whole", "c"))


@pytest.mark.parametrize("whole", [OLD, NEW])
def test_where_following_ends_the_last_cut_packet_is_a_gap(tmp_path: Path, whole: bytes) -> None:
    found = writes(tmp_path / "grows", [whole[:200], whole[200:-10]])
    (flow,) = (r for r in found if isinstance(r, Flow))
    (gap,) = (r for r in found if isinstance(r, Gap))
    assert (flow.packets_up, gap.reason) == (4, "truncated")


@pytest.mark.parametrize(("whole", "header"), [(OLD, 16), (NEW, 28)])
def test_damage_in_a_growing_file_is_passed(tmp_path: Path, whole: bytes, header: int) -> None:
    size = len(PACKETS[0]) + header
    start = whole.index(PACKETS[0]) - header
    damaged = whole[: start + 2 * size] + b"\xff" * 50 + whole[start + 2 * size :]
    found = writes(tmp_path / "grows", [damaged[: start + size], damaged[start + size :]])
    names = [r.name for r in found if isinstance(r, Dns)]
    assert names[:1] + names[-1:] == ["0.example", "4.example"]
    assert [r.reason for r in found if isinstance(r, Gap)] == ["malformed"]


@contextmanager
def following(name: str, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "audit", "inspect", name, "--follow"]
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE)[0], "nothing came"
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


def test_lines_come_as_the_file_grows_and_an_interrupt_tells_the_flows(tmp_path: Path) -> None:
    path = tmp_path / "grows.pcap"
    whole = craft.pcap([query("first.example"), query("second.example")])
    cut = whole.index(b"second") - 30
    path.write_bytes(b"")
    with following(str(path)) as process:
        path.write_bytes(whole[:cut])
        assert line(process)["name"] == "first.example"
        with path.open("ab") as file:
            file.write(whole[cut:])
        assert line(process)["name"] == "second.example"
        process.send_signal(signal.SIGINT)
        assert line(process)["kind"] == "flow"
        assert process.wait(PATIENCE) == 0


def test_standard_input_is_followed_until_it_ends() -> None:
    whole = craft.pcap([query("first.example"), query("second.example")])
    cut = whole.index(b"second") - 30
    with following("-", subprocess.PIPE) as process:
        assert process.stdin is not None
        os.write(process.stdin.fileno(), whole[:cut])
        assert line(process)["name"] == "first.example"
        os.write(process.stdin.fileno(), whole[cut:])
        process.stdin.close()
        assert [line(process)[key] for key in ("name",)] == ["second.example"]
        assert line(process)["packets_up"] == 2
        assert process.wait(PATIENCE) == 0


def test_what_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.har"
    path.write_text('{"log": {"entries": []}}                ')
    with following(str(path)) as process:
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
    assert b"cannot be followed" in said
