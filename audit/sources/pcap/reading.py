"""Packet captures → records: the reader that the registry of formats names.

`read` yields what payloads tell as it goes, then one `Flow` per flow in the order of their first packets,
then the gaps. With flows alone (and no keys) no payload is touched; else all are read, so that what is said of
one kind does not depend on which others are wished for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

from audit.records import Gap, Phase
from audit.sources.bad_capture import BadCapture
from audit.sources.opening import Opened
from audit.sources.pcap import addresses, listing, pcap_file, pcapng_file, rare, snoop_file, window
from audit.sources.pcap.analysis import FLOWS, PAYLOAD_KINDS, Analysis
from audit.sources.pcap.batch import Batch, Damage, Item, Names
from audit.sources.pcap.ledger import Answers, Said, Told
from audit.sources.pcap.packets import Dealt
from audit.sources.pcap.phased import Span
from audit.sources.shape import AsRecords, Shape

KINDS = PAYLOAD_KINDS | {"flow", "gap"}
_MAX_DAMAGES = 1_000
_OUT_OF_STEP = (
    "secrets behind damage, out of step with the blocks of the file, are not used; give them with --keys"
)
_WORTH_SHARING = 4 << 20  # bytes below which one process is faster


def read(
    path: Path,
    source: Opened,
    capture: str,
    *,
    kinds: Collection[str] = KINDS,
    device: Collection[str] = (),
    jobs: int = 1,
    chunk: int = window.CHUNK,
    keys: Collection[Path] = (),
    bodies: bool = False,
    phases: Sequence[Phase] = (),
    more: Callable[[], bool] | None = None,
    shape: Shape[Any] = AsRecords(),  # noqa: B008 - immutable
) -> Iterator[Any]:
    """What is made, by `shape`, of each record of the kinds wished; `device` are addresses of the audited device. The
    result depends neither on `jobs`, the number of processes, nor on `chunk`, the bytes read at a time. `keys`
    are key logs; with `bodies`, those of responses are kept. The counts of flows are divided by `phases`.
    With `more`, a file that grows is followed until that says no (see `window`).

    Raises:
        BadCapture: there is no packet in it, and damage; or a key log cannot be read.
    """
    wanted = frozenset(kinds)
    count = jobs if hasattr(os, "fork") and source.size >= _WORTH_SHARING and more is None else 1
    gaps: list[Gap] = []
    spans = [
        Span(phase.id, _nanoseconds(phase.start), None if phase.end is None else _nanoseconds(phase.end))
        for phase in phases
        if phase.start is not None
    ]
    ring = None
    carried = wanted != FLOWS and _modern(source) and (more is not None or _holds_secrets(source))
    if keys or carried:
        from audit.sources.pcap.decryption.ring import KeyRing

        ring = KeyRing(keys)

    table = None
    if count > 1:  # who reads alone need not wait for these
        from audit.sources.pcap import sharing, turns

        format_ = turns.format_of(source)
        if format_ is not None:
            table = turns.Table(format_, count, sharing.lines(count), chunk)

    def steps(share: int, exchange: Callable[[Answers], Answers]) -> Iterator[list[Told]]:
        analysis = Analysis(
            capture, wanted, device, share, count, ring, bodies=bodies, whole=shape.whole, spans=spans
        )
        damages: list[Gap] = []
        number = 1
        stream = table.items(source, share, analysis) if table else items(source, chunk, more)
        for item in stream:
            if isinstance(item, Batch):
                analysis.refresh()
                yield _shaped(analysis.batch(item), capture, wanted, shape)
                number = item.number + len(item.start)
            elif isinstance(item, Dealt):
                analysis.refresh()
                yield _shaped(analysis.dealt(item), capture, wanted, shape)
                number = item.end
            elif isinstance(item, Damage):
                if len(damages) < _MAX_DAMAGES:
                    damages.append(_gap(capture, item))
            elif isinstance(item, Names):
                if share == 0 and item.names:
                    analysis.resolved.add(0, _address(item), item.names[0].lower())
            elif ring is not None:
                analysis.secrets(item)
            elif item.kind == pcapng_file.TLS_KEY_LOG and len(damages) < _MAX_DAMAGES:
                damages.append(_gap(capture, Damage("malformed", item.offset, len(item.data), _OUT_OF_STEP)))
        if number == 1 and damages and source.gap is None:
            raise BadCapture(
                path, f"no packet in it: {damages[0].detail}", "record it again", damages[0].offset or 0
            )
        analysis.refresh()
        yield _shaped(analysis.finish(number), capture, wanted, shape)
        if share == 0:
            gaps.extend([*damages, *unread(analysis, capture)])
            if ring is not None and ring.cut:
                detail = "more secrets were given than are read; leave out those of other captures"
                gaps.append(Gap(capture=capture, reason="limit", detail=detail))
        if "flow" in wanted:
            history = exchange(analysis.resolved).history()
            for numbers, columns in listing.flows(analysis, capture, history, number):
                made = shape.flows(columns, apart=count > 1)
                yield list(zip(numbers, numbers, repeat(0), made, strict=False))

    for told in sharing.shared(count, steps) if count > 1 else steps(0, lambda mine: mine):
        yield from shape.together(map(itemgetter(3), told))
    if "gap" in wanted:
        yield from map(shape.record, gaps)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000


def _shaped(said: Said, capture: str, wanted: frozenset[str], shape: Shape[Any]) -> list[Told]:
    """What is made of all that was said, in order."""
    made = shape.record
    told: list[Told] = [
        (number, first, ordinal, made(record))
        for number, first, ordinal, record in said.records
        if record.__struct_config__.tag in wanted
    ]
    for kind, rows in said.rows.items():
        if rows and kind.__struct_config__.tag in wanted:
            numbers, firsts, ordinals, times, src, sport, dst, dport, *rest = zip(*rows, strict=True)
            flows = [f"f{first}" for first in firsts]
            ids = [f"{flow}.{ordinal}" for flow, ordinal in zip(flows, ordinals, strict=True)]
            values = ([capture] * len(rows), times, flows, src, sport, dst, dport, ids, *rest)
            columns = dict(zip(kind.__struct_fields__, values, strict=True))
            told += zip(numbers, firsts, ordinals, shape.records(kind, columns), strict=True)
    told.sort()
    return told


def items(source: Opened, chunk: int, more: Callable[[], bool] | None = None) -> Iterator[Item]:
    """What stands in the file, whichever of the formats of packets it is."""
    view = window.Window(source.file, source.size, chunk, more)
    if os.pread(source.file.fileno(), 8, 0) == snoop_file.MAGIC:
        return rare.read(snoop_file.read(view))
    return rare.read(pcapng_file.read(view) if _modern(source) else pcap_file.read(view))


def _modern(source: Opened) -> bool:
    """Whether it is a pcapng, which may carry secrets."""
    return pcapng_file.begins(os.pread(source.file.fileno(), 4, 0))


def _holds_secrets(source: Opened) -> bool:
    return pcapng_file.holds_secrets(window.Window(source.file, source.size))


def _address(item: Names) -> str:
    size = len(item.address)
    high, low = (
        (addresses.HIGH, int.from_bytes(item.address, "big"))
        if size == 4
        else (int.from_bytes(item.address[:8], "big"), int.from_bytes(item.address[8:], "big"))
    )
    return addresses.text(high, low)


def _gap(capture: str, damage: Damage) -> Gap:
    return Gap(
        capture=capture, reason=damage.reason, offset=damage.offset, bytes=damage.bytes, detail=damage.detail
    )


def unread(analysis: Analysis, capture: str) -> Iterator[Gap]:
    """What was there and could not be read at all."""
    for why, count in sorted(analysis.unread.items()):
        yield Gap(capture=capture, reason="unsupported", detail=f"{count} packets {why}")
    if analysis.without_ip:
        yield Gap(
            capture=capture, reason="unsupported",
            detail=f"{analysis.without_ip} packets carry no IP (ARP, link control) or a damaged header of it",
        )  # fmt: skip
    if analysis.fragments.incomplete:
        yield Gap(
            capture=capture,
            reason="lost",
            detail=f"{analysis.fragments.incomplete} fragmented datagrams are incomplete",
        )
