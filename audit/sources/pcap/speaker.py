"""The shape of everything that reads a connection's two sides. No behaviour."""

from __future__ import annotations

from typing import Protocol


class Speaker(Protocol):
    """One protocol on one connection; `side` is 0 for endpoint a, 1 for endpoint b. `done` says that nothing
    more can be learnt."""

    done: bool

    def feed(self, side: int, data: bytes) -> None:
        """The next bytes of a side."""

    def gap(self, side: int, size: int) -> None:
        """`size` bytes of a side are missing."""

    def finish(self) -> None:
        """The connection ended, or will not be followed any further."""
