"""mitmproxy flow files → records: what each flow says, as transmissions, connections and gaps.

Names: `f3` is the third flow of the file, `f3.m2` its second message, `f3.q` and `f3.r` a DNS question and
its response, `c2` the second client connection. Sizes of connections are those the proxy read (heads as
HTTP/1.1 text). It must never let a made-up value through. Source: mitmproxy.flow (format version 21).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from mitmproxy.net.dns import domain_names
from mitmproxy.net.dns import types as dns_types

from audit.protocols import dns
from audit.records import AnyRecord, Dns, Gap, Http, Message, SecuredBy, Tls, WebSocketMessage
from audit.sources import doh, values
from audit.sources.bad_capture import BadCapture
from audit.sources.connections import Connection, head_bytes
from audit.sources.flowfile import Index, index_of, states
from audit.sources.flowstate import (
    Address,
    Answer,
    AnyFlow,
    DnsFlow,
    HttpFlow,
    HttpMessage,
    Request,
    Response,
    Server,
    TcpFlow,
    UdpFlow,
)
from audit.sources.opening import Opened

_TLS_RECORD = (b"\x16\x03", b"\x16\xfe")  # a handshake record of TLS (RFC 8446) or DTLS (RFC 9147)
_IN_THE_WAY = ("wireguard", "transparent", "local")  # proxy modes of which the device knows nothing
_REMEDY = "check that it is a flow file written by mitmproxy"


def records(path: Path, source: Opened, capture: str, *, bodies: bool = False) -> Iterator[AnyRecord]:
    """The records of a flow file. A `Flow` follows the last transmission of its connection. With `bodies`,
    those of responses are kept.

    Raises:
        BadCapture: it holds no flow that can be read.
    """
    index = index_of(source.file, source.size)
    if not index.readable:
        if index.unsupported is not None:
            offset, detail = index.unsupported
            raise BadCapture(
                path, detail, "convert it with the mitmproxy that wrote it, or a newer one", offset
            )
        if not any(gap.reason in ("truncated", "limit") for gap in index.gaps):
            raise BadCapture(path, "no flow in it", _REMEDY)
    connections = _Connections(capture)
    for number, places in enumerate(index.flows.values(), 1):
        if places.merged:
            continue
        for state in states(source.file, source.size, index, places):
            if isinstance(state, Gap):
                yield msgspec.structs.replace(state, capture=capture)
                continue
            connection, opening = connections.of(state)
            yield from opening
            place = _Place(capture, f"f{number}", state, _continues(state, index), bodies)
            yield from _transmissions(place, connection, state)
        if places.connection is not None:
            index.left[places.connection] -= 1
            if not index.left[places.connection]:
                yield from connections.close(places.connection.decode("utf-8", "replace"))
    yield from connections.close_all()
    for gap in index.gaps:
        yield msgspec.structs.replace(gap, capture=capture)


def records_of(flow: AnyFlow, capture: str, name: str) -> Iterator[AnyRecord]:
    """The transmissions of one state of a flow, by itself; their ids begin with `name`."""
    connection, opening = _Connections(capture).of(flow)
    yield from opening
    continued = isinstance(flow, HttpFlow) and "continues" in flow.metadata
    yield from _transmissions(_Place(capture, name, flow, continued), connection, flow)


class _Connections:
    """The connections that still have flows to come."""

    def __init__(self, capture: str) -> None:
        self._capture = capture
        self._open: dict[str, Connection] = {}
        self._count = 0

    def of(self, flow: AnyFlow) -> tuple[Connection, tuple[Tls, ...]]:
        """The connection of a flow, and its ClientHello if the flow is the first on it."""
        client = flow.client_conn
        connection = self._open.get(client.id)
        opening: tuple[Tls, ...] = ()
        if connection is None:
            self._count += 1
            src, sport = _peer(client.peername)
            connection = Connection(f"c{self._count}", client.transport_protocol, src, sport)
            connection.name("sni", values.hostname(client.sni))
            if client.tls and client.timestamp_tls_setup is None:
                connection.failed = "the TLS handshake was not completed"
            self._open[client.id] = connection
            if client.tls:
                opening = (_hello(self._capture, connection, flow),)
        connection.touched(values.moment(client.timestamp_start))
        connection.touched(values.moment(client.timestamp_end))
        connection.servers.add(_asked(flow))
        if flow.error or client.error:
            connection.failed = values.text(flow.error.msg if flow.error else client.error)
        return connection, opening

    def close(self, client: str) -> Iterator[AnyRecord]:
        connection = self._open.pop(client, None)
        if connection is not None:
            yield connection.record(self._capture)

    def close_all(self) -> Iterator[AnyRecord]:
        for client in list(self._open):
            yield from self.close(client)


def _hello(capture: str, connection: Connection, flow: AnyFlow) -> Tls:
    """The ClientHello, as far as mitmproxy keeps it: the versions offered are not."""
    client = flow.client_conn
    dst, dport = _server(flow.server_conn)
    datagram: Literal["quic", "dtls"] = "dtls" if (client.tls_version or "").startswith("DTLS") else "quic"
    return Tls(
        capture=capture,
        time=values.moment(client.timestamp_start),
        flow=connection.id,
        src=connection.src,
        sport=connection.sport,
        dst=dst,
        dport=dport,
        id=f"{connection.id}.tls",
        host=values.hostname(client.sni),
        sni=values.text(client.sni) or None,
        alpn=tuple(values.text(offer) for offer in client.alpn_offers),
        transport="tls" if client.transport_protocol == "tcp" else datagram,
    )


def _peer(name: Address) -> tuple[str | None, int | None]:
    """(address, port) of a socket name, which has two parts, or four for IPv6."""
    if not name or len(name) < 2 or values.address(name[0]) is None:
        return None, None
    return values.address(name[0]), values.port(name[1])


def _server(server: Server) -> tuple[str | None, int | None]:
    """The server reached. Behind an upstream proxy (`via`) the peer is that proxy, not the server."""
    if not server.via and _peer(server.peername)[0] is not None:
        return _peer(server.peername)
    address, port = _peer(server.address)
    if address is None and server.address and len(server.address) > 1:
        return None, values.port(server.address[1])
    return address, port


def _asked(flow: AnyFlow) -> tuple[str | None, int | None]:
    """Whom the device turned to. A proxy that stands in the way passes DNS questions on to servers of its own
    choice; the device's own choice is then the address that the proxy answered for."""
    client = flow.client_conn
    mode = (client.proxy_mode or "").partition("@")[0].partition(":")[0]
    if isinstance(flow, DnsFlow) and mode in _IN_THE_WAY and _peer(client.sockname)[0] is not None:
        return _peer(client.sockname)
    return _server(flow.server_conn)


