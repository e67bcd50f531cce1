"""From what parsers say to records: one `Teller` per flow knows its addresses, its device's side, its clock.

Ids: a flow is named `f` and the number of its first packet, a transmission by its flow and its place
among the flow's transmissions. Both are the same however the file was cut or the work divided. Payloads are
handed over as sent; nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from audit.protocols import dns, ja4, tls, websocket
from audit.records import (
    AnyRecord,
    DeviceName,
    Dns,
    Gap,
    GapReason,
    Headers,
    Http,
    Message,
    MqttMessage,
    Observability,
    SecuredBy,
    Tls,
    WebSocketMessage,
)
from audit.sources import doh
from audit.sources.pcap.ledger import IN_PART, Ends, Ledger

if TYPE_CHECKING:
    from audit.sources.pcap.decryption.ring import KeyRing

Carrier = Literal["udp", "tcp", "mdns", "llmnr", "nbns", "doh", "dot", "doq"]
LOCAL: dict[Carrier, Literal["mdns", "llmnr", "nbns"]] = {"mdns": "mdns", "llmnr": "llmnr", "nbns": "nbns"}
"""Who carries DNS messages, and which of them do so on the local network."""

MAX_TOLD = 1_024  # records of a flow in an unknown protocol that is no text
TOO_LONG = "more of a talk in an unknown protocol than is read"
_MAX_ANSWERS = 65_535  # a message with one question cannot have more
_MAX_NAMES = 16  # kept per flow and kind
_NAME_ORDER = ("sni", "http", "certificate", "dns", "mdns", "dhcp")
_DNS_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 17: "RP",
    18: "AFSDB", 25: "KEY", 28: "AAAA", 29: "LOC", 32: "NB", 33: "SRV", 35: "NAPTR", 39: "DNAME", 41: "OPT",
    43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA",
    64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip
_NBNS_TYPES = {32: "NB", 33: "NBSTAT"}
_VERSIONS = {0x0304: "TLSv1.3", 0x0303: "TLSv1.2", 0x0302: "TLSv1.1", 0x0301: "TLSv1.0", 0x0300: "SSLv3",
             0xFEFC: "DTLSv1.3", 0xFEFD: "DTLSv1.2", 0xFEFF: "DTLSv1.0"}  # fmt: skip
_LEGACY = (0x0303, 0xFEFD)  # what hellos of newer versions also begin with (RFC 8446, 4.1.2)
_WITH_PSK = ("TLSv1.3", "DTLSv1.3")
_JA4 = {"tls": ja4.TLS, "dtls": ja4.DTLS, "quic": ja4.QUIC}
_CLIENT_OFFERS = (0x0304, 0x0303, 0x0302, 0x0301, 0x0300, 0xFEFC, 0xFEFD, 0xFEFF)  # newest first


class Asked(NamedTuple):
    """An HTTP request of any version. `lost` bytes of the body were not recorded, `cut` were not kept."""

    method: str
    scheme: str
    authority: str
    target: str
    version: str
    headers: Headers
    body: bytes
    size: int
    lost: int
    cut: bool


class Answered(NamedTuple):
    """Its response."""

    status: int
    headers: Headers
    size: int
    body: bytes | None = None


class Teller:
    """Makes the records of one flow. `number` and `time` are those of the packet being read; `device_a` says
    whether endpoint a, side 0, is the device."""

    __slots__ = (
        "_ledger",
        "count",
        "device_a",
        "ends",
        "first",
        "lost",
        "names",
        "number",
        "opened",
        "partly",
        "port",
        "secured",
        "status",
        "time",
    )

    def __init__(self, ledger: Ledger, first: int, device_a: bool, ends: Ends) -> None:
        self._ledger = ledger
        self.first = first
        self.device_a = device_a
        self.number = 0
        self.time: float | None = None
        self.names: dict[str, dict[str, None]] = {}
        self.status: tuple[Observability, str | None] | None = None
        self.lost = 0
        self.partly = False  # whether something of the flow was passed over, because nobody here can read it
        self.count = 0
        self.secured: SecuredBy = "cleartext"  # what the content being told of was opened with
        self.opened: SecuredBy | None = None  # the same, of the flow
        self.port = ends[3]
        self.ends = ends

    def resume(
        self, count: int, names: dict[str, tuple[str, ...]], status: tuple[Observability, str | None]
    ) -> None:
        """Go on where an earlier teller of the same flow left off."""
        self.count, self.status = count, status
        self.partly = status[1] == IN_PART
        self.names = {kind: dict.fromkeys(known) for kind, known in names.items()}

    @property
    def ring(self) -> KeyRing | None:
        """The secrets at hand; None where there are none and will be none."""
        return self._ledger.ring

    @property
    def keeps_bodies(self) -> bool:
        """Whether bodies of responses are wished for."""
        return self._ledger.bodies

    @property
    def whole(self) -> bool:
        """Whether headers are wished for, not only what names, sizes and times say."""
        return self._ledger.whole

    def wants(self, kind: str) -> bool:
        """Whether records of this kind are wished for."""
        return kind in self._ledger.kinds

    def direction(self, side: int) -> Literal["up", "down"]:
        """Of what endpoint a (0) or b (1) sent."""
        return "up" if (side == 0) == self.device_a else "down"

    def observed(self, observability: Observability, reason: str | None = None) -> None:
        """How well the flow can be seen; the last word counts."""
        self.status = observability, reason

    def name(self, kind: str, name: str | None) -> None:
        """Tie a name to the flow."""
        if name:
            known = self.names.setdefault(kind, {})
            if len(known) < _MAX_NAMES:
                known[name.lower().rstrip(".")] = None

    def named(self) -> dict[str, tuple[str, ...]]:
        """All names of the flow, by kind, the most telling kind first."""
        return {kind: tuple(self.names[kind]) for kind in _NAME_ORDER if kind in self.names}

    @property
    def _common(self) -> dict[str, Any]:
        src, sport, dst, dport = self.ends
        return {
            "capture": self._ledger.capture, "flow": f"f{self.first}", "src": src, "sport": sport, "dst": dst,
            "dport": dport,
        }  # fmt: skip

    def _tell(self, record: AnyRecord) -> None:
        self._ledger.said.records.append((self.number, self.first, self.count, record))
        self.count += 1

    def _row(self, kind: type[Dns | Tls | Http], time: float | None, *values: object) -> None:
        """Tell a record of a kind of which there are many, by its values from `host` on."""
        self._ledger.said.rows[kind].append((self.number, self.first, self.count, time, *self.ends, *values))
        self.count += 1

    def _id(self) -> str:
        return f"f{self.first}.{self.count}"

    def dns(
        self,
        side: int,
        message: dns.Message,
        carrier: Carrier,
        host: str | None = None,
    ) -> None:
        """The questions of a message, and the addresses its answers give to names. `host` is the name of
        who is asked; over TLS and QUIC it is the one that the client greeted."""
        if host is None and carrier in ("dot", "doq"):
            host = next(iter(self.names.get("sni", ())), None)
        answers = told_answers(message)
        direction = self.direction(side)
        for question in message.questions:
            kind = type_name(question.type, carrier)
            self._row(
                Dns, self.time, host, direction, question.name, kind, message.response, answers, carrier
            )
        local = LOCAL.get(carrier)
        for address, name, owner in given_names(message, carrier):
            self._ledger.resolved.add(self.number, address, name)
            if local and address == self.ends[0]:
                self.calls_itself(side, owner, local)

    def calls_itself(
        self,
        side: int,
        name: str | None,
        by: Literal["dhcp", "mdns", "llmnr", "nbns", "ssdp"],
        address: str | None = None,
    ) -> None:
        """`side` said what it is called; `address` is the one it has or asks for, if not the sender's."""
        if name and self.direction(side) == "up":
            device = {**self._common, "src": address or self.ends[0]}
            self._tell(DeviceName(**device, time=self.time, name=name.rstrip("."), by=by))

    def hello(self, side: int, hello: tls.ClientHello, transport: Literal["tls", "dtls", "quic"]) -> None:
        """A ClientHello that `side` sent, and what it says of the flow."""
        if self.ring is not None:
            self.ring.keys.meet(hello.random)
        self.greeting(side, hello, transport)
        self.name("sni", hello.sni)
        reason = "quic" if transport == "quic" else "no_key"
        self.observed("metadata_only", "ech" if hello.ech else reason)

    def greeting(self, side: int, hello: tls.ClientHello, transport: Literal["tls", "dtls", "quic"]) -> None:
        """A ClientHello alone."""
        newest = _newest(hello.versions, hello.version)
        if not hello.complete and not hello.versions and hello.version in _LEGACY:
            newest = None  # what is missing may offer a newer one
        host = hello.sni.lower().rstrip(".") if hello.sni else None
        fingerprint = ja4.ja4(hello, _JA4[transport])
        resumes: bool | None = hello.psk or hello.ticket
        if not resumes and newest not in _WITH_PSK:  # there, a session's id is only for show
            resumes = bool(hello.session_id)
        if not resumes and not hello.complete:
            resumes = None
        self._row(
            Tls, self.time, host, self.direction(side), hello.sni, hello.alpn, newest, hello.ech, fingerprint,
            transport, resumes,
        )  # fmt: skip

    def google_hello(self, side: int, sni: str | None, version: str | None) -> None:
        """The CHLO of Google's QUIC before the IETF's."""
        alpn = (version,) if version else ()
        self._row(Tls, self.time, sni, self.direction(side), sni, alpn, None, False, None, "quic", None)
        self.name("sni", sni)
        self.observed("metadata_only", "quic")

    def http(self, side: int, sent: Asked, answered: Answered | None, time: float | None) -> None:
        """A request that `side` sent, and its response as far as it is known."""
        host = _host(sent.authority)
        status = size = body = None
        headers: Headers = ()
        if answered:
            status, headers, size, body = answered
        self._row(
            Http, time, host, self.direction(side), sent.method, sent.scheme, sent.authority, sent.target,
            sent.version, status, sent.size, size, self.secured, sent.headers, sent.body, headers,
            body if self._ledger.bodies else None, None,
        )  # fmt: skip
        if sent.lost:
            self.gap("lost", sent.lost, "part of a request's body was not recorded")
        elif sent.cut:
            self.gap("limit", sent.size - len(sent.body), "a request's body is longer than is kept")
        self.name("http", host)
        self.observed("observed")
        for message in doh.messages(
            sent.method, sent.target, sent.headers, sent.body,
            answered.headers if answered else (), answered.body if answered else None,
        ):  # fmt: skip
            self.dns(1 - side if message.response else side, message, "doh", host)

    def message(self, side: int, data: bytes, transport: Literal["tcp", "udp"]) -> None:
        """A readable payload of no protocol known here."""
        if self.wants("message"):
            self._tell(
                Message(
                    **self._common, id=self._id(), time=self.time, direction=self.direction(side),
                    transport=transport, bytes=len(data), data=data,
                )
            )  # fmt: skip
        else:
            self.count += 1  # ids are the same whatever is wished for
        self.observed("observed")

    def mqtt(self, side: int, topic: str | None, data: bytes) -> None:
        """What was said by MQTT: a topic, a message under one, or who a client is."""
        self._tell(
            MqttMessage(
                **self._common, id=self._id(), time=self.time, direction=self.direction(side), topic=topic,
                bytes=len(data), data=data, secured_by=self.secured,
            )
        )  # fmt: skip

    def websocket(self, side: int, message: websocket.Message, url: str) -> None:
        """A WebSocket message in clear."""
        host = _host(url.partition("://")[2].partition("/")[0])
        self._tell(
            WebSocketMessage(
                **self._common, id=self._id(), time=self.time, direction=self.direction(side), host=host,
                type="text" if message.kind == websocket.TEXT else "binary", bytes=message.size, url=url,
                data=message.data, secured_by=self.secured,
            )
        )  # fmt: skip
        if message.lost or message.cut:
            self.gap("lost" if message.lost else "limit", None, "part of a WebSocket message is missing")
        self.observed("observed")

    def gap(self, reason: GapReason, size: int | None, detail: str) -> None:
        """Something of this flow is missing, or cannot be read."""
        self.partly = self.partly or reason != "lost"
        self._tell(Gap(**self._common, time=self.time, reason=reason, bytes=size, detail=detail))

    def lost_beginning(self) -> None:
        """It could have been opened, had it been recorded from its beginning on."""
        self.observed("metadata_only", "lost")
        self.gap("lost", None, "its beginning was not recorded, so no secret can be told to be its own")


