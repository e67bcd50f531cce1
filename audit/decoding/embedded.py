"""What stands inside binary data that is of no known structure: runs of text, and data that begins a few
bytes in, behind a length or a header of somebody's own.

Text in the midst of bytes shows itself. Where it begins does not always: the byte before it may be a length
that happens to be a letter, so the run is also read without its first letters, as a guess. What begins at
an unknown place and has no mark is tried at the first few places only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from audit.decoding import bond, charset, compression, dns_message, lzstring, multipart, packed, protobuf
from audit.decoding.coding import BINARY, Piece, Purse
from audit.decoding.evidence import HEADS
from audit.decoding.hiding import may_hide

NAME = "embedded"
_LEAST = 14
_CHARACTER = rb"(?:[\t\n\r -~]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})"
_RUN = re.compile(_CHARACTER + rb"{%d,}+" % _LEAST)
_SPEAKS = re.compile(rb"[ -~]{6,}|[a-z]{4,}|[A-Z]{4,}|(?:[ -~]\0{1,3}){5}|(?:\0{1,3}[ -~]){5}")
# each byte as what it can be of text, for a first look: a letter, part of one, nothing
_AS_UTF8 = bytes(65 if c in b"\t\n\r" or 32 <= c < 127 or 0x80 <= c < 0xF5 else 46 for c in range(256))
_AS_WIDE = bytes(65 if c in b"\t\n\r" or 32 <= c < 127 else 48 if c == 0 else 46 for c in range(256))
_WIDE = tuple(
    (name, shape * least, re.compile(rb"(?:" + pattern + rb"){%d,}+" % least))
    for name, shape, pattern, least in (
        ("utf-32le", b"A000", rb"[\t\n\r -~]\0\0\0", 6),
        ("utf-32be", b"000A", rb"\0\0\0[\t\n\r -~]", 6),
        ("utf-16le", b"A0", rb"[\t\n\r -~]\0", 8),
        ("utf-16be", b"0A", rb"\0[\t\n\r -~]", 8),
    )
)
_MAX_RUNS = 64
LEADS = 6  # how many bytes may stand before what is looked for
TAILS = 2  # and how many behind it
_MIN, _MIN_COMPRESSED = 16, 36
_MOST = 1 << 16
_STRUCTURES = (
    multipart.Multipart(), charset.Utf16And32(), protobuf.Grpc(), packed.MessagePack(), packed.Cbor(), bond.Bond(), protobuf.Protobuf(),
    charset.Gb18030(), dns_message.DnsMessage(),
)  # fmt: skip


def speaks(data: bytes) -> bool:
    """Whether a few letters of text stand together in binary data, or a known header does."""
    return _SPEAKS.search(data) is not None or any(head in data for head in HEADS[:4])


class Runs:
    """Runs of text inside binary data in which something may be encoded, UTF-16 and UTF-32 among them."""

    name = NAME
    covers = False
    needs = (BINARY,)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        first = data.translate(_AS_UTF8).find(b"A" * _LEAST)
        if first < 0:
            return _wide(data)
        for count, match in enumerate(_RUN.finditer(data, first)):
            if count == _MAX_RUNS:
                purse.note("fields", f"more than {_MAX_RUNS} runs of text within one value")
                break
            run, start = match.group(), match.start()
            if len(run) == len(data):
                continue
            shows = may_hide(run)
            if shows or not start:
                pieces.append(Piece(NAME, run, "", start, len(run), guess=not shows))
            if start:
                pieces += [
                    Piece(NAME, run[lead:], "", start + lead, len(run) - lead, guess=True)
                    for lead in range(1 if shows else 0, min(LEADS, len(run) - 8) + 1)
                ]
        return pieces or _wide(data)


def _wide(data: bytes) -> list[Piece]:
    if b"\0" not in data:
        return []
    shape = data.translate(_AS_WIDE)
    found = [
        (match, name)
        for name, least, pattern in _WIDE
        if (at := shape.find(least)) >= 0 and (match := pattern.search(data, at))
    ]
    longest = max((len(match.group()) for match, _ in found), default=0)
    # the letter before it may have been joined to it
    return [
        Piece(
            name, match.group().replace(b"\0", b"")[lead:], "", match.start(), len(match.group()), guess=True
        )
        for match, name in found
        if len(match.group()) == longest
        for lead in (0, 1)
    ]


def starts(data: bytes, purse: Purse, *, markless: bool) -> Iterator[Piece]:
    """What opens when the first few bytes of binary data are left out, or its last few: compressions that
    have no header (if `markless`), and structures."""
    if not _MIN <= len(data) <= _MOST:
        return
    if markless and len(data) >= _MIN_COMPRESSED:
        for lead in range(1, LEADS + 1):
            for engine in compression.likely(data, lead):
                for piece in engine.begun(data[lead:], TAILS, purse):
                    yield piece._replace(offset=lead)
            if lzstring.may_begin(data, lead):
                for piece in lzstring.BYTES.peel(data[lead:], "", purse):
                    yield piece._replace(offset=lead)
    if not speaks(data) or not purse.charge(len(data) * LEADS * TAILS):
        return
    for lead in range(1, LEADS + 1):
        for tail in range(TAILS + 1):
            part = data[lead : len(data) - tail]
            for coding in _STRUCTURES:
                for piece in coding.peel(part, "", purse):
                    yield piece._replace(offset=(piece.offset or 0) + lead)
