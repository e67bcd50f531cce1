"""HAR 1.2 (and .zhar, which is the same gzipped) → records, from any exporter.

Names: `f3` is the third entry, `f3.m2` its second WebSocket message, `c2` the second connection. An entry
that never left the device (answered from a cache, blocked, `data:`) is listed with direction `down`, so that
it is counted and not searched. It must never reject a file for a member it does not need.

Sources: http://www.softwareishard.com/blog/har-12-spec/; the members with an underscore as Chrome DevTools,
Safari and PCAPdroid write them.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from audit.records import AnyRecord, Direction, Gap, Http, WebSocketMessage
from audit.sources import values
from audit.sources.connections import Connection, head_bytes
from audit.sources.har_body import (
    body_of,
    cookies_of,
    encoded,
    headers_of,
    loose_text,
    pseudo_authority,
    size_of,
    unbase64,
)
from audit.sources.har_document import Entry, FullEntry, Response, entries, entry_of
from audit.sources.opening import Opened

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^#]*)", re.DOTALL)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# Failures before anything of the request was sent; Chromium, net/base/net_error_list.h
_NEVER_SENT = frozenset(
    f"net::ERR_{name}"
    for name in (
        "ADDRESS_UNREACHABLE",
        "BLOCKED_BY_ADMINISTRATOR",
        "BLOCKED_BY_CLIENT",
        "BLOCKED_BY_CSP",
        "CACHE_MISS",
        "CONNECTION_REFUSED",
        "INTERNET_DISCONNECTED",
        "NAME_NOT_RESOLVED",
    )
)


def records(path: Path, source: Opened, capture: str) -> Iterator[AnyRecord]:
    """The records of a HAR file; the flows of its connections come last.

    Raises:
        BadCapture: it is no HAR.
    """
    # Not closed by hand: the entries that wait to be read point into it.
    data: bytes | mmap.mmap = mmap.mmap(source.file.fileno(), source.size, access=mmap.ACCESS_READ)
    if data[:2] in _UTF16:
        data = data[:].decode("utf-16", "replace").encode()
    connections: dict[object, Connection] = {}
    number = 0
    for part in entries(path, data, capture):
        if isinstance(part, Gap):
            yield part
            continue
        number += 1
        offset, raw = part
        entry = entry_of(raw)
        if entry is None:
            detail = "an entry without a readable request"
            yield Gap(capture=capture, reason="malformed", offset=offset, bytes=len(raw), detail=detail)
            continue
        yield from _transmissions(entry, f"f{number}", capture, connections)
    for connection in connections.values():
        yield connection.record(capture)


# --- one entry -------------------------------------------------------------------------------------


def _transmissions(
    entry: Entry, number: str, capture: str, connections: dict[object, Connection]
) -> Iterator[AnyRecord]:
    request = entry.request
    response = (entry.response if isinstance(entry, FullEntry) else None) or Response()
    url = _URL.match(request.url)
    if url is None:
        detail = "an entry whose URL cannot be read"
        yield Gap(capture=capture, reason="malformed", detail=detail)
        return
    scheme = url[1].lower()
    place = (url[2] or "").rpartition("@")[2]
    headers = headers_of(request.headers)
    if not any(name.lower() == b"cookie" for name, _ in headers):
        headers += cookies_of(request.cookies)
    authority = next((values.text(value) for name, value in headers if name.lower() == b"host"), "")
    authority = authority or pseudo_authority(request.headers) or values.text(place)
    name, port = values.split_authority(place)
    host = values.hostname(name)
    dst = values.address(entry.server) or values.address(name)
    dport = port or values.default_port(scheme)
    version = values.http_version(loose_text(request.http_version) or loose_text(response.http_version))
    body, size = body_of(request, headers)
    media = (
        loose_text((request.post_data or {}).get("mimeType")) if isinstance(request.post_data, dict) else None
    )
    if media and not any(name.lower() == b"content-type" for name, _ in headers):
        headers += ((b"content-type", media.encode("latin-1", "replace")),)
    answer = size_of(response.body_size)
    answer_headers = headers_of(response.headers)
    started = _started(entry.started)
    path = values.text(url[3])
    path = path if path.startswith("/") or not url[2] else f"/{path}"
    method = values.text(request.method)
    sent = scheme in _SCHEMES and not _stayed(entry, response)
    connection: Connection | None = None
    if sent:
        connection = _connection(connections, entry.connection, _Server(host, dst, dport), version)
        connection.name("http", host)
        connection.servers.add((dst, dport))
        connection.carried(
            started,
            up=size + head_bytes(method, path, "HTTP/1.1", headers=headers),
            down=None
            if answer is None
            else answer + head_bytes("HTTP/1.1", "200", "OK", headers=answer_headers),
        )
        if started is not None:
            elapsed = values.moment(entry.elapsed) or 0.0
            connection.touched(values.moment(started + max(elapsed, 0.0) / 1000))
    status = response.status
    secured: Literal["proxy", "cleartext"] = "proxy" if _SCHEMES.get(scheme) == "https" else "cleartext"
    common: dict[str, Any] = {
        "capture": capture,
        "flow": connection.id if connection else None,
        "dst": dst,
        "dport": dport,
        "host": host,
        "secured_by": secured,
    }
    yield Http(
        **common,
        time=started,
        id=number,
        direction="up" if sent else "down",
        method=method,
        scheme=_SCHEMES.get(scheme, values.text(scheme)),
        authority=authority,
        path=path,
        version=version,
        status=status if isinstance(status, int) and 100 <= status <= 999 else None,
        request_bytes=size,
        response_bytes=answer,
        headers=headers,
        body=body,
        response_headers=answer_headers,
        initiator=_initiator(entry),
    )
    for index, message in enumerate(entry.messages if isinstance(entry.messages, list) else (), 1):
        record = _message(message, f"{number}.m{index}", request.url, common)
        yield record
        if isinstance(record, WebSocketMessage) and connection is not None:
            up = record.bytes if record.direction == "up" else 0
            connection.carried(record.time, up=up, down=record.bytes - up)


class _Server(NamedTuple):
    host: str | None
    address: str | None
    port: int | None


def _connection(
    connections: dict[object, Connection], told: object, server: _Server, version: str
) -> Connection:
    """The tally of the connection an entry went over. Exporters differ in what `connection` is (Firefox
    writes the server's port), so the server belongs to the key; without one there is a flow per host."""
    transport: Literal["tcp", "udp"] = "udp" if version == "3" else "tcp"
    if isinstance(told, str | int) and told != "":
        key = (told, server.address or server.host, server.port, transport)
    else:
        key = ("", server.host or server.address, server.port, transport)
    return connections.setdefault(key, Connection(f"c{len(connections) + 1}", transport))


def _stayed(entry: Entry, response: Response) -> bool:
    """Whether the exporter says that nothing was sent."""
    return (
        bool(entry.from_cache)
        or entry.fetch in ("Memory Cache", "Disk Cache")
        or (isinstance(response.error, str) and response.error in _NEVER_SENT)
    )


def _message(message: object, number: str, url: str, common: dict[str, Any]) -> WebSocketMessage | Gap:
    """One element of `_webSocketMessages`: {type: send|receive, time, opcode, data}."""
    if isinstance(message, dict) and isinstance(message.get("data"), str):
        binary = message.get("opcode") == 2
        data = (unbase64(message["data"]) if binary else None) or encoded(message["data"], "text/")
        direction: Direction = "down" if message.get("type") == "receive" else "up"
        return WebSocketMessage(
            **common,
            time=values.moment(message.get("time")),
            id=number,
            direction=direction,
            type="binary" if binary else "text",
            bytes=len(data),
            url=values.text(re.sub("^http", "ws", url)),
            data=data,
        )
    detail = "a WebSocket message that cannot be read"
    return Gap(capture=common["capture"], flow=common["flow"], reason="malformed", detail=detail)


def _initiator(entry: Entry) -> str | None:
    """The URL of what made the request, else the kind of resource, else the kind of initiator."""
    told = entry.initiator
    if isinstance(told, dict):
        stack = told.get("stack")
        frames = stack.get("callFrames") if isinstance(stack, dict) else None
        for source in (told, *(frames if isinstance(frames, list) else ())):
            if isinstance(source, dict) and isinstance(source.get("url"), str) and source["url"]:
                return values.text(source["url"])
    kind = told.get("type") if isinstance(told, dict) else told
    return loose_text(entry.resource) or loose_text(kind) or None


def _started(value: object) -> float | None:
    """Epoch seconds of an ISO 8601 time. A time without a zone could be any hour: unknown."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value.strip())
        return values.moment(time.timestamp()) if time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
