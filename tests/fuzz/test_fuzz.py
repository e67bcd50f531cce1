"""A bounded run of every fuzz target, and proof that a crash would be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is not installed (it exists for Linux and Python < 3.13)")

from tests.fuzz.running import ROOT, fuzz
from tests.fuzz.targets import names, target

SECONDS = 1
TARGETS = names()

BROKEN = """
import sys
from pathlib import Path
from tests.fuzz import one, targets

def broken(data):
    if data[:2] == b"ab":
        {effect}

targets.target = lambda module, name: targets.Target(broken, (b"ab",), (KeyError,))
one.HANG = 2
one.main("none", "broken", 2, 1, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_nothing_crashes_in_a_short_run(tmp_path: Path) -> None:
    outcomes = list(fuzz(TARGETS, SECONDS, tmp_path, jobs=2))
    assert [outcome.target for outcome in outcomes] == list(TARGETS)
    assert [line for outcome in outcomes for line in outcome.crashes] == []
    assert [outcome.target for outcome in outcomes if not outcome.executions] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effect", "left"),
    [
        ("raise ValueError", [".bin", ".txt"]),
        ("raise KeyError", []),
        ("while True: pass", [""]),
    ],
)
def test_what_goes_wrong_is_kept(tmp_path: Path, effect: str, left: list[str]) -> None:
    script = BROKEN.format(effect=effect)
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False, timeout=120, capture_output=True
    )
    kept = sorted(file for file in tmp_path.iterdir() if file.is_file())
    assert [file.suffix for file in kept] == left
    for file in kept:
        if file.suffix != ".txt":
            assert file.read_bytes().startswith(b"ab")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_takes_its_own_seeds(name: str) -> None:
    taken = target(TARGETS[name], name)
    for seed in taken.seeds:
        taken.run(seed)
