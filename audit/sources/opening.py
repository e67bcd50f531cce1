"""From a path to the plain bytes of a capture: a file that can be sought in and mapped.

Compressed files (gzip RFC 1952, zstd RFC 8878) and pipes are spooled to a nameless temporary file, within
bounds; what stopped the spooling is handed over as a `Gap`. It never looks into the capture itself.
"""

from __future__ import annotations

import gzip
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

import zstandard

from audit.records import Gap, GapReason
from audit.sources import zstd_frames
from audit.sources.bad_capture import BadCapture

MAX_PLAIN = 8 << 30  # bytes a compressed capture may grow to
MAX_RATIO = 200  # growth allowed beyond the first FREE bytes; real captures stay below 50
FREE = 64 << 20
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)


class Opened(NamedTuple):
    """The plain bytes, how many there are, what of them is missing, and whether they are the file itself."""

    file: BinaryIO
    size: int
    gap: Gap | None
    plain: bool = False


@contextmanager
def opened(path: Path, capture: str) -> Iterator[Opened]:
    """Open `path`, undoing one layer of gzip or zstd.

    Raises:
        BadCapture: the path cannot be read, is a folder, or is empty.
    """
    try:
        raw = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadCapture(path, f"cannot be opened ({reason})", "give the path of a readable file") from None
    with raw:
        head = raw.peek(4)[:4]
        if not head:
            raise BadCapture(path, "the file is empty", "check that the recording was finished and copied")
        state = os.fstat(raw.fileno())
        if head.startswith(_GZIP):
            plain = cast(BufferedReader, gzip.GzipFile(fileobj=raw))
        elif head == _ZSTD:
            plain = cast(
                BufferedReader,
                zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                    raw, read_across_frames=True
                ),
            )
        elif stat.S_ISREG(state.st_mode):
            yield Opened(raw, state.st_size, None, plain=True)
            return
        else:
            plain = raw
        with tempfile.TemporaryFile() as spool:
            gap = _spool(plain, spool, state.st_size, capture, bounded=plain is not raw)
            size = spool.tell()
            compressed = head == _ZSTD and stat.S_ISREG(state.st_mode)
            if gap is None and compressed and not zstd_frames.whole(raw.fileno(), state.st_size):
                gap = Gap(
                    capture=capture, reason="truncated", offset=size, detail="the compressed file is cut off"
                )
            if not size:
                raise BadCapture(path, gap.detail if gap else "the file is empty", "record or copy it again")
            spool.seek(0)
            yield Opened(cast(BinaryIO, spool), size, gap)


def _spool(
    plain: BufferedReader, spool: IO[bytes], packed: int, capture: str, *, bounded: bool
) -> Gap | None:
    """Copy until the end, the first damage or a bound; says which of them it was."""
    size = 0

    def gap(reason: GapReason, detail: str) -> Gap:
        return Gap(capture=capture, reason=reason, offset=size, detail=detail)

    while True:
        try:
            chunk = plain.read1(_CHUNK)  # what comes before damage is not lost with it
        except _DAMAGE as error:
            return gap("truncated", f"the compressed file is damaged or cut off ({error})")
        if not chunk:
            return None
        size += len(chunk)
        spool.write(chunk)
        if size > MAX_PLAIN:
            return gap("limit", f"only the first {size} bytes of the decompressed file were read")
        if bounded and size > FREE + MAX_RATIO * packed:
            return gap(
                "limit", f"the file grows more than {MAX_RATIO} times when decompressed; reading stopped"
            )
