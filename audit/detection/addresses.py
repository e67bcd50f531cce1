"""Addresses of planted and visited pages, taken apart into what is looked for (RFC 3986; public suffixes by the
list of publicsuffix.org). This module knows no canaries and searches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from audit.recipients.suffixes import registrable_domain

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}


@dataclass(frozen=True)
class Address:
    """A canary address taken apart, all lower case. `host` has neither `www.` nor a default port."""

    scheme: str
    host: str
    registrable_domain: str | None
    port: int | None
    path: str
    query: str
    fragment: str

    @property
    def bare(self) -> bool:
        """Whether it names a site and no page of it."""
        return not self.query and self.path in ("", "/")


def parse_address(value: str) -> Address | None:
    """Takes an address apart; None if it has no host. A scheme may be missing."""
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if not host:
        return None
    scheme = parts.scheme.lower()
    if port == _DEFAULT_PORTS.get(scheme or "https"):
        port = None
    host = host.removeprefix("www.")
    return Address(
        scheme,
        host,
        _registrable(host),
        port,
        parts.path.lower(),
        parts.query.lower(),
        parts.fragment.lower(),
    )


def _registrable(host: str) -> str | None:
    if host.replace(".", "").isdigit() or ":" in host:
        return None
    return registrable_domain(host)


def telling(path: str) -> bool:
    """Whether a path is so particular that it says which page it is, even without its host."""
    return len(path) >= 8 and (any(c.isdigit() for c in path) or path.count("/") >= 2)
