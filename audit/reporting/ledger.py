"""Who received, and what could be seen: recipients and coverage as the report's tables and bars.

Unknown is spelled out. Nothing is left out without being counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, structs

from audit.records import Audit, CoverageEntry, DeviceSeen, Mode, Observability, PhaseTraffic
from audit.reporting.masking import Masker
from audit.reporting.modes import kind
from audit.reporting.wording import country

ROWS = 400
OBSERVABILITIES: tuple[Observability, ...] = ("observed", "metadata_only", "not_observed", "capture_failed")
_MODES: tuple[Mode, ...] = ("idle", "normal", "private", "unknown")


class RecipientView(Struct, frozen=True, kw_only=True):
    """One recipient: what went there by mode (aligned with the modes shown), where it is said to be."""

    host: str
    organisation: str | None
    category: str | None
    product: str | None
    located: str
    registered: str
    disagree: bool
    network: str
    ips: tuple[str, ...]
    transmissions: tuple[int, ...]
    bytes_up: tuple[int, ...]
    total_bytes: int
    leaks: tuple[str, ...]
    others: int
    evidence: str | None
    apps: tuple[str, ...]
    phases: tuple[PhaseTraffic, ...]


class Share(Struct, frozen=True, kw_only=True):
    """Part of a bar: `x` and `width` are percent of the whole. `partial`: some byte counts are unknown."""

    name: Observability
    flows: int
    x: float
    width: float
    bytes_up: int | None
    bytes_down: int | None
    partial: bool


class Sight(Struct, frozen=True, kw_only=True):
    """Connections to one recipient in one mode, and how well they could be seen."""

    who: str
    mode: Mode
    observability: Observability
    reason: str | None
    flows: int
    bytes_up: int | None
    bytes_down: int | None


def modes_shown(audit: Audit) -> tuple[Mode, ...]:
    """The modes that any recipient was counted in."""
    seen = {mode for row in audit.recipients for mode in (*row.transmissions, *row.bytes_up)}
    return tuple(mode for mode in _MODES if mode in seen)


def recipients(audit: Audit, masker: Masker) -> tuple[RecipientView, ...]:
    """Recipients of leaks first, then by the number of transmissions, then by name."""
    states = {finding.id: (kind(finding), masker.finding_id(finding)) for finding in audit.findings}
    modes = modes_shown(audit)
    rows = []
    for row in audit.recipients:
        who = row.recipient
        made = [states[each] for each in row.findings if each in states]
        rows.append(
            RecipientView(
                host=who.host or who.ip or (row.ips[0] if row.ips else "unknown"),
                organisation=who.organisation,
                category=who.category,
                product=who.product,
                located=country(who.country_located),
                registered=country(who.country_registered),
                disagree=None not in {who.country_located, who.country_registered}
                and who.country_located != who.country_registered,
                network=f"AS{who.asn} {who.as_name or ''}".strip() if who.asn is not None else "unknown",
                ips=row.ips,
                transmissions=tuple(row.transmissions.get(mode, 0) for mode in modes),
                bytes_up=tuple(row.bytes_up.get(mode, 0) for mode in modes),
                total_bytes=sum(row.bytes_up.values()),
                leaks=tuple(label for state, label in made if state == "leak"),
                others=sum(1 for state, _ in made if state != "leak"),
                evidence=who.evidence,
                apps=row.apps,
                phases=row.phases,
            )
        )
    return tuple(
        sorted(rows, key=lambda row: (-len(row.leaks), -row.others, -sum(row.transmissions), row.host))
    )


def devices(audit: Audit, masker: Masker) -> tuple[DeviceSeen, ...]:
    """Devices that told a name on the local network; the names are marks unless everything is shown."""
    return tuple(
        structs.replace(each, names={by: tuple(map(masker.mark, told)) for by, told in each.names.items()})
        for each in audit.devices
        if each.names
    )


def shares(audit: Audit) -> tuple[Share, ...]:
    """How many connections could be seen how well; the widths add up to 100."""
    flows = audit.coverage.flows
    total = sum(entry.flows for entry in flows)
    out: list[Share] = []
    at = 0.0
    for name in OBSERVABILITIES:
        here = [entry for entry in flows if entry.observability == name]
        count = sum(entry.flows for entry in here)
        width = round(100 * count / total, 2) if total else 0.0
        out.append(
            Share(
                name=name,
                flows=count,
                x=round(at, 2),
                width=width,
                bytes_up=_sum(entry.bytes_up for entry in here),
                bytes_down=_sum(entry.bytes_down for entry in here),
                partial=any(None in {entry.bytes_up, entry.bytes_down} for entry in here),
            )
        )
        at += width
    return tuple(out)


def seen(audit: Audit) -> tuple[Sight, ...]:
    """Every recipient and mode; what was not observed first, of that the largest number of connections."""
    rows = [_sight(entry) for entry in audit.coverage.flows]
    return tuple(
        sorted(
            rows,
            key=lambda row: (
                row.observability == "observed",
                -row.flows,
                row.who,
                row.mode,
                row.observability,
                row.reason or "",
            ),
        )
    )


# What the codes of findings.json mean to somebody who knows no protocols; other reasons are words already.
_REASONS = {
    "no_key": "encrypted, no key for it was given",
    "ech": "encrypted, no key for it was given, and the name may be a cover (ECH)",
    "quic": "QUIC, which could not be read",
    "pinned": "the app refused the proxy's certificate (pinned)",
    "lost": "packets of it were not recorded",
}


def _sight(entry: CoverageEntry) -> Sight:
    return Sight(
        who=entry.host or entry.ip or "unknown",
        mode=entry.mode,
        observability=entry.observability,
        reason=_REASONS.get(entry.reason or "", entry.reason),
        flows=entry.flows,
        bytes_up=entry.bytes_up,
        bytes_down=entry.bytes_down,
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = [each for each in values if each is not None]
    return sum(known) if known else None
