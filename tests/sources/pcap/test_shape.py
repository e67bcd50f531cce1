"""Lines made of columns say what lines made of records say, and as many processes as one say the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from audit.assessment.clock import rfc3339, rfc3339_of
from audit.cli.inspect import _Lines
from audit.records import Flow
from audit.sources import Wanted, read, read_as
from audit.sources.pcap import reading

CAPTURE = Path(__file__).resolve().parents[3] / "captures" / "chromium-156" / "phone.pcapng"


def _written(lines: _Lines, wanted: Wanted) -> bytes:
    """All lines; several may come at once."""
    return b"".join(read_as(lines, CAPTURE, CAPTURE.name, wanted))


def test_flows_as_lines_are_the_lines_of_flows() -> None:
    wanted = Wanted(frozenset({"flow"}))
    flows = list(read(CAPTURE, CAPTURE.name, wanted))
    assert len(flows) > 10
    assert all(isinstance(flow, Flow) for flow in flows)
    lines = _Lines(frozenset({"flow"}))
    assert _written(lines, wanted) == b"".join(map(lines.record, flows))


@pytest.mark.parametrize(
    "kinds", [None, frozenset({"flow", "dns"}), frozenset({"flow", "dns", "tls", "http"})]
)
def test_lines_stand_in_the_order_of_records(kinds: frozenset[str] | None) -> None:
    lines, wanted = _Lines(kinds), Wanted(kinds)
    records = list(read(CAPTURE, CAPTURE.name, wanted))
    assert _written(lines, wanted) == b"".join(map(lines.record, records))


def test_lines_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = _written(_Lines(None), Wanted())
    monkeypatch.setattr(reading, "_WORTH_SHARING", 0)
    for jobs in (2, 3):
        assert _written(_Lines(None), Wanted(jobs=jobs)) == alone
        records = Counter(map(repr, read(CAPTURE, CAPTURE.name, Wanted(jobs=jobs))))
        assert records == Counter(map(repr, read(CAPTURE, CAPTURE.name)))


def test_times_at_once_are_times_one_by_one() -> None:
    nanoseconds = [0, 1_700_000_000_123_456_000, 1_699_999_999_999_999_700, -1_000, 4_102_444_800_000_000_000]
    texts = rfc3339_of(np.array(nanoseconds).view("M8[ns]"))
    assert texts == [rfc3339(one / 1e9) for one in nanoseconds]
    assert rfc3339_of(np.array(["NaT"], dtype="M8[ns]")) == [None]
    assert rfc3339(float("nan")) is rfc3339(float("inf")) is rfc3339(1e18) is rfc3339(None) is None
