"""One stream of HTTP/2 or HTTP/3: a request and its response, told when both have ended.

Both versions say the same things in other frames (RFC 9113, 8; RFC 9114, 4), so what is said is put together
here: bodies, trailers, pushed requests, and WebSocket connections inside of a stream (RFC 8441, RFC 9220).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from audit.protocols import http2
from audit.sources.pcap.messages import WebSocket
from audit.sources.pcap.telling import Answered, Asked, Teller

MAX_BODY = 8 << 20
MAX_EARLY = 1 << 20  # bytes of responses that came before their requests
_COST = 256  # what an event takes besides its bytes
_MAX_OVER = 4_096
Field = tuple[str | None, str | None]


class Block(NamedTuple):
    """A header block. `known` is False where fields of it could not be decoded."""

    kind: str
    fields: Sequence[Field]
    end: bool
    known: bool


class Early:
    """What responses said before their requests were there: those wait behind packets that are late or lost."""

    def __init__(self) -> None:
        self._events: dict[int, list[http2.Fields | http2.Data]] = {}
        self._size = 0
        self._over: dict[int, None] = {}

    def keep(self, event: http2.Fields | http2.Data) -> None:
        """Keep it for a stream whose request may still come."""
        known = self._events.get(event.stream)
        if event.stream in self._over or not event.response or self._size > MAX_EARLY:
            return
        if known is None:
            known = self._events[event.stream] = []
        known.append(event)
        self._size += _COST + (len(event.data) if isinstance(event, http2.Data) else 0)

    def of(self, stream: int) -> list[http2.Fields | http2.Data]:
        """What came for a stream whose request is there now."""
        events = self._events.pop(stream, [])
        for event in events:
            self._size -= _COST + (len(event.data) if isinstance(event, http2.Data) else 0)
        return events

    @property
    def left(self) -> int:
        """How many streams said something whose requests have not come."""
        return len(self._events)

    def told(self, stream: int) -> None:
        """Nothing more is expected of a stream."""
        self._over[stream] = None
        if len(self._over) > _MAX_OVER:
            del self._over[next(iter(self._over))]


class Exchange:
    """A request that `side` sent (a pushed one is the server's), and all that follows in its stream."""

    def __init__(self, teller: Teller, side: int, version: Literal["2", "3"], request: Block) -> None:
        self._teller = teller
        self._side = side
        self._version = version
        self._time = teller.time
        self._head = request
        self._trailers: tuple[tuple[bytes, bytes], ...] = ()
        self._bodies: tuple[list[bytes], list[bytes]] = ([], [])
        self._sizes, self._held, self._lost = [0, 0], [0, 0], [0, 0]
        self._status: int | None = None
        self._answer: tuple[tuple[bytes, bytes], ...] = ()
        self._keeps = teller.keeps_bodies
        self._ended = [request.end or request.kind == "push", False]
        self._socket: WebSocket | None = None
        self._unknown = not request.known

    @property
    def over(self) -> bool:
        """Whether both request and response have ended."""
        return all(self._ended)

    def block(self, response: bool, block: Block) -> None:
        """A further header block: the response's, or trailers."""
        if block.kind == "trailers":
            if response:
                self._answer += _sent(block)
            else:
                self._trailers += _sent(block)
        elif block.kind == "response" and response:
            status = next((value for name, value in block.fields if name == ":status"), None)
            self._status = int(status) if status and status.isascii() and status.isdigit() else None
            self._answer = _sent(block)
            self._unknown = self._unknown or not block.known
            self._keeps = self._keeps or _value(block, "content-type") == "application/dns-message"
            if self._status is not None and self._status // 100 == 2:
                self._upgrade(block)
        self._ended[response] = self._ended[response] or block.end

    def data(self, response: bool, data: bytes, lost: int, end: bool) -> None:
        """A part of a body, or of what a tunnel carries; `lost` bytes are missing before it."""
        if self._socket is not None:
            side = 1 - self._side if response else self._side
            if lost:
                self._socket.gap(side, lost)
            self._socket.feed(side, data)
        else:
            self._sizes[response] += len(data) + lost
            self._lost[response] += lost
            if data and self._held[response] < MAX_BODY and (not response or self._keeps):
                self._bodies[response].append(data)
                self._held[response] += len(data)
        self._ended[response] = self._ended[response] or end

    def _upgrade(self, block: Block) -> None:
        fields = _named(self._head)
        if fields.get(":method") == "CONNECT" and fields.get(":protocol") == "websocket":
            self._tell_request()
            url = f"wss://{fields.get(':authority', '')}{fields.get(':path', '')}"
            self._socket = WebSocket(self._teller, self._side, url, _value(block, "sec-websocket-extensions"))

    def tell(self, *, given_up: bool = False) -> None:
        """The stream ended, or will not be followed any further; `given_up` by one of the two ends."""
        if self._socket is not None:
            self._socket.finish()
            return
        self._tell_request()
        if not given_up and not self._ended[0]:
            self._teller.gap("lost", None, "the end of a request was not recorded")
        elif not given_up and self._status is not None and not self._ended[1]:
            self._teller.gap("lost", None, "the end of a response was not recorded")

    def _tell_request(self) -> None:
        fields = _named(self._head)
        body = b"".join(self._bodies[0])
        sent = Asked(
            method=fields.get(":method", ""), scheme=fields.get(":scheme", "http"),
            authority=fields.get(":authority") or fields.get("host", ""), target=fields.get(":path", ""),
            version=self._version, headers=_sent(self._head) + self._trailers, body=body,
            size=self._sizes[0], lost=self._lost[0], cut=self._sizes[0] > len(body),
        )  # fmt: skip
        answered = None
        if self._status is not None:
            content = b"".join(self._bodies[1]) if self._keeps else None
            answered = Answered(self._status, self._answer, self._sizes[1], content)
        self._teller.http(self._side, sent, answered, self._time)
        if self._unknown:
            self._teller.gap("lost", None, "header fields refer to bytes that were not recorded")
        if self._lost[1]:
            self._teller.gap("lost", self._lost[1], "part of a response's body was not recorded")


def _named(block: Block) -> dict[str, str]:
    return {name: value or "" for name, value in reversed(block.fields) if name}


def _value(block: Block, wanted: str) -> str:
    return ",".join(value or "" for name, value in block.fields if name == wanted)


def _sent(block: Block) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name.encode("latin-1"), (value or "").encode("latin-1"))
        for name, value in block.fields
        if name and not name.startswith(":")
    )
