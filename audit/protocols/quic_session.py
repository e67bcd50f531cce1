"""A QUIC connection as seen from aside by someone who may hold its secrets: packets in, streams out.

RFC 9000, RFC 9001 (levels of protection, key phases), RFC 9369 (version 2). The Initial packets are read by
`quic.Initials`; this begins with the two hello messages they hold. A secret counts only once a packet
authenticated with it. Streams are put in order; a hole is declared lost when too much waits behind it or the
connection ends. Must never raise for what a peer sends, hold packets for long, or try for ever.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from audit.protocols import key_log, tls
from audit.protocols.key_log import Keys, Origin, Secret
from audit.protocols.malformed import Malformed
from audit.protocols.quic import CryptoStream, Kind, Packet, Protection
from audit.protocols.quic_frames import Crypto, Datagram, NewId, Reset, Stream, frames
from audit.protocols.tls_suites import modern

MAX_HELD = 64
"""Packets kept while the secrets to open them are still awaited."""
MAX_WAITING = 4 << 20
"""Bytes of one stream that may wait behind a hole."""
MAX_PIECES = 8_192
MAX_STREAMS = 16_384
"""Sides of streams that are open at a time."""
MAX_OVER = 16_384
MAX_IDS = 256
FREE_BUDGET: Final = 1 << 20
_ATTEMPT = 2_048
_FAILURES = 48  # packets in a row that nothing opens, before anything was opened
_GENERATIONS = 3  # key phases ahead that are tried where one does not open a packet
_ENCRYPTED_EXTENSIONS = 8


class Data(NamedTuple):
    """The next bytes of a stream that one side sent, behind `lost` bytes that are missing."""

    stream: int
    server: bool
    data: bytes
    lost: int
    end: bool


class Alpn(NamedTuple):
    """The protocol agreed on."""

    name: str


class Names(NamedTuple):
    """What the server's certificate says."""

    certificate: tls.Certificate


Event = Data | Alpn | Names


class _Keys:
    """The keys of one direction at one level: some to choose from, then the ones that fit."""

    __slots__ = ("candidates", "largest", "previous", "settled", "upcoming")

    def __init__(self) -> None:
        self.candidates: list[tuple[Protection, Origin]] = []
        self.settled: tuple[Protection, Origin] | None = None
        self.previous: Protection | None = None
        self.upcoming: list[Protection] = []
        self.largest = -1


class _Half:
    """What one side sent in one stream."""

    __slots__ = ("ended", "expected", "final", "held", "pieces")

    def __init__(self) -> None:
        self.expected = 0
        self.pieces: dict[int, bytes] = {}
        self.held = 0
        self.final = -1
        self.ended = False


_LEVELS = {Kind.ZERO_RTT: 0, Kind.HANDSHAKE: 1, Kind.ONE_RTT: 2}


