"""What a connection speaks: the protocol is told from its first bytes, then its parser is fed.

A speaker is fed the two sides' contiguous bytes and gaps and tells records. `done` says that nothing more
can be learnt. Protocols that change in mid-connection (CONNECT, SOCKS, STARTTLS, upgrades) hand over to
a fresh `Opening`, so TLS inside of them is found like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from audit.protocols import dns, http1, mqtt, socks, tls
from audit.protocols.malformed import Malformed
from audit.sources.pcap.payloads import LONG_WORD, WORD, readable, speaks
from audit.sources.pcap.speaker import Speaker
from audit.sources.pcap.telling import MAX_TOLD, TOO_LONG, Teller
from audit.sources.pcap.web import Http1, odd_request

MAX_OPENING = 4_096  # bytes of one side after which its protocol must be known
MAX_MESSAGE = 256 << 10  # bytes of clear text joined into one message
MAX_WORDS = 4 << 20  # bytes told of a connection of no known protocol that is no text
MAX_SHORT = 512  # bytes of a message in which short words count, where others held long ones
MAX_TURN = 4  # pieces of such a connection in which another protocol begins, if at all: the third, as a rule
MAX_PASSED = 12  # unreadable pieces after which nothing readable is expected any more
_SEALED = b"\x17\x03"  # a record of application data
_TLS_13 = 0x0304
_SSH = b"SSH-"
_HTTP_2 = b"PRI "
_MAX_LINE = 255  # bytes of the line that opens SSH
_DNS_HEAD = 14  # bytes of a length and a header
_MAX_NESTED = 4
_LATE = 24  # pieces from one side only, after which the other is not waited for


class Opening:
    """The first bytes of a connection, until one side has said enough to tell the protocol."""

    def __init__(self, teller: Teller, depth: int = 0) -> None:
        self._teller = teller
        self._depth = depth
        self._begun = [b"", b""]
        self._order: list[tuple[int, bytes]] = []
        self._missed = [0, 0]  # bytes of each side that are missing before what is known
        self._passed = 0
        self._sealed = False  # it is TLS that began before the capture
        self._speaker: Speaker | None = None
        self.http: Http1 | None = None  # what is spoken, if it has bodies that may be passed over
        self.done = False

    def feed(self, side: int, data: bytes) -> None:
        if self._speaker is None:
            self._begun[side] += data
            self._order.append((side, data))
            self._decide(side, final=False)
            return
        self._speaker.feed(side, data)
        self.done = self._speaker.done

    def gap(self, side: int, size: int) -> None:
        if self._speaker is None:
            self._decide(side, final=True)
        if self._speaker is not None:
            self._speaker.gap(side, size)
            self.done = self._speaker.done
        elif self._depth:  # inside of another connection it is known from its first byte on
            self._missed[side] += size

    def finish(self) -> None:
        if self._speaker is None:
            for side in (0, 1):
                if self._begun[side] and self._speaker is None:
                    self._decide(side, final=True)
        if self._speaker is not None:
            self._speaker.finish()
        elif self._passed:
            self._unread()
        self.done = True

    def _unread(self) -> None:
        """What goes on inside of a talk that could be read cannot be read."""
        if self._depth:
            self._teller.observed("metadata_only", "unknown protocol")

    def _decide(self, side: int, *, final: bool) -> None:
        data = self._begun[side]
        speaker = self._speaker_of(side, data, final or len(data) >= MAX_OPENING)
        if speaker is None:
            return
        self._speaker = speaker
        if self._passed:
            self._teller.partly = True
        self.http = speaker if isinstance(speaker, Http1) else None
        order, self._order, self._begun = self._order, [], [b"", b""]
        for place, size in enumerate(self._missed):
            if size:
                speaker.gap(place, size)
        for place, piece in order:
            speaker.feed(place, piece)
        self.done = speaker.done

    def _speaker_of(self, side: int, data: bytes, final: bool) -> Speaker | None:
        if not data:
            return None
        if data[0] in (tls.HANDSHAKE, tls.ALERT) and tls.starts(data):
            if len(data) < 6 and not final:
                return None
            client = side if data[5:6] == b"\x01" or data[0] == tls.ALERT else 1 - side
            ring = self._teller.ring
            if ring is not None and self._depth < _MAX_NESTED:
                from audit.sources.pcap.decryption.secured import Secured

                return Secured(self._teller, client, ring, partial(self._inside, client))
            return TlsSpeaker(self._teller, client)
        if data[:2] == _SEALED and self._depth:  # TLS of which the hellos are lost
            self._teller.observed("metadata_only", "no_key")
            return Opaque()
        if data[:2] == _SEALED and data[2:3] <= b"\x04" and not self._sealed:
            self._sealed = True
            if self._teller.status is None and self._teller.ring is not None and self._teller.ring.hopeful:
                self._teller.lost_beginning()
            elif self._teller.status is None:
                self._teller.observed("metadata_only", "no_key")
        if self._sealed:  # whatever its records look like, split as they may be
            return self._pass(side)
        if data.startswith(_SSH):
            return SecureShell(self._teller)
        if data[:4] == _HTTP_2 and (speaker := _http2(self._teller, side, data)) is not None:
            return speaker
        asked = data.lstrip(b"\r\n")  # RFC 9112, 2.2: old clients send empty lines before a request
        if http1.starts_request(asked) and http1.begins(asked):
            return Http1(self._teller, side, self._nested) if b"\n" in asked or final else None
        if self._teller.port == 80 and http1.starts_request(data) and http1.odd(data):
            self._teller.http(side, odd_request(data), None, self._teller.time)
            return Opaque()
        if http1.starts_response(data):
            return Http1(self._teller, 1 - side, self._nested)
        if self._teller.port in (53, 853, 5353) and (len(data) >= _DNS_HEAD or not final):
            if len(data) < _DNS_HEAD:
                return None
            if dns.framed(data):
                return DnsSpeaker(self._teller)
        if mqtt.starts(data):
            return MqttSpeaker(self._teller)
        if self._depth < _MAX_NESTED and len(data) <= socks.MAX_HANDSHAKE and _greets(data):
            self._order = [(place, piece) for place, piece in self._order if place == side]  # it begins here
            return SocksSpeaker(self._teller, side, self._nested())
        if len(data) < 8 and not final:
            return None
        if readable(data) and data.strip():
            return TextSpeaker(self._teller, self._nested)
        if speaks(data):
            return WordsSpeaker(self._teller, self._nested)
        return self._pass(side)

    def _pass(self, side: int) -> Speaker | None:
        """What a side said so far is nothing that can be read; what follows may be."""
        self._begun[side] = b""
        if self._depth:
            for place, piece in self._order:
                self._missed[place] += len(piece)
        self._order.clear()
        self._passed += 1
        if self._passed < MAX_PASSED:
            return None
        self._unread()
        return Opaque()

    def _inside(self, client: int, agreed: str) -> Speaker:
        """What begins inside TLS; HTTP/2 is known by its agreement even where its first bytes are lost."""
        if agreed == "h2":
            from audit.sources.pcap.h2 import Http2

            return Http2(self._teller, client)
        return self._nested()

    def _nested(self) -> Speaker:
        return Opening(self._teller, self._depth + 1) if self._depth < _MAX_NESTED else Opaque()


def _http2(teller: Teller, client: int, data: bytes) -> Speaker | None:
    """Who reads HTTP/2, if that is what these bytes begin."""
    from audit.protocols import http2
    from audit.sources.pcap.h2 import Http2

    return Http2(teller, client) if http2.PREFACE.startswith(data[: len(http2.PREFACE)]) else None


def _greets(data: bytes) -> bool:
    """A SOCKS greeting and nothing else, or a SOCKS 4 request."""
    return socks.starts(data) and (data[0] == 4 or (0 < data[1] <= 8 and len(data) == 2 + data[1]))


class Opaque:
    """Bytes nobody here can read."""

    done = True

    def feed(self, side: int, data: bytes) -> None:
        """Pass it over."""

    def gap(self, side: int, size: int) -> None:
        """Pass it over."""

    def finish(self) -> None:
        """Nothing was begun."""


class SecureShell:
    """SSH: each side's first line names its program (RFC 4253, 4.2), what follows is encrypted."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._begun = [b"", b""]
        self._told = [False, False]
        self.done = False
        teller.observed("metadata_only", "ssh")

    def feed(self, side: int, data: bytes) -> None:
        if self._told[side]:
            return
        self._begun[side] += data
        line, newline, _ = self._begun[side].partition(b"\n")
        if newline or len(line) >= _MAX_LINE:
            self._teller.message(side, line[:_MAX_LINE] + newline, "tcp")
            self._teller.observed("metadata_only", "ssh")
            self._told[side] = True
            self.done = all(self._told)

    def gap(self, side: int, size: int) -> None:  # noqa: ARG002 - the shape of a speaker
        self._told[side] = True

    def finish(self) -> None:
        self.done = True


