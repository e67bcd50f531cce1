"""Multipart bodies (RFC 2046, 5.1; RFC 7578): fields, files, parts that are multipart themselves.

Each part becomes one piece under its name, with what its own headers declare; the transfer and content
codings named there are left to the other modules.
"""

from __future__ import annotations

import re

from audit.decoding.coding import Piece, Purse

_BOUNDARY = re.compile(rb"(?:\A|\n)(--[^\r\n]{1,200})\r?\n")
_NAME = re.compile(rb'[; ]name="?([^";\r\n]*)')
_FILE_NAME = re.compile(rb'[; ]filename="?([^";\r\n]*)')
_CODINGS = (b"gzip", b"br", b"deflate", b"zstd", b"quoted-printable")
_MAX_PARTS = 20_000


class Multipart:
    """multipart/* bodies; the boundary is read from the body itself."""

    name = "multipart"
    covers = True
    needs = (b"-", b"\n")
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not data.startswith(b"--") and not hint.startswith("multipart/"):
            return []
        match = _BOUNDARY.search(data)
        if not match or data.count(match.group(1)) < 2:
            return []
        boundary = match.group(1)
        pieces: list[Piece] = []
        at = 0
        for index, part in enumerate(data.split(boundary)):
            start, at = at, at + len(part) + len(boundary)
            if index == 0 or part.startswith(b"--"):
                continue
            if index > _MAX_PARTS:
                purse.note("fields", f"multipart: more than {_MAX_PARTS} parts")
                break
            pieces += _part(part, start, index - 1)
        return pieces


def _part(part: bytes, start: int, index: int) -> list[Piece]:
    for blank in (b"\r\n\r\n", b"\n\n"):
        head, found, body = part.partition(blank)
        if found:
            break
    else:
        return []
    fields = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(b":") for line in head.split(b"\n"))
        if colon
    }
    if not fields and head.strip():
        return []
    disposition = b" " + fields.get(b"content-disposition", b"")
    name = _NAME.search(disposition)
    path = name.group(1).decode("utf-8", "backslashreplace") if name else str(index)
    media = fields.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("ascii", "replace")
    codings = (
        fields.get(b"content-transfer-encoding", b"").lower(),
        fields.get(b"content-encoding", b"").lower(),
    )
    hint = next((coding.decode() for coding in codings if coding in _CODINGS), media)
    offset = start + len(head) + len(blank)
    body = body.removesuffix(b"\n").removesuffix(b"\r")
    pieces = [Piece("multipart", body, path, offset, len(body), hint)] if body else []
    file_name = _FILE_NAME.search(disposition)
    if file_name and file_name.group(1):
        at = start + part.find(file_name.group(1))
        pieces.append(Piece("multipart", file_name.group(1), path + ".filename", at, len(file_name.group(1))))
    return pieces
