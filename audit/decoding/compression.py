"""Compressions: gzip (RFC 1952), zlib (RFC 1950), deflate (RFC 1951), brotli (RFC 7932), zstd (RFC 8878),
LZ4 (its frame and block formats, v1.6), snappy (its raw format and its framing format).

Output is bounded while it is produced, so a bomb costs what the purse allows and no more. What came
out before damage or a bound is kept where a header or a declaration says what it is: the first bytes of
a cut body are evidence too. Without either, only a stream that is whole to its last byte is opened.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import brotli
import cramjam
import lz4.block
import lz4.frame
import zstandard

from audit.decoding.coding import BINARY, Piece, Purse
from audit.decoding.evidence import is_clean, is_zlib

_READ = 1 << 16
# One brotli meta-block can yield 16 MiB out of no input bits at all (RFC 7932, 9.2), and the decoder
# gives all it has at once: steps as short as this one hold at most one meta-block header.
_BROTLI_STEP = 16
_SNAPPY_CHUNK = 1 << 16
# one block of zstd, of 128 kB at most, can take four bytes (RFC 8878, 3.1.1.2.3)
_ZSTD_STEP = 16
_TRIAL = 1 << 20
_PEEK = 512
_TAILS = 2  # how many bytes that are no part of it may stand behind a block that is found within others
_LEAST = 12
_MOST = 8 << 20  # nobody hides more than this without saying what it is


class Run(NamedTuple):
    """What one decompression gave: `cut` when the limit stopped it, `whole` when the stream ended by
    itself with the last byte of the input, `ended` when it ended by itself anywhere."""

    data: bytes
    cut: bool
    whole: bool
    ended: bool = False


_Runner = Callable[[bytes, int], Run]


def _inflate(wbits: int, another: Callable[[bytes], bool]) -> _Runner:
    def run(data: bytes, limit: int) -> Run:
        engine = zlib.decompressobj(wbits)
        out: list[bytes] = []
        size = 0
        rest = data
        try:
            while rest and size < limit:
                piece = engine.decompress(rest, min(limit - size, 1 << 20))
                rest = engine.unconsumed_tail
                out.append(piece)
                size += len(piece)
                if engine.eof:
                    # members may follow one another (RFC 1952, 2.2)
                    rest = engine.unused_data
                    if not another(rest):
                        return Run(b"".join(out), False, not rest, True)
                    engine = zlib.decompressobj(wbits)
                elif not piece and not rest:
                    break
        except zlib.error:
            return Run(b"".join(out), False, False)
        return Run(b"".join(out), size >= limit and not engine.eof, False)

    return run


def _unbrotli(data: bytes, limit: int) -> Run:
    engine = brotli.Decompressor()
    out: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(data), _BROTLI_STEP):
            piece = engine.process(data[start : start + _BROTLI_STEP])
            out.append(piece)
            size += len(piece)
            if size >= limit:
                return Run(b"".join(out)[:limit], True, False)
            if engine.is_finished():
                return Run(b"".join(out), False, start + _BROTLI_STEP >= len(data))
    except brotli.error:
        pass
    return Run(b"".join(out), False, False)


def _unzstd(data: bytes, limit: int) -> Run:
    engine = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    out: list[bytes] = []
    size = 0
    # frames may follow one another (RFC 8878, 3.1); what follows and is none ends the reading
    while data.startswith(b"\x28\xb5\x2f\xfd"):
        frame = engine.decompressobj()
        at = 0
        try:
            while at < len(data) and not frame.eof:
                piece = frame.decompress(data[at : at + _ZSTD_STEP])
                at += _ZSTD_STEP
                out.append(piece)
                size += len(piece)
                if size >= limit:
                    return Run(b"".join(out)[:limit], True, False)
        except zstandard.ZstdError:
            return Run(b"".join(out), False, False)
        if not frame.eof:
            return Run(b"".join(out), False, False)
        data = frame.unused_data + data[at:]
    return Run(b"".join(out), False, not data, True)


def _unlz4(data: bytes, limit: int) -> Run:
    engine = lz4.frame.LZ4FrameDecompressor()
    out: list[bytes] = []
    size = 0
    rest = data
    try:
        while size < limit:
            piece = engine.decompress(rest, min(limit - size, 1 << 20))
            out.append(piece)
            size += len(piece)
            rest = b""
            if engine.eof:
                rest = engine.unused_data or b""
                if not rest.startswith(b"\x04\x22\x4d\x18"):
                    return Run(b"".join(out), False, not rest)
                engine = lz4.frame.LZ4FrameDecompressor()
            elif not piece:
                return Run(b"".join(out), False, False)
    except RuntimeError:
        return Run(b"".join(out), False, False)
    return Run(b"".join(out), True, False)


def _unlz4_block(data: bytes, limit: int) -> Run:
    """A block bears no size; LZ4's Python binding puts one before it, little-endian."""
    stated = int.from_bytes(data[:4], "little")
    tries = [(data, min(limit, max(len(data) * 32, 4096)))]
    if 0 < stated <= min(limit, len(data) * 255):
        tries.insert(0, (data[4:], stated))
    for block, size in tries:
        try:
            out: bytes = lz4.block.decompress(block, uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError, OverflowError):
            continue
        if len(out) > len(block) // 2:
            return Run(out, False, True)
    return Run(b"", False, False)


