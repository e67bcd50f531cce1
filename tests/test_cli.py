"""The command line as scripts and people meet it: outputs, exit codes, one-line errors."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.test_pipeline import har_entry, write_har

ROOT = Path(__file__).resolve().parents[1]
TERM = "marble otter h4q2"


def run(*arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "audit", *arguments], input=stdin, capture_output=True, timeout=120, cwd=cwd, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def har(tmp_path: Path) -> Path:
    return write_har(tmp_path / "page.har", [
        har_entry("POST", "https://t.example/v1", "2026-11-22T10:00:00Z", body=json.dumps({"q": TERM})),
    ])  # fmt: skip


def test_analyze_writes_private_results_and_prints_the_reports_path(har: Path, tmp_path: Path) -> None:
    out = tmp_path / "result"
    done = run("analyze", str(har), "--canary", f"term={TERM}", "-o", str(out))
    assert done.returncode == 0
    assert done.stdout.decode().strip() == str(out / "report.html")
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert stat.S_IMODE((out / "findings.json").stat().st_mode) == 0o600
    (finding,) = json.loads((out / "findings.json").read_text())["findings"]
    assert finding["leak_type"] == "S1"
    again = run("report", str(out), "-o", str(tmp_path / "again.html"))
    assert again.returncode == 0
    assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()


def test_fail_on_tells_by_its_exit_code(har: Path, tmp_path: Path) -> None:
    common = ("analyze", str(har), "--canary", f"term={TERM}", "-o", str(tmp_path / "r"))
    assert run(*common, "--fail-on", "medium").returncode == 1
    assert run(*common, "--fail-on", "critical").returncode == 0


def test_analyze_reads_stdin_and_compressed_files(har: Path, tmp_path: Path) -> None:
    done = run(
        "analyze",
        "-",
        "--canary",
        f"term={TERM}",
        "-o",
        str(tmp_path / "r"),
        stdin=gzip.compress(har.read_bytes()),
    )
    assert done.returncode == 0, done.stderr
    (finding,) = json.loads((tmp_path / "r/findings.json").read_text())["findings"]
    assert finding["recipient"]["host"] == "t.example"


def test_search_prints_a_line_per_match_and_exits_1_without_any(tmp_path: Path) -> None:
    body = tmp_path / "body.bin"
    body.write_bytes(
        b"data_list="
        + base64.b64encode(gzip.compress(json.dumps([{"w": TERM}]).encode())).replace(b"=", b"%3D")
    )
    done = run("search", "--value", TERM, str(body))
    (line,) = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0
    assert line["granularity"] == "term"
    assert line["form"] == "plain"
    assert line["layers"][-3:] == ["base64", "gzip", "json"]
    assert line["path"] == "$[0].w"
    assert run("search", "--value", "never there", str(body)).returncode == 1
    assert run("search", "--value", TERM, "-", stdin=body.read_bytes()).returncode == 0


def test_decode_shows_the_layers_and_keeps_hostile_text_inert(tmp_path: Path) -> None:
    body = tmp_path / "body.bin"
    body.write_bytes(base64.b64encode(json.dumps({"a": "\x1b[31mred\u202e"}, ensure_ascii=False).encode()))
    done = run("decode", str(body))
    assert b"base64" in done.stdout
    assert b"\x1b[31mred" not in done.stdout
    assert "\u202e".encode() not in done.stdout
    lines = [json.loads(line) for line in run("decode", "--json", str(body)).stdout.splitlines()]
    assert lines[-1]["layers"] == ["base64", "json"]


def test_decode_says_of_a_telemetry_body_what_a_reader_wants_to_know(tmp_path: Path) -> None:
    properties = {
        "url": "https://a.example/health?q=1",
        "type": "privacy",
        "$anonymization_id": "OTc3NGQ1NmQ2ODJlNTQ5Yw==",
    }
    event = {
        "time": 1_700_000_000_123,
        "distinct_id": "9774d56d682e549c",
        "event": "page",
        "properties": properties,
    }
    text = base64.b64encode(gzip.compress(json.dumps([event]).replace("/", "\\/").encode())).decode()
    crc = 0
    for letter in text.encode():
        crc = crc * 31 + letter & 0xFFFFFFFF
    body = tmp_path / "body.bin"
    body.write_text(urlencode({"crc": crc - (crc >> 31 << 32), "gzip": 1, "data_list": text}))
    shown = run("decode", str(body)).stdout.decode()
    for said in (
        "looks like: Sensors Analytics",
        "base64  undone (not encryption: anyone can read it)",
        "gzip  unpacked",
        "url = https://a.example/health?q=1   ← the address of a visited page",
        "type = privacy   ← says private mode",
        "time = 1700000000123   ← when it happened: 2023-11-14 22:13:20 UTC",
        "distinct_id = 9774d56d682e549c   ← an identifier of this installation",
        "16 bytes of text: 9774d56d682e549c",
    ):
        assert said in shown, said


def test_decode_says_what_stays_closed(tmp_path: Path) -> None:
    body = tmp_path / "body.bin"
    body.write_text(json.dumps({"d": base64.b64encode(bytes(n * n % 251 for n in range(300))).decode()}))
    shown = run("decode", str(body)).stdout.decode()
    assert shown.count("could not be opened") == 1
    assert "it may be encrypted" in shown


def test_decode_says_how_random_a_value_of_a_document_is_that_stays_closed(tmp_path: Path) -> None:
    body = tmp_path / "body.bin"
    body.write_bytes(b"\x82\xa1a\xa5hello\xa1k\xc4\x14" + b"\x01\x02" * 10)
    shown = run("decode", str(body)).stdout.decode()
    assert "$.k = 20 bytes, could not be opened" in shown
    assert "entropy 1.0 of at most 4.3 bits per byte" in shown
    lines = [json.loads(line) for line in run("decode", str(body), "--json").stdout.splitlines()]
    assert [line["entropy"] for line in lines if line["opaque"]] == [1.0]


def test_decode_shows_no_bytes_of_what_opens(tmp_path: Path) -> None:
    body = tmp_path / "body.bin"
    body.write_bytes(b"\x81\xa1k\xc4\x1f" + gzip.compress(b"hello, world", mtime=0)[:31])
    shown = run("decode", str(body)).stdout.decode()
    assert "$.k = 31 bytes of binary data" in shown
    assert "hello, wor" in shown
    assert "could not be opened" not in shown


def test_decode_says_what_is_text_and_that_nothing_encoded_was_found(tmp_path: Path) -> None:
    body = tmp_path / "body.txt"
    body.write_text("schöne Grüße", "utf-8")
    shown = run("decode", str(body)).stdout.decode()
    assert "15 bytes of text" in shown
    assert "nothing encoded was found in it: schöne Grüße" in shown


@pytest.mark.parametrize(("name", "value", "says"), [("incognito", 1, True), ("is_private", True, True),
                                                     ("incognito", 0, False), ("wifi", 1, False)])  # fmt: skip
def test_decode_says_which_value_tells_private_mode(
    tmp_path: Path, name: str, value: object, says: bool
) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"properties": {name: value, "os": "Android"}}))
    assert ("says private mode" in run("decode", str(body)).stdout.decode()) is says


def test_inspect_prints_every_record(har: Path) -> None:
    lines = [json.loads(line) for line in run("inspect", str(har)).stdout.splitlines()]
    assert {line["kind"] for line in lines} == {"http", "flow"}
    (http,) = [line for line in lines if line["kind"] == "http"]
    assert (http["method"], http["authority"], http["path"], http["version"]) == (
        "POST",
        "t.example",
        "/v1",
        "2",
    )
    assert http["time"] == "2026-11-22T10:00:00.000000Z"
    only = run("inspect", "--kind", "flow", str(har)).stdout.splitlines()
    assert [json.loads(line)["kind"] for line in only] == ["flow"]


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        (b"", ("analyze", "FILE")),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ("analyze", "FILE")),
        (b'{"version": 1}', ("analyze", "FILE")),
        (b"\n\n\n", ("inspect", "FILE")),
        (b"", ("analyze", "no-such-file")),
        (b"", ("inspect", "no-such-file")),
        (b"", ("search", "--value", "x", "no-such-file")),
        (b"", ("decode", "no-such-file")),
        (b"", ("report", "no-such-folder")),
        (b"[[phase]", ("analyze", "FILE", "--experiment", "FILE")),
        (b"", ("analyze", "FILE", "--canary", "odd")),
        (b"", ("analyze",)),
        (b"", ("analyse",)),
        (b"", ("inspect", "FILE", "--kind", "odd")),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    content: bytes, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    done = run(*(str(path) if a == "FILE" else a for a in arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == b""
    assert len(done.stderr.decode().strip().splitlines()) == 1, done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_bomb_and_a_tower_are_told_and_cost_no_result(tmp_path: Path) -> None:
    bomb = base64.b64encode(gzip.compress(bytes(1 << 28))).decode()
    tower = "[" * 200 + json.dumps(TERM) + "]" * 200
    path = write_har(tmp_path / "page.har", [
        har_entry("POST", "https://t.example/bomb", "2026-11-22T10:00:00Z", body=bomb),
        har_entry("POST", "https://t.example/tower", "2026-11-22T10:00:01Z", body=tower),
    ])  # fmt: skip
    done = run("analyze", str(path), "--canary", f"term={TERM}", "-o", str(tmp_path / "r"))
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "r/findings.json").read_text())
    assert [limit["bound"] for limit in content["limits"]] == ["bytes"]
    (finding,) = content["findings"]
    assert finding["occurrences"][0]["layers"] == ["json"]


def test_every_command_explains_itself() -> None:
    for command in ("analyze", "report", "inspect", "search", "decode", "completion"):
        done = run(command, "--help")
        assert done.returncode == 0
        assert b"Example" in done.stdout
    assert b"_privacy_audit" in run("completion", "bash").stdout


def _seconds_of_work(pid: int) -> float:
    """Processor time of a process so far (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_what_was_computed_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    entries = [
        har_entry(
            "POST", "https://t.example/v1", "2026-11-22T10:00:00Z", body=json.dumps({"q": TERM, "n": n})
        )
        for n in range(150_000)
    ]
    path = write_har(tmp_path / "long.har", entries)
    out = tmp_path / "result"
    process = subprocess.Popen(
        [sys.executable, "-m", "audit", "analyze", str(path), "--canary", f"term={TERM}", "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while process.poll() is None and _seconds_of_work(process.pid) < 4:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    content = json.loads((out / "findings.json").read_text())
    assert content["coverage"]["gaps"][0]["detail"].startswith("interrupted")
    assert 0 < len(content["findings"][0]["occurrences"]) < 150_000
