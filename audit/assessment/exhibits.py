"""Gives each finding the one transmission that shows it best, in full.

Of the occurrences that hold most of the value, the first that was kept; what was typed is shown by the
last of them, which is the longest. It changes nothing that a finding states.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import structs

from audit.detection.exhibits import Key
from audit.detection.needles import SPECIFIC
from audit.detection.scan import Scan
from audit.records import Exhibit, Finding, Occurrence


def exhibited(found: Iterable[Finding], scans: Sequence[Scan]) -> list[Finding]:
    """The same findings, each with its exhibit where one was kept."""
    kept = {(scan.capture, *key): exhibit for scan in scans for key, exhibit in scan.exhibits.items()}
    return [structs.replace(finding, exhibit=_best(finding, kept)) for finding in found]


def _best(finding: Finding, kept: dict[tuple[str, *Key], Exhibit]) -> Exhibit | None:
    best: tuple[int, Exhibit] | None = None
    typed = finding.leak_type == "S2"
    for each in reversed(finding.occurrences) if typed else finding.occurrences:
        exhibit = kept.get(_key(each))
        rank = SPECIFIC.index(each.granularity)
        if exhibit and (best is None or (rank < best[0] and not typed)):
            best = rank, exhibit
    return best[1] if best else None


def _key(occurrence: Occurrence) -> tuple[str, *Key]:
    return (
        occurrence.capture,
        occurrence.transmission,
        occurrence.channel,
        occurrence.path,
        occurrence.offset,
    )