def _unsnap(data: bytes, limit: int) -> Run:
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        # a copy of 64 bytes takes two bytes at least, so nothing expands more than this
        if not 0 < size <= min(limit, len(data) * 32 + 64):
            return Run(b"", False, False)
        return Run(bytes(cramjam.snappy.decompress_raw(data)), False, True)
    except cramjam.DecompressionError:
        return Run(b"", False, False)


def _unsnap_frames(data: bytes, limit: int) -> Run:
    out: list[bytes] = []
    size = 0
    at = 0
    while at + 4 <= len(data):
        kind, length = data[at], int.from_bytes(data[at + 1 : at + 4], "little")
        body = data[at + 8 : at + 4 + length]
        at += 4 + length
        if kind == 0:
            piece = _unsnap(body, _SNAPPY_CHUNK).data
        elif kind == 1:
            piece = body
        else:
            continue
        out.append(piece)
        size += len(piece)
        if size > limit:
            return Run(b"".join(out)[:limit], True, False)
    return Run(b"".join(out), False, at == len(data))


class Engine:
    """One compression: how to undo it, within the purse."""

    def __init__(self, name: str, run: _Runner) -> None:
        self.name = name
        self._run = run

    def open(self, data: bytes, purse: Purse, *, sure: bool, more: bool = False) -> list[Piece]:
        """The decompressed data: all of it or, if `sure` that this is the coding, what can be had. `more`: other
        bytes may follow."""
        limit = purse.allowance(len(data))
        if limit == 0:
            purse.note("bytes", f"more than {purse.bounds.bytes} decoded bytes")
            return []
        if not purse.charge(len(data)):
            return []
        out, cut, whole, ended = self._run(data, limit)
        if not out or not (sure or whole or cut or (more and ended)):
            return []
        purse.charge(len(out))
        if cut:
            bound = "bytes" if limit == purse.bytes else "ratio"
            purse.note(
                bound,
                f"{self.name}: only the first {len(out)} bytes were unpacked (from {len(data)} packed ones)",
            )
        return [Piece(self.name, out, "", 0, len(data))]

    def begins(self, head: bytes) -> bool:
        """Whether the first bytes of a stream give anything."""
        return len(self._run(head, _PEEK).data) >= 4


def _gzip_member(data: bytes) -> bool:
    return data.startswith(b"\x1f\x8b\x08")


def _never(_: bytes) -> bool:
    return False


_GZIP = Engine("gzip", _inflate(31, _gzip_member))
_ZLIB = Engine("zlib", _inflate(15, is_zlib))
_DEFLATE = Engine("deflate", _inflate(-15, _never))
_BROTLI = Engine("brotli", _unbrotli)
_ZSTD = Engine("zstd", _unzstd)
_LZ4 = Engine("lz4", _unlz4)
_SNAPPY = Engine("snappy", _unsnap)
_SNAPPY_FRAMES = Engine("snappy", _unsnap_frames)

_BY_HEAD = {
    b"\x1f\x8b\x08": _GZIP,
    b"\x28\xb5\x2f\xfd": _ZSTD,
    b"\x04\x22\x4d\x18": _LZ4,
    b"\xff\x06\x00\x00sNaPpY": _SNAPPY_FRAMES,
}
_FIRST = frozenset(head[0] for head in _BY_HEAD)
# HTTP's `deflate` means zlib (RFC 9110, 8.4.1.2), and is told by its header; some send it raw.
_BY_DECLARATION = {
    "gzip": _GZIP, "x-gzip": _GZIP, "deflate": _DEFLATE, "br": _BROTLI, "zstd": _ZSTD, "lz4": _LZ4,
    "snappy": _SNAPPY, "x-snappy": _SNAPPY, "x-snappy-framed": _SNAPPY_FRAMES,
}  # fmt: skip


class Headed:
    """Compressions that are told by their header."""

    name = "compression"
    covers = True
    needs = (BINARY,)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if data[0] in _FIRST:
            for head, engine in _BY_HEAD.items():
                if data.startswith(head):
                    return engine.open(data, purse, sure=True)
        # zlib's header is short: chance makes one in a thousand
        return _ZLIB.open(data, purse, sure=hint == "deflate") if is_zlib(data) else []


class Declared:
    """Compressions that are declared."""

    name = "compression"
    covers = True
    needs = ()
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        engine = _BY_DECLARATION.get(hint)
        return engine.open(data, purse, sure=True) if engine else []


def _may_inflate(data: bytes) -> bool:
    """Whether a first block can begin like this (RFC 1951, 3.2.3 to 3.2.7)."""
    kind = data[0] >> 1 & 3
    if kind == 0:
        return data[1] ^ data[3] == 255 and data[2] ^ data[4] == 255
    return kind == 1 or (kind == 2 and data[0] >> 3 <= 29 and data[1] & 31 <= 29)


