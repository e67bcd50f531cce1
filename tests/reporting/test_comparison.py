"""Two audits side by side: nothing is called gone that could not have been seen."""

from __future__ import annotations

import msgspec

from audit.records import Audit, CoverageEntry
from audit.reporting.comparison import compare
from audit.reporting.html import render_comparison
from tests.reporting import sample

NAMES = ("one", "two")


def without_vendor(audit: Audit, *, unknown: bool = False) -> Audit:
    findings = tuple(f for f in audit.findings if not (f.mode == "private" and f.expected is None))
    answer = "unknown" if unknown else "no_leak_seen"
    verdict = msgspec.structs.replace(audit.verdicts[1], answer=answer, findings=())
    return msgspec.structs.replace(audit, findings=findings, verdicts=(audit.verdicts[0], verdict))


def test_the_same_is_the_same() -> None:
    both = compare(sample.audit(), sample.audit(), NAMES)
    assert {row.change for row in both.differences} == {"same"}
    assert both.recipients.only_before == ()
    assert "No difference in what could be seen" in render_comparison(both)


def test_what_went_away_vanished_only_where_it_could_be_seen() -> None:
    before, after = sample.audit(), without_vendor(sample.audit())
    (row,) = [row for row in compare(before, after, NAMES).differences if row.change == "vanished"]
    assert (row.code, row.mode, row.before.severity) == ("B1", "private", "critical")
    (row,) = [row for row in compare(after, before, NAMES).differences if row.change == "appeared"]
    assert row.code == "B1"
    hidden = compare(before, without_vendor(before, unknown=True), NAMES)
    assert hidden.counts["vanished"] == 0
    assert hidden.counts["unknown"] == 1
    assert "1 cannot be compared" in render_comparison(hidden)


def test_what_went_to_a_recipient_that_could_not_be_read_is_unknown_not_vanished() -> None:
    before, after = sample.audit(), without_vendor(sample.audit())
    (gone,) = [row for row in compare(before, after, NAMES).differences if row.change == "vanished"]
    (host,) = {
        f.recipient.host for f in before.findings
        if (f.leak_type, f.mode, f.expected) == (gone.code, gone.mode, None)
    }  # fmt: skip
    closed = CoverageEntry(
        host=host, ip=None, mode="private", observability="capture_failed", reason="pinned", flows=1,
        bytes_up=None, bytes_down=None,
    )  # fmt: skip
    coverage = msgspec.structs.replace(after.coverage, flows=(*after.coverage.flows, closed))
    blind = msgspec.structs.replace(after, coverage=coverage)
    for both in (compare(before, blind, NAMES), compare(blind, before, NAMES)):
        assert (both.counts["vanished"], both.counts["appeared"], both.counts["unknown"]) == (0, 0, 1)
    elsewhere = msgspec.structs.replace(closed, host="other.example")
    coverage = msgspec.structs.replace(after.coverage, flows=(*after.coverage.flows, elsewhere))
    assert compare(before, msgspec.structs.replace(after, coverage=coverage), NAMES).counts["vanished"] == 1


def test_a_change_is_said_in_words() -> None:
    before = sample.audit()
    changed = tuple(
        msgspec.structs.replace(f, severity="high", identifiers=()) if f.severity == "critical" else f
        for f in before.findings
    )
    both = compare(before, msgspec.structs.replace(before, findings=changed), NAMES)
    (row,) = [row for row in both.differences if row.change == "changed"]
    assert "severity critical before, high now" in row.details
    assert "no longer together with $device_id" in row.details


def test_hostile_names_are_text_and_values_are_not_shown() -> None:
    text = render_comparison(compare(sample.audit(), without_vendor(sample.audit()), (sample.HOSTILE, "two")))
    for bad in ("<img", "<script", "\u202e", "\x00", sample.DEVICE_ID, sample.INFERRED):
        assert bad not in text


def test_the_same_bytes_each_time() -> None:
    audit = sample.audit()
    turned = msgspec.structs.replace(audit, findings=audit.findings[::-1])
    assert render_comparison(compare(audit, turned, NAMES)) == render_comparison(
        compare(turned, audit, NAMES)
    )
