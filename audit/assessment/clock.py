"""Times as the results write them: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rfc3339(time: float | None) -> str | None:
    """Epoch seconds as text; None stays None, and so does a time no calendar can hold."""
    if time is None:
        return None
    try:
        second, fraction = divmod(round(time * 1_000_000), 1_000_000)
    except (OverflowError, ValueError):
        return None
    moment = _second(second)
    return None if moment is None else f"{moment}.{fraction:06}Z"


def rfc3339_of(times: NDArray[np.datetime64]) -> list[str | None]:
    """Many times at once, given in nanoseconds; None where there is none."""
    import numpy as np

    near = np.rint(times.view("i8") / 1e9 * 1_000_000)  # as one by one: seconds are floats there
    texts: list[str | None] = np.datetime_as_string(near.astype("M8[us]"), timezone="UTC").tolist()
    for index in np.flatnonzero(np.isnat(times)).tolist():
        texts[index] = None
    return texts


@lru_cache(maxsize=1024)
def _second(second: int) -> str | None:
    try:
        return datetime.fromtimestamp(second, UTC).isoformat()[:19]
    except (OverflowError, ValueError, OSError):
        return None
