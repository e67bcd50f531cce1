"""Addresses of this computer, and which of them a phone can reach. Nothing is sent anywhere.

Linux tells every interface's address; elsewhere only the one that leads outward is known.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

_SIOCGIFADDR = 0x8915
_OUTSIDE = ("198.51.100.1", 9)  # RFC 5737: nobody's; a UDP socket "connects" without sending
_VIRTUAL = ("docker", "br-", "virbr", "veth", "lxc", "tun", "tap", "wg", "tailscale", "zt")
_NAME = re.compile(r"(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
                   r"(?![0-9]+\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # fmt: skip


class Interface(NamedTuple):
    """A network interface and its IPv4 address."""

    name: str
    address: str


def interfaces() -> list[Interface]:
    """Those that have an IPv4 address and are not the loopback, likely ones first."""
    found: dict[str, str] = {}
    if sys.platform == "linux":
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                with suppress(OSError):
                    raw = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
                    found[socket.inet_ntoa(raw[20:24])] = name
    outward = outward_address()
    if outward:
        found.setdefault(outward, "")
    usable = [Interface(name, address) for address, name in found.items() if not _loopback(address)]
    return sorted(usable, key=lambda each: (_unlikely(each), each.address != outward, each.name))


def outward_address() -> str | None:
    """The address that this computer would use to reach the internet; None where there is no way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_OUTSIDE)
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if _loopback(address) else address


def is_endpoint(text: str) -> bool:
    """Whether a device can be told to go there: an IP address or a host name, with nothing around it."""
    try:
        return ipaddress.ip_address(text) is not None and "%" not in text
    except ValueError:
        return _NAME.fullmatch(text) is not None


def _loopback(address: str) -> bool:
    return ipaddress.IPv4Address(address).is_loopback


def _unlikely(interface: Interface) -> bool:
    return interface.name.startswith(_VIRTUAL)


def free(port: int, address: str, kind: socket.SocketKind) -> str | None:
    """None if the port can be listened on, else why not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
