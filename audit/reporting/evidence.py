"""Findings as the report shows them: a sentence, the recipient, and a bounded sample of evidence.

Every text here is already masked; none is yet inert (the templates' filter `wire` does that). The
sample is fixed by rule, never by chance, and the rule is shown.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from urllib.parse import unquote_plus

from msgspec import Struct

from audit.records import Audit, Canary, Finding, Layer, Occurrence, Severity
from audit.reporting.masking import Masker, Piece, host_of
from audit.reporting.modes import State, columns, kind, recipient_name, times_seen
from audit.reporting.tree import layer_words
from audit.reporting.wording import words

FIRST, LAST = 5, 2  # occurrences of a finding
SHOWN, EXHIBITS = 300, 150  # findings of each state; findings with a transmission in full
# header values that say how, not what: readable, if they hold nothing but these
_PLAIN_HEADERS = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-type", "dnt", "origin",
    "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "sec-gpc", "te", "upgrade",
})  # fmt: skip
_PLAIN_VALUE = re.compile(
    r"(?:(?:application|text|image|audio|video|font|multipart|\*)/[a-z.+*-]{1,40}|gzip|deflate|br|zstd|identity"
    r"|keep-alive|close|navigate|cors|no-cors|same-origin|same-site|cross-site|none|empty|document|script|style"
    r"|image|iframe|trailers|websocket|null|charset=utf-8|charset=UTF-8|q=[01](?:\.\d)?|\?[01]|[01]|\*/\*|[,; ])+\Z"
)
STAGES = 50
_HOW = {
    "canary": "mode known from the planted value",
    "event_time": "mode known from the event's own clock",
    "arrival": "mode taken from the time of arrival",
    "unknown": "mode unknown",
}


class Evidence(Struct, frozen=True, kw_only=True):
    """One occurrence. `excerpt` is in pieces, `layers` are outermost first."""

    time: str | None
    how: str
    capture: str
    transmission: str
    channel: str
    path: str
    layers: tuple[str, ...]
    form: str
    excerpt: tuple[Piece, ...]


class Peeled(Struct, frozen=True, kw_only=True):
    """One layer of an exhibit: its name and what it is in plain words, its size, the value marked."""

    layer: str
    means: str
    path: str
    pieces: tuple[Piece, ...]
    bytes: int


class ExhibitView(Struct, frozen=True, kw_only=True):
    """One transmission as it was sent, and its layers down to the value."""

    capture: str
    transmission: str
    channel: str
    request: tuple[Piece, ...]
    headers: tuple[tuple[str, tuple[Piece, ...]], ...]
    body: tuple[Piece, ...]
    body_bytes: int
    layers: tuple[Peeled, ...]
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
    seen: int
    captures: int
    evidence: tuple[Evidence, ...]
    left_out: int
    exhibit: ExhibitView | None


def views(audit: Audit, masker: Masker) -> tuple[FindingView, ...]:
    """The first findings of each state, in the audit's order; the first of all with their exhibit."""
    canaries = {canary.id: canary for canary in audit.experiment.canaries}
    keys = _keys(audit)
    labels = {(column.mode, column.setting or "default"): column.label for column in columns(audit)}
    taken: Counter[State] = Counter()
    out: list[FindingView] = []
    for finding in audit.findings:
        state = kind(finding)
        taken[state] += 1
        if taken[state] <= SHOWN:
            mode = labels[finding.mode, finding.setting or "default"]
            canary = canaries.get(finding.canary or "")
            out.append(_view(finding, canary, masker, mode, keys, whole=len(out) < EXHIBITS))
    return tuple(out)


def _view(
    finding: Finding,
    canary: Canary | None,
    masker: Masker,
    mode: str,
    keys: dict[str, tuple[str, ...]],
    *,
    whole: bool,
) -> FindingView:
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
        seen=times_seen(finding),
        captures=len({each.capture for each in finding.occurrences}),
        evidence=tuple(_evidence(finding, occurrence, masker) for occurrence in sample),
        left_out=left_out,
        exhibit=_exhibit(finding, masker, keys) if whole else None,
    )


def _keys(audit: Audit) -> dict[str, tuple[str, ...]]:
    """By packet capture, the options that open it."""
    options = tuple(part for name in audit.experiment.keys for part in ("--keys", name))
    return {each.name: options for each in audit.captures if each.format.startswith("pcap")}


def _exhibit(finding: Finding, masker: Masker, keys: dict[str, tuple[str, ...]]) -> ExhibitView | None:
    shown = finding.exhibit
    if shown is None:
        return None
    typed = finding.leak_type == "S2"

    def pieces(text: str) -> tuple[Piece, ...]:
        return masker.excerpt(text, finding.canary, finding.inferred, typed=typed)

    return ExhibitView(
        capture=shown.capture,
        transmission=shown.transmission,
        channel=shown.channel,
        request=pieces(shown.request),
        headers=tuple((name, _header(name, value, masker, pieces)) for name, value in shown.headers),
        body=masker.coded(shown.body) if _is_binary(shown.body) else pieces(shown.body),
        body_bytes=shown.body_bytes,
        layers=tuple(
            Peeled(
                layer=each.layer,
                means=layer_words().get(each.layer, each.layer) if each.layer else "",
                path=masker.path(each.path),
                pieces=_peeled(each, masker, pieces),
                bytes=each.bytes,
            )
            for each in shown.layers
        ),
        command=command(shown.capture, shown.transmission, keys),
    )


def _header(
    name: str, value: str, masker: Masker, pieces: Callable[[str], tuple[Piece, ...]]
) -> tuple[Piece, ...]:
    return (Piece(text=value),) if readable_header(name, value, masker) else pieces(value)


def readable_header(name: str, value: str, masker: Masker) -> bool:
    """Whether a header's value says nothing but how the request is to be read."""
    return (
        name.casefold() in _PLAIN_HEADERS
        and bool(_PLAIN_VALUE.match(value))
        and masker.sentence(value) == value
    )


def _peeled(each: Layer, masker: Masker, pieces: Callable[[str], tuple[Piece, ...]]) -> tuple[Piece, ...]:
    """What one layer shows: the value marked, or, where it is still coded, the coded form marked."""
    whole = pieces(each.before + each.value + each.after)
    if any(piece.hit for piece in whole) and not _is_binary(each.before + each.after):
        return whole
    if masker.unmasked:
        return tuple(
            piece
            for piece in (
                Piece(text=each.before),
                Piece(text=each.value, hit=True),
                Piece(text=each.after),
            )
            if piece.text
        )
    # a name is told by what follows it, so that something must follow
    before = () if _is_binary(each.before) else pieces(each.before + "0")[:-1]
    return (*before, *masker.coded(each.value, hit=True))


def _is_binary(text: str) -> bool:
    """Whether a text shows bytes that are no text."""
    return "\\x" in text or any(each < " " and each not in "\n\r\t" for each in text)


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
        excerpt=masker.excerpt(occurrence.excerpt, finding.canary, finding.inferred, typed=typed),
    )


def command(capture: str, transmission: str, keys: dict[str, tuple[str, ...]]) -> str:
    """The command that shows the transmission again; it names it by its id, never by a value."""
    name = f"./{capture}" if capture.startswith("-") and capture != "-" else capture
    return shlex.join(("privacy-audit", "inspect", name, "--id", transmission, *keys.get(capture, ())))


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
