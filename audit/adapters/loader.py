"""Reads and checks the adapter files, and recognises requests by them.

Everything in `data/` except the list of search engines is read once; search engines become adapters too,
so that a results page and a suggestion call are known endpoints like any other. A damaged file is an error
that names file and entry, never an adapter silently left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

import msgspec

from audit.adapters.engines import Engine, Page, search_engines, suffixes
from audit.adapters.fingerprints import CHECKS, Request, worth_asking
from audit.adapters.model import Adapter, FieldRow, Fingerprint, Match
from audit.decoding.keyed import SpecificationError
from audit.decoding.keyed import parse as parse_decoder
from audit.records import DataSource, Http, Transmission, WebSocketMessage

_ENGINES = "search_engines.toml"
_LOOKED_AT = 1 << 16
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
_CHANNEL = re.compile(r"url\.(?:host|path|query)|header:[a-z0-9_-]+|cookie|body|websocket|grpc|mqtt|tcp|udp")
_UNITS = {"event_time": True, "dwell": False}


class AdapterError(Exception):
    """An adapter file is damaged or says something impossible. The message names file and entry."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """One file: adapters, and whose work they are if not this project's."""

    adapter: tuple[Adapter, ...]
    data_source: DataSource | None = None


class _Rule(NamedTuple):
    order: int
    adapter: Adapter
    path: re.Pattern[str] | None
    match: Match

    def holds(self, request: Request) -> bool:
        match = self.match
        if match.methods and request.method not in match.methods:
            return False
        if self.path and not self.path.fullmatch(request.path):
            return False
        if match.media and request.media not in match.media:
            return False
        if match.last_segments and _last_segment(request.path) not in match.last_segments:
            return False
        if match.query and not all(f"&{name}=" in f"&{request.query}" for name in match.query):
            return False
        if match.headers:
            names = {name.lower() for name, _ in request.headers}
            if not all(name.lower().encode() in names for name in match.headers):
                return False
        if match.body and not all(text.encode() in request.body[:_LOOKED_AT] for text in match.body):
            return False
        return match.fingerprint is None or CHECKS[match.fingerprint](request)


class Adapters:
    """All adapters. Recognition costs one look-up for a host already seen, and a few cheap questions for
    what is recognised on any host."""

    def __init__(self, adapters: tuple[Adapter, ...], data_sources: tuple[DataSource, ...] = ()) -> None:
        self.adapters = adapters
        self.data_sources = data_sources
        self._by_id = {adapter.id: adapter for adapter in adapters}
        self._by_suffix: dict[str, tuple[_Rule, ...]] = {}
        self._by_media: dict[bytes, tuple[_Rule, ...]] = {}
        self._by_last_segment: dict[str, tuple[_Rule, ...]] = {}
        self._by_fingerprint: dict[Fingerprint, tuple[_Rule, ...]] = {}
        for order, adapter in enumerate(adapters):
            for match in adapter.match:
                self._file(_Rule(order, adapter, re.compile(match.path) if match.path else None, match))
        self._of_host = lru_cache(maxsize=4096)(self._rules_of_host)

    def __getitem__(self, adapter_id: str) -> Adapter:
        return self._by_id[adapter_id]

    def recognise(self, transmission: Transmission) -> tuple[Adapter, ...]:
        """The adapters that know this transmission, in the order of the files; empty for what left no
        content to recognise. Opens nothing: looks at host, target, headers and the start of the body."""
        match transmission:
            case Http():
                return self._http(transmission)
            case WebSocketMessage():
                _, _, rest = transmission.url.partition("://")
                target = rest[rest.find("/") :] if "/" in rest else "/"
                path, _, query = target.partition("?")
                return self._among(
                    self._of_host(transmission.host or ""),
                    Request("GET", path, query, "", (), transmission.data),
                )
        return ()

    def _http(self, sent: Http) -> tuple[Adapter, ...]:
        rules = self._of_host(sent.host or "")
        target = sent.path
        body = sent.body or b""
        media = _media_type(sent.headers)
        end = target.find("?")
        path = target if end < 0 else target[:end]
        anywhere = self._by_last_segment.get(_last_segment(path), ())
        if media in self._by_media:
            anywhere = (*anywhere, *self._by_media[media])
        for fingerprint in worth_asking(target, body):
            anywhere = (*anywhere, *self._by_fingerprint.get(fingerprint, ()))
        if not rules and not anywhere:
            return ()
        query = "" if end < 0 else target[end + 1 :]
        said = media.decode("latin-1")
        return self._among((*rules, *anywhere), Request(sent.method, path, query, said, sent.headers, body))

    @staticmethod
    def _among(rules: Iterable[_Rule], request: Request) -> tuple[Adapter, ...]:
        held = {rule.order: rule.adapter for rule in rules if rule.holds(request)}
        return tuple(held[order] for order in sorted(held))

    def _rules_of_host(self, host: str) -> tuple[_Rule, ...]:
        found: tuple[_Rule, ...] = ()
        for suffix in suffixes(host):
            if suffix in self._by_suffix:
                found += self._by_suffix[suffix]
        return found

    def _file(self, rule: _Rule) -> None:
        match = rule.match
        if match.hosts:
            for host in match.hosts:
                for name in search_engines().written_out(host):
                    self._by_suffix[name] = (*self._by_suffix.get(name, ()), rule)
        elif match.last_segments:
            for segment in match.last_segments:
                self._by_last_segment[segment] = (*self._by_last_segment.get(segment, ()), rule)
        elif match.media:
            for media in match.media:
                self._by_media[media.encode()] = (*self._by_media.get(media.encode(), ()), rule)
        elif match.fingerprint:
            said = match.fingerprint
            self._by_fingerprint[said] = (*self._by_fingerprint.get(said, ()), rule)


