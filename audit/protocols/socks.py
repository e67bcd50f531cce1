"""SOCKS requests, so that what is tunnelled can be named.

RFC 1928 (version 5), RFC 1929 (its passwords, which are passed over), and the SOCKS 4 and 4A memos.
Must never hand out a password.
"""

from __future__ import annotations

from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import NamedTuple

from audit.protocols.malformed import Malformed

MAX_HANDSHAKE = 1024

CONNECT, BIND, ASSOCIATE = 1, 2, 3


class Target(NamedTuple):
    """Where a client wants to go. `size` is the length of all it said until then: the tunnel follows."""

    version: int
    command: int
    host: str
    port: int
    user: str | None
    size: int


class Answer(NamedTuple):
    """The proxy's final answer; `size` as in Target."""

    granted: bool
    size: int


def starts(data: bytes) -> bool:
    """Whether a client's first bytes can be a SOCKS greeting or request."""
    if data[:1] == b"\x05":
        return len(data) >= 3 and data[1] > 0 and len(data) >= 2 + data[1]
    return data[:1] == b"\x04" and len(data) >= 9 and data[1] in {CONNECT, BIND}


def client(data: bytes) -> Target | None:
    """Read all that a client sent so far; None if its request is not complete yet.

    Raises Malformed if it is no SOCKS, or there is no request in the first MAX_HANDSHAKE bytes.
    """
    try:
        return _client_4(data) if data[:1] == b"\x04" else _client_5(data)
    except IndexError:
        if len(data) >= MAX_HANDSHAKE:
            raise Malformed("no SOCKS request where one is due") from None
        return None


def server(data: bytes, version: int) -> Answer | None:
    """Read all that a proxy sent so far; None if its answer is not complete yet. Raises Malformed."""
    try:
        if version == 4:
            if data[0] != 0:
                raise Malformed("no SOCKS 4 answer")
            data[7]
            return Answer(data[1] == 90, 8)
        if data[0] != 5:
            raise Malformed("no SOCKS 5 answer")
        at = 2
        if data[1] == 2:
            data[3]
            at = 4
        if data[at] != 5:
            raise Malformed("no SOCKS 5 answer")
        _, _, behind = _address(data, at + 3)
        return Answer(data[at + 1] == 0, behind)
    except IndexError:
        return None


def _client_4(data: bytes) -> Target | None:
    """Version, command, port, address, user and for 4A a host name, both ending in a zero byte."""
    if data[1] not in {CONNECT, BIND}:
        raise Malformed("no SOCKS 4 command")
    end = data.index(b"\0", 8) if b"\0" in data[8:] else _missing()
    user = data[8:end].decode("latin-1")
    if data[4:7] == b"\0\0\0" and data[7]:
        behind = data.index(b"\0", end + 1) if b"\0" in data[end + 1 :] else _missing()
        host = data[end + 1 : behind].decode("latin-1")
        end = behind
    else:
        host = inet_ntoa(data[4:8])
    return Target(4, data[1], host, data[2] << 8 | data[3], user or None, end + 1)


def _missing() -> int:
    raise IndexError


def _client_5(data: bytes) -> Target | None:
    if data[0] != 5:
        raise Malformed("no SOCKS version")
    at = 2 + data[1]
    user = None
    if data[at] == 1 and 2 in data[2:at]:
        size = data[at + 1]
        user = data[at + 2 : at + 2 + size].decode("latin-1")
        at += 2 + size
        at += 1 + data[at]
    if data[at] != 5 or data[at + 1] not in {CONNECT, BIND, ASSOCIATE}:
        raise Malformed("no SOCKS 5 request")
    host, port, behind = _address(data, at + 3)
    return Target(5, data[at + 1], host, port, user, behind)


def _address(data: bytes, at: int) -> tuple[str, int, int]:
    """Host, port and the offset behind them (RFC 1928, 5). Raises IndexError if incomplete."""
    kind = data[at]
    if kind == 3:
        end = at + 2 + data[at + 1]
        host = data[at + 2 : end].decode("latin-1")
    elif kind in {1, 4}:
        end = at + (5 if kind == 1 else 17)
        data[end]
        host = inet_ntoa(data[at + 1 : end]) if kind == 1 else inet_ntop(AF_INET6, data[at + 1 : end])
    else:
        raise Malformed("no SOCKS address type")
    return host, data[end] << 8 | data[end + 1], end + 2
