"""Offline answers: every host and every name is answered here, nothing goes upstream.

    mitmdump -s addons/offline_answers.py
    mitmdump -s addons/offline_answers.py --set offline_domains=example,audit.test

So a device can be audited without the internet: what it sends can be seen, and no one else receives it. With
`offline_domains`, only the hosts of these domains are answered (the pages of planted addresses, which nobody else
serves), and everything else goes its way; with none named, nothing is answered.

- DNS: any name has one IPv4 address of the range reserved for benchmarks (RFC 2544: 198.18.0.0/15), always the same;
  other record types exist but are empty. mitmproxy's own resolver, which would ask the machine's name servers, is
  taken out.
- HTTP: the first fitting row of ANSWERS; hosts that no row names are web sites whose pages load nothing.
- Any connection that would still go upstream (raw TCP, UDP, WebSocket) is refused.

It must never open a connection for what it answers, and no page of its may refer to another resource.
"""

import asyncio
import hashlib
import html
import ipaddress
import json
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from mitmproxy import ctx, dns, http
from mitmproxy.addonmanager import Loader
from mitmproxy.net.dns import classes, types
from mitmproxy.net.http import url
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from audit.recording import answered, dead_end

TEST_RANGE = ipaddress.IPv4Network("198.18.0.0/15")
TTL = 60  # seconds
ALL = "*"

Body = Callable[[http.Request], str]


def nothing(_: http.Request) -> str:
    """An empty body."""
    return ""


def page(request: http.Request) -> str:
    """A web page that shows its own address and loads nothing, not even an icon."""
    host, path = html.escape(request.pretty_host), html.escape(request.path)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        f"<title>{host}</title></head><body><h1>{host}</h1><p>{path}</p></body></html>"
    )


def results(request: http.Request) -> str:
    """A search engine's page of results, without any."""
    term = html.escape(request.query.get("q", ""))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        f"<title>{term}</title></head><body><h1>{term}</h1><p>No results offline.</p></body></html>"
    )


def suggestions(request: http.Request) -> str:
    """Suggestions as browsers read them (OpenSearch Suggestions 1.1): the typed text, then the list."""
    typed = request.query.get("q", "")
    return json.dumps([typed, [f"{typed} {word}" for word in ("meaning", "near me")]])


def fixed(text: str) -> Body:
    """The same text for every request."""
    return lambda _: text


class Answer(NamedTuple):
    """One row: the hosts (a name, or `.` and a parent domain) and path prefix it is for, and what is answered."""

    host: str
    path: str
    status: int
    content_type: str
    body: Body


JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
NO_UPDATE = ')]}\'\n{"response":{"protocol":"4.0","apps":[]}}'  # JSON behind its guard against inclusion

ANSWERS = (
    Answer("duckduckgo.com", "/ac/", 200, JSON, suggestions),
    Answer("duckduckgo.com", "/?", 200, HTML, results),
    Answer("", "/complete/search?", 200, JSON, suggestions),
    Answer("", "/search?", 200, HTML, results),
    # Is there a network? Each system asks its own host, and shows a log-in page if the answer is another one.
    Answer("captive.apple.com", "/", 200, HTML, fixed("<HTML><BODY>Success</BODY></HTML>")),
    Answer("detectportal.firefox.com", "/", 200, TEXT, fixed("success\n")),
    Answer("www.msftconnecttest.com", "/", 200, TEXT, fixed("Microsoft Connect Test")),
    Answer("", "/generate_204", 204, "", nothing),
    Answer("", "/gen_204", 204, "", nothing),
    # Chromium's own services: nobody is signed in, nothing is newer, nothing is to be had.
    Answer("accounts.google.com", "/ListAccounts", 200, TEXT, nothing),
    Answer("update.googleapis.com", "/service/update2", 200, JSON, fixed(NO_UPDATE)),
    Answer(".googleapis.com", "/", 204, "", nothing),
    Answer("clients2.google.com", "/", 204, "", nothing),
    Answer(".gvt1.com", "/", 404, "", nothing),
    # Everything else is a web site.
    Answer("", "/favicon.ico", 404, "", nothing),
    Answer("", "/", 200, HTML, page),
)


