"""Findings in the formats of other tools: JSON as it is, CSV for tables, SARIF for code scanning.

Each function takes an audit and gives bytes; masking has happened before (`shared.masked`) or was
declined. Sources: RFC 4180 (CSV); OASIS SARIF 2.1.0 (2020).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from typing import Any
from urllib.parse import quote

from audit.assessment.leak_types import table
from audit.records import Audit, Finding
from audit.reporting.findings import encode
from audit.reporting.masking import MASKED_ID
from audit.reporting.modes import kind, recipient_name
from audit.reporting.wire import inert, inert_json
from audit.reporting.wording import leak_types, words

_COLUMNS = (
    "id", "leak_type", "title", "severity", "state", "mode", "setting", "expected", "origin", "host",
    "registrable_domain", "organisation", "category", "ip", "asn", "as_name", "country_located",
    "country_registered", "value", "granularity", "identifiers", "explanation", "occurrences", "first", "last",
    "capture", "transmission", "channel", "path", "layers", "form",
)  # fmt: skip
_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
_RANKS = {"critical": 100.0, "high": 75.0, "medium": 50.0, "low": 25.0, "info": 0.0}
_HELP = (
    "The level follows from the leak type, the mode and what accompanied it. To see the request itself: "
    "privacy-audit inspect FILE --id TRANSMISSION, with the file and the transmission of the location."
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_json(audit: Audit) -> bytes:
    """The same form as `findings.json` (docs/findings.schema.json)."""
    return inert_json(encode(audit))


def to_csv(audit: Audit) -> bytes:
    """One row for each finding, with its first occurrence. A cell that a spreadsheet would take for a
    formula begins with an apostrophe (CWE-1236)."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    values = {canary.id: canary.value for canary in audit.experiment.canaries}
    for finding in audit.findings:
        writer.writerow(_cell(each) for each in _row(finding, values))
    return out.getvalue().encode("utf-8", "backslashreplace")


def _row(finding: Finding, values: dict[str, str]) -> tuple[Any, ...]:
    who = finding.recipient
    first = finding.occurrences[0] if finding.occurrences else None
    times = [each.time for each in finding.occurrences if each.time]
    return (
        finding.id, finding.leak_type, words(finding.leak_type).title, finding.severity, kind(finding), finding.mode,
        finding.setting, finding.expected, finding.origin, who.host, who.registrable_domain, who.organisation,
        who.category, who.ip, who.asn, who.as_name, who.country_located, who.country_registered,
        values.get(finding.canary or "", finding.inferred), finding.granularity,
        " ".join(f"{each.name}={each.value}" for each in finding.identifiers), finding.explanation,
        len(finding.occurrences), min(times, default=None), max(times, default=None),
        first and first.capture, first and first.transmission, first and first.channel, first and first.path,
        first and " ".join(first.layers), first and first.form,
    )  # fmt: skip


def _cell(value: Any) -> str:
    text = "" if value is None else inert(str(value), 32_000)
    return "'" + text if text.startswith(_FORMULA) else text


def to_sarif(audit: Audit) -> bytes:
    """A log with one run. Leaks fail; what is expected, apart or a signal is informational."""
    found = audit.findings
    codes = sorted({finding.leak_type for finding in found} | set(leak_types()))
    captures = [capture.name for capture in audit.captures]
    values = {canary.id: canary.value for canary in audit.experiment.canaries}
    prints = _fingerprints(found)
    log = {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": audit.tool.name,
                        "version": audit.tool.version,
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "artifacts": [
                    {"location": {"uri": _uri(each.name)}, "hashes": {"sha-256": each.sha256}}
                    if each.sha256
                    else {"location": {"uri": _uri(each.name)}}
                    for each in audit.captures
                ],
                "results": [
                    _result(each, codes, captures, values, known)
                    for each, known in zip(found, prints, strict=True)
                ],
            }
        ],
    }
    return (
        inert_json(json.dumps(log, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")) + b"\n"
    )


def _rule(code: str) -> dict[str, Any]:
    said, usual = words(code), table().types.get(code)
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in said.title.replace("-", " ").split() if part.isalnum()) or code,
        "shortDescription": {"text": said.title},
        "fullDescription": {"text": said.means},
        "help": {"text": f"{said.means} {_HELP}"},
        "defaultConfiguration": {"level": _LEVELS[usual.level] if usual else "note"},
    }  # fmt: skip


def _fingerprints(found: tuple[Finding, ...]) -> list[dict[str, str]]:
    """What tells the same finding again in the next run. The id of a masked finding is a mark that differs
    from run to run, as it derives from what is hidden: it counts by what is stated, and its place in it."""
    seen: Counter[str] = Counter()
    out: list[dict[str, str]] = []
    for each in found:
        if not each.id.startswith(MASKED_ID):
            out.append({"finding/v1": each.id})
            continue
        who = each.recipient
        parts = (
            each.leak_type,
            who.host or who.ip or "",
            each.mode,
            each.setting or "",
            each.granularity or "",
        )
        stated = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        seen[stated] += 1
        out.append({"statement/v1": f"{stated}:{seen[stated]}"})
    return out


def _result(
    finding: Finding, codes: list[str], captures: list[str], values: dict[str, str], known: dict[str, str]
) -> dict[str, Any]:
    said = words(finding.leak_type)
    value = values.get(finding.canary or "", finding.inferred) or "a value"
    name = inert(recipient_name(finding), 80)
    text = said.sentence.replace("{recipient}.", name if name.endswith(".") else f"{name}.")
    text = text.replace("{recipient}", name).replace("{value}", f"“{inert(value, 200)}”")
    leak = kind(finding) == "leak"
    first = finding.occurrences[0] if finding.occurrences else None
    location: dict[str, Any] = {
        "logicalLocations": [
            {
                "name": inert(finding.recipient.host or finding.recipient.ip or "unknown", 300),
                "kind": "resource",
            }
        ]
    }
    if first and first.capture in captures:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(first.capture), "index": captures.index(first.capture)}
        }
        location["message"] = {"text": f"transmission {inert(first.transmission, 120)}"}
    return {
        "ruleId": finding.leak_type,
        "ruleIndex": codes.index(finding.leak_type),
        "kind": "fail" if leak else "informational",
        "level": _LEVELS[finding.severity] if leak else "none",
        "rank": _RANKS[finding.severity],
        "message": {"text": f"{text} ({finding.mode} mode)"},
        "locations": [location],
        "occurrenceCount": max(1, len(finding.occurrences)),
        "partialFingerprints": known,
        "properties": {
            "severity": finding.severity,
            "mode": finding.mode,
            "setting": finding.setting,
            "expected": finding.expected,
            "origin": finding.origin,
            "organisation": finding.recipient.organisation,
            "countryLocated": finding.recipient.country_located,
            "countryRegistered": finding.recipient.country_registered,
            "transmissions": [inert(each.transmission, 120) for each in finding.occurrences[:20]],
            "channel": first and inert(first.channel, 120),
            "layers": list(first.layers) if first else [],
        },
    }  # fmt: skip


def _uri(name: str) -> str:
    return quote(name.encode("utf-8", "surrogateescape"))
