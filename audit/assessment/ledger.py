"""The recipients and the coverage: who got anything at all, and what could and could not be seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from audit.assessment.clock import rfc3339
from audit.assessment.phases import place_at
from audit.detection.scan import Scan, Traffic, recipient_key
from audit.recipients import identify
from audit.records import (
    Coverage,
    CoverageEntry,
    Experiment,
    Finding,
    Flow,
    Gap,
    GapSummary,
    Mode,
    RecipientSummary,
)

_BLIND_SPOTS = {
    "mitm": "Recorded by a proxy: what did not pass the proxy (other protocols, pinned connections, QUIC "
    "left alone, other networks) is not in the recording.",
    "har": "Recorded inside a browser: only what its pages requested is in the recording. The browser's own "
    "background traffic and everything else on the device is missing.",
}
_ALWAYS = (
    "Messages between programs on the device itself, SMS, and data encrypted before it was sent cannot be "
    "seen from outside the device. Not seen means unknown."
)


def recipients(
    scans: Iterable[Scan], experiment: Experiment, found: Iterable[Finding]
) -> tuple[RecipientSummary, ...]:
    """Every recipient of all captures, by name, with what went there in each mode."""
    merged: dict[tuple[str | None, str | None], Traffic] = defaultdict(Traffic)
    for scan in scans:
        for key, traffic in scan.recipients.items():
            merged[key].ips |= traffic.ips
            merged[key].sent += traffic.sent
    by_recipient: dict[tuple[str | None, str | None], list[str]] = defaultdict(list)
    for finding in found:
        by_recipient[recipient_key(finding.recipient.host, finding.recipient.ip)].append(finding.id)
    return tuple(
        _summary(key, merged[key], experiment, by_recipient.get(key, []))
        for key in sorted(merged, key=lambda key: (key[0] or "~", key[1] or ""))
    )


def _summary(
    key: tuple[str | None, str | None], traffic: Traffic, experiment: Experiment, found: list[str]
) -> RecipientSummary:
    count: Counter[Mode] = Counter()
    size: Counter[Mode] = Counter()
    for time, length in traffic.sent:
        mode = place_at(experiment, time).mode
        count[mode] += 1
        size[mode] += length
    times = sorted(time for time, _ in traffic.sent if time is not None)
    host, ip = key
    return RecipientSummary(
        recipient=identify(host, ip or min(traffic.ips, default=None)),
        ips=tuple(sorted(traffic.ips)),
        transmissions=dict(sorted(count.items())),
        bytes_up=dict(sorted(size.items())),
        first=rfc3339(times[0]) if times else None,
        last=rfc3339(times[-1]) if times else None,
        findings=tuple(sorted(found)),
    )


def coverage(scans: Iterable[Scan], experiment: Experiment, formats: Iterable[str]) -> Coverage:
    """How well each recipient's flows could be seen, all gaps, and the blind spots of the formats."""
    scans = list(scans)
    groups: dict[tuple[str | None, str | None, Mode, str, str | None], list[Flow]] = defaultdict(list)
    for scan in scans:
        for flow in scan.flows:
            host = next((names[0] for names in flow.names.values() if names), None)
            mode = place_at(experiment, flow.first if flow.first is not None else flow.time).mode
            groups[(*recipient_key(host, flow.dst), mode, flow.observability, flow.reason)].append(flow)
    entries = [
        CoverageEntry(
            host=host, ip=ip, mode=mode, observability=flows[0].observability, reason=reason, flows=len(flows),
            bytes_up=_total(f.payload_up if f.bytes_up is None else f.bytes_up for f in flows),
            bytes_down=_total(f.payload_down if f.bytes_down is None else f.bytes_down for f in flows),
        )
        for (host, ip, mode, _, reason), flows in sorted(groups.items(), key=lambda item: tuple(map(str, item[0])))
    ]  # fmt: skip
    said = [_BLIND_SPOTS[name] for name in sorted(set(formats)) if name in _BLIND_SPOTS]
    return Coverage(flows=tuple(entries), gaps=_gaps(scans), statements=(*said, _ALWAYS))


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _gaps(scans: list[Scan]) -> tuple[GapSummary, ...]:
    groups: dict[tuple[str, str, str], list[Gap]] = defaultdict(list)
    for scan in scans:
        for gap in scan.gaps:
            groups[gap.capture, gap.reason, gap.detail].append(gap)
    return tuple(
        GapSummary(
            capture=capture,
            reason=gaps[0].reason,
            detail=detail,
            count=len(gaps),
            offset=min((gap.offset for gap in gaps if gap.offset is not None), default=None),
            bytes=_total(gap.bytes for gap in gaps),
        )
        for (capture, _, detail), gaps in sorted(groups.items())
    )
