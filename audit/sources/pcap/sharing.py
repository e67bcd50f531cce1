"""Several processes on one capture: each reads all packets and follows its share of the flows.

The first share is this process's own, the others run in forked ones that see the same open file. After every
batch the shares' records are merged by packet, so the result is that of one process. Where processes
cannot be forked, one does it all.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from heapq import merge
from multiprocessing.connection import Connection
from typing import NamedTuple

import msgspec

from audit.records import AnyRecord, Flow
from audit.sources.pcap.analysis import Analysis
from audit.sources.pcap.batch import Batch, Item, Secrets
from audit.sources.pcap.telling import Resolved, Told

Flows = Callable[[Analysis, list[Resolved]], Iterator[tuple[int, Flow]]]


class _Sent(NamedTuple):
    """A `Told` on its way between processes."""

    number: int
    flow: int
    ordinal: int
    record: AnyRecord


_encode = msgspec.msgpack.encode
_told = msgspec.msgpack.Decoder(list[_Sent])
_resolved = msgspec.msgpack.Decoder(list[Resolved])
_flows = msgspec.msgpack.Decoder(list[tuple[int, Flow]])


def possible() -> bool:
    """Whether processes can be forked here."""
    return "fork" in multiprocessing.get_all_start_methods()


class Shares:
    """The other shares of a capture, each in its own process. Use as a context."""

    def __init__(
        self,
        count: int,
        analysis: Callable[[int], Analysis],
        items: Callable[[], Iterator[Item]],
        flows: Flows | None,
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._processes = []
        self._pipes: list[Connection] = []
        for share in range(1, count):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, analysis, share, items, flows), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def __enter__(self) -> Shares:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def told(self, mine: list[Told]) -> Iterator[Told]:
        """What all shares told of the batch (or of the end) that `mine` is of."""
        if not self._pipes:
            return iter(mine)
        others = [[Told(*sent) for sent in _told.decode(pipe.recv_bytes())] for pipe in self._pipes]
        return merge(mine, *others, key=lambda told: told[:3])

    def resolved(self, mine: list[Resolved]) -> list[Resolved]:
        """What all shares know of names; every share is told all of it."""
        every = sorted(
            mine + [answer for pipe in self._pipes for answer in _resolved.decode(pipe.recv_bytes())]
        )
        for pipe in self._pipes:
            pipe.send_bytes(_encode(every))
        return every

    def flows(self, mine: Iterator[tuple[int, Flow]]) -> Iterator[tuple[int, Flow]]:
        """The flows of all shares in order."""
        if not self._pipes:
            return mine
        own = list(mine)
        others = [_flows.decode(pipe.recv_bytes()) for pipe in self._pipes]
        return merge(own, *others, key=lambda one: one[0])


def _work(
    pipe: Connection, analysis: Callable[[int], Analysis], share: int, items: Callable[[], Iterator[Item]],
    flows: Flows | None,
) -> None:  # fmt: skip
    """One share, from the first batch to its flows."""
    mine = analysis(share)
    number = 1
    for item in items():
        if isinstance(item, Secrets):
            mine.secrets(item)
        elif isinstance(item, Batch):
            mine.refresh()
            pipe.send_bytes(_encode(mine.batch(item)))
            number = item.number + len(item.start)
    pipe.send_bytes(_encode(mine.finish(number)))
    if flows is not None:
        pipe.send_bytes(_encode(mine.resolved))
        every = _resolved.decode(pipe.recv_bytes())
        pipe.send_bytes(_encode(list(flows(mine, every))))
