"""A flow file while it is being written: the records that each new state of a flow adds.

Reads forward only, whole frames only, and remembers of each flow how many of its records it has told. What it
tells is for looking on; the whole file, read afterwards, is what counts. Format: see `flowfile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mitmproxy.io import compat

from audit.records import AnyRecord
from audit.sources import mitm, tnetstring
from audit.sources.flowstate import flow_of

MAX_FRAME = 256 << 20  # bytes; a flow beyond that is left to the analysis afterwards
MAX_KNOWN = 50_000  # flows remembered
_HEADER = 13


class News(NamedTuple):
    """What a state adds: the id of its flow in mitmproxy, and the records not told before."""

    flow: str
    records: tuple[AnyRecord, ...]


class Growing:
    """A flow file that may not be there yet. `offset` is how far it was read."""

    def __init__(self, path: Path, capture: str) -> None:
        self._path, self._capture = path, capture
        self._told: dict[str, int] = {}
        self.offset = 0

    def more(self) -> Iterator[News]:
        """What was appended since. A frame that cannot be read is passed over; raises OSError."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            while True:
                file.seek(self.offset)
                header = tnetstring.HEADER.match(file.read(_HEADER))
                if header is None:
                    return
                end = self.offset + header.end() + int(header[1]) + 1
                if end - self.offset > MAX_FRAME:
                    file.seek(end)
                    if file.tell() > self._path.stat().st_size:
                        return
                    self.offset = end
                    continue
                file.seek(self.offset + header.end())
                data = file.read(end - self.offset - header.end())
                if len(data) < end - self.offset - header.end():
                    return
                self.offset = end
                if news := self._news(data):
                    yield news

    def _news(self, data: bytes) -> News | None:
        try:
            parsed: Any = tnetstring.parse(tnetstring.Element(data, 0, len(data) - 1))
            state: Any = compat.migrate_flow(parsed)
            records = tuple(mitm.records_of(flow_of(state), self._capture, str(state["id"])))
            first = state.get("metadata", {}).get("continues", state["id"])
        except Exception:
            return None  # hostile states raise anything; the analysis afterwards tells of it
        part = str(state["id"])
        told = self._told.pop(part, 0)
        self._told[part] = max(told, len(records))
        if len(self._told) > MAX_KNOWN:
            del self._told[next(iter(self._told))]
        return News(str(first), records[told:]) if records[told:] else None
