"""A door on loopback that leads nowhere, for hosts that the proxy answers itself.

mitmproxy may connect upstream, and begin a TLS handshake there, before it asks an addon for an answer. Such a
connection is led here: it opens, and ends with its first bytes, so that mitmproxy goes on without a server.
Nothing is ever sent back or kept.
"""

from __future__ import annotations

import asyncio
from typing import Any


class DeadEnd(asyncio.Protocol):
    """One connection that leads nowhere."""

    def connection_made(self, transport: Any) -> None:
        """Somebody came."""
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        """And said something: that is the end."""
        self._transport.close()


async def opened() -> tuple[asyncio.Server, tuple[str, int]]:
    """The door and its address. Raises OSError."""
    server = await asyncio.get_running_loop().create_server(DeadEnd, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    return server, (str(host), int(port))
