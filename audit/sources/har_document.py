"""A HAR document → its entries, one by one.

Entries are decoded one at a time, so that a bad one costs itself and no other; a document that does not parse
(cut off, damaged, nested too deep) is walked bracket by bracket to save its entries. Members that are not
needed are not looked at, and a wrong type in one of them rejects nothing.
Source: http://www.softwareishard.com/blog/har-12-spec/.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct, field

from audit.records import Gap
from audit.sources import values
from audit.sources.bad_capture import BadCapture

_BOM = b"\xef\xbb\xbf"
_ENTRIES = re.compile(rb'(?<!\\)"entries"\s*:\s*\[')
# Everything up to the next bracket that is in no string, or up to a string without an end
_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+([\[\]{}"])', re.DOTALL)
MAX_ENTRY = 1 << 29  # bytes of one entry that are taken into memory


class Request(Struct):
    method: str
    url: str
    http_version: Any = field(name="httpVersion", default=None)
    headers: Any = None
    cookies: Any = None
    post_data: Any = field(name="postData", default=None)
    body_size: Any = field(name="bodySize", default=None)


class Response(Struct):
    status: Any = None
    http_version: Any = field(name="httpVersion", default=None)
    headers: Any = None
    body_size: Any = field(name="bodySize", default=None)
    error: Any = field(name="_error", default=None)


class Entry(Struct):
    request: Request
    started: Any = field(name="startedDateTime", default=None)
    elapsed: Any = field(name="time", default=None)
    server: Any = field(name="serverIPAddress", default=None)
    connection: Any = None
    initiator: Any = field(name="_initiator", default=None)
    resource: Any = field(name="_resourceType", default=None)
    from_cache: Any = field(name="_fromCache", default=None)
    fetch: Any = field(name="_fetchType", default=None)
    messages: Any = field(name="_webSocketMessages", default=None)


class FullEntry(Entry):
    response: Response | None = None


class _Log(Struct):
    entries: Raw


class _Document(Struct):
    log: _Log


def entries(path: Path, data: bytes | mmap.mmap, capture: str) -> Iterator[tuple[int, bytes] | Gap]:
    """(offset, JSON) of each entry, and a gap for what is damaged.

    Raises:
        BadCapture: no `log.entries` in it.
    """
    start = len(_BOM) if data[:3] == _BOM else 0
    problem = ""
    try:
        found = memoryview(msgspec.json.decode(memoryview(data)[start:], type=_Document).log.entries)
    except msgspec.ValidationError as error:
        problem = f"JSON, but no HAR ({values.text(str(error))[:120]})"
        raise BadCapture(path, problem, "give a file with log.entries") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        problem = values.text(str(error))[:120]
        found = None
    begin = _begin(data, found)
    if begin is None:
        raise BadCapture(path, f"no log.entries ({problem or 'not a list'})", "export the HAR again")
    yield from _walk(data, begin, problem, capture)


def _begin(data: bytes | mmap.mmap, entries: memoryview | None) -> int | None:
    """Where the list of entries begins: behind its bracket. Without a parsed document, the first member
    of that name (a name within a string has its quotes escaped)."""
    whole = memoryview(data)
    for match in _ENTRIES.finditer(data):
        begin = match.end() - 1
        if entries is None or whole[begin : begin + len(entries)] == entries:
            return match.end()
    return None


def _walk(
    data: bytes | mmap.mmap, begin: int, problem: str, capture: str
) -> Iterator[tuple[int, bytes] | Gap]:
    """The elements of the list, as far as its brackets can be followed."""

    def gap(reason: Literal["truncated", "malformed", "limit"], start: int, end: int, detail: str) -> Gap:
        return Gap(capture=capture, reason=reason, offset=start, bytes=end - start, detail=detail)

    depth = 0
    start = done = begin
    damage: Literal["truncated", "malformed"] = "truncated"
    position = begin
    # Not finditer: a search that fails would be tried again from every byte that is left.
    while match := _BRACKET.match(data, position):
        at = match.start(1)
        position = match.end()
        bracket = match[1]
        if bracket == b'"':
            break
        if not depth and data[done:at].strip(b", \t\r\n"):
            yield gap("malformed", done, at, "an entry that is no object")
        if bracket in b"[{":
            start = start if depth else at
            depth += 1
            continue
        depth -= 1
        if depth < 0:
            damage = "malformed"
            done = at
            break
        if not depth:
            done = at + 1
            if done - start > MAX_ENTRY:
                yield gap("limit", start, done, f"an entry of more than {MAX_ENTRY} bytes was not read")
            else:
                yield start, data[start:done]
    if problem:
        yield gap(damage, done, len(data), f"the document is cut off or damaged ({problem})")


def entry_of(raw: bytes) -> Entry | None:
    """One entry; without its response if only that cannot be read; None if the request cannot."""
    for shape in (FullEntry, Entry):
        try:
            return msgspec.json.decode(raw, type=shape)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass
        try:  # escapes of single surrogates, which Python's exporters use for bytes that are no text
            return msgspec.convert(json.loads(raw), shape)
        except (ValueError, msgspec.ValidationError, RecursionError):
            pass
    return None
