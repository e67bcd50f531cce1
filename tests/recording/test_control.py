"""The control page: for the person at this computer, and for nobody else."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audit.canaries import Outline, plan
from audit.experiment import EVENTS_NAME, load, save
from audit.protocols import notes
from audit.recording import live, live_report, network
from audit.recording.board import Board
from audit.recording.control import Control
from audit.recording.notebook import Notebook
from audit.recording.onboarding import onboarding
from audit.recording.proxy_mode import parse

CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(plan(Outline()), tmp_path / "experiment")
    return tmp_path / "experiment"


@pytest.fixture
def control(folder: Path) -> Iterator[Control]:
    guide = onboarding(parse("regular"), "192.0.2.7", "any", None, None)
    server = Control(folder, Board(folder, lambda: "recording", "regular"), guide)
    yield server
    server.close()


def ask(
    control: Control, path: str, body: Any = None, **headers: str | None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request as the page sends it; headers given replace its own, None leaves one out."""
    sent: dict[str, str | None] = {"host": f"127.0.0.1:{control.port}"}
    if body is not None:
        sent |= {
            "content-type": "application/json", "origin": f"http://127.0.0.1:{control.port}",
            "sec-fetch-site": "same-origin",
        }  # fmt: skip
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", control.port, timeout=10)
    connection.putrequest("GET" if body is None else "POST", path, skip_host=True)
    data = b"" if body is None else json.dumps(body).encode()
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    if body is not None:
        connection.putheader("content-length", str(len(data)))
    connection.endheaders(data)
    answer = connection.getresponse()
    return answer.status, answer.msg, answer.read()


def test_a_phase_and_a_step(control: Control, folder: Path) -> None:
    base = f"/{control.token}/"
    assert ask(control, f"{base}mark", {"mode": "normal", "setting": ""})[0] == 200
    assert ask(control, f"{base}tick", {"step": 1, "done": True})[0] == 200
    state = json.loads(ask(control, f"{base}state")[2])
    assert state["phase"]["id"] == "normal-1"
    assert state["next"]["value"] == next(c.value for c in load(folder).canaries if c.id == "normal-1-url")
    assert state["next"]["code"].startswith("data:image/svg+xml;base64,")
    assert load(folder).steps[1].at is not None
    assert ask(control, f"{base}tick", {"step": 8, "done": True})[0] == 409
    assert ask(control, f"{base}mark", {"mode": "sometimes"})[0] == 409


def test_only_this_computer_can_connect(control: Control) -> None:
    for interface in network.interfaces():
        with socket.socket() as probe:
            probe.settimeout(5)
            assert probe.connect_ex((interface.address, control.port)) != 0


def test_without_the_token_there_is_nothing(control: Control, folder: Path) -> None:
    for path in ("/", "/state", "//state", "/x/state", f"/{control.token[:-1]}/state", f"/{control.token}x/", f"/{control.token}", f"/{control.token}/../state"):  # fmt: skip
        status, _, body = ask(control, path)
        assert status == 404, path
        assert b"canar" not in body
    assert ask(control, "/mark", {"mode": "normal"})[0] == 404
    assert not any(phase.start for phase in load(folder).phases)
    assert len(control.token) >= 32


def test_a_second_click_on_a_phase_begins_no_other(control: Control, folder: Path) -> None:
    base = f"/{control.token}/mark"
    for _ in range(2):
        assert ask(control, base, {"mode": "private", "setting": ""})[0] == 200
    assert [phase.id for phase in load(folder).phases if phase.start] == ["private-1"]
    assert ask(control, base, {"mode": "private", "setting": "opted-out"})[0] == 200
    assert len([phase for phase in load(folder).phases if phase.start]) == 2


def test_another_name_for_this_host_gets_nothing(control: Control) -> None:
    for host in ("evil.example", f"evil.example:{control.port}", f"localhost:{control.port}", None):
        assert ask(control, f"/{control.token}/state", host=host)[0] == 404


