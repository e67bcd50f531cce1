"""What a connection speaks: the protocol is told from its first bytes, then its parser is fed.

A speaker is fed the two sides' contiguous bytes and gaps and tells records. `done` says that nothing more
can be learnt. Protocols that change in mid-connection (CONNECT, SOCKS, STARTTLS, upgrades) hand over to
a fresh `Opening`, so TLS inside of them is found like any other.
"""

from __future__ import annotations

from typing import Protocol

from audit.protocols import dns, http1, tls
from audit.protocols.malformed import Malformed
from audit.sources.pcap.telling import Teller

MAX_OPENING = 4_096  # bytes of one side after which its protocol must be known
MAX_MESSAGE = 256 << 10  # bytes of clear text joined into one message
_MAX_NESTED = 4
_LATE = 24  # pieces from one side only, after which the other is not waited for
_MAX_PAIRS = 256
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"


class Speaker(Protocol):
    """One protocol on one connection; `side` is 0 for endpoint a, 1 for endpoint b."""

    done: bool

    def feed(self, side: int, data: bytes) -> None:
        """The next bytes of a side."""

    def gap(self, side: int, size: int) -> None:
        """`size` bytes of a side are missing."""

    def finish(self) -> None:
        """The connection ended, or will not be followed any further."""


def readable(data: bytes) -> bool:
    """Whether bytes look like text, wholly or for the most part."""
    head = data[:96]
    share = 1 - len(head.translate(None, _PRINTABLE)) / len(head) if head else 0.0
    return share >= (0.6 if len(head) >= 32 else 0.85)


class Opening:
    """The first bytes of a connection, until one side has said enough to tell the protocol."""

    def __init__(self, teller: Teller, depth: int = 0) -> None:
        self._teller = teller
        self._depth = depth
        self._begun = [b"", b""]
        self._order: list[tuple[int, bytes]] = []
        self._speaker: Speaker | None = None
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

    def finish(self) -> None:
        if self._speaker is None:
            for side in (0, 1):
                if self._begun[side] and self._speaker is None:
                    self._decide(side, final=True)
        if self._speaker is not None:
            self._speaker.finish()
        self.done = True

    def _decide(self, side: int, *, final: bool) -> None:
        data = self._begun[side]
        speaker = self._speaker_of(side, data, final or len(data) >= MAX_OPENING)
        if speaker is None:
            return
        self._speaker = speaker
        order, self._order, self._begun = self._order, [], [b"", b""]
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
            return TlsSpeaker(self._teller, client)
        if http1.starts_request(data):
            if b"\n" not in data and not final:
                return None
            return HttpSpeaker(self._teller, side, self._depth)
        if http1.starts_response(data):
            return HttpSpeaker(self._teller, 1 - side, self._depth)
        if self._teller.port in (53, 5353) and len(data) >= 14:
            return DnsSpeaker(self._teller)
        if data[0] in (4, 5) and self._depth < _MAX_NESTED and (socks := Socks.begins(self._teller, side, data, self._depth)):
            return socks
        if len(data) < 8 and not final:
            return None
        if readable(data):
            return TextSpeaker(self._teller, self._depth)
        if final or len(data) >= 8:
            return Opaque()
        return None


class Opaque:
    """Bytes nobody here can read."""

    done = True

    def feed(self, side: int, data: bytes) -> None:
        """Pass it over."""

    def gap(self, side: int, size: int) -> None:
        """Pass it over."""

    def finish(self) -> None:
        """Nothing was begun."""


