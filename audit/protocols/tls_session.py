"""A TLS connection as seen from aside by someone who may hold its secrets: both directions in, content out.

RFC 5246 and before (one change of keys per handshake, renegotiation), RFC 5077 and RFC 5246 7.3 (resumed sessions),
RFC 7627, RFC 7366, RFC 8446 (early, handshake and traffic secrets, key updates, resumption and 0-RTT). A secret
counts only once a record authenticated with it. After a loss, reading goes on at the next record
that authenticates under a number that is still possible. Must never hand on a byte that did not
authenticate, hold records for long, or try for ever: failed attempts are paid from a budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from audit.protocols import key_log, tls
from audit.protocols.key_log import Keys, Origin, Secret
from audit.protocols.malformed import Malformed
from audit.protocols.tls_protection import (
    TLS10,
    TLS12,
    TLS13,
    Block,
    Protection,
    Stream,
    master_secret,
    of_master_secret,
    of_traffic_secret,
    renewed,
)
from audit.protocols.tls_suites import SUITES, modern

MAX_HELD = 64 << 10
"""Bytes of protected records kept, per direction, while the secrets to open them are still awaited."""
MAX_TRANSCRIPT = 64 << 10
MAX_RESUMABLE = 4_096
MAX_SLACK = 256
"""Records that may have been lost in a row and are reckoned with when the next one is tried."""
FREE_BUDGET: Final = 16 << 20
"""Bytes of failed attempts that a direction may cost whose secrets proved right or that may hold early data; a quarter
of what was opened comes on top."""
UNPROVEN_BUDGET: Final = 256 << 10
"""Bytes that it may cost before, so that secrets which are all wrong take no longer than right ones."""
_ATTEMPT = 2_048  # what a failed attempt costs besides its bytes
_SEARCHED = 512  # connections of the key log that are tried where a hello was lost
_FAILURES = 4  # records in a row that nothing opens, before any content was: the secrets are of another

_ENCRYPT_THEN_MAC, _EXTENDED_MASTER, _TICKET = 22, 23, 35
_NEW_TICKET, _ENCRYPTED_EXTENSIONS, _KEY_EXCHANGE, _KEY_UPDATE = 4, 8, 16, 24


class Data(NamedTuple):
    """Content that one side sent."""

    server: bool
    data: bytes


class Missing(NamedTuple):
    """Content of about `size` bytes is missing here; exact where the records' sizes are known."""

    server: bool
    size: int


class Alpn(NamedTuple):
    """The protocol agreed on for what is inside."""

    name: str


Event = tls.ClientHello | tls.ServerHello | tls.Certificate | Data | Missing | Alpn


class Resumable:
    """Master secrets of earlier sessions by session id or ticket, for those resumed later (TLS 1.2 and before)."""

    def __init__(self) -> None:
        self._masters: dict[bytes, tuple[Secret, ...]] = {}

    def remember(self, name: bytes, masters: tuple[Secret, ...]) -> None:
        """A session with one of these secrets may be resumed under this id or ticket."""
        if name and masters:
            self._masters.pop(name, None)
            self._masters[name] = masters
            if len(self._masters) > MAX_RESUMABLE:
                del self._masters[next(iter(self._masters))]

    def find(self, name: bytes) -> tuple[Secret, ...]:
        """The secrets one of which the session had."""
        return self._masters.get(name, ())


class _Candidate(NamedTuple):
    """Keys that may be the ones. `secret` is the traffic secret of TLS 1.3, empty before."""

    protection: Protection
    origin: Origin
    secret: bytes
    suite: int
    epoch: int
    random: bytes


_EARLY, _HANDSHAKE, _TRAFFIC, _BEFORE_13 = range(4)
_CONTENT = (_TRAFFIC, _BEFORE_13)
_LOST = -1  # the kind of what stands among the records that wait for as many lost ones as its version says


