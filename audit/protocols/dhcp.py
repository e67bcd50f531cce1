"""DHCP messages, for what they tell about a device: its name, its maker's mark, its address.

RFC 2131 and RFC 2132; option 81 from RFC 4702. For IPv6 RFC 8415; option 39 from RFC 4704. Must never follow an option
beyond the message.
"""

from __future__ import annotations

from socket import inet_ntoa
from typing import NamedTuple

from audit.protocols.malformed import Malformed

MAX_OPTIONS = 256
_COOKIE = b"\x63\x82\x53\x63"
PORTS = frozenset({67, 68, 546, 547})
_CLIENT_6, _SERVER_6 = (1, 3, 4, 5, 6, 8, 9, 11), (2, 7, 10)  # message types of both sides
_VENDOR_6, _FQDN_6 = 16, 39
_PAD, _NAME, _REQUESTED, _TYPE, _VENDOR, _FQDN, _END = 0, 12, 50, 53, 60, 81, 255


class Message(NamedTuple):
    """A DHCP message; `kind` is option 53 (1 discover, 3 request, 5 acknowledged ...), 0 for BOOTP.

    `address` is the one given, asked for, or in use. `parameters` is the list of options wished for, whose
    order is typical of a system. What is not told is None or empty.
    """

    response: bool
    kind: int
    mac: str
    address: str | None
    host_name: str | None
    domain_name: str | None
    vendor_class: str | None
    parameters: bytes


def parse(data: bytes) -> Message:
    """Read a message of UDP port 67 or 68. Raises Malformed if it is none."""
    if len(data) < 240 or data[0] not in {1, 2} or data[236:240] != _COOKIE:
        raise Malformed("no DHCP message")
    options: dict[int, bytes] = {}
    at = 240
    for _ in range(MAX_OPTIONS):
        if at >= len(data) or data[at] == _END:
            break
        if data[at] == _PAD:
            # padding is a run: step over all of it
            at = len(data) - len(data[at:].lstrip(b"\0"))
            continue
        if at + 1 >= len(data):
            break
        end = at + 2 + data[at + 1]
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : end]  # long options: RFC 3396
        at = end
    requested = options.get(_REQUESTED, b"")
    asked = next(
        (place for place in (data[16:20], requested, data[12:16]) if len(place) == 4 and any(place)), None
    )
    return Message(
        data[0] == 2,
        next(iter(options.get(_TYPE, b"")), 0),
        ":".join(f"{byte:02x}" for byte in data[28 : 28 + min(data[2], 16)]),
        inet_ntoa(asked) if asked else None,
        _text(options.get(_NAME, b"")),
        _domain(options.get(_FQDN, b"")),
        _text(options.get(_VENDOR, b"")),
        options.get(55, b""),
    )


class Message6(NamedTuple):
    """A message of DHCP for IPv6; `kind` is its type (1 solicit, 3 request, 11 information ...). What is not told is
    None."""

    response: bool
    kind: int
    domain_name: str | None
    vendor_class: str | None


def parse6(data: bytes) -> Message6:
    """Read a message of UDP port 546 or 547. Raises Malformed if it is none, or one between relays."""
    if len(data) < 4 or data[0] not in _CLIENT_6 + _SERVER_6:
        raise Malformed("no DHCPv6 message")
    options: dict[int, bytes] = {}
    at = 4
    for _ in range(MAX_OPTIONS):
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):  # cut off: what stands before it counts
            break
        options.setdefault(int.from_bytes(data[at : at + 2], "big"), data[at + 4 : end])
        at = end
    maker = options.get(_VENDOR_6, b"")[4:]  # behind the maker's number: values with their lengths
    return Message6(
        data[0] in _SERVER_6,
        data[0],
        _text(_labels(options.get(_FQDN_6, b"")[1:])),
        _text(maker[2 : 2 + int.from_bytes(maker[:2], "big")]),
    )


def _text(value: bytes) -> str | None:
    return value.rstrip(b"\0").decode("utf-8", "backslashreplace") or None


def _domain(value: bytes) -> str | None:
    """The name of option 81: labels if its E flag says so, else text (RFC 4702, 2)."""
    if len(value) <= 3 or not value[0] & 4:
        return _text(value[3:])
    return _text(_labels(value[3:]))


def _labels(value: bytes) -> bytes:
    """A name written as labels (RFC 1035, 3.1), which may lack its end."""
    labels = []
    at = 0
    while at < len(value) and value[at]:
        labels.append(value[at + 1 : at + 1 + value[at]])
        at += 1 + value[at]
    return b".".join(labels)
