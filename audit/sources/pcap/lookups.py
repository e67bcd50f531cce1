"""DNS lookups over UDP, many at once: the datagrams of flows that carry nothing else, without a reader for each.

A message is read once however often it is sent. Where a message asks nothing or cannot be read, its whole flow
is left to `datagrams`, which knows what else it may be. Specification: see `audit.protocols.dns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from audit.protocols import dns
from audit.protocols.malformed import Malformed
from audit.records import Dns
from audit.sources.pcap.ledger import Ledger
from audit.sources.pcap.telling import LOCAL, Carrier, Teller, given_names, told_answers, type_name

Sent = tuple[int, float | None, int]
"""Number and time of a packet, and the side that sent it."""

_MAX_KEPT = 1_500  # bytes of a message that is kept in case it comes again


class Lookup(NamedTuple):
    """A DNS message: what is told of each of its questions (a record's values behind `direction`), and the
    addresses that names were given: each before its name, and before whose it is as the answer writes it."""

    questions: tuple[tuple[str, str, bool, tuple[str, ...], str], ...]
    resolved: tuple[tuple[str, str, str], ...]


_NOTHING = Lookup((), ())


def lookup(message: bytes, carrier: Carrier) -> Lookup | None:
    """What a message without its id says; None if it asks nothing or cannot be read."""
    return _kept(message, carrier) if len(message) <= _MAX_KEPT else _read(message, carrier)


def _read(message: bytes, carrier: Carrier) -> Lookup | None:
    try:
        read = dns.parse(b"\0\0" + message, nbns=carrier == "nbns")
    except Malformed:
        return None
    if not read.questions:
        return None
    answers = told_answers(read)
    return Lookup(
        tuple(
            [
                (one.name, type_name(one.type, carrier), read.response, answers, carrier)
                for one in read.questions
            ]
        ),
        tuple(given_names(read, carrier)),
    )


_kept = lru_cache(maxsize=4_096)(_read)


def tell(
    ledger: Ledger, teller: Teller, carrier: Carrier, sent: Sequence[Sent], said: Sequence[Lookup | None]
) -> None:
    """Tell the lookups of one flow: how each was sent, and what it says."""
    rows, add = ledger.said.rows[Dns], ledger.resolved.add
    first, ends, count, local = teller.first, teller.ends, teller.count, LOCAL.get(carrier)
    for (number, time, side), one in zip(sent, said, strict=True):
        questions, resolved = one or _NOTHING
        direction = teller.direction(side)
        for question in questions:
            rows.append((number, first, count, time, *ends, None, direction, *question))
            count += 1
        for address, name, owner in resolved:
            add(number, address, name)
            if local and address == ends[0]:
                teller.count, teller.number, teller.time = count, number, time
                teller.calls_itself(side, owner, local)
                count = teller.count
    teller.count = count
    teller.observed("observed")
