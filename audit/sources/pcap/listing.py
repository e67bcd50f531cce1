"""The flows of a capture as columns, in the order of their first packets: the table, with what payloads said
of each and what DNS called its far side. It reads no packet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.sources.pcap import addresses
from audit.sources.pcap.analysis import Analysis
from audit.sources.pcap.batch import I64, Bools
from audit.sources.pcap.flows import SIDES
from audit.sources.pcap.knowledge import Known
from audit.sources.pcap.ledger import IN_PART, Resolved
from audit.sources.pcap.packets import SCTP, TCP, UDP
from audit.sources.shape import Columns

_STEP = 65_536  # packets whose flows are listed together
_TRANSPORTS = [{1: "icmp", TCP: "tcp", UDP: "udp", 58: "icmp"}.get(kind, "other") for kind in range(256)]
_NOTHING = Known("observed", "no payload was sent", {}, 0)
_CONTROL = Known("observed", "network control", {}, 0)
_MUCH = Known("metadata_only", "more than network control carries", {}, 0)
_SEALED = Known("metadata_only", "encrypted tunnel", {}, 0)
_UNKNOWN = Known("not_observed", "unknown protocol", {}, 0)
_UNREAD = Known("not_observed", "payloads were not read", {}, 0)
_NO_PORTS = Known("metadata_only", "no TCP or UDP", {}, 0)
_READABLE = (TCP, UDP, SCTP)
_CONTROLS = (1, 2, 58, 88, 89, 103, 112)  # ICMP, IGMP, ICMPv6, EIGRP, OSPF, PIM, VRRP
_ESP = 50
_MADE = 5  # the last of the statements that are made without looking into payloads
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
        analysis.table.release()


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
    ported = np.isin(proto, _READABLE)
    if not ported.all():
        sport = [port if has else None for port, has in zip(sport, ported.tolist(), strict=True)]
        dport = [port if has else None for port, has in zip(dport, ported.tolist(), strict=True)]
    counts = {}
    for name in ("packets", "bytes", "payload"):
        ab, ba = getattr(table, name + "_ab")[rows], getattr(table, name + "_ba")[rows]
        counts[name + "_up"] = np.where(from_a, ab, ba).tolist()
        counts[name + "_down"] = np.where(from_a, ba, ab).tolist()
    numbers = table.first_number[rows].tolist()
    known, which = _known(analysis, rows, proto, ported)
    parts = {}
    if analysis.phased:
        parts["parts"] = [
            analysis.phased.parts(row, device_a=side)
            for row, side in zip(rows.tolist(), from_a.tolist(), strict=True)
        ]
    far = list(map(addresses.text, dst_hi, dst_lo))
    names = _chosen([one.names for one in known], which)
    if history:
        names = [
            _names(those, history[address], number) if address in history else those
            for those, address, number in zip(names, far, numbers, strict=True)
        ]
    return numbers, {
        "capture": [capture] * len(numbers),
        "flow": [f"f{number}" for number in numbers],
        "src": list(map(addresses.text, src_hi, src_lo)),
        "sport": sport,
        "dst": far,
        "dport": dport,
        "transport": _chosen(_TRANSPORTS, proto),
        **counts,
        "first": table.first[rows].view("M8[ns]"),
        "last": table.last[rows].view("M8[ns]"),
        "observability": _chosen([one.observability for one in known], which),
        "reason": _chosen([one.reason for one in known], which),
        "secured_by": _chosen([one.secured for one in known], which),
        "names": names,
        "side_by": _chosen(SIDES, table.side_by[rows]),
        **parts,
    }


def _chosen(values: Sequence[Any], which: NDArray[np.integer[Any]]) -> list[Any]:
    """The values at these places."""
    table = np.empty(len(values), dtype=object)
    table[:] = values
    chosen: list[Any] = table[which].tolist()
    return chosen


def _known(analysis: Analysis, rows: I64, proto: I64, readable: Bools) -> tuple[list[Known], I64]:
    """Statements about flows, and which of them is made about each of these."""
    table = analysis.table
    packets = table.packets_ab[rows] + table.packets_ba[rows]
    payload = table.payload_ab[rows] + table.payload_ba[rows]
    control = np.isin(proto, _CONTROLS)
    # Network control says nothing about a person, as long as it is no larger than it has to be
    which = np.where(proto == _ESP, 3, 4)
    which[(payload == 0) & ~control] = 0
    which[control] = 1 + (payload > packets * _CONTROL_SIZE)[control]
    which[readable & (payload > 0)] = 5
    known = [_NOTHING, _CONTROL, _MUCH, _SEALED, _NO_PORTS, _UNKNOWN if analysis.reads_payloads else _UNREAD]
    if analysis.reads_payloads:
        places: dict[int, int] = {}
        for at, row in enumerate(rows.tolist()):
            one = analysis.known[row]
            if one is not None:
                place = places.get(id(one))
                if place is None:
                    place = places[id(one)] = len(known)
                    known.append(one)
                which[at] = place
    rest: dict[int, int] = {}
    for at in np.flatnonzero(table.partly[rows]).tolist():
        place = int(which[at])
        one = known[place]
        if place > _MADE and (one.observability, one.reason) == ("observed", None):
            if place not in rest:
                rest[place] = len(known)
                known.append(one._replace(reason=IN_PART))
            which[at] = rest[place]
    return known, which


def _names(
    names: dict[str, tuple[str, ...]], history: list[Resolved], number: int
) -> dict[str, tuple[str, ...]]:
    """The flow's names; from DNS the one its address was last given before its first packet."""
    at = bisect_right(history, number, key=lambda answer: answer.number)
    return {**names, "dns": (history[at - 1].name,)} if at else names
