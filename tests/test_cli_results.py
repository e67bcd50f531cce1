"""The commands that work on results: report, compare, export, sign, verify, and inspect by id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import pipeline
from audit.cli import cli
from audit.reporting import findings as findings_file
from tests.reporting import cases
from tests.test_planted import ANDROID_ID, PAGES


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small experiment with its results: the captures lie above them."""
    result = tmp_path / "result"
    findings_file.write(cases.planted(tmp_path), result)
    return result


def test_inspect_shows_one_transmission_whole(folder: Path) -> None:
    audit = findings_file.load(folder / findings_file.NAME)
    shown = next(f.exhibit for f in audit.findings if f.exhibit and f.severity == "critical")
    done = run("inspect", folder.parent / shown.capture, "--id", shown.transmission)
    assert done.exit_code == 0, done.exception
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert record["id"] == shown.transmission
    assert "data_list=" in record["body"]
    assert ["content-type", "application/x-www-form-urlencoded"] in record["headers"]


@pytest.mark.parametrize("form", ["json", "csv", "sarif"])
def test_export_of_results(folder: Path, form: str) -> None:
    masked, plain = (
        run("export", folder, "--format", form),
        run("export", folder, "--format", form, "--unmask"),
    )
    assert masked.exit_code == plain.exit_code == 0
    assert PAGES["private"] in masked.output
    assert ANDROID_ID not in masked.output
    assert ANDROID_ID in plain.output or form == "sarif"


def test_export_of_a_masked_har(folder: Path) -> None:
    target = folder / "masked.har"
    done = run("export", folder.parent / "page.har", "--format", "har", "-o", target)
    assert done.exit_code == 0, done.output
    text = target.read_text()
    assert ANDROID_ID not in text
    assert PAGES["private"] not in text  # no canaries were given, so that a visit is a secret
    assert target.stat().st_mode & 0o777 == 0o600
    assert run("export", folder.parent / "page.har", "--format", "har", "--unmask").exit_code != 0


def test_sign_and_verify(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    none = serialization.NoEncryption()
    private, public = folder.parent / "my.key", folder.parent / "my.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    assert run("report", folder).exit_code == 0
    assert run("sign", folder, "--key", private).exit_code == 0
    done = run("verify", folder, "--key", public)
    assert done.exit_code == 0
    assert "Nothing changed." in done.output
    (folder.parent / "page.har").write_text("{}")
    done = run("verify", folder)
    assert done.exit_code == 1
    assert "../page.har (capture) was changed" in done.output


def test_compare(folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    findings_file.write(cases.clean(other), other / "result")
    done = run("compare", folder, other / "result")
    both = json.loads(done.output)
    assert both["counts"]["vanished"] == 6
    page = folder.parent / "page.html"
    assert run("compare", folder, other / "result", "-o", page).exit_code == 0
    assert "6 vanished" in page.read_text()
    assert str(folder.parent) not in page.read_text()  # where they lie is nobody's business
    assert both["before"]["name"] != both["after"]["name"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    for words in (
        ("report", tmp_path),
        ("sign", tmp_path),
        ("verify", tmp_path),
        ("compare", tmp_path, tmp_path),
    ):
        assert run(*words).exit_code != 0


def test_marks_of_two_analyses_differ(tmp_path: Path) -> None:
    shutil.copy(cases.SAMPLE / "flows.mitm", tmp_path / "flows.mitm")
    capture = pipeline.Capture(tmp_path / "flows.mitm", "flows.mitm")
    one, other = (pipeline.analyze([capture], cases.experiment()).run.salt for _ in range(2))
    assert len(one) == 32
    assert one != other