@pytest.mark.parametrize(
    "forged",
    [
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": None}, {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"}, {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)  # fmt: skip
def test_another_page_cannot_change_anything(
    control: Control, folder: Path, forged: dict[str, str | None]
) -> None:
    assert ask(control, f"/{control.token}/mark", {"mode": "private"}, **forged)[0] == 403
    assert not any(phase.start for phase in load(folder).phases)


def test_what_is_not_understood_is_refused(control: Control) -> None:
    base = f"/{control.token}/"
    assert ask(control, f"{base}mark", ["private"])[0] == 400
    assert ask(control, f"{base}tick", {"step": "1"})[0] == 409
    assert ask(control, f"{base}mark", {"mode": "normal", "setting": "x" * 20_000})[0] == 413
    assert ask(control, f"{base}delete", {})[0] == 404


def test_nothing_is_loaded_from_elsewhere(control: Control) -> None:
    for name in ("", "plan"):
        _, headers, body = ask(control, f"/{control.token}/{name}")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == "no-store"
        body = re.sub(rb"<script.*?</script>", b"", body, flags=re.DOTALL)
        addresses = re.findall(rb"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", body)
        assert all(each.startswith((b"data:", b"plan")) for each in addresses)


def test_what_comes_off_the_wire_is_inert(control: Control, folder: Path) -> None:
    book = Notebook(folder / EVENTS_NAME)
    book.write(
        notes.Refused(time=1.0, sni=HOSTILE, how="alert"),
        notes.Contact(time=1.0, client=(HOSTILE, 1), what="connected"),
    )
    state = json.loads(ask(control, f"/{control.token}/state")[2])
    answers = {row["key"]: row["answer"] for row in state["health"]}
    assert "\u202e" not in json.dumps(state, ensure_ascii=False)
    assert "‹U+202E›" in answers["bypass"]
    assert ask(control, f"/{control.token}/state")[1]["content-type"].startswith("application/json")
    assert ask(control, f"/{control.token}/state")[1]["x-content-type-options"] == "nosniff"


def test_health_says_unknown_before_anything_is_known(control: Control, folder: Path) -> None:
    def health() -> dict[str, str]:
        state = json.loads(ask(control, f"/{control.token}/state")[2])
        return {row["key"]: row["state"] for row in state["health"]}

    assert health() == {"connected": "unknown", "trusted": "unknown", "bypass": "unknown"}
    book = Notebook(folder / EVENTS_NAME)
    book.write(notes.Contact(time=1.0, client=("10.0.0.1", 1), what="connected"))
    book.write(notes.Refused(time=1.0, sni="a.example", how="alert"))
    assert health() == {"connected": "good", "trusted": "bad", "bypass": "bad"}
    said = live_report.Live(updated=time.time() + 60, transmissions=9)  # names, and what was sent in clear
    (folder / live_report.NAME).write_bytes(msgspec.json.encode(said))
    assert health()["trusted"] == "bad"
    said.opened = 1
    (folder / live_report.NAME).write_bytes(msgspec.json.encode(said))
    assert health()["trusted"] == "good"
    (folder / live_report.NAME).unlink()
    book.write(notes.Contact(time=1.0, client=("10.0.0.1", 1), what="self-test-https"))
    assert health()["trusted"] == "good"


def test_the_live_report_belongs_to_its_owner(folder: Path) -> None:
    looker = live.Looker(folder)
    looker.report(0)
    assert stat.S_IMODE((folder / live_report.NAME).stat().st_mode) == 0o600
    assert live_report.read(folder) is not None


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_plan_can_be_carried_out_without_a_mouse(control: Control, folder: Path) -> None:
    """With the keys that the page names, and with Tab and Enter; and nothing is wider than a phone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto(control.url)
        page.wait_for_selector("#steps li")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("2")
        page.wait_for_selector("#normal[aria-pressed=true]")
        before = page.text_content("#where")
        page.wait_for_selector("#done:not([disabled])")
        page.keyboard.press("d")
        page.wait_for_function("text => document.getElementById('where').textContent !== text", arg=before)
        page.keyboard.press("0")
        page.wait_for_selector("#end[disabled]")
        for name in ("idle", "normal", "private"):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == name
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.wait_for_selector("#private[aria-pressed=true]")
        browser.close()
    started = {phase.id for phase in load(folder).phases if phase.start}
    assert started == {"normal-1", "private-1"}
    assert sum(step.at is not None for step in load(folder).steps) == 1
