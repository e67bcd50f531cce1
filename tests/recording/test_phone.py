"""A phone in a network namespace: real Chromium, led through `capture` in three ways, marked on the control page.

What the report then says is compared with the sample in captures/, which was recorded without all of this. Needs root
and the programs of captures/record_chromium.py; takes about a minute and a half for each of the three ways.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from audit.experiment import capture_paths, load
from audit.pipeline import Capture, analyze
from audit.recording import qr
from audit.recording.onboarding import nftables
from audit.recording.wireguard import configuration
from audit.records import Audit, Canary, Experiment, Http
from audit.sources import read
from captures import record_chromium as sample

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "captures" / "chromium-156"
AGENT = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
LAPTOP = "laptop"
PHASES = (("normal", "normal-1", ()), ("private", "private-1", ("--incognito",)))

missing = [name for name in (*sample.PROGRAMS, "nft") if shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin") is None]  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces"),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


@pytest.fixture(autouse=True)
def mobile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser says that it is a phone's. What the sample waits for by the clock is waited for by looking here,
    so the pauses may be short; the pace of typing is the sample's."""
    monkeypatch.setattr(sample, "SETTLE", 5.0)
    monkeypatch.setattr(sample, "READ", 2.0)
    monkeypatch.setattr(sample, "FLAGS", (*sample.FLAGS, f"--user-agent={AGENT}"))


@contextmanager
def recording(folder: Path, confdir: Path, *words: str, inside: str = "") -> Iterator[tuple[str, str]]:
    """`capture` while the block lasts: what it said at its start, and the control page's address."""
    log = folder.parent / "capture.log"
    command = [*(("ip", "netns", "exec", inside) if inside else ()), sys.executable, "-m", "audit"]
    command += ["capture", str(folder), "--offline", "--confdir", str(confdir), *words]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    try:
        sample.wait_for(
            "capture", lambda: b"Recording; end it" in log.read_bytes() or process.poll() is not None, 60
        )
        said = log.read_text()
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", said)
        assert found, said
        yield said, found[0]
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@dataclass
class Page:
    """The control page in a real browser, as the log that `carry_out` writes to."""

    page: Any
    experiment: Experiment

    @property
    def canaries(self) -> tuple[Canary, ...]:
        return self.experiment.canaries

    def begin(self, mode: str) -> None:
        """Clicks a phase's button."""
        self.page.click(f"#{mode}")
        self.page.wait_for_selector(f"#{mode}[aria-pressed=true]")
        self.tick()  # the window is opened

    def step(self, _action: str, canary: Canary) -> None:
        """Ticks a step off as it is begun."""
        self.page.wait_for_function(
            "value => document.getElementById('value').textContent === value", arg=canary.value
        )
        self.tick()

    def tick(self) -> None:
        """Clicks Done, and waits until the next step is shown."""
        before = self.page.text_content("#where")
        self.page.wait_for_selector("#done:not([disabled])")
        self.page.click("#done")
        self.page.wait_for_function(
            "text => document.getElementById('where').textContent !== text", arg=before
        )


@contextmanager
def control(url: str, experiment: Experiment, room: Path, inside: str = "") -> Iterator[Page]:
    """The control page, in a browser on the laptop's side."""
    from playwright.sync_api import sync_playwright

    browser = room / "laptop-browser"
    browser.write_text(f'#!/bin/sh\nexec {f"ip netns exec {inside} " if inside else ""}chromium "$@"\n')
    browser.chmod(0o700)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=str(browser), args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(url)
        page.wait_for_selector("#steps li")
        yield Page(page, experiment)
        page.wait_for_selector("[data-key=connected].good")
        assert page.locator("[data-finding]").count() > 3
        chromium.close()


