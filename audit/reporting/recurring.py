"""Identifiers that went along with what was found, and whether one links private mode to anything else."""

from __future__ import annotations

from msgspec import Struct

from audit.records import Audit, Finding, Identifier
from audit.reporting.masking import Masker
from audit.reporting.modes import kind, recipient_name


class Recurring(Struct, frozen=True, kw_only=True):
    """One identifier: who got it in which modes, with how many leaks. `links`: it was sent in private mode
    and in another one, so that the recipient can put both together."""

    names: tuple[str, ...]
    kind: str
    value: str
    recipients: tuple[str, ...]
    modes: tuple[str, ...]
    leaks: int
    others: int
    links: bool
    first: str
    link: str


def recurring(audit: Audit, masker: Masker) -> tuple[Recurring, ...]:
    """The identifiers, those that link modes first, then by the number of leaks."""
    groups: dict[tuple[str, str], list[tuple[Finding, Identifier]]] = {}
    for finding in audit.findings:
        for each in finding.identifiers:
            groups.setdefault((each.value, each.kind), []).append((finding, each))
    rows = []
    for (_, what), pairs in groups.items():
        modes = {finding.mode for finding, _ in pairs}
        leaks = sum(1 for finding, _ in pairs if kind(finding) == "leak")
        rows.append(
            Recurring(
                names=tuple(sorted({each.name for _, each in pairs})),
                kind=what,
                value=masker.identifier(pairs[0][1]),
                recipients=tuple(sorted({recipient_name(finding) for finding, _ in pairs})),
                modes=tuple(mode for mode in ("idle", "normal", "private", "unknown") if mode in modes),
                leaks=leaks,
                others=len(pairs) - leaks,
                links="private" in modes and bool(modes & {"idle", "normal"}),
                first=min((o.time or "~" for finding, _ in pairs for o in finding.occurrences), default="~"),
                link=masker.finding_id(pairs[0][0]),
            )
        )
    return tuple(sorted(rows, key=lambda row: (not row.links, -row.leaks, row.names, row.value)))
