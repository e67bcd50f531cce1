"""What is on the wire is obeyed nowhere: every command that shows or hands on hostile strings leaves nothing in
its output that a terminal, a spreadsheet or a browser would take for more than text."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from msgspec import structs

from audit.reporting import exports, findings
from tests.test_cli import run
from tests.test_pipeline import har_entry, write_har

pytestmark = pytest.mark.slow  # one of the values is a megabyte long
TERM = "marble otter h4q2"
EVIL = (
    "<img src=x onerror=alert(1)><svg onload=alert(2)>\u202eevil\u2066\u200b\x1b[31;1m\x1b]0;title\x07\x9b31m\x00"
    "\U000e0041=cmd|'/C calc'!A0"
)
OBEYED = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\U000e0041]"
)
NAME = "page\u202e\x1b[31m<img>.har"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captures whose name, hosts, headers, field names and values are hostile, and their audits."""
    place = tmp_path_factory.mktemp("hostile")
    body = json.dumps({"q": TERM + EVIL, EVIL: "A" * 1_000_000 + TERM, "=cmd|x": {"\u202e": TERM}})
    entries = [
        har_entry("POST", f"https://t.example/v1?q={TERM}&=cmd|x=1", "2026-11-22T10:00:00Z", body=body),
        har_entry("GET", f"https://evil\u202e.example/{EVIL}{TERM}", "2026-11-22T10:00:01Z"),
        har_entry(
            "GET", "https://=cmd.example/", "2026-11-22T10:00:02Z", x_evil=EVIL + TERM + "\udcff", cookie=EVIL
        ),
    ]
    entries[0]["serverIPAddress"] = EVIL
    (place / NAME).write_bytes(write_har(place / "page.har", entries).read_bytes())
    for name, value in ((NAME, TERM), ("page.har", TERM + EVIL.replace("\0", ""))):
        done = run("analyze", name, "--canary", f"term={value}", "-o", f"r-{name == NAME}", cwd=place)
        assert done.returncode == 0
        assert not OBEYED.search((done.stdout + done.stderr).decode())
    return place


COMMANDS = {
    "inspect": ("inspect", NAME),
    "one transmission": ("inspect", NAME, "--id", "f2"),
    "no transmission": ("inspect", NAME, "--id", "\x1b[31m\u202e"),
    "search": ("search", TERM, NAME),
    "decode": ("decode", EVIL.replace("\0", "")),
    "csv": ("export", "r-True", "--format", "csv", "--unmask"),
    "json": ("export", "r-True", "--format", "json", "--unmask"),
    "sarif": ("export", "r-True", "--format", "sarif", "--unmask"),
    "har": ("export", NAME, "--format", "har"),
    "har-full": ("export", NAME, "--format", "har-full"),
    "compare": ("compare", "r-True", "r-False"),
    "no file": ("analyze", "\x1b[31m\u202enone.har"),
    "no folder": ("verify", "\x1b[31m\u202enone"),
    "no value": ("analyze", NAME, "--canary", "\x1b[31m\u202e"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_obeys_nothing_of_it(folder: Path, command: str) -> None:
    done = run(*COMMANDS[command], cwd=folder)
    for stream in (done.stdout, done.stderr):
        text = stream.decode()
        assert not OBEYED.search(text), ascii(text[OBEYED.search(text).start() - 60 :][:100])  # type: ignore[union-attr]
        assert "Traceback" not in text
    assert done.stdout or done.returncode == 2


def test_what_json_says_stays_the_same(folder: Path) -> None:
    (line,) = run("inspect", NAME, "--id", "f2", cwd=folder).stdout.splitlines()
    assert json.loads(line)["capture"] == NAME
    log = json.loads(run("export", NAME, "--format", "har-full", cwd=folder).stdout)["log"]
    assert log["entries"][1]["request"]["url"].startswith("https://evil\u202e.example/<img")


def test_no_cell_is_a_formula_and_no_page_has_what_is_hostile(folder: Path) -> None:
    audit = findings.load(folder / "r-True" / "findings.json")
    assert audit.findings
    for start in ("=", "+", "-", "@", "\t=", "\r="):
        planted = tuple(
            structs.replace(each, value=start + "cmd|'/C calc'!A0") for each in audit.experiment.canaries
        )
        changed = structs.replace(audit, experiment=structs.replace(audit.experiment, canaries=planted))
        rows = list(csv.DictReader(io.StringIO(exports.to_csv(changed).decode())))
        assert "cmd|'/C calc'!A0" in rows[0]["value"]
        cells = [cell for row in rows for cell in row.values()]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert run("compare", "r-True", "r-False", "-o", "both.html", cwd=folder).returncode == 0
    for name in ("both.html", "r-True/report.html", "r-False/report.html"):
        page = (folder / name).read_text()
        assert not OBEYED.search(page)
        assert "<img" not in page
        assert "<svg onload" not in page