class TlsSpeaker:
    """TLS up to where it is encrypted: hellos and, before TLS 1.3, the server's certificate. With both of
    them, or the answer of TLS 1.3 to the hello, everything is said that can be read."""

    def __init__(self, teller: Teller, client: int) -> None:
        self._teller = teller
        self._client = client
        self._streams = (tls.Stream(), tls.Stream())
        self._alone = 0
        self._greeted = False
        self.done = False
        teller.observed("metadata_only", "no_key")

    def feed(self, side: int, data: bytes) -> None:
        stream = self._streams[side]
        if not stream.sealed:
            try:
                events = stream.feed(data)
            except Malformed:
                stream.sealed = True
                events = []
            if events:
                self._tell(side, events)
        self._alone = self._alone + 1 if side == self._client else 0
        client, server = self._streams[self._client], self._streams[1 - self._client]
        self.done = self.done or (client.sealed and (server.sealed or self._alone > _LATE))

    def gap(self, side: int, size: int) -> None:
        if side == self._client and not self._greeted:  # the name may stand before the hole
            self._tell(side, self._streams[side].finish())
        self._streams[side].gap(size)

    def finish(self) -> None:
        for side in (0, 1):
            self._tell(side, self._streams[side].finish())
        self.done = True

    def _tell(self, side: int, events: list[tls.Event]) -> None:
        for event in events:
            if self.done:
                return
            if isinstance(event, tls.ClientHello):
                self._teller.hello(side, event, "tls")
                self._greeted = self._greeted or (side == self._client and event.complete)
            elif isinstance(event, tls.ServerHello):
                self.done = self.done or (
                    self._greeted and side != self._client and event.version == _TLS_13 and not event.retry
                )
            elif isinstance(event, tls.Certificate) and side != self._client:
                self.done = self.done or self._greeted
                for name in event.names or ((event.common_name,) if event.common_name else ()):
                    self._teller.name("certificate", name)


