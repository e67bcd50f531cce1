"""What the live search reports: the content of `.live.json`, for the control page and mitmproxy's interfaces.

Only the shape and the reading are here, so that who reads it needs none of what the search needs. A first look,
not evidence. The file is replaced whole; a reader never sees half of it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct, field

from audit.records import Severity

NAME = ".live.json"


class LiveFinding(Struct, frozen=True, kw_only=True):
    """A finding so far. `times` counts the places it was found in."""

    id: str
    title: str
    severity: Severity
    mode: str
    setting: str | None
    expected: bool
    recipient: str
    host: str
    value: str
    times: int
    last: str | None


class LiveRecipient(Struct, frozen=True, kw_only=True):
    """Who received anything, and how many transmissions in each phase ("" where none was on)."""

    host: str
    name: str
    category: str | None
    phases: dict[str, int]


class Live(Struct, kw_only=True):
    """What is known so far. `opened` counts transmissions that were encrypted and could be read, `flows` says what a flow of mitmproxy's leaks, `behind` how many bytes of the
    recording are still to be looked at."""

    updated: float = 0.0
    transmissions: int = 0
    opened: int = 0
    behind: int = 0
    findings: list[LiveFinding] = field(default_factory=list)
    recipients: list[LiveRecipient] = field(default_factory=list)
    flows: dict[str, str] = field(default_factory=dict)


def read(folder: Path) -> Live | None:
    """The last report in an experiment's folder; None where there is none."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Live)
    except (OSError, msgspec.DecodeError):
        return None
