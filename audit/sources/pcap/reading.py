"""Packet captures → records: the reader that the registry of formats names.

`read` yields what payloads tell as it goes, then one `Flow` per flow in the order of their first packets,
then the gaps. `kinds` limits the work, not only the output: with flows alone no payload is touched.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from audit.records import AnyRecord, Flow, Gap, GapReason
from audit.sources.bad_capture import BadCapture
from audit.sources.opening import Opened
from audit.sources.pcap import addresses, pcap_file, pcapng_file, rare, sharing, window
from audit.sources.pcap.analysis import PAYLOAD_KINDS, Analysis, Known, names_of
from audit.sources.pcap.batch import NO_TIME, Batch, Damage, Item, Names
from audit.sources.pcap.decryption.ring import KeyRing
from audit.sources.pcap.telling import Resolved

KINDS = PAYLOAD_KINDS | {"flow", "gap"}
_Transport = Literal["tcp", "udp", "icmp", "other"]
_TRANSPORTS: dict[int, _Transport] = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}
_MAX_DAMAGES = 1_000
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
) -> Iterator[AnyRecord]:
    """The records of the kinds wished; `device` are addresses of the audited device. The result depends
    neither on `jobs`, the number of processes, nor on `chunk`, the bytes read at a time. `keys` are key logs;
    with `bodies`, those of responses are kept.

    Raises:
        BadCapture: there is no packet in it, and damage; or a key log cannot be read.
    """
    wanted = frozenset(kinds)
    count = jobs if sharing.possible() and source.size >= _WORTH_SHARING else 1
    named: list[Resolved] = []
    gaps: list[Gap] = []

    ring = KeyRing(keys) if keys or _modern(source) else None

    def share(index: int) -> Analysis:
        return Analysis(capture, wanted, device, index, count, ring, bodies=bodies)

    def told_flows(mine: Analysis, resolved: list[Resolved]) -> Iterator[tuple[int, Flow]]:
        return flows(mine, capture, resolved)

    with_flows = "flow" in wanted
    with sharing.Shares(
        count, share, lambda: items(source, chunk), told_flows if with_flows else None
    ) as shares:
        analysis = share(0)
        number = 1
        for item in items(source, chunk):
            if isinstance(item, Batch):
                analysis.refresh()
                for told in shares.told(analysis.batch(item)):
                    if _kind(told.record) in wanted:
                        yield told.record
                number = item.number + len(item.start)
            elif isinstance(item, Damage):
                if len(gaps) < _MAX_DAMAGES:
                    gaps.append(_gap(capture, item))
            elif isinstance(item, Names):
                named += _given(item)
            else:
                analysis.secrets(item)
        if number == 1 and gaps and source.gap is None:
            raise BadCapture(
                path, f"no packet in it: {gaps[0].detail}", "record it again", gaps[0].offset or 0
            )
        for told in shares.told(analysis.finish(number)):
            if _kind(told.record) in wanted:
                yield told.record
        if with_flows:
            resolved = shares.resolved(sorted([*named, *analysis.resolved]))
            for _, flow in shares.flows(told_flows(analysis, resolved)):
                yield flow
    if "gap" in wanted:
        yield from gaps
        yield from unread(analysis, capture)


def _kind(record: object) -> str:
    return str(record.__struct_config__.tag)  # type: ignore[attr-defined]


def items(source: Opened, chunk: int) -> Iterator[Item]:
    """What stands in the file, whichever of the two formats it is."""
    view = window.Window(source.file, source.size, chunk)
    return rare.read(pcapng_file.read(view) if _modern(source) else pcap_file.read(view))


def _modern(source: Opened) -> bool:
    """Whether it is a pcapng, which may carry secrets."""
    return os.pread(source.file.fileno(), 4, 0) == b"\n\r\r\n"


def flows(analysis: Analysis, capture: str, resolved: list[Resolved]) -> Iterator[tuple[int, Flow]]:
    """One record per flow with the number of its first packet, in that order."""
    table = analysis.table
    history = names_of(resolved)
    payload_read = analysis.reads_payloads
    rows = np.argsort(table.first_number[: table.count], kind="stable")
    names = ("a_hi", "a_lo", "b_hi", "b_lo", "ports", "first_number", "first", "last", "device_a",
             "packets_ab", "packets_ba", "bytes_ab", "bytes_ba", "payload_ab", "payload_ba")  # fmt: skip
    columns = (getattr(table, name)[rows].tolist() for name in names)
    for (row, a_hi, a_lo, b_hi, b_lo, ports, number, first, last, device_a, packets_ab, packets_ba, bytes_ab,
         bytes_ba, payload_ab, payload_ba) in zip(rows.tolist(), *columns, strict=True):  # fmt: skip
        near, far = (
            (addresses.text(a_hi, a_lo), ports >> 32),
            (addresses.text(b_hi, b_lo), ports >> 16 & 0xFFFF),
        )
        up, down = (packets_ab, bytes_ab, payload_ab), (packets_ba, bytes_ba, payload_ba)
        if not device_a:
            near, far, up, down = far, near, down, up
        transport: _Transport = _TRANSPORTS.get(ports & 0xFF, "other")
        ported = transport in ("tcp", "udp") or ports & 0xFF == 132
        known = analysis.known.get(row) or _unread(transport, up[2] + down[2], payload_read)
        start = None if first == NO_TIME else first / 1e9
        flow = Flow(
            capture=capture,
            time=start,
            flow=f"f{number}",
            src=near[0],
            sport=near[1] if ported else None,
            dst=far[0],
            dport=far[1] if ported else None,
            transport=transport,
            packets_up=up[0],
            packets_down=down[0],
            bytes_up=up[1],
            bytes_down=down[1],
            payload_up=up[2],
            payload_down=down[2],
            first=start,
            last=None if last == NO_TIME else last / 1e9,
            observability=known.observability,
            reason=known.reason,
            secured_by=known.secured,
            names=_names(known, history.get(far[0]), number),
        )
        yield number, flow


_NOTHING = Known("observed", "no payload was sent", {}, 0)
_UNKNOWN = Known("not_observed", "unknown protocol", {}, 0)
_UNREAD = Known("not_observed", "payloads were not read", {}, 0)
_NO_PORTS = Known("metadata_only", "no TCP or UDP", {}, 0)


def _unread(transport: str, payload: int, payload_read: bool) -> Known:
    if not payload and transport == "tcp":
        return _NOTHING
    if transport not in ("tcp", "udp"):
        return _NO_PORTS
    return _UNKNOWN if payload_read else _UNREAD


def _names(known: Known, history: list[Resolved] | None, number: int) -> dict[str, tuple[str, ...]]:
    """The flow's names; from DNS the one its address was last given before its first packet."""
    if history is None:
        return known.names
    at = bisect_right(history, number, key=lambda answer: answer.number)
    return {**known.names, "dns": (history[at - 1].name,)} if at else known.names


def _given(item: Names) -> list[Resolved]:
    size = len(item.address)
    high, low = (
        (addresses.HIGH, int.from_bytes(item.address, "big"))
        if size == 4
        else (int.from_bytes(item.address[:8], "big"), int.from_bytes(item.address[8:], "big"))
    )
    return [Resolved(0, addresses.text(high, low), name.lower()) for name in item.names[:1]]


def _gap(capture: str, damage: Damage) -> Gap:
    reason: GapReason = "truncated" if damage.reason == "truncated" else "malformed"
    return Gap(capture=capture, reason=reason, offset=damage.offset, bytes=damage.bytes, detail=damage.detail)


def unread(analysis: Analysis, capture: str) -> Iterator[Gap]:
    """What was there and could not be read at all."""
    for link, count in sorted(analysis.unknown_links.items()):
        yield Gap(capture=capture, reason="unsupported", detail=f"{count} packets of link type {link}")
    if analysis.fragments.dropped:
        yield Gap(
            capture=capture,
            reason="lost",
            detail=f"{analysis.fragments.dropped} fragmented datagrams are incomplete",
        )