@lru_cache(maxsize=256)
def _newest(versions: tuple[int, ...], version: int) -> str | None:
    """The newest of the versions that a hello offers."""
    offered = versions or (version,)
    return next((_VERSIONS[one] for one in _CLIENT_OFFERS if one in offered), None)


def type_name(number: int, carrier: Carrier) -> str:
    """What a type of DNS records is called; by RFC 3597 where it has no name."""
    return (_NBNS_TYPES if carrier == "nbns" else _DNS_TYPES).get(number) or f"TYPE{number}"


def told_answers(message: dns.Message) -> tuple[str, ...]:
    """The answers of a response, which stand beside each of its questions: so many of them that all together are no
    more than `_MAX_ANSWERS`."""
    if not message.response:
        return ()
    return tuple(
        [answer.data for answer in message.answers[: _MAX_ANSWERS // max(len(message.questions), 1)]]
    )


def given_names(message: dns.Message, carrier: Carrier) -> Iterator[tuple[str, str, str]]:
    """The addresses that a response gives to names: each with the name that was asked for, in lower case, and the
    one that the answer itself is about. On the local network everybody answers for himself."""
    if not message.response:
        return
    asked = message.questions[0].name if message.questions and carrier not in LOCAL else ""
    for answer in (*message.answers, *message.others) if carrier == "mdns" else message.answers:
        if answer.type in (dns.A, dns.AAAA):
            yield answer.data, (asked or answer.name).lower(), answer.name


def _host(authority: str) -> str | None:
    host = authority.rpartition("@")[2].strip()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host.lower().rstrip(".") or None
