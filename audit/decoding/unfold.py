"""Bytes to fields: peels one layer after another until nothing more opens, within bounds.

The codings are tried in a fixed order; the first that covers the data ends the trying, the others may
each open a part. The tree is built in order of discovery, so the same bytes give the same tree. This
module decides nothing about what a value means, and reads no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from audit.decoding import compression, radix, structure, text
from audit.decoding.coding import Bounds, Coding, Piece, Purse, is_text
from audit.records import Field, LimitHit

# Order: what carries its own mark, then structures, then codings of characters, then runs inside text,
# then what can only be guessed.
CODINGS: tuple[Coding, ...] = (
    compression.GZIP,
    compression.ZSTD,
    compression.BROTLI,
    compression.DeclaredDeflate(),
    compression.ZLIB,
    structure.Cookies(),
    structure.Json(),
    structure.Multipart(),
    structure.Form(),
    structure.Address(),
    text.Percent(),
    text.Escapes(),
    text.HtmlEntities(),
    radix.Base64(),
    radix.Hex(),
    compression.InnerGzip(),
    compression.Headerless(),
)

# A short value of these characters alone is not encoded in any way that can be told.
_INERT = re.compile(rb"[A-Za-z0-9 .,:;/_-]{0,11}")
_LETTERS = b"A"
_RUN = _LETTERS * 12
_CLASSES = bytes(65 if chr(c).isascii() and (chr(c).isalnum() or chr(c) in "+/_-") else 32 for c in range(256))
_MARKS = (b"%", b"\\", b"&")


@dataclass(frozen=True)
class Tree:
    """The fields in order of discovery (the root first; a child after its parent) and the bounds hit."""

    fields: list[Field]
    limits: list[LimitHit]


def may_hide(data: bytes) -> bool:
    """Whether anything in text data could be encoded: marks of a character coding, a run of letters
    long enough for base64 or hex, or bytes that are not ASCII. Fast; never wrong when it says no."""
    if any(mark in data for mark in _MARKS) or not data.isascii():
        return True
    return _RUN in data.translate(_CLASSES)


def unfold(
    data: bytes,
    hints: tuple[str, ...] = (),
    *,
    bounds: Bounds | None = None,
    worth: Callable[[bytes], bool] | None = None,
) -> Tree:
    """Opens every layer of `data`.

    hints: what is declared of the data, outermost first: HTTP content codings in the order in which
    they must be undone, then a media type or `form`, `cookie`, `form-value`.
    worth: asked before a text is parsed into its values; where it says no, the text stays one field.
    Raises nothing: what cannot be opened stays a field, marked `opaque` if it is no text, and bounds
    that were hit are in the result.
    """
    purse = Purse.filled(bounds or Bounds())
    fields = [Field(path="", layers=(), data=data)]
    todo: list[tuple[int, tuple[str, ...]]] = [(0, hints)]
    while todo:
        index, hints = todo.pop()
        parent = fields[index]
        if _INERT.fullmatch(parent.data) and not hints:
            continue
        if len(parent.layers) >= purse.bounds.depth:
            purse.note("depth", f"more than {purse.bounds.depth} layers")
            continue
        if worth and len(parent.data) >= 64 and parent.data.isascii() and not worth(parent.data):
            continue
        pieces = _peel(parent, hints[0] if hints else "", purse)
        if not pieces and not is_text(parent.data):
            fields[index] = Field(
                path=parent.path, layers=parent.layers, data=parent.data, offset=parent.offset,
                parent=parent.parent, opaque=True,
            )  # fmt: skip
        opened = []
        for piece in pieces:
            if len(fields) >= purse.bounds.fields:
                purse.note("fields", f"more than {purse.bounds.fields} values")
                break
            opened.append((len(fields), _hints_below(piece, hints)))
            fields.append(_child(parent, index, piece))
        todo += reversed(opened)
    return Tree(fields, purse.hits)


def _peel(field: Field, hint: str, purse: Purse) -> list[Piece]:
    pieces: list[Piece] = []
    if not purse.charge(len(field.data)):
        return pieces
    for coding in CODINGS:
        found = coding.peel(field.data, hint, purse)
        pieces += [piece for piece in found if piece.data != field.data]
        if pieces and coding.covers:
            break
    return pieces


def _hints_below(piece: Piece, hints: tuple[str, ...]) -> tuple[str, ...]:
    """A declared content coding, once undone, leaves the declarations that follow it."""
    if piece.hint:
        return (piece.hint,)
    return hints[1:]


def _child(parent: Field, index: int, piece: Piece) -> Field:
    layer = piece.layer
    recoded = not piece.path
    return Field(
        path=parent.path if recoded and layer != "json" else piece.path,
        layers=(*parent.layers, layer),
        data=piece.data,
        offset=piece.offset,
        length=piece.length,
        parent=index,
    )