class _Place(NamedTuple):
    """Where a flow stands: the fields all its transmissions share. One that is `continued` only adds
    messages to a WebSocket whose request stands in another flow."""

    capture: str
    id: str
    flow: AnyFlow
    continued: bool = False
    bodies: bool = False

    def common(self, connection: Connection) -> dict[str, Any]:
        dst, dport = _asked(self.flow)
        return {
            "capture": self.capture,
            "flow": connection.id,
            "src": connection.src,
            "sport": connection.sport,
            "dst": dst,
            "dport": dport,
        }


def _continues(flow: AnyFlow, index: Index) -> bool:
    """Whether our recorder wrote the flow to continue another one of the file."""
    first = flow.metadata.get("continues") if isinstance(flow, HttpFlow) else None
    return isinstance(first, str) and first.encode() in index.flows


def _transmissions(place: _Place, connection: Connection, flow: AnyFlow) -> Iterator[AnyRecord]:
    """What was sent in one flow, both ways."""
    common = place.common(connection)
    match flow:
        case HttpFlow():
            yield from _http(place, common, connection, flow)
        case DnsFlow():
            yield from _dns(place, common, connection, flow)
        case TcpFlow() | UdpFlow():
            yield from _messages(place, common, connection, flow)


def _http(
    place: _Place, common: dict[str, Any], connection: Connection, flow: HttpFlow
) -> Iterator[AnyRecord]:
    if flow.is_replay == "request":
        detail = "a request sent again from the proxy, not by the device"
        yield Gap(capture=place.capture, flow=connection.id, reason="unsupported", detail=detail)
        return
    request, response = flow.request, flow.response
    scheme = values.text(request.scheme).lower()
    authority = _authority(request, scheme)
    host, _ = values.split_authority(authority)
    path = values.target(request.path)
    method = values.text(request.method)
    secured: SecuredBy = "proxy" if flow.client_conn.tls or scheme == "https" else "cleartext"
    sent, size = _body(request)
    answer, answer_size = _answer_size(response)
    connection.name("http", values.hostname(host))
    if not place.continued:
        connection.carried(
            values.moment(request.timestamp_start),
            up=None if size is None else size + head_bytes(method, path, "HTTP/1.1", headers=request.headers),
            down=answer,
        )
        yield Http(
            **common,
            time=values.moment(request.timestamp_start),
            id=place.id,
            host=values.hostname(host),
            method=method,
            scheme=scheme,
            authority=authority,
            path=path,
            version=values.http_version(values.text(request.http_version)),
            status=response.status_code if response else None,
            request_bytes=size or 0,
            response_bytes=answer_size,
            secured_by=secured,
            headers=request.headers + (request.trailers or ()),
            body=sent,
            response_headers=response.headers + (response.trailers or ()) if response else (),
            response_body=response.content if response and place.bodies else None,
        )
        answers = response.headers if response else ()
        content = response.content if response else None
        for count, asked in enumerate(doh.messages(method, path, request.headers, sent, answers, content), 1):
            yield from _inside(
                common,
                f"{place.id}.d{count}",
                values.hostname(host),
                asked,
                values.moment(request.timestamp_start),
            )
    url = f"{scheme.replace('http', 'ws', 1)}://{authority}{path}"
    for number, message in enumerate(flow.websocket.messages if flow.websocket else (), 1):
        opcode, from_client, told, time, _dropped, injected = message
        content = told if isinstance(told, bytes) else str(told).encode()
        if injected:
            detail = "a WebSocket message put in by the proxy, not sent by either side"
            yield Gap(capture=place.capture, flow=connection.id, reason="unsupported", detail=detail)
            continue
        size = len(content)
        connection.carried(values.moment(time), up=size * from_client, down=size * (not from_client))
        yield WebSocketMessage(
            **common,
            time=values.moment(time),
            id=f"{place.id}.m{number}",
            host=values.hostname(host),
            direction="up" if from_client else "down",
            type="text" if opcode == 1 else "binary",
            bytes=size,
            url=url,
            secured_by=secured,
            data=content,
        )


