"""A HAR file of everything a capture tells, unmasked: headers, bodies both ways, WebSocket messages.

Bodies that are text are text, all others base64 (`postData.encoding` as PCAPdroid writes it); responses are
told without their content coding, as browsers do, requests as sent. Entries stand in the order of the
capture, save that a WebSocket's comes when all of its messages are known. It is written as it comes, one entry
at a time. Must never be handed on without saying that nothing in it is masked. Specified by: HAR 1.2.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import brotli
import msgspec
import zstandard

from audit import __version__
from audit.records import AnyRecord, Headers, Http, WebSocketMessage
from audit.reporting.wire import inert_json

MAX_DECODED = 64 << 20
MAX_SOCKETS = 1_024
MAX_MESSAGES = 100_000
_NOW = datetime.fromtimestamp(0, UTC)


def written(records: Iterable[AnyRecord]) -> Iterator[bytes]:
    """The file in pieces."""
    creator = {"name": "privacy-audit", "version": __version__}
    yield b'{"log":{"version":"1.2","creator":' + msgspec.json.encode(creator) + b',"entries":['
    first = True
    for entry in _entries(records):
        yield (b"" if first else b",\n") + inert_json(msgspec.json.encode(entry))
        first = False
    yield b"]}}\n"


def _entries(records: Iterable[AnyRecord]) -> Iterator[dict[str, Any]]:
    sockets: dict[tuple[str | None, str], dict[str, Any]] = {}
    for record in records:
        if isinstance(record, Http):
            entry = _entry(record)
            if record.status == 101 or (record.method == "CONNECT" and record.path[:1] == "/"):
                sockets[record.flow, _address(record)] = entry
                if len(sockets) > MAX_SOCKETS:
                    yield sockets.pop(next(iter(sockets)))
            else:
                yield entry
        elif isinstance(record, WebSocketMessage):
            socket = sockets.get((record.flow, record.url.replace("ws", "http", 1)))
            if socket is not None:
                messages = socket.setdefault("_webSocketMessages", [])
                if len(messages) < MAX_MESSAGES:
                    messages.append(_message(record))
    yield from sockets.values()


def _address(http: Http) -> str:
    if http.method == "CONNECT" and http.path[:1] != "/":
        return f"{http.scheme}://{http.authority}"
    return f"{http.scheme}://{http.authority}{http.path}"


def _entry(http: Http) -> dict[str, Any]:
    address = _address(http)
    version = f"HTTP/{http.version}" if http.version else "unknown"
    request: dict[str, Any] = {
        "method": http.method, "url": address, "httpVersion": version, "cookies": [],
        "headers": _headers(http.headers), "queryString": _query(address), "headersSize": -1,
        "bodySize": http.request_bytes,
    }  # fmt: skip
    if http.body or http.request_bytes:
        request["postData"] = {"mimeType": _value(http.headers, b"content-type"), "params": [],
                               **_text(http.body or b"", "encoding")}  # fmt: skip
    kind = _value(http.response_headers, b"content-type")
    body = http.response_body
    content: dict[str, Any] = {
        "size": 0 if http.response_bytes is None else http.response_bytes,
        "mimeType": kind,
    }
    if body is not None:
        plain = _decoded(body, _value(http.response_headers, b"content-encoding"))
        content.update(size=len(plain), compression=len(plain) - len(body), **_text(plain, "encoding"))
    if http.response_bytes and len(body or b"") < http.response_bytes:
        content["comment"] = f"{http.response_bytes - len(body or b'')} bytes of it were not kept"
    entry: dict[str, Any] = {
        "startedDateTime": _moment(http.time), "time": 0, "request": request,
        "response": {
            "status": http.status or 0, "statusText": "", "httpVersion": version, "cookies": [],
            "headers": _headers(http.response_headers), "content": content,
            "redirectURL": _value(http.response_headers, b"location"), "headersSize": -1,
            "bodySize": -1 if http.response_bytes is None else http.response_bytes,
        },
        "cache": {}, "timings": {"send": 0, "wait": 0, "receive": 0}, "_securedBy": http.secured_by,
    }  # fmt: skip
    if http.dst:
        entry["serverIPAddress"] = http.dst
    if http.flow:
        entry["connection"] = http.flow
    return entry


def _message(message: WebSocketMessage) -> dict[str, Any]:
    binary = message.type == "binary"
    data = base64.b64encode(message.data).decode() if binary else message.data.decode("utf-8", "replace")
    return {
        "type": "send" if message.direction == "up" else "receive",
        "time": message.time or 0, "opcode": 2 if binary else 1, "data": data,
    }  # fmt: skip


def _text(body: bytes, marked: str) -> dict[str, str]:
    """A body as text where it is, else as base64 and marked so."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"text": base64.b64encode(body).decode(), marked: "base64"}
    if any(ord(c) < 32 and c not in "\t\r\n" for c in text):
        return {"text": base64.b64encode(body).decode(), marked: "base64"}
    return {"text": text}


def _decoded(body: bytes, coding: str) -> bytes:
    """The body without its content coding; as it is where that is unknown, broken or too large."""
    try:
        match coding.strip().lower():
            case "gzip" | "x-gzip" | "deflate":
                engine = zlib.decompressobj(47)
                plain = engine.decompress(body, MAX_DECODED)
                return plain if not engine.unconsumed_tail else body
            case "br":
                return _bounded(brotli.Decompressor(), body)
            case "zstd":
                return zstandard.ZstdDecompressor().decompressobj().decompress(body)[:MAX_DECODED]
    except (zlib.error, brotli.error, zstandard.ZstdError):
        pass
    return body


def _bounded(engine: Any, body: bytes) -> bytes:
    out: list[bytes] = []
    size = 0
    for at in range(0, len(body), 4_096):
        out.append(engine.process(body[at : at + 4_096]))
        size += len(out[-1])
        if size > MAX_DECODED:
            return body
    return b"".join(out)


def _headers(headers: Headers) -> list[dict[str, str]]:
    return [{"name": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in headers]


def _value(headers: Headers, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), "")


def _query(address: str) -> list[dict[str, str]]:
    try:
        query = urlsplit(address).query
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1_000)
    except ValueError:
        return []
    return [{"name": name, "value": value} for name, value in pairs]


def _moment(time: float | None) -> str:
    moment = _NOW if time is None else datetime.fromtimestamp(time, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
