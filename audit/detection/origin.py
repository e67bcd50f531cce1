"""Who sent a request: the page, the browser or app itself, the system, or unknown, and why we say so.

What a client declares of itself is taken at its word, and the word is given as evidence: Fetch Metadata
(W3C, Sec-Fetch-*), Origin and Referer (RFC 9110), X-Requested-With (Android's WebView), User-Agent, and a
HAR's initiator. Of a request that declares nothing, its connection may tell: who else used it, and whether
its TLS fingerprint (JA4) is that of the browser; and so may its time, where it left before any page was
opened. What nothing tells stays unknown.
"""

from __future__ import annotations

import re
from bisect import bisect, insort
from typing import NamedTuple

from audit.adapters import Search, search_engines
from audit.recipients.suffixes import registrable_domain
from audit.records import AnyRecord, Dns, Http, Origin, Tls, WebSocketMessage

_SYSTEM_AGENT = re.compile(
    rb"(?i)^(?:android(?:downloadmanager|-gcm|/| )|googleauth|com\.google\.android\.gms|com\.apple\.|googleapis|"
    rb"microsoft-delivery|microsoft-cryptoapi|microsoft ncsi|windows-update|networkingextension|trustd|ocspd)"
)
# what any app and the system alike send unless told otherwise (java.net.HttpURLConnection on Android)
_SHARED_AGENT = re.compile(rb"(?i)^dalvik/")
_PACKAGE = re.compile(rb"[A-Za-z][\w]*(?:\.[\w]+)+")
_LIBRARY_AGENT = re.compile(
    rb"(?i)^(?:okhttp|cronet|java|apache-httpclient|volley|alamofire|dart|libcurl|curl)\b|\bcfnetwork/|\bokhttp/|"
    rb"^[a-z][\w]*(?:\.[\w]+){2,}/"  # the name of an app's package
)


_WEB = ("http://", "https://", "file://", "about:", "blob:", "data:")
_EXTENSIONS = (
    "chrome-extension://",
    "moz-extension://",
    "safari-web-extension://",
    "ms-browser-extension://",
)
_APPS = ("android-app://", "ios-app://", "chrome://", "edge://")
# kinds of requests as developer tools list them in a HAR (_resourceType, and _initiator.type)
_RESOURCES = frozenset((
    "beacon", "css", "eventsource", "fetch", "font", "image", "img", "manifest", "media", "parser", "ping", "script",
    "stylesheet", "subdocument", "texttrack", "websocket", "xhr",
))  # fmt: skip
_OWN_RESOLVER = ("doh", "dot", "doq")
_SHORTLY = 5.0
BY_REFERER = "it carries a Referer"


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


def results_page(request: Http) -> Search | None:
    """The search that a request to an engine's results page carries, in its address or in a form. Whether a
    person submitted it, other things tell."""
    target = request.path
    if request.method == "POST" and request.body:
        target += ("&" if "?" in target else "?") + request.body[:4096].decode("latin-1")
    return search_engines().results_page(request.host or "", target)


def is_submission(request: Http) -> bool:
    """Whether a person submits something with this request: it loads a document from an engine's results
    page (by GET or POST), or a document that no other site's page asked for."""
    headers = headers_of(request)
    document = headers.get(b"sec-fetch-dest") == b"document" or is_navigation(request)
    if not document:
        return False
    if results_page(request):
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
        case Dns() if record.carrier in _OWN_RESOLVER:
            return Sender("unknown", "an encrypted name look-up, of the system or of an app of its own")
        case Dns():
            return Sender("system", "name resolution")
        case Tls():
            return Sender("unknown", "a TLS handshake declares no sender")
    return Sender("unknown", "")


