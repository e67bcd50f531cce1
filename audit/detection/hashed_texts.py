"""Which texts of a canary may have been hashed: an address in each granularity, and each as programs write it
before they hash it; a term, a title, an identifier in its usual spellings.

A text is `usual` where the value is hashed as it is; the others are ways of writing it (a default port, another
case, `www.`). This module hashes nothing.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from audit.detection.addresses import Address, parse_address, telling
from audit.detection.identifier_forms import hashed_forms
from audit.detection.words import text_forms
from audit.records import Canary, Granularity


class HashedText(NamedTuple):
    """A text, what of the canary it tells, and whether it is the value as it is."""

    text: bytes
    granularity: Granularity
    usual: bool


def hashed_texts(canary: Canary) -> list[HashedText]:
    """The texts whose digests would give the value away, each once: the usual ones first, and of those the
    most specific first."""
    rows = [*_usual(canary)]
    address = parse_address(canary.value) if canary.kind == "url" else None
    usual = len(rows)
    if address:
        rows += _written(canary.value, address)
    elif canary.kind != "identifier":
        rows += _worded(canary.value)
    seen: dict[bytes, HashedText] = {}
    for number, (granularity, text) in enumerate(rows):
        if text:
            seen.setdefault(text, HashedText(text, granularity, number < usual))
    return list(seen.values())


def _usual(canary: Canary) -> Iterator[tuple[Granularity, bytes]]:
    if canary.kind == "identifier":
        yield from (("term", text) for text in sorted(hashed_forms(canary.value)))
        return
    address = parse_address(canary.value) if canary.kind == "url" else None
    if address:
        rows = _granularities(canary.value, address)
        for granularity, text in (*rows, *((granularity, text.lower()) for granularity, text in rows)):
            yield granularity, text.encode()
        return
    whole: Granularity = "full" if canary.kind == "url" else "term"
    words = canary.value.split()
    joined = {canary.value, *(separator.join(words) for separator in (" ", "+", "%20"))}
    for text in sorted(joined | {text.lower() for text in joined}):
        yield whole, text.encode()


def _granularities(value: str, address: Address) -> list[tuple[Granularity, str]]:
    """An address with its fragment, without it, without scheme, without query, its path, its host."""
    page = value.partition("#")[0]
    bare = page.partition("://")[2] or page
    target = bare[bare.find("/") :] if "/" in bare else ""
    rows: list[tuple[Granularity, str]] = [
        ("full", value), ("full", page), ("no_scheme", bare), ("no_query", page.partition("?")[0]),
        ("no_query", bare.partition("?")[0]), ("host", address.host), ("host", f"www.{address.host}"),
        ("host", f"{address.scheme}://{address.host}"), ("host", f"{address.scheme}://{address.host}/"),
    ]  # fmt: skip
    rows += [("path", text) for text in (target, target.partition("?")[0]) if telling(text)]
    if address.registrable_domain and address.registrable_domain != address.host:
        rows.append(("registrable_domain", address.registrable_domain))
    return rows


def _written(value: str, address: Address) -> Iterator[tuple[Granularity, bytes]]:
    """The same in other writing: with the default port, by the other scheme, with or without `www.` and the last
    slash, the host or all in capitals, escaped."""
    scheme, mark, rest = value.partition("://")
    authority, slash, target = (rest if mark else value).partition("/")
    scheme = scheme.lower() if mark else "https"
    host = authority.lower().removeprefix("www.").removesuffix(":443").removesuffix(":80")
    bare_page = target.partition("#")[0]
    page = bare_page.partition("?")[0]
    tails: tuple[tuple[str, Granularity], ...] = (
        (target, "no_scheme"), (bare_page, "no_scheme"), (page, "no_query"),
    )  # fmt: skip
    targets: dict[str, Granularity] = {"": "host", "/": "host"}
    for tail, told in tails:
        path, ask, query = tail.partition("?")
        for form in (path, path.removesuffix("/"), path if path.endswith("/") else path + "/"):
            targets.setdefault(f"{slash}{form}{ask}{query}", told)
    schemes = ("https", "http") if scheme in ("https", "http") else (scheme,)
    leads = [f"{by}://{name}" for by in schemes for name in (host, f"www.{host}", host.upper())]
    leads += [host, f"www.{host}", host.upper(), f"//{host}"]
    if ":" not in host:
        leads += [f"https://{host}:443", f"http://{host}:80", f"{host}:443", f"{host}:80"]
    for lead in leads:
        for tail, told in targets.items():
            granularity: Granularity = "full" if told == "no_scheme" and "://" in lead else told
            yield "host" if address.bare else granularity, f"{lead}{tail}".encode()
    yield "full", value.upper().encode()
    yield "full", value.partition("#")[0].upper().encode()
    yield "full", quote(value.partition("#")[0], safe="").encode()
    query = bare_page.partition("?")[2]
    for text in (page, bare_page, query, f"?{query}"):
        if telling(text):
            yield "path", text.encode()


def _worded(value: str) -> Iterator[tuple[Granularity, bytes]]:
    """Words with any joiner, in the usual cases and normal forms."""
    yield from (("term", text) for text in sorted(text_forms(value)))
    for shape in ("NFC", "NFD", "NFKC"):
        text = unicodedata.normalize(shape, value)
        words = text.split()
        for form in (text, " ".join(words), "".join(words)):
            for cased in (
                form,
                form.upper(),
                string.capwords(form),
                form.capitalize(),
                form.lower(),
                form.casefold(),
            ):
                yield "term", cased.encode()
