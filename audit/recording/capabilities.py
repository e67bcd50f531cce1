"""What root may do beyond what its own files allow, given up for good. Linux: capabilities(7), capget(2), prctl(2).

It never gains anything; a child of the process cannot get back what was given up.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_NO_NEW_PRIVILEGES = 38


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32),
    )  # fmt: skip


_Both = _Sets * 2  # the lower and the upper half of each set


@contextmanager
def resting() -> Iterator[None]:
    """None of them is in effect for as long as this lasts, in this thread. Raises OSError where that cannot be."""
    before, now = _Both(), _Both()
    _call("capget", before)
    for rest, held in zip(now, before, strict=True):
        rest.permitted, rest.inheritable = held.permitted, held.inheritable
    _call("capset", now)
    try:
        yield
    finally:
        _call("capset", before)


def give_up() -> None:
    """From here on the process has none, and gets none by what it starts. Raises OSError where that is refused.

    Only for a process of one thread: the kernel takes them from the thread that asks.
    """
    if _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _call("capset", _Both())


def _call(name: str, sets: ctypes.Array[_Sets]) -> None:
    if getattr(_libc(), name)(ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref(sets)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
