"""A built wheel behaves like the checkout: installed in a clean place, it gives the same findings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = {"audit": "audit", "addons": "audit/_addons", "reports/templates": "audit/_templates"}


def run(command: Sequence[object], cwd: Path) -> str:
    """Runs without anything in the environment that could lead Python back into the checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT], cwd=target)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment that holds the wheel, and sees the dependencies installed here.

    They are joined by a .pth line after the wheel is in: such a line adds one folder, it does not follow
    the .pth files in it, so an editable install of the checkout stays out of sight.
    """
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], cwd=place)
    own = Path(
        run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=place).strip()
    )
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "dependencies.pth").write_text("".join(f"{folder}\n" for folder in sorted(folders)))
    where = run([python, "-c", "import audit; print(audit.__file__)"], cwd=place).strip()
    assert Path(where) == own / "audit" / "__init__.py"
    return place / "bin"


def test_the_wheel_holds_all_that_ships_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    expected = {
        f"{target}/{path.relative_to(ROOT / source).as_posix()}"
        for source, target in SHIPPED.items()
        for path in (ROOT / source).rglob("*")
        if path.is_file() and not any(part == "__pycache__" or part[0] == "." for part in path.parts[1:])
    }
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - about == expected
    assert {Path(name).name for name in about} >= {"METADATA", "LICENSE", "NOTICE", "entry_points.txt"}


def test_the_wheel_finds_what_it_carries(installed: Path, tmp_path: Path) -> None:
    script = (
        "from audit import shipped; print(shipped.folder('addons'), shipped.folder('templates'), sep='\\n')"
    )
    found = run([installed / "python", "-c", script], cwd=tmp_path).splitlines()
    for carried, source in zip(found, (ROOT / "addons", ROOT / "reports" / "templates"), strict=True):
        assert not Path(carried).is_relative_to(ROOT)
        names = {path.name for path in Path(carried).iterdir()}
        assert names >= {path.name for path in source.iterdir() if path.is_file()}


@pytest.mark.slow
def test_the_demo_gives_the_same_findings_from_wheel_and_checkout(installed: Path, tmp_path: Path) -> None:
    samples = sorted((ROOT / "captures").glob("chromium-*"))
    assert samples, "the sample of the demo is missing"
    commands = {
        "wheel": ([installed / "privacy-audit"], tmp_path),
        "module": ([installed / "python", "-m", "audit"], tmp_path),
        "checkout": ([sys.executable, "-m", "audit"], ROOT),
    }
    results = {}
    for name, (command, cwd) in commands.items():
        run([*command, "analyze", samples[-1], "-o", tmp_path / name], cwd=cwd)
        assert (tmp_path / name / "report.html").stat().st_size > 0
        results[name] = json.loads((tmp_path / name / "findings.json").read_text())
        assert results[name].pop("run")
    assert results["checkout"]["findings"]
    assert results["wheel"] == results["module"] == results["checkout"]
