"""Pinning: which clients refuse our certificate, and what they do when they are let through unread.

    mitmdump -s addons/pinning.py --set events_file=EXPERIMENT/events.jsonl

A client that refuses is noted with its host, the TLS alert, ECH and, where the system tells it, the app. From its
next connection on, this kind of client (told by its ClientHello) is let through to this host untouched, so that the
app works; of such a connection the sizes and times of the TLS records are noted, both ways, and nothing else.
`--set passthrough=false` stays strict.

- An alert counts at once. A connection closed during the handshake, or closed after it without a word, counts when it
  happened several times in a row and never went well: browsers open connections that they do not use.
- A host that is answered on this computer is never let through to: there is nobody beyond.
- When a client that only refused so far accepts a certificate for the first time, ours has just been installed: what
  it refused before is forgotten.

It must never pass a connection that was not refused before, or keep anything of its content.
Sources: RFC 8446 (records, alerts), mitmproxy's TLS hooks (mitmproxy 11.0 and 12.x).
"""

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from mitmproxy import connection, ctx, http, tcp
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.tls import ClientTLSLayer
from mitmproxy.tls import ClientHelloData, TlsData

from audit.protocols import tls
from audit.protocols.notes import Passed, Passing, Records, Refused
from audit.recording import answered
from audit.recording.notebook import Notebook

ALERT = re.compile(r"\balert ([a-z_ ]+[a-z])")
TWICE, SILENT = 2, 3  # in a row: closed during the handshake; closed after it without a word
BATCH, PATIENCE = 256, 1.0  # records, and seconds, after which sizes are noted
MAX_KNOWN = 100_000  # clients × hosts and connections remembered
# What differs between two hellos of the same client: name, ticket, padding, early data, PSK, ECH, and GREASE.
CHANGING = frozenset({0, 21, 35, 41, 42, 44, 0xFE0D, *range(0x0A0A, 0xFAFB, 0x1010)})

Kind = tuple[str, frozenset[int], frozenset[int], tuple[bytes, ...]]


class Attempt(NamedTuple):
    """A client that tries to reach a host: its address and how its hello looks, and the host."""

    kind: Kind
    host: str


class Meter:
    """Notes the sizes of a connection's TLS records while they pass."""

    def __init__(self, book: Notebook, client: connection.Client, began: Passing) -> None:
        self.book, self.client, self.id, self.start = book, client, began.id, time.monotonic()
        self.records = {True: tls.Records(), False: tls.Records()}
        self.bytes = {True: 0, False: 0}
        self.sizes: list[tuple[int, int]] = []
        self.noted = self.start

    def see(self, event: events.Event) -> None:
        """One event of the connection."""
        if isinstance(event, events.DataReceived):
            up = event.connection is self.client
            now = time.monotonic()
            self.bytes[up] += len(event.data)
            for record in self.records[up].feed(event.data):
                size = len(record.body) + 5
                self.sizes.append((int((now - self.start) * 1000), size if up else -size))
            if len(self.sizes) >= BATCH or (self.sizes and now - self.noted > PATIENCE):
                self.flush(now)

    def flush(self, now: float) -> None:
        """Notes the sizes that wait."""
        if self.sizes:
            self.book.write_or_stop(Records(time=time.time(), id=self.id, sizes=tuple(self.sizes)))
            self.sizes.clear()
        self.noted = now

    def end(self) -> None:
        """The connection ended."""
        self.flush(time.monotonic())
        self.book.write_or_stop(
            Passed(time=time.time(), id=self.id, up=self.bytes[True], down=self.bytes[False])
        )


