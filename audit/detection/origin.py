"""Who sent a request: the page, the browser or app itself, the system, or unknown, and why we say so.

What a client declares of itself is taken at its word, and the word is given as evidence: Fetch Metadata
(W3C, Sec-Fetch-*), Origin and Referer (RFC 9110), X-Requested-With (Android's WebView), User-Agent, and a
HAR's initiator. Of a request that declares nothing, its connection may tell: who else used it, and whether
its TLS fingerprint (JA4) is that of the browser. What nothing tells stays unknown.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from audit.adapters import search_engines
from audit.recipients.suffixes import registrable_domain
from audit.records import AnyRecord, Dns, Http, Origin, Tls, WebSocketMessage

_SYSTEM_AGENT = re.compile(
    rb"(?i)^(?:dalvik|android|googleapis|cfnetwork|darwin|microsoft-delivery|windows-update)"
)
_PACKAGE = re.compile(rb"[A-Za-z][\w]*(?:\.[\w]+)+")
_LIBRARY_AGENT = re.compile(
    rb"(?i)^(?:okhttp|cronet|java|apache-httpclient|volley|alamofire|dart|libcurl|curl)\b"
)


class Sender(NamedTuple):
    """Who sent it and the evidence for saying so, in a few words."""

    origin: Origin
    evidence: str


def headers_of(request: Http) -> dict[bytes, bytes]:
    """The request's headers by lower-case name; of repeated ones the last."""
    return {name.lower(): value for name, value in request.headers}


def is_navigation(request: Http) -> bool:
    """Whether the request loads a top-level document: what a person visits, not what a page embeds."""
    if request.method != "GET":
        return False
    headers = headers_of(request)
    if b"sec-fetch-dest" in headers:
        return headers[b"sec-fetch-dest"] == b"document"
    if request.initiator == "document":
        return True
    if b"x-requested-with" in headers or not headers.get(b"accept", b"").startswith(b"text/html"):
        return False
    if b"referer" in headers and not _same_site(headers[b"referer"], request.authority):
        # without Fetch Metadata, a frame of another site looks like this more often than a followed link
        return False
    answer = {name.lower(): value for name, value in request.response_headers}
    html = answer.get(b"content-type", b"").lower().startswith((b"text/html", b"application/xhtml"))
    return html or request.status in (301, 302, 303, 307, 308)


def is_submission(request: Http) -> bool:
    """Whether a person submits something with this request: it loads a document from an engine's results
    page (by GET or POST), or a document that no other site's page asked for."""
    headers = headers_of(request)
    document = headers.get(b"sec-fetch-dest") == b"document" or is_navigation(request)
    if not document:
        return False
    target = request.path
    if request.method == "POST" and request.body:
        target += ("&" if "?" in target else "?") + request.body[:4096].decode("latin-1")
    if search_engines().results_page(request.host or "", target):
        return True
    asked = headers.get(b"sec-fetch-site", b"none" if b"referer" not in headers else b"same-site")
    return request.method == "GET" and asked in (b"none", b"same-origin", b"same-site")


def _same_site(referrer: bytes, authority: str) -> bool:
    host = referrer.partition(b"://")[2].partition(b"/")[0].decode("latin-1")
    return registrable_domain(_bare(host)) == registrable_domain(_bare(authority))


def _bare(authority: str) -> str:
    return authority.rpartition("@")[2].partition(":")[0].lower()


def sender(record: AnyRecord) -> Sender:
    """Who sent this transmission."""
    match record:
        case Http():
            return _http(record)
        case WebSocketMessage():
            return Sender("unknown", "a WebSocket message declares no sender")
        case Dns() | Tls():
            return Sender("system", "name resolution and connection set-up")
    return Sender("unknown", "")


def _http(request: Http) -> Sender:
    headers = headers_of(request)
    site = headers.get(b"sec-fetch-site")
    app = headers.get(b"x-requested-with", b"")
    if is_navigation(request):
        return Sender("page", "a document navigation")
    if _PACKAGE.fullmatch(app) and site != b"none":
        return Sender("page", f"X-Requested-With: a page inside the app {app.decode()[:100]}")
    if site == b"none":
        return Sender("browser", "Sec-Fetch-Site: none, so no page asked for it")
    if site in (b"same-origin", b"same-site", b"cross-site"):
        return Sender("page", f"Sec-Fetch-Site: {site.decode()}, so a page asked for it")
    if request.initiator and "://" in request.initiator:
        return Sender("page", "the recording names the page or script that started it")
    if b"origin" in headers and headers[b"origin"] != b"null":
        return Sender("page", "it carries an Origin")
    if b"referer" in headers:
        return Sender("page", "it carries a Referer")
    agent = headers.get(b"user-agent", b"")
    if _SYSTEM_AGENT.match(agent):
        return Sender("system", "the User-Agent of a system service")
    if _LIBRARY_AGENT.match(agent):
        return Sender("browser", "the User-Agent of an app's own HTTP library")
    return Sender("unknown", "it declares no sender")


class Connections:
    """What the connections of one capture tell about requests that declare no sender."""

    def __init__(self) -> None:
        self._senders: dict[str, set[Origin]] = {}
        self._fingerprints: dict[str, str] = {}
        self._browser: set[str] = set()

    def add(self, record: AnyRecord) -> None:
        """Takes note of one record."""
        if record.flow is None:
            return
        if isinstance(record, Tls) and record.ja4:
            self._fingerprints[record.flow] = record.ja4
        elif isinstance(record, Http) and record.direction == "up":
            origin = _http(record).origin
            if origin != "unknown":
                self._senders.setdefault(record.flow, set()).add(origin)
            if is_navigation(record):
                self._browser.add(record.flow)

    def sender(self, flow: str | None) -> Sender | None:
        """Who used this connection, if it or its fingerprint tells; ask when all records are added."""
        if flow is None:
            return None
        senders = self._senders.get(flow, set())
        if senders and senders <= {"page", "browser"}:
            return Sender("browser", "it shares its connection with requests of the browser and its pages")
        browser = {self._fingerprints[f] for f in self._browser if f in self._fingerprints}
        mine = self._fingerprints.get(flow)
        if mine and browser:
            if mine in browser:
                return Sender("browser", "the TLS fingerprint (JA4) of the browser")
            return Sender("system", "another TLS fingerprint (JA4) than the browser's")
        return None
