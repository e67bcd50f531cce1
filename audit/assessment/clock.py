"""Times as the results write them: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

_LENGTH = len("1970-01-01T00:00:00.000000Z")
_FAR = 9e9  # seconds up to which all years have four digits

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


def rfc3339_at(times: Sequence[float | None]) -> list[str | None]:
    """Many epoch seconds at once, as `rfc3339` writes them."""
    import numpy as np

    seconds = np.array(times, dtype=np.float64)
    known = np.abs(seconds) < _FAR
    if not known.all():
        return list(map(rfc3339, times))
    return _written(np.rint(seconds * 1_000_000).astype(np.int64))


def rfc3339_of(times: NDArray[np.datetime64]) -> list[str | None]:
    """Many times at once, given in nanoseconds; None where there is none."""
    import numpy as np

    # as one by one: seconds are floats there
    found = _written(np.rint(times.view("i8") / 1e9 * 1_000_000).astype("i8"))
    for index in np.flatnonzero(np.isnat(times)).tolist():
        found[index] = None
    return found


def _written(near: NDArray[np.int64]) -> list[str | None]:
    """Epoch microseconds as text."""
    import numpy as np

    seconds, which = np.unique(near // 1_000_000, return_inverse=True)
    texts = np.empty((len(near), _LENGTH), dtype=np.uint8)
    moments = np.datetime_as_string(seconds.astype("M8[s]")).astype("S20")
    texts[:, :20] = moments.view(np.uint8).reshape(-1, 20)[which]
    texts[:, 19] = ord(".")
    rest = near % 1_000_000
    for place in range(25, 19, -1):
        rest, digit = rest // 10, rest % 10
        texts[:, place] = digit + ord("0")
    texts[:, 26] = ord("Z")
    text = texts.tobytes().decode("ascii")
    return [text[at : at + _LENGTH] for at in range(0, len(text), _LENGTH)]


@lru_cache(maxsize=1024)
def _second(second: int) -> str | None:
    try:
        return datetime.fromtimestamp(second, UTC).isoformat()[:19]
    except (OverflowError, ValueError, OSError):
        return None
