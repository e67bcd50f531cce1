"""Whom names were asked of over encrypted connections that could be read, and which: DNS over TLS, HTTPS, QUIC.

It counts questions; what a name gives away is for the findings to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from audit.detection.scan import Lookup, Scan
from audit.records import EncryptedDns, Experiment, Mode

MAX_NAMES = 200


def encrypted_dns(groups: Iterable[list[Scan]], experiment: Experiment) -> tuple[EncryptedDns, ...]:
    """One entry for each resolver, carrier and mode. Of captures of the same traffic, the one that saw
    most questions counts."""
    modes: dict[str | None, Mode] = {phase.id: phase.mode for phase in experiment.phases}
    merged: dict[tuple[str | None, str | None, str, Mode], Counter[str]] = {}
    for group in groups:
        best: dict[Lookup, Counter[str]] = {}
        for scan in group:
            for lookup, names in scan.lookups.items():
                if names.total() > best.get(lookup, Counter[str]()).total():
                    best[lookup] = names
        for (host, ip, carrier, phase), names in best.items():
            key = (host, ip, carrier, modes.get(phase, "unknown"))
            merged[key] = merged.get(key, Counter()) + names
    return tuple(
        EncryptedDns(
            host=host, ip=ip, carrier=carrier, mode=mode, questions=names.total(), distinct=len(names),
            names=tuple(sorted(names)[:MAX_NAMES]),
        )
        for (host, ip, carrier, mode), names in sorted(merged.items(), key=lambda item: tuple(map(str, item[0])))
    )  # fmt: skip
