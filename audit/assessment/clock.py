"""Times as the results write them: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(time: float | None) -> str | None:
    """Epoch seconds as text; None stays None, and so does a time no calendar can hold."""
    if time is None:
        return None
    try:
        moment = datetime.fromtimestamp(round(time, 6), UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
