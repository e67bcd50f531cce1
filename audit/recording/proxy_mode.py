"""The ways a device can be led through the proxy: how each is named, started, and what it needs.

One row per mode; mitmproxy's own mode names and defaults (mitmproxy 11.0 and 12.x).
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple


class BadMode(Exception):  # noqa: N818 - beside BadExperiment
    """A mode that cannot be used here. `str()` is one line."""


class ProxyMode(NamedTuple):
    """A mode as asked for: its name, what stands behind the colon, and the port it listens on."""

    name: str
    argument: str
    port: int
    udp: bool


_PORTS = {
    "regular": 8080,
    "wireguard": 51820,
    "transparent": 8080,
    "socks5": 1080,
    "upstream": 8080,
    "local": 0,
}
DNS_OFFSET = 1  # transparent mode answers names on the port behind its own


def parse(text: str, port: int | None = None) -> ProxyMode:
    """The mode of that name. Raises BadMode: unknown, or not to be had on this platform."""
    name, colon, argument = text.partition(":")
    if name not in _PORTS:
        raise BadMode(
            f"{name!r} is no mode; choose one of regular, wireguard, transparent, socks5, upstream:URL, local"
        )
    if name == "upstream" and not re.match(r"https?://[^\s/@]+/?$", argument):
        raise BadMode("upstream needs the other proxy's address, such as upstream:http://192.0.2.1:3128")
    if colon and name not in ("upstream", "local"):
        raise BadMode(f"{name} takes nothing behind a colon; use --port and --listen")
    if name == "transparent" and not sys.platform.startswith(("linux", "darwin", "freebsd")):
        raise BadMode("transparent mode needs Linux, macOS or FreeBSD; take wireguard")
    return ProxyMode(name, argument, port or _PORTS[name], name == "wireguard")


def specs(mode: ProxyMode, listen: str, wireguard_file: str) -> list[str]:
    """mitmproxy's words for it."""
    host = f"[{listen}]" if ":" in listen else listen
    match mode.name:
        case "local":
            return [f"local:{mode.argument}" if mode.argument else "local"]
        case "wireguard":
            return [f"wireguard:{wireguard_file}@{host}:{mode.port}"]
        case "upstream":
            return [f"upstream:{mode.argument}@{host}:{mode.port}"]
        case "transparent":
            return [f"transparent@{host}:{mode.port}", f"dns@{host}:{mode.port + DNS_OFFSET}"]
        case _:
            return [f"{mode.name}@{host}:{mode.port}"]