def _last_segment(path: str) -> str:
    """The end of a path, without a final slash."""
    path = path.removesuffix("/")
    return path[path.rfind("/") + 1 :]


def _media_type(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            end = value.find(b";")
            return (value if end < 0 else value[:end]).strip().lower()
    return b""


@cache
def load() -> Adapters:
    """The adapters that ship with the product, those of search engines last. Raises AdapterError."""
    read: list[Adapter] = []
    sources: list[DataSource] = []
    folder = files("audit.adapters").joinpath("data")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith((".toml", ".json")) and entry.name != _ENGINES:
            adapters, source = parse(entry.name, entry.read_bytes())
            read += adapters
            sources += [source] if source else []
    for engine in search_engines().engines:
        read += _of_engine(engine)
    seen: set[str] = set()
    for adapter in read:
        if adapter.id in seen:
            raise AdapterError(f"audit/adapters/data: adapter {adapter.id} is there twice; rename one")
        seen.add(adapter.id)
    return Adapters(tuple(read), tuple(sources))


def parse(name: str, data: bytes) -> tuple[tuple[Adapter, ...], DataSource | None]:
    """The adapters of one file (TOML, or JSON of the same shape), checked, and whose work they are if not
    this project's. Raises AdapterError."""
    decode = msgspec.json.decode if name.endswith(".json") else msgspec.toml.decode
    try:
        file = decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdapterError(f"audit/adapters/data/{name}: {error}; correct it there") from error
    for adapter in file.adapter:
        for complaint in _complaints(adapter):
            raise AdapterError(f"audit/adapters/data/{name}: adapter {adapter.id}: {complaint}")
    return file.adapter, file.data_source


def _complaints(adapter: Adapter) -> Iterable[str]:
    if not _ID.fullmatch(adapter.id):
        yield "its id may hold only a-z, 0-9, dots and hyphens"
    if not adapter.source or not adapter.match:
        yield "a source and at least one match are needed"
    for match in adapter.match:
        if not (match.hosts or match.last_segments or match.media or match.fingerprint):
            yield "a match needs hosts, last_segments, media or a fingerprint"
        if any(host != host.lower() or host.startswith((".", "*")) for host in match.hosts):
            yield f"hosts are lower-case names without a leading dot: {match.hosts}"
        try:
            re.compile(match.path)
        except re.error as error:
            yield f"path {match.path!r}: {error}"
    for decode in adapter.decode:
        for spec in decode.specs:
            try:
                parse_decoder(spec)
            except SpecificationError as error:
                yield str(error)
        if not (decode.specs and decode.reasoning):
            yield "a decode needs specs and a reasoning"
    for known in adapter.known:
        if not (_CHANNEL.fullmatch(known.channel) and known.media and known.reasoning):
            yield f"what is known of {known.path!r} needs a channel, a media type and a reasoning"
    for row in adapter.fields:
        if not row.reasoning:
            yield f"the fields {row.paths} have no reasoning"
        for channel in row.channels:
            if not _CHANNEL.fullmatch(channel):
                yield f"no such channel: {channel!r}"
        if (row.unit is not None) != _UNITS.get(row.role, False) and not (row.role == "dwell" and row.unit):
            yield f"the fields {row.paths}: an event_time has a unit, other roles (but dwell) have none"


def _of_engine(engine: Engine) -> list[Adapter]:
    """A search engine as adapters: its results pages and its suggestion calls."""
    pages = (("search", engine.results), ("suggestions", engine.suggestions))
    return [
        Adapter(
            id=f"{engine.id}-{kind}",
            name=f"{engine.name}: {'results page' if kind == 'search' else 'search suggestions'}",
            organisation=engine.organisation,
            kind="search" if kind == "search" else "suggestions",
            source=engine.source,
            feature="submitted search" if kind == "search" else "search suggestions while typing",
            match=tuple(_of_page(engine, page) for page in entries),
            fields=tuple(
                FieldRow(
                    channels=("url.query",),
                    paths=page.parameters,
                    role="search_term" if kind == "search" else "typed_text",
                    reasoning=page.source,
                )
                for page in entries
            ),
        )
        for kind, entries in pages
        if entries
    ]


def _of_page(engine: Engine, page: Page) -> Match:
    return Match(hosts=engine.names(page.hosts), path=page.path)
