"""The planted values and the decoys, and the texts that stand for them at each granularity.

Every granularity of a canary is one or more texts; which way of writing it is taken (case, `www.`,
separators) is drawn from the seed. Names of granularities are the benchmark's: `EXPECTED` says what the
audit should call them.
"""

from __future__ import annotations

import random
import re
import string
import unicodedata
from collections.abc import Callable
from urllib.parse import urlsplit

from audit.records import Canary

GRANULARITIES = ("full", "no_scheme", "no_query", "host", "term", "title", "identifier")
EXPECTED = {name: name for name in ("full", "no_scheme", "no_query", "host")} | dict.fromkeys(
    ("term", "title", "identifier"), "term"
)
_TELLING = ("registrable_domain", "host", "path", "no_query", "no_scheme", "full")
_WORDS = [
    "marble",
    "kettle",
    "harbour",
    "lantern",
    "walnut",
    "copper",
    "meadow",
    "violet",
    "saffron",
    "timber",
    "pebble",
    "orchard",
    "velvet",
    "canyon",
    "ribbon",
    "anchor",
    "thistle",
    "glacier",
    "cobalt",
    "juniper",
]
_CJK = "安静港口笔记夏日茶园灯塔"


def at_least(told: str, sent: str) -> bool:
    """Whether the granularity told says as much as the one sent."""
    return told == sent or (sent in _TELLING and told in _TELLING[_TELLING.index(sent) :])


def label(rng: random.Random, size: int = 8) -> str:
    """A random label with letters and digits, beginning with a letter."""
    tail = "".join(rng.choice(string.ascii_lowercase + string.digits) for _ in range(size - 2))
    return rng.choice(string.ascii_lowercase) + tail + rng.choice(string.digits)


def planted(seed: int, count: int = 40) -> list[Canary]:
    """`count` canaries (addresses, terms, titles, identifiers in turn) and ten decoys of the same shapes."""
    rng = random.Random(f"values {seed}")
    makers = (_address, _term, _address, _title, _identifier)
    canaries = [_make(rng, makers[i % len(makers)], i, f"c{i:03d}", False) for i in range(count)]
    return canaries + [_make(rng, makers[i % len(makers)], i, f"decoy{i:02d}", True) for i in range(10)]


def _make(
    rng: random.Random,
    maker: Callable[[random.Random, int], tuple[str, str]],
    turn: int,
    name: str,
    decoy: bool,
) -> Canary:
    kind, value = maker(rng, turn)
    return Canary(id=name, kind=kind, value=value, decoy=decoy)  # type: ignore[arg-type]


def _address(rng: random.Random, turn: int) -> tuple[str, str]:
    site = f"{rng.choice(_WORDS)}-{label(rng, 6)}.example"
    host = f"{label(rng)}.{site}"
    if turn % 15 == 0:
        host = f"bücher-{label(rng, 6)}.{site}"
    page = f"/{label(rng)}/{rng.choice(_WORDS)}-{rng.choice(_WORDS)}"
    fragment = f"#part-{rng.randint(2, 9)}" if turn % 4 == 0 else ""
    return "url", f"https://{host}{page}?q=tok-{label(rng, 7)}&n={rng.randint(2, 99)}{fragment}"


def _term(rng: random.Random, turn: int) -> tuple[str, str]:
    return "term", f"{rng.choice(_WORDS)} {rng.choice(_WORDS)} {label(rng, 6)}"


def _title(rng: random.Random, turn: int) -> tuple[str, str]:
    if turn % 10 == 3:
        return "title", f"{''.join(rng.sample(_CJK, 6))} {label(rng, 6)}"
    return "title", f"Größe: {rng.choice(_WORDS).title()} & {rng.choice(_WORDS)} – {label(rng, 6)}"


def _identifier(rng: random.Random, turn: int) -> tuple[str, str]:
    match turn // 5 % 4:
        case 0:
            return "identifier", rng.randbytes(8).hex()
        case 1:
            return "identifier", "35" + "".join(rng.choice(string.digits) for _ in range(13))
        case 2:
            return "identifier", rng.randbytes(6).hex(":").upper()
    raw = rng.randbytes(16).hex()
    return "identifier", "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def holders(canaries: list[Canary], granularity: str) -> list[Canary]:
    """The canaries (no decoys) that have this granularity."""
    kind = {"term": "term", "title": "title", "identifier": "identifier"}.get(granularity, "url")
    return [c for c in canaries if c.kind == kind and not c.decoy]


def plain_text(canary: Canary, granularity: str) -> str:
    """The text that a hash is taken of: the value at that granularity, written as it is."""
    if canary.kind != "url":
        return canary.value
    parts = urlsplit(canary.value)
    page = canary.value.partition("#")[0]
    return {
        "full": page,
        "no_scheme": page.partition("://")[2],
        "no_query": page.partition("?")[0],
        "host": parts.hostname or "",
    }[granularity]


def written(canary: Canary, granularity: str, rng: random.Random) -> str:
    """One of the ways in which the value is written in the wild."""
    text = plain_text(canary, granularity)
    way = rng.randint(0, 5)
    if canary.kind == "url":
        return _written_address(canary, text, granularity, way)
    if canary.kind == "term":
        words = text.split()
        return (text, "+".join(words), "-".join(words), "_".join(words), text.upper(), text.title())[way]
    if canary.kind == "title":
        return unicodedata.normalize("NFD", text) if way == 5 else text
    bare = re.sub("[-:]", "", text)
    return (text, text.lower(), text.upper(), bare, bare.lower(), bare.upper())[way]


def _written_address(canary: Canary, text: str, granularity: str, way: int) -> str:
    host = urlsplit(canary.value).hostname or ""
    if way == 3:
        return text.replace(host, host.upper(), 1)
    if way == 4:
        return text.replace(host, "www." + host, 1)
    if way == 5 and granularity == "full":
        return text.replace(host, host + ":443", 1)
    if way == 5 and granularity == "no_query":
        return text + "/"
    return text
