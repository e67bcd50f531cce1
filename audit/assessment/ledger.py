"""The recipients and the coverage: who got anything at all, and what could and could not be seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from audit.assessment.clock import rfc3339
from audit.detection.closed import Stayed
from audit.detection.identifiers import Key
from audit.detection.scan import Place, Scan, Seen, Sight, Traffic, recipient_key
from audit.recipients import identify
from audit.records import (
    Activity,
    Coverage,
    CoverageEntry,
    Experiment,
    Finding,
    Gap,
    GapSummary,
    Mode,
    Observability,
    OpaqueEntry,
    PhaseTraffic,
    RecipientSummary,
    RecordSizes,
)

_PACKETS = {"pcapng": "pcap", "snoop": "pcap"}
_BLIND_SPOTS = {
    "mitm": "Recorded by a proxy: what did not pass the proxy (other protocols, pinned connections, QUIC "
    "left alone, other networks) is not in the recording.",
    "pcap": "Recorded as packets: of encrypted connections the recipient, size and time are seen, the content is "
    "not.",
    "har": "Recorded inside a browser: only what its pages requested is in the recording. The browser's own "
    "background traffic and everything else on the device is missing.",
}
_BLIND_SPOTS |= {
    "app-privacy-report": "Listed by the device (App Privacy Report): which app contacted which name is known, not how "
    "often, how much, or what was sent.",
    "connection-list": "Listed on the device: which app opened which connection is known, not what was sent.",
}
_ALWAYS = (
    "Messages between programs on the device itself, SMS, and data encrypted before it was sent cannot be "
    "seen from outside the device. Not seen means unknown."
)


def side_by_side(scans: Iterable[Scan]) -> list[list[Scan]]:
    """The captures in groups that overlap in time: what a group shows is the same traffic, seen from more
    than one place, and must not be counted twice. A capture without times stands alone."""
    scans = list(scans)
    groups = [[scan] for scan in scans if scan.first is None or scan.last is None or scan.supplement]
    timed = [
        (scan.first, scan.last, scan)
        for scan in scans
        if scan.first is not None and scan.last is not None and not scan.supplement
    ]
    end = float("-inf")
    for first, last, scan in sorted(timed, key=lambda entry: (entry[0], entry[2].capture)):
        if first < end:
            groups[-1].append(scan)
        else:
            groups.append([scan])
        end = max(end, last)
    return groups


def recipients(
    groups: Sequence[list[Scan]], experiment: Experiment, found: Iterable[Finding]
) -> tuple[RecipientSummary, ...]:
    """Every recipient of all captures, by name, with what went there in each mode. Of captures of the same
    traffic, the one that saw most transmissions counts."""
    merged: dict[Key, Traffic] = defaultdict(Traffic)
    active: dict[Key, list[Traffic]] = defaultdict(list)
    for group in groups:
        best: dict[tuple[Key, str | None], tuple[int, int]] = {}
        most: dict[Key, Traffic] = {}
        for scan in group:
            for key, traffic in scan.recipients.items():
                whole = merged[key]
                if key not in most or traffic.seconds.total() > most[key].seconds.total():
                    most[key] = traffic
                whole.ips |= traffic.ips
                whole.first = min(filter(None, (whole.first, traffic.first)), default=None)
                whole.last = max(filter(None, (whole.last, traffic.last)), default=None)
                for phase, count in traffic.transmissions.items():
                    here = (count, traffic.bytes[phase])
                    best[key, phase] = max(best.get((key, phase), here), here)
        for key, traffic in most.items():
            active[key].append(traffic)
        for (key, phase), (count, size) in best.items():
            merged[key].transmissions[phase] += count
            merged[key].bytes[phase] += size
    apps: dict[Key, set[str]] = defaultdict(set)
    for scan in (scan for group in groups for scan in group):
        for key, names in scan.apps.items():
            apps[key] |= names
            merged.setdefault(key, Traffic())
    by_recipient: dict[Key, list[str]] = defaultdict(list)
    for finding in found:
        by_recipient[recipient_key(finding.recipient.host, finding.recipient.ip)].append(finding.id)
    return tuple(
        _summary(
            key,
            merged[key],
            experiment,
            by_recipient.get(key, []),
            apps.get(key, set()),
            _activity(active[key]),
        )
        for key in sorted(merged, key=lambda key: (key[0] or "~", key[1] or ""))
    )


def _summary(
    key: Key,
    traffic: Traffic,
    experiment: Experiment,
    found: list[str],
    apps: set[str],
    activity: Activity | None,
) -> RecipientSummary:
    modes = _modes(experiment)
    count: Counter[Mode] = Counter()
    size: Counter[Mode] = Counter()
    for phase, number in traffic.transmissions.items():
        count[modes[phase]] += number
        size[modes[phase]] += traffic.bytes[phase]
    host, ip = key
    return RecipientSummary(
        recipient=identify(host, ip or min(traffic.ips, default=None)),
        ips=tuple(sorted(traffic.ips)),
        transmissions=dict(sorted(count.items())),
        bytes_up=dict(sorted(size.items())),
        first=rfc3339(traffic.first),
        last=rfc3339(traffic.last),
        findings=tuple(sorted(found)),
        apps=tuple(sorted(apps)),
        activity=activity,
        phases=tuple(
            PhaseTraffic(phase=phase, mode=modes[phase], transmissions=number, bytes_up=traffic.bytes[phase])
            for phase in modes
            if (number := traffic.transmissions.get(phase, 0))
        ),
    )


def _activity(parts: list[Traffic]) -> Activity | None:
    """When something went there, in spans of the coarsest of the captures."""
    width = max((part.width for part in parts), default=1)
    counts: Counter[int] = Counter()
    for part in parts:
        for second, count in part.seconds.items():
            counts[second // width * width] += count
    return Activity(width=width, counts=tuple(sorted(counts.items()))) if counts else None


def _modes(experiment: Experiment) -> dict[str | None, Mode]:
    modes: dict[str | None, Mode] = {phase.id: phase.mode for phase in experiment.phases}
    modes[None] = "unknown"
    return modes


def coverage(groups: Iterable[list[Scan]], experiment: Experiment, formats: Iterable[str]) -> Coverage:
    """How well each recipient's flows could be seen, all gaps, and the blind spots of the formats. Of
    captures of the same traffic, the one that could read most of a recipient's flows tells of it."""
    groups = list(groups)
    modes = _modes(experiment)
    cells: dict[tuple[Key, Mode, Observability, str | None], Seen] = defaultdict(Seen)
    for group in groups:
        for sight, seen in _best_sight(group):
            cell = cells[(sight.host, sight.ip), modes[sight.phase], sight.observability, sight.reason]
            cell.flows += seen.flows
            cell.records_up += seen.records_up
            cell.records_down += seen.records_down
            cell.bytes_up = _sum(cell.bytes_up, seen.bytes_up)
            cell.bytes_down = _sum(cell.bytes_down, seen.bytes_down)
    entries = tuple(
        CoverageEntry(
            host=host, ip=ip, mode=mode, observability=observability, reason=reason, flows=seen.flows,
            bytes_up=seen.bytes_up, bytes_down=seen.bytes_down,
            tls_records_up=_sizes(seen.records_up), tls_records_down=_sizes(seen.records_down),
        )
        for ((host, ip), mode, observability, reason), seen in sorted(
            cells.items(), key=lambda item: tuple(map(str, item[0]))
        )
    )  # fmt: skip
    said = [
        _BLIND_SPOTS[name]
        for name in sorted({_PACKETS.get(name, name) for name in formats})
        if name in _BLIND_SPOTS
    ]
    gaps = _gaps([scan for group in groups for scan in group])
    opaque = _opaque(groups, modes)
    if opaque:
        said.append(_said_of(opaque))
    return Coverage(flows=entries, gaps=gaps, statements=(*said, _ALWAYS), opaque=opaque)


