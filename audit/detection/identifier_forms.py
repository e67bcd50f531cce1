"""How a device's identifier is written: with and without separators, as bytes, in base64, as a number.

Android ID (16 hex digits, also sent as a 64-bit number), MAC address, IMEI (3GPP TS 23.003), advertising id
(a UUID, RFC 9562). This module knows values, not where they stand.
"""

from __future__ import annotations

import base64
import re
from typing import Literal, NamedTuple

_SEPARATORS = re.compile(r"[-:.\s]")
_HEX = re.compile(r"[0-9a-fA-F]+")
# bytes of a MAC address, an Android ID, a UUID, a longer id
_SIZES = (6, 8, 16, 20, 32)


class Exact(NamedTuple):
    """A form that counts only letter by letter. `written` is how the bytes are written, "" for bytes."""

    text: bytes
    written: Literal["", "base64", "base64url", "decimal"]


def bare(value: str) -> str:
    """The identifier without its separators and braces."""
    return _SEPARATORS.sub("", value).strip("{}")


def raw(value: str) -> bytes | None:
    """The bytes that the identifier's hex digits stand for, if it is written in hex."""
    digits = bare(value)
    if len(digits) % 2 or len(digits) // 2 not in _SIZES or not _HEX.fullmatch(digits):
        return None
    return bytes.fromhex(digits)


def written_forms(value: str) -> set[str]:
    """The identifier in letters and digits, lower case."""
    low = bare(value).lower()
    forms = {value.lower(), low}
    data = raw(value)
    if data and len(data) == 6:
        pairs = [low[i : i + 2] for i in range(0, 12, 2)]
        forms |= {separator.join(pairs) for separator in ":-."}
        forms.add(".".join((low[:4], low[4:8], low[8:])))
        # the half of an IPv6 address that a network card makes of it (EUI-64; RFC 4291, appendix A)
        flipped = f"{data[0] ^ 2:02x}"
        wide = (f"{flipped}{low[2:4]}", f"{low[4:6]}ff", f"fe{low[6:8]}", low[8:])
        forms |= {":".join(wide), ":".join(group.lstrip("0") or "0" for group in wide)}
    elif data and len(data) == 16:
        forms.add("-".join((low[:8], low[8:12], low[12:16], low[16:20], low[20:])))
    elif re.fullmatch(r"[0-9]{15}", low):
        parts = (low[:2], low[2:8], low[8:14], low[14:])
        forms |= {separator.join(parts) for separator in "- "}
        forms.add(low[:14])  # without its check digit
    return forms


def exact_forms(value: str) -> list[Exact]:
    """The identifier as bytes in both orders, these in base64, and as a number of 48 or 64 bits."""
    data = raw(value)
    if not data or len(set(data)) < 3:
        return []
    forms = [Exact(data, ""), Exact(data[::-1], "")]
    standard = base64.b64encode(data).rstrip(b"=")
    safe = base64.urlsafe_b64encode(data).rstrip(b"=")
    forms.append(Exact(standard, "base64"))
    if safe != standard:
        forms.append(Exact(safe, "base64url"))
    if len(data) == 6:
        forms.append(Exact(b"%d" % int.from_bytes(data, "big"), "decimal"))
    if len(data) == 8:
        number = int.from_bytes(data, "big")
        numbers = {number, number - (1 << 64) if number >> 63 else number}
        forms += [Exact(b"%d" % n, "decimal") for n in sorted(numbers) if abs(n) >= 10**9]
    return forms


def hashed_forms(value: str) -> set[bytes]:
    """What of the identifier may have been hashed: every way of writing it in either case, and its bytes."""
    forms = {value, *written_forms(value)}
    texts = {cased.encode() for form in forms for cased in (form, form.lower(), form.upper())}
    data = raw(value)
    return texts | {data} if data else texts
