"""QUIC connections made for tests, between two ends in memory: HTTP/3, with whatever may befall a connection."""

from __future__ import annotations

import io
import random
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ProtocolNegotiated
from aioquic.quic.logger import QuicLogger
from aioquic.quic.packet import QuicProtocolVersion, encode_quic_retry, encode_quic_version_negotiation
from aioquic.tls import CipherSuite, SessionTicket

from . import talks
from .talks import Exchanged, digest
from .wire import CLIENT, Wire

V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2
_SERVER = ("192.0.2.7", 443)


class Link:
    """Two ends and the wire between them; `address` and `port` are the client's and may change."""

    def __init__(
        self, wire: Wire, folder: Path, *, versions: tuple[int, ...] = (V1,), suite: CipherSuite | None = None,
        alpn: str = "h3", ticket: SessionTicket | None = None, tickets: dict[bytes, SessionTicket] | None = None,
        retry: bool = False, refused: bool = False, id_size: int = 8,
    ) -> None:  # fmt: skip
        self.wire, self.address, self.port = wire, CLIENT, 50_000
        self._log = io.StringIO()
        self._folder = folder
        self.tickets: list[SessionTicket] = []
        self.watched: list[tuple[bytes, set[int]]] | None = None
        """Packets of the client and the streams they carry, once it is a list."""
        known = tickets if tickets is not None else {}
        client = QuicConfiguration(
            is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE, secrets_log_file=self._log, quic_logger=QuicLogger(),
            server_name="made.example", session_ticket=ticket, max_datagram_frame_size=65_536,
            original_version=versions[-1], supported_versions=list(versions),
        )  # fmt: skip
        server = QuicConfiguration(
            is_client=False, alpn_protocols=[alpn], max_datagram_frame_size=65_536, connection_id_length=id_size,
            supported_versions=list(versions[:1] if refused else versions),
        )  # fmt: skip
        if suite is not None:
            client.cipher_suites = [suite]
        server.load_cert_chain(*map(str, talks.certificate_files(folder)))
        self.client = QuicConnection(configuration=client, session_ticket_handler=self.tickets.append)
        self.now = 0.0
        self.client.connect(_SERVER, now=self.now)
        origin = self.client.original_destination_connection_id
        again = b"retried!" if retry else None
        if refused:
            self._answer(
                encode_quic_version_negotiation(
                    source_cid=origin, destination_cid=self.client.host_cid, supported_versions=[versions[0]]
                )
            )
        if again:
            self._answer(
                encode_quic_retry(
                    version=versions[0], source_cid=again, destination_cid=self.client.host_cid,
                    original_destination_cid=origin, retry_token=b"come again",
                )
            )  # fmt: skip
        self.server = QuicConnection(
            configuration=server,
            original_destination_connection_id=origin,
            retry_source_connection_id=again,
            session_ticket_fetcher=known.get,
            session_ticket_handler=lambda made: known.update({made.ticket: made}),
        )
        self.heard: dict[bool, list[object]] = {True: [], False: []}

    def _answer(self, packet: bytes) -> None:
        """Let the client speak to a server that only says this."""
        for data, _ in self.client.datagrams_to_send(self.now):
            self.wire.udp(data, up=True, sport=self.port)
        self.wire.udp(packet, up=False, sport=self.port)
        self.client.receive_datagram(packet, _SERVER, self.now)

    def carry(self) -> None:
        """Let the ends speak until both are silent."""
        while True:
            self.now += 0.001
            logged = len(self._events())
            up = [data for data, _ in self.client.datagrams_to_send(self.now)]
            for data in up:
                self.wire.udp(data, up=True, sport=self.port, client=self.address)
                self.server.receive_datagram(data, (str(IPv4Address(self.address)), self.port), self.now)
            self._watch(up, self._events()[logged:])
            down = [data for data, _ in self.server.datagrams_to_send(self.now)]
            for data in down:
                self.wire.udp(data, up=False, sport=self.port, client=self.address)
                self.client.receive_datagram(data, _SERVER, self.now)
            if not up and not down:
                break
        for end, up_ in ((self.client, False), (self.server, True)):
            while (event := end.next_event()) is not None:
                self.heard[up_].append(event)

    def _events(self) -> list[dict[str, object]]:
        return list(self.client._quic_logger._events)  # type: ignore[union-attr]

    def _watch(self, datagrams: list[bytes], events: list[dict[str, object]]) -> None:
        """After the handshake each datagram is one packet, and the log tells its frames."""
        if self.watched is None:
            return
        sent = [event["data"]["frames"] for event in events if event["name"] == "transport:packet_sent"]  # type: ignore[index]
        packets = [one for one in self.wire.packets[-len(datagrams) * 2 :] if one[28:] in set(datagrams)]
        for packet, frames in zip(packets, sent, strict=True):
            streams = {frame["stream_id"] for frame in frames if frame["frame_type"] == "stream"}
            self.watched.append((packet, streams))

    def wait(self) -> None:
        """Let time pass, so that what is due is done."""
        self.now += 1.0
        for end in (self.client, self.server):
            due = end.get_timer()
            if due is not None and due <= self.now:
                end.handle_timer(self.now)

    def log(self, name: str = "keys.log") -> Path:
        """The secrets so far, added to a file."""
        path = self._folder / name
        with path.open("a") as file:
            file.write(self._log.getvalue())
        self._log.seek(0)
        self._log.truncate()
        return path


