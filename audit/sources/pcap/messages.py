"""WebSocket connections (RFC 6455) told as messages, wherever their frames travel."""

from __future__ import annotations

from audit.protocols import websocket
from audit.sources.pcap.telling import Teller


class WebSocket:
    """WebSocket messages; `url` is that of the handshake, `extensions` what the server agreed to."""

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
            messages = self._messages[side]
            self._tell(side, messages.finish())
            if messages.skipped and not self._teller.lost:
                self._teller.gap(
                    "malformed", messages.skipped, "bytes between WebSocket frames that are none"
                )
        self.done = True

    def _tell(self, side: int, messages: list[websocket.Message]) -> None:
        for message in messages:
            if message.kind in (websocket.TEXT, websocket.BINARY):
                self._teller.websocket(side, message, self._url)
