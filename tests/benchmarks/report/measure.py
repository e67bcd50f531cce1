"""How long a report of many occurrences takes, how much memory, how large it is, how fast it opens.

`python -m tests.benchmarks.report.measure [--occurrences N] [--findings N]`. The findings are made from a
seed. Time is also told as a ratio to the standard library's `json.dumps` of the same findings, so that
machines can be compared. Rendering runs in a process of its own, whose peak memory is that of the
operating system's count, the findings themselves included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from audit.records import Audit, Identifier
from audit.reporting import findings as findings_file
from audit.reporting.html import render
from tests.reporting import sample

_TYPES = ("B1", "S1", "B3", "B6", "S2")
_MODES = ("normal", "private")


def many(occurrences: int, findings: int, seed: int = 7) -> Audit:
    """An audit with so many findings and occurrences, to some hundred recipients."""
    chance = random.Random(seed)
    made = []
    for number in range(findings):
        who = msgspec.structs.replace(
            sample.VENDOR,
            host=f"h{number % 400}.vendor-{number % 80}.example",
            registrable_domain=f"vendor-{number % 80}.example",
            organisation=f"Vendor {number % 80}",
            country_located=chance.choice(("SG", "US", "DE", "CN", "IE", "BR", None)),
        )
        text = f'{{"url":"{sample.P_URL}","uid":"{chance.randbytes(8).hex()}","n":%d}}'
        spots = tuple(
            sample.occurrence(
                chance.random() * 60,
                text % at,
                channel="body",
                path="$.data_list[0].properties.url",
                layers=("form", "percent", "base64", "gzip", "json"),
                transmission=f"http-{number}-{at}",
                request=f"POST https://{who.host}/sa?project=p",
            )
            for at in range(occurrences // findings)
        )
        made.append(
            msgspec.structs.replace(
                sample.finding(
                    _TYPES[number % 5], chance.choice(("critical", "high", "medium", "low")), who, spots,
                    mode=_MODES[number % 2], canary="p-url",
                    identifiers=(Identifier(name="uid", value=f"{number % 50:016x}", kind="hardware"),),
                    exhibit=sample.exhibit(text % 0, sample.P_URL),
                ),
                id=f"f-{number:05d}",
            )
        )  # fmt: skip
    audit = sample.audit()
    return msgspec.structs.replace(
        audit, findings=tuple(made), recipients=sample.recipients(sample.findings()), limits=()
    )


def rendering(path: Path, target: Path) -> None:
    """Renders in this process and prints seconds and peak memory as JSON."""
    audit = findings_file.load(path)
    started, busy = time.perf_counter(), time.process_time()
    text = render(audit)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    target.write_text(text, "utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "busy": busy, "peak": peak}))


def opening(path: Path) -> float | None:
    """Seconds until a browser has loaded and laid out the page; None without a browser."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        started = time.perf_counter()
        page.goto(path.as_uri())
        page.evaluate("document.body.getBoundingClientRect().height")
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--occurrences", type=int, default=100_000)
    parser.add_argument("--findings", type=int, default=2_000)
    parser.add_argument("--render", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.render:
        rendering(*asked.render)
        return
    with tempfile.TemporaryDirectory() as folder:
        audit = many(asked.occurrences, asked.findings)
        findings_file.write(audit, Path(folder, "result"))
        source = Path(folder, "result", findings_file.NAME)
        plain = msgspec.to_builtins(audit)
        started = time.process_time()
        json.dumps(plain)
        peer = time.process_time() - started
        digests, told = set(), {}
        for turn in (1, 2):
            target = Path(folder, f"report-{turn}.html")
            done = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.report.measure", "--render", source, target],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            told = json.loads(done.stdout)
            digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
        opened = opening(target)
        print(f"{asked.occurrences:,} occurrences in {asked.findings:,} findings")
        print(
            f"  rendering       {told['seconds']:.2f} s ({told['busy']:.2f} s of work), {told['busy'] / peer:.1f} × json.dumps of the same"
        )
        print(f"  peak memory     {told['peak'] / 1e6:.0f} MB, the findings included")
        print(f"  findings.json   {source.stat().st_size / 1e6:.1f} MB")
        print(f"  report.html     {target.stat().st_size / 1e6:.2f} MB")
        print(f"  opens in        {'no browser here' if opened is None else f'{opened:.2f} s'}")
        print(f"  twice the same  {'yes' if len(digests) == 1 else 'NO'}")


if __name__ == "__main__":
    main()