class _Side:
    """One direction: its records, and the keys in use."""

    __slots__ = (
        "budget", "changed", "closed", "current", "end", "failed", "good", "handshakes", "held", "known", "need", "next",
        "number", "pieces", "proven", "records", "size", "slack", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.records = tls.Records()
        self.handshakes = tls.Handshakes()
        self.pieces: list[bytes] = []
        self.size = self.need = 0
        self.changed = False
        self.closed = False  # the secrets at hand do not open its content
        self.budget = UNPROVEN_BUDGET
        self.proven = False
        self.waiting: list[tuple[int, bool, tls.Record]] = []  # protected records that nothing can open yet
        self.held = 0
        self.current: _Candidate | None = None
        self.next: list[_Candidate] = []  # keys that may come into use
        self.known = -1  # how many secrets there were when `next` was made
        self.number = 0
        self.slack = 0  # records that may have been lost since the last one that was opened
        self.failed = 0  # records in a row that could not be opened
        self.end = -1  # offset behind the last record opened
        self.good = 0


class Session:
    """Both directions of one connection; `server` says which of them is fed.

    `opened` is where the secrets that fit came from, None as long as none did. `refused` says why nothing
    more will be opened, "" as long as something may.
    """

    def __init__(self, keys: Keys, resumable: Resumable) -> None:
        self._keys = keys
        self._resumable = resumable
        self._sides = (_Side(), _Side())
        self._client: tls.ClientHello | None = None
        self._server: tls.ServerHello | None = None
        self._random = b""
        self._ticket = b""
        self._masters: tuple[Secret, ...] = ()
        self._premasters: tuple[Secret, ...] = ()
        self._transcript = b""
        self._kept = True
        self._turn = 0
        self._retried = False  # the server asked for another ClientHello
        self._assumed = 0  # the suite, where no ServerHello was recorded
        self.opened: Origin | None = None
        self.refused = ""
        self.unread = 0
        """Records that were there, or may have been, and could not be opened."""

    @property
    def client_random(self) -> bytes:
        """That of the last ClientHello, empty before."""
        return self._random

    @property
    def cut(self) -> bool:
        """Whether records are missing behind the last one that was opened."""
        return any(side.slack for side in self._sides)

    @property
    def sealed(self) -> bool:
        """Whether both directions have gone over to protected records."""
        return all(side.changed or side.waiting or side.current for side in self._sides)

    def feed(self, data: bytes, server: bool) -> list[Event]:
        """What these bytes of one direction say.

        Raises Malformed if the first bytes of the direction are no TLS.
        """
        side = self._sides[server]
        if side.pieces or side.need > len(data):
            side.pieces.append(data)
            side.size += len(data)
            if side.size < side.need:
                return []
            data = b"".join(side.pieces)
            side.pieces.clear()
            side.size = 0
        events: list[Event] = []
        for record in side.records.feed(data):
            self._record(side, server, record, events)
        side.need = side.records.missing
        return events

    def gap(self, size: int, server: bool) -> list[Event]:
        """`size` bytes of one direction are missing here."""
        side = self._sides[server]
        events: list[Event] = []
        if size <= 0:
            return events
        if side.pieces:
            rest, side.pieces, side.size = b"".join(side.pieces), [], 0
            for record in side.records.feed(rest):
                self._record(side, server, record, events)
        begun = side.handshakes.finish()
        if (
            begun is not None
            and begun.kind == tls.CLIENT_HELLO
            and len(begun.body) >= 34
            and not self._random
        ):
            self._random = begun.body[2:34]
            self._keys.meet(self._random)
        lost = side.records.gap(size)
        side.need = 0
        if lost:
            self._slacken(side, server, 1)
            if side.current and isinstance(side.current.protection, Stream):
                side.current.protection.passed(lost)
        elif lost is None:
            self._slacken(side, server, 1 + size // 22)
            if side.current and isinstance(side.current.protection, Stream):
                self.refused = "records were lost, and RC4 cannot be read behind them"
        return events

    def _slacken(self, side: _Side, server: bool, records: int) -> None:
        """So many records may have been lost here, behind those that still wait."""
        if side.waiting:
            self._turn += 1
            side.waiting.append((self._turn, server, tls.Record(_LOST, min(records, MAX_SLACK), b"", 0)))
        else:
            side.slack = min(side.slack + records, MAX_SLACK)

    def finish(self, server: bool) -> list[Event]:
        """One direction ended."""
        side = self._sides[server]
        events: list[Event] = []
        if side.pieces:
            rest, side.pieces, side.size = b"".join(side.pieces), [], 0
            for record in side.records.feed(rest):
                self._record(side, server, record, events)
        cut = side.records.finish()
        if cut is not None and cut.kind == tls.HANDSHAKE and not side.changed and not side.current:
            self._messages(side, server, cut.body, events)
        elif cut is not None and side.current:
            side.slack = max(side.slack, 1)
        if begun := side.handshakes.finish():
            self._message(side, server, begun, events)
        if side.waiting:
            self._wait_no_longer(events)
        if side.closed and self.opened is None and not self.refused:
            self.refused = self._why()
        return events

    # --- records -----------------------------------------------------------------------------------

    def _record(self, side: _Side, server: bool, record: tls.Record, events: list[Event]) -> None:
        if record.kind == _LOST:
            self._slacken(side, server, record.version)
            return
        current = side.current
        if current is not None:
            opened = current.protection.open(record.kind, record.version, record.body, side.number)
            if opened is not None:
                side.number += 1
                side.slack = 0
                side.end = record.offset + 5 + len(record.body)
                side.good += len(record.body)
                if opened.kind == tls.APPLICATION_DATA:
                    if opened.content:
                        events.append(Data(server, opened.content))
                else:
                    self._inner(side, server, opened.kind, opened.content, events)
                return
        kind = record.kind
        modern_ = self._server is not None and self._server.version == TLS13
        if self._server is None and not self._retried and (side.waiting or kind == tls.CHANGE_CIPHER_SPEC):
            # the ServerHello, which says what this is, is late or lost
            self._hold(side, server, record, events)
            return
        if kind == tls.CHANGE_CIPHER_SPEC and (modern_ or current is None):
            if self._server is not None and not modern_ and not side.changed:
                self._change(side)
            return
        if kind == tls.APPLICATION_DATA or side.changed or (current is not None and not modern_):
            self._protected(side, server, record, events)
        elif kind == tls.HANDSHAKE:
            self._messages(side, server, record.body, events)

    def _change(self, side: _Side) -> None:
        """The side takes its new keys into use (before TLS 1.3)."""
        side.changed = True
        side.closed = False
        side.handshakes.gap()
        side.current, side.next, side.known = None, [], -1
        side.number = side.slack = side.failed = 0
        side.end = -1
        side.good = 0

    def _protected(self, side: _Side, server: bool, record: tls.Record, events: list[Event]) -> None:
        """A record that must be opened before it says anything."""
        if self.refused or (side.closed and side.known == self._keys.count):
            self.unread += 1
            return
        if side.closed:
            side.closed, side.failed = False, 0
        if side.waiting or not self._ready(side):
            self._hold(side, server, record, events)
        else:
            self._open(side, server, record, events)

    def _hold(self, side: _Side, server: bool, record: tls.Record, events: list[Event]) -> None:
        """Keep a record until there are keys for it."""
        self._turn += 1
        side.waiting.append((self._turn, server, record))
        side.held += len(record.body)
        if side.held > MAX_HELD or len(side.waiting) > MAX_SLACK:
            self._wait_no_longer(events)
        elif self._server is not None and self._ready(side):
            for _, _, waiting in _taken(side):
                self._open(side, server, waiting, events)

    def _ready(self, side: _Side) -> bool:
        """Whether there are keys to try. Secrets may come late: each time there are more, they are looked at."""
        if side.known != self._keys.count:
            side.known = self._keys.count
            side.next = [*self._candidates(server=side is self._sides[1])]
            current = side.current
            if current is not None:
                side.next = [one for one in side.next if one.epoch > current.epoch]
        return bool(side.next) or side.current is not None

    def _wait_no_longer(self, events: list[Event]) -> None:
        """Open what waits, of both sides in the order it came, with the keys there are or can be guessed."""
        for side in self._sides:
            if side.waiting and not self._ready(side):
                side.next = self._search(side is self._sides[1])
                if not side.next:
                    lost = sum(record.version if record.kind == _LOST else 1 for _, _, record in _taken(side))
                    self.unread += lost
                    side.slack = min(side.slack + lost, MAX_SLACK)
                    if not self.refused and self.opened is None:
                        self.refused = self._why()
        for _, server, record in sorted(_taken(*self._sides)):
            if record.kind != tls.CHANGE_CIPHER_SPEC:
                self._open(self._sides[server], server, record, events)

    def _why(self) -> str:
        if any(side.closed for side in self._sides):
            return "the secrets given for it do not open it"
        if self._server is not None and self._server.version != TLS13 and self._server.cipher not in SUITES:
            return f"cipher suite {self._server.cipher:#06x} is not known here"
        if not self._random:
            return "its beginning was not recorded"
        if self._server is None and self._keys.knows(self._random):
            return "its ServerHello was not recorded"
        return "no secret of this connection was given"

    def _open(self, side: _Side, server: bool, record: tls.Record, events: list[Event]) -> None:
        kind, version, body, offset = record
        if kind == _LOST:
            self._slacken(side, server, version)
            return
        if self.refused:
            self.unread += 1
            return
        if side.slack:
            side.slack = min(side.slack, MAX_SLACK)
        for candidate, number in self._attempts(side):
            opened = candidate.protection.open(kind, version, body, number)
            if opened is None:
                side.budget -= len(body) + _ATTEMPT
                if side.budget < 0:
                    break
                continue
            if lost := self._lost(side, candidate, number, offset):
                side.handshakes.gap()
                events.append(Missing(server, lost))
            if candidate is not side.current:
                side.next = [
                    one for one in side.next if one.epoch > candidate.epoch and one.random == candidate.random
                ]
                self._settled(candidate)
            side.current = candidate
            side.number = number + 1
            side.slack = side.failed = 0
            side.end = offset + 5 + len(body)
            if candidate.epoch in _CONTENT:
                _afford(side)
            side.budget += (len(body) + _ATTEMPT) // 4
            self.opened = self.opened or candidate.origin
            if opened.kind == tls.APPLICATION_DATA:
                if opened.content:
                    events.append(Data(server, opened.content))
                    side.good += 1
            else:
                self._inner(side, server, opened.kind, opened.content, events)
            return
        self.unread += 1
        side.failed += 1
        side.slack += 1
        for tried in (side.current, *side.next):
            if tried is not None and isinstance(tried.protection, Block):
                tried.protection.chained(body)
        hopeless = side.failed >= _FAILURES and not self._early and not side.proven
        if hopeless or side.budget < 0:
            side.closed = True
            if self.opened is None and all(one.closed for one in self._sides):
                self.refused = self._why()

    def _attempts(self, side: _Side) -> Iterator[tuple[_Candidate, int]]:
        """Keys and record numbers that are possible for the next record, the likeliest first."""
        current = side.current
        slack = side.slack
        for lost in range(slack + 1):
            if current is not None:
                yield current, side.number + lost
            for candidate in side.next:
                yield candidate, lost
        if current is not None and current.epoch == _TRAFFIC and slack:
            later = _after_update(current)
            for number in range(slack + 1):
                yield later, number

    def _lost(self, side: _Side, candidate: _Candidate, number: int, offset: int) -> int:
        """About how many bytes of content were lost before the record at `offset`, which was opened as the
        `number`th under these keys."""
        if side.end < 0 and not side.slack:
            return 0
        same = candidate is side.current
        first = side.number if same else 1 if candidate.epoch == _BEFORE_13 else 0
        records = number - first
        between = offset - side.end if side.end >= 0 else records * 22 + 1
        if records <= 0 and (same or not side.good or between <= 0):
            return 0
        suite = SUITES[candidate.suite]
        tag = 8 if suite.bulk == "ccm8" else 16
        explicit = 8 if suite.bulk in ("gcm", "ccm", "ccm8") else 0
        overhead = 5 + tag + (explicit if candidate.epoch == _BEFORE_13 else 1)
        return max(between - records * overhead, 1)

    # --- keys --------------------------------------------------------------------------------------

    def _candidates(self, *, server: bool) -> Iterator[_Candidate]:
        """All keys the secrets at hand give for one direction."""
        hello = self._server
        if hello is None:
            if self._assumed:
                yield from self._modern(self._random, (self._assumed,), server=server)
        elif hello.version == TLS13:
            yield from self._modern(self._random, (hello.cipher,), server=server)
        elif self._sides[server].changed or self._sides[server].slack:
            self._masters = self._possible_masters()
            yield from self._classic(self._random, self._masters, server=server)

    def _modern(
        self, random: bytes, suites: tuple[int, ...], *, server: bool, most: int = 2 * key_log.MAX_SAME
    ) -> Iterator[_Candidate]:
        """TLS 1.3: early data may be under another suite than the one agreed on. At most so many of each kind."""
        if not server:
            for secret in self._keys.find(key_log.EARLY, random)[:most]:
                yield from _under(secret, (*suites, *modern(secret.value)), _EARLY, random)
        for secret in self._keys.find(key_log.HANDSHAKE[server], random)[:most]:
            yield from _under(secret, suites or modern(secret.value), _HANDSHAKE, random)
        for secret in self._keys.find(key_log.TRAFFIC[server], random)[:most]:
            yield from _under(secret, suites or modern(secret.value), _TRAFFIC, random)

    def _classic(self, random: bytes, masters: tuple[Secret, ...], *, server: bool) -> Iterator[_Candidate]:
        hello = self._server
        if hello is None:
            return
        for master in masters:
            try:
                both = of_master_secret(
                    hello.version, hello.cipher, master.value, random, hello.random,
                    encrypt_then_mac=_ENCRYPT_THEN_MAC in hello.extensions,
                )  # fmt: skip
            except Malformed:
                return
            yield _Candidate(both[server], master.origin, master.value, hello.cipher, _BEFORE_13, random)

    def _possible_masters(self) -> tuple[Secret, ...]:
        """The master secrets that may be the connection's: logged as such, derived, or of the session that
        is resumed."""
        hello, keys = self._server, self._keys
        if hello is None:
            return ()
        found = [*keys.find(key_log.MASTER, self._random)]
        premasters = (*self._premasters, *keys.find(key_log.PREMASTER, self._random))
        extended = _EXTENDED_MASTER in hello.extensions
        for premaster in premasters:
            transcript = self._transcript if extended else None
            value = master_secret(
                hello.version, hello.cipher, premaster.value, self._random, hello.random, transcript
            )
            found.append(Secret(value, premaster.origin))
        if hello.session_id:
            found += keys.find(key_log.SESSION_MASTER, hello.session_id)
            found += self._resumable.find(hello.session_id)
        if self._ticket:
            found += self._resumable.find(self._ticket)
        return tuple(dict.fromkeys(found))

    def _search(self, server: bool) -> list[_Candidate]:
        """Keys to try where a hello was lost: those of other connections in the log, or of other suites."""
        if self.refused:
            return []
        randoms = [self._random] if self._random else self._keys.randoms()[:_SEARCHED]
        most = 2 * key_log.MAX_SAME if self._random else 1  # of many connections, the likeliest of each
        found: list[_Candidate] = []
        if self._random and self._server is not None:
            return []
        for random in randoms:
            if self._server is None or self._server.version == TLS13:
                suites = (self._server.cipher,) if self._server else ()
                found += self._modern(random, suites, server=server, most=most)
            else:
                found += self._classic(random, self._keys.find(key_log.MASTER, random)[:most], server=server)
        side = self._sides[server]
        side.budget = max(side.budget, len(found) * (_ATTEMPT + 4_096))
        return found

    def _settled(self, candidate: _Candidate) -> None:
        """A secret proved right: what was unknown of the connection follows, and a session may be resumed
        with its master secret."""
        if not self._random:
            self._random = candidate.random
            self._keys.meet(candidate.random)
            for side in self._sides:
                side.known = -1
        if candidate.epoch == _BEFORE_13:
            self._masters = (Secret(candidate.secret, candidate.origin),)
            if self._server is not None:
                self._resumable.remember(self._server.session_id, self._masters)
        elif self._server is None:
            self._assumed = candidate.suite

    @property
    def _early(self) -> bool:
        """Whether there may be early data whose secret nobody logged."""
        return self._client is not None and self._client.early_data

    # --- messages ----------------------------------------------------------------------------------

    def _inner(self, side: _Side, server: bool, kind: int, content: bytes, events: list[Event]) -> None:
        """What is no application data though it was protected."""
        if kind == tls.HANDSHAKE:
            self._messages(side, server, content, events)
        elif kind == tls.CHANGE_CIPHER_SPEC:
            self._change(side)

    def _messages(self, side: _Side, server: bool, body: bytes, events: list[Event]) -> None:
        for message in side.handshakes.feed(body):
            self._message(side, server, message, events)

    def _message(self, side: _Side, server: bool, message: tls.Handshake, events: list[Event]) -> None:
        kind, body = message
        try:
            if kind == tls.CLIENT_HELLO and not server:
                self._client_hello(body, events)
            elif kind == tls.SERVER_HELLO and server:
                self._server_hello(body, events)
            elif kind == tls.CERTIFICATE and server:
                modern_ = side.current is not None and side.current.epoch != _BEFORE_13
                events.append(tls.certificate(body[1 + body[0] :] if modern_ and body else body))
        except Malformed:
            pass
        if self._kept and kind:
            self._transcript += bytes((kind,)) + len(body).to_bytes(3, "big") + body
            self._kept = kind != _KEY_EXCHANGE and len(self._transcript) < MAX_TRANSCRIPT
        if kind == _KEY_EXCHANGE and not server and len(body) > 10:
            self._keys.meet(body[2:10])
            self._premasters = self._keys.find(key_log.ENCRYPTED_PREMASTER, body[2:10])
        elif kind == _NEW_TICKET and server and self._server is not None and self._server.version != TLS13:
            self._resumable.remember(body[6:], self._masters or self._possible_masters())
        elif kind == _ENCRYPTED_EXTENSIONS and server and side.current is not None:
            name = tls.agreed(body)
            if name:
                events.append(Alpn(name))
        elif kind == _KEY_UPDATE and side.current is not None and side.current.epoch == _TRAFFIC:
            side.current = _after_update(side.current)
            side.number = 0

    def _client_hello(self, body: bytes, events: list[Event]) -> None:
        hello = tls.client_hello(body)
        events.append(hello)
        self._client = hello
        self._keys.meet(hello.random)
        if hello.random != self._random or self._server is None:
            self._random = hello.random
            self._transcript, self._kept = b"", True
            self._premasters = ()
        if hello.early_data:
            for side in self._sides:
                _afford(side)
        ticket = tls.extension(body, _TICKET)
        self._ticket = ticket or b""
        for side in self._sides:
            side.known = -1
        if self._server is not None and not any(side.changed or side.current for side in self._sides):
            for _, server, record in sorted(_taken(*self._sides)):  # the answer was captured before
                self._record(self._sides[server], server, record, events)

    def _server_hello(self, body: bytes, events: list[Event]) -> None:
        hello = tls.server_hello(body)
        events.append(hello)
        if hello.retry:
            self._retried = True
            return
        if hello.version < TLS10 or hello.version > TLS13:
            self.refused = f"TLS version {hello.version:#06x} is not known here"
        elif hello.compression:
            self.refused = "its records are compressed"
        self._server = hello
        self._keys.meet(hello.session_id)
        if hello.alpn:
            events.append(Alpn(hello.alpn))
        for side in self._sides:
            side.known = -1
        if hello.version <= TLS12 and self._client is not None and not tls.resumed(self._client, hello):
            self._masters = ()
        for _, server, record in sorted(_taken(*self._sides)):
            self._record(self._sides[server], server, record, events)


def _afford(side: _Side) -> None:
    """From now on what fails in this direction is no wrong log's doing."""
    if not side.proven:
        side.proven = True
        side.budget += FREE_BUDGET - UNPROVEN_BUDGET


def _taken(*sides: _Side) -> list[tuple[int, bool, tls.Record]]:
    """What waits of these sides, which is no longer kept."""
    waiting = [one for side in sides for one in side.waiting]
    for side in sides:
        side.waiting, side.held = [], 0
    return waiting


def _under(secret: Secret, suites: tuple[int, ...], epoch: int, random: bytes) -> Iterator[_Candidate]:
    """The keys that a traffic secret gives under each suite that fits its size."""
    for suite in dict.fromkeys(suites):
        try:
            protection = of_traffic_secret(secret.value, suite)
        except Malformed:
            continue
        yield _Candidate(protection, secret.origin, secret.value, suite, epoch, random)


def _after_update(keys: _Candidate) -> _Candidate:
    """The keys after a KeyUpdate (RFC 8446, 7.2)."""
    secret = renewed(keys.secret)
    return keys._replace(protection=of_traffic_secret(secret, keys.suite), secret=secret)
