"""The flows of a capture as columns, in the order of their first packets: the table, with what payloads said
of each and what DNS called its far side. It reads no packet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from audit.sources.pcap import addresses
from audit.sources.pcap.analysis import Analysis, Known
from audit.sources.pcap.batch import I64
from audit.sources.pcap.flows import SIDES
from audit.sources.pcap.ledger import Resolved
from audit.sources.pcap.packets import SCTP, TCP, UDP
from audit.sources.shape import Columns

_STEP = 65_536  # packets whose flows are listed together
_TRANSPORTS = {1: "icmp", TCP: "tcp", UDP: "udp", 58: "icmp"}
_NOTHING = Known("observed", "no payload was sent", {}, 0)
_CONTROL = Known("observed", "network control", {}, 0)
_MUCH = Known("metadata_only", "more than network control carries", {}, 0)
_SEALED = Known("metadata_only", "encrypted tunnel", {}, 0)
_UNKNOWN = Known("not_observed", "unknown protocol", {}, 0)
_UNREAD = Known("not_observed", "payloads were not read", {}, 0)
_NO_PORTS = Known("metadata_only", "no TCP or UDP", {}, 0)
_READABLE = (TCP, UDP, SCTP)
_CONTROLS = frozenset({1, 2, 58, 88, 89, 103, 112})  # ICMP, IGMP, ICMPv6, EIGRP, OSPF, PIM, VRRP
_ESP = 50
_CONTROL_SIZE = 600  # bytes of a packet; an ICMP error quotes at most 548 (RFC 1812)


def flows(
    analysis: Analysis, capture: str, history: dict[str, list[Resolved]], end: int
) -> Iterator[tuple[list[int], Columns]]:
    """The flows that begin before packet `end`, in steps that are the same for all shares of a capture: the
    numbers of their first packets, and their columns."""
    numbers = analysis.table.first_number[: analysis.table.count]
    order = np.argsort(numbers, kind="stable")
    steps = np.searchsorted(numbers[order], np.arange(0, end + _STEP, _STEP))
    for begin, stop in pairwise(steps.tolist()):
        yield _columns(analysis, capture, history, order[begin:stop])


def _columns(
    analysis: Analysis, capture: str, history: dict[str, list[Resolved]], rows: I64
) -> tuple[list[int], Columns]:
    table = analysis.table
    from_a = table.device_a[rows] != 0
    ports = table.ports[rows].astype(np.int64)
    proto = ports & 0xFF
    a = table.a_hi[rows], table.a_lo[rows], ports >> 32
    b = table.b_hi[rows], table.b_lo[rows], ports >> 16 & 0xFFFF
    src_hi, src_lo, sport = (np.where(from_a, mine, other).tolist() for mine, other in zip(a, b, strict=True))
    dst_hi, dst_lo, dport = (np.where(from_a, other, mine).tolist() for mine, other in zip(a, b, strict=True))
    ported = np.isin(proto, (TCP, UDP, SCTP))
    if not ported.all():
        sport = [port if has else None for port, has in zip(sport, ported.tolist(), strict=True)]
        dport = [port if has else None for port, has in zip(dport, ported.tolist(), strict=True)]
    counts = {}
    for name in ("packets", "bytes", "payload"):
        ab, ba = getattr(table, name + "_ab")[rows], getattr(table, name + "_ba")[rows]
        counts[name + "_up"] = np.where(from_a, ab, ba).tolist()
        counts[name + "_down"] = np.where(from_a, ba, ab).tolist()
    packets = np.asarray(table.packets_ab[rows] + table.packets_ba[rows]).tolist()
    payload = np.asarray(table.payload_ab[rows] + table.payload_ba[rows]).tolist()
    numbers = table.first_number[rows].tolist()
    unread = _UNKNOWN if analysis.reads_payloads else _UNREAD
    known = [
        analysis.known[row] or (unread if size and kind in _READABLE else _silent(kind, count, size))
        for row, kind, count, size in zip(rows.tolist(), proto.tolist(), packets, payload, strict=True)
    ]
    parts = {}
    if analysis.phased:
        parts["parts"] = [
            analysis.phased.parts(row, device_a=side)
            for row, side in zip(rows.tolist(), from_a.tolist(), strict=True)
        ]
    far = list(map(addresses.text, dst_hi, dst_lo))
    return numbers, {
        "capture": [capture] * len(numbers),
        "flow": [f"f{number}" for number in numbers],
        "src": list(map(addresses.text, src_hi, src_lo)),
        "sport": sport,
        "dst": far,
        "dport": dport,
        "transport": [_TRANSPORTS.get(kind, "other") for kind in proto.tolist()],
        **counts,
        "first": table.first[rows].view("M8[ns]"),
        "last": table.last[rows].view("M8[ns]"),
        "observability": [one.observability for one in known],
        "reason": [one.reason for one in known],
        "secured_by": [one.secured for one in known],
        "names": [
            _names(one, history[address], number) if address in history else one.names
            for one, address, number in zip(known, far, numbers, strict=True)
        ],
        "side_by": [SIDES[by] for by in table.side_by[rows].tolist()],
        **parts,
    }


def _silent(protocol: int, packets: int, payload: int) -> Known:
    """Why a flow that no payload told of is as it is. Network control says nothing about a person, as long as
    it is no larger than it has to be."""
    if protocol in _CONTROLS:
        return _CONTROL if payload <= packets * _CONTROL_SIZE else _MUCH
    if not payload:
        return _NOTHING
    return _SEALED if protocol == _ESP else _NO_PORTS


def _names(known: Known, history: list[Resolved], number: int) -> dict[str, tuple[str, ...]]:
    """The flow's names; from DNS the one its address was last given before its first packet."""
    at = bisect_right(history, number, key=lambda answer: answer.number)
    return {**known.names, "dns": (history[at - 1].name,)} if at else known.names
