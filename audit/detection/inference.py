"""What a person did, read from the traffic itself: pages visited, searches made, text typed.

Used where no canary was planted. A visit is a document navigation; a search is a visit to a results page
of an engine that the table of search engines knows; typed text is what grows at a suggestion endpoint.
The inferred values are then searched for like planted ones. They are guesses about actions, never about
who is behind them, and are masked wherever they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from audit.adapters import search_engines
from audit.detection.needles import parse_address
from audit.detection.origin import is_navigation
from audit.recipients import identify
from audit.records import AnyRecord, Canary, CanaryKind, Http

MAX_VALUES = 2_000
_NO_VISITS = ("advertising", "analytics")


@dataclass
class Inference:
    """Collects values from records; `canaries` gives them as canaries to search for."""

    _values: dict[tuple[CanaryKind, str], None] = field(default_factory=dict)
    _typing: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._engines = search_engines()

    def add(self, record: AnyRecord) -> None:
        """Looks at one record."""
        if not isinstance(record, Http) or record.direction != "up" or not record.host:
            return
        suggestion = self._engines.suggestion(record.host, record.path)
        if suggestion:
            self._typing_at(f"{record.host} {record.src}", suggestion.term)
            return
        if not is_navigation(record):
            return
        search = self._engines.results_page(record.host, record.path)
        if search:
            self._keep("term", search.term)
        elif identify(record.host, None).category not in _NO_VISITS:
            self._keep("url", f"{record.scheme}://{record.authority}{record.path}")

    def _typing_at(self, place: str, text: str) -> None:
        """Keeps the longest text of a run of texts that each begin with the one before, or the
        reverse (letters taken back)."""
        before = self._typing.get(place, "")
        if before and not text.startswith(before) and not before.startswith(text):
            self._keep("text", before)
            before = ""
        self._typing[place] = max(before, text, key=len)

    def _keep(self, kind: CanaryKind, value: str) -> None:
        value = value.strip()
        if len(value) >= 2 and len(self._values) < MAX_VALUES:
            self._values.setdefault((kind, value))

    def canaries(self) -> tuple[Canary, ...]:
        """The inferred values. A text that was also submitted as a search is told as the search."""
        for text in self._typing.values():
            self._keep("text", text)
        searched = {value.casefold() for kind, value in self._values if kind == "term"}
        kept = [
            (kind, value)
            for kind, value in self._values
            if not (
                kind == "text"
                and (value.casefold() in searched or len(value) < 4 or _is_visited(value, self._values))
            )
        ]
        return tuple(
            Canary(id=f"inferred-{number}", kind=kind, value=value)
            for number, (kind, value) in enumerate(sorted(kept), 1)
        )


def _is_visited(text: str, values: dict[tuple[CanaryKind, str], None]) -> bool:
    """Whether the typed text is the beginning of an address that was then visited."""
    typed = parse_address(text)
    if typed is None or "." not in typed.host:
        return False
    return any(kind == "url" and typed.host in value for kind, value in values)
