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
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)


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
    entries: list[Raw]


class _Document(Struct):
    log: _Log


def entries(path: Path, data: bytes | mmap.mmap, capture: str) -> Iterator[tuple[int, bytes] | Gap]:
    """(offset, JSON) of each entry, and a gap for what is damaged."""
    start = len(_BOM) if data[:3] == _BOM else 0
    view = memoryview(data)[start:]
    try:
        entries = msgspec.json.decode(view, type=_Document).log.entries
    except msgspec.ValidationError as error:
        problem = f"JSON, but no HAR ({values.text(str(error))[:120]})"
        raise BadCapture(path, problem, "give a file with log.entries") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        problem = values.text(str(error))[:120]
    else:
        # Each one is taken out of the list, so that it can be freed when it has been read.
        position = start
        entries.reverse()
        while entries:
            raw = bytes(entries.pop())
            position = data.find(raw, position)
            yield position, raw
            position += len(raw)
        return
    yield from _saved(path, data, problem, capture)


def _saved(
    path: Path, data: bytes | mmap.mmap, problem: str, capture: str
) -> Iterator[tuple[int, bytes] | Gap]:
    """The entries of a document that does not parse, as far as its brackets can be followed."""
    opening = _ENTRIES.search(data)
    if opening is None:
        raise BadCapture(path, f"not a readable HAR ({problem})", "export the HAR again")
    depth = 0
    start = done = opening.end()
    reason: Literal["truncated", "malformed"] = "truncated"
    for token in _TOKEN.finditer(data, opening.end()):
        first = token[0][:1]
        if token[0] == b'"':
            break  # a string without an end: the cut
        if first in b"[{":
            start = token.start() if not depth else start
            depth += 1
        elif first in b"]}":
            depth -= 1
            if depth == 0:
                done = token.end()
                yield start, bytes(data[start:done])
            elif depth < 0:
                done = token.end()
                reason = "malformed"
                break
    yield Gap(
        capture=capture,
        reason=reason,
        offset=done,
        bytes=len(data) - done,
        detail=f"the document is cut off or damaged ({problem})",
    )


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