class TlsSpeaker:
    """TLS up to where it is encrypted: hellos and, before TLS 1.3, the server's certificate."""

    def __init__(self, teller: Teller, client: int) -> None:
        self._teller = teller
        self._client = client
        self._streams = (tls.Stream(), tls.Stream())
        self._alone = 0
        self.done = False
        teller.observed("metadata_only", "no_key")

    def feed(self, side: int, data: bytes) -> None:
        stream = self._streams[side]
        try:
            events = stream.feed(data)
        except Malformed:
            stream.sealed = True
            events = []
        self._tell(side, events)
        self._alone = self._alone + 1 if side == self._client else 0
        client, server = self._streams[self._client], self._streams[1 - self._client]
        self.done = client.sealed and (server.sealed or self._alone > _LATE)

    def gap(self, side: int, size: int) -> None:
        self._streams[side].gap(size)

    def finish(self) -> None:
        for side in (0, 1):
            self._tell(side, self._streams[side].finish())
        self.done = True

    def _tell(self, side: int, events: list[tls.Event]) -> None:
        for event in events:
            if isinstance(event, tls.ClientHello):
                self._teller.hello(side, event, "tls")
            elif isinstance(event, tls.Certificate) and side != self._client:
                for name in (event.names or ((event.common_name,) if event.common_name else ())):
                    self._teller.name("certificate", name)