def _opaque(groups: Iterable[list[Scan]], modes: dict[str | None, Mode]) -> tuple[OpaqueEntry, ...]:
    """What nothing could open, by recipient, mode and channel. Of captures of the same traffic, the one that
    saw most of it counts."""
    merged: dict[tuple[Key, Mode, str], Stayed] = defaultdict(Stayed)
    for group in groups:
        best: dict[Place, Stayed] = {}
        for scan in group:
            for place, stayed in scan.closed.items():
                if place not in best or stayed.values > best[place].values:
                    best[place] = stayed
        for place, stayed in best.items():
            merged[(place.host, place.ip), modes[place.phase], place.channel].merge(stayed)
    return tuple(
        OpaqueEntry(
            host=host, ip=ip, mode=mode, channel=channel, transmissions=stayed.transmissions,
            values=stayed.values, bytes=stayed.size, largest=stayed.largest, entropy=round(stayed.entropy, 3),
            explanation=stayed.known,
        )
        for ((host, ip), mode, channel), stayed in sorted(
            merged.items(), key=lambda item: tuple(map(str, item[0]))
        )
    )  # fmt: skip


def _said_of(opaque: tuple[OpaqueEntry, ...]) -> str:
    who = len({(entry.host, entry.ip) for entry in opaque})
    largest = max(opaque, key=lambda entry: entry.bytes)
    return (
        f"{sum(entry.values for entry in opaque):,} values ({sum(entry.bytes for entry in opaque):,} bytes) to "
        f"{who} {'recipient' if who == 1 else 'recipients'} could not be opened, most of them by bytes to "
        f"{largest.host or largest.ip}: they may be encrypted, compressed or in a format that is not known. "
        "What they hold is unknown."
    )


def _best_sight(group: list[Scan]) -> Iterator[tuple[Sight, Seen]]:
    """The sights of a group, each recipient and phase from the capture that read most of its flows (of
    equals, the first that saw any)."""
    read: dict[tuple[Key, str | None], dict[int, int]] = defaultdict(dict)
    for number, scan in enumerate(group):
        for sight, seen in scan.flows.items():
            counts = read[(sight.host, sight.ip), sight.phase]
            counts[number] = counts.get(number, 0) + seen.flows * (sight.observability == "observed")
    for number, scan in enumerate(group):
        for sight, seen in scan.flows.items():
            counts = read[(sight.host, sight.ip), sight.phase]
            if number == max(counts, key=lambda n: (counts[n], -n)):
                yield sight, seen


def _sizes(records: Counter[int]) -> RecordSizes | None:
    """The sizes of some records, of which it is known how many have which."""
    sizes = sorted(records.elements())
    if not sizes:
        return None
    return RecordSizes(count=len(sizes), smallest=sizes[0], median=sizes[len(sizes) // 2], largest=sizes[-1])


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


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
