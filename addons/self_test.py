"""Self-test: a page that tells the phone whether its traffic passes here and whether it trusts the certificate.

    mitmdump -s addons/self_test.py --set events_file=EXPERIMENT/events.jsonl

`http://privacy-audit.test/` (RFC 6761: `.test` is nobody's), or `http://198.18.0.1/` where names are not asked here,
shows two lines: the first if it loads at all, the second if a picture loads over HTTPS, which needs our certificate
authority. The page hands out the authority's certificate, too. Nothing of this goes upstream. The first contact of
each device in a sitting is noted, and each step of the self-test.

It must never answer for another host.
"""

import asyncio
import ipaddress
import time
from pathlib import Path
from typing import Any

from mitmproxy import connection, ctx, dns, http
from mitmproxy.addonmanager import Loader
from mitmproxy.net.dns import classes, types
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from audit.protocols.notes import Contact
from audit.recording import answered, dead_end
from audit.recording.notebook import Notebook
from audit.recording.onboarding import ADDRESS, HOST

CERTIFICATE = "mitmproxy-ca-cert"
KINDS = {
    ".pem": "application/x-x509-ca-cert",
    ".cer": "application/x-x509-ca-cert",
    ".p12": "application/x-pkcs12",
}
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="26" height="26" viewBox="0 0 26 26">'
    '<circle cx="13" cy="13" r="12" fill="#1a7f37"/>'
    '<path d="M7 13l4 4 8-9" fill="none" stroke="#fff" stroke-width="3"/></svg>'
)
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<title>Self-test</title><style>
:root{{color-scheme:light dark}}
body{{font:17px/1.5 system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem}}
li{{display:flex;gap:.7rem;align-items:center;min-height:3rem}}ul{{padding:0}}img{{min-width:26px}}
a.button{{display:inline-block;padding:.6rem 1rem;border:2px solid;border-radius:.5rem;font-weight:600}}
</style></head><body><h1>Self-test</h1><ul>
<li><img src="/seen.svg" alt="not"> traffic of this device passes the recording</li>
<li><img src="https://{host}/trusted.svg" alt="not yet:"> its certificate is trusted, so that content can be read</li>
</ul><p>If the second line says <em>not yet</em>: install the certificate, trust it, and load this page again.</p>
<p><a class="button" href="/{name}.cer">Certificate for Android and iOS</a></p>
<p><a href="/{name}.pem">as PEM</a> (Linux, Firefox), <a href="/{name}.p12">as PKCS #12</a> (Windows, macOS)</p>
<p>This page comes from the computer that records. Nobody else has seen this request.</p></body></html>"""


class SelfTest:
    """The addon."""

    def __init__(self) -> None:
        self.book: Notebook | None = None
        self.met: set[tuple[str, str]] = set()
        self.stub: asyncio.Server | None = None
        self.way_out = ("", 0)

    def load(self, loader: Loader) -> None:
        """Declares the option, and says which host is ours."""
        loader.add_option("events_file", str, "", "File that notes beside the traffic are appended to.")
        answered.claim(lambda host: host in (HOST, ADDRESS))

    def configure(self, updated: set[str]) -> None:
        """Opens the file."""
        if "events_file" in updated and ctx.options.events_file:
            self.book = Notebook.of_option(ctx.options.events_file)

    async def running(self) -> None:
        """Opens a door that leads nowhere: mitmproxy may connect upstream before it asks us."""
        self.stub, self.way_out = await dead_end.opened()

    def done(self) -> None:
        """Closes it."""
        if self.stub:
            self.stub.close()

    def note(self, client: connection.Client, what: Any) -> None:
        """Notes the first time a device does something."""
        host = str(client.peername[0]) if client.peername else ""
        if (host, what) not in self.met and len(self.met) < 10_000:
            self.met.add((host, what))
            if self.book:
                port = int(client.peername[1]) if client.peername else 0
                self.book.write_or_stop(Contact(time=time.time(), client=(host, port), what=what))

    def client_connected(self, client: connection.Client) -> None:
        """A device is there."""
        self.note(client, "connected")

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """The way to our host ends here."""
        if data.server.address and data.server.address[0] in (HOST, ADDRESS) and self.stub:
            data.server.address = self.way_out

    def dns_request(self, flow: dns.DNSFlow) -> None:
        """The address of our host."""
        question = flow.request.question
        if question and question.name.lower().rstrip(".") == HOST:
            answers = []
            if question.type == types.A and question.class_ == classes.IN:
                answers = [dns.ResourceRecord.A(question.name, ipaddress.IPv4Address(ADDRESS), ttl=60)]
            flow.response = flow.request.succeed(answers)

    def request(self, flow: http.HTTPFlow) -> None:
        """The page, its pictures and the certificate."""
        named = flow.request.host_header or flow.request.host
        if not named.startswith((HOST, ADDRESS)) or flow.request.pretty_host not in (HOST, ADDRESS):
            return  # taking every authority apart would take time
        secure = flow.request.scheme == "https"
        self.note(flow.client_conn, "self-test-https" if secure else "self-test-http")
        path = flow.request.path.partition("?")[0]
        headers = {"cache-control": "no-store"}
        if path in ("/seen.svg", "/trusted.svg"):
            flow.response = http.Response.make(200, PICTURE, headers | {"content-type": "image/svg+xml"})
        elif path == "/":
            page = PAGE.format(host=flow.request.pretty_host, name=CERTIFICATE)
            flow.response = http.Response.make(
                200, page, headers | {"content-type": "text/html; charset=utf-8"}
            )
        elif (suffix := path.removeprefix(f"/{CERTIFICATE}")) in KINDS:
            file = Path(ctx.options.confdir).expanduser() / f"{CERTIFICATE}{suffix}"
            flow.response = http.Response.make(
                200, file.read_bytes(), headers | {"content-type": KINDS[suffix]}
            )
        else:
            flow.response = http.Response.make(404, "", headers)


addons = [SelfTest()]
