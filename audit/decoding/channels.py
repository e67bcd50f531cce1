"""A transmission's channels: the raw named parts that unfolding starts from.

One row per place where a value can stand: `url.host`, `url.path`, `url.query`, `header:<name>`, `cookie`,
`body`, `websocket`, `mqtt`, `dns`, `sni`, `tcp`, `udp`. Nothing is decoded here; what the headers declare of
the body becomes the hints of `unfold`.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.records import AnyRecord, Dns, Http, Message, MqttMessage, Tls, WebSocketMessage

_CONTENT_CODINGS = {
    "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd",
}  # fmt: skip
_SAID_ELSEWHERE = {b"host", b":authority", b":path", b":scheme", b":method", b"content-length"}


class Channel(NamedTuple):
    """One part of a transmission as sent, and what is declared of it (outermost first)."""

    name: str
    data: bytes
    hints: tuple[str, ...] = ()


def channels(record: AnyRecord) -> list[Channel]:
    """The channels of a record that left the device; none for what came in, flows and gaps."""
    if getattr(record, "direction", "down") != "up":
        return []
    match record:
        case Http():
            return _http(record)
        case WebSocketMessage():
            return [Channel("websocket", record.data)]
        case MqttMessage():
            topic = (record.topic or "").encode("utf-8", "replace")
            return [Channel("mqtt", part) for part in (topic, record.data) if part]
        case Dns():
            return [Channel("dns", record.name.encode("utf-8", "replace"))]
        case Tls():
            return [Channel("sni", record.sni.encode("utf-8", "replace"))] if record.sni else []
        case Message():
            return [Channel(record.transport, record.data)]
    return []


def _http(request: Http) -> list[Channel]:
    path, _, query = request.path.encode("utf-8", "surrogateescape").partition(b"?")
    authority = request.authority.encode("utf-8", "replace")
    found = [Channel("url.host", authority), Channel("url.path", path)]
    if query:
        found.append(Channel("url.query", query, ("form",)))
    for name, value in request.headers:
        name = name.lower()
        if name == b"cookie":
            found.append(Channel("cookie", value, ("cookie",)))
        elif name not in _SAID_ELSEWHERE or (name == b"host" and _bare(value) != _bare(authority)):
            found.append(Channel(f"header:{name.decode('latin-1')}", value))
    if request.body:
        found.append(Channel("body", request.body, body_hints(request)))
    return found


def _bare(authority: bytes) -> bytes:
    """A host without its port."""
    return authority.lower().rpartition(b":")[0] or authority.lower()


def body_hints(request: Http) -> tuple[str, ...]:
    """What the headers declare of the body: content codings, last applied first, then the media type
    (with its charset, where that is not UTF-8)."""
    codings: list[str] = []
    media = ""
    for name, value in request.headers:
        name = name.lower()
        text = value.decode("latin-1").lower()
        if name == b"content-encoding":
            codings += [part.strip() for part in text.split(",")]
        elif name == b"content-type":
            media = text
    kind, _, parameters = media.partition(";")
    kind = kind.strip()
    charset = parameters.partition("charset=")[2].partition(";")[0].strip(" \"'")
    if charset and charset not in ("utf-8", "utf8", "us-ascii"):
        kind = f"{kind};charset={charset}"
    known = tuple(_CONTENT_CODINGS[c] for c in reversed(codings) if c in _CONTENT_CODINGS)
    return (*known, kind) if kind else known
