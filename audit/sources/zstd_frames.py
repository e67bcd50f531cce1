"""Whether a zstd file ends where its last frame does, which the library's reader does not tell: it takes a file that
is cut off for one that has ended. It decompresses nothing. Specification: RFC 8878, 3.1.
"""

from __future__ import annotations

import os

import zstandard

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50  # and fifteen more
_MAX_HEADER = 18  # bytes
_REPEATED = 1  # the type of a block of one byte
_MAX_BLOCKS = 1 << 20  # more than 100 GB have


def whole(descriptor: int, size: int) -> bool:
    """Whether all frames in a file of `size` bytes are complete; what is no frame is not looked at."""
    at = blocks = 0
    while at < size and blocks < _MAX_BLOCKS:
        head = os.pread(descriptor, _MAX_HEADER, at)
        magic = int.from_bytes(head[:4], "little")
        if magic & ~0xF == _SKIPPABLE:
            blocks += 1
            at += 8 + int.from_bytes(head[4:8], "little")
            continue
        if magic != _MAGIC:
            return True
        try:
            at += zstandard.frame_header_size(head)
            checked = zstandard.get_frame_parameters(head).has_checksum
        except zstandard.ZstdError:
            return False
        last = 0
        while not last:
            blocks += 1
            if blocks >= _MAX_BLOCKS:
                return True
            word = int.from_bytes(os.pread(descriptor, 3, at), "little")
            if at + 3 > size:
                return False
            last = word & 1
            at += 3 + (1 if word >> 1 & 3 == _REPEATED else word >> 3)
        at += 4 * checked
    return at == size or blocks == _MAX_BLOCKS
