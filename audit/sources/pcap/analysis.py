"""One pass over a capture: batches of packets in, records out, for one share of the flows.

The shares divide the flows by their endpoints, so several processes can each take one; each follows all packets
of its own flows, none sees all flows. What is told depends on the packets and on nothing else: not on where
a batch ends, nor on how many shares there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.records import Observability, SecuredBy
from audit.sources.pcap import addresses, payloads, segments, shares
from audit.sources.pcap.batch import I64, NO_TIME, U8, Batch, Secrets
from audit.sources.pcap.flows import FlowTable, Grouped
from audit.sources.pcap.fragments import Fragments
from audit.sources.pcap.ledger import Answers, Ends, Ledger, Said
from audit.sources.pcap.packets import SCTP, TCP, UDP, WHOLE, Dealt, Packets, walk
from audit.sources.pcap.phased import Phased, Span
from audit.sources.pcap.streams import UNKNOWN

if TYPE_CHECKING:  # what reads payloads is imported when there is one to read
    from audit.sources.pcap.association import Association
    from audit.sources.pcap.conversation import Conversation
    from audit.sources.pcap.datagrams import Datagrams
    from audit.sources.pcap.decryption.ring import KeyRing
    from audit.sources.pcap.telling import Teller


PAYLOAD_KINDS = frozenset({"dns", "tls", "http", "websocket", "message", "device"})
UNTRIED, TALKING, OVER = 0, 1, 2  # the stages of a flow's payloads
_QUIET = 400_000  # a conversation that is silent for so many packets is told and forgotten
_ROUND = 65_536  # how often that is looked at, in packets
_MAX_ALIKE = 8_192  # statements about flows that are kept to be shared by others like them
_BLOCK = 16  # packets of each flow that are looked at first: most conversations are over by then
_MORE = 16  # times as many at each further look
_UNNAMED: dict[str, tuple[str, ...]] = {}


class Known(NamedTuple):
    """What payloads said of a flow as a whole."""

    observability: Observability
    reason: str | None
    names: dict[str, tuple[str, ...]]
    told: int  # records so far
    secured: SecuredBy | None = None


class Analysis:
    """The flows of share `share` of `count`, and what their payloads tell. `kinds` limits the records made.
    Unless they are to be `whole`, those of HTTP/1 lack their headers."""

    def __init__(
        self, capture: str, kinds: frozenset[str], device: Collection[str], share: int = 0, count: int = 1,
        ring: KeyRing | None = None, *, bodies: bool = False, whole: bool = True,
        spans: Sequence[Span] = (),
    ) -> None:  # fmt: skip
        self.table = FlowTable(device)
        self.phased = Phased(spans)
        self.without_ip = 0  # packets
        self.known: list[Known | None] = []  # by row of the table
        self._alike: dict[tuple[object, ...], Known] = {}
        self._servers: dict[tuple[object, ...], Known | None] = {}  # by the hello's name and the certificate
        self.unknown_links: dict[int, int] = {}
        self.fragments = Fragments()
        self._kinds = kinds & PAYLOAD_KINDS
        self._ring = ring
        self._ledger = Ledger(capture, self._kinds, ring, bodies=bodies, whole=whole)
        self._talks: dict[int, Conversation] = {}
        self._datagrams: dict[int, Datagrams | Association] = {}
        self._share, self._shares = share, count
        self._looked = 0  # the packet before which it was looked what is silent

    @property
    def reads_payloads(self) -> bool:
        """Whether payloads are looked at."""
        return bool(self._kinds)

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
        packets, _, unknown = walk(batch)
        for link, packet_count in unknown.items():
            self.unknown_links[link] = self.unknown_links.get(link, 0) + packet_count
        self.without_ip += len(batch.start) - sum(unknown.values()) - len(packets)
        return self._packets(batch.data, packets, batch.number + len(batch.start))

    def dealt(self, dealt: Dealt) -> Said:
        """The same of packets that another process may have walked."""
        self.without_ip += dealt.without_ip
        return self._packets(dealt.data, dealt.packets, dealt.end)

    def shares(self, packets: Packets) -> I64:
        """Which share each packet's flow belongs to: the same for both directions."""
        divided = shares.by_ends if self._ring is None else shares.by_hosts
        return divided(packets, self._shares)

    def _packets(self, data: U8, packets: Packets, end: int) -> Said:
        """Read packets, of which the last is the one before packet `end`."""
        if not len(packets):
            return self._said()
        data, packets, counted = self.fragments.reassemble(data, packets)
        packets.carried[packets.part != WHOLE] = 0  # what fragments carry is read from their datagram
        if self._shares > 1:
            mine = self.shares(packets) == self._share
            if not mine.all():
                packets = packets.take(np.flatnonzero(mine))
                counted = None if counted is None else counted[mine]
            if not len(packets):
                return self._said()
        grouped = self.table.add(packets, counted)
        self.known += [None] * (self.table.count - len(self.known))
        self.phased.add(packets, grouped, counted)
        if self._kinds:
            self._tcp(data, packets, grouped)
            self._udp(data, packets, grouped)
            self._forget_quiet(end)
        return self._said()

    def finish(self, number: int) -> Said:
        """The capture ended before packet `number`: tell what is left."""
        for row in [*self._talks, *self._datagrams]:
            self._end(row, number)
        return self._said()

    def _said(self) -> Said:
        said, self._ledger.said = self._ledger.said, Said()
        return said

    # --- ends ------------------------------------------------------------------------------------

    def _forget_quiet(self, number: int) -> None:
        """End what has been silent too long before packet `number`."""
        if number // _ROUND == self._looked // _ROUND:
            return
        self._looked = number
        for live in (self._talks, self._datagrams):
            silent = [(row, ends) for row, one in live.items() if (ends := _forgotten(one.last)) <= number]
            for row, ends in silent:
                self._end(row, ends)

    def _end(self, row: int, number: int) -> None:
        live = self._talks.pop(row, None) or self._datagrams.pop(row)
        live.teller.number = number
        live.finish()
        self._learn(row, live.teller)
        self.table.stage[row] = UNTRIED
        self.table.tried[row] = 1

    def _learn(self, row: int, teller: Teller) -> None:
        reason: str | None
        observability, reason = teller.status or ("not_observed", "unknown protocol")
        if teller.lost and observability == "observed":
            reason = "lost"
        names = teller.named() if teller.names else _UNNAMED
        alike = observability, reason, teller.count, teller.opened, *names.items()
        known = self._alike.get(alike)
        if known is None:
            if len(self._alike) >= _MAX_ALIKE:
                self._alike.clear()
            known = self._alike[alike] = Known(observability, reason, names, teller.count, teller.opened)
        self.known[row] = known

    def _tellers(self, rows: I64) -> dict[int, Teller]:
        """A teller for each of these flows."""
        from audit.sources.pcap.telling import Teller

        table = self.table
        columns = (
            table.first_number,
            table.device_a,
            table.a_hi,
            table.a_lo,
            table.b_hi,
            table.b_lo,
            table.ports,
        )
        tellers = {}
        for row, number, device_a, a_hi, a_lo, b_hi, b_lo, ports in zip(
            rows.tolist(), *(column[rows].tolist() for column in columns), strict=True
        ):
            a, port_a = addresses.text(a_hi, a_lo), ports >> 32
            b, port_b = addresses.text(b_hi, b_lo), ports >> 16 & 0xFFFF
            ends: Ends = (a, port_a, b, port_b) if device_a else (b, port_b, a, port_a)
            tellers[row] = teller = Teller(self._ledger, number, bool(device_a), ends)
            known = self.known[row]
            if known is not None:
                teller.resume(known.told, known.names, (known.observability, known.reason))
                teller.opened = known.secured
        return tellers

    # --- TCP -------------------------------------------------------------------------------------

    def _tcp(self, data: U8, packets: Packets, grouped: Grouped) -> None:
        order, starts, rows, _ = grouped
        table = self.table
        stops = np.append(starts[1:], len(order))
        wanted = np.flatnonzero(
            (packets.proto[order[starts]] == TCP)
            & (table.stage[rows] != OVER)
            & ((table.payload_ab[rows] + table.payload_ba[rows] > 0) | (table.stage[rows] == TALKING))
        )
        if not len(wanted):
            return
        groups, at, passed = self._beginnings(data, packets, grouped, stops, wanted)
        if not len(groups):
            return
        if self._ring is not None:  # what a connection tells may open a later one
            turn = np.argsort(table.first_number[rows[groups]], kind="stable")
            groups, at, passed = groups[turn], at[turn], passed[turn]
        owners, ends = rows[groups], stops[groups]
        tellers = self._tellers(owners[table.stage[owners] != TALKING])
        view, limit = data.data, _BLOCK
        while len(owners):
            lengths = ends - at if self._ring is not None else np.minimum(ends - at, limit)
            lasts = np.cumsum(lengths)
            places = np.arange(lasts[-1]) + np.repeat(at - lasts + lengths, lengths)
            run = segments.run(packets, grouped, places, lasts - lengths)
            more = []
            for row, begin, end, skipped, start, stop in zip(
                owners.tolist(), at.tolist(), ends.tolist(), passed.tolist(), (lasts - lengths).tolist(),
                lasts.tolist(), strict=True,
            ):  # fmt: skip
                live = self._talks.get(row)
                if live is None:
                    expected = self._expected(row) if not skipped else (UNKNOWN, UNKNOWN)
                    if self._greeted(view, run, start, stop, row, tellers[row], expected):
                        more.append(False)
                        continue
                    live = self._converse(run, row, start, tellers[row], expected)
                goes_on = self._follow(data, view, packets, grouped, row, live, run, begin, start, stop, end)
                more.append(goes_on and begin + stop - start < end)
            left = np.array(more, dtype=np.bool_)
            owners, at, ends, passed = owners[left], (at + lengths)[left], ends[left], passed[left]
            limit *= _MORE

    def _beginnings(
        self, data: U8, packets: Packets, grouped: Grouped, stops: I64, wanted: I64
    ) -> tuple[I64, I64, I64]:
        """Which of the wanted groups are worth reading, where in the order to begin with each, and how many
        payloads were passed over before."""
        order, starts, rows, _ = grouped
        table = self.table
        talking = table.stage[rows[wanted]] == TALKING
        going, untried = wanted[talking], wanted[~talking]
        if not len(untried):
            return going, starts[going], np.zeros(len(going), dtype=np.int64)
        lengths = stops[untried] - starts[untried]
        group = np.repeat(np.arange(len(untried)), lengths)
        first = np.cumsum(lengths) - lengths
        place = np.arange(len(group)) - first[group] + starts[untried][group]
        filled = packets.carried[order[place]] > 0
        group, place = group[filled], place[filled]
        opens = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(group)) - np.repeat(opens, np.diff(np.append(opens, len(group))))
        rank += table.tried[rows[untried[group]]]
        few = np.flatnonzero(rank < payloads.TRIES)
        telling = few[payloads.telling_tcp(data, packets, order[place[few]], self._kinds)]
        chosen, index = np.unique(group[telling], return_index=True)
        rest = np.ones(len(untried), dtype=np.bool_)
        rest[chosen] = False
        owners = rows[untried[rest]]
        table.tried[owners] += np.bincount(group, minlength=len(untried))[rest]
        table.stage[owners[table.tried[owners] >= payloads.TRIES]] = OVER
        begun = telling[index]
        return (
            np.append(going, untried[chosen]),
            np.append(starts[going], place[begun]),
            np.append(np.zeros(len(going), dtype=np.int64), rank[begun]),
        )

    def _follow(
        self, data: U8, view: memoryview, packets: Packets, grouped: Grouped, row: int, live: Conversation,
        run: segments.Run, at: int, start: int, stop: int, end: int,
    ) -> bool:  # fmt: skip
        """Let a conversation go on over the packets of a run from `start` to `stop`, which in the order begin
        `at` and of which more follow up to `end`; whether it has more to say."""
        teller = live.teller
        (
            numbers,
            times,
            sides,
            flags,
            sequences,
            acknowledged,
            places,
            carried,
            sent,
            total,
            last,
            following,
        ) = run
        careful = numbers[stop - 1] - live.last >= _QUIET
        index = start
        while index < stop:
            if careful:
                number = numbers[index]
                if number - live.last >= _QUIET and number >= _forgotten(live.last):
                    self._end(row, _forgotten(live.last))
                    self._tcp(data, packets, _rest(grouped, row, at + index - start, end))
                    return False
                live.last = number
            if not live.waits:
                following_one = following[index]
                if following_one != index:  # packets that carry nothing matter only while a hole is open
                    index = index + 1 if careful else following_one
                    continue
                until = last[index]
                if until >= 0:
                    side, size = sides[index], sent[index]
                    room = live.room(side, sequences[index])
                    if room >= size:
                        before = total[index] - size
                        if careful:
                            until = index
                        elif total[until] - before > room:
                            until = bisect_right(total, before + room, index, until) - 1
                        live.skip(side, total[until] - before)
                        index = until + 1
                        continue
            teller.number = numbers[index]
            time = times[index]
            teller.time = None if time == NO_TIME else time / 1e9
            place, size = places[index], carried[index]
            live.packet(
                sides[index],
                flags[index],
                sequences[index],
                acknowledged[index],
                bytes(view[place : place + size]),
                sent[index] - size,
            )
            index += 1
            if live.done:
                self._learn(row, teller)
                del self._talks[row]
                self.table.stage[row] = OVER
                return False
        live.last = numbers[stop - 1]
        return True

    def _expected(self, row: int) -> tuple[int, int]:
        """The sequence numbers of the first bytes of a connection's sides, as their SYNs told them."""
        isn, answer = self.table.isn.item(row), self.table.isn_answer.item(row)
        opener = isn + 1 & 0xFFFFFFFF if isn >= 0 else UNKNOWN
        other = answer + 1 & 0xFFFFFFFF if answer >= 0 else UNKNOWN
        return (opener, other) if self.table.opener_a.item(row) else (other, opener)

    def _greeted(
        self, view: memoryview, run: segments.Run, start: int, stop: int, row: int, teller: Teller,
        expected: tuple[int, int],
    ) -> bool:  # fmt: skip
        """Tell a TLS connection that begins as nearly all of them do; whether it is one."""
        if view[run.place[start]] != payloads.TLS_HANDSHAKE or self._ring is not None:
            return False
        if run.number[stop - 1] - run.number[start] >= _QUIET:
            return False
        from audit.sources.pcap import greetings

        greeting = greetings.read(run, start, stop, view, expected)
        if greeting is None:
            return False
        time = run.time[greeting.place]
        teller.number = run.number[greeting.place]
        teller.time = None if time == NO_TIME else time / 1e9
        self.table.stage[row] = OVER
        hello = greeting.hello
        server = hello.sni, hello.ech, greeting.names
        familiar = self._servers.get(server) if self.known[row] is None else None
        if familiar is not None:  # what its flow is called was made out before
            teller.greeting(run.side[start], hello, "tls")
            self.known[row] = familiar
            return True
        teller.hello(run.side[start], hello, "tls")
        for name in greeting.names:
            teller.name("certificate", name)
        first = self.known[row] is None
        self._learn(row, teller)
        if first:
            if len(self._servers) >= _MAX_ALIKE:
                self._servers.clear()
            self._servers[server] = self.known[row]
        return True

    def _converse(
        self, run: segments.Run, row: int, at: int, teller: Teller, expected: tuple[int, int]
    ) -> Conversation:
        """A new conversation that begins with the packet at this place of a run."""
        from audit.sources.pcap.conversation import Conversation

        side, sequence = run.side[at], run.sequence[at]
        known = expected[side]
        if known != UNKNOWN and (sequence - known) & 0xFFFFFFFF > 1 << 20:
            expected = (sequence, expected[1]) if side == 0 else (expected[0], sequence)
        live = self._talks[row] = Conversation(teller, expected)
        live.last = run.number[at]
        self.table.stage[row] = TALKING
        return live

    # --- UDP -------------------------------------------------------------------------------------

    def _udp(self, data: U8, packets: Packets, grouped: Grouped) -> None:
        order, starts, rows, ab = grouped
        lengths = np.diff(np.append(starts, len(order)))
        proto = packets.proto[order]
        chosen = ((proto == UDP) | (proto == SCTP)) & (packets.carried[order] > 0)
        places = np.flatnonzero(chosen)
        if not len(places):
            return
        wanted = self._kinds | {"tls"} if self._ring is not None else self._kinds
        kinds = payloads.telling_udp(data, packets, order[places], wanted)
        kinds[proto[places] == SCTP] = payloads.SCTP
        owners = np.repeat(rows, lengths)[places]
        if self._ring is not None and self._ring.hopeful:
            self._rest_of_quic(data, packets.payload[order[places]], owners, kinds)
        kept = kinds > 0
        if "dns" in self._kinds:
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
        fresh = np.array([row for row in touched if row not in self._datagrams], dtype=np.int64)
        for row, teller in self._tellers(fresh).items():
            ports = int(self.table.ports[row])
            self._datagrams[row] = (
                Association(teller)
                if touched[row] == payloads.SCTP
                else Datagrams(teller, (ports >> 32, ports >> 16 & 0xFFFF))
            )
        for row, kind, forth, number, time, at, size in zip(
            owners.tolist(), kinds.tolist(), ab[places].tolist(), packets.number[which].tolist(),
            packets.time[which].tolist(), packets.payload[which].tolist(), packets.carried[which].tolist(),
            strict=True,
        ):  # fmt: skip
            live = self._datagrams[row]
            live.teller.number = live.last = number
            live.teller.time = None if time == NO_TIME else time / 1e9
            live.packet(0 if forth else 1, kind, data[at : at + size].tobytes())
        for row in touched:
            if self._datagrams[row].stateless:
                self._learn(row, self._datagrams.pop(row).teller)

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
            datagrams.carrier_of(port >> 32, port >> 16 & 0xFFFF) for port in self.table.ports[rows].tolist()
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
            self._tellers(rows).items(), carriers, sizes.tolist(), strict=True
        ):
            end = at + size
            good = None not in said[at:end] and row not in self._datagrams
            told.append(good)
            if good:
                lookups.tell(self._ledger, teller, carrier, sent[at:end], said[at:end])
                self._learn(row, teller)
            at = end
        return mine[np.repeat(np.array(told, dtype=np.bool_), sizes)]

    def _rest_of_quic(self, data: U8, at: I64, owners: I64, kinds: U8) -> None:
        """Choose also the packets of QUIC connections that may be opened, which have no telling first bytes,
        and those that may belong to one whose device has moved."""
        from audit.sources.pcap.datagrams import Datagrams

        opened = [
            row for row, live in self._datagrams.items() if isinstance(live, Datagrams) and live.wants_all
        ]
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


def _rest(grouped: Grouped, row: int, at: int, stop: int) -> Grouped:
    """The part of a group from `at` on as the only one."""
    return Grouped(grouped.order[at:stop], np.zeros(1, np.int64), np.array([row]), grouped.ab[at:stop])


def _forgotten(last: int) -> int:
    """The packet at which a conversation is forgotten whose last packet was `last`. Packets are counted
    because the clocks of captures jump."""
    return ((last + _QUIET) // _ROUND + 1) * _ROUND
