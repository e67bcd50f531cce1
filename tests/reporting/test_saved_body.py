"""A body that was saved to a file is recognised like the one that was sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from audit.cli import cli
from tests.adapters.test_recognition import PLAIN


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_sensors_body_with_the_newline_of_an_editor(tmp_path: Path, end: bytes) -> None:
    saved = tmp_path / "body.txt"
    saved.write_bytes(PLAIN + end)
    said = CliRunner().invoke(cli, ["decode", str(saved)]).stdout
    assert "looks like: Sensors Analytics" in said
    assert "the address of a visited page" in said


def test_a_body_whose_checksum_is_wrong_is_not_recognised(tmp_path: Path) -> None:
    saved = tmp_path / "body.txt"
    saved.write_bytes(PLAIN.replace(b"crc=1850956737", b"crc=1850956738") + b"\n")
    assert "looks like" not in CliRunner().invoke(cli, ["decode", str(saved)]).stdout