class DnsSpeaker:
    """DNS with a length before each message (RFC 7766)."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._framing = (dns.Framing(), dns.Framing())
        self._read = False
        self.done = False

    def feed(self, side: int, data: bytes) -> None:
        for message in self._framing[side].feed(data):
            carrier: Literal["tcp", "dot"] = "tcp" if self._teller.secured == "cleartext" else "dot"
            try:
                self._teller.dns(side, dns.parse(message), carrier)
            except Malformed:
                self._teller.partly = True
            else:
                self._read = True
                self._teller.observed("observed")

    def gap(self, side: int, size: int) -> None:
        self._framing[side].gap(size)

    def finish(self) -> None:
        if not self._read:
            self._teller.observed("not_observed", "unknown protocol")
        self.done = True


class TextSpeaker:
    """Clear text of no known protocol, told as messages. Where a piece begins like TLS (STARTTLS) or HTTP,
    the talk goes on in that."""

    def __init__(self, teller: Teller, begin: Callable[[], Speaker]) -> None:
        self._teller = teller
        self._begin = begin
        self._side = 0
        self._held: list[bytes] = []
        self._size = 0
        self._inner: Speaker | None = None
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        if self._inner is None and self._turns(data):
            self._tell()
            self._inner = self._begin()
        if self._inner is not None:
            self._inner.feed(side, data)
            self.done = self._inner.done
            return
        if side != self._side or self._size + len(data) > MAX_MESSAGE:
            self._tell()
        self._side = side
        self._held.append(data)
        self._size += len(data)

    def gap(self, side: int, size: int) -> None:
        if self._inner is not None:
            self._inner.gap(side, size)
        else:
            self._tell()

    def finish(self) -> None:
        self._tell()
        if self._inner is not None:
            self._inner.finish()
        self.done = True

    def _turns(self, data: bytes) -> bool:
        """Whether another protocol begins here."""
        if data[0] == tls.HANDSHAKE:
            return tls.starts(data) and data[5:6] == b"\x01"
        if data[:2] == _SEALED:
            return True
        return http1.starts_request(data) and b" HTTP/1." in data[:MAX_OPENING]

    def _tell(self) -> None:
        if self._held:
            self._message(b"".join(self._held))
        self._held, self._size = [], 0

    def _message(self, data: bytes) -> None:
        self._teller.message(self._side, data, "tcp")


class WordsSpeaker(TextSpeaker):
    """Data of no known protocol in which some text stands, or something compressed: the messages with such are told,
    and the flow was read in part. Another protocol may begin in the first pieces."""

    def __init__(self, teller: Teller, begin: Callable[[], Speaker]) -> None:
        super().__init__(teller, begin)
        self._pieces = 0
        self._told = 0
        self._wished = teller.wants("message") or teller.wants("gap")
        teller.partly = True

    def feed(self, side: int, data: bytes) -> None:
        super().feed(side, data)
        if self._inner is None and self._pieces >= MAX_TURN and not self._wished:
            self.done = True

    def _turns(self, data: bytes) -> bool:
        self._pieces += 1
        return self._pieces <= MAX_TURN and super()._turns(data)

    def _message(self, data: bytes) -> None:
        if not speaks(data, WORD if len(data) <= MAX_SHORT else LONG_WORD) and not readable(data):
            return
        super()._message(data)
        self._told += len(data)
        if (self._told >= MAX_WORDS or self._teller.count >= MAX_TOLD) and not self.done:
            self._teller.gap("limit", None, TOO_LONG)
            self.done = True


class SocksSpeaker:
    """A SOCKS request (RFC 1928); behind it begins another conversation."""

    def __init__(self, teller: Teller, client: int, inner: Speaker) -> None:
        self._teller = teller
        self._client = client
        self._inner = inner
        self._begun = [b"", b""]
        self._version = 5
        self._open = [False, False]
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        if not self._open[side]:
            self._begun[side] += data
            try:
                data = self._handshake(side, self._begun[side])
            except Malformed:
                self._teller.observed("metadata_only", "unknown protocol")
                self.done = True
                return
        if data:
            self._inner.feed(side, data)
            self.done = self._inner.done

    def _handshake(self, side: int, data: bytes) -> bytes:
        """What stands behind a side's part of the handshake, nothing while that is not complete."""
        if side == self._client:
            self._version = data[0]
            target = socks.client(data)
            if target is None:
                return b""
            self._teller.name("http", target.host)
            size = target.size
        else:
            answer = socks.server(data, self._version)
            if answer is None:
                return b""
            size = answer.size
        self._open[side] = True
        self._begun[side] = b""
        return data[size:]

    def gap(self, side: int, size: int) -> None:
        if self._open[side]:
            self._inner.gap(side, size)
        else:
            self._open[side] = True

    def finish(self) -> None:
        self._inner.finish()
        self.done = True


