"""UDP payloads that can tell something: DNS and its relatives, QUIC and DTLS hellos, clear text.

A datagram needs no order; only hellos that span several datagrams keep a state per flow, which is
dropped as soon as they are told.
"""

from __future__ import annotations

from functools import lru_cache

from audit.protocols import dhcp, dns, dtls, gquic, quic, ssdp, tls
from audit.protocols.malformed import Malformed
from audit.sources.pcap import payloads
from audit.sources.pcap.decryption.quic import Quic
from audit.sources.pcap.telling import MAX_TOLD, TOO_LONG, Carrier, Teller

_CARRIERS: dict[int, Carrier] = {5353: "mdns", 5355: "llmnr", 137: "nbns"}
_SSDP_PORT = 1900
_QUIC = (payloads.QUIC, payloads.QUIC_REST, payloads.QUIC_OR_PLAIN)
_MAX_HELLOS = 32  # per flow
_MAX_KEPT = 1_500  # bytes of a message that is kept in case it comes again


@lru_cache(maxsize=1_024)
def _read(message: bytes, nbns: bool) -> dns.Message:
    """A DNS message without its id: many are asked, sent, or announced several times."""
    return dns.parse(b"\0\0" + message, nbns=nbns)


def carrier_of(port: int, other: int) -> Carrier:
    """What carries the DNS messages between these ports."""
    if 53 in (port, other):
        return "udp"
    return _CARRIERS.get(port) or _CARRIERS.get(other) or "udp"


class Datagrams:
    """One UDP flow."""

    __slots__ = ("_dtls", "_hellos", "_opened", "_ports", "_quic", "carrier", "last", "teller")

    def __init__(self, teller: Teller, ports: tuple[int, int]) -> None:
        self.teller = teller
        self._ports = frozenset(ports)
        self.carrier = carrier_of(*ports)
        self._quic: quic.Initials | None = None
        self._opened: Quic | None = None
        self._dtls: tuple[dtls.Stream, dtls.Stream] | None = None
        self._hellos = 0
        self.last = 0

    @property
    def stateless(self) -> bool:
        """Whether nothing need be remembered for the next datagram."""
        return self._quic is None and self._dtls is None and self._opened is None

    @property
    def wants_all(self) -> bool:
        """Whether every packet of the flow may be read, whatever its first bytes are."""
        return self._opened is not None and self._opened.wants_all

    def packet(self, side: int, kind: int, data: bytes) -> None:
        """Take a datagram that `side` sent; `kind` is what it may be."""
        try:
            if kind == payloads.DNS:
                self._dns_message(side, data)
            elif kind == payloads.QUIC_OR_PLAIN and not self._opened and not self._leads(data):
                self._message(side, data)
            elif kind in _QUIC and self.teller.ring is not None:
                if self._opened is None and (kind == payloads.QUIC or self._leads(data)):
                    self._opened = Quic(self.teller, self.teller.ring)
                if self._opened is not None:
                    self._opened.feed(side, data)
            elif kind == payloads.QUIC:
                self._initial(side, data)
            elif kind == payloads.GQUIC:
                self._google(side, data)
            elif kind == payloads.DTLS:
                self._hello(side, data)
            else:
                self._message(side, data)
        except Malformed:
            if kind == payloads.DNS and payloads.readable(data):
                self.teller.message(side, data, "udp")
            elif kind not in (payloads.PLAIN, payloads.QUIC_OR_PLAIN):  # those are told as they are
                self.teller.partly = True
            if kind == payloads.QUIC:
                self._google(side, data)

    def _message(self, side: int, data: bytes) -> None:
        """Data of no protocol known here, or what a device calls itself when it asks for an address or announces what
        it offers."""
        whole = bool(self._ports & dhcp.PORTS) or payloads.readable(data)
        if whole or (self.teller.count < MAX_TOLD and payloads.speaks(data)):
            self.teller.message(side, data, "udp")
            if not whole and self.teller.count == MAX_TOLD:
                self.teller.gap("limit", None, TOO_LONG)
        self.teller.partly = self.teller.partly or not whole
        if self._ports & {67, 68}:
            asked = dhcp.parse(data)
            if not asked.response:
                name = asked.host_name or asked.domain_name or asked.vendor_class
                self.teller.calls_itself(side, name, "dhcp", asked.address)
        elif self._ports & dhcp.PORTS:
            wished = dhcp.parse6(data)
            if not wished.response:
                self.teller.calls_itself(side, wished.domain_name or wished.vendor_class, "dhcp")
        elif _SSDP_PORT in self._ports:
            said = ssdp.parse(data)
            name = said.friendly_name or (said.user_agent if said.kind == "search" else said.server)
            self.teller.calls_itself(side, name, "ssdp")

    def _leads(self, data: bytes) -> bool:
        """Whether a packet is sent to a QUIC connection that another flow began."""
        return self.teller.ring is not None and self.teller.ring.leads_to(data) is not None

    def _dns_message(self, side: int, data: bytes) -> None:
        nbns = self.carrier == "nbns"
        message = _read(data[2:], nbns) if len(data) <= _MAX_KEPT else dns.parse(data, nbns=nbns)
        self.teller.dns(side, message, self.carrier)
        if message.questions:
            self.teller.observed("observed")
        else:
            self.teller.message(side, data, "udp")

    def _initial(self, side: int, data: bytes) -> None:
        self._quic = self._quic or quic.Initials()
        self.teller.observed(*(self.teller.status or ("metadata_only", "quic")))
        for event in self._quic.feed(data):
            if isinstance(event, quic.Hello) and not event.server and event.kind == tls.CLIENT_HELLO:
                self._hellos += 1
                if self._hellos <= _MAX_HELLOS:
                    self.teller.hello(side, tls.client_hello(event.body), "quic")

    def _google(self, side: int, data: bytes) -> None:
        try:
            hello = gquic.client_hello(data)
        except Malformed:
            return
        if hello.sni is not None:
            self.teller.google_hello(side, hello.sni, hello.version)

    def _hello(self, side: int, data: bytes) -> None:
        self._dtls = self._dtls or (dtls.Stream(), dtls.Stream())
        for event in self._dtls[side].feed(data):
            if isinstance(event, tls.ClientHello):
                self.teller.hello(side, event, "dtls")
            elif isinstance(event, tls.Certificate):
                for name in event.names[:8]:
                    self.teller.name("certificate", name)

    def finish(self) -> None:
        """The flow ended: hellos of which only the beginning came, and what was said inside QUIC."""
        if self._opened is not None:
            self._opened.finish()
        if self._quic is not None:
            for hello in self._quic.partial():
                if not hello.server and hello.kind == tls.CLIENT_HELLO:
                    try:
                        self.teller.hello(
                            0 if self.teller.device_a else 1, tls.client_hello(hello.body), "quic"
                        )
                    except Malformed:
                        continue
