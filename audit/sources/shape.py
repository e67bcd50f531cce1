"""What becomes of the records of a capture where they are read: a caller may want lines, not objects.

A reader hands every record to a shape, in the process that read it, so only what the caller wants travels
between processes. Flows come as columns, because there may be a million of them. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from audit.records import AnyRecord, Dns, Flow, Http, Tls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

T_co = TypeVar("T_co", covariant=True)
Columns = dict[str, Any]
"""The fields of many records by name, as sequences of equal length. Of flows `first` and `last` are arrays of
nanoseconds (NaT: no time), and `time` is left out: it is `first`."""


class Shape(Protocol[T_co]):
    """Makes of records what a caller wants: records or bytes, which can travel between processes. Unless it
    wants them `whole`, a reader may leave out headers, which take time to read."""

    whole: bool

    def record(self, record: AnyRecord) -> T_co:
        """What is made of a record."""

    def records(self, kind: type[Dns | Tls | Http], columns: Columns) -> Iterable[T_co]:
        """What is made of many records of one kind, one item each."""

    def flows(self, columns: Columns, *, apart: bool = True) -> Iterable[T_co]:
        """What is made of many flows, in order; one item each if they are wished for `apart`."""

    def together(self, made: Iterable[Any]) -> Iterable[T_co]:
        """All these, in the same order; if one is as good as many, as one."""


class AsRecords:
    """Records stay as they are."""

    whole = True

    def record(self, record: AnyRecord) -> AnyRecord:
        return record

    def records(self, kind: type[Dns | Tls | Http], columns: Columns) -> Iterable[AnyRecord]:
        return [kind(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    def flows(self, columns: Columns, *, apart: bool = True) -> Iterable[Flow]:  # noqa: ARG002
        first, last = _seconds(columns["first"]), _seconds(columns["last"])
        columns = {**columns, "time": first, "first": first, "last": last}
        return [Flow(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    def together(self, made: Iterable[Any]) -> Iterable[AnyRecord]:
        return made


def _seconds(times: Times) -> list[float | None]:
    none = times.dtype.type("NaT").view("i8")
    return [None if time == none else time / 1e9 for time in times.view("i8").tolist()]
