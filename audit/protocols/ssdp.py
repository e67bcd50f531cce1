"""SSDP messages, for what they tell about a device: its software and where its description lies.

UPnP Device Architecture 2.0, section 1. Looks like HTTP over UDP, but is none. Must never fetch anything.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.protocols.malformed import Malformed

MAX_HEADERS = 64
MAX_MESSAGE = 1 << 14
_FIRST = {b"M-SEARCH * HTTP/1.": "search", b"NOTIFY * HTTP/1.": "notify", b"HTTP/1.1 200": "response"}


class Message(NamedTuple):
    """An SSDP message; `kind` is search, notify or response. What is not told is None.

    `target` is what is looked for or announced (ST or NT), `friendly_name` a control point's own name.
    """

    kind: str
    target: str | None
    server: str | None
    user_agent: str | None
    location: str | None
    usn: str | None
    friendly_name: str | None
    headers: tuple[tuple[str, str], ...]


def parse(data: bytes) -> Message:
    """Read a message of UDP port 1900. Raises Malformed if it is none."""
    kind = next((kind for first, kind in _FIRST.items() if data.startswith(first)), None)
    if kind is None:
        raise Malformed("no SSDP message")
    headers: list[tuple[str, str]] = []
    for line in data[:MAX_MESSAGE].decode("utf-8", "backslashreplace").split("\n")[1 : MAX_HEADERS + 1]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    given = dict(reversed(headers))
    return Message(
        kind,
        given.get("st") or given.get("nt"),
        given.get("server"),
        given.get("user-agent"),
        given.get("location"),
        given.get("usn"),
        given.get("cpfn.upnp.org"),
        tuple(headers),
    )
