"""An iOS App Privacy Report (NDJSON, since iOS 15.2) → records: which app asked which name, and when.

Each `networkActivity` is a flow of which only the name, the app and two times are known; accesses to
sensors and data are no traffic and are counted as one gap. It must never suggest that content was seen.
Specified by: Apple, "Inspecting app activity data" (developer documentation).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from audit.records import AnyRecord, Flow, Gap
from audit.sources.opening import Opened

MAX_LINE = 1 << 20
MAX_NAME = 253  # octets of a name (RFC 1035); longer ones and longer bundle ids are nobody's
_GAPS = 100  # told one by one; the others are counted
_NO_CONTENT = "App Privacy Report: the name and the time of contact only"


class _Line(Struct, rename="camel"):
    type: str = ""
    domain: str = ""
    bundle_id: str = msgspec.field(default="", name="bundleID")
    first_time_stamp: str | None = None
    time_stamp: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def records(path: Path, source: Opened, capture: str) -> Iterator[AnyRecord]:  # noqa: ARG001 - all readers' shape
    """One flow for each name an app contacted, in the file's order; what is not traffic comes last."""
    offset = accesses = senseless = 0
    number = 0
    while line := source.file.readline(MAX_LINE):
        start, offset = offset, offset + len(line)
        if not line.strip():
            continue
        try:
            row = _decoder.decode(line)
            first, last = _epoch(row.first_time_stamp), _epoch(row.time_stamp)
            if len(row.domain) > MAX_NAME or len(row.bundle_id) > MAX_NAME:
                raise ValueError(f"a name of more than {MAX_NAME} characters")
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            senseless += 1
            if senseless <= _GAPS:
                yield Gap(
                    capture=capture,
                    reason="malformed",
                    offset=start,
                    bytes=len(line),
                    detail=f"a line of the report: {str(error)[:120]}",
                )
            continue
        if row.type != "networkActivity" or not row.domain:
            accesses += row.type == "access"
            continue
        number += 1
        first = last if first is None else first
        yield Flow(
            capture=capture,
            flow=f"a{number}",
            time=first,
            transport="other",
            first=first,
            last=last,
            observability="metadata_only",
            reason=_NO_CONTENT,
            names={"report": (row.domain.lower().rstrip("."),)},
            app=row.bundle_id or None,
        )
    if senseless > _GAPS:
        yield Gap(
            capture=capture,
            reason="malformed",
            detail=f"{senseless - _GAPS} more lines of the report make no sense",
        )
    if accesses:
        yield Gap(
            capture=capture,
            reason="unsupported",
            detail=f"{accesses} accesses to sensors and data are no network traffic and were not looked at",
        )


def _epoch(text: str | None) -> float | None:
    """Seconds since the epoch; ValueError where it is no time with a zone."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.timestamp()
