"""Runs fuzz targets, each in a process of its own, and tells what came of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import targets
from tests.fuzz.one import HANG

ROOT = Path(__file__).resolve().parents[2]
SEED = 20_261_122
_STARTING = 300  # seconds allowed besides: the machine may be busy
_EXECUTIONS = re.compile(rb"number_of_executed_units: (\d+)")


class Outcome(NamedTuple):
    """What a target did: how often it ran, and each crash in one line, its reproducer first."""

    target: str
    executions: int
    crashes: tuple[str, ...]


def fuzz(chosen: Iterable[str], seconds: int, found: Path, jobs: int) -> Iterator[Outcome]:
    """Fuzz each target for `seconds`, `jobs` at a time; reproducers are left in `found`."""
    found.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        known = targets.names()
        yield from pool.map(lambda name: _one(known[name], name, seconds, found), chosen)


def _one(module: str, name: str, seconds: int, found: Path) -> Outcome:
    own = found / name
    own.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one", module, name, str(seconds), str(SEED), str(own)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, timeout=seconds + HANG + _STARTING, check=False
        )
        output, status = done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        output, status = late.stderr or b"", -1
    crashes = []
    for file in sorted(file for file in own.iterdir() if file.is_file()):
        if file.suffix == ".txt":
            crashes.append(f"{file.with_suffix('.bin')}: {file.read_text().partition(chr(10))[0]}")
        elif file.suffix != ".bin":  # libFuzzer's own: crash-, timeout-, oom-, slow-unit-
            crashes.append(f"{file}: {file.name.removeprefix(name + '-').rpartition('-')[0]}")
    for corpus in (path for path in own.iterdir() if path.is_dir()):
        shutil.rmtree(corpus)
    counted = _EXECUTIONS.findall(output)
    if status and not crashes:
        told = output.decode("utf-8", "replace").strip().splitlines()[-1:]
        crashes.append(f"{name}: ended with status {status}: {''.join(told)}")
    return Outcome(name, int(counted[-1]) if counted else 0, tuple(crashes))