@dataclass(frozen=True)
class Hands(sample.Chromium):
    """A person at the phone, who types when the window is there and goes on when the page is."""

    folder: Path

    def type_into_address_bar(self, text: str) -> None:
        """Types it; what of it the sample's suggestions show within the pace is waited for at the step's end."""
        sample.wait_for("the window", lambda: "Chromium" in self.title(), 60)
        super().type_into_address_bar(text)

    def title(self) -> str:
        """The title of the window in front: the page's, once it is there."""
        return self.xdotool("getwindowname", self.xdotool("getwindowfocus"))

    def carry_out(self, log: Any, phase: str) -> None:
        """The steps of one phase, each to its end: a page is there, what was typed has been asked about."""
        for canary in (canary for canary in log.canaries if canary.phase == phase):
            log.step("", canary)
            self.type_into_address_bar(canary.value)
            if canary.kind == "text":
                # The device asks for suggestions as one types; it is given time to, not made to.
                self.patient(lambda text=canary.value: self.sent(text, "/ac/"))
                time.sleep(sample.READ)
                self.xdotool("key", "ctrl+a", "Delete", "Escape")
                time.sleep(1)
                continue
            self.xdotool("key", "Return")
            shown = canary.value.split("/")[2] if canary.kind == "url" else canary.value
            sample.wait_for(f"the page of {shown}", lambda shown=shown: shown in self.title(), 90)
            time.sleep(sample.READ)

    @staticmethod
    def patient(ready: Any) -> None:
        """Waits a while for what may or may not come; the comparison tells whether it did."""
        deadline = time.monotonic() + 30
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.3)

    def sent(self, text: str, where: str) -> bool:
        """Whether the recording has a request with this text so far."""
        (flows,) = self.folder.glob("flows-*.mitm")
        return any(
            isinstance(record, Http) and where in record.path and text in unquote_plus(record.path)
            for record in read(flows, flows.name)
        )


def use_the_phone(room: Path, page: Page, *flags: str) -> None:
    """Both phases of the plan, as a person carries them out."""
    with ExitStack() as stack:
        chromium = Hands(room, stack.enter_context(sample.screen(room)), room / "experiment")
        for mode, phase, more in PHASES:
            page.begin(mode)
            with chromium.window(*more, *flags):
                chromium.carry_out(page, phase)
        page.page.click("#end")
        page.page.wait_for_selector("#end[disabled]")


def audited(folder: Path, names: tuple[str, ...] = ()) -> Audit:
    """The audit of an experiment, or of some of its captures."""
    experiment = load(folder)
    paths = [folder / name for name in names] or list(capture_paths(folder, experiment))
    return analyze([Capture(path, path.name) for path in paths], experiment)