class MqttSpeaker:
    """MQTT: who connects, every message published, up or down, and every topic wished for."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._packets = (mqtt.Packets(), mqtt.Packets())
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        try:
            self._tell(side, self._packets[side].feed(data))
        except Malformed:
            self._teller.observed("not_observed", "unknown protocol")
            self.done = True

    def gap(self, side: int, size: int) -> None:
        self._tell(side, self._packets[side].gap(size))

    def finish(self) -> None:
        for side in (0, 1):
            packets = self._packets[side]
            self._tell(side, packets.finish())
            if packets.skipped and not self.done and not self._teller.lost:
                self._teller.gap("malformed", packets.skipped, "bytes between MQTT packets that are none")
        self.done = True

    def _tell(self, side: int, events: list[mqtt.Event]) -> None:
        for event in events:
            if isinstance(event, mqtt.Publish):
                self._teller.mqtt(side, event.topic, event.payload)
                if event.cut:
                    self._teller.gap("lost", None, "part of an MQTT message is missing")
            elif isinstance(event, mqtt.Properties):
                self._teller.mqtt(side, None, event.data)
            elif isinstance(event, mqtt.Connect):
                self._packets[1 - side].level = event.level
                said = (event.client_id, event.username)
                self._teller.mqtt(side, None, "\n".join(filter(None, said)).encode())
                if event.will_topic:
                    self._teller.mqtt(side, event.will_topic, event.will)
            elif isinstance(event, mqtt.Subscribe) and not event.end:
                for topic in event.topics:
                    self._teller.mqtt(side, topic, b"")
