"""States of flows as bytes, in mitmproxy's own format, quickly enough to write each flow twice.

A state is mostly its two connections, which stay the same over many flows: their bytes are kept until one of
their attributes changes. What is written reads back exactly like what mitmproxy itself writes. Text that is not
UTF-8 is written with backslashes rather than refused: a flow is never lost for a name.
Format: tagged netstrings as in mitmproxy.io.tnetstring (mitmproxy 11.0 and 12.x).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MAX_CONNECTIONS = 4_000  # whose bytes are kept


class Encoded(bytes):
    """A value that is in the format already."""


class _AsBytes:
    """Stands in for a connection while a flow is asked for its state."""

    def __init__(self, state: Encoded) -> None:
        self._state = state

    def get_state(self) -> Encoded:
        """The bytes, in place of the state."""
        return self._state


class FlowBytes:
    """Turns flows into bytes."""

    def __init__(self) -> None:
        self._connections: dict[str, tuple[dict[str, Any], Encoded]] = {}

    def state(self, flow: Any) -> dict[str, Any]:
        """The state of a flow, with its connections as bytes already."""
        client, server = flow.client_conn, flow.server_conn
        flow.client_conn, flow.server_conn = _AsBytes(self._bytes(client)), _AsBytes(self._bytes(server))
        try:
            state: dict[str, Any] = flow.get_state()
        finally:
            flow.client_conn, flow.server_conn = client, server
        return state

    def _bytes(self, connection: Any) -> Encoded:
        now = vars(connection)
        known = self._connections.get(connection.id)
        if known is not None and known[0] == now:
            return known[1]
        made = Encoded(encode(connection.get_state()))
        self._connections[connection.id] = (dict(now), made)
        if len(self._connections) > MAX_CONNECTIONS:
            del self._connections[next(iter(self._connections))]
        return made


def encode(value: Any) -> bytes:
    """A value as a tagged netstring. Raises ValueError for what the format has no tag for."""
    kind = type(value)
    if kind is bytes:
        return b"%d:%b," % (len(value), value)
    if kind is str:
        return _text(value) if len(value) < 64 else _long_text(value)
    if value is None:
        return b"0:~"
    if kind is bool:
        return b"4:true!" if value else b"5:false!"
    if kind is float:
        data = repr(value).encode()
        return b"%d:%b^" % (len(data), data)
    if kind is tuple or kind is list:
        data = b"".join(map(encode, value))
        return b"%d:%b]" % (len(data), data)
    if kind is dict:
        data = b"".join([encode(part) for item in value.items() for part in item])
        return b"%d:%b}" % (len(data), data)
    if kind is Encoded:
        return bytes(value)
    return _unusual(value)


@lru_cache(maxsize=4096)
def _text(value: str) -> bytes:
    return _long_text(value)


def _long_text(value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    return b"%d:%b;" % (len(data), data)


def _unusual(value: Any) -> bytes:
    """Numbers, and kinds derived from the usual ones."""
    if isinstance(value, int):
        data = str(int(value)).encode()
        return b"%d:%b#" % (len(data), data)
    if isinstance(value, bytes):
        return encode(bytes(value))
    if isinstance(value, str):
        return encode(str(value))
    if isinstance(value, float):
        return encode(float(value))
    if isinstance(value, Mapping):
        return encode(dict(value))
    if isinstance(value, list | tuple):
        return encode(list(value))
    raise ValueError(f"no tag for {type(value).__name__}")
