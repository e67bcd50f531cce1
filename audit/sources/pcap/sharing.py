"""Several processes on one capture: each follows its share of the flows.

The first share is this process's own, the others run in forked ones that see the same open file. All take
the same steps; what they tell in a step is merged by its place, so the result is that of one process.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import msgspec

from audit.records import AnyRecord
from audit.sources.pcap.ledger import Answers, Told

Steps = Callable[[int, Callable[[Answers], Answers]], Iterator[list[Told]]]
"""The work of a share (by its number): what it tells in each step. In between it may ask, with what it knows
of names, for what all shares know of them."""

_encode = msgspec.msgpack.Encoder().encode
_told = msgspec.msgpack.Decoder(list[tuple[int, int, int, AnyRecord | bytes]])


def lines(count: int) -> list[list[Connection | None]]:
    """A line between any two of so many processes; the first index says whose end it is."""
    ends: list[list[Connection | None]] = [[None] * count for _ in range(count)]
    for one in range(count):
        for other in range(one):
            ends[one][other], ends[other][one] = multiprocessing.Pipe()
    return ends


def shared(count: int, steps: Steps) -> Iterator[list[Told]]:
    """What `count` shares told, step by step, each step in order."""
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    processes = []
    try:
        for share in range(1, count):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, steps, share), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        for told in steps(0, lambda mine: _exchanged(pipes, mine)):
            for pipe in pipes:
                told += _told.decode(pipe.recv_bytes())
            told.sort()
            yield told
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _exchanged(pipes: list[Connection], mine: Answers) -> Answers:
    for pipe in pipes:
        mine.take(pipe.recv_bytes())
    packed = mine.packed() if pipes else b""
    for pipe in pipes:
        pipe.send_bytes(packed)
    return mine


def _work(pipe: Connection, steps: Steps, share: int) -> None:
    """One share in its own process, from the first step to the last."""

    def exchange(mine: Answers) -> Answers:
        pipe.send_bytes(mine.packed())
        every = Answers()
        every.take(pipe.recv_bytes())
        return every

    for told in steps(share, exchange):
        pipe.send_bytes(_encode(told))
