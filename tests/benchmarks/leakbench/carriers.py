"""Puts a payload into a channel of a transmission: the record as a source would hand it over.

Channels that cannot hold all bytes (addresses, cookies, header lines) get them percent-encoded, as a
client has to; that is the channel's own work and no part of the chain.
"""

from __future__ import annotations

import random
from urllib.parse import quote_from_bytes

from audit.records import AnyRecord, Http, Message, WebSocketMessage

CHANNELS = ("url.query", "url.path", "header", "referer", "cookie", "body", "websocket", "tcp")
HTTP_CHANNELS = CHANNELS[:6]
# What the outermost coding is declared as, where a client would declare it.
_MEDIA = {
    "json": "application/json", "ndjson": "application/x-ndjson", "form": "application/x-www-form-urlencoded",
    "xml": "text/xml", "xml (attribute)": "text/xml", "xml (cdata)": "text/xml",
    "protobuf": "application/x-protobuf", "grpc": "application/grpc", "grpc (gzip)": "application/grpc",
    "msgpack": "application/msgpack", "cbor": "application/cbor", "dns message": "application/dns-message",
    "gb18030": "text/plain; charset=gb18030",
}  # fmt: skip
_CONTENT_CODINGS = {"gzip": "gzip", "zlib": "deflate", "brotli": "br", "zstd": "zstd"}
_AGENT = (b"user-agent", b"Mozilla/5.0 (Linux; Android 14; Pixel 7) AppleWebKit/537.36 Chrome/126.0.0.0")


def carry(identifier: str, payload: bytes, channel: str, outermost: str, rng: random.Random) -> AnyRecord:
    """The transmission that carries `payload`; `outermost` names the coding that made it ("" for none)."""
    host = f"in.{identifier}-collector.example"
    if channel == "websocket":
        kind = "text" if _printable(payload) else "binary"
        return WebSocketMessage(
            capture="bench", id=identifier, host=host, type=kind, bytes=len(payload), data=payload,
            url=f"wss://{host}/socket",
        )  # fmt: skip
    if channel == "tcp":
        return Message(
            capture="bench", id=identifier, transport="tcp", bytes=len(payload), data=payload, dport=7007
        )
    return _http(identifier, host, payload, channel, outermost, rng)


def _http(
    identifier: str, host: str, payload: bytes, channel: str, outermost: str, rng: random.Random
) -> AnyRecord:
    path = "/v2/collect"
    headers: list[tuple[bytes, bytes]] = [_AGENT, (b"accept-language", b"en-US,en;q=0.9")]
    body = b""
    quoted = quote_from_bytes(payload, safe="")
    match channel:
        case "url.query":
            path += f"?v=2&tid=G-{rng.randint(1000, 9999)}&d={quoted}&_s=1"
        case "url.path":
            path += f"/{quoted}/px.gif"
        case "header":
            headers.append((b"x-client-data", payload if _printable(payload) else quoted.encode()))
        case "referer":
            headers.append((b"referer", f"https://page.{identifier}.example/r?id=7&from={quoted}".encode()))
        case "cookie":
            headers.append((b"cookie", f"sid={rng.randbytes(8).hex()}; st={quoted}; lang=en".encode()))
        case "body":
            body = payload
            headers += _declared(payload, outermost, rng)
    return Http(
        capture="bench", id=identifier, host=host, method="POST" if body else "GET", scheme="https",
        authority=host, path=path, version="2", headers=tuple(headers), body=body, request_bytes=len(body),
    )  # fmt: skip


def _declared(payload: bytes, outermost: str, rng: random.Random) -> list[tuple[bytes, bytes]]:
    if outermost in _CONTENT_CODINGS and rng.random() < 0.5:
        coding = _CONTENT_CODINGS[outermost].encode()
        return [(b"content-encoding", coding), (b"content-type", b"application/octet-stream")]
    if outermost.startswith("multipart"):
        kind = b"mixed" if "nested" in outermost else b"form-data"
        mark = payload[2 : payload.index(b"\r\n")]
        return [(b"content-type", b"multipart/%s; boundary=%s" % (kind, mark))]
    media = _MEDIA.get(outermost) or ("text/plain" if _printable(payload) else "application/octet-stream")
    return [(b"content-type", media.encode())]


def _printable(data: bytes) -> bool:
    return all(32 <= b < 127 for b in data)
