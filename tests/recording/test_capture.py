"""`capture` as a whole, with a small client: sittings, crashes, broken folders; nothing is overwritten or lost."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from audit.experiment import load
from audit.protocols.notes import Alert, Sitting, decode
from audit.recording import capture
from audit.recording.doctor import checkup
from audit.recording.marks import mark, running
from audit.recording.notebook import Notebook
from audit.recording.proxy_mode import parse
from audit.records import Gap, Http
from audit.sources import read
from tests.addons.proxies import ROOT, free_port, needs_mitmdump

pytestmark = needs_mitmdump


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "audit", *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )  # fmt: skip


@contextmanager
def capturing(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """`capture` in regular mode, offline; its process, the proxy's port, and what it says."""
    port, said = free_port(), folder.parent / f"said-{time.time_ns()}.txt"
    line = ["capture", str(folder), "--mode", "regular", "--listen", "127.0.0.1", "--port", str(port), "--offline",
            "--confdir", str(folder.parent / "conf"), *words]  # fmt: skip
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "audit", *line], stdout=subprocess.PIPE, stderr=output, text=True, cwd=ROOT
        )
    try:
        deadline = time.monotonic() + 60
        while "Recording; end it" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        yield process, port, said
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def get(port: int, url: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", url)
    connection.getresponse().read()


def paths(file: Path) -> list[str]:
    return [record.path for record in read(file, file.name) if isinstance(record, Http)]


def test_two_sittings_are_two_files_and_one_experiment(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    assert command("plan", "new", folder).returncode == 0
    url = next(canary.value for canary in load(folder).canaries if canary.id == "normal-1-url")
    with capturing(folder) as (process, port, said):
        assert command("mark", folder, "normal").returncode == 0
        get(port, f"http://tracker.example/first?u={url.replace('&', '%26')}")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    first = (folder / Path(out.splitlines()[0]).name).read_bytes()
    assert "phase normal-1 ended with the recording" in said.read_text()
    with capturing(folder) as (process, port, _):
        get(port, "http://tracker.example/second")
    flows = sorted(folder.glob("flows-*.mitm"))
    assert len(flows) == 2
    assert flows[0].read_bytes() == first
    assert [path.partition("?")[0] for path in paths(flows[0])] == ["/first"]
    assert paths(flows[1]) == ["/second"]
    notes = [decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    assert [note.what for note in notes if isinstance(note, Sitting)] == ["started", "stopped"] * 2
    assert load(folder).keys == ("keys.log",)
    done = command("analyze", folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "findings.json").read_bytes())
    assert {c["format"] for c in found["captures"]} == {"mitm", "events"}
    assert any(f["canary"] == "normal-1-url" and f["expected"] is None for f in found["findings"])


def test_everything_in_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    with capturing(folder) as (_, port, _said):
        get(port, "http://plover.example/")
        deadline = time.monotonic() + 30
        while not (folder / ".live.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) >= 5
    assert set(modes.values()) == {0o600}, modes


def test_a_careless_umask_and_a_careless_folder_change_nothing(tmp_path: Path) -> None:
    """The tunnel's keys and mitmproxy's own secrets, too."""
    folder = tmp_path / "experiment"
    before = os.umask(0)
    try:
        folder.mkdir(mode=0o777)
        with capturing(folder, "--mode", "wireguard"):
            assert command("mark", folder, "normal").returncode == 0
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            secret = tmp_path / "conf" / "mitmproxy-ca.pem"
            assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0
    finally:
        os.umask(before)
    assert {"wireguard.json", "keys.log", "events.jsonl", "experiment.toml"} <= set(modes)
    (gap,) = read(folder / "events.jsonl", "events.jsonl")
    assert isinstance(gap, Gap)
    assert "QUIC (UDP port 443) refused" in gap.detail
    assert set(modes.values()) == {0o600}, modes


def test_a_crash_of_the_proxy_is_told_and_recording_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    with capturing(folder) as (process, port, said):
        get(port, "http://plover.example/before")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGSEGV)
        deadline = time.monotonic() + 60
        while True:
            try:
                get(port, "http://plover.example/after")
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
    assert "mitmproxy crashed (SIGSEGV)" in said.read_text()
    (flows,) = folder.glob("flows-*.mitm")
    assert paths(flows) == ["/before", "/after"]
    notes = [decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    assert any(isinstance(note, Alert) for note in notes)


def test_notes_are_brought_to_the_disk_itself_while_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses them ends the sitting."""
    sitting = capture.Sitting(tmp_path, capture.Wishes(parse("regular")), print)
    book = Notebook(tmp_path / "events.jsonl")
    calls: list[int] = []

    def brought(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 3:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", brought)
    monkeypatch.setattr(capture, "_SURFACE", 0.01)
    with pytest.raises(capture.BadCaptureSetup, match="Input/output error"):
        sitting._watch(queue.Queue(), lambda: False, book)
    assert calls == [book._fd] * 3


def test_named_captures_stay_named(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "old.har").write_text('{"log": {"version": "1.2", "entries": []}}')
    (folder / "experiment.toml").write_text('captures = ["old.har"] # by hand\n')
    with capturing(folder) as (_, port, _said):
        get(port, "http://plover.example/")
    captures = load(folder).captures
    assert captures[0] == "old.har"
    assert re.fullmatch(r"flows-\w+\.mitm", captures[1])
    assert captures[2] == "events.jsonl"
    assert "# by hand" in (folder / "experiment.toml").read_text()


def test_a_sitting_without_traffic_leaves_no_empty_capture(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    with capturing(folder):
        pass
    assert not list(folder.glob("flows-*"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--mode", "magic"), "is no mode"), (("--mode", "regular", "--device", "toaster"), "android, ios or desktop"),
        ((), "Missing option '--mode'"),
        *((("--mode", "wireguard", "--endpoint", bad), "without port")
          for bad in ("", "no host!", "192.0.2.7:8080", "999.1.1.1", "[::1]", "fe80::1%eth0", "192.0.2.7\nPostUp = x")),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    done = command("capture", tmp_path / "experiment", *words)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "experiment").exists()


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-kim.txt").write_text("Hello")
    done = command("capture", tmp_path / "letters", "--mode", "regular")
    assert done.returncode == 2
    assert "is no experiment" in done.stderr
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["to-kim.txt"]


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    mark(tmp_path / "experiment", "private")  # of a sitting that is on
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command(
            "capture", tmp_path / "experiment", "--mode", "regular", "--listen", "127.0.0.1", "--port", port,
            "--confdir", tmp_path / "conf",
        )  # fmt: skip
    assert done.returncode == 2
    assert "ddress already in use" in done.stderr
    assert "doctor" in done.stderr
    assert running(load(tmp_path / "experiment")), "a sitting that never began ended the phase of another"


def test_plan_and_mark_on_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    assert command("plan", "new", folder, "--trials", "2").returncode == 0
    before = (folder / "experiment.toml").read_bytes()
    again = command("plan", "new", folder)
    assert (again.returncode, (folder / "experiment.toml").read_bytes()) == (2, before)
    shown = command("plan", "show", folder)
    assert all(c.value in shown.stdout for c in load(folder).canaries if not c.decoy)
    assert not any(c.value in shown.stdout for c in load(folder).canaries if c.decoy)
    assert "\u2588" in shown.stdout
    assert command("plan", "show", folder, "-o", tmp_path / "plan.html").returncode == 0
    assert "<svg" in (tmp_path / "plan.html").read_text()
    assert command("mark", folder, "private", "--setting", "default").returncode == 0
    assert command("mark", folder, "sometimes").returncode == 2
    mark(folder, "end")
    assert running(load(folder)) is None


def test_the_doctor_answers_everything(tmp_path: Path) -> None:
    answers = list(checkup(tmp_path))
    assert {answer.result for answer in answers} <= {"good", "bad", "unknown"}
    assert not [answer for answer in answers if "could not be checked" in answer.detail]
    asked = " ".join(answer.check for answer in answers)
    for what in (
        "mitmproxy",
        "addresses",
        "TCP port 8080",
        "UDP port 51820",
        "firewall",
        "clock",
        "scapy",
        "packets",
    ):
        assert what in asked, what
    done = command("doctor", "--json", tmp_path)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == len(answers)