def _may_unbrotli(data: bytes) -> bool:
    try:
        brotli.Decompressor().process(data[:_BROTLI_STEP])
    except brotli.error:
        return False
    return True


def _may_unsnap(data: bytes) -> bool:
    """Whether the length stated is one that so many bytes can stand for, and the first element is a literal:
    there is nothing yet to copy from."""
    size = shift = at = 0
    while True:
        byte = data[at]
        size |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
        if at == 5:
            return False
    return data[at] & 3 == 0 and len(data) - 16 <= size <= len(data) * 32 + 64


def _may_unlz4(data: bytes) -> bool:
    return _lz4_begins(data) or (
        0 < int.from_bytes(data[:4], "little") <= len(data) * 255 and _lz4_begins(data[4:])
    )


def _lz4_begins(block: bytes) -> bool:
    """Whether the first sequence's offset leads back into its own literals: there is nothing before them. Or there
    is no other sequence, and next to nothing behind it."""
    at, literals = 1, block[0] >> 4
    if literals == 15:
        while at < len(block):
            literals += block[at]
            at += 1
            if block[at - 1] != 255:
                break
    at += literals
    return 0 <= len(block) - at <= _TAILS or 0 < int.from_bytes(block[at : at + 2], "little") <= literals


class Headerless:
    """A compression without a header, tried on bytes that nothing else opened. It must end with the last
    byte; whether what it gives means anything is for `unfold` to judge."""

    covers = True
    chancy = False
    markless = True
    needs = (BINARY,)
    bars = b""

    def __init__(self, name: str, may: Callable[[bytes], bool], run: _Runner) -> None:
        self.name = name
        self._may = may
        self._run = run

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _LEAST <= len(data) <= _MOST or not purse.charge(len(data) * 2) or not self._may(data):
            return []
        limit = purse.allowance(len(data))
        out, cut, whole, _ = self._run(data, min(limit, _TRIAL))
        if cut and limit > _TRIAL and is_clean(out[:_READ]) and purse.charge(_TRIAL):
            out, cut, whole, _ = self._run(data, limit)
        if not out or not (whole or cut):
            return []
        purse.charge(len(out))
        return [Piece(self.name, out, "", 0, len(data))]

    def begun(self, data: bytes, tails: int, purse: Purse) -> list[Piece]:
        """The same where up to so many bytes may follow that are no part of it."""
        if not self._may(data) or not purse.charge(len(data) * 2):
            return []
        for tail in range(tails + 1):
            part = data[: len(data) - tail]
            out, _, whole, _ = self._run(part, min(purse.allowance(len(data)), _TRIAL))
            if whole and out:
                return [Piece(self.name, out, "", 0, len(part))]
        return []


_RAW_BROTLI = Headerless("brotli", _may_unbrotli, _unbrotli)
_RAW_DEFLATE = Headerless("deflate", _may_inflate, _inflate(-15, _never))
_RAW_SNAPPY = Headerless("snappy", _may_unsnap, _unsnap)
_RAW_LZ4 = Headerless("lz4", _may_unlz4, _unlz4_block)
RAW = (_RAW_BROTLI, _RAW_DEFLATE, _RAW_SNAPPY, _RAW_LZ4)


def likely(data: bytes, at: int) -> Iterator[Headerless]:
    """Which of these may begin at a place that nothing else points to. Of brotli's windows only the usual ones
    of 4 and 16 MB are thought of, of deflate an only block. `data` holds 24 bytes more at least."""
    first, size = data[at], len(data) - at
    if first & 15 in (11, 15):
        yield _RAW_BROTLI
    if first & 7 in (3, 5) or (first & 7 == 1 and data[at + 1] ^ data[at + 3] == 255):
        yield _RAW_DEFLATE
    if first > 127 or (first + 18 > size and not data[at + 1] & 3):
        yield _RAW_SNAPPY
    literals = first >> 4
    if literals == 15 or (literals and not data[at + literals + 2]) or not (data[at + 2] or data[at + 3]):
        yield _RAW_LZ4


_INNER = re.compile(
    rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\xff\x06\x00\x00sNaPpY|x[\x01\x5e\x9c\xda]"
)
_MAX_INNER = 64


class Inner:
    """gzip, zstd, LZ4, snappy or zlib at an inner offset of binary data, behind a header of somebody's own (Alibaba's
    UT SDK puts gzip at byte 8), or several, one after the other."""

    name = "compression"
    covers = False
    needs = (BINARY,)
    bars = b""

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        for count, match in enumerate(_INNER.finditer(data, 1)):
            if count == _MAX_INNER:
                purse.note("fields", f"more than {_MAX_INNER} marks of compressions within one value")
                break
            at = match.start()
            engine = _BY_HEAD.get(match.group(), _ZLIB)
            if engine is _ZLIB and not _ZLIB.begins(data[at : at + _PEEK]):
                continue
            for piece in engine.open(data[at:], purse, sure=engine is not _ZLIB, more=True):
                if len(piece.data) >= 4:
                    pieces.append(piece._replace(offset=at, length=len(data) - at))
        return pieces
