"""Digests of canaries: a table from digest to what was hashed and how.

A digest is looked up, never searched letter by letter: unfolding turns hex and base64 into bytes, and a
field as long as a digest is asked for here. Digests of 64 bits or less are left out: they need a field
that is named for it to mean anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from audit.records import Canary, Granularity, Match

_NAMES = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512",
    "blake2b", "blake2s",
)  # fmt: skip
_OF_HEX = ("md5", "sha1", "sha256")
_TRUNCATED = 16
_Function = tuple[str, Callable[[bytes], bytes]]


def _functions() -> tuple[_Function, ...]:
    def make(name: str) -> Callable[[bytes], bytes]:
        return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()

    return tuple(
        (name.replace("sha3_", "sha3-"), make(name))
        for name in _NAMES
        if name in hashlib.algorithms_available
    )


class Digests:
    """The digests of a set of texts, each with canary, granularity and the name of the hash."""

    def __init__(self, rows: Iterable[tuple[bytes, str, Granularity, str]]) -> None:
        self._known: dict[bytes, list[tuple[str, Granularity, str]]] = {}
        for digest, canary, granularity, form in rows:
            entries = self._known.setdefault(digest, [])
            if (canary, granularity, form) not in entries:
                entries.append((canary, granularity, form))
        self._lengths = frozenset(len(digest) for digest in self._known)

    def find(self, data: bytes) -> list[Match]:
        """A match per canary if the whole of `data` is one of the digests, as raw bytes."""
        if len(data) not in self._lengths:
            return []
        found = self._known.get(data, ())
        return [
            Match(canary=canary, granularity=granularity, form=form, offset=0, length=len(data))
            for canary, granularity, form in found
        ]


def digests(
    canaries: Iterable[Canary], inputs: Callable[[Canary], list[tuple[Granularity, bytes]]]
) -> Digests:
    """The table for these canaries; `inputs` gives the texts of each that may have been hashed."""
    return Digests(_rows(canaries, inputs))


def _rows(
    canaries: Iterable[Canary], inputs: Callable[[Canary], list[tuple[Granularity, bytes]]]
) -> Iterator[tuple[bytes, str, Granularity, str]]:
    functions = _functions()
    outer = [(name, function) for name, function in functions if name in _OF_HEX]
    for canary in canaries:
        for granularity, text in inputs(canary):
            for name, function in functions:
                digest = function(text)
                yield digest, canary.id, granularity, name
                if len(digest) > _TRUNCATED:
                    yield digest[:_TRUNCATED], canary.id, granularity, f"{name}/128"
                if name in _OF_HEX:
                    for second, again in outer:
                        yield again(digest.hex().encode()), canary.id, granularity, f"{second}({name})"
