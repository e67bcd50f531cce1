"""What the file readers hand on: batches of packet records as columns, and the few things between them.

Times are nanoseconds since the Unix epoch; `NO_TIME` where the format tells none. No behaviour.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_TIME = np.iinfo(np.int64).min
MAX_RECORD = 262_144  # bytes of one packet; more is damage (the bound that libpcap and its kin use)


class Batch(NamedTuple):
    """Packets of one window. `start` and `captured` are positions and lengths in `data`, which is only
    valid until the next batch is asked for and has padding behind the last packet."""

    data: U8
    base: int  # offset in the file of data[0]
    number: int  # of the first packet, counted from 1
    start: I64
    captured: I64
    original: I64
    time: I64
    link: U16


class Secrets(NamedTuple):
    """A Decryption Secrets Block: `kind` is its secrets type, `offset` where the block stands."""

    kind: int
    offset: int
    data: bytes


class Names(NamedTuple):
    """An address and the names a Name Resolution Block gives it."""

    address: bytes
    names: tuple[str, ...]


class Damage(NamedTuple):
    """Bytes of the file that are no packets though they should be."""

    reason: Literal["truncated", "malformed", "unsupported"]
    offset: int
    bytes: int
    detail: str


Item = Batch | Secrets | Names | Damage
