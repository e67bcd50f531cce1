"""The positive cases: every coding at every depth, in every channel, at every granularity, and every hash.

A case is one transmission that carries one canary. Chains are drawn at random around the coding they are
for (which stands at a random place), with at most one coding that cannot be told from its data. What the
draw gives depends on the seed and on the case's own name alone, so one case can be made again.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

from audit.records import AnyRecord, Canary
from tests.benchmarks.leakbench import values
from tests.benchmarks.leakbench.carriers import CHANNELS, carry
from tests.benchmarks.leakbench.codings import CODINGS, Coding, may_follow
from tests.benchmarks.leakbench.hashes import Hash, all_hashes

DEPTHS = (1, 2, 3, 4, 5, 6)
_LIMIT = 64_000
_BEFORE = b"GET https://www.start-1.example/home/page-1?q=tok-a1&n=1 -- harbour kettle 35 00:11:22\n"
_SHORT = {"url.query": 12_000, "url.path": 8_000, "header": 8_000, "referer": 8_000, "cookie": 6_000}


@dataclass(frozen=True)
class Case:
    """One transmission and what must be found in it. `chain` is innermost first; `coding` the one that
    the case was made for; `hash` and `digest` ("hex", "raw" ...) are "" for plain values."""

    name: str
    canary: str
    chain: tuple[str, ...]
    coding: str
    channel: str
    granularity: str
    hash: str
    digest: str
    record: AnyRecord
    payload: bytes

    @property
    def depth(self) -> int:
        return len(self.chain)


def plain_cases(
    canaries: list[Canary], seed: int, repeats: int, depths: tuple[int, ...] = DEPTHS
) -> Iterator[Case]:
    """Cases of plain values: none at depth 0 wrapped, then coding × depth × `repeats`; the channels and
    granularities turn over, so that `repeats` of eight is the full product of coding, depth and channel."""
    turn = 0
    for channel in CHANNELS:
        for granularity in values.GRANULARITIES:
            case = _draw(f"s{seed}-plain-{channel}-{granularity}", None, 0, channel, granularity, canaries)
            if case:
                yield case
    for coding in CODINGS:
        for depth in depths:
            for repeat in range(repeats):
                turn += 1
                channel = CHANNELS[turn % len(CHANNELS)]
                granularity = values.GRANULARITIES[turn % len(values.GRANULARITIES)]
                name = f"s{seed}-{coding.name}-{depth}-{repeat}"
                case = _draw(name, coding, depth, channel, granularity, canaries)
                if case:
                    yield case


def hash_cases(canaries: list[Canary], seed: int, repeats: int) -> Iterator[Case]:
    """Cases of hashed values: every hash × way of writing it × `repeats`, at depths 0 to 3, the channels
    and granularities turning over."""
    turn = 0
    for function in all_hashes():
        for way in DIGESTS:
            for repeat in range(repeats):
                turn += 1
                channel = CHANNELS[turn % len(CHANNELS)]
                granularity = values.GRANULARITIES[(turn // 3) % len(values.GRANULARITIES)]
                name = f"s{seed}-{function.name}-{way}-{repeat}"
                yield _hashed(name, function, way, turn // len(CHANNELS) % 4, channel, granularity, canaries)


DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "hex": lambda d: d.hex().encode(),
    "HEX": lambda d: d.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64url": lambda d: base64.urlsafe_b64encode(d).rstrip(b"="),
    "raw": lambda d: d,
}


def _draw(
    name: str, coding: Coding | None, depth: int, channel: str, granularity: str, canaries: list[Canary]
) -> Case | None:
    """Draws until the chain fits together and into the channel; None where it never does."""
    for attempt in range(400):
        rng = random.Random(f"{name} {attempt}")
        wanted = granularity
        if coding and coding.value:
            wanted = {"idn": "host", "host": "host", "cjk": "title", "address": "full"}[coding.value]
        holder = rng.choice(values.holders(canaries, wanted))
        text = values.written(holder, wanted, rng)
        if coding and not _suits(coding, text):
            continue
        chain = _chain(rng, coding, depth)
        payload = _encode(text.encode(), chain, rng)
        if payload is None or len(payload) > _SHORT.get(channel, _LIMIT):
            continue
        outermost = chain[-1].name if chain else ""
        record = carry(f"p{abs(hash_name(name)):08x}", payload, channel, outermost, rng)
        return Case(
            name, holder.id, tuple(c.name for c in chain), coding.name if coding else "", channel, wanted,
            "", "", record, payload,
        )  # fmt: skip
    return None


def hash_name(name: str) -> int:
    """A number that is the same at every run (Python's own `hash` is not)."""
    return random.Random(name).getrandbits(32)


def _suits(coding: Coding, text: str) -> bool:
    match coding.value:
        case "host":
            return text.isascii() and all(0 < len(part) < 64 for part in text.split("."))
        case "idn":
            return not text.isascii()
        case "cjk":
            return any(c > "\u3000" for c in text)
    return True


def _chain(rng: random.Random, coding: Coding | None, depth: int) -> list[Coding]:
    if coding is None:
        return []
    place = 0 if coding.first else rng.randrange(depth)
    headerless = coding.headerless
    chain: list[Coding] = []
    for index in range(depth):
        if index == place:
            chain.append(coding)
            continue
        allowed = [c for c in CODINGS if not c.first and not (headerless and c.headerless)]
        chosen = rng.choice(allowed)
        headerless |= chosen.headerless
        chain.append(chosen)
    return chain


def _encode(data: bytes, chain: list[Coding], rng: random.Random) -> bytes | None:
    if chain and chain[0].family == "compression":
        # next to a text like it, as in a real document: a short value alone is stored as it is
        data = _BEFORE + data
    for coding in chain:
        if not may_follow(coding, data):
            return None
        before, data = data, coding.encode(data, rng)
        if data == before or len(data) > _LIMIT:
            return None
    return data


def _hashed(
    name: str, function: Hash, way: str, depth: int, channel: str, granularity: str, canaries: list[Canary]
) -> Case:
    for attempt in cycle(range(1_000)):
        rng = random.Random(f"{name} {attempt}")
        holder = rng.choice(values.holders(canaries, granularity))
        text = values.plain_text(holder, granularity)
        digest = DIGESTS[way](function.function(text.encode()))
        chain = [rng.choice([c for c in CODINGS if not (c.first or c.headerless)]) for _ in range(depth)]
        inner = digest
        if function.named:
            # so short a hash means something only in a field that is named for it
            shown = digest.hex() if way == "raw" else digest.decode()
            inner = json.dumps({"ts": 1_700_000_000, "url_hash": shown}).encode()
        payload = _encode(inner, chain, rng)
        if payload is None or len(payload) > _SHORT.get(channel, _LIMIT):
            continue
        outermost = chain[-1].name if chain else ""
        record = carry(f"h{hash_name(name):08x}", payload, channel, outermost, rng)
        return Case(
            name, holder.id, tuple(c.name for c in chain), "", channel, granularity, function.name, way,
            record, payload,
        )  # fmt: skip
    raise AssertionError("unreachable")
