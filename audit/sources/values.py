"""From values somebody else wrote to values a record may hold: times, addresses, names, text.

Rules: no exceptions for any input; what makes no sense becomes None, never a made-up value. All text that
leaves here can be encoded as UTF-8.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from audit.records import Headers

_LATEST = 253_402_300_800.0  # the year 10000: later times cannot be written as RFC 3339
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_AUTHORITY = re.compile(r"(?:.*@)?(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", re.DOTALL)


def moment(value: object) -> float | None:
    """Seconds since the Unix epoch to the microsecond; None for zero (used for "unknown"), negative or
    absurd times."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(float(value), 6) if 0 < value < _LATEST else None


def address(value: object) -> str | None:
    """An IP address in its canonical form, IPv4 for IPv4-mapped IPv6; None if it is a name or nothing."""
    return _address(value) if isinstance(value, str) else None


@lru_cache(maxsize=4096)
def _address(value: str) -> str | None:
    try:
        ip = ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def port(value: object) -> int | None:
    """A port number that can be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536 else None


def default_port(scheme: str) -> int | None:
    """The port a scheme implies (RFC 9110 section 4.2)."""
    return _DEFAULT_PORTS.get(scheme)


def split_authority(authority: str) -> tuple[str, int | None]:
    """Host and port of `[userinfo@]host[:port]` (RFC 3986 section 3.2)."""
    match = _AUTHORITY.match(authority)
    if match is None:  # the pattern matches everything; this keeps the types honest
        return authority, None
    return match[1], port(int(match[2])) if match[2] else None


def hostname(value: str | None) -> str | None:
    """A host name in lower case without the root dot; None for an address or nothing."""
    if not value or address(value) is not None:
        return None
    return text(value).lower().rstrip(".") or None


def text(value: str | bytes | None) -> str:
    """Text that can be encoded again: bytes that are not UTF-8 and lone surrogates become escapes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return (value or "").encode("utf-8", "backslashreplace").decode("utf-8")


def target(value: bytes) -> str:
    """A request target; bytes that are not UTF-8 are percent-encoded, which is how a URL carries them
    (RFC 3986 section 2.1)."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in value)


def http_version(value: str) -> str:
    """`1.0`, `1.1`, `2`, `3` from the many ways to write it; "" where it is not told."""
    name = text(value).lower().removeprefix("http/").removeprefix("h")
    return {"2.0": "2", "2c": "2", "3.0": "3", "3-29": "3", "unknown": ""}.get(name, name)


def declared_length(headers: Headers) -> int | None:
    """What Content-Length says (RFC 9110 section 8.6)."""
    for name, value in headers:
        if name.lower() == b"content-length" and len(value) < 16 and value.isdigit():
            return int(value)
    return None
