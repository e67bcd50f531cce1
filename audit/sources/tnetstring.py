"""Typed netstrings, the syntax of mitmproxy flow files: `<length>:<payload><type>`, nested.

Sans-IO. Only what mitmproxy writes is understood: `,` bytes, `;` UTF-8 text, `#` integer, `^` float,
`!` boolean, `~` null, `]` list, `}` dictionary. Depth and the number of values are bounded, lengths cannot
be negative: mitmproxy's own parser takes exponential time on crafted files, this one linear.
Source: https://tnetstrings.info and the docstring of mitmproxy.io.tnetstring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_DEPTH = 64
MAX_VALUES = 5_000_000
HEADER = re.compile(rb"(\d{1,12}):")
BYTES, TEXT, INTEGER, FLOAT, BOOLEAN, NULL, LIST, DICT = b",;#^!~]}"

Value = None | bool | int | float | bytes | str | list["Value"] | dict["str | bytes", "Value"]


def elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The (type, payload) pairs written one after the other in the payload of a list or dictionary.

    Raises:
        ValueError: the payload is not a sequence of typed netstrings.
    """
    position = 0
    while position < len(data):
        header = HEADER.match(data, position)
        if header is None:
            raise ValueError("missing or invalid length")
        end = header.end() + int(header[1])
        if end >= len(data):
            raise ValueError("a length reaches beyond the data")
        yield data[end], data[header.end() : end]
        position = end + 1


def members(data: memoryview) -> Iterator[tuple[bytes, int, memoryview]]:
    """The (key, type, payload) triples in the payload of a dictionary, values not parsed.

    Raises:
        ValueError: as `elements`, or a key without a value.
    """
    parts = elements(data)
    for kind, key in parts:
        if kind not in (BYTES, TEXT):
            raise ValueError("a key that is no text")
        value = next(parts, None)
        if value is None:
            raise ValueError("a key without a value")
        yield bytes(key), *value


def parse(kind: int, data: memoryview) -> Value:
    """The value of one typed netstring.

    Raises:
        ValueError: the payload does not fit its type, or a bound was hit.
    """
    return _parse(kind, data, MAX_DEPTH, [MAX_VALUES])


def _parse(kind: int, data: memoryview, depth: int, budget: list[int]) -> Value:
    budget[0] -= 1
    if budget[0] < 0:
        raise ValueError(f"more than {MAX_VALUES} values in one flow")
    if kind == BYTES:
        return bytes(data)
    if kind == TEXT:
        return str(data, "utf-8")
    if kind == INTEGER:
        return int(bytes(data))
    if kind == FLOAT:
        return float(bytes(data))
    if kind == BOOLEAN and bytes(data[:6]) in {b"true", b"false"}:
        return len(data) == 4
    if kind == NULL and not data:
        return None
    if kind in (LIST, DICT) and not depth:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if kind == LIST:
        return [_parse(kind, item, depth - 1, budget) for kind, item in elements(data)]
    if kind == DICT:
        found: dict[str | bytes, Value] = {}
        parts = elements(data)
        for key_kind, key in parts:
            value = next(parts, None)
            name = _parse(key_kind, key, 0, budget)
            if value is None or not isinstance(name, str | bytes):
                raise ValueError("a dictionary that is none")
            found[name] = _parse(*value, depth - 1, budget)
        return found
    raise ValueError(f"unknown type {kind} or a value that does not fit it")
