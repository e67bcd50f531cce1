"""Innocent traffic: what leaves a phone all day, and values that nearly are the planted ones.

Nothing here carries a planted value in any granularity, so whatever the audit reports in it is wrong.
The near misses are made from the planted values and the decoys: one letter changed, the host as part of
another host, words of a term apart from each other, Safe Browsing's four-byte prefixes (facts: Safe
Browsing v4 `threatMatches`), hashes of other addresses, uncorroborated eight-byte beginnings.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlsplit

from audit.records import AnyRecord, Canary, Dns, Http, Message, Tls, WebSocketMessage
from tests.benchmarks.leakbench.values import label

_VENDORS = ("metrics", "events", "log", "cdn", "api", "sync", "t", "ads", "push", "config")
_EVENTS = ("page_view", "scroll", "click", "session_start", "app_open", "impression", "heartbeat", "error")
_PLAIN = [
    "the",
    "quick",
    "audit",
    "of",
    "a",
    "phone",
    "takes",
    "most",
    "of",
    "an",
    "afternoon",
    "and",
    "ends",
    "with",
    "tea",
]
Maker = Callable[[random.Random, list[Canary]], AnyRecord]


def benign(canaries: list[Canary], seed: int, count: int) -> Iterator[tuple[str, AnyRecord]]:
    """`count` transmissions with the name of their sort; the sorts turn over."""
    makers = list(_MAKERS.items())
    for index in range(count):
        name, maker = makers[index % len(makers)]
        yield name, maker(random.Random(f"benign {seed} {index}"), canaries)


def telemetry(rng: random.Random, size: int = 1500, device: random.Random | None = None) -> bytes:
    """A telemetry document of about `size` bytes, compact JSON, as SDKs send it. The identifiers of the device
    are drawn from `device`: one that is new each time is a new device each time."""
    device = device or rng
    document = {
        "app": {"id": "com.example.reader", "version": f"{rng.randint(1, 9)}.{rng.randint(0, 20)}.1"},
        "device": {"os": "android", "model": "Pixel 7", "locale": "en_GB", "install": str(_uuid(device))},
        "session": device.randbytes(16).hex(),
        "token": base64.urlsafe_b64encode(device.randbytes(32)).decode().rstrip("="),
        "sent": 1_700_000_000_000 + rng.randint(0, 10**9),
        "events": [],
    }
    rows: list[dict[str, object]] = document["events"]  # type: ignore[assignment]
    length = 380
    while length < size:
        row: dict[str, object] = {
            "name": rng.choice(_EVENTS), "id": str(_uuid(rng)), "at": 1_700_000_000_000 + rng.randint(0, 10**9),
            "url": _url(rng), "duration": round(rng.random() * 30, 3), "props": {"index": rng.randint(0, 400),
            "variant": rng.choice("ABC"), "text": " ".join(rng.sample(_PLAIN, 4))},
        }  # fmt: skip
        rows.append(row)
        length += 250
    return json.dumps(document, separators=(",", ":")).encode()


def plain_json(rng: random.Random, size: int) -> bytes:
    """A document of about `size` bytes in which nothing is or looks encoded: words, numbers, addresses."""
    rows: list[dict[str, object]] = []
    length = 0
    while length < size:
        row = {
            "name": rng.choice(_EVENTS), "at": 1_700_000_000 + rng.randint(0, 10**9), "screen": "main/list",
            "text": " ".join(rng.choice(_PLAIN) for _ in range(12)), "duration": round(rng.random() * 30, 3),
            "page": f"https://www.site-{rng.randint(1, 999)}.example/en/news/{rng.randint(1, 9999)}",
        }  # fmt: skip
        rows.append(row)
        length += len(json.dumps(row)) + 1
    return json.dumps({"events": rows}, separators=(",", ":")).encode()


def post(
    body: bytes, media: str = "application/json", host: str = "api.vendor.example", number: int = 0
) -> Http:
    """A POST request that carries `body`."""
    return Http(
        capture="bench", id=f"b{number}", host=host, method="POST", scheme="https", authority=host,
        path="/v1/events", version="2", body=body, request_bytes=len(body),
        headers=((b"user-agent", b"okhttp/4.12.0"), (b"content-type", media.encode())),
    )  # fmt: skip


def _get(rng: random.Random, path: str, *headers: tuple[bytes, bytes], host: str = "") -> Http:
    host = host or f"{rng.choice(_VENDORS)}.vendor-{rng.randint(1, 200)}.example"
    agent = (b"user-agent", b"Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile")
    return Http(
        capture="bench", id="g", host=host, method="GET", scheme="https", authority=host, path=path,
        version="2", headers=(agent, *headers), body=b"",
    )  # fmt: skip


def _uuid(rng: random.Random) -> uuid.UUID:
    return uuid.UUID(bytes=rng.randbytes(16), version=4)


def _url(rng: random.Random) -> str:
    return f"https://www.{rng.choice(_PLAIN)}-{rng.randint(1, 999)}.example/{label(rng)}/{rng.choice(_PLAIN)}?id={rng.randint(1, 10**6)}"


def _form(rng: random.Random, _: list[Canary]) -> AnyRecord:
    fields = {
        "cid": f"{rng.randint(10**9, 10**10)}.{rng.randint(10**9, 10**10)}", "dl": _url(rng), "ul": "en-gb",
        "sr": "1080x2400", "gid": rng.randbytes(16).hex(), "t": rng.choice(_EVENTS), "sig": rng.randbytes(32).hex(),
    }  # fmt: skip
    body = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
    return post(body.encode(), "application/x-www-form-urlencoded")


def _ids(rng: random.Random, _: list[Canary]) -> AnyRecord:
    path = f"/px?uid={_uuid(rng)}&h={rng.randbytes(rng.choice((4, 8, 16, 20, 32, 64))).hex()}&b={base64.urlsafe_b64encode(rng.randbytes(rng.randint(8, 64))).decode()}"
    return _get(rng, path, (b"x-request-id", str(_uuid(rng)).encode()))


def _token(rng: random.Random, _: list[Canary]) -> AnyRecord:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"sub": str(_uuid(rng)), "iss": _url(rng), "exp": 1_800_000_000, "scope": "read write"}
    signed = (b'{"alg":"RS256","typ":"JWT"}', json.dumps(claims).encode(), rng.randbytes(256))
    jwt = ".".join(part(piece) for piece in signed)
    cookie = f"sid={rng.randbytes(24).hex()}; pref={part(rng.randbytes(40))}; seen={rng.randint(1, 10**9)}"
    return _get(rng, "/me", (b"authorization", f"Bearer {jwt}".encode()), (b"cookie", cookie.encode()))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _protobuf(rng: random.Random, _: list[Canary]) -> AnyRecord:
    body = b""
    for _i in range(rng.randint(4, 20)):
        text = rng.choice(
            (_url(rng).encode(), rng.randbytes(20), rng.choice(_EVENTS).encode(), str(_uuid(rng)).encode())
        )
        inner = (
            b"\x08"
            + _varint(rng.randint(1, 1 << 40))
            + b"\x12"
            + _varint(len(text))
            + text
            + b"\x1d"
            + rng.randbytes(4)
        )
        body += b"\x0a" + _varint(len(inner)) + inner
    if rng.random() < 0.5:
        body = gzip.compress(body, mtime=0)
    return post(body, "application/x-protobuf")


def _image(rng: random.Random, _: list[Canary]) -> AnyRecord:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"".join(b"\0" + rng.randbytes(96) for _ in range(32)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
    png += chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    if rng.random() < 0.5:
        return post(
            json.dumps({"avatar": "data:image/png;base64," + base64.b64encode(png).decode()}).encode()
        )
    return post(png, "image/png")


def _opaque(rng: random.Random, _: list[Canary]) -> AnyRecord:
    data = rng.randbytes(rng.randint(16, 1500))
    choice = rng.randrange(3)
    if choice == 0:
        return post(data, "application/octet-stream")
    if choice == 1:
        return WebSocketMessage(
            capture="bench", id="w", type="binary", bytes=len(data), data=data, host="ws.vendor.example"
        )
    return Message(capture="bench", id="m", transport="tcp", bytes=len(data), data=data)


def _names(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    host = _near_host(rng, canaries)
    if rng.random() < 0.5:
        return Dns(capture="bench", id="d", name=host, type="A", response=False)
    return Tls(capture="bench", id="t", sni=host, host=host)


def _changed(rng: random.Random, text: str) -> str:
    """`text` with one of its letters or digits replaced by another."""
    places = [i for i, c in enumerate(text) if c.isascii() and c.isalnum()]
    at = rng.choice(places)
    letters = "0123456789" if text[at].isdigit() else "bcdfghjkmnpqrtvwxz"
    return text[:at] + rng.choice([c for c in letters if c != text[at].lower()]) + text[at + 1 :]


def _near_host(rng: random.Random, canaries: list[Canary]) -> str:
    """A host much like a planted one: a letter other, or the whole of it as part of another name."""
    host = urlsplit(rng.choice([c for c in canaries if c.kind == "url"]).value).hostname or ""
    first, _, site = host.partition(".")
    name = site.removesuffix(".example")
    return rng.choice((
        f"{_changed(rng, first)}.{_changed(rng, name)}.example", f"{first}.{name}s.example", f"{host}.net",
        f"{first}.my-{site}", f"{first}-{name}.example", f"{first}.{name}.test",
    ))  # fmt: skip


def _near_value(rng: random.Random, canaries: list[Canary]) -> str:
    canary = rng.choice(canaries)
    if canary.kind == "url":
        parts = urlsplit(canary.value)
        path, query = _changed(rng, parts.path[:10]) + parts.path[10:], _changed(rng, parts.query)
        return f"https://{_near_host(rng, canaries)}{path}?{query}"
    if canary.kind == "identifier":
        return _changed(rng, canary.value)
    words = canary.value.split()
    return rng.choice((
        _changed(rng, canary.value) if canary.value.isascii() else " ".join((*words[:-1], _changed(rng, words[-1]))),
        " and ".join(words), " ".join(reversed(words)), " ".join(words[:-1]), words[-1] + label(rng, 3),
        " ".join((*words[:-1], words[-1] + "x")),
    ))  # fmt: skip


def _near_json(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    rows = [{"event": rng.choice(_EVENTS), "value": _near_value(rng, canaries)} for _ in range(4)]
    return post(json.dumps({"rows": rows}, ensure_ascii=rng.random() < 0.5).encode())


def _near_wrapped(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    data = json.dumps({"v": _near_value(rng, canaries)}).encode()
    wrapped = rng.choice(
        (base64.b64encode(data), data.hex().encode(), base64.b64encode(gzip.compress(data, mtime=0)))
    )
    if rng.random() < 0.5:
        return _get(rng, f"/c?data={quote(wrapped.decode(), safe='')}")
    return post(b"data=" + quote(wrapped.decode(), safe="").encode(), "application/x-www-form-urlencoded")


def _apart(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    """The words of a term in different fields, and in another order in one."""
    words = rng.choice([c for c in canaries if c.kind in ("term", "title")]).value.split()
    rng.shuffle(words)
    return post(json.dumps({"tags": words, "text": " then ".join(words)}).encode())


def _pieces(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    """The beginnings of two planted hosts' labels without their domains, in one query."""
    hosts = [
        urlsplit(c.value).hostname or "" for c in rng.sample([c for c in canaries if c.kind == "url"], 2)
    ]
    return _get(rng, "/c?a={}&b={}".format(*(quote(host.partition(".")[0]) for host in hosts)))


