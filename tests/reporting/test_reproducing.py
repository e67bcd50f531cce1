"""The commands printed in a report run in the folder of the captures and show the transmission they name,
with the value that was found in it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from audit.decoding.channels import Channel
from audit.detection.needles import Needles
from audit.detection.search import Searcher
from audit.records import Audit
from audit.reporting.evidence import command
from audit.reporting.html import render
from tests.reporting import cases

ROOT = Path(__file__).resolve().parents[2]
INSPECT = ["privacy-audit", "inspect"]


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "audit", *line[1:]], cwd=folder, capture_output=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def printed(audit: Audit) -> list[list[str]]:
    """The commands of a report, as a shell reads them; the one that repeats the analysis is the last."""
    found = re.findall(r'<pre class="command">(.*?)</pre>', render(audit), re.DOTALL)
    return [shlex.split(unescape(re.sub(r"<[^>]+>", "", each))) for each in found]


def shown(line: list[str], folder: Path) -> tuple[str, bytes]:
    """The id of what a command shows, and the line that shows it."""
    done = run(line, folder)
    assert done.returncode == 0, done.stderr.decode()
    (told,) = done.stdout.splitlines()
    return str(json.loads(told)["id"]), told


@pytest.mark.parametrize("case", [cases.planted, cases.sample])
def test_every_printed_command_shows_the_transmission_and_the_value(
    case: Callable[[Path], Audit], tmp_path: Path
) -> None:
    audit = case(tmp_path)
    folder = tmp_path if case is cases.planted else cases.SAMPLE
    *lines, whole = printed(audit)
    assert whole == ["privacy-audit", "analyze", ".", "-o", "result"]
    values = {canary.id: canary for canary in audit.experiment.canaries}
    shows = {(line[2], line[line.index("--id") + 1]): shown(line, folder) for line in lines}
    assert [each[:2] for each in lines] == [INSPECT] * len(audit.findings)
    for (_, named), (ident, _) in shows.items():
        assert ident == named
    for finding in audit.findings:
        assert finding.exhibit
        _, told = shows[finding.exhibit.capture, finding.exhibit.transmission]
        if finding.canary:
            needles = Needles([values[finding.canary]])
            assert Searcher(needles).search([Channel("body", told)]).sightings, finding.id


def test_the_whole_analysis_can_be_repeated(tmp_path: Path) -> None:
    audit = cases.planted(tmp_path)
    experiment = tmp_path / "experiment.toml"
    experiment.write_text('[[canary]]\nid = "n-url"\nkind = "url"\nvalue = "https://n4-harbour.example/"\n')
    done = run(printed(audit)[-1], tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "result" / "report.html").is_file()


def test_key_logs_of_the_command_line_are_named_without_their_folders(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("phone.pcapng", "keys.log"):
        (tmp_path / name).write_bytes((cases.SAMPLE / name).read_bytes())
    elsewhere = tmp_path / "logs" / "more.log"
    elsewhere.write_bytes((cases.SAMPLE / "keys.log").read_bytes())
    options = ["--keys", "keys.log", "--keys", str(elsewhere)]
    made = run(
        ["", "analyze", "phone.pcapng", *options, "--canary", "term=plover m7n2", "-o", "result"], tmp_path
    )
    assert made.returncode == 0, made.stderr.decode()
    page = (tmp_path / "result" / "report.html").read_text()
    assert "--keys keys.log --keys logs/more.log" in unescape(page)
    assert str(tmp_path) not in page
    line = shlex.split(unescape(re.search(r'<pre class="command">(.*?)</pre>', page, re.DOTALL)[1]))
    assert b"plover" in shown(line, tmp_path)[1]


def test_what_is_not_there_is_said_and_is_no_success(tmp_path: Path) -> None:
    done = run(["", "inspect", "phone.pcapng", "--id", "f594.1"], cases.SAMPLE)  # without its key log
    assert done.returncode == 2
    assert done.stdout == b""
    (said,) = done.stderr.decode().splitlines()
    assert "phone.pcapng: holds no transmission f594.1" in said
    assert "--keys" in said


def test_names_that_a_shell_would_take_for_more_are_quoted(tmp_path: Path) -> None:
    page = cases.planted(tmp_path).captures[0].name
    for name in ("-o.har", "a b; touch x.har", "$(id).har", "'quoted'.har"):
        (tmp_path / name).write_bytes((tmp_path / page).read_bytes())
        line = command(name, "f3", {})
        arguments = subprocess.run(
            ["sh", "-c", f'printf "%s\\0" {line}'], capture_output=True, check=True, cwd=tmp_path
        ).stdout.decode().split("\0")[:-1]  # fmt: skip
        assert arguments[2].removeprefix("./") == name
        assert shown(arguments, tmp_path)[0] == "f3"