class Session:
    """One connection. `ids` are the connection ids that each side is reached under: the client's, the server's."""

    def __init__(self, keys: Keys, origin: bytes) -> None:
        self._secrets = keys
        self._random = b""
        self._suite = 0
        self.version = 0
        self._told_ids = 0
        self.ids: tuple[dict[bytes, None], dict[bytes, None]] = ({}, {origin: None})
        self._keys = {(level, server): _Keys() for level in range(3) for server in (False, True)}
        self._known = dict.fromkeys(self._keys, -1)
        self._crypto = (CryptoStream(), CryptoStream())
        self._read = [0, 0]
        self._halves: dict[tuple[int, bool], _Half] = {}
        self._over: dict[
            tuple[int, bool], None
        ] = {}  # streams that ended lately, of which pieces may be repeated
        self._held: list[tuple[bytes, Packet, bool]] = []
        self._budget = FREE_BUDGET
        self._failed = 0
        self.opened: Origin | None = None
        self.refused = ""
        self.unread = 0
        """Packets that were there and could not be opened."""
        self.datagrams = [0, 0]
        """Datagrams outside of streams, by client and server."""

    @property
    def begun(self) -> bool:
        """Whether its ClientHello was there."""
        return bool(self._random)

    def client_hello(self, hello: tls.ClientHello) -> None:
        """What the client's Initial packets say."""
        self._random = hello.random
        self._secrets.meet(hello.random)

    def server_hello(self, hello: tls.ServerHello) -> list[Event]:
        """What the server's Initial packets say; packets that waited for it are opened now."""
        if hello.retry:
            return []
        self._suite = hello.cipher
        for key in self._known:
            self._known[key] = -1
        return self._again()

    def named(self, server: bool, connection_id: bytes) -> None:
        """A connection id under which a side is reached."""
        if len(self.ids[server]) < MAX_IDS:
            self.ids[server][connection_id] = None

    def fresh_ids(self) -> list[bytes]:
        """The server's connection ids that came to be known since this was asked."""
        fresh = list(self.ids[1])[self._told_ids :]
        self._told_ids += len(fresh)
        return fresh

    def packet(self, datagram: bytes, packet: Packet, server: bool) -> list[Event]:
        """A packet other than an Initial that `server` (or the client) sent."""
        level = _LEVELS.get(packet.kind)
        if level is None or self.refused:
            self.unread += level is not None
            return []
        if not self._ready(level, server, last=False):
            self._held.append((datagram, packet, server))
            if len(self._held) <= MAX_HELD:
                return []
            return self._again(last=True)
        events: list[Event] = []
        self._open(datagram, packet, level, server, events)
        if self._held and events:
            events += self._again()
        return events

    def finish(self) -> list[Event]:
        """The connection ended: what still waits behind holes."""
        events = self._again(last=True)
        for (stream, server), half in list(self._halves.items()):
            self._skip(half, stream, server, events)
            if not half.ended and half.final > half.expected:
                events.append(Data(stream, server, b"", half.final - half.expected, True))
        self._halves.clear()
        if self.opened is None and not self.refused:
            self.refused = (
                "no secret of this connection was given" if self._random else "its beginning is lost"
            )
        return events

    # --- keys --------------------------------------------------------------------------------------

    def _ready(self, level: int, server: bool, *, last: bool) -> bool:
        """Whether there are keys to try at this level; with `last`, those of suites that are only guessed."""
        keys = self._keys[level, server]
        if keys.settled is None and (self._known[level, server] != self._secrets.count or last):
            self._known[level, server] = self._secrets.count
            keys.candidates = []
            label = (key_log.EARLY, key_log.HANDSHAKE[server], key_log.TRAFFIC[server])[level]
            for secret in self._secrets.find(label, self._random):
                keys.candidates += self._under(secret, level, last=last)
        return keys.settled is not None or bool(keys.candidates)

    def _under(self, secret: Secret, level: int, *, last: bool) -> list[tuple[Protection, Origin]]:
        suites = modern(secret.value) if last or level == 0 else (self._suite,)
        found: list[tuple[Protection, Origin]] = []
        for suite in suites if self._suite or last or level == 0 else ():
            try:
                found.append((Protection(secret.value, self.version, suite), secret.origin))
            except Malformed:
                continue
        return found

    def _again(self, *, last: bool = False) -> list[Event]:
        """Look at the packets that wait. With `last` they cannot wait any longer."""
        held, self._held = self._held, []
        events: list[Event] = []
        for datagram, packet, server in held:
            level = _LEVELS[packet.kind]
            if self._ready(level, server, last=last):
                self._open(datagram, packet, level, server, events)
            elif last:
                self.unread += 1
            else:
                self._held.append((datagram, packet, server))
        if last and held and self.opened is None and not self.refused and not events:
            self.refused = "no secret of this connection was given"
        return events

    def _open(self, datagram: bytes, packet: Packet, level: int, server: bool, events: list[Event]) -> None:
        keys = self._keys[level, server]
        opened: tuple[int, bytes, int] | None = None
        # 0-RTT and 1-RTT packets of the client are numbered together (RFC 9000, 12.3)
        largest = keys.largest
        if level == 2 and not server:
            largest = max(largest, self._keys[0, False].largest)
        if keys.settled is None:
            for candidate in keys.candidates:
                opened = candidate[0].open(datagram, packet, largest)
                if opened is not None:
                    keys.settled, keys.candidates = candidate, []
                    self.opened = self.opened or candidate[1]
                    break
                self._budget -= packet.end - packet.start + _ATTEMPT
        else:
            opened = keys.settled[0].open(datagram, packet, largest)
            if opened is None and level == 2:
                opened = self._other_phase(keys, datagram, packet, largest)
        if opened is None:
            self.unread += 1
            self._failed += 1
            self._budget -= packet.end - packet.start + _ATTEMPT
            if self._budget < 0:
                self.refused = "too many packets did not authenticate"
            elif self.opened is None and self._failed >= _FAILURES:
                self.refused = "the secrets given for it do not open it"
            return
        number, payload, _ = opened
        keys.largest = max(keys.largest, number)
        self._failed = 0
        self._budget += (len(payload) + _ATTEMPT) // 4
        self._frames(payload, level, server, events)

    def _other_phase(
        self, keys: _Keys, datagram: bytes, packet: Packet, largest: int
    ) -> tuple[int, bytes, int] | None:
        """Open a packet under the keys before or after the present ones, and take later ones into use."""
        if keys.settled is None:
            return None
        if keys.previous is not None and (opened := keys.previous.open(datagram, packet, largest)):
            return opened
        current, origin = keys.settled
        while len(keys.upcoming) < _GENERATIONS:
            keys.upcoming.append((keys.upcoming[-1] if keys.upcoming else current).updated())
        for step, later in enumerate(keys.upcoming):
            if opened := later.open(datagram, packet, largest):
                keys.previous = keys.upcoming[step - 1] if step else current
                keys.settled = later, origin
                del keys.upcoming[: step + 1]
                return opened
        return None

    # --- what packets hold --------------------------------------------------------------------------

    def _frames(self, payload: bytes, level: int, server: bool, events: list[Event]) -> None:
        for frame in frames(payload):
            if isinstance(frame, Stream):
                self._piece(frame, server, events)
            elif isinstance(frame, Crypto):
                if level == 1 and self._crypto[server].add(frame.offset, frame.data):
                    self._messages(server, events)
            elif isinstance(frame, NewId):
                self.named(server, frame.id)
            elif isinstance(frame, Datagram):
                self.datagrams[server] += 1
            elif isinstance(frame, Reset):
                half = self._halves.get((frame.stream, server))
                if half is not None and not half.ended:
                    half.ended = True
                    self._skip(half, frame.stream, server, events)
                    self._end(frame.stream, server)
                    events.append(Data(frame.stream, server, b"", max(frame.size - half.expected, 0), True))

    def _messages(self, server: bool, events: list[Event]) -> None:
        """The handshake messages that are complete."""
        data = self._crypto[server].data
        while True:
            at = self._read[server]
            size = int.from_bytes(data[at + 1 : at + 4], "big")
            if at + 4 + size > len(data) or at + 4 > len(data):
                return
            self._read[server] = at + 4 + size
            body = data[at + 4 : at + 4 + size]
            if server and data[at] == _ENCRYPTED_EXTENSIONS and (name := tls.agreed(body)):
                events.append(Alpn(name))
            elif server and data[at] == tls.CERTIFICATE and body:
                try:
                    events.append(Names(tls.certificate(body[1 + body[0] :])))
                except Malformed:
                    continue

    def _piece(self, frame: Stream, server: bool, events: list[Event]) -> None:
        stream, offset, data, end = frame
        half = self._halves.get((stream, server))
        if half is None:
            if (stream, server) in self._over or len(self._halves) >= MAX_STREAMS:
                return
            half = self._halves[stream, server] = _Half()
        self._take(half, stream, server, offset, data, end=end, events=events)
        if half.ended:
            self._end(stream, server)

    def _end(self, stream: int, server: bool) -> None:
        """Forget a side of a stream that ended."""
        self._halves.pop((stream, server), None)
        self._over[stream, server] = None
        if len(self._over) > MAX_OVER:
            del self._over[next(iter(self._over))]

    def _take(
        self, half: _Half, stream: int, server: bool, offset: int, data: bytes, *, end: bool,
        events: list[Event],
    ) -> None:  # fmt: skip
        """Put a piece in its place and hand on what has no hole before it."""
        behind = offset + len(data)
        if end:
            half.final = behind
        if offset > half.expected:
            known = half.pieces.get(offset, b"")
            if len(data) > len(known):
                half.pieces[offset] = data
                half.held += len(data) - len(known)
            if half.held > MAX_WAITING or len(half.pieces) > MAX_PIECES:
                self._skip(half, stream, server, events)
            return
        if behind > half.expected:
            data = data[half.expected - offset :] if offset < half.expected else data
            half.expected = behind
        else:
            data = b""
        half.ended = half.expected == half.final
        if data or half.ended:
            events.append(Data(stream, server, data, 0, half.ended))
        if half.pieces:
            self._join(half, stream, server, events)

    def _join(self, half: _Half, stream: int, server: bool, events: list[Event]) -> None:
        """Hand on the pieces that have no hole before them any more."""
        for offset in sorted(half.pieces):
            if offset > half.expected:
                return
            data = half.pieces.pop(offset)
            half.held -= len(data)
            if offset + len(data) <= half.expected:
                continue
            data = data[half.expected - offset :]
            half.expected += len(data)
            half.ended = half.expected == half.final
            events.append(Data(stream, server, data, 0, half.ended))

    def _skip(self, half: _Half, stream: int, server: bool, events: list[Event]) -> None:
        """Declare all holes of a stream lost."""
        for offset in sorted(half.pieces):
            data = half.pieces.pop(offset)
            if offset + len(data) <= half.expected:
                continue
            lost = max(offset - half.expected, 0)
            data = data[max(half.expected - offset, 0) :]
            half.expected = offset + len(data) if lost else half.expected + len(data)
            half.ended = half.ended or half.expected == half.final
            events.append(Data(stream, server, data, lost, half.ended))
        half.held = 0
