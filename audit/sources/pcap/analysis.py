"""One pass over a capture: batches of packets in, records out, for one share of the flows.

The shares divide the flows by their endpoints, so several processes can each take one; each follows all packets
of its own flows, none sees all flows. What is told depends on the packets and on nothing else: not on where
a batch ends, nor on how many shares there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.sources.pcap import shares
from audit.sources.pcap.batch import I64, U8, Batch, Secrets
from audit.sources.pcap.flows import FlowTable
from audit.sources.pcap.fragments import Fragments
from audit.sources.pcap.knowledge import Knowledge, Known
from audit.sources.pcap.ledger import Answers, Ledger, Said
from audit.sources.pcap.packets import WHOLE, Dealt, Packets, walk
from audit.sources.pcap.phased import Phased, Span
from audit.sources.pcap.tcp_flows import TcpFlows
from audit.sources.pcap.udp_flows import UdpFlows

if TYPE_CHECKING:  # imported where there are keys
    from audit.sources.pcap.decryption.ring import KeyRing

PAYLOAD_KINDS = frozenset({"dns", "tls", "http", "websocket", "mqtt", "message", "device"})
FLOWS = frozenset({"flow"})


class Analysis:
    """The flows of share `share` of `count`, and what their payloads tell, which are not read where
    only flows are wished for and there are no keys. Unless records are to be `whole`, those of HTTP/1 lack their headers."""

    def __init__(
        self, capture: str, kinds: frozenset[str], device: Collection[str], share: int = 0, count: int = 1,
        ring: KeyRing | None = None, *, bodies: bool = False, whole: bool = True,
        spans: Sequence[Span] = (),
    ) -> None:  # fmt: skip
        self.table = FlowTable(device)
        self.phased = Phased(spans)
        self.without_ip = 0  # packets
        self.unread: dict[str, int] = {}  # packets, by why
        self.fragments = Fragments()
        self.reads_payloads = kinds != FLOWS or ring is not None
        self._ring = ring
        self._ledger = Ledger(capture, kinds, ring, bodies=bodies, whole=whole)
        self._knowledge = Knowledge(self.table, self._ledger)
        self._tcp = TcpFlows(self._knowledge, ring)
        self._udp = UdpFlows(self._knowledge, ring)
        self._share, self._shares = share, count

    @property
    def known(self) -> list[Known | None]:
        """What payloads said of each flow, by its row in the table."""
        return self._knowledge.of

    @property
    def resolved(self) -> Answers:
        """The names that DNS gave to addresses."""
        return self._ledger.resolved

    def secrets(self, block: Secrets) -> None:
        """Take in secrets that the capture carries; they count from here on."""
        if self._ring is not None:
            self._ring.block(block)

    def refresh(self) -> None:
        """Take in what was added to the key logs since."""
        if self._ring is not None:
            self._ring.refresh()

    def batch(self, batch: Batch) -> Said:
        """Read a batch; what it completed."""
        packets, _, unread = walk(batch)
        for why, count in unread.items():
            self.unread[why] = self.unread.get(why, 0) + count
        self.without_ip += len(batch.start) - sum(unread.values()) - len(packets)
        end = batch.number + len(batch.start)
        return self._packets(batch.data, packets, end, mixed=self._shares > 1)

    def dealt(self, dealt: Dealt) -> Said:
        """The same of packets that another process may have walked."""
        self.without_ip += dealt.without_ip
        parts = bool((dealt.packets.part != WHOLE).any())  # which are dealt to all
        return self._packets(dealt.data, dealt.packets, dealt.end, mixed=parts)

    def shares(self, packets: Packets) -> I64:
        """Which share each packet's flow belongs to: the same for both directions."""
        divided = shares.by_ends if self._ring is None else shares.by_hosts
        return divided(packets, self._shares)

    def _packets(self, data: U8, packets: Packets, end: int, *, mixed: bool) -> Said:
        """Read packets, of which the last is the one before packet `end`; those of other shares are among them if
        they are `mixed`."""
        if not len(packets):
            return self._said()
        data, packets, counted = self.fragments.reassemble(data, packets)
        packets.carried[packets.part != WHOLE] = 0  # what fragments carry is read from their datagram
        if mixed:
            mine = self.shares(packets) == self._share
            if not mine.all():
                packets = packets.take(np.flatnonzero(mine))
                counted = None if counted is None else counted[mine]
            if not len(packets):
                return self._said()
        grouped = self.table.add(packets, counted)
        self._knowledge.reserve()
        self.phased.add(packets, grouped, counted)
        if self.reads_payloads:
            for flows in (self._tcp, self._udp):
                flows.read(data, packets, grouped)
                flows.end_quiet(end)
        return self._said()

    def finish(self, number: int) -> Said:
        """The capture ended before packet `number`: tell what is left."""
        for flows in (self._tcp, self._udp):
            flows.end_all(number)
        return self._said()

    def _said(self) -> Said:
        said, self._ledger.said = self._ledger.said, Said()
        return said
