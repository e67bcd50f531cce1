"""How fast the audit is: transmissions and megabytes a second on one core, worst cases, linearity.

Times are of this process's CPU; each figure is the median of three runs over the same bodies, each by a
search that never saw them. Nothing is
asserted: figures are printed beside the goals, and beside the peer's from the same run.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import random
import statistics
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import brotli
import zstandard

from audit.records import Canary, Http
from tests.benchmarks.leakbench import values
from tests.benchmarks.leakbench.benign import plain_json, post, telemetry
from tests.benchmarks.leakbench.recall import searcher


@dataclass(frozen=True)
class Load:
    """Bodies to time, with the canaries searched in them."""

    name: str
    canaries: list[Canary]
    requests: list[Http]
    goal: str

    @property
    def size(self) -> int:
        return sum(len(request.body or b"") for request in self.requests)


@dataclass(frozen=True)
class Rate:
    name: str
    per_second: float
    megabytes: float
    goal: str


@dataclass(frozen=True)
class Worst:
    """One worst case: seconds, and the bounds that were hit."""

    name: str
    size: int
    seconds: float
    bounds: tuple[str, ...]


@dataclass(frozen=True)
class Growth:
    """Seconds at 1, 2, 4 and 8 MB; `exponent` is the slope in doubly logarithmic scale (1 is linear). A
    slope far below 1 means that a bound cut the work short: `bounds` are those hit at any size."""

    name: str
    seconds: tuple[float, ...]
    exponent: float
    bounds: tuple[str, ...]


# Whose identifiers the bodies hold: an audit is of one device, and a harder case is one where no token comes twice.
_DEVICES: dict[str, Callable[[random.Random], random.Random]] = {
    "of one device": lambda rng: random.Random("device"),
    "of a new device each": lambda rng: rng,
}


def loads(seed: int, quick: bool) -> list[Load]:
    """The bodies of the throughput figures. Two in a hundred carry a canary as it is."""
    rng = random.Random(f"speed {seed}")
    small = 300 if quick else 3000
    large = 5 if quick else 40
    found = []
    for count, small_goal, large_goal in ((3, "5000/s", "40 MB/s"), (150, "3000/s", "25 MB/s")):
        canaries = [c for c in values.planted(seed, count) if not c.decoy]
        for name, devices in _DEVICES.items():
            bodies = [telemetry(rng, rng.randint(1000, 2000), devices(rng)) for _ in range(small)]
            posts = _posts(_with_canary(body, i, canaries) for i, body in enumerate(bodies))
            found.append(Load(f"1-2 kB telemetry JSON {name}, {count} canaries", canaries, posts, small_goal))
        bodies = [plain_json(rng, rng.randint(1000, 2000)) for i in range(small)]
        found.append(Load(f"1-2 kB plain JSON, {count} canaries", canaries, _posts(bodies), small_goal))
        bodies = [plain_json(rng, 100_000) for _ in range(large)]
        found.append(
            Load(f"100 kB JSON, nothing encoded, {count} canaries", canaries, _posts(bodies), large_goal)
        )
    return found


def _with_canary(body: bytes, index: int, canaries: list[Canary]) -> bytes:
    if index % 50:
        return body
    document = json.loads(body)
    document["events"][-1]["url"] = canaries[index // 50 % len(canaries)].value
    return json.dumps(document, separators=(",", ":")).encode()


def _posts(bodies: Iterable[bytes]) -> list[Http]:
    return [post(body, number=i) for i, body in enumerate(bodies)]


def _seconds(work: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return max(statistics.median(times), 1e-9)


def rate(load: Load, quick: bool) -> Rate:
    """How fast the audit gets through a load that it sees for the first time."""
    runs = 1 if quick else 3
    searches = [searcher(load.canaries) for _ in range(runs)]

    def work() -> None:
        search = searches.pop()
        for request in load.requests:
            search(request)

    seconds = _seconds(work, runs)
    return Rate(load.name, len(load.requests) / seconds, load.size / seconds / 1e6, load.goal)


def worst(seed: int, quick: bool) -> Iterator[Worst]:
    """Hostile bodies, one after another; in quick runs a tenth of the size."""
    search = searcher(values.planted(seed, 40))
    for name, body in _hostile(seed, 1_000_000 if quick else 10_000_000):
        start = time.process_time()
        result = search(post(body, "application/octet-stream"))
        bounds = tuple(sorted({limit.bound for limit in result.limits}))
        yield Worst(name, len(body), time.process_time() - start, bounds)


def _hostile(seed: int, size: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(f"worst {seed}")
    noise = rng.randbytes(size * 3 // 4)
    yield "random base64", base64.b64encode(noise)
    yield "random base64 in lines", base64.encodebytes(noise)
    yield "random hex", noise[: size // 2].hex().encode()
    yield "random bytes", rng.randbytes(size)
    yield (
        "random letters",
        bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=size)),
    )
    yield "telemetry JSON", b"[" + b",".join(telemetry(rng, 4000) for _ in range(size // 4500)) + b"]"
    yield "plain JSON", plain_json(rng, size)
    yield (
        "JSON of short base64 strings",
        json.dumps([base64.b64encode(rng.randbytes(12)).decode() for _ in range(size // 20)]).encode(),
    )
    yield "JSON array of byte values", json.dumps(list(rng.randbytes(size // 5))).encode()
    yield "JSON nested 100,000 deep", b"[" * 100_000 + b"]" * 100_000
    yield "JSON strings in JSON strings, 12 deep", _nested(json.dumps, "x" * 200, 12)
    yield "percent signs only", b"%25" * (size // 3)
    yield "form of empty pairs", b"a=b&" * (size // 4)
    yield "HTML references", b"&#x41;" * (size // 6)
    yield "backslashes", b"\\u0041" * (size // 6)
    yield "multipart of 100,000 parts", b"--aaaaaaaa\r\n\r\n\r\nx\r\n" * min(100_000, size // 20)
    yield "gzip bomb (zeros)", gzip.compress(bytes(size * 10))
    yield "gzip bomb, twice", gzip.compress(gzip.compress(bytes(size * 20)))
    yield "zlib bomb in base64", base64.b64encode(zlib.compress(bytes(size * 10), 9))
    yield "brotli bomb", brotli.compress(bytes(size * 10), quality=5)
    yield "zstd bomb", zstandard.ZstdCompressor().compress(bytes(size * 20))
    yield "gzip magics in noise", b"".join(b"\x1f\x8b\x08" + rng.randbytes(61) for _ in range(size // 64))
    yield "base64, 40 layers", _layers(base64.b64encode, 40, size)
    yield "gzip, 60 layers", _layers(gzip.compress, 60, size)
    yield "protobuf, nested 2,000 deep", _deep_message(2_000)
    yield "many hosts of one label", b".".join([b"a"] * (size // 2))


def _nested(wrap: Callable[[str], str], text: str, depth: int) -> bytes:
    for _ in range(depth):
        text = wrap(text)
    return text.encode()


def _layers(wrap: Callable[[bytes], bytes], depth: int, size: int) -> bytes:
    data = b"https://nothing.example/"
    for _ in range(depth):
        grown = wrap(data)
        if len(grown) > size:
            break
        data = grown
    return data


def _deep_message(depth: int) -> bytes:
    data = b"\x0a\x03abc"
    for _ in range(depth):
        size, head = len(data), b""
        while size > 127:
            head += bytes([size & 127 | 128])
            size >>= 7
        data = b"\x0a" + head + bytes([size]) + data
    return data


def growth(seed: int, quick: bool) -> Iterator[Growth]:
    """Time against size, with three canaries."""
    canaries = [c for c in values.planted(seed, 3) if not c.decoy]
    search = searcher(canaries)
    sizes = [n * (100_000 if quick else 1_000_000) for n in (1, 2, 4, 8)]
    for name, make in _GROWING.items():
        seconds = []
        bounds: set[str] = set()
        for size in sizes:
            body = make(random.Random(f"{name} {seed}"), size, canaries[0].value)
            request = post(body, "application/octet-stream")
            seconds.append(_seconds(lambda request=request: search(request), 1 if quick else 3))  # type: ignore[misc]
            bounds |= {limit.bound for limit in search(request).limits}
        yield Growth(name, tuple(seconds), _slope(sizes, seconds), tuple(sorted(bounds)))


def _slope(sizes: list[int], seconds: list[float]) -> float:
    x, y = [math.log(s) for s in sizes], [math.log(s) for s in seconds]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )


def _telemetry_list(rng: random.Random, size: int, value: str) -> bytes:
    rows = b",".join(telemetry(rng, 4000) for _ in range(size // 4400))
    return b"[" + rows + b',"' + value.encode() + b'"]'


_GROWING: dict[str, Callable[[random.Random, int, str], bytes]] = {
    "plain JSON": lambda rng, size, _: plain_json(rng, size),
    "telemetry JSON with a canary": _telemetry_list,
    "canary over and over": lambda rng, size, value: (value.encode() + b" ") * (size // (len(value) + 1)),
    "random base64": lambda rng, size, _: base64.b64encode(rng.randbytes(size * 3 // 4)),
    "random hex": lambda rng, size, _: rng.randbytes(size // 2).hex().encode(),
    "random bytes": lambda rng, size, _: rng.randbytes(size),
    "percent": lambda rng, size, _: "".join(f"%{b:02X}" for b in rng.randbytes(size // 3)).encode(),
    "gzip of telemetry": lambda rng, size, value: gzip.compress(_telemetry_list(rng, size, value), 1),
}
