"""Findings that no looked-for value carries: usage telemetry (U1), clicks (I1), dwell times (I2), a flag
that tells private mode (P1), and the hash prefixes of safe browsing (H1).

They come from fields whose role an adapter knows. What a page reports of itself to its own analytics is
no statement about the device or browser and is left out.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from audit.adapters import load
from audit.assessment.clock import rfc3339
from audit.assessment.leak_types import severity
from audit.assessment.phases import Placing, place_at
from audit.detection.needles import parse_address
from audit.detection.roles import Told
from audit.detection.scan import Scan, Sent, recipient_key
from audit.recipients import identify
from audit.records import Canary, Experiment, Finding, Mode, Occurrence

_CODES = {"usage": "U1", "click": "I1", "dwell": "I2"}
_MAX_PER_RECIPIENT = 50
_PREFIX = 4
_Field = tuple[Sent, Told]


def signals(scans: Iterable[Scan], experiment: Experiment, canaries: Iterable[Canary]) -> list[Finding]:
    """These findings, by id; of one type at most 50 values per recipient, mode and setting."""
    told = [(sent, field) for scan in scans for sent, field in scan.told if sent.sender.origin != "page"]
    return sorted(
        [*_usage(told, experiment), *_flags(told, experiment), *_prefixes(told, experiment, canaries)],
        key=lambda finding: finding.id,
    )


def _usage(told: list[_Field], experiment: Experiment) -> list[Finding]:
    groups: dict[tuple[str, tuple[str | None, str | None], Placing, str], list[_Field]] = defaultdict(list)
    for sent, field in told:
        code = _CODES.get(field.role)
        value = _text(field)
        if code and value:
            groups[code, recipient_key(sent.host, sent.ip), _placed(experiment, sent), value].append(
                (sent, field)
            )
    kept: dict[object, int] = defaultdict(int)
    found = []
    for (code, recipient, placing, value), fields in sorted(groups.items(), key=lambda item: str(item[0])):
        kept[code, recipient, placing] += 1
        if kept[code, recipient, placing] <= _MAX_PER_RECIPIENT:
            found.append(_finding(code, fields, placing, value))
    return found


def _flags(told: list[_Field], experiment: Experiment) -> list[Finding]:
    """A field that is always the same in private mode, and always something else outside it."""
    places: dict[tuple[object, str, str], dict[Mode, dict[str, list[_Field]]]] = defaultdict(dict)
    for sent, field in told:
        if field.role == "private_flag":
            mode = place_at(experiment, sent.time).mode
            here = places[recipient_key(sent.host, sent.ip), field.channel, field.path].setdefault(mode, {})
            here.setdefault(_text(field), []).append((sent, field))
    found = []
    for modes in places.values():
        private, normal = modes.get("private", {}), modes.get("normal", {})
        if len(private) == 1 and len(normal) == 1 and private.keys() != normal.keys():
            ((value, fields),) = private.items()
            placing = _placed(experiment, fields[0][0])
            found.append(_finding("P1", fields, placing, f"{fields[0][1].path} = {value}"))
    return found


def _prefixes(told: list[_Field], experiment: Experiment, canaries: Iterable[Canary]) -> list[Finding]:
    known = {
        hashlib.sha256(text).digest()[:_PREFIX]: canary
        for canary in canaries
        if canary.kind == "url"
        for text in _expressions(canary.value)
    }
    found: dict[str, Finding] = {}
    for sent, field in told:
        canary = known.get(field.value) if field.role == "hash_prefix" else None
        if canary:
            made = _finding("H1", [(sent, field)], _placed(experiment, sent), canary.value)
            found.setdefault(made.id, made)
    return list(found.values())


def _expressions(value: str) -> list[bytes]:
    """The host and path combinations that safe browsing hashes (Safe Browsing v4, URLs and Hashing), as
    far as they name this very page or its host."""
    address = parse_address(value)
    if not address:
        return []
    path = address.path or "/"
    rows = [f"{address.host}{path}", f"{address.host}/"]
    return [
        text.encode() for text in ([f"{address.host}{path}?{address.query}"] if address.query else []) + rows
    ]


def _placed(experiment: Experiment, sent: Sent) -> Placing:
    return place_at(experiment, sent.time)._replace(phase=None, by="unknown")


def _text(field: Told) -> str:
    return field.value.decode("utf-8", "backslashreplace").strip()


def _finding(code: str, fields: list[_Field], placing: Placing, value: str) -> Finding:
    sent, _ = fields[0]
    adapter = load()[fields[0][1].adapter]
    prefix = code == "H1"
    parts = (code, sent.host or sent.ip or "", placing.mode, placing.setting or "", f"value {value}")
    return Finding(
        id=hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16],
        leak_type=code,
        severity=severity(
            code,
            placing.mode,
            placing.setting,
            expected=prefix,
            feature=bool(adapter.feature),
            identified=False,
        ),
        mode=placing.mode,
        setting=placing.setting,
        expected="visited_site" if prefix else None,
        origin=sent.sender.origin,
        recipient=identify(sent.host, sent.ip),
        canary=None,
        inferred=value,
        granularity="term",
        identifiers=(),
        explanation=adapter.feature or None,
        occurrences=tuple(_occurrence(sent, field) for sent, field in fields),
    )


def _occurrence(sent: Sent, field: Told) -> Occurrence:
    return Occurrence(
        time=rfc3339(sent.time),
        mode_by="arrival" if sent.time is not None else "unknown",
        capture=sent.capture,
        transmission=sent.id,
        channel=field.channel,
        path=field.path,
        layers=field.layers,
        offset=0,
        form="plain",
        excerpt=_text(field),
        granularity="term",
        request=sent.request,
        origin=sent.sender.origin,
        origin_evidence=f"{sent.sender.evidence}; field known from: {field.reasoning}",
    )
