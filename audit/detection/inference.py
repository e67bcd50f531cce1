"""What a person did, read from the traffic itself: pages visited, searches made, text typed.

Used where no canary was planted. A visit is a document navigation, or a page that other requests name as
their referrer; a search is a visit to a results page of an engine that the table of search engines knows;
typed text is what grows at a suggestion endpoint. The inferred values are then searched for like planted
ones. They are guesses about actions, never about who is behind them, and are masked wherever they are shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from audit.adapters import search_engines
from audit.detection.addresses import parse_address
from audit.detection.origin import headers_of, is_navigation, results_page
from audit.recipients import identify
from audit.records import AnyRecord, Canary, CanaryKind, Http, LimitHit

MAX_VALUES = 2_000
_NO_VISITS = ("advertising", "analytics")


@dataclass
class Inference:
    """Collects values from records; `canaries` gives them as canaries to search for."""

    _values: dict[tuple[CanaryKind, str], None] = field(default_factory=dict)
    _typing: dict[str, str] = field(default_factory=dict)
    _framed: set[str] = field(default_factory=set)
    _left_out: int = 0

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
        address = f"{record.scheme}://{record.authority}{record.path}"
        referrer = headers_of(record).get(b"referer", b"").decode("utf-8", "replace")
        search = self._submitted(record)
        if search:
            self._keep("term", search)
        elif is_navigation(record):
            self._visited(record.host, record.path, address)
        elif referrer and _site(referrer) != _site(address):
            # what a page of another site embeds is no visit, though it may look like one as a referrer
            self._framed.add(address)
        self._referred(referrer)

    def _submitted(self, request: Http) -> str | None:
        """The search that a request to an engine's results page submits, if a page answers it."""
        search = results_page(request)
        if not search:
            return None
        headers, answer = headers_of(request), dict(request.response_headers)
        page = any(
            v.lower().startswith(b"text/html") for k, v in answer.items() if k.lower() == b"content-type"
        )
        document = headers.get(b"sec-fetch-dest", b"document") == b"document"
        return search.term if document and (page or is_navigation(request)) else None

    def _visited(self, host: str, target: str, address: str) -> None:
        search = self._engines.results_page(host, target)
        if search:
            self._keep("term", search.term)
        elif identify(host, None).category not in _NO_VISITS:
            self._keep("url", address)

    def _referred(self, referrer: str) -> None:
        """A referrer that tells a page and not only a site was visited: somebody was sent on from it."""
        page = parse_address(referrer)
        if page and page.scheme in ("http", "https") and (len(page.path) > 1 or page.query):
            target = referrer.partition("://")[2]
            self._visited(page.host, target[target.find("/") :] if "/" in target else "/", referrer)

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
        if len(value) < 2 or (kind, value) in self._values:
            return
        if len(self._values) < MAX_VALUES:
            self._values[kind, value] = None
        else:
            self._left_out += 1

    def canaries(self) -> tuple[Canary, ...]:
        """The inferred values. A text that was also submitted as a search is told as the search; a site of
        which several pages were visited stands for itself as well."""
        for text in self._typing.values():
            self._keep("text", text)
        searched = {value.casefold() for kind, value in self._values if kind == "term"}
        kept = {
            (kind, value)
            for kind, value in self._values
            if not (kind == "url" and value in self._framed)
            and not (
                kind == "text" and (value.casefold() in searched or len(value) < 4 or self._led_to(value))
            )
        }
        pages = Counter(_root(value) for kind, value in kept if kind == "url")
        kept |= {("url", root) for root, count in pages.items() if root and count > 1}
        return tuple(
            Canary(id=f"inferred-{number}", kind=kind, value=value)
            for number, (kind, value) in enumerate(sorted(kept), 1)
        )

    def limits(self) -> tuple[LimitHit, ...]:
        """The bound on the number of values, if it was hit."""
        if not self._left_out:
            return ()
        said = f"more than {MAX_VALUES} values inferred; {self._left_out} more were not looked for"
        return (LimitHit(bound="matches", detail=said),)

    def _led_to(self, text: str) -> bool:
        """Whether the typed text is the beginning of an address that was then visited."""
        typed = parse_address(text)
        if typed is None or "." not in typed.host:
            return False
        return any(kind == "url" and typed.host in value for kind, value in self._values)


def _site(address: str) -> str | None:
    page = parse_address(address)
    return (page.registrable_domain or page.host) if page else None


def _root(address: str) -> str | None:
    """The address of the site that a page belongs to."""
    page = parse_address(address)
    if not page:
        return None
    return f"{page.scheme}://{page.host}{f':{page.port}' if page.port else ''}/"
