"""A real Chromium, relayed and recorded with the keys it logs, against what the server saw."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from audit.records import Flow, Gap, Http, WebSocketMessage

from . import talks
from .relay import Relay
from .web_server import Server
from .wire import Wire

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def visited(folder: Path, inside: bool) -> tuple[Wire, Path, Server]:
    """What was recorded of one visit, the keys that the browser logged, and what the server saw. On a busy
    machine the browser may give up on a page: then it is visited anew, and nothing of before is kept."""
    from playwright.sync_api import Error, sync_playwright

    for attempt in range(3):
        wire, log = Wire(), folder / f"keys-{attempt}.log"
        with (
            Server(folder, inside=inside) as server,
            Relay(wire, server.port) as relay,
            sync_playwright() as play,
            tempfile.TemporaryDirectory() as profile,
        ):
            browser = play.chromium.launch_persistent_context(
                profile, executable_path=CHROMIUM, ignore_https_errors=True,
                args=["--no-sandbox", f"--host-resolver-rules=MAP made.example 127.0.0.1:{relay.port}"],
                env={**os.environ, "SSLKEYLOGFILE": str(log)},
            )  # fmt: skip
            page = browser.new_page()
            try:
                page.goto("https://made.example/")
                page.wait_for_function("document.title === 'done'", timeout=30_000)
            except Error:
                continue
            finally:
                browser.close()
        return wire, log, server
    pytest.fail("the browser never got to the end of the page")


@pytest.mark.parametrize("inside", [False, True], ids=["over-http1", "inside-http2"])
def test_every_request_and_every_message(tmp_path: Path, inside: bool) -> None:
    wire, log, server = visited(tmp_path, inside)
    records = talks.opened(wire.write(tmp_path), log)
    requests = [r for r in records if isinstance(r, Http) and r.version == "2" and r.method != "CONNECT"]
    assert sorted(talks.exchanged(list(requests))) == sorted(server.seen)
    assert len([one for one in server.seen if one.method == "POST"]) == 5
    said = [r.data for r in records if isinstance(r, WebSocketMessage) and r.direction == "up"]
    assert said == server.heard
    assert [len(message) for message in said] == [11, 90_000, 3]
    answers = [r.data for r in records if isinstance(r, WebSocketMessage) and r.direction == "down"]
    assert answers == [b"11", b"90000", b"3"]
    assert {r.url for r in records if isinstance(r, WebSocketMessage)} == {"wss://made.example/live"}
    handshake = next(r for r in records if isinstance(r, Http) and r.path == "/live")
    assert (handshake.version, handshake.method) == (("2", "CONNECT") if inside else ("1.1", "GET"))
    assert {r.secured_by for r in records if isinstance(r, Flow) and r.payload_up} == {"keylog"}
    assert not [r for r in records if isinstance(r, Gap)]
