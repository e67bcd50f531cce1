"""Findings as the report shows them: a sentence, the recipient, and a bounded sample of evidence.

Every text here is already masked; none is yet inert (the templates' filter `wire` does that). The
sample is fixed by rule, never by chance, and the rule is shown.
"""

from __future__ import annotations

import shlex
from urllib.parse import unquote_plus

from msgspec import Struct

from audit.records import Audit, Canary, Finding, Occurrence, Severity
from audit.reporting.masking import Masker, Piece, host_of
from audit.reporting.modes import State, columns, kind, recipient_name
from audit.reporting.wording import words

FIRST, LAST = 5, 2
STAGES = 50
# how detection names transmissions that have no address: nothing of theirs came off the wire
_OWN_WORDS = ("DNS query (", "TLS ClientHello", "TCP message to port ", "UDP message to port ")
_HOW = {
    "canary": "mode known from the planted value",
    "event_time": "mode known from the event's own clock",
    "arrival": "mode taken from the time of arrival",
    "unknown": "mode unknown",
}


class Evidence(Struct, frozen=True, kw_only=True):
    """One occurrence. `request` and `excerpt` are in pieces, `layers` are outermost first."""

    time: str | None
    how: str
    capture: str
    transmission: str
    channel: str
    path: str
    layers: tuple[str, ...]
    form: str
    granularity: str
    request: tuple[Piece, ...]
    excerpt: tuple[Piece, ...]
    command: str


class FindingView(Struct, frozen=True, kw_only=True):
    """One finding, ready to be shown. `value` is the planted or (masked) inferred value; `before`,
    `middle` and `after` are the sentence around it and the recipient."""

    id: str
    state: State
    code: str
    title: str
    before: str
    value: str
    middle: str
    recipient: str
    after: str
    inferred: bool
    means: str
    severity: Severity
    mode: str
    organisation: str | None
    category: str | None
    host: str | None
    product: str | None
    origin: str
    origin_evidence: str | None
    expected: str | None
    explanation: str | None
    identifiers: tuple[tuple[str, str, str], ...]
    stages: tuple[str, ...]
    stages_left_out: int
    reached: str | None
    count: int
    evidence: tuple[Evidence, ...]
    left_out: int


def views(audit: Audit, masker: Masker) -> tuple[FindingView, ...]:
    """All findings in the audit's order."""
    canaries = {canary.id: canary for canary in audit.experiment.canaries}
    labels = {(column.mode, column.setting or "default"): column.label for column in columns(audit)}
    return tuple(
        _view(
            finding,
            canaries.get(finding.canary or ""),
            masker,
            labels[finding.mode, finding.setting or "default"],
        )
        for finding in audit.findings
    )


def _view(finding: Finding, canary: Canary | None, masker: Masker, mode: str) -> FindingView:
    said = words(finding.leak_type)
    before, _, rest = said.sentence.partition("{value}")
    middle, _, after = rest.partition("{recipient}") if rest else ("", "", "")
    if not rest:
        before, _, after = before.partition("{recipient}")
    sample = finding.occurrences
    left_out = max(0, len(sample) - FIRST - LAST)
    if left_out:
        sample = sample[:FIRST] + sample[-LAST:]
    stages = _stages(finding, masker)
    name = recipient_name(finding)
    return FindingView(
        id=masker.finding_id(finding),
        state=kind(finding),
        code=finding.leak_type,
        title=said.title,
        before=before,
        value=_value(finding, canary, masker),
        middle=middle,
        recipient=name,
        after=after[1:] if name.endswith(".") and after.startswith(".") else after,
        inferred=finding.inferred is not None,
        means=said.means,
        severity=finding.severity,
        mode=mode,
        organisation=finding.recipient.organisation,
        category=finding.recipient.category,
        host=finding.recipient.host or finding.recipient.ip,
        product=finding.recipient.product,
        origin=finding.origin,
        origin_evidence=_origin_evidence(finding, masker),
        expected=finding.expected,
        explanation=masker.sentence(finding.explanation) if finding.explanation else None,
        identifiers=tuple((each.name, each.kind, masker.identifier(each)) for each in finding.identifiers),
        stages=stages,
        stages_left_out=max(0, len(finding.occurrences) - 2 * STAGES) if stages else 0,
        reached=_reached(stages, canary),
        count=len(finding.occurrences),
        evidence=tuple(_evidence(finding, occurrence, masker) for occurrence in sample),
        left_out=left_out,
    )


def _origin_evidence(finding: Finding, masker: Masker) -> str | None:
    """Why the sender is said to be who it is said to be: the first reason given."""
    reasons = (each.origin_evidence for each in finding.occurrences if each.origin == finding.origin)
    reason = next((each for each in reasons if each), None)
    return masker.sentence(reason) if reason else None


def _value(finding: Finding, canary: Canary | None, masker: Masker) -> str:
    """What the finding is about, no more of a planted address than was found."""
    if canary is None:
        return finding.canary or (masker.inferred(finding.inferred) if finding.inferred else "a value")
    if canary.kind == "url" and finding.leak_type != "S2":
        if finding.granularity in {"host", "registrable_domain"}:
            return host_of(canary.value) or canary.value
        if finding.granularity == "no_query":
            return canary.value.partition("?")[0]
    return canary.value


def _evidence(finding: Finding, occurrence: Occurrence, masker: Masker) -> Evidence:
    typed = finding.leak_type == "S2" or occurrence.granularity == "prefix"
    return Evidence(
        time=occurrence.time,
        how=_HOW[occurrence.mode_by],
        capture=occurrence.capture,
        transmission=occurrence.transmission,
        channel=occurrence.channel,
        path=masker.path(occurrence.path),
        layers=occurrence.layers,
        form=occurrence.form,
        granularity=occurrence.granularity,
        request=(
            (Piece(text=occurrence.request),)
            if occurrence.request.startswith(_OWN_WORDS)
            else masker.excerpt(occurrence.request, finding.canary, finding.inferred, typed=typed)
        ),
        excerpt=masker.excerpt(occurrence.excerpt, finding.canary, finding.inferred, typed=typed),
        command=command(occurrence),
    )


def command(occurrence: Occurrence) -> str:
    """The command that shows the transmission again; it names it by its id, never by a value."""
    capture = shlex.quote(occurrence.capture)
    return f"privacy-audit inspect {capture} | grep -F {shlex.quote(chr(34) + occurrence.transmission + chr(34))}"


def _stages(finding: Finding, masker: Masker) -> tuple[str, ...]:
    """The growing beginnings of what was typed, in the order in which they left."""
    if finding.leak_type != "S2":
        return ()
    found: dict[str, None] = {}
    occurrences = finding.occurrences
    if len(occurrences) > 2 * STAGES:
        occurrences = occurrences[:STAGES] + occurrences[-STAGES:]
    for occurrence in occurrences:
        hits = masker.hits(occurrence.excerpt, finding.canary, typed=True)
        if hits:
            found[unquote_plus(max(hits, key=len))] = None
    return tuple(found)


def _reached(stages: tuple[str, ...], canary: Canary | None) -> str | None:
    """How far a typed value had left, where that is not all of it."""
    longest = max(stages, key=len, default=None)
    return longest if longest and canary and longest.casefold() != canary.value.casefold() else None
