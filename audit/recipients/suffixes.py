"""Host name → the form it is looked up by, and its registrable domain (eTLD+1).

Responsible for normalising names and for the registrable domain by the ICANN part of the Public Suffix
List (https://publicsuffix.org): the part that says who registered a name; its private part, which tells
tenants of a platform apart, would hide the platform. Must never fetch a list or take an address for a
name. Specified by RFC 1035 (lengths), RFC 5890 (IDNA).
"""

from __future__ import annotations

import re
from functools import cache

from publicsuffixlist import PublicSuffixList

_MAX_NAME = 253
# Underscores are no host names by RFC 952, but DNS carries them and services use them.
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)


def normalise(host: str) -> str | None:
    """`host` in lower case, in its ASCII form (IDNA), without trailing dot; None if it is no name."""
    if len(host) > _MAX_NAME + 1:
        return None
    name = host.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return None
    if len(name) > _MAX_NAME or not _LABELS.fullmatch(name):
        return None
    # A last label of digits makes it an IPv4 address or a broken one, never a name (RFC 3696, 2).
    return None if name.rpartition(".")[2].isdigit() else name


@cache
def _list() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True)


def registrable_domain(name: str) -> str | None:
    """The registrable domain of a normalised name: `a.b.example.co.uk` → `example.co.uk`. A name in a
    domain that the list does not know (`.example`, `.test`, `.local`) gets its last two labels. None for a
    public suffix and for a single label."""
    return _list().privatesuffix(name)
