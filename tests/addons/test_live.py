"""Live findings, the view of layers, the self-test, the fence, phases and QUIC, in a real mitmproxy on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from mitmproxy import version as mitmproxy_version

from audit.canaries import Outline, plan
from audit.experiment import load, save
from audit.protocols.notes import AnyNote, Contact, Passed, Passing, PhaseMark, Quic, decode
from audit.recording import live_report as live
from audit.recording.marks import mark, running
from tests.addons.proxies import ADDONS, ROOT, free_port, needs_mitmdump, proxy

pytestmark = needs_mitmdump
MITMWEB = shutil.which("mitmweb", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
OLD = mitmproxy_version.MITMPROXY.endswith("11.0.2") or mitmproxy_version.VERSION == "11.0.2"


def until(ready: Callable[[], bool], what: str = "", seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(plan(Outline()), tmp_path / "experiment")
    return tmp_path / "experiment"


def value(folder: Path, name: str) -> str:
    return next(canary.value for canary in load(folder).canaries if canary.id == name)


def get(port: int, url: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", url)
    answer = connection.getresponse()
    return answer.status, answer.read()


def notes(folder: Path) -> list[AnyNote]:
    path = folder / "events.jsonl"
    return [decode(line) for line in path.read_bytes().splitlines() if line] if path.exists() else []


@contextmanager
def web(folder: Path) -> Iterator[tuple[int, int]]:
    """mitmweb with recorder, offline answers, live findings and layers; its two ports."""
    port, page = free_port(), free_port()
    options = [
        f"confdir={folder.parent / 'conf'}", f"web_port={page}", "web_open_browser=false", f"experiment={folder}",
        f"recorder_file={folder / 'flows.mitm'}",
    ]  # fmt: skip
    command = [str(MITMWEB), "--mode", f"regular@127.0.0.1:{port}"]
    for name in ("recorder", "offline_answers", "live_findings", "layers_view"):
        command += ["-s", str(ADDONS / f"{name}.py")]
    for option in options:
        command += ["--set", option]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Web server listening" in line:
                break
        else:
            pytest.fail("mitmweb ended")
        until((folder / live.NAME).exists, "the search starts")
        yield port, page
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(MITMWEB is None or not OLD, reason="later web interfaces ask for a password")
def test_a_leaking_flow_is_marked_and_shown_in_layers(folder: Path) -> None:
    def api(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}{path}", timeout=20) as answer:
            return bytes(answer.read())

    planted = value(folder, "private-1-url")
    with web(folder) as (port, page):
        get(port, "http://innocent.example/nothing")
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        body = b"data=" + quote(base64.b64encode(gzip.compress(json.dumps({"u": planted}).encode()))).encode()
        connection.request(
            "POST", "http://tracker.invalid/c", body, {"content-type": "application/x-www-form-urlencoded"}
        )
        connection.getresponse().read()

        def marked() -> list[dict[str, str]]:
            return [flow for flow in json.loads(api("/flows")) if flow["marked"]]

        until(lambda: len(marked()) == 1, "the flow is marked")
        (flow,) = marked()
        assert flow["comment"] == "leak: full address of a page → tracker.invalid (private)"
        shown = api(f"/flows/{flow['id']}/request/content/layers.json").decode()
        assert all(layer in shown for layer in ("base64", "gzip", "json"))


def test_the_search_marks_nothing_where_nothing_is(folder: Path) -> None:
    options = (f"experiment={folder}",)
    addons = ("recorder.py", "offline_answers.py", "live_findings.py")
    with proxy(folder / "flows.mitm", addons=addons, options=options) as (_, port):
        for number in range(20):
            get(port, f"http://innocent.example/{number}")
        until(lambda: (report := live.read(folder)) is not None and report.transmissions == 20)
    report = live.read(folder)
    assert report is not None
    assert report.findings == []
    assert report.flows == {}
    assert report.opened == 0  # all in clear
    assert [(each.host, each.phases) for each in report.recipients] == [("innocent.example", {"": 20})]


def test_typing_is_found_over_several_requests(folder: Path) -> None:
    mark(folder, "private")
    text = value(folder, "private-1-text")
    addons = ("recorder.py", "offline_answers.py", "live_findings.py")
    with proxy(folder / "flows.mitm", addons=addons, options=(f"experiment={folder}",)) as (_, port):
        for length in range(4, len(text) + 1, 3):
            get(port, f"http://suggest.example/s?q={quote(text[:length])}")
        until(lambda: (report := live.read(folder)) is not None and bool(report.findings))
    report = live.read(folder)
    assert report is not None
    (finding,) = report.findings
    assert (finding.mode, finding.recipient, finding.expected) == ("private", "suggest.example", False)
    assert finding.times > 1


def test_the_search_ends_with_the_proxy(folder: Path) -> None:
    addons = ("recorder.py", "live_findings.py")
    with proxy(folder / "flows.mitm", addons=addons, options=(f"experiment={folder}",)) as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: bool(children.read_text()))
        (search,) = children.read_text().split()
        process.kill()
        process.wait()
    until(lambda: not Path(f"/proc/{search}").exists() or "Z" in Path(f"/proc/{search}/stat").read_text())


def test_the_self_test_page_answers_and_is_noted(folder: Path) -> None:
    options = (f"events_file={folder / 'events.jsonl'}",)
    with proxy(folder / "flows.mitm", addons=("recorder.py", "self_test.py"), options=options) as (_, port):
        status, page = get(port, "http://privacy-audit.test/")
        assert status == 200
        assert b"https://privacy-audit.test/trusted.svg" in page
        authority = folder.parent / "conf" / "mitmproxy-ca-cert.pem"
        assert get(port, "http://privacy-audit.test/mitmproxy-ca-cert.pem")[1] == authority.read_bytes()
        assert get(port, "http://198.18.0.1/../mitmproxy-ca.pem")[0] == 404
        trusted = subprocess.run(
            ["curl", "-s", "-m", "15", "--proxy", f"http://127.0.0.1:{port}", "--cacert", authority, "https://privacy-audit.test/trusted.svg"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert b"<svg" in trusted.stdout
        until(lambda: len(notes(folder)) >= 3)
    assert [note.what for note in notes(folder) if isinstance(note, Contact)] == [
        "connected", "self-test-http", "self-test-https",
    ]  # fmt: skip


def test_no_device_reaches_our_own_ports(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as page, socket.create_server(("127.0.0.1", 0)) as other:
        ours, others = page.getsockname()[1], other.getsockname()[1]
        options = (f"fence_ports={ours}",)
        with proxy(folder / "flows.mitm", addons=("recorder.py", "fence.py"), options=options) as (_, port):
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "127.9.9.9"):
                status, body = get(port, f"http://{host}:{ours}/")
                assert (status, b"not for devices" in body) == (502, True), host
            page.settimeout(0.1)
            with pytest.raises(TimeoutError):
                page.accept()
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(f"GET http://127.0.0.1:{others}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                other.settimeout(20)
                other.accept()[0].close()


def test_phases_marked_elsewhere_are_noted_and_named(folder: Path) -> None:
    options = (f"experiment={folder}", f"events_file={folder / 'events.jsonl'}")
    addons = ("phases.py", "recorder.py", "offline_answers.py")
    with proxy(folder / "flows.mitm", addons=addons, options=options) as (_, port):
        mark(folder, "private")
        until(lambda: bool(notes(folder)))
        get(port, "http://plover.example/")
        mark(folder, "end")
        until(lambda: len(notes(folder)) == 2)
    assert [(n.mode, n.id) for n in notes(folder) if isinstance(n, PhaseMark)] == [
        ("private", "private-1"), ("end", "private-1"),
    ]  # fmt: skip
    assert b"private-1" in (folder / "flows.mitm").read_bytes()


def test_a_phase_is_marked_from_mitmproxy(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "presses.py"
    script.write_text(
        "from mitmproxy import ctx\n"
        "def running():\n"
        "    ctx.master.commands.execute('audit.mark private opted-out')\n"
    )
    with proxy(folder / "flows.mitm", addons=("phases.py", str(script)), options=(f"experiment={folder}",)):
        until(lambda: running(load(folder)) is not None)
    phase = running(load(folder))
    assert phase is not None
    assert (phase.mode, phase.setting) == ("private", "opted-out")


async def quic_attempt(port: int, host: str) -> None:
    from aioquic.asyncio import connect
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], server_name=host, idle_timeout=1.0
    )
    try:
        async with asyncio.timeout(3), connect("127.0.0.1", port, configuration=configuration):
            pass
    except (ConnectionError, TimeoutError):
        return


@pytest.mark.parametrize("policy", ["refuse", "leave"])
def test_quic_is_refused_or_left_alone_and_noted(folder: Path, tmp_path: Path, policy: str) -> None:
    hasty = tmp_path / "hasty.py"  # mitmproxy holds a UDP conversation ended after twenty seconds of silence
    hasty.write_text("from mitmproxy.proxy import server\nserver.UDP_TIMEOUT = 1\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.bind(("127.0.0.1", 0))
        target = upstream.getsockname()[1]
        options = (f"events_file={folder / 'events.jsonl'}", f"quic={policy}")
        port = free_port()
        mode = f"reverse:udp://127.0.0.1:{target}@127.0.0.1:{port}"
        with proxy(
            folder / "flows.mitm", mode=mode, addons=("recorder.py", "quic.py", str(hasty)), options=options
        ):
            asyncio.run(quic_attempt(port, "video.example"))
            until(lambda: bool(notes(folder)))
            upstream.setblocking(False)
            if policy == "refuse":
                with pytest.raises(BlockingIOError):
                    upstream.recv(2000)
            else:
                assert len(upstream.recv(2000)) >= 1200
                until(lambda: any(isinstance(note, Passed) for note in notes(folder)), "it ends", 60)
    first = notes(folder)[0]
    assert isinstance(first, Quic if policy == "refuse" else Passing)
    assert first.sni == "video.example"
    assert not re.search(rb"video\.example", (folder / "flows.mitm").read_bytes())
