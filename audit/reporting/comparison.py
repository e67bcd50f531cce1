"""Two audits side by side: what appeared, what vanished, what changed, and what cannot be compared.

Planted values differ from one experiment to the next, so findings are matched by what they state: leak
type, recipient, mode, setting and kind of value. What was not seen in one of them is only called vanished
where that one could have seen it; else it is unknown.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audit.records import Audit, Finding, Mode, Severity
from audit.reporting.findings import canonical, severity_rank
from audit.reporting.modes import Column, State, columns, headline, kind, times_seen
from audit.reporting.wording import country, words

Change = Literal["appeared", "vanished", "changed", "same", "unknown"]
_ORDER: tuple[Change, ...] = ("appeared", "changed", "vanished", "unknown", "same")
_SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "info")


class Side(Struct, frozen=True, kw_only=True):
    """One of the two audits."""

    name: str
    browser: str
    device: str
    answer: str
    words: str
    columns: tuple[Column, ...]


class Held(Struct, frozen=True, kw_only=True):
    """What one audit holds of a row. `answer` is that of its mode."""

    state: State
    severity: Severity | None
    findings: int
    times: int
    values: int
    identifiers: tuple[str, ...]
    countries: tuple[str, ...]
    answer: str


class Difference(Struct, frozen=True, kw_only=True):
    """One row: leak type × recipient × mode × setting, before and after."""

    change: Change
    code: str
    title: str
    recipient: str
    mode: Mode
    setting: str
    before: Held
    after: Held
    details: tuple[str, ...]


class Recipients(Struct, frozen=True, kw_only=True):
    """Hosts that received anything in only one of them."""

    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


class Comparison(Struct, frozen=True, kw_only=True):
    """The whole comparison; also its JSON form."""

    schema: int
    before: Side
    after: Side
    counts: dict[str, int]
    differences: tuple[Difference, ...]
    recipients: Recipients


_Key = tuple[str, str, Mode, str]
_Unread = set[tuple[str, Mode]]


def compare(before: Audit, after: Audit, names: tuple[str, str]) -> Comparison:
    """Everything of both; rows with changes first. `names` is what the two are called."""
    before, after = canonical(before), canonical(after)
    sides = [_side(audit, name) for audit, name in zip((before, after), names, strict=True)]
    groups = [_groups(audit) for audit in (before, after)]
    unread = [_unread(audit) for audit in (before, after)]
    rows = [
        _difference(key, groups[0].get(key, []), groups[1].get(key, []), sides, unread)
        for key in sorted(groups[0].keys() | groups[1].keys())
    ]
    rows.sort(
        key=lambda row: (
            _ORDER.index(row.change),
            row.before.state != "leak" and row.after.state != "leak",
            min(severity_rank(each.severity or "info") for each in (row.before, row.after)),
            row.code,
            row.recipient,
            row.mode,
            row.setting,
        )
    )
    hosts = [
        {row.recipient.host or row.recipient.ip or "unknown" for row in audit.recipients}
        for audit in (before, after)
    ]
    return Comparison(
        schema=1,
        before=sides[0],
        after=sides[1],
        counts={change: sum(1 for row in rows if row.change == change) for change in _ORDER},
        differences=tuple(rows),
        recipients=Recipients(
            only_before=tuple(sorted(hosts[0] - hosts[1])), only_after=tuple(sorted(hosts[1] - hosts[0]))
        ),
    )


def _side(audit: Audit, name: str) -> Side:
    shown = columns(audit)
    said = headline(audit, shown)
    browser = audit.experiment.browser
    return Side(
        name=name,
        browser=f"{browser.name} {browser.version}".strip(),
        device=audit.experiment.device.name,
        answer=said.answer,
        words=said.words,
        columns=shown,
    )


def _groups(audit: Audit) -> dict[_Key, list[Finding]]:
    groups: dict[_Key, list[Finding]] = {}
    own = {
        finding.recipient.registrable_domain or finding.recipient.host
        for finding in audit.findings
        if finding.expected == "visited_site" and finding.leak_type != "D1"
    }
    for finding in audit.findings:
        if kind(finding) == "apart":
            continue
        who = finding.recipient
        site = who.registrable_domain or who.host or who.ip or "unknown"
        # each experiment visits sites of its own: to one another they are the same
        name = "the visited sites" if site in own and not who.organisation else (who.organisation or site)
        groups.setdefault((finding.leak_type, name, finding.mode, finding.setting or "default"), []).append(
            finding
        )
    return groups  # fmt: skip


def _difference(
    key: _Key, before: list[Finding], after: list[Finding], sides: list[Side], unread: list[_Unread]
) -> Difference:
    code, recipient, mode, setting = key
    left, right = sides
    one, other = _held(before, left, mode, setting), _held(after, right, mode, setting)
    details = _details(one, other) if before and after else ()
    change: Change
    if before and after:
        change = "changed" if details else "same"
    elif before:
        change = "vanished" if _could_see(other, unread[1], before) else "unknown"
    else:
        change = "appeared" if _could_see(one, unread[0], after) else "unknown"
    return Difference(
        change=change,
        code=code,
        title=words(code).title,
        recipient=recipient,
        mode=mode,
        setting=setting,
        before=one,
        after=other,
        details=details,
    )


def _unread(audit: Audit) -> _Unread:
    return {
        (row.host, row.mode) for row in audit.coverage.flows if row.host and row.observability != "observed"
    }


def _could_see(side: Held, unread: _Unread, found: list[Finding]) -> bool:
    """Whether a side without these findings would have had them: its mode has an answer, and it read all
    that went to their recipients."""
    return side.answer in {"leak", "no_leak_seen"} and not any(
        (each.recipient.host, each.mode) in unread for each in found
    )


def _held(found: list[Finding], side: Side, mode: Mode, setting: str) -> Held:
    answer = next(
        (
            column.answer
            for column in side.columns
            if column.mode == mode and (column.setting or "default") == setting
        ),
        "not_audited",
    )
    leaks = [finding for finding in found if kind(finding) == "leak"]
    state: State = "leak" if leaks else kind(found[0]) if found else "none"
    worst = min((severity_rank(finding.severity) for finding in found), default=None)
    return Held(
        state=state,
        severity=None if worst is None else _SEVERITIES[worst],
        findings=len(found),
        times=sum(times_seen(finding) for finding in found),
        values=len({finding.canary or finding.inferred for finding in found}),
        identifiers=tuple(sorted({each.name for finding in found for each in finding.identifiers})),
        countries=tuple(
            sorted({country(f.recipient.country_located) for f in found if f.recipient.country_located})
        ),
        answer=answer,
    )


def _details(one: Held, other: Held) -> tuple[str, ...]:
    """What differs in words. How often something was sent depends on what was done and is not counted."""
    out = []
    if one.state != other.state:
        out.append(f"{_said(one.state)} before, {_said(other.state)} now")
    if one.severity != other.severity:
        out.append(f"severity {one.severity} before, {other.severity} now")
    for name in sorted(set(other.identifiers) - set(one.identifiers)):
        out.append(f"now together with {name}")
    for name in sorted(set(one.identifiers) - set(other.identifiers)):
        out.append(f"no longer together with {name}")
    if one.countries != other.countries and one.countries and other.countries:
        out.append(f"located {', '.join(one.countries)} before, {', '.join(other.countries)} now")
    return tuple(out)


def _said(state: State) -> str:
    return {"leak": "a leak", "expected": "expected", "signal": "a signal"}.get(state, state)