def facts(audit: Audit) -> set[tuple[str, str, str | None, str | None]]:
    """What was found: type, mode, whether it was to be expected, and who received it."""
    hosts = {
        canary.value.split("/")[2]: "the site" for canary in audit.experiment.canaries if canary.kind == "url"
    }
    return {
        (each.leak_type, each.mode, each.expected, hosts.get(each.recipient.host or "", each.recipient.registrable_domain))
        for each in audit.findings
    }  # fmt: skip


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A room with a plan in it, the phone's network, and the sample's search engine."""
    subprocess.run(
        [sys.executable, "-m", "audit", "plan", "new", str(tmp_path / "experiment")],
        check=True, capture_output=True, cwd=ROOT,
    )  # fmt: skip
    with sample.machine():
        yield tmp_path


def check(room: Path, *, names_asked: bool = True) -> None:
    """The report shows the same facts as the sample, and the plan was followed. Behind an explicit proxy a
    device asks no name server."""
    folder = room / "experiment"
    found, expected = facts(audited(folder)), facts(audited(SAMPLE, ("flows.mitm",)))
    if not names_asked:
        expected = {fact for fact in expected if fact[0] != "D1" or fact[3] is not None}
    assert found == expected
    experiment = load(folder)
    assert all(phase.start and phase.end for phase in experiment.phases if phase.mode != "idle")
    ticked = [step.canary for step in experiment.steps if step.at and step.canary]
    assert len(ticked) == 6
    (flows,) = folder.glob("flows-*.mitm")
    agents = {
        value for record in read(flows, flows.name) if isinstance(record, Http)
        for name, value in record.headers if name.lower() == b"user-agent" and b"Mobile" in value
    }  # fmt: skip
    assert agents == {AGENT.encode()}


@contextmanager
def tunnel(room: Path, text: str) -> Iterator[None]:
    """wireguard-go in the phone, configured as its app would from the code it scanned."""
    known = dict(re.findall(r"^(\w+) = (.+)$", text, re.MULTILINE))
    stripped = room / "wg.conf"
    stripped.write_text(
        "".join(line + "\n" for line in text.splitlines() if not line.startswith(("Address", "DNS")))
    )
    assert known["DNS"] == sample.NAME_SERVER
    inside = ("ip", "netns", "exec", sample.PHONE)
    with sample.running(*inside, "wireguard-go", "-f", sample.TUNNEL, log=room / "wireguard.log"):
        sample.wait_for("wireguard-go", sample.SOCKET.exists)
        sample.run(*inside, "wg", "setconf", sample.TUNNEL, str(stripped))
        sample.run("ip", "-n", sample.PHONE, "addr", "add", known["Address"], "dev", sample.TUNNEL)
        sample.run("ip", "-n", sample.PHONE, "link", "set", sample.TUNNEL, "up", "mtu", "1420")
        for route in known["AllowedIPs"].split(", "):
            family = "-6" if ":" in route else "-4"
            subprocess.run(["ip", family, "-n", sample.PHONE, "route", "add", route, "dev", sample.TUNNEL], check=family == "-4")  # fmt: skip
        yield


def test_through_wireguard_from_the_qr_code(room: Path) -> None:
    folder = room / "experiment"
    words = ("--mode", "wireguard", "--endpoint", sample.LAPTOP_ADDRESS, "--listen", sample.LAPTOP_ADDRESS)
    with recording(folder, room / "mitmproxy", *words) as (said, url):
        text = configuration(folder / "wireguard.json", sample.LAPTOP_ADDRESS, 51820)
        assert qr.drawn(text) in said
        sample.make_home(room)
        with tunnel(room, text), control(url, load(folder), room) as page:
            use_the_phone(room, page)
            assert page.page.locator("[data-key=trusted].good").count()
    check(room)


def test_through_a_regular_proxy(room: Path) -> None:
    folder = room / "experiment"
    words = ("--mode", "regular", "--listen", sample.LAPTOP_ADDRESS, "--port", "8085")
    with recording(folder, room / "mitmproxy", *words) as (_, url):
        sample.make_home(room)
        with control(url, load(folder), room) as page:
            use_the_phone(room, page, f"--proxy-server=http://{sample.LAPTOP_ADDRESS}:8085")
    check(room, names_asked=False)


@contextmanager
def laptop() -> Iterator[None]:
    """The laptop as a gateway of its own, with the rules that onboarding names."""
    sample.end_namespace(LAPTOP)  # of a run that was killed
    sample.run("ip", "netns", "add", LAPTOP)
    try:
        sample.run("ip", "link", "set", "to-phone", "netns", LAPTOP)
        sample.run("ip", "-n", LAPTOP, "link", "set", "lo", "up")
        sample.run("ip", "-n", LAPTOP, "addr", "add", f"{sample.LAPTOP_ADDRESS}/30", "dev", "to-phone")
        sample.run("ip", "-n", LAPTOP, "link", "set", "to-phone", "up")
        sample.run("ip", "-n", sample.PHONE, "route", "add", "default", "via", sample.LAPTOP_ADDRESS)
        for rule in nftables(8080):
            words = rule.removeprefix("sudo ").replace("'", "").replace("IF", "to-phone").split()
            sample.run("ip", "netns", "exec", LAPTOP, *words)
        yield
    finally:
        sample.end_namespace(LAPTOP)


def test_through_a_transparent_gateway(room: Path) -> None:
    folder = room / "experiment"
    words = ("--mode", "transparent", "--endpoint", sample.LAPTOP_ADDRESS)
    with laptop(), recording(folder, room / "mitmproxy", *words, inside=LAPTOP) as (_, url):
        sample.make_home(room)
        with control(url, load(folder), room, inside=LAPTOP) as page:
            use_the_phone(room, page)
    check(room)