class Http3:
    """HTTP/3 over a link; requests are answered at once or together."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.client: H3Connection | None = None
        self.server: H3Connection | None = None
        self.seen: list[Exchanged] = []

    def begin(self, *, early: bool = False) -> None:
        """Shake hands; with `early`, do not wait for it."""
        if not early:
            self.link.carry()
        self.client = H3Connection(self.link.client)
        if not early:
            self.server = H3Connection(self.link.server)
            self.told()

    def told(self) -> list[tuple[bool, H3Event]]:
        """Let the ends speak; what each was told of HTTP/3, the server first."""
        self.link.carry()
        told: list[tuple[bool, H3Event]] = []
        for up, end in ((True, self.server), (False, self.client)):
            events, self.link.heard[up] = self.link.heard[up], []
            for event in events:
                if end is None and isinstance(event, ProtocolNegotiated):
                    self.server = end = H3Connection(self.link.server)
                if end is not None:
                    told += [(up, made) for made in end.handle_event(event)]  # type: ignore[arg-type]
        return told

    def _until_all_is_asked(self, count: int) -> list[tuple[bool, H3Event]]:
        told: list[tuple[bool, H3Event]] = []
        for _ in range(20):
            told += self.told()
            if sum(up and getattr(event, "stream_ended", False) for up, event in told) == count:
                return told
            self.link.wait()
        raise AssertionError("the server did not get all of the requests")

    def ask(
        self, seed: int, count: int, largest: int = 20_000, between: Callable[[int], None] | None = None
    ) -> None:
        """Requests with random bodies, four at a time."""
        chance = random.Random(seed)
        for first in range(0, count, 4):
            bodies: dict[int, list[bytes]] = {}
            fields: dict[int, dict[bytes, bytes]] = {}
            assert self.client is not None
            for number in range(first, min(first + 4, count)):
                stream = self.link.client.get_next_available_stream_id()
                sent = chance.randbytes(chance.randrange(largest)) if chance.random() < 0.5 else b""
                self.client.send_headers(
                    stream,
                    [(b":method", b"POST" if sent else b"GET"), (b":scheme", b"https"),
                     (b":authority", b"made.example"), (b":path", f"/{seed}/{number}?q=word+{number}".encode()),
                     (b"user-agent", b"a browser made for tests with a long name"), (b"cookie", b"session=" + b"c" * 40),
                     (b"x-turn", str(number % 3).encode())],
                    end_stream=not sent,
                )  # fmt: skip
                if sent:
                    self.client.send_data(stream, sent, end_stream=True)
            for up, event in self._until_all_is_asked(min(count - first, 4)):
                if up and isinstance(event, HeadersReceived):
                    fields[event.stream_id] = dict(event.headers)
                    bodies.setdefault(event.stream_id, [])
                elif up and isinstance(event, DataReceived):
                    bodies.setdefault(event.stream_id, []).append(event.data)
            assert self.server is not None
            for stream, asked in fields.items():
                answer = chance.randbytes(chance.randrange(largest))
                self.server.send_headers(
                    stream, [(b":status", b"200"), (b"server", b"made for tests"), (b"x-turn", asked[b"x-turn"]),
                             (b"content-length", str(len(answer)).encode())]
                )  # fmt: skip
                self.server.send_data(stream, answer, end_stream=True)
                body = b"".join(bodies[stream])
                self.seen.append(
                    Exchanged(
                        asked[b":method"].decode(), asked[b":path"].decode(), digest(body), digest(answer)
                    )
                )
            self.told()
            if between is not None:
                between(first)