def _authority(request: Request, scheme: str) -> str:
    """What the request itself calls the other side (RFC 9110 section 7.2); else where it was sent to."""
    for candidate in (
        request.authority,
        *(value for name, value in request.headers if name.lower() == b"host"),
    ):
        if candidate:
            return values.text(candidate)
    host = values.text(request.host if isinstance(request.host, str | bytes) else None)
    if ":" in host:
        host = f"[{host}]"
    return host if request.port == values.default_port(scheme) else f"{host}:{request.port}"


def _body(message: HttpMessage) -> tuple[bytes | None, int | None]:
    """The body as sent and its size; a body that was streamed past the proxy was not kept, its size may be
    declared (RFC 9110 section 8.6)."""
    if message.content is not None:
        return message.content, len(message.content)
    return None, values.declared_length(message.headers)


def _answer_size(response: Response | None) -> tuple[int | None, int | None]:
    """The size of a response with its head, and of its body alone."""
    if response is None:
        return 0, None
    _, size = _body(response)
    head = head_bytes("HTTP/1.1", "200", "OK", headers=response.headers)
    return None if size is None else size + head, size


def _messages(
    place: _Place, common: dict[str, Any], connection: Connection, flow: TcpFlow | UdpFlow
) -> Iterator[AnyRecord]:
    first = next((content for from_client, content, _ in flow.messages if from_client), b"")
    if not flow.client_conn.tls and first.startswith(_TLS_RECORD):
        connection.opaque = "TLS that the proxy passed on unopened"
    address = flow.server_conn.address
    named = address[0] if address and isinstance(address[0], str) else None
    host = values.hostname(flow.client_conn.sni) or values.hostname(named)
    for number, (from_client, content, time) in enumerate(flow.messages, 1):
        size = len(content)
        connection.carried(values.moment(time), up=size * from_client, down=size * (not from_client))
        if connection.opaque:
            continue
        yield Message(
            **common,
            time=values.moment(time),
            id=f"{place.id}.m{number}",
            host=host,
            direction="up" if from_client else "down",
            transport="tcp" if isinstance(flow, TcpFlow) else "udp",
            bytes=size,
            data=content,
        )


def _dns(place: _Place, common: dict[str, Any], connection: Connection, flow: DnsFlow) -> Iterator[AnyRecord]:
    carrier: Literal["dot", "udp", "tcp"] = flow.client_conn.transport_protocol
    if flow.client_conn.tls:
        carrier = "dot"
    for suffix, message in (("q", flow.request), ("r", flow.response)):
        if message is None:
            continue
        connection.carried(values.moment(message.timestamp), up=None, down=None)
        # A response without the question answers the question that was asked.
        for number, question in enumerate(message.questions or flow.request.questions, 1):
            yield Dns(
                **common,
                time=values.moment(message.timestamp),
                id=f"{place.id}.{suffix}{number if number > 1 else ''}",
                direction="up" if suffix == "q" else "down",
                name=values.text(question.name).rstrip("."),
                type=values.text(dns_types.to_str(question.type)),
                response=suffix == "r",
                answers=tuple(_answer(answer) for answer in message.answers) if suffix == "r" else (),
                carrier=carrier,
            )


def _inside(
    common: dict[str, Any], name: str, host: str | None, message: dns.Message, time: float | None
) -> Iterator[AnyRecord]:
    """What a DNS message inside of HTTP asks and answers."""
    for number, question in enumerate(message.questions, 1):
        yield Dns(
            **common,
            host=host,
            time=time,
            id=f"{name}{f'.{number}' if number > 1 else ''}",
            direction="down" if message.response else "up",
            name=question.name,
            type=values.text(dns_types.to_str(question.type)),
            response=message.response,
            answers=tuple(answer.data for answer in message.answers) if message.response else (),
            carrier="doh",
        )


def _answer(answer: Answer) -> str:
    """The data of a resource record as people write it (RFC 1035, 3596); hexadecimal for other types."""
    try:
        match dns_types.to_str(answer.type):
            case "A":
                return str(ipaddress.IPv4Address(answer.data))
            case "AAAA":
                return str(ipaddress.IPv6Address(answer.data))
            case "CNAME" | "NS" | "PTR":
                return values.text(domain_names.unpack(answer.data)).rstrip(".")
            case "TXT":
                return values.text(answer.data)
    except Exception:  # noqa: BLE001, RUF100, S110 - hostile data; shown as it is
        pass
    return f"0x{answer.data.hex()}"
