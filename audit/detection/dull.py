"""Tokens of documents in which nothing was found: a device says its session, its keys and its identifiers with
every body it sends, and looking into each once is enough.

A token is dull only after the document it stood in was taken apart and showed nothing at all, so leaving it out
of the question whether a document is worth taking apart never changes what is found. It holds no more than
the latest few thousand tokens.
"""

from __future__ import annotations

import re

from audit.decoding import Tree
from audit.decoding.evidence import is_text
from audit.decoding.hiding import inert
from audit.records import Field

_MOST = 1 << 13
# (shorter ones may be digests that count under some names only)
_TOKEN = re.compile(rb"[A-Za-z0-9+/_=-]{24,512}")
_UUID = re.compile(rb'"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"')
# Under a layer that was guessed, not every reading of a token is tried; under these all are.
_EVIDENT = frozenset(("json", "ndjson", "form", "percent", "base64", "gzip", "zlib", "zstd"))
_SHORT_DIGEST, _SHORT_TEXT = 8, 22  # in bytes; in letters, of a decimal number and a sign or two
_QUOTED = re.compile(rb'"(' + _TOKEN.pattern + rb')"')


def _counts_under_a_name(data: bytes) -> bool:
    """Whether data may be a short digest, which counts only where the field is named for one."""
    return len(data) <= _SHORT_DIGEST or (len(data) <= _SHORT_TEXT and is_text(data))


class Dull:
    """The tokens known by now."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}

    def __contains__(self, value: object) -> bool:
        return value in self._known

    def learn(self, tree: Tree) -> None:
        """Nothing was found in this tree, nothing stayed closed, and no bound was hit."""
        telling: set[int | None] = set()
        for index in range(len(tree.fields) - 1, 0, -1):
            field = tree.fields[index]
            if index in telling or _counts_under_a_name(field.data):
                telling.add(field.parent)
        for index, field in enumerate(tree.fields):
            if index not in telling and self._is_token(field):
                self._known[field.data] = None
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    @staticmethod
    def _is_token(field: Field) -> bool:
        evident = field.layers[-1:] == ("json",) and _EVIDENT.issuperset(field.layers)
        return evident and _TOKEN.fullmatch(field.data) is not None and not inert(field.data)

    def stands_in(self, text: bytes) -> bool:
        """Whether one of these tokens is a value of a JSON document."""
        return any(match[1] in self._known for match in _QUOTED.finditer(text))

    def left_out(self, text: bytes) -> bytes:
        """A JSON document with nothing in the place of each of these tokens, and of UUIDs, in whose letters
        nothing is encoded."""
        if not self._known or b'"' not in text:
            return text
        return _QUOTED.sub(
            lambda match: b'""' if match[1] in self._known else match[0], _UUID.sub(b'""', text)
        )