def answer_for(host: str, path: str) -> Answer:
    """The first row that fits; the last one fits everything (`OPTIONS *` has no path)."""
    for row in ANSWERS:
        fits = host.endswith(row.host) if row.host.startswith(".") else row.host in ("", host)
        if fits and path.startswith(row.path):
            return row
    return ANSWERS[-1]


def address_of(name: str) -> ipaddress.IPv4Address:
    """The address of a name in the test range, the same at every run; letter case does not matter."""
    number = int.from_bytes(hashlib.sha256(name.lower().encode()).digest()[:8], "big")
    return TEST_RANGE[2 + number % (TEST_RANGE.num_addresses - 3)]  # the first one is the self-test's


@lru_cache(maxsize=4096)
def named_host(authority: str) -> str:
    """The host of an authority. Many requests name the same, and taking one apart takes time."""
    return url.parse_authority(authority, check=False)[0]


def in_test_range(host: str) -> bool:
    """Whether this is an address that we gave."""
    try:
        return ipaddress.IPv4Address(host) in TEST_RANGE
    except ValueError:
        return False


class OfflineAnswers:
    """The addon: answers before anything is asked of the world outside."""

    def __init__(self) -> None:
        self.everything = True
        self.domains: tuple[str, ...] = ()
        self.stub: asyncio.Server | None = None
        self.way_out = ("", 0)

    def load(self, loader: Loader) -> None:
        """Declares the option, and says which hosts are ours."""
        answered.claim(self.ours)
        loader.add_option("offline_domains", str, ALL, "Domains to answer for, with commas; * is all hosts.")

    def configure(self, updated: set[str]) -> None:
        """Takes the domains."""
        if "offline_domains" in updated:
            parts = ctx.options.offline_domains.lower().split(",")
            self.everything = ctx.options.offline_domains.strip() == ALL
            self.domains = tuple(part.strip().strip(".") for part in parts if part.strip())

    def ours(self, host: str) -> bool:
        """Whether a host is answered here."""
        if self.everything:
            return True
        host = host.lower().rstrip(".")
        return any(host == each or host.endswith(f".{each}") for each in self.domains)

    async def running(self) -> None:
        """Certificates are made from the name asked for, not from the real host's; no resolver but ours. Where
        only some domains are answered, a door that leads nowhere: mitmproxy may connect before it asks us."""
        if self.everything:
            ctx.options.update(connection_strategy="lazy", upstream_cert=False)  # type: ignore[no-untyped-call]
            resolver = ctx.master.addons.get("dnsresolver")  # type: ignore[no-untyped-call]
            if resolver is not None:
                ctx.master.addons.remove(resolver)  # type: ignore[no-untyped-call]
        elif self.domains:
            self.stub, self.way_out = await dead_end.opened()

    def dns_request(self, flow: dns.DNSFlow) -> None:
        """One address for any name asked for, nothing for other types."""
        question = flow.request.question
        if question and not self.ours(question.name):
            return
        answers = []
        if question and question.type == types.A and question.class_ == classes.IN:
            answers = [dns.ResourceRecord.A(question.name, address_of(question.name), ttl=TTL)]
        flow.response = flow.request.succeed(answers)

    def request(self, flow: http.HTTPFlow) -> None:
        """The table's answer, unless another addon has given one."""
        host = named_host(flow.request.host_header or flow.request.host)
        if flow.response is not None or not self.ours(host):
            return
        row = answer_for(host.lower(), flow.request.path)
        headers = {"content-type": row.content_type} if row.content_type else {}
        flow.response = http.Response.make(row.status, row.body(flow.request), headers)

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Nothing of what is answered here goes upstream."""
        if self.everything:
            data.server.error = "offline: no connection leaves this machine"
        elif self.stub:
            host = str(data.server.address[0]) if data.server.address else ""
            if self.ours(host) or in_test_range(host):
                data.server.address = self.way_out


addons = [OfflineAnswers()]
