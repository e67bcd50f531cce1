"""Hits of all captures to findings: one statement per leak type × recipient × mode × setting × value.

The id of a finding is made of exactly these, so the same traffic in another format, order or number of
files gives the same ids. A weaker sighting of a value in a transmission that also shows the stronger one
belongs to the stronger finding. What is expected is decided here: the visited site gets its own address,
the chosen engine gets the submitted search; what is typed and not submitted is never expected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from audit.adapters import load
from audit.assessment.clock import rfc3339
from audit.assessment.identity import Persistent
from audit.assessment.leak_types import leak_type, severity, table
from audit.assessment.phases import Placing, place
from audit.assessment.statement import finding_id
from audit.detection.addresses import parse_address
from audit.detection.needles import SPECIFIC, Needles
from audit.detection.pieces import Sighting
from audit.detection.scan import Scan, Sent, recipient_key
from audit.detection.sequences import Sequence, sequences
from audit.recipients import identify
from audit.records import (
    Canary,
    Expected,
    Experiment,
    Finding,
    Match,
    Occurrence,
    Origin,
    Recipient,
)

_Key = tuple[str, tuple[str | None, str | None], Placing, str]


@dataclass(frozen=True)
class _Evidence:
    sent: Sent
    sighting: Sighting
    code: str
    event_time: float | None = None


def findings(
    scans: Iterable[Scan],
    experiment: Experiment,
    needles: Needles,
    persistent: Persistent,
    *,
    inferred: bool,
) -> list[Finding]:
    """All findings of these scans, by id. `inferred`: the values were inferred and not planted."""
    scans = list(scans)
    canaries = {canary.id: canary for canary in needles.canaries}
    evidence = _evidence(scans, canaries, needles)
    chosen = _chosen_engines(evidence)
    groups: dict[_Key, list[_Evidence]] = defaultdict(list)
    for item in _folded(evidence):
        canary = canaries[item.sighting.match.canary]
        placing = place(experiment, canary, item.sent.time, item.event_time)._replace(phase=None)
        key = (
            item.code,
            recipient_key(item.sent.host, item.sent.ip),
            placing._replace(by="unknown"),
            canary.id,
        )
        groups[key].append(item)
    made = [
        _finding(key, items, canaries[key[3]], experiment, chosen, persistent, inferred=inferred)
        for key, items in groups.items()
    ]
    return sorted(made, key=lambda finding: finding.id)


def _evidence(scans: list[Scan], canaries: dict[str, Canary], needles: Needles) -> list[_Evidence]:
    """Every hit with its type; those that are part of a sequence told as typed, and the keystrokes of
    the sequences that were no hits themselves added."""
    typed: dict[tuple[str, str, str, str, str], tuple[Sequence, Sighting, Sent]] = {}
    for scan in scans:
        senders = {id(stroke): sent for stroke, sent in scan.keystrokes}
        for sequence in sequences((stroke for stroke, _ in scan.keystrokes), needles):
            for stroke in sequence.strokes:
                sent = senders[id(stroke)]
                typed[_where(sent, sequence.canary, stroke.typed.channel, stroke.typed.path)] = (
                    sequence, _keystroke(stroke.typed.text, sequence.canary, stroke.typed), sent,
                )  # fmt: skip
    found: list[_Evidence] = []
    for scan in scans:
        for hit in scan.hits:
            match = hit.sighting.match
            where = _where(hit.sent, match.canary, hit.sighting.channel, hit.sighting.path)
            in_sequence = typed.pop(where, None) is not None
            canary = canaries[match.canary]
            is_typed = in_sequence or (hit.sent.suggests and canary.kind in ("term", "text"))
            channel = "dns" if _asks_for_names(hit.sent) else hit.sighting.channel
            kinds = {load()[adapter].kind for adapter in hit.sent.adapters}
            code = leak_type(
                canary, match.granularity, match.form, channel, is_typed, role=hit.role, kinds=kinds
            )
            found.append(_Evidence(hit.sent, hit.sighting, code, hit.event_time))
    found += [_Evidence(sent, sighting, "S2") for _, sighting, sent in typed.values()]
    return found


def _asks_for_names(sent: Sent) -> bool:
    """Whether the request is a name look-up over HTTPS (RFC 8484): listed apart like any look-up."""
    return any(load()[adapter].kind == "doh" for adapter in sent.adapters)


def _where(sent: Sent, canary: str, channel: str, path: str) -> tuple[str, str, str, str, str]:
    return (sent.capture, sent.id, canary, channel, path)


def _keystroke(text: str, canary: str, typed: object) -> Sighting:
    match = Match(canary=canary, granularity="prefix", form="plain", offset=0, length=len(text.encode()))
    return Sighting(match, typed.channel, typed.path, typed.layers, text)  # type: ignore[attr-defined]


def _folded(evidence: list[_Evidence]) -> Iterable[_Evidence]:
    """Gives all evidence of one canary in one transmission the type of its strongest."""
    score = {code: row.score for code, row in table().types.items()}
    strongest: dict[tuple[str, str, str], str] = {}
    for item in evidence:
        key = (item.sent.capture, item.sent.id, item.sighting.match.canary)
        if key not in strongest or score[item.code] > score[strongest[key]]:
            strongest[key] = item.code
    for item in evidence:
        code = strongest[item.sent.capture, item.sent.id, item.sighting.match.canary]
        yield item if item.code == code else replace(item, code=code)


def _chosen_engines(evidence: list[_Evidence]) -> set[tuple[str, str]]:
    """To which sites each search was submitted, in the address or in a form."""
    return {
        (item.sighting.match.canary, _site(identify(item.sent.host, item.sent.ip)))
        for item in evidence
        if item.sent.submits
        and item.code == "S1"
        and item.sighting.channel in ("url.query", "url.path", "body")
    }


def _site(recipient: Recipient) -> str:
    """What a recipient belongs to: its registrable domain; a host or address without one stands alone."""
    return recipient.registrable_domain or recipient.host or recipient.ip or ""


def _finding(
    key: _Key,
    items: list[_Evidence],
    canary: Canary,
    experiment: Experiment,
    chosen: set[tuple[str, str]],
    persistent: Persistent,
    *,
    inferred: bool,
) -> Finding:
    code, (host, ip), placing, _ = key
    items = sorted(items, key=_order)
    recipient = identify(host, ip or next((item.sent.ip for item in items if item.sent.ip), None))
    known = [load()[adapter] for adapter in sorted({a for item in items for a in item.sent.adapters})]
    expected = _expected(code, canary, recipient, chosen)
    if expected is None and canary.kind == "url" and any(a.kind == "error_logging" for a in known):
        # the site itself orders these reports about its own pages (W3C Network Error Logging)
        expected = "visited_site"
    identifiers = persistent.beside(
        recipient_key(host, ip),
        sorted({(item.sent.capture, item.sent.id) for item in items}),
        but=canary.id,
    )
    if canary.kind == "identifier":
        identifiers = tuple(i for i in identifiers if i.value.lower() != canary.value.lower())
    explanation = None
    if expected is None:
        # what is built to carry no address does not explain one that stands in it
        declared = (adapter.feature for adapter in known if not adapter.private_by_design)
        explanation = next((feature for feature in declared if feature), None)
    engines = {site for _, site in chosen}
    if code == "S2" and _site(recipient) in engines:
        explanation = explanation or "search suggestions of the engine that was chosen"
    # what is typed is no feature of an engine that was not chosen
    elsewhere = code == "S2" and engines and _site(recipient) not in engines
    return Finding(
        id=finding_id(
            code, host or ip, placing, f"value {canary.value}" if inferred else f"canary {canary.id}"
        ),
        leak_type=code,
        severity=severity(
            code,
            placing.mode,
            placing.setting,
            expected=expected is not None,
            feature=explanation is not None and not identifiers and not elsewhere,
            identified=bool(identifiers),
        ),
        mode=placing.mode,
        setting=placing.setting,
        expected=expected,
        origin=_origin(items),
        recipient=recipient,
        canary=None if inferred else canary.id,
        inferred=canary.value if inferred else None,
        granularity=min((item.sighting.match.granularity for item in items), key=SPECIFIC.index),
        identifiers=identifiers,
        explanation=explanation,
        occurrences=tuple(_occurrence(item, experiment, canary) for item in items),
    )


def _expected(
    code: str, canary: Canary, recipient: Recipient, chosen: set[tuple[str, str]]
) -> Expected | None:
    if canary.decoy or code == "S2":
        return None
    if code == "D1":
        return "visited_site"
    if canary.kind == "term":
        return "chosen_engine" if (canary.id, _site(recipient)) in chosen else None
    if canary.kind in ("url", "title"):
        address = parse_address(canary.value)
        own = identify(address.host, None).registrable_domain if address else None
        return "visited_site" if own and own == recipient.registrable_domain else None
    return None


def _origin(items: list[_Evidence]) -> Origin:
    origins = {item.sent.sender.origin for item in items}
    return origins.pop() if len(origins) == 1 else "unknown"


def _order(item: _Evidence) -> tuple[float, str, int, str, str, tuple[str, ...], int, str]:
    sighting = item.sighting
    return (
        item.sent.time or 0.0, item.sent.capture, item.sent.order, sighting.channel, sighting.path,
        sighting.layers, sighting.match.offset, sighting.match.form,
    )  # fmt: skip


def _occurrence(item: _Evidence, experiment: Experiment, canary: Canary) -> Occurrence:
    sighting = item.sighting
    return Occurrence(
        time=rfc3339(item.sent.time),
        mode_by=place(experiment, canary, item.sent.time, item.event_time).by,
        capture=item.sent.capture,
        transmission=item.sent.id,
        channel=sighting.channel,
        path=sighting.path,
        layers=sighting.layers,
        offset=sighting.match.offset,
        form=sighting.match.form,
        excerpt=sighting.excerpt,
        granularity=sighting.match.granularity,
        request=item.sent.request,
        origin=item.sent.sender.origin,
        origin_evidence=item.sent.sender.evidence,
    )
