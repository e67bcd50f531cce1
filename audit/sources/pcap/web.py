"""The web in clear: HTTP/1 (RFC 9112), HTTP/2 (RFC 9113) and WebSocket (RFC 6455) connections told as records.

Requests wait for their responses, so many of them at most; a request without response is told when the
connection ends. What a CONNECT or an upgrade opens is another conversation on the same connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from audit.protocols import connect, http1, http2, websocket
from audit.protocols.malformed import Malformed
from audit.sources.pcap.speaker import Speaker
from audit.sources.pcap.telling import Answered, Asked, Teller

MAX_WAITING = 256
MAX_BODY = 8 << 20


class Http1:
    """HTTP/1 in clear, and what it turns into. `begin` opens a fresh conversation for a tunnel."""

    def __init__(self, teller: Teller, client: int, begin: Callable[[], Speaker]) -> None:
        self._teller = teller
        self._client = client
        self._begin = begin
        self._connection = http1.Connection(max_body=MAX_BODY)
        self._waiting: dict[int, tuple[http1.Request, float | None]] = {}
        self._last: tuple[http1.Request, http1.Response | None] | None = None
        self._inner: Speaker | None = None
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        self._events(self._connection.feed(data, side != self._client))
        self.done = self._inner is not None and self._inner.done

    def gap(self, side: int, size: int) -> None:
        self._events(self._connection.gap(size, side != self._client))
        if self._inner is not None:
            self._inner.gap(side, size)

    def finish(self) -> None:
        for response in (False, True):
            self._events(self._connection.finish(response))
        self._tell_waiting()
        if self._inner is not None:
            self._inner.finish()
        self.done = True

    def _events(self, events: list[http1.Event]) -> None:
        for event in events:
            if isinstance(event, http1.Request):
                self._waiting[event.number] = event, self._teller.time
                if len(self._waiting) > MAX_WAITING:
                    self._tell(next(iter(self._waiting)), None)
            elif isinstance(event, http1.Response):
                if event.number is not None:
                    for earlier in [number for number in self._waiting if number < event.number]:
                        self._tell(earlier, None)
                    self._tell(event.number, event)
            elif isinstance(event, http1.Tunnel):
                if self._inner is None:
                    self._tell_waiting()
                    self._inner = self._opened(event.protocol)
                self._inner.feed(1 - self._client if event.response else self._client, event.data)

    def _tell_waiting(self) -> None:
        for number in list(self._waiting):
            self._tell(number, None)

    def _tell(self, number: int, response: http1.Response | None) -> None:
        if number not in self._waiting:
            return
        request, time = self._waiting.pop(number)
        self._last = request, response
        answered = response and Answered(response.status, _raw(response.headers), response.size)
        self._teller.http(self._client, asked(request), answered, time)
        if " " in request.target:
            line = f"{request.method} {request.target} HTTP/{request.version}".encode("latin-1")
            self._teller.message(self._client, line, "tcp")

    def _opened(self, protocol: str) -> Speaker:
        if protocol == "websocket" and self._last is not None:
            request, response = self._last
            extensions = _header(response.headers, "sec-websocket-extensions") if response else ""
            sent = asked(request)
            url = f"ws://{sent.authority}{sent.target}"
            return WebSocket(self._teller, self._client, url, extensions)
        return Http2(self._teller, self._client) if protocol.startswith("h2c") else self._begin()


def asked(request: http1.Request) -> Asked:
    """A request of HTTP/1 as any other; a target in absolute form is taken apart (RFC 9112, 3.2), one with
    spaces ends at the first of them."""
    authority, target, scheme = _header(request.headers, "host"), request.target.partition(" ")[0], "http"
    if request.method == "CONNECT":
        authority = target
        try:
            host, port = connect.target(target)
            authority = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        except Malformed:
            pass
    elif target[:8].lower().startswith(("http://", "https://")):
        scheme, _, rest = target.partition("://")
        absolute, slash, path = rest.partition("/")
        authority, target, scheme = absolute or authority, slash + path or "/", scheme.lower()
    return Asked(
        method=request.method, scheme=scheme, authority=authority, target=target,
        version=f"HTTP/{request.version}" if request.version else "", headers=_raw(request.headers),
        body=request.body, size=request.size, lost=request.lost, cut=request.cut,
    )  # fmt: skip


def _raw(headers: http1.Headers) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def _header(headers: http1.Headers, wanted: str) -> str:
    return next((value for name, value in headers if name.lower() == wanted), "")


@dataclass(slots=True)
class _Stream:
    """A request on its way, and its response."""

    time: float | None
    fields: http2.Fields
    body: list[bytes] = field(default_factory=list)
    size: int = 0
    lost: int = 0
    held: int = 0
    status: int | None = None
    answer: tuple[tuple[bytes, bytes], ...] = ()
    received: int = 0


class Http2:
    """HTTP/2 in clear (h2c)."""

    def __init__(self, teller: Teller, client: int) -> None:
        self._teller = teller
        self._client = client
        self._connection = http2.Connection()
        self._streams: dict[int, _Stream] = {}
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        self._events(self._connection.feed(data, side != self._client))

    def gap(self, side: int, size: int) -> None:
        self._events(self._connection.gap(size, side != self._client))

    def finish(self) -> None:
        for response in (False, True):
            self._events(self._connection.finish(response))
        for number in list(self._streams):
            self._tell(number)
        self.done = True

    def _events(self, events: list[http2.Event]) -> None:
        for event in events:
            if isinstance(event, http2.Fields):
                self._fields(event)
            elif isinstance(event, http2.Data) and event.stream in self._streams:
                stream = self._streams[event.stream]
                if event.response:
                    stream.received += len(event.data) + event.lost
                    if event.end:
                        self._tell(event.stream)
                    continue
                stream.size += len(event.data) + event.lost
                stream.lost += event.lost
                if stream.held < MAX_BODY:
                    stream.body.append(event.data)
                    stream.held += len(event.data)
            elif isinstance(event, http2.Reset):
                self._tell(event.stream)

    def _fields(self, event: http2.Fields) -> None:
        if event.kind == "request":
            self._tell(event.stream)
            self._streams[event.stream] = _Stream(self._teller.time, event)
            if len(self._streams) > MAX_WAITING:
                self._tell(next(iter(self._streams)))
        elif event.response and event.stream in self._streams:
            stream = self._streams[event.stream]
            status = next((value for name, value in event.fields if name == ":status"), None)
            if event.kind == "response":
                stream.status = int(status) if status and status.isascii() and status.isdigit() else None
                stream.answer = _known(event)
            if event.end:
                self._tell(event.stream)

    def _tell(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        fields = {name: value or "" for name, value in reversed(stream.fields.fields) if name}
        sent = Asked(
            method=fields.get(":method", ""), scheme=fields.get(":scheme", "http"),
            authority=fields.get(":authority") or fields.get("host", ""), target=fields.get(":path", ""),
            version="HTTP/2", headers=_known(stream.fields), body=b"".join(stream.body), size=stream.size,
            lost=stream.lost, cut=stream.size > stream.held,
        )  # fmt: skip
        answered = None if stream.status is None else Answered(stream.status, stream.answer, stream.received)
        self._teller.http(self._client, sent, answered, stream.time)
        if not stream.fields.known:
            self._teller.gap("lost", None, "header fields refer to bytes that were not recorded")


def _known(event: http2.Fields) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name.encode("latin-1"), (value or "").encode("latin-1"))
        for name, value in event.fields
        if name and not name.startswith(":")
    )


class WebSocket:
    """WebSocket messages in clear; `url` is that of the handshake, `extensions` what the server agreed to."""

    def __init__(self, teller: Teller, client: int, url: str, extensions: str) -> None:
        self._teller = teller
        self._client = client
        self._url = url
        self._messages = tuple(
            websocket.Messages(side != client, websocket.negotiated(extensions, response=side != client))
            for side in (0, 1)
        )
        self.done = False

    def feed(self, side: int, data: bytes) -> None:
        self._tell(side, self._messages[side].feed(data))

    def gap(self, side: int, size: int) -> None:
        self._tell(side, self._messages[side].gap(size))

    def finish(self) -> None:
        for side in (0, 1):
            self._tell(side, self._messages[side].finish())
        self.done = True

    def _tell(self, side: int, messages: list[websocket.Message]) -> None:
        for message in messages:
            if message.kind in (websocket.TEXT, websocket.BINARY):
                self._teller.websocket(side, message, self._url)
