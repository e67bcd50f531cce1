"""HTTP/2 connections (RFC 9113) told as records.

Requests wait for their responses, so many of them at most; one without is told when the connection ends.
"""

from __future__ import annotations

from audit.protocols import http2
from audit.sources.pcap.exchange import Block, Early, Exchange
from audit.sources.pcap.telling import Teller

MAX_WAITING = 256


class Http2:
    """HTTP/2, in clear (h2c) or opened."""

    def __init__(self, teller: Teller, client: int) -> None:
        self._teller = teller
        self._client = client
        self._connection = http2.Connection()
        self._streams: dict[int, Exchange] = {}
        self._early = Early()
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
            if isinstance(event, http2.Data):
                stream = self._streams.get(event.stream)
                if stream is None:
                    self._early.keep(event)
                    continue
                stream.data(event.response, event.data, event.lost, event.end)
                if event.end and stream.over:
                    self._tell(event.stream)
            elif isinstance(event, http2.Fields):
                self._fields(event)
            elif isinstance(event, http2.Reset):
                self._tell(event.stream, given_up=True)
            elif isinstance(event, http2.Unread) and event.reason != "lost":
                self._teller.gap(
                    "malformed", event.size or None, f"HTTP/2 that cannot be read: {event.reason}"
                )

    def _fields(self, event: http2.Fields) -> None:
        block = Block(event.kind, event.fields, event.end, event.known)
        if event.kind in ("request", "push"):
            self._tell(event.stream)
            # a push is a request that the server made up
            side = 1 - self._client if event.kind == "push" else self._client
            self._streams[event.stream] = Exchange(self._teller, side, "2", block)
            if len(self._streams) > MAX_WAITING:
                self._tell(next(iter(self._streams)))
            if early := self._early.of(event.stream):
                self._events([*early])
        elif event.stream in self._streams:
            stream = self._streams[event.stream]
            stream.block(event.response, block)
            if stream.over:
                self._tell(event.stream)
        else:
            self._early.keep(event)

    def _tell(self, number: int, *, given_up: bool = False) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._early.told(number)
            stream.tell(given_up=given_up)
