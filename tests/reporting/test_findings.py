"""findings.json: whole or not at all, for its owner alone, stable, described by its schema."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import msgspec
import pytest

from audit.reporting import findings
from tests.reporting import sample

DOCS = Path(__file__).resolve().parents[2] / "docs" / "findings.schema.json"


def test_round_trip_and_permissions(tmp_path: Path) -> None:
    audit = sample.audit()
    path = findings.write(audit, tmp_path / "result")
    assert path.name == "findings.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert findings.load(path) == findings.canonical(audit)
    assert [each.name for each in path.parent.iterdir()] == ["findings.json"]


def test_order_that_says_nothing_changes_nothing() -> None:
    audit = sample.audit()
    random = Random(1)

    def shuffled(things: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(things, len(things)))

    other = msgspec.structs.replace(
        audit,
        findings=shuffled(
            tuple(
                msgspec.structs.replace(each, occurrences=shuffled(each.occurrences))
                for each in audit.findings
            )
        ),
        recipients=shuffled(audit.recipients),
    )
    assert other != audit
    assert findings.encode(other) == findings.encode(audit)


def test_lone_surrogates_cost_nothing() -> None:
    audit = msgspec.structs.replace(
        sample.audit(), tool=msgspec.structs.replace(sample.audit().tool, name="a\ud800")
    )
    assert json.loads(findings.encode(audit))["tool"]["name"] == "a\\ud800"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = findings.write(sample.audit(), tmp_path / "result")
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        findings.write_private(path, b"{}")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["findings.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"schema": "x"}', b"\x89PNG\r\n\x1a\n", b"[" * 100_000, b"\xff\xfe"],
)
def test_refuses_what_it_cannot_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "findings.json"
    path.write_bytes(content)
    with pytest.raises(findings.BadFindings) as error:
        findings.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_refuses_another_schema_and_a_missing_file(tmp_path: Path) -> None:
    path = findings.write(msgspec.structs.replace(sample.audit(), schema=99), tmp_path / "result")
    with pytest.raises(findings.BadFindings, match="schema 99"):
        findings.load(path)
    with pytest.raises(findings.BadFindings, match="No such file"):
        findings.load(tmp_path / "nothing.json")


def test_the_schema_in_docs_is_current_and_describes_the_sample() -> None:
    schema = json.loads(DOCS.read_bytes())
    assert schema == findings.schema(), "run: python -m audit.reporting.findings"
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(findings.encode(sample.audit()))
    jsonschema.validate(document, schema)
    del document["findings"][0]["expected"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
