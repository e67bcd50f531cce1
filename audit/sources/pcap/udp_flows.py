"""UDP and SCTP flows: which of their packets can tell something, and their way to `lookups` or to a reader.

Datagrams need no order, so each is chosen for itself, many at once.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import Protocol

import numpy as np

from audit.sources.pcap import payloads
from audit.sources.pcap.batch import I64, NO_TIME, U8
from audit.sources.pcap.flows import Grouped
from audit.sources.pcap.live_flows import Live, LiveFlows
from audit.sources.pcap.packets import SCTP, UDP, Packets


class Reader(Live, Protocol):
    """Reads one flow; it may be forgotten after any packet that leaves it `stateless`, and `wants_all` packets
    where they may tell something whatever they begin with."""

    @property
    def stateless(self) -> bool: ...
    @property
    def wants_all(self) -> bool: ...

    def packet(self, side: int, kind: int, data: bytes) -> None:
        """Take a packet that `side` sent; `kind` is what it may be."""


class UdpFlows(LiveFlows[Reader]):
    """The UDP and SCTP flows that are being read."""

    def read(self, data: U8, packets: Packets, grouped: Grouped) -> None:
        """Read the UDP and SCTP packets among those of a batch."""
        order, starts, rows, ab = grouped
        lengths = np.diff(np.append(starts, len(order)))
        proto = packets.proto[order]
        chosen = ((proto == UDP) | (proto == SCTP)) & (packets.carried[order] > 0)
        places = np.flatnonzero(chosen)
        if not len(places):
            return
        kinds = payloads.telling_udp(data, packets, order[places])
        kinds[proto[places] == SCTP] = payloads.SCTP
        owners = np.repeat(rows, lengths)[places]
        if self._ring is not None and self._ring.hopeful:
            self._rest_of_quic(data, packets.payload[order[places]], owners, kinds)
        self._table.partly[owners[kinds == 0]] = 1
        kept = kinds > 0
        kept[self._lookups(data, packets, grouped, places, kinds, owners)] = False
        places, kinds, owners = places[kept], kinds[kept], owners[kept]
        if not len(places):
            return
        if self._ring is not None:  # a connection may go on in another flow
            turn = np.argsort(packets.number[order[places]], kind="stable")
            places, kinds, owners = places[turn], kinds[turn], owners[turn]
        which = order[places]
        from audit.sources.pcap.association import Association
        from audit.sources.pcap.datagrams import Datagrams

        touched = dict(zip(owners.tolist(), kinds.tolist(), strict=True))
        fresh = np.array([row for row in touched if row not in self._live], dtype=np.int64)
        for row, teller in self._knowledge.tellers(fresh).items():
            ports = int(self._table.ports[row])
            self._live[row] = (
                Association(teller)
                if touched[row] == payloads.SCTP
                else Datagrams(teller, (ports >> 32, ports >> 16 & 0xFFFF))
            )
        for row, kind, forth, number, time, at, size in zip(
            owners.tolist(), kinds.tolist(), ab[places].tolist(), packets.number[which].tolist(),
            packets.time[which].tolist(), packets.payload[which].tolist(), packets.carried[which].tolist(),
            strict=True,
        ):  # fmt: skip
            live = self._live[row]
            live.teller.number = live.last = number
            live.teller.time = None if time == NO_TIME else time / 1e9
            live.packet(0 if forth else 1, kind, data[at : at + size].tobytes())
        for row in touched:
            if self._live[row].stateless:
                self._knowledge.learn(row, self._live.pop(row).teller)

    def _lookups(
        self, data: U8, packets: Packets, grouped: Grouped, places: I64, kinds: U8, owners: I64
    ) -> I64:
        """Tell the flows that carry DNS lookups and nothing else; which of the datagrams at these places of the
        order are theirs."""
        from audit.sources.pcap import datagrams, lookups

        begins = np.flatnonzero(np.diff(owners, prepend=-1))
        ends = np.append(begins[1:], len(owners))
        plain = np.minimum.reduceat(kinds, begins) == payloads.DNS
        plain &= np.maximum.reduceat(kinds, begins) == payloads.DNS
        begins, sizes = begins[plain], (ends - begins)[plain]
        mine = np.repeat(begins, sizes) + _counted(sizes)
        rows = owners[begins]
        carriers = [
            datagrams.carrier_of(port >> 32, port >> 16 & 0xFFFF) for port in self._table.ports[rows].tolist()
        ]
        which = grouped.order[places[mine]]
        view = data.data
        said = [
            lookups.lookup(bytes(view[at + 2 : at + size]), carrier)
            for at, size, carrier in zip(
                packets.payload[which].tolist(),
                packets.carried[which].tolist(),
                chain.from_iterable(map(repeat, carriers, sizes.tolist())),
                strict=True,
            )
        ]
        sides = (~grouped.ab[places[mine]]).astype(np.int64).tolist()
        sent = list(zip(packets.number[which].tolist(), _seconds(packets.time[which]), sides, strict=True))
        told, at = [], 0
        for (row, teller), carrier, size in zip(
            self._knowledge.tellers(rows).items(), carriers, sizes.tolist(), strict=True
        ):
            end = at + size
            good = None not in said[at:end] and row not in self._live
            told.append(good)
            if good:
                lookups.tell(self._knowledge.ledger, teller, carrier, sent[at:end], said[at:end])
                self._knowledge.learn(row, teller)
            at = end
        return mine[np.repeat(np.array(told, dtype=np.bool_), sizes)]

    def _rest_of_quic(self, data: U8, at: I64, owners: I64, kinds: U8) -> None:
        """Choose also the packets of QUIC connections that may be opened, which have no telling first bytes,
        and those that may belong to one whose device has moved."""
        opened = [row for row, live in self._live.items() if live.wants_all]
        fresh = owners[kinds == payloads.QUIC]
        rest = np.isin(owners, np.union1d(fresh, np.array(opened, dtype=np.int64)))
        kinds[rest & (kinds != payloads.QUIC)] = payloads.QUIC_REST
        if self._ring is not None and (self._ring.paths or len(fresh)):
            short = data[at] & 0xC0 == 0x40
            kinds[(kinds == 0) & short] = payloads.QUIC_REST
            kinds[(kinds == payloads.PLAIN) & short] = (
                payloads.QUIC_OR_PLAIN
            )  # it may look like text by chance


def _seconds(times: I64) -> list[float | None]:
    """Nanoseconds as seconds, None where there is no time."""
    seconds: list[float | None] = (times / 1e9).tolist()
    for index in np.flatnonzero(times == NO_TIME).tolist():
        seconds[index] = None
    return seconds


def _counted(lengths: I64) -> I64:
    """0, 1, ... for each of these lengths, one after the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
