"""The web as it can be read: HTTP/1 (RFC 9112) connections told as records; HTTP/2 is in `h2`.

Requests wait for their responses, so many of them at most; a request without response is told when the
connection ends. What a CONNECT or an upgrade opens is another conversation on the same connection.
"""

from __future__ import annotations

from collections.abc import Callable

from audit.protocols import connect, http1
from audit.protocols.malformed import Malformed
from audit.records import Headers
from audit.sources.pcap.messages import WebSocket
from audit.sources.pcap.speaker import Speaker
from audit.sources.pcap.telling import Answered, Asked, Teller

MAX_WAITING = 256
MAX_EARLY = 16
MAX_BODY = 8 << 20


class Http1:
    """HTTP/1 in clear, and what it turns into. `begin` opens a fresh conversation for a tunnel."""

    def __init__(self, teller: Teller, client: int, begin: Callable[[], Speaker]) -> None:
        self._teller = teller
        self._client = client
        self._begin = begin
        self._connection = http1.Connection(max_body=MAX_BODY, whole=teller.secured != "cleartext")
        self._waiting: dict[int, tuple[http1.Request, float | None]] = {}
        self._early: dict[int, http1.Response] = {}  # captured before their requests
        self._newest = -1
        self._last: tuple[http1.Request, http1.Response | None] | None = None
        self._inner: Speaker | None = None
        self._scheme = "http" if teller.secured == "cleartext" else "https"
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        self._events(self._connection.feed(data, side != self._client))
        self.done = self._inner is not None and self._inner.done

    def room(self, side: int) -> int:
        """How many bytes of a side may be passed over: those in the middle of a response's body, if nobody
        wants it."""
        if side == self._client or self._inner is not None or self._teller.keeps_bodies:
            return 0
        return self._connection.room()

    def skip(self, size: int) -> None:
        """Pass over bytes for which there is room."""
        self._connection.skip(size)

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
                self._newest = event.number
                if event.number in self._early:
                    self._tell(event.number, self._early.pop(event.number))
                if len(self._waiting) > MAX_WAITING:
                    self._tell(next(iter(self._waiting)), None)
            elif isinstance(event, http1.Response):
                if event.number is not None and event.number > self._newest:
                    self._early[event.number] = event
                    if len(self._early) > MAX_EARLY:
                        del self._early[next(iter(self._early))]
                elif event.number is not None:
                    for earlier in [number for number in self._waiting if number < event.number]:
                        self._tell(earlier, None)
                    self._tell(event.number, event)
            elif isinstance(event, http1.Skipped):
                if event.data.strip():  # it left the device, whatever it is
                    self._teller.message(self._client, event.data, "tcp")
                if event.cut:
                    self._teller.gap(
                        "limit",
                        None,
                        f"of what is no HTTP only the first {http1.MAX_SKIPPED} bytes were kept",
                    )
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
        whole = self._teller.whole or _of_dns(request.lines) or (response and _of_dns(response.lines))
        answered = response and Answered(
            response.status, _raw(response.headers) if whole else (), response.size, response.body
        )
        bare = not request.complete and b":" not in request.lines  # cut before the host was said
        if not bare:
            sent = asked(request, self._scheme, _raw(request.headers) if whole else ())
            self._teller.http(self._client, sent, answered, time)
        if not bare and not request.complete and not request.lost:
            self._teller.gap("lost", None, "the end of a request was not recorded")
        if response and not response.complete and self._scheme == "https":
            self._teller.gap("lost", None, "the end of a response was not recorded")
        if bare or " " in request.target:
            line = f"{request.method} {request.target}" + f" HTTP/{request.version}" * bool(request.version)
            self._teller.message(self._client, line.encode("latin-1"), "tcp")

    def _opened(self, protocol: str) -> Speaker:
        if protocol == "websocket" and self._last is not None:
            request, response = self._last
            extensions = _first(response.lines, b"\nsec-websocket-extensions") if response else ""
            sent = asked(request, self._scheme)
            url = f"{sent.scheme.replace('http', 'ws', 1)}://{sent.authority}{sent.target}"
            return WebSocket(self._teller, self._client, url, extensions)
        if protocol.startswith("h2c"):
            from audit.sources.pcap.h2 import Http2

            return Http2(self._teller, self._client)
        return self._begin()


def asked(request: http1.Request, scheme: str = "http", headers: Headers = ()) -> Asked:
    """A request of HTTP/1 as any other, with the headers that are wished for; a target in absolute form is taken apart (RFC 9112, 3.2), one with
    spaces ends at the first of them."""
    authority, target = _first(request.lines, b"\nhost"), request.target.partition(" ")[0]
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
        version=request.version, headers=headers,
        body=request.body, size=request.size, lost=request.lost, cut=request.cut,
    )  # fmt: skip


def odd_request(data: bytes) -> Asked:
    """What a client said to a web server though it is no request of HTTP: all of it stands as the body."""
    method, target = http1.words(data)
    return Asked(
        method=method, scheme="http", authority="", target=target, version="", headers=(),
        body=data[:MAX_BODY], size=len(data), lost=0, cut=len(data) > MAX_BODY,
    )  # fmt: skip


def _raw(headers: http1.Headers) -> Headers:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def _first(lines: bytes, wanted: bytes) -> str:
    return next(iter(http1.values(lines, wanted)), "")


def _of_dns(lines: bytes) -> bool:
    """Whether headers may speak of DNS (RFC 8484), for which they have to be read."""
    return b"dns-message" in lines.lower()
