"""The control page: a small web server for the person at this computer, and for nobody else.

Listens on 127.0.0.1 only. Every address begins with a token that is made anew each time; without it there is
nothing here. A request must name this host (no DNS rebinding), a change must come from the page itself (no
request forgery). The page loads nothing from elsewhere and its policy forbids it to.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment

from audit.experiment import BadExperiment, load
from audit.recording import checklist, marks
from audit.recording.board import Board, picture
from audit.recording.onboarding import Onboarding
from audit.recording.qr import svg

MAX_BODY = 10_000
_JSON = "application/json; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Control:
    """The server. `url` is the page's address, with the token. Raises OSError if the port is taken."""

    def __init__(self, folder: Path, board: Board, guide: Onboarding, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        handler = type("Handler", (_Handler,), {"page": _Page(folder, board, guide), "token": self.token})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/{self.token}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()


class _Page:
    """What the addresses behind the token give and do."""

    def __init__(self, folder: Path, board: Board, guide: Onboarding) -> None:
        self._folder, self._board, self._guide = folder, board, guide
        source = files(__package__).joinpath("control.html").read_text("utf-8")
        self._template = Environment(autoescape=True, comment_start_string="{##").from_string(source)
        self.reads: dict[str, Callable[[str], tuple[str, str]]] = {
            "": self._page, "state": self._state, "plan": self._plan,
        }  # fmt: skip
        self.changes: dict[str, Callable[[dict[str, Any]], None]] = {"mark": self._mark, "tick": self._tick}

    def _page(self, nonce: str) -> tuple[str, str]:
        code = picture(svg(self._guide.code)) if self._guide.code else ""
        return _HTML, self._template.render(
            nonce=nonce, guide=self._guide, code=code, name=self._folder.resolve().name
        )

    def _state(self, _nonce: str) -> tuple[str, str]:
        return _JSON, json.dumps(self._board.state())

    def _plan(self, nonce: str) -> tuple[str, str]:
        return _HTML, checklist.as_html(load(self._folder)).replace("<style>", f'<style nonce="{nonce}">', 1)

    def _mark(self, given: dict[str, Any]) -> None:
        setting = given.get("setting")
        on = marks.running(load(self._folder))
        if on and on.mode == given.get("mode") and setting in (None, "", on.setting):
            return  # clicked twice
        marks.mark(self._folder, str(given.get("mode")), str(setting) if setting else None)  # type: ignore[arg-type]

    def _tick(self, given: dict[str, Any]) -> None:
        number = given.get("step")
        if not isinstance(number, int):
            raise marks.BadMark("name a step by its number")
        marks.tick(self._folder, number, done=given.get("done") is not False)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    page: ClassVar[_Page]
    token: ClassVar[str]
    server_version = "privacy-audit"
    sys_version = ""
    timeout = 20

    def do_GET(self) -> None:
        """The page, its state, the plan."""
        name = self._name()
        read = self.page.reads.get(name) if name is not None else None
        if read is None:
            self._answer(404, _JSON, '{"error": "not found"}')
            return
        nonce = secrets.token_urlsafe(16)
        try:
            kind, text = read(nonce)
        except BadExperiment as bad:
            kind, text = _JSON, json.dumps({"error": str(bad)})
        self._answer(200, kind, text, nonce)

    def do_POST(self) -> None:
        """A change: JSON from the page itself."""
        name = self._name()
        change = self.page.changes.get(name) if name is not None else None
        if change is None:
            self._answer(404, _JSON, '{"error": "not found"}')
            return
        length = self.headers.get("content-length", "")
        if not self._from_page():
            self._answer(403, _JSON, '{"error": "not from this page"}')
        elif not length.isdecimal() or int(length) > MAX_BODY:
            self._answer(413, _JSON, '{"error": "too long"}')
        else:
            try:
                given = json.loads(self.rfile.read(int(length)))
                if not isinstance(given, dict):
                    raise ValueError("no object")
                change(given)
            except (ValueError, RecursionError):
                self._answer(400, _JSON, '{"error": "not understood"}')
            except (marks.BadMark, BadExperiment, OSError) as bad:
                self._answer(409, _JSON, json.dumps({"error": str(bad)}))
            else:
                self._answer(200, _JSON, "{}")

    def _name(self) -> str | None:
        """What is asked for behind the token; None where token or host are not ours."""
        if self.headers.get_all("host") != [self._host()]:
            return None
        parts = self.path.partition("?")[0].split("/")
        if len(parts) != 3 or not hmac.compare_digest(parts[1].encode(), self.token.encode()):
            return None
        return parts[2]

    def _host(self) -> str:
        address: Any = self.server.server_address
        return f"127.0.0.1:{address[1]}"

    def _from_page(self) -> bool:
        """Whether the page itself sent this: a browser says so, and only our script sends JSON."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip()
        origin = self.headers.get("origin")
        site = self.headers.get("sec-fetch-site", "same-origin")
        return kind == "application/json" and origin == f"http://{self._host()}" and site == "same-origin"

    def _answer(self, status: int, kind: str, text: str, nonce: str = "") -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY.format(nonce=nonce or "none"))
        self.send_header("Referrer-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The log of the recording is no place for these."""
