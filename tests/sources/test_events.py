"""Notes of the recording as records: what was not seen is told, and nothing is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from audit import pipeline
from audit.experiment import load
from audit.protocols import notes
from audit.recording.marks import mark
from audit.recording.notebook import Notebook
from audit.records import AnyRecord, Experiment, Flow, Gap, Tls
from audit.sources import capture_format, read

T0 = 1_800_000_000.0


def noted(folder: Path, *what: notes.AnyNote) -> Path:
    path = folder / "events.jsonl"
    book = Notebook(path)
    book.write(*what)
    book.close()
    return path


def records(path: Path) -> list[AnyRecord]:
    return list(read(path, path.name))


def test_a_refused_certificate_is_a_flow_that_failed(tmp_path: Path) -> None:
    refused = notes.Refused(
        time=T0, client=("10.0.0.1", 4711), server=("192.0.2.7", 443), sni="Bank.example", how="alert",
        alert="unknown ca", ech=True, process="com.bank",
    )  # fmt: skip
    path = noted(tmp_path, refused)
    assert capture_format(path) == "events"
    hello, flow, gap = records(path)
    assert isinstance(hello, Tls)
    assert (hello.host, hello.ech, hello.dst) == ("bank.example", True, "192.0.2.7")
    assert isinstance(flow, Flow)
    assert (flow.observability, flow.names) == ("capture_failed", {"sni": ("bank.example",)})
    assert "unknown ca" in (flow.reason or "")
    assert isinstance(gap, Gap)
    assert gap.reason == "pinned"
    assert "com.bank" in gap.detail


def passage(ended: bool) -> list[notes.AnyNote]:
    began = notes.Passing(time=T0, id="x", reason="pinned", sni="bank.example")
    sizes = notes.Records(time=T0 + 1, id="x", sizes=((5, 517), (9, -1400), (80, 93)))
    end = notes.Passed(time=T0 + 2, id="x", up=610, down=1400)
    return [began, sizes, end] if ended else [began, sizes]


@pytest.mark.parametrize("ended", [True, False])
def test_a_connection_let_through_has_sizes_also_after_a_crash(tmp_path: Path, ended: bool) -> None:
    (flow,) = (r for r in records(noted(tmp_path, *passage(ended))) if isinstance(r, Flow))
    assert flow.observability == "metadata_only"
    assert (flow.tls_records_up, flow.tls_records_down) == ((517, 93), (1400,))
    assert (flow.payload_up, flow.payload_down) == (610, 1400)
    assert flow.last == (T0 + 2 if ended else T0 + 0.08)


def test_the_coverage_has_bytes_and_record_sizes_per_phase(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    mark(tmp_path, "private", now=datetime.fromtimestamp(T0 - 10, UTC))
    path = noted(tmp_path, *passage(ended=True))
    audit = pipeline.analyze([pipeline.Capture(path, path.name)], load(tmp_path))
    (entry,) = (entry for entry in audit.coverage.flows if entry.host == "bank.example")
    assert (entry.mode, entry.observability) == ("private", "metadata_only")
    assert (entry.bytes_up, entry.bytes_down) == (610, 1400)
    assert entry.tls_records_up is not None
    assert (entry.tls_records_up.count, entry.tls_records_up.largest) == (2, 517)


def test_broken_lines_are_gaps_and_the_rest_is_read(tmp_path: Path) -> None:
    path = noted(tmp_path, *passage(ended=True))
    with path.open("ab") as file:
        file.write(b'{"event":"refused","ti\n[]\n{"event":"unheard of","time":1}\n\xff\xfe\n')
    noted(tmp_path, notes.Quic(time=T0, sni="video.example"))
    with path.open("ab") as file:
        file.write(b'{"event":"qu')
    found = records(path)
    gaps = [record.reason for record in found if isinstance(record, Gap)]
    assert gaps == ["malformed"] * 4 + ["quic", "truncated"]
    assert sum(isinstance(record, Flow) for record in found) == 1


def test_hostile_notes_claim_nothing(tmp_path: Path) -> None:
    hostile = notes.Refused(
        time=-1e300, client=("x" * 9999, 70_000), server=("\x00", -4), sni="\u202e\x00", how="silent"
    )
    _, flow, _ = records(noted(tmp_path, hostile))
    assert isinstance(flow, Flow)
    assert (flow.src, flow.dst, flow.dport, flow.first) == (None, None, None, None)


@pytest.mark.parametrize(("policy", "told"), [("refuse", "fall back to TCP"), ("leave", "not observed")])
def test_what_becomes_of_quic_is_told_also_where_nobody_tried(
    tmp_path: Path, policy: Literal["refuse", "leave"], told: str
) -> None:
    started = notes.Sitting(time=T0, what="started", mode="wireguard", quic=policy)
    path = noted(tmp_path, started, notes.Sitting(time=T0 + 9, what="stopped", mode="wireguard"))
    (gap,) = records(path)
    assert isinstance(gap, Gap)
    assert gap.reason == "quic"
    assert told in gap.detail


def test_a_crash_of_the_proxy_is_told_in_the_coverage(tmp_path: Path) -> None:
    crashed = notes.Alert(time=T0, text="mitmproxy crashed (SIGSEGV) and was started again" + "!" * 999)
    path = noted(tmp_path, crashed)
    audit = pipeline.analyze([pipeline.Capture(path, path.name)], Experiment())
    (gap,) = audit.coverage.gaps
    assert (gap.reason, gap.count) == ("lost", 1)
    assert "mitmproxy crashed (SIGSEGV)" in gap.detail
    assert len(gap.detail) < 300


def test_a_recording_of_a_mode_without_udp_says_nothing_of_quic(tmp_path: Path) -> None:
    assert records(noted(tmp_path, notes.Sitting(time=T0, what="started", mode="regular"))) == []
