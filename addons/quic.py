"""QUIC: refused, so that apps fall back to TCP, where they can be read; or left alone.

    mitmdump -s addons/quic.py --set events_file=EXPERIMENT/events.jsonl --set quic=refuse

Concerns UDP to port 443, and QUIC by its look to any port, in modes that see UDP (WireGuard, transparent, local).
`refuse` answers nothing, notes the name in the ClientHello, and the app tries TCP. `leave` lets everything through
unread and notes how much it was: such traffic is not observed.

It must never read or change what passes. Sources: RFC 9000, RFC 9001; mitmproxy's layers (11.0 and 12.x).
"""

import time
import uuid
from collections.abc import Generator
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import UDPLayer

from audit.protocols import quic, tls
from audit.protocols.malformed import Malformed
from audit.protocols.notes import Passed, Passing, Quic, Records
from audit.recording.notebook import Notebook

PORT = 443
PATIENCE = 4  # datagrams until it is noted even if the hello is not complete
AGAIN = 60.0  # seconds in which the same attempt is noted once
BATCH = 256


def hello_of(datagrams: quic.Initials) -> tls.ClientHello | None:
    """What is known of the client's hello so far."""
    for part in datagrams.partial():
        if not part.server:
            try:
                return tls.client_hello(part.body)
            except Malformed:
                return None
    return None


def common(context: Context, hello: tls.ClientHello | None) -> dict[str, Any]:
    """What a note says of a connection."""
    client, server = context.client.peername, context.server.address
    return {
        "client": (str(client[0]), int(client[1])) if client else None,
        "server": (str(server[0]), int(server[1])) if server else None,
        "sni": hello.sni if hello else None,
        "alpn": hello.alpn if hello else (),
        "ech": hello.ech if hello else False,
    }


class Refusal(layer.Layer):
    """Takes datagrams and answers none; notes once what they asked for."""

    def __init__(self, context: Context, addon: "QuicPolicy") -> None:
        super().__init__(context)
        self.addon = addon
        self.initials = quic.Initials()
        self.count = 0

    def _handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        if isinstance(event, events.DataReceived) and self.count < PATIENCE:
            self.count += 1
            hello = self.read(event.data)
            if hello is not None or self.count == PATIENCE:
                self.count = PATIENCE
                self.addon.refused(self.context, hello)
        elif isinstance(event, events.ConnectionClosed):
            if 0 < self.count < PATIENCE:
                self.addon.refused(self.context, None)
            yield commands.CloseConnection(self.context.client)

    def read(self, datagram: bytes) -> tls.ClientHello | None:
        """The hello, once it is complete."""
        try:
            for event in self.initials.feed(datagram):
                if isinstance(event, quic.Hello) and not event.server:
                    return tls.client_hello(event.body)
        except Malformed:
            return None
        hello = hello_of(self.initials) if self.count == PATIENCE else None
        return hello if hello and hello.sni else None


class Passage(UDPLayer):
    """Lets datagrams through and notes their sizes."""

    def __init__(self, context: Context, book: Notebook | None) -> None:
        super().__init__(context, ignore=True)
        self.book, self.id, self.start = book, str(uuid.uuid4()), time.monotonic()
        self.initials: quic.Initials | None = quic.Initials()
        self.began = time.time()
        self.bytes = {True: 0, False: 0}
        self.sizes: list[tuple[int, int]] = []
        self.told = self.over = False

    def handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        """Every event of the connection, before it is passed on."""
        if isinstance(event, events.DataReceived):
            self.see(event.connection is self.context.client, event.data)
        elif isinstance(event, events.ConnectionClosed):
            self.end()
        yield from super().handle_event(event)

    def see(self, up: bool, datagram: bytes) -> None:
        """One datagram."""
        self.bytes[up] += len(datagram)
        self.sizes.append(
            (int((time.monotonic() - self.start) * 1000), len(datagram) if up else -len(datagram))
        )
        if not self.told and self.initials is not None:
            try:
                hellos = [each for each in self.initials.feed(datagram) if isinstance(each, quic.Hello)]
                hello = next((tls.client_hello(each.body) for each in hellos if not each.server), None)
            except Malformed:
                hello = None
            if hello or len(self.sizes) >= PATIENCE:
                self.tell(hello)
        if len(self.sizes) >= BATCH:
            self.flush()

    def tell(self, hello: tls.ClientHello | None) -> None:
        """Notes that the connection is let through."""
        self.told, self.initials = True, None
        if self.book:
            facts = common(self.context, hello)
            self.book.write_or_stop(
                Passing(time=self.began, id=self.id, reason="quic", transport="udp", **facts)
            )

    def flush(self) -> None:
        """Notes the sizes that wait."""
        if self.book and self.sizes:
            self.book.write_or_stop(Records(time=time.time(), id=self.id, sizes=tuple(self.sizes)))
        self.sizes.clear()

    def end(self) -> None:
        """The connection ended."""
        if self.over:
            return
        self.over = True
        if not self.told:
            self.tell(None)
        self.flush()
        if self.book:
            up, down = self.bytes[True], self.bytes[False]
            self.book.write_or_stop(Passed(time=time.time(), id=self.id, up=up, down=down))


class QuicPolicy:
    """The addon."""

    def __init__(self) -> None:
        self.book: Notebook | None = None
        self.noted: dict[tuple[str, str], float] = {}

    def load(self, loader: Loader) -> None:
        """Declares the options."""
        loader.add_option("events_file", str, "", "File that notes beside the traffic are appended to.")
        loader.add_option("quic", str, "refuse", "QUIC (UDP port 443): refuse or leave.", ("refuse", "leave"))

    def configure(self, updated: set[str]) -> None:
        """Opens the file."""
        if "quic" in updated and ctx.options.quic not in ("refuse", "leave"):
            raise exceptions.OptionsError("quic: refuse or leave")  # type: ignore[no-untyped-call]
        if "events_file" in updated and ctx.options.events_file:
            self.book = Notebook.of_option(ctx.options.events_file)

    def next_layer(self, data: layer.NextLayer) -> None:
        """Takes QUIC before anything else looks into it."""
        context = data.context
        if context.client.transport_protocol != "udp" or not context.server.address:
            return
        if context.server.address[1] != PORT and not quic.starts(data.data_client()):  # type: ignore[no-untyped-call]
            return
        if context.server.address[1] in (53, 5353):
            return
        if ctx.options.quic == "leave":
            data.layer = Passage(context, self.book)
        else:
            data.layer = Refusal(context, self)

    def refused(self, context: Context, hello: tls.ClientHello | None) -> None:
        """Notes a refusal, once a minute for each app's attempt to reach a host."""
        facts = common(context, hello)
        key = (str(facts["client"] and facts["client"][0]), str(facts["sni"] or facts["server"]))
        now = time.monotonic()
        if now - self.noted.get(key, -AGAIN) >= AGAIN:
            if len(self.noted) > 10_000:
                self.noted.clear()
            self.noted[key] = now
            if self.book:
                self.book.write_or_stop(Quic(time=time.time(), **facts))


addons = [QuicPolicy()]
