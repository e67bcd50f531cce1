"""Compressions: gzip (RFC 1952), zlib (RFC 1950), deflate (RFC 1951), brotli (RFC 7932), zstd (RFC 8878).

Output is bounded while it is produced, so a bomb costs what the purse allows and no more. What came
out before damage or a bound is kept: the first bytes of a cut body are evidence too. Those without a
recognisable header (raw deflate, brotli) are only tried where they are declared or nothing else fits,
and must then yield text or something recognisable.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli
import zstandard

from audit.decoding.coding import Piece, Purse, is_text

_READ = 1 << 16
# One brotli meta-block can yield 16 MiB out of no input bits at all (RFC 7932, 9.2), and the decoder
# gives all it has at once: steps as short as this one hold at most one meta-block header.
_BROTLI_STEP = 16
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def _inflate(wbits: int) -> Callable[[bytes, int], tuple[bytes, bool]]:
    def run(data: bytes, limit: int) -> tuple[bytes, bool]:
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
                    if wbits != 31 or rest[:2] != b"\x1f\x8b":
                        break
                    engine = zlib.decompressobj(wbits)
                elif not piece and not rest:
                    break
        except zlib.error:
            pass
        return b"".join(out), size >= limit and (bool(rest) or not engine.eof)

    return run


def _unbrotli(data: bytes, limit: int) -> tuple[bytes, bool]:
    engine = brotli.Decompressor()
    out: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(data), _BROTLI_STEP):
            piece = engine.process(data[start : start + _BROTLI_STEP])
            out.append(piece)
            size += len(piece)
            if size >= limit:
                return b"".join(out)[:limit], True
            if engine.is_finished():
                break
    except brotli.error:
        pass
    return b"".join(out), False


def _unzstd(data: bytes, limit: int) -> tuple[bytes, bool]:
    engine = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    out: list[bytes] = []
    size = 0
    try:
        with engine.stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(min(_READ, limit - size)):
                out.append(piece)
                size += len(piece)
                if size >= limit:
                    return b"".join(out), True
    except zstandard.ZstdError:
        pass
    return b"".join(out), False


class Compression:
    """One compression. `marked` says whether its header can be recognised by `starts`; one without is
    tried only where the hint declares it, or (`Headerless`) as a last resort."""

    covers = True

    def __init__(
        self,
        name: str,
        aliases: tuple[str, ...],
        starts: Callable[[bytes], bool],
        run: Callable[[bytes, int], tuple[bytes, bool]],
    ) -> None:
        self.name = name
        self._aliases = aliases
        self._starts = starts
        self._run = run

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        """The decompressed data, where the header or the hint says that this is the coding."""
        if not data or (hint not in self._aliases and not self._starts(data)):
            return []
        return self.open(data, purse)

    def open(self, data: bytes, purse: Purse) -> list[Piece]:
        """The decompressed data whatever the header says; charges the purse."""
        limit = purse.allowance(len(data))
        if limit == 0:
            purse.note("bytes", f"more than {purse.bounds.bytes} decoded bytes")
            return []
        out, cut = self._run(data, limit)
        if cut:
            bound = "bytes" if limit == purse.bytes else "ratio"
            purse.note(bound, f"{self.name}: stopped after {len(out)} bytes out of {len(data)}")
        purse.bytes -= len(out)
        return [Piece(self.name, out, "", 0, len(data))] if out else []


def _zlib_header(data: bytes) -> bool:
    return len(data) > 2 and data[0] & 15 == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0


GZIP = Compression("gzip", ("gzip", "x-gzip"), lambda d: d.startswith(b"\x1f\x8b\x08"), _inflate(31))
ZSTD = Compression("zstd", ("zstd",), lambda d: d.startswith(b"\x28\xb5\x2f\xfd"), _unzstd)
ZLIB = Compression("zlib", (), _zlib_header, _inflate(15))
DEFLATE = Compression("deflate", (), lambda d: False, _inflate(-15))
BROTLI = Compression("brotli", ("br",), lambda d: False, _unbrotli)


class DeclaredDeflate:
    """HTTP's content coding `deflate` means zlib (RFC 9110, 8.4.1.2); some send raw deflate."""

    name = "deflate"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if hint != "deflate" or not data:
            return []
        return (ZLIB if _zlib_header(data) else DEFLATE).open(data, purse)


class Headerless:
    """The last resort for bytes that nothing else opened: compressions without a header. They accept
    much by chance, so what they yield must be text or be longer than what went in and open further."""

    name = "headerless"
    covers = True

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if len(data) < 8 or is_text(data):
            return []
        for engine in (BROTLI, DEFLATE):
            if not purse.charge(len(data)):
                return []
            trial = Purse(purse.bounds, min(purse.bytes, _READ * 16), purse.work)
            pieces = engine.open(data, trial)
            if pieces and len(pieces[0].data) >= 8 and _recognisable(pieces[0].data):
                return engine.open(data, purse)
        return []


def _recognisable(data: bytes) -> bool:
    return is_text(data) or data[:4] in _MAGIC or data[:3] in _MAGIC


class InnerGzip:
    """gzip at an inner offset of binary data, behind a header of somebody's own (Alibaba's UT SDK
    puts it at byte 8)."""

    name = "gzip"
    covers = False

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        pieces: list[Piece] = []
        at = data.find(b"\x1f\x8b\x08", 1)
        while at > 0 and len(pieces) < 16 and purse.charge(len(data) - at):
            for piece in GZIP.open(data[at:], purse):
                if len(piece.data) >= 4:
                    pieces.append(piece._replace(offset=at, length=len(data) - at))
            at = data.find(b"\x1f\x8b\x08", at + 3)
        return pieces
