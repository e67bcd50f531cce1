"""The state of one flow as mitmproxy writes it since format version 21: only the members that are needed.

Typed and checked; no behaviour. mitmproxy's own classes are not used, because they put the present time where
a message has none, and refuse a flow for a certificate that does not parse.
Sources: mitmproxy.flow, .http, .connection, .websocket, .tcp, .dns (get_state).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from audit.records import Headers

Address = list[Any] | None


class Client(Struct):
    id: str
    peername: Address = None
    sockname: Address = None
    proxy_mode: str | None = None
    transport_protocol: Literal["tcp", "udp"] = "tcp"
    error: str | None = None
    tls: bool = False
    alpn_offers: list[bytes] = []
    tls_version: str | None = None
    sni: str | None = None
    timestamp_start: float | None = None
    timestamp_end: float | None = None
    timestamp_tls_setup: float | None = None


class Server(Struct):
    address: Address = None
    peername: Address = None
    via: Any = None


class Error(Struct):
    msg: str


class HttpMessage(Struct):
    http_version: bytes
    headers: Headers = ()
    content: bytes | None = None
    trailers: Headers | None = None
    timestamp_start: float | None = None


class Request(HttpMessage, kw_only=True):
    host: Any
    port: int
    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes


class Response(HttpMessage, kw_only=True):
    status_code: int


class Question(Struct):
    name: str
    type: int


class Answer(Question):
    data: bytes


class DnsMessage(Struct):
    timestamp: float | None = None
    questions: list[Question] = []
    answers: list[Answer] = []


class WebSocket(Struct):
    # opcode, from the client, content, time, dropped, injected; version 11 and older kept text as text
    messages: list[tuple[int, bool, Any, float | None, bool, bool]] = []


class _Flow(Struct, tag_field="type"):
    client_conn: Client
    server_conn: Server
    error: Error | None = None


class HttpFlow(_Flow, kw_only=True, tag="http"):
    request: Request
    response: Response | None = None
    websocket: WebSocket | None = None
    is_replay: str | None = None
    metadata: dict[Any, Any] = {}


class TcpFlow(_Flow, kw_only=True, tag="tcp"):
    messages: list[tuple[bool, bytes, float | None]]  # from the client, content, time


class UdpFlow(_Flow, kw_only=True, tag="udp"):
    messages: list[tuple[bool, bytes, float | None]]  # from the client, content, time


class DnsFlow(_Flow, kw_only=True, tag="dns"):
    request: DnsMessage
    response: DnsMessage | None = None


AnyFlow = HttpFlow | TcpFlow | UdpFlow | DnsFlow


def flow_of(state: object) -> AnyFlow:
    """The typed flow of a migrated state.

    Raises:
        msgspec.ValidationError: it has not the shape of a flow.
    """
    flow: AnyFlow = msgspec.convert(state, AnyFlow, builtin_types=(bytes,))
    return flow