class DnsSpeaker:
    """DNS with a length before each message (RFC 7766)."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._framing = (dns.Framing(), dns.Framing())
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        for message in self._framing[side].feed(data):
            try:
                self._teller.dns(side, dns.parse(message), "tcp")
            except Malformed:
                continue

    def gap(self, side: int, size: int) -> None:
        self._framing[side].gap(size)

    def finish(self) -> None:
        self.done = True


class HttpSpeaker:
    """HTTP/1 in clear, and what it turns into."""

    def __init__(self, teller: Teller, client: int, depth: int) -> None:
        self._teller = teller
        self._client = client
        self._depth = depth
        self._connection = http1.Connection()
        self._pending: dict[int, tuple[http1.Request, float | None]] = {}
        self._inner: Speaker | None = None
        self._failed = [False, False]
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        self._events(self._connection.feed(data, side != self._client))
        if self._inner is not None and self._inner.done:
            self.done = True

    def gap(self, side: int, size: int) -> None:
        self._teller.lost += size
        self._events(self._connection.gap(size, side != self._client))
        if self._inner is not None:
            self._inner.gap(side, size)

    def finish(self) -> None:
        for response in (False, True):
            self._events(self._connection.finish(response))
        self._flush()
        if self._inner is not None:
            self._inner.finish()
        self.done = True

    def _flush(self) -> None:
        for request, time in self._pending.values():
            self._teller.http(self._client, request, None, time)
        self._pending.clear()

    def _events(self, events: list[http1.Event]) -> None:
        for event in events:
            if isinstance(event, http1.Request):
                self._pending[event.number] = event, self._teller.time
                if len(self._pending) > _MAX_PAIRS:
                    self._teller.http(self._client, *self._unanswered())
            elif isinstance(event, http1.Response):
                if event.number is not None:
                    self._answered(event.number, event)
            elif isinstance(event, http1.Tunnel):
                self._tunnel(event)

    def _unanswered(self) -> tuple[http1.Request, None, float | None]:
        request, time = self._pending.pop(next(iter(self._pending)))
        return request, None, time

    def _answered(self, number: int, response: http1.Response) -> None:
        for earlier in [known for known in self._pending if known < number]:
            request, time = self._pending.pop(earlier)
            self._teller.http(self._client, request, None, time)
        if number in self._pending:
            request, time = self._pending.pop(number)
            self._teller.http(self._client, request, response, time)

    def _tunnel(self, event: http1.Tunnel) -> None:
        if self._inner is None:
            self._flush()
            self._inner = Opening(self._teller, self._depth + 1) if self._depth < _MAX_NESTED else Opaque()
        self._inner.feed(1 - self._client if event.response else self._client, event.data)


class TextSpeaker:
    """Clear text of no known protocol, told as messages; a ClientHello at a turn of the talk is STARTTLS."""

    def __init__(self, teller: Teller, depth: int) -> None:
        self._teller = teller
        self._depth = depth
        self._side = 0
        self._held: list[bytes] = []
        self._size = 0
        self._inner: Speaker | None = None
        self.done = False
        teller.observed("observed")

    def feed(self, side: int, data: bytes) -> None:
        if self._inner is None and data[0] == tls.HANDSHAKE and tls.starts(data) and data[5:6] == b"\x01":
            self._tell()
            self._inner = TlsSpeaker(self._teller, side)
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

    def _tell(self) -> None:
        if self._held:
            self._teller.message(self._side, b"".join(self._held), "tcp")
        self._held, self._size = [], 0


class Socks:
    """A SOCKS 4, 4a or 5 request (RFC 1928); behind it begins another conversation."""

    def __init__(self, teller: Teller, client: int, depth: int, version: int) -> None:
        self._teller = teller
        self._client = client
        self._version = version
        self._buffers = [b"", b""]
        self._replies = 0
        self._asked = False
        self._inner = Opening(teller, depth + 1)
        self._open = [False, False]
        self.done = False
        teller.observed("observed")

    @staticmethod
    def begins(teller: Teller, side: int, data: bytes, depth: int) -> Socks | None:
        """A speaker if these first bytes are a SOCKS client's."""
        if data[0] == 5 and len(data) >= 3 and 1 <= data[1] <= 8 and len(data) == 2 + data[1]:
            return Socks(teller, side, depth, 5)
        if data[0] == 4 and len(data) >= 9 and data[1] in (1, 2) and b"\0" in data[8:]:
            return Socks(teller, side, depth, 4)
        return None

    def feed(self, side: int, data: bytes) -> None:
        if not self._open[side]:
            self._buffers[side] += data
            data = self._handshake(side)
        if data:
            self._inner.feed(side, data)
            self.done = self._inner.done

    def _handshake(self, side: int) -> bytes:
        """Cut the handshake off what the side has said so far; returns what stands behind it."""
        buffer = self._buffers[side]
        if len(buffer) > MAX_OPENING:
            self.done = True
            return b""
        size = (self._request if side == self._client else self._reply)(buffer)
        if not size:
            return b""
        self._open[side] = True
        self._buffers[side] = b""
        return buffer[size:]

    def _request(self, data: bytes) -> int:
        """Length of all that the client says before its own data, 0 if it is not there yet."""
        if self._version == 4:
            end = data.find(b"\0", 8)
            if end >= 0 and data[4:7] == b"\0\0\0" and data[7]:
                name_end = data.find(b"\0", end + 1)
                self._teller.name("http", data[end + 1 : name_end].decode("latin-1") if name_end > 0 else None)
                end = name_end
            return end + 1
        at = 2 + data[1]
        if data[at : at + 1] == b"\x01":  # user name and password (RFC 1929)
            if len(data) < at + 2 or len(data) < at + 3 + data[at + 1]:
                return 0
            at += 2 + data[at + 1]
            at += 1 + data[at]
        if len(data) < at + 7:
            return 0
        size = {1: 4, 4: 16}.get(data[at + 3], 1 + data[at + 4])
        if data[at + 3] == 3:
            self._teller.name("http", data[at + 5 : at + 5 + data[at + 4]].decode("latin-1"))
        end = at + 4 + size + 2
        return end if len(data) >= end else 0

    def _reply(self, data: bytes) -> int:
        if self._version == 4:
            return 8 if len(data) >= 8 else 0
        at = 2
        if data[at : at + 1] == b"\x01":
            at += 2
        if len(data) < at + 5:
            return 0
        end = at + 4 + {1: 4, 4: 16}.get(data[at + 3], 1 + data[at + 4]) + 2
        return end if len(data) >= end else 0

    def gap(self, side: int, size: int) -> None:
        if self._open[side]:
            self._inner.gap(side, size)
        else:
            self._open[side] = True

    def finish(self) -> None:
        self._inner.finish()
        self.done = True
