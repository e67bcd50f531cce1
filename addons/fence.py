"""Fence: no device reaches this computer's own control pages through the proxy.

    mitmdump -s addons/fence.py --set fence_ports=8082,8081

A proxy connects wherever it is asked to, so a device could ask it for `127.0.0.1`. Connections to the named ports are
refused where the name leads to this computer; others are left alone. The pages have a token of their own; this is the
second lock.
"""

import asyncio
import ipaddress
import socket

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData


def is_here(address: str) -> bool:
    """Whether an IP address is one of this computer's: then a socket can be bound to it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if ip.is_loopback or ip.is_unspecified:
            return True
        with socket.socket(
            socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM
        ) as probe:
            probe.bind((str(ip), 0))
    except (OSError, ValueError):
        return False
    return True


class Fence:
    """The addon."""

    def __init__(self) -> None:
        self.ports: frozenset[int] = frozenset()

    def load(self, loader: Loader) -> None:
        """Declares the option."""
        loader.add_option(
            "fence_ports", str, "", "Ports of this computer that no device may reach, with commas."
        )

    def configure(self, updated: set[str]) -> None:
        """Takes the ports."""
        if "fence_ports" in updated:
            try:
                self.ports = frozenset(
                    int(part) for part in ctx.options.fence_ports.split(",") if part.strip()
                )
            except ValueError:
                raise exceptions.OptionsError("fence_ports: numbers with commas") from None  # type: ignore[no-untyped-call]

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Refuses the way back to us."""
        if not data.server.address or data.server.address[1] not in self.ports:
            return
        host, port, *_ = data.server.address
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError:
            return  # the connection itself will fail
        if any(is_here(str(entry[4][0])) for entry in found):
            data.server.error = "this port of the recording computer is not for devices"


addons = [Fence()]
