"""`findings.json`: the whole result of an audit, written whole or not at all, and read back.

The file holds the truth and is therefore never masked: it and its folder are for their owner alone.
What it looks like: `schema()`, kept in docs/findings.schema.json by `python -m audit.reporting.findings`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from audit.records import Audit, Finding, Occurrence

SCHEMA = 1
NAME = "findings.json"
_SEVERITIES = ("critical", "high", "medium", "low", "info")


class BadFindings(ValueError):  # noqa: N818 (named as the reader says it)
    """A `findings.json` that cannot be used; the message is one line: file, reason, remedy."""


def canonical(audit: Audit) -> Audit:
    """The same audit with everything whose order says nothing put in order."""
    return msgspec.structs.replace(
        audit,
        findings=tuple(sorted((_in_order(finding) for finding in audit.findings), key=_rank)),
        recipients=tuple(sorted(audit.recipients, key=lambda row: (row.recipient.host or "~", row.ips))),
        limits=tuple(
            sorted(audit.limits, key=lambda hit: (hit.capture, hit.transmission, hit.bound, hit.detail))
        ),
    )


def encode(audit: Audit) -> bytes:
    """The bytes of `findings.json`: UTF-8 JSON, two spaces of indent, the same for the same audit."""
    audit = canonical(audit)
    try:
        raw = msgspec.json.encode(audit, order="deterministic")
    except UnicodeEncodeError:  # a lone surrogate out of somebody's JSON: nothing may cost us the result
        raw = msgspec.json.encode(_without_surrogates(msgspec.to_builtins(audit)), order="deterministic")
    return msgspec.json.format(raw, indent=2) + b"\n"


def write(audit: Audit, folder: Path) -> Path:
    """Write `folder`/findings.json (0600; a folder made here is 0700) and return its path."""
    return write_private(folder / NAME, encode(audit))


def write_private(path: Path, content: bytes) -> Path:
    """Put `content` at `path` atomically, readable by its owner alone; OSError where that fails."""
    return write_private_pieces(path, (content,))


def write_private_pieces(path: Path, pieces: Iterable[bytes]) -> Path:
    """The same with content that comes piece by piece."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def load(path: Path) -> Audit:
    """Read a `findings.json`; raises BadFindings."""
    try:
        audit = msgspec.json.decode(path.read_bytes(), type=Audit)
    except OSError as error:
        raise BadFindings(f"{path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFindings(f"{path}: not the findings of an audit: {error}; run `analyze` again") from None
    if audit.schema != SCHEMA:
        raise BadFindings(f"{path}: schema {audit.schema}, this version reads {SCHEMA}; run `analyze` again")
    return audit


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `findings.json`."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "findings.json of device-privacy-audit",
        **_told_evenly(msgspec.json.schema(Audit)),
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(described, order="deterministic"))
    return plain


def _told_evenly(node: Any) -> Any:
    """The same schema with its descriptions unindented: newer versions of Python do that by themselves."""
    if isinstance(node, dict):
        return {
            key: cleandoc(value) if key == "description" and isinstance(value, str) else _told_evenly(value)
            for key, value in node.items()
        }
    return [_told_evenly(item) for item in node] if isinstance(node, list) else node


def severity_rank(severity: str) -> int:
    """0 for critical, growing as it matters less."""
    return _SEVERITIES.index(severity)


def _rank(finding: Finding) -> tuple[int, str, str, str, str, str]:
    return (
        severity_rank(finding.severity),
        finding.leak_type,
        finding.recipient.host or "~",
        finding.mode,
        finding.setting or "",
        finding.id,
    )


def _in_order(finding: Finding) -> Finding:
    return msgspec.structs.replace(
        finding,
        occurrences=tuple(sorted(finding.occurrences, key=_when)),
        identifiers=tuple(sorted(finding.identifiers, key=lambda each: (each.kind, each.name, each.value))),
    )


def _when(occurrence: Occurrence) -> tuple[str, str, str, str, str, int, tuple[str, ...], str]:
    return (
        occurrence.time or "~",
        occurrence.capture,
        occurrence.transmission,
        occurrence.channel,
        occurrence.path,
        occurrence.offset,
        occurrence.layers,
        occurrence.form,
    )


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    return [_without_surrogates(each) for each in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[2] / "docs" / "findings.schema.json"
    target.write_bytes(
        msgspec.json.format(msgspec.json.encode(schema(), order="deterministic"), indent=2) + b"\n"
    )