class Pinning:
    """The addon."""

    def __init__(self) -> None:
        self.book: Notebook | None = None
        self.refused: dict[Attempt, None] = {}
        self.trusting: dict[Kind, None] = {}
        self.doubts: Counter[Attempt] = Counter()
        self.attempts: dict[str, tuple[Attempt, ClientHelloData]] = {}  # by client connection
        self.silent: dict[str, tuple[Attempt, ClientHelloData]] = {}
        self.meters: dict[str, Meter] = {}

    def load(self, loader: Loader) -> None:
        """Declares the options."""
        loader.add_option("events_file", str, "", "File that notes beside the traffic are appended to.")
        loader.add_option("passthrough", bool, True, "Let clients through that refused our certificate.")

    def configure(self, updated: set[str]) -> None:
        """Opens the file."""
        if "events_file" in updated and ctx.options.events_file:
            self.book = Notebook.of_option(ctx.options.events_file)

    def tls_clienthello(self, data: ClientHelloData) -> None:
        """Lets through who is known to refuse; else remembers who is trying."""
        attempt = attempt_of(data)
        if may_pass(attempt) and attempt in self.refused:
            self.pass_through(data)
        else:
            remember(self.attempts, data.context.client.id, (attempt, data))

    def pass_through(self, data: ClientHelloData) -> None:
        """Has mitmproxy pass the connection on as it is, and measures it."""
        data.ignore_connection = True
        client = data.context.client
        layer = next((each for each in data.context.layers if isinstance(each, ClientTLSLayer)), None)
        if self.book is None or layer is None:
            return
        began = Passing(time=time.time(), id=str(uuid.uuid4()), reason="pinned", **facts(data))
        self.book.write_or_stop(began)
        self.meters[client.id] = meter = Meter(self.book, client, began)
        layer.event_to_child = metered(layer.event_to_child, meter)  # type: ignore[method-assign, assignment]

    def tls_failed_client(self, data: TlsData) -> None:
        """The handshake failed: notes it, and whether that is enough to let the next one through."""
        attempt, hello = self.attempts.pop(data.context.client.id, (None, None))
        if attempt is None or hello is None:
            return
        error = data.conn.error or ""
        alert = ALERT.search(error)
        if alert:
            self.refuse(attempt, hello, "alert", alert[1])
        elif "disconnected" in error or "closed" in error:
            self.doubts[attempt] += 1
            self.refuse(attempt, hello, "closed", "", enough=self.doubts[attempt] >= TWICE)
        else:
            self.refuse(attempt, hello, "failed", error[-200:])

    def tls_established_client(self, data: TlsData) -> None:
        """The client accepted our certificate; whether it says anything remains to be seen."""
        known = self.attempts.pop(data.context.client.id, None)
        if known is None:
            return
        kind = known[0].kind
        if kind not in self.trusting:
            remember(self.trusting, kind, None)
            for attempt in [attempt for attempt in self.refused if attempt.kind == kind]:
                del self.refused[attempt]
        remember(self.silent, data.context.client.id, known)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """The client spoke."""
        self.spoke(flow.client_conn)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """The client spoke something else."""
        self.spoke(flow.client_conn)

    def spoke(self, client: connection.Client) -> None:
        """A connection that is used was accepted."""
        if known := self.silent.pop(client.id, None):
            self.doubts.pop(known[0], None)

    def client_disconnected(self, client: connection.Client) -> None:
        """The end of a connection: of one let through, or of one that never said a word."""
        self.attempts.pop(client.id, None)
        if meter := self.meters.pop(client.id, None):
            meter.end()
        if known := self.silent.pop(client.id, None):
            self.doubts[known[0]] += 1
            if self.doubts[known[0]] >= SILENT:
                self.refuse(*known, "silent", "")

    def refuse(
        self, attempt: Attempt, data: ClientHelloData, how: Any, alert: str, *, enough: bool = True
    ) -> None:
        """Notes a refusal."""
        if enough:
            self.doubts.pop(attempt, None)
            remember(self.refused, attempt, None)
        passes = enough and may_pass(attempt)
        if self.book:
            self.book.write_or_stop(
                Refused(time=time.time(), how=how, alert=alert, passes_next=passes, **facts(data))
            )


def may_pass(attempt: Attempt) -> bool:
    """Whether a client that refuses may be let through: not where nobody is beyond, as with our self-test, which is
    first loaded before the certificate is installed and then again."""
    return bool(ctx.options.passthrough) and not answered.here(attempt.host)


def remember(known: dict[Any, Any], key: object, value: object) -> None:
    """Keeps it, and forgets the oldest where there are too many."""
    known[key] = value
    if len(known) > MAX_KNOWN:
        del known[next(iter(known))]


def attempt_of(data: ClientHelloData) -> Attempt:
    """Who is trying to reach which host."""
    hello, context = data.client_hello, data.context
    kind = (
        str(context.client.peername[0] if context.client.peername else ""),
        frozenset(hello.cipher_suites) - CHANGING,
        frozenset(number for number, _ in hello.extensions) - CHANGING,
        tuple(hello.alpn_protocols),
    )
    return Attempt(kind, (hello.sni or host_of(context.server.address)).lower())


def host_of(address: Any) -> str:
    """The host of an address, if there is one."""
    return str(address[0]) if address else ""


def facts(data: ClientHelloData) -> dict[str, Any]:
    """What a note says of a hello and its connection."""
    hello, context = data.client_hello, data.context
    return {
        "client": pair(context.client.peername),
        "server": pair(context.server.address),
        "sni": hello.sni,
        "alpn": tuple(name.decode("latin-1") for name in hello.alpn_protocols[:16]),
        "ech": any(number == 0xFE0D for number, _ in hello.extensions),
        "process": process_of(context.client),
    }


def pair(address: Any) -> tuple[str, int] | None:
    """Host and port of an address, which may have four parts."""
    return (str(address[0]), int(address[1])) if address else None


def process_of(client: connection.Client) -> str | None:
    """The app, as far as the system tells it (mitmproxy's local mode)."""
    server: Any = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    for handler in list(server.connections.values()) if server else ():
        if handler.client is client:
            io = handler.transports.get(client)
            name = io.writer.get_extra_info("process_name") if io and io.writer else None
            return str(name) if name else None
    return None


def metered(child: Callable[[events.Event], Any], meter: Meter) -> Callable[[events.Event], Any]:
    """The same handler, with the meter beside it."""

    def handle(event: events.Event) -> Any:
        meter.see(event)
        return child(event)

    return handle


addons = [Pinning()]
