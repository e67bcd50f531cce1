"""What could not be read stands in the verdict: how many connections, to how many, and how much was sent."""

from __future__ import annotations

from msgspec import structs

from audit.assessment.verdicts import verdicts
from audit.records import Coverage, CoverageEntry, Experiment


def entry(host: str, observability: str, flows: int, sent: int | None) -> CoverageEntry:
    return CoverageEntry(
        host=host, ip=None, mode="unknown", observability=observability, reason=None, flows=flows,  # type: ignore[arg-type]
        bytes_up=sent, bytes_down=0,
    )  # fmt: skip


def statement(*entries: CoverageEntry) -> str:
    coverage = Coverage(flows=entries, gaps=(), statements=())
    (verdict,) = verdicts((), Experiment(), (), (), coverage, 0)
    return verdict.statement


def test_what_is_unknown_is_said_with_its_size() -> None:
    said = statement(
        entry("a.example", "metadata_only", 2, 1_500),
        entry("b.example", "not_observed", 1, 500),
        entry("c.example", "observed", 9, 9_000),
    )
    assert (
        "3 flows to 2 recipients could not be read: what was carried in the 2,000 bytes sent is unknown"
        in said
    )


def test_sizes_that_nothing_told_are_not_made_up() -> None:
    assert "One flow to one recipient could not be read: what was carried is unknown." in statement(
        entry("a.example", "metadata_only", 1, None)
    )


def test_where_all_was_read_nothing_is_said() -> None:
    assert "could not be read" not in statement(entry("a.example", "observed", 1, 10))


def test_what_was_read_in_part_is_said() -> None:
    whole = entry("a.example", "observed", 4, 10)
    lost, partly = (structs.replace(whole, reason=reason, flows=1) for reason in ("lost", "read in part"))
    assert "in part" not in statement(whole)
    assert "One flow was read in part: the rest is unknown." in statement(whole, partly)
    assert "2 flows were read in part" in statement(whole, partly, lost)
    assert "in part" not in statement(structs.replace(lost, observability="metadata_only"))
