"""Search engines: is this request a results page, or a suggestion call, and which text does it carry?

Answers from `data/search_engines.toml` alone: domain suffixes, path patterns, parameters. Must never guess
an engine from a parameter's name, and never say which engine was chosen on the device: that is for those
who see the whole experiment. Terms are decoded as HTML forms are (WHATWG URL 5.1: percent and `+`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec


class EngineDataError(Exception):
    """The list of search engines is damaged. The message names the file and the entry."""


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where text goes to: a path pattern, matched whole, and the parameters that carry the text.
    `hosts` narrows the engine's domains."""

    path: str
    parameters: tuple[str, ...]
    source: str
    hosts: tuple[str, ...] = ()


class EngineExample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A made-up request: it submits `term`, or asks suggestions for `typed`; with neither it is a near miss
    in which nothing may be seen."""

    url: str
    term: str = ""
    typed: str = ""


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search engine. `charset` is tried where a term is no UTF-8."""

    id: str
    name: str
    organisation: str
    domains: tuple[str, ...]
    source: str
    results: tuple[Page, ...]
    suggestions: tuple[Page, ...] = ()
    suffixes: tuple[str, ...] = ()
    charset: str = "latin-1"
    example: tuple[EngineExample, ...] = ()

    def names(self, hosts: Iterable[str] = ()) -> tuple[str, ...]:
        """The domain suffixes (of `hosts`, else of the engine), with `google.*` written out."""
        return tuple(
            written
            for name in (hosts or self.domains)
            for written in ([name[:-1] + end for end in self.suffixes] if name.endswith(".*") else [name])
        )


class Search(NamedTuple):
    """A text on its way to a search engine, as the person typed it."""

    engine: Engine
    parameter: str
    term: str


class _Target(NamedTuple):
    engine: Engine
    path: re.Pattern[str]
    parameters: tuple[str, ...]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    engine: tuple[Engine, ...]


class Engines:
    """All search engines, ready to be asked. Both questions cost a dictionary look-up for each label of
    the host when the host belongs to no engine."""

    def __init__(self, engines: tuple[Engine, ...]) -> None:
        self.engines = engines
        self._results = _by_host((engine, engine.results) for engine in engines)
        self._suggestions = _by_host((engine, engine.suggestions) for engine in engines)
        self._domains = {name: engine for engine in engines for name in engine.names()}

    def written_out(self, name: str) -> tuple[str, ...]:
        """A name with all its endings where it ends in `.*` and an engine lists them (`google.*`), else
        the name alone."""
        for engine in self.engines:
            if name in engine.domains:
                return engine.names((name,))
        return (name,)

    def of_host(self, host: str) -> Engine | None:
        """The engine that a host belongs to."""
        for suffix in suffixes(host):
            if suffix in self._domains:
                return self._domains[suffix]
        return None

    def results_page(self, host: str, path_with_query: str) -> Search | None:
        """The search that a request submits. A form sent in a body is asked with the body as the query."""
        return _ask(self._results, host, path_with_query)

    def suggestion(self, host: str, path_with_query: str) -> Search | None:
        """The text that a request asks suggestions for: typed, and not or not yet submitted."""
        return _ask(self._suggestions, host, path_with_query)


def suffixes(host: str) -> list[str]:
    """The host itself and all that follows each of its dots, longest first; at most 24 of them."""
    found = [host]
    at = host.find(".")
    while at >= 0 and len(found) < 24:
        found.append(host[at + 1 :])
        at = host.find(".", at + 1)
    return found


def _by_host(pages: Iterable[tuple[Engine, tuple[Page, ...]]]) -> dict[str, list[_Target]]:
    table: dict[str, list[_Target]] = {}
    for engine, entries in pages:
        for page in entries:
            target = _Target(engine, re.compile(page.path), page.parameters)
            for name in engine.names(page.hosts):
                table.setdefault(name, []).append(target)
    return table


def _ask(table: dict[str, list[_Target]], host: str, path_with_query: str) -> Search | None:
    for suffix in suffixes(host):
        for engine, path, parameters in table.get(suffix, ()):
            target, _, query = path_with_query.partition("?")
            if not query or not path.fullmatch(target):
                continue
            query = query.partition("#")[0]
            for parameter in parameters:
                value = _first(query, parameter)
                if value:
                    return Search(engine, parameter, _text(value, engine.charset))
    return None


def _first(query: str, parameter: str) -> str:
    """The first value of a parameter, still encoded; empty where there is none."""
    query = f"&{query}"
    at = query.find(f"&{parameter}=")
    return query[at + len(parameter) + 2 :].partition("&")[0] if at >= 0 else ""


def _text(value: str, charset: str) -> str:
    data = unquote_to_bytes(value.replace("+", " "))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(charset, "replace")


@cache
def search_engines() -> Engines:
    """The engines that ship with the product. Raises EngineDataError where the file is damaged."""
    name = "search_engines.toml"
    data = files("audit.adapters").joinpath("data", name).read_bytes()
    try:
        engines = msgspec.toml.decode(data, type=_File).engine
    except msgspec.DecodeError as error:
        raise EngineDataError(f"audit/adapters/data/{name}: {error}; install the package again") from error
    for engine in engines:
        for page in engine.results + engine.suggestions:
            try:
                re.compile(page.path)
                "".encode(engine.charset)
            except (re.error, LookupError) as error:
                raise EngineDataError(f"audit/adapters/data/{name}: engine {engine.id}: {error}") from error
    return Engines(engines)
