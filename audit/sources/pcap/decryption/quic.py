"""QUIC connections told as what is inside them, if there are secrets that open them: HTTP/3 (RFC 9114) and DNS
(RFC 9250).

A connection is found again by its ids when the device's address or port changes. It says of each connection how
it was opened or why not. Packets and keys are the business of `audit.protocols`.
"""

from __future__ import annotations

from contextlib import suppress

from audit.protocols import dns, http2, http3, quic, quic_session, tls
from audit.protocols.malformed import Malformed
from audit.records import SecuredBy
from audit.sources.pcap.decryption.ring import KeyRing
from audit.sources.pcap.exchange import Block, Early, Exchange
from audit.sources.pcap.telling import Teller

_MAX_HELLOS = 32  # per flow
_MAX_SESSIONS = 16  # per flow
_MAX_BEFORE = 16  # datagrams of a flow kept until its client's first packet is there
_MAX_WAITING = 1_024  # requests that wait for their responses


class Talk:
    """One QUIC connection and what is spoken in it; `client` is the side of the flow that began it."""

    def __init__(self, teller: Teller, client: int, ring: KeyRing, origin: bytes) -> None:
        self._teller = teller
        self._client = client
        self.session = quic_session.Session(ring.keys, origin)
        self._ring = ring
        self._agreed = ""
        self._http: http3.Connection | None = None
        self._streams: dict[int, Exchange] = {}
        self._early = Early()
        self._questions: dict[tuple[int, bool], dns.Framing] = {}
        self._lost = 0
        self._greeted = False
        self._over = False

    def owned(self, teller: Teller) -> bool:
        """Whether it began in the flow of this teller."""
        return self._teller is teller

    def hello(self, hello: quic.Hello) -> None:
        """A hello message of its Initial packets. Raises Malformed."""
        if hello.kind == tls.CLIENT_HELLO and not hello.server:
            self.session.client_hello(tls.client_hello(hello.body))
            self._greeted = True
        elif hello.kind == tls.SERVER_HELLO and hello.server:
            self._events(self.session.server_hello(tls.server_hello(hello.body)))

    def packet(self, datagram: bytes, packet: quic.Packet, server: bool) -> None:
        """A packet of the connection that the client or the server sent, in whatever flow."""
        self._events(self.session.packet(datagram, packet, server))

    def lend(self, teller: Teller) -> None:
        """Another flow carries the connection on: its flow is seen as this one's is."""
        for kind, names in self._teller.names.items():
            for name in names:
                teller.name(kind, name)
        if self.session.opened:
            teller.opened = self.session.opened
            teller.observed("observed")

    def at(self, number: int, time: float | None) -> None:
        """The packet that is being read, which may be another flow's."""
        self._teller.number, self._teller.time = number, time

    def finish(self) -> None:
        """The connection ended, or will not be followed any further."""
        if self._over:
            return
        self._over = True
        for ids in self.session.ids:
            for known in ids:
                if self._ring.paths.get(known) is self:
                    del self._ring.paths[known]
        self._events(self.session.finish())
        teller, session = self._teller, self.session
        teller.secured = session.opened or "cleartext"
        if self._http is not None:
            self._messages(self._http.finish())
        for number in list(self._streams):
            self._tell(number)
        teller.secured = "cleartext"
        if session.opened:
            teller.opened = session.opened
            if any(session.datagrams):
                up, down = session.datagrams
                teller.gap("unsupported", None, f"{up} QUIC datagrams up, {down} down, outside of streams")
            orphans = self._early.left
            if self._lost or session.unread or orphans:
                detail = f"of QUIC streams bytes are missing; {session.unread} packets were not opened"
                detail += f"; {orphans} responses without their requests" if orphans else ""
                teller.gap("lost", self._lost or None, detail)
        elif self._ring.hopeful and self._greeted:
            teller.observed("metadata_only", "no_key")
            teller.gap("no_key", None, session.refused)
        elif self._ring.hopeful:
            teller.lost_beginning()

    def _events(self, events: list[quic_session.Event]) -> None:
        teller = self._teller
        before: SecuredBy = teller.secured
        teller.secured = self.session.opened or before
        for event in events:
            if isinstance(event, quic_session.Data):
                teller.observed("observed")
                self._lost += event.lost
                if self._agreed.startswith("doq"):
                    self._question(event)
                elif self._agreed.startswith("h3") or not self._agreed:
                    self._http = self._http or http3.Connection()
                    stream, server, data, lost, end = event
                    self._messages(self._http.feed(stream, server, data, lost, end))
            elif isinstance(event, quic_session.Alpn):
                self._agreed = event.name
                if not event.name.startswith(("h3", "doq")):
                    teller.gap("unsupported", None, f"inside QUIC a protocol that is not read: {event.name}")
            elif isinstance(event, quic_session.Names):
                for name in event.certificate.names[:8]:
                    teller.name("certificate", name)
        teller.secured = before

    def _question(self, event: quic_session.Data) -> None:
        key = event.stream, event.server
        framing = self._questions.get(key)
        if framing is None:
            if len(self._questions) > _MAX_WAITING:
                del self._questions[next(iter(self._questions))]
            framing = self._questions[key] = dns.Framing()
        if event.lost:
            framing.gap(event.lost)
        for message in framing.feed(event.data):
            try:
                parsed = dns.parse(message)
            except Malformed:
                continue
            self._teller.dns(1 - self._client if event.server else self._client, parsed, "doq")
        if event.end:
            self._questions.pop(key, None)

    def _messages(self, events: list[http2.Event]) -> None:
        for event in events:
            if isinstance(event, http2.Data):
                stream = self._streams.get(event.stream)
                if stream is None:
                    self._early.keep(event)
                else:
                    stream.data(event.response, event.data, event.lost, event.end)
                    if event.end and stream.over:
                        self._tell(event.stream)
            elif isinstance(event, http2.Fields):
                self._fields(event)
            elif isinstance(event, http2.Unread) and event.reason != "lost":
                detail = f"HTTP/3 that cannot be read: {event.reason}"
                self._teller.gap("malformed", event.size or None, detail)

    def _fields(self, event: http2.Fields) -> None:
        block = Block(event.kind, event.fields, event.end, event.known)
        if event.kind in ("request", "push"):
            if event.kind == "request" and not event.fields:
                self._teller.gap("lost", None, "header fields refer to bytes that were not recorded")
                return
            side = 1 - self._client if event.kind == "push" else self._client
            self._streams[event.stream] = Exchange(self._teller, side, "3", block)
            if len(self._streams) > _MAX_WAITING:
                self._tell(next(iter(self._streams)))
            self._messages([*self._early.of(event.stream)])
        elif event.stream in self._streams:
            self._streams[event.stream].block(event.response, block)
        else:
            self._early.keep(event)

    def _tell(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._early.told(number)
            stream.tell()


class Quic:
    """The QUIC packets of one UDP flow."""

    def __init__(self, teller: Teller, ring: KeyRing) -> None:
        self._teller = teller
        self._ring = ring
        self._initials = quic.Initials()
        self._talks: dict[bytes, Talk] = {}
        self._client: int | None = None
        self._hellos = 0
        self._before: list[tuple[int, bytes]] = []

    def feed(self, side: int, datagram: bytes) -> None:
        """A datagram that `side` sent. Raises Malformed if it is no QUIC."""
        if self._talks or not self._ring.hopeful:
            self._feed(side, datagram)
            return
        # the client's first packet may be late, and nothing can be opened before it
        before = self._before
        if len(before) < _MAX_BEFORE:
            before.append((side, datagram))
        self._feed(side, datagram)
        if self._talks:
            self._before = []
            for earlier in before:
                if earlier != (side, datagram):
                    with suppress(Malformed):
                        self._feed(*earlier)

    def _feed(self, side: int, datagram: bytes) -> None:
        if datagram[0] >= 0x80:
            self._hello(side, datagram)
        first, talk = self._dcid(side, datagram)
        for packet in quic.packets(datagram, dcid_size=first):
            if packet.kind in (quic.Kind.INITIAL, quic.Kind.HANDSHAKE, quic.Kind.ZERO_RTT):
                talk = self._of(packet) or talk
            if talk is None:
                continue
            server = self._client is not None and side != self._client
            if packet.version and (server or not talk.session.version):
                talk.session.version = packet.version
            if packet.scid:
                talk.session.named(server, packet.scid)
            if packet.kind in (quic.Kind.HANDSHAKE, quic.Kind.ZERO_RTT, quic.Kind.ONE_RTT):
                talk.at(self._teller.number, self._teller.time)
                talk.packet(datagram, packet, server)
                for connection_id in talk.session.fresh_ids():
                    self._ring.path(connection_id, talk)

    def _hello(self, side: int, datagram: bytes) -> None:
        teller = self._teller
        teller.observed(*(teller.status or ("metadata_only", "quic")))
        for event in self._initials.feed(datagram):
            if not isinstance(event, quic.Hello):
                continue
            if event.kind == tls.CLIENT_HELLO and not event.server:
                if self._client is None:
                    self._client = side
                self._hellos += 1
                if self._hellos <= _MAX_HELLOS:
                    teller.hello(side, tls.client_hello(event.body), "quic")
            talk = self._talks.get(event.origin)
            if talk is None:
                talk = Talk(teller, side if not event.server else 1 - side, self._ring, event.origin)
                self._talks[event.origin] = talk
                if len(self._talks) > _MAX_SESSIONS:
                    self._talks.pop(next(iter(self._talks))).finish()
            talk.hello(event)

    def _of(self, packet: quic.Packet) -> Talk | None:
        """The connection a packet with a long header belongs to."""
        for talk in reversed(self._talks.values()):
            for ids in talk.session.ids:
                if (packet.dcid and packet.dcid in ids) or (packet.scid and packet.scid in ids):
                    return talk
        return next(reversed(self._talks.values()), None)

    def _dcid(self, side: int, datagram: bytes) -> tuple[int, Talk | None]:
        """How long the connection id of a short header is, and whose it is."""
        if datagram[0] >= 0x80:
            return datagram[5] if len(datagram) > 5 else 0, None
        server = self._client is not None and side != self._client
        for talk in reversed(self._talks.values()):
            ids = talk.session.ids[not server]
            for size in {len(known) for known in ids}:
                if datagram[1 : 1 + size] in ids:
                    return size, talk
        moved = self._ring.leads_to(datagram)
        if isinstance(moved, Talk):
            return self._moved(side, datagram, moved), moved
        latest = next(reversed(self._talks.values()), None)
        if latest is None:
            return 0, None
        return max((len(known) for known in latest.session.ids[not server]), default=0), latest

    def _moved(self, side: int, datagram: bytes, talk: Talk) -> int:
        """A connection of another flow goes on in this one: the device's end of the path has changed. The
        size of the id that it is reached under."""
        self._talks[datagram[:1]] = talk
        talk.lend(self._teller)
        for server, ids in enumerate(talk.session.ids):
            for size in {len(known) for known in ids} - {0}:
                if datagram[1 : 1 + size] in ids:
                    self._client = side if server else 1 - side
                    return size
        return 0

    @property
    def wants_all(self) -> bool:
        """Whether packets without a long header can tell something."""
        return self._ring.hopeful and any(not talk.session.refused for talk in self._talks.values())

    def finish(self) -> None:
        """The flow ended."""
        for hello in self._initials.partial():
            if not hello.server and hello.kind == tls.CLIENT_HELLO:
                try:
                    self._teller.hello(
                        0 if self._teller.device_a else 1, tls.client_hello(hello.body), "quic"
                    )
                except Malformed:
                    continue
        if not self._talks and self._ring.hopeful:
            self._teller.lost_beginning()
        for talk in self._talks.values():
            if talk.owned(self._teller):
                talk.finish()
            else:
                talk.lend(self._teller)
