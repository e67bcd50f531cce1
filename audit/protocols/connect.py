"""The target of an HTTP CONNECT request: host and port.

RFC 9110, 9.3.6 and RFC 3986, 3.2. The request itself is read by `http1` or `http2`.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.protocols.malformed import Malformed

MAX_TARGET = 512


class Target(NamedTuple):
    """Where a tunnel leads: a host name or address without brackets, and a port."""

    host: str
    port: int


def target(authority: str) -> Target:
    """Read the target of a CONNECT request; without a port it is 443. Raises Malformed if it has no host."""
    if len(authority) > MAX_TARGET:
        raise Malformed("a CONNECT target is too long")
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = authority, "443"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise Malformed("a CONNECT target is host:port")
    return Target(host, int(port))