def _http(request: Http) -> Sender:
    headers = headers_of(request)
    site = headers.get(b"sec-fetch-site")
    app = headers.get(b"x-requested-with", b"")
    asking = headers.get(b"origin", headers.get(b"referer", b"")).decode("latin-1").lower()
    if asking.startswith(_EXTENSIONS):
        return Sender("browser", "Origin or Referer: a browser extension")
    if is_navigation(request):
        return Sender("page", "a document navigation")
    if _PACKAGE.fullmatch(app) and site != b"none":
        return Sender("page", f"X-Requested-With: a page inside the app {app.decode()[:100]}")
    if site == b"none":
        return Sender("browser", "Sec-Fetch-Site: none, so no page asked for it")
    if site in (b"same-origin", b"same-site", b"cross-site"):
        return Sender("page", f"Sec-Fetch-Site: {site.decode()}, so a page asked for it")
    if app.lower() == b"xmlhttprequest":
        return Sender("page", "X-Requested-With: a script of a page")
    initiator = (request.initiator or "").lower()
    if initiator.startswith(_EXTENSIONS):
        return Sender("browser", "the recording names a browser extension that started it")
    if initiator.startswith(_WEB):
        return Sender("page", "the recording names the page or script that started it")
    if initiator in _RESOURCES:
        return Sender("page", f"the recording lists it as what a page loads ({initiator})")
    agent = headers.get(b"user-agent", b"")
    if _SYSTEM_AGENT.match(agent):
        return Sender("system", "the User-Agent of a system service")
    if _LIBRARY_AGENT.search(agent):
        return Sender("browser", "the User-Agent of an app's own HTTP library")
    for name in ("Origin", "Referer"):
        value = headers.get(name.lower().encode(), b"").decode("latin-1").lower()
        if value.startswith(_APPS):
            return Sender("browser", f"{name}: an app")
        if value.startswith(_WEB):
            return Sender("page", BY_REFERER if name == "Referer" else "it carries an Origin")
    if _SHARED_AGENT.match(agent):
        return Sender("unknown", "the User-Agent that Android gives to any app and to the system")
    return Sender("unknown", "it declares no sender")


class Connections:
    """What the connections and times of one capture tell about requests that declare no sender."""

    def __init__(self) -> None:
        self._senders: dict[str, set[Origin]] = {}
        self._fingerprints: dict[str, str] = {}
        self._browser: set[str] = set()
        self._agents: set[bytes] = set()
        self._declaring: set[bytes] = set()
        self._opened: list[float] = []

    def add(self, record: AnyRecord) -> None:
        """Takes note of one record."""
        if isinstance(record, Tls):
            if record.ja4 and record.flow is not None:
                self._fingerprints[record.flow] = record.ja4
        elif isinstance(record, Http) and record.direction == "up":
            origin = _http(record).origin
            if origin != "unknown" and record.flow is not None:
                self._senders.setdefault(record.flow, set()).add(origin)
            if is_navigation(record):
                self._navigated(record)

    def _navigated(self, record: Http) -> None:
        headers = headers_of(record)
        self._agents.add(headers.get(b"user-agent", b""))
        if b"sec-fetch-site" in headers:
            self._declaring.add(headers.get(b"user-agent", b""))
        if record.flow is not None:
            self._browser.add(record.flow)
        if record.time is not None:
            insort(self._opened, record.time)

    def sender(
        self, flow: str | None, time: float | None = None, agent: bytes = b"", *, https: bool = False
    ) -> Sender | None:
        """Who sent a request that declares nothing, if its connection, what its pages declare, or the time tells; ask
        when all records are added. `agent` is its User-Agent, `https` whether it went over TLS."""
        told = self._by_connection(flow) if flow is not None else None
        if told is None and https and agent in self._declaring:
            # no script can leave these headers out (Fetch Metadata, 2)
            told = Sender("browser", "the browser's User-Agent, without the Sec-Fetch headers of its pages")
        return told or self._by_time(time, agent)

    def _by_connection(self, flow: str) -> Sender | None:
        senders = self._senders.get(flow, set())
        if senders and senders <= {"page", "browser"}:
            return Sender("browser", "it shares its connection with requests of the browser and its pages")
        if senders == {"system"}:
            return Sender("system", "it shares its connection with requests of the system")
        browser = {self._fingerprints[f] for f in self._browser if f in self._fingerprints}
        mine = self._fingerprints.get(flow)
        if mine and browser:
            if mine in browser:
                return Sender("browser", "the TLS fingerprint (JA4) of the browser")
            return Sender(
                "unknown",
                "another TLS fingerprint (JA4) than the browser's: the system, or a library in an app",
            )
        return None

    def _by_time(self, time: float | None, agent: bytes) -> Sender | None:
        if time is None or not self._opened:
            return None
        before = bisect(self._opened, time)
        if before == 0:
            told = agent and agent in self._agents
            return Sender("browser", "the browser's User-Agent, before any page was opened") if told else None
        since = time - self._opened[before - 1]
        if since > _SHORTLY:
            return None
        return Sender("unknown", f"it declares no sender; it left {since:.1f} s after a page was opened")
