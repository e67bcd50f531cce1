"""Typed netstrings, the syntax of mitmproxy flow files: `<length>:<payload><type>`, nested.

Sans-IO. Only what mitmproxy writes is understood: `,` bytes, `;` UTF-8 text, `#` integer, `^` float,
`!` boolean, `~` null, `]` list, `}` dictionary. Depth and the number of values are bounded, lengths cannot
be negative: mitmproxy's own parser takes exponential time on crafted files, this one linear.
Source: https://tnetstrings.info and the docstring of mitmproxy.io.tnetstring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_DEPTH = 64
MAX_VALUES = 5_000_000
HEADER = re.compile(rb"(\d{1,12}):")
BYTES, TEXT, INTEGER, FLOAT, BOOLEAN, NULL, LIST, DICT = b",;#^!~]}"

Value = None | bool | int | float | bytes | str | list["Value"] | dict["str | bytes", "Value"]


class Element(NamedTuple):
    """A typed netstring in `data`: payload from `start` to `end`, where its type stands."""

    data: bytes
    start: int
    end: int

    @property
    def kind(self) -> int:
        return self.data[self.end]

    @property
    def payload(self) -> bytes:
        return self.data[self.start : self.end]


def element(data: bytes, position: int, end: int) -> Element:
    """The typed netstring that begins at `position` and must be over before `end`.

    Raises:
        ValueError: there is none.
    """
    colon = data.find(b":", position, position + 13)
    digits = data[position:colon]
    if colon < 0 or not digits.isdigit():
        raise ValueError("missing or invalid length")
    stop = colon + 1 + int(digits)
    if stop >= end:
        raise ValueError("a length reaches beyond the data")
    return Element(data, colon + 1, stop)


def members(whole: Element) -> Iterator[tuple[bytes, Element]]:
    """The keys and values of a dictionary, values not parsed.

    Raises:
        ValueError: it is no dictionary.
    """
    if whole.kind != DICT:
        raise ValueError("not a dictionary")
    position = whole.start
    while position < whole.end:
        key = element(whole.data, position, whole.end)
        value = element(whole.data, key.end + 1, whole.end)
        yield key.payload, value
        position = value.end + 1


def parse(whole: Element) -> Value:
    """The value of one typed netstring.

    Raises:
        ValueError: the payload does not fit its type, or a bound was hit.
    """
    return _parse(whole, MAX_DEPTH, [MAX_VALUES])


def _parse(whole: Element, depth: int, budget: list[int]) -> Value:
    budget[0] -= 1
    if budget[0] < 0:
        raise ValueError(f"more than {MAX_VALUES} values in one flow")
    data, position, end = whole
    kind = data[end]
    if kind in (LIST, DICT):
        if not depth:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
        items: list[Value] = []
        while position < end:
            item = element(data, position, end)
            items.append(_parse(item, depth - 1, budget))
            position = item.end + 1
        return items if kind == LIST else _dictionary(items)
    payload = data[position:end]
    if kind == BYTES:
        return payload
    if kind == TEXT:
        return payload.decode("utf-8")
    if kind == INTEGER:
        return int(payload)
    if kind == FLOAT:
        return float(payload)
    if kind == BOOLEAN and payload in {b"true", b"false"}:
        return payload == b"true"
    if kind == NULL and not payload:
        return None
    raise ValueError(f"unknown type {kind} or a value that does not fit it")


def _dictionary(items: list[Value]) -> dict[str | bytes, Value]:
    """Keys and values by turns."""
    found: dict[str | bytes, Value] = {}
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes):
            raise ValueError("a key that is no text")
        found[key] = value
    return found
