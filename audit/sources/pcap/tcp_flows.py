"""TCP flows: from which packet on each is worth reading, and its way to `greetings` or to a conversation.

A flow is tried at its first payloads, many at once; only those that begin like something that can be read are
followed, packet by packet, until they have nothing more to say.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from audit.sources.pcap import payloads, segments
from audit.sources.pcap.batch import I64, NO_TIME, U8, Bools
from audit.sources.pcap.flows import Grouped
from audit.sources.pcap.knowledge import MAX_ALIKE, Knowledge, Known
from audit.sources.pcap.live_flows import OVER, QUIET, TALKING, LiveFlows, forgotten
from audit.sources.pcap.packets import TCP, Packets
from audit.sources.pcap.streams import UNKNOWN

if TYPE_CHECKING:  # imported when there is a payload to read
    from audit.sources.pcap.conversation import Conversation
    from audit.sources.pcap.decryption.ring import KeyRing
    from audit.sources.pcap.telling import Teller

_BLOCK = 16  # packets of each flow that are looked at first: most conversations are over by then
_EARLY = 1 << 16  # bytes that may be missing before a packet that came early
_SYN = 0x02
_MORE = 16  # times as many at each further look


class TcpFlows(LiveFlows["Conversation"]):
    """The TCP flows that are being read."""

    def __init__(self, knowledge: Knowledge, ring: KeyRing | None) -> None:
        super().__init__(knowledge, ring)
        self._servers: dict[tuple[object, ...], Known | None] = {}  # by the hello's name and the certificate

    def read(self, data: U8, packets: Packets, grouped: Grouped) -> None:
        """Read the TCP packets among those of a batch."""
        order, starts, rows, _ = grouped
        table = self._table
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
        tellers = self._knowledge.tellers(owners[table.stage[owners] != TALKING])
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
                live = self._live.get(row)
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
        table = self._table
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
        sizes = np.diff(np.append(opens, len(group)))
        index = np.arange(len(group)) - np.repeat(opens, sizes)
        from_a, owner = grouped.ab[place], rows[untried[group]]
        sent_a = np.cumsum(from_a) - from_a
        sent_a -= np.repeat(sent_a[opens], sizes)
        tried_a, tried_b = table.tried_a[owner], table.tried_b[owner]
        rank = np.where(from_a, sent_a + tried_a, index - sent_a + tried_b)
        before = index + tried_a + tried_b
        few = np.flatnonzero((rank < payloads.TRIES) & (before < payloads.ALONE))
        candidates = place[few]
        telling = few[
            payloads.telling_tcp(data, packets, order[candidates])
            | ((rank[few] == 0) & self._early(packets, grouped, candidates, rows[untried[group[few]]]))
        ]
        chosen, which = np.unique(group[telling], return_index=True)
        begun = telling[which]
        until = np.full(len(untried), len(group), dtype=np.int64)
        until[chosen] = begun
        over = (np.arange(len(group)) < until[group]) & (packets.carried[order[place]] > 1)
        table.partly[rows[untried[group[over]]]] = 1  # a single byte keeps a connection alive
        rest = np.ones(len(untried), dtype=np.bool_)
        rest[chosen] = False
        owners = rows[untried[rest]]
        for tried, mine in ((table.tried_a, from_a), (table.tried_b, ~from_a)):
            tried[owners] += np.bincount(group[mine], minlength=len(untried))[rest]
        a, b = table.tried_a[owners], table.tried_b[owners]
        table.stage[owners[(np.minimum(a, b) >= payloads.TRIES) | (a + b >= payloads.ALONE)]] = OVER
        return (
            np.append(going, untried[chosen]),
            np.append(starts[going], place[begun]),
            np.append(np.zeros(len(going), dtype=np.int64), before[begun]),
        )

    def _early(self, packets: Packets, grouped: Grouped, places: I64, rows: I64) -> Bools:
        """Which packets, at these places of the order, came before others of the side that opened the connection:
        something is missing between the SYN with which it began and them."""
        table = self._table
        opener_a, isn = table.opener_a[rows] != 0, table.isn[rows]
        opened = (isn >= 0) & (np.where(opener_a, table.begun_a[rows], table.begun_b[rows]) == isn)
        ahead = packets.seq[grouped.order[places]] - isn - 1 & 0xFFFFFFFF
        return np.asarray(opened & (grouped.ab[places] == opener_a) & (ahead > 0) & (ahead <= _EARLY))

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
        careful = numbers[stop - 1] - live.last >= QUIET
        index = start
        while index < stop:
            if careful:
                number = numbers[index]
                if number - live.last >= QUIET and number >= forgotten(live.last):
                    self.end(row, forgotten(live.last))
                    self.read(data, packets, _rest(grouped, row, at + index - start, end))
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
                self._knowledge.learn(row, teller)
                del self._live[row]
                self._table.stage[row] = OVER
                return False
        live.last = numbers[stop - 1]
        return True

    def _expected(self, row: int) -> tuple[int, int]:
        """The sequence numbers of the first bytes of a connection's sides, as their SYNs told them."""
        isn, answer = self._table.isn.item(row), self._table.isn_answer.item(row)
        opener = isn + 1 & 0xFFFFFFFF if isn >= 0 else UNKNOWN
        other = answer + 1 & 0xFFFFFFFF if answer >= 0 else UNKNOWN
        return (opener, other) if self._table.opener_a.item(row) else (other, opener)

    def _greeted(
        self, view: memoryview, run: segments.Run, start: int, stop: int, row: int, teller: Teller,
        expected: tuple[int, int],
    ) -> bool:  # fmt: skip
        """Tell a TLS connection that begins as nearly all of them do; whether it is one."""
        if view[run.place[start]] != payloads.TLS_HANDSHAKE or self._ring is not None:
            return False
        if run.number[stop - 1] - run.number[start] >= QUIET:
            return False
        from audit.sources.pcap import greetings

        greeting = greetings.read(run, start, stop, view, expected)
        if greeting is None:
            return False
        time = run.time[greeting.place]
        teller.number = run.number[greeting.place]
        teller.time = None if time == NO_TIME else time / 1e9
        self._table.stage[row] = OVER
        hello = greeting.hello
        server = hello.sni, hello.ech, greeting.names
        familiar = self._servers.get(server) if self._knowledge.of[row] is None else None
        if familiar is not None:  # what its flow is called was made out before
            teller.greeting(run.side[start], hello, "tls")
            self._knowledge.of[row] = familiar
            return True
        teller.hello(run.side[start], hello, "tls")
        for name in greeting.names:
            teller.name("certificate", name)
        first = self._knowledge.of[row] is None
        self._knowledge.learn(row, teller)
        if first:
            if len(self._servers) >= MAX_ALIKE:
                self._servers.clear()
            self._servers[server] = self._knowledge.of[row]
        return True

    def _converse(
        self, run: segments.Run, row: int, at: int, teller: Teller, expected: tuple[int, int]
    ) -> Conversation:
        """A new conversation that begins with the packet at this place of a run."""
        from audit.sources.pcap.conversation import Conversation

        side, sequence = run.side[at], run.sequence[at]
        if run.flags[at] & _SYN:  # with data (RFC 7413)
            sequence = sequence + 1 & 0xFFFFFFFF
        known = expected[side]
        if known != UNKNOWN and (sequence - known) & 0xFFFFFFFF > 1 << 20:
            expected = (sequence, expected[1]) if side == 0 else (expected[0], sequence)
        live = self._live[row] = Conversation(teller, expected)
        live.last = run.number[at]
        self._table.stage[row] = TALKING
        return live


def _rest(grouped: Grouped, row: int, at: int, stop: int) -> Grouped:
    """The part of a group from `at` on as the only one."""
    return Grouped(grouped.order[at:stop], np.zeros(1, np.int64), np.array([row]), grouped.ab[at:stop])
