"""Which hosts are answered on this computer: told by the addons that answer, asked by the one that lets through.

A connection to such a host must not be let through unread: there is nobody beyond. One list for each proxy, which is
a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable

_claims: list[Callable[[str], bool]] = []


def claim(ours: Callable[[str], bool]) -> None:
    """Whoever answers says for which hosts."""
    _claims.append(ours)


def here(host: str) -> bool:
    """Whether somebody answers for this host here."""
    return any(ours(host) for ours in _claims)
