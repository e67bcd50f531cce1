"""DNS inside of HTTP: the messages of an exchange of the media type for it (RFC 8484).

The exchange itself is told like any other; what its bodies ask and answer is told beside it. Must never raise.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qs

from audit.protocols import dns
from audit.protocols.malformed import Malformed
from audit.records import Headers

_TYPE = b"application/dns-message"
MAX_MESSAGE = 65_535


def messages(
    method: str, path: str, headers: Headers, body: bytes | None, answer: Headers, answered: bytes | None
) -> list[dns.Message]:
    """The question and, where it is there, the response of a DNS exchange; nothing of any other."""
    found: list[bytes] = []
    query = path.partition("?")[2]
    if method == "POST" and _is(headers, b"content-type"):
        found.append(body or b"")
    elif method == "GET" and "dns=" in query and (_is(headers, b"accept") or _is(answer, b"content-type")):
        for text in parse_qs(query[: 2 * MAX_MESSAGE]).get("dns", ())[:1]:
            try:
                found.append(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            except (binascii.Error, ValueError):
                continue
    if found and answered and _is(answer, b"content-type"):
        found.append(answered)
    told: list[dns.Message] = []
    for message in found:
        if len(message) <= MAX_MESSAGE:
            try:
                told.append(dns.parse(message))
            except Malformed:
                continue
    return told


def _is(headers: Headers, wanted: bytes) -> bool:
    return any(name.lower() == wanted and _TYPE in value.lower() for name, value in headers)
