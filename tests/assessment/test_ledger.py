"""Recipients and coverage: the same traffic recorded twice counts once, two sittings count twice."""

from __future__ import annotations

from datetime import UTC, datetime

from audit.assessment.ledger import coverage, recipients, side_by_side
from audit.detection.needles import Needles
from audit.detection.scan import Scan, Scanner
from audit.records import Experiment, Flow, Http, Observability, Phase

EXPERIMENT = Experiment(
    phases=(
        Phase(id="n", mode="normal", start=datetime.fromtimestamp(0, UTC), end=datetime.fromtimestamp(100, UTC)),
        Phase(id="p", mode="private", start=datetime.fromtimestamp(100, UTC), end=datetime.fromtimestamp(200, UTC)),
    )
)  # fmt: skip


def scan(name: str, *times: float, seen: Observability = "observed", reason: str | None = None) -> Scan:
    scanner = Scanner(name, Needles([]), EXPERIMENT)
    for number, time in enumerate(times):
        scanner.add(
            Http(
                capture=name, id=f"f{number}", time=time, method="GET", scheme="https", authority="t.example",
                host="t.example", dst="203.0.113.9", path="/", version="2",
            )
        )  # fmt: skip
    scanner.add(
        Flow(
            capture=name, transport="tcp", dst="203.0.113.9", first=times[0], last=times[-1], observability=seen,
            reason=reason, payload_up=10, names={"sni": ("t.example",)},
        )
    )  # fmt: skip
    return scanner.finished()


def test_captures_that_overlap_are_the_same_traffic() -> None:
    a, b, c = scan("a", 10, 20), scan("b", 15, 20, 25), scan("c", 120, 130)
    assert side_by_side([c, b, a]) == [[a, b], [c]]
    (row,) = recipients(side_by_side([a, b, c]), EXPERIMENT, [])
    assert row.transmissions == {"normal": 3, "private": 2}


def test_the_capture_that_could_read_tells_of_the_flows() -> None:
    read = scan("a", 10, 20)
    closed = scan("b", 11, 19, seen="metadata_only", reason="no_key")
    (entry,) = coverage(side_by_side([closed, read]), EXPERIMENT, ["mitm"]).flows
    assert (entry.observability, entry.flows, entry.bytes_up) == ("observed", 1, 10)
    (alone,) = coverage(side_by_side([closed]), EXPERIMENT, []).flows
    assert (alone.observability, alone.reason, alone.mode) == ("metadata_only", "no_key", "normal")


def test_without_phases_the_mode_is_unknown() -> None:
    (row,) = recipients(side_by_side([scan("a", 10_000)]), EXPERIMENT, [])
    assert row.transmissions == {"unknown": 1}