def _safe_browsing(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    address = rng.choice([c for c in canaries if c.kind == "url"]).value.partition("://")[2]
    prefix = hashlib.sha256(address.partition("#")[0].encode()).digest()[:4]
    message = b"\x12\x08\x1a\x06\x0a\x04" + prefix
    if rng.random() < 0.5:
        path = f"/v4/fullHashes:find?$req={base64.urlsafe_b64encode(message).decode()}&$ct=application/x-protobuf"
        return _get(rng, path, host="safebrowsing.googleapis.com")
    path = f"/v5/hashes:search?hashPrefixes={quote(base64.b64encode(prefix).decode(), safe='')}"
    return _get(rng, path, host="safebrowsing.googleapis.com")


def _short_hash(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    """Eight bytes of a planted value's hash in a field that is not named for it: chance can do that."""
    value = rng.choice(canaries).value.encode()
    digest = hashlib.new(rng.choice(("md5", "sha1", "sha256")), value).digest()
    return post(json.dumps({"seed": digest[:8].hex(), "trace": digest[4:12].hex()}).encode())


def _other_hash(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    near = _near_value(rng, canaries).encode()
    digests = {name: hashlib.new(name, near).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}
    return post(json.dumps({"url_hash": digests}).encode())


def _typing(rng: random.Random, canaries: list[Canary]) -> AnyRecord:
    query = " ".join(rng.sample(_PLAIN, rng.randint(1, 4)))
    return _get(rng, f"/complete/search?client=omni&q={quote(query[: rng.randint(1, len(query))])}")


def _reports(rng: random.Random, _: list[Canary]) -> AnyRecord:
    body = [
        {"age": rng.randint(1, 60_000), "type": "network-error", "url": _url(rng), "body": {"phase": "dns"}}
    ]
    return post(json.dumps(body).encode(), "application/reports+json")


def _telemetry(rng: random.Random, _: list[Canary]) -> AnyRecord:
    body = telemetry(rng, rng.randint(600, 4000))
    return post(gzip.compress(body, mtime=0) if rng.random() < 0.3 else body)


_MAKERS: dict[str, Maker] = {
    "telemetry": _telemetry, "form": _form, "ids": _ids, "token": _token, "protobuf": _protobuf,
    "image": _image, "opaque": _opaque, "reports": _reports, "typing": _typing, "near: name": _names,
    "near: json": _near_json, "near: wrapped": _near_wrapped, "near: words apart": _apart,
    "near: labels apart": _pieces, "near: safe browsing": _safe_browsing, "near: short hash": _short_hash,
    "near: other hash": _other_hash,
}  # fmt: skip
