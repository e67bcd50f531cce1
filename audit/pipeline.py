"""The road through the product, in one screenful: captures in, one audit out.

Sources give records, detection searches them, assessment says what that means. The result is a pure
function of the experiment folder; only `run` may differ.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from audit import __version__, adapters
from audit.assessment.devices import devices
from audit.assessment.encrypted_dns import encrypted_dns
from audit.assessment.exhibits import exhibited
from audit.assessment.findings import findings
from audit.assessment.identity import Persistent, merged, planted
from audit.assessment.ledger import coverage, recipients, side_by_side
from audit.assessment.signals import signals
from audit.assessment.verdicts import verdicts
from audit.decoding.keyed import parse
from audit.detection.identifiers import Companions, Key
from audit.detection.inference import Inference
from audit.detection.needles import Needles
from audit.detection.scan import Scan, Scanner
from audit.experiment import carried_out
from audit.recipients import data_sources
from audit.records import Audit, Canary, CaptureSummary, DataSource, Experiment, Gap, LimitHit, Run, Tool
from audit.sources import BadCapture, Wanted, capture_format, read

SCHEMA = 1
INTERRUPTED = "interrupted: the rest was not read"
_MAX_LIMITS = 1_000
_CONTENT = frozenset({"http", "websocket", "mqtt", "message"})


@dataclass(frozen=True)
class Capture:
    """A file to analyse, the name that results use for it, and key logs that may open what it holds."""

    path: Path
    name: str
    keys: tuple[Path, ...] = ()


@dataclass
class _Scanned:
    """What one capture gave: its summary and scan, or why it could not be read."""

    summary: CaptureSummary
    scan: Scan
    refused: BadCapture | None = None
    interrupted: bool = False


def analyze(
    captures: Sequence[Capture],
    experiment: Experiment,
    *,
    jobs: int = 1,
    decoders: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Audits these captures of one experiment. Without canaries, what was done is inferred first.

    decoders: keyed layers to open, one line each (`audit.decoding.keyed`); raises SpecificationError.
    A capture that cannot be read becomes a gap; raises BadCapture only if none can be read.
    """
    started = datetime.now(UTC)
    clock = time.perf_counter()
    experiment = carried_out(experiment)
    if not experiment.canaries:
        progress("no canaries: inferring visits and searches from the traffic")
    inference = _infer(captures if not experiment.canaries else ())
    canaries = experiment.canaries or inference.canaries()
    scanned: list[_Scanned] = []
    companions = Companions(frozenset())
    with ProcessPoolExecutor(jobs) if jobs > 1 and len(captures) > 1 else _InThisProcess() as pool:
        for capture, result in zip(
            captures,
            pool.map(
                partial(_scan, canaries=canaries, experiment=experiment, decoders=tuple(decoders)), captures
            ),
            strict=True,
        ):
            progress(f"read {capture.name}")
            scanned.append(result)
            if result.interrupted:
                scanned += [_unread(left) for left in captures[len(scanned) :]]
                break
        hit = frozenset(key for result in scanned for key in result.scan.hit_recipients())
        if hit and not any(result.interrupted for result in scanned):
            progress("looking for identifiers beside what was found")
            companions = merged(
                pool.map(
                    partial(_accompany, recipients=hit, experiment=experiment, decoders=tuple(decoders)),
                    captures,
                )
            )
    refusals = [result.refused for result in scanned if result.refused]
    if refusals and len(refusals) == len(scanned):
        raise refusals[0]
    scans = [result.scan for result in scanned]
    persistent = Persistent(companions, experiment, planted(scans, canaries))
    told, untold = signals(scans, experiment, canaries, persistent, inferred=not experiment.canaries)
    found = [
        *findings(scans, experiment, Needles(canaries), persistent, inferred=not experiment.canaries),
        *told,
    ]
    found = exhibited(found, scans)
    groups = side_by_side(scans)
    who = recipients(groups, experiment, found)
    seen = coverage(groups, experiment, (result.summary.format for result in scanned))
    return Audit(
        schema=SCHEMA,
        tool=Tool(name="device-privacy-audit", version=__version__),
        run=Run(
            started=started.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            seconds=round(time.perf_counter() - clock, 3),
            python=platform.python_version(),
            platform=platform.platform(),
            salt=secrets.token_hex(16),
        ),
        experiment=experiment,
        captures=tuple(result.summary for result in scanned),
        recipients=who,
        findings=tuple(found),
        coverage=seen,
        verdicts=verdicts(found, experiment, canaries, who, seen, _limited(scans)),
        limits=(*inference.limits(), *untold, *companions.limits(), *_limits(scans)),
        data_sources=_data_sources(),
        devices=devices(scans, experiment),
        encrypted_dns=encrypted_dns(groups, experiment),
    )


class _InThisProcess:
    """The pool's shape without its processes."""

    def __enter__(self) -> _InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    map = staticmethod(map)


def _infer(captures: Sequence[Capture]) -> Inference:
    inference = Inference()
    for capture in captures:
        try:
            for record in read(capture.path, capture.name, Wanted(_CONTENT, keys=capture.keys)):
                inference.add(record)
        except BadCapture:
            continue
    return inference


def _scan(
    capture: Capture, canaries: tuple[Canary, ...], experiment: Experiment, decoders: tuple[str, ...]
) -> _Scanned:
    scanner = Scanner(capture.name, Needles(canaries), experiment, decoders)
    refused = None
    interrupted = False
    known = "unknown"
    try:
        known = capture_format(capture.path)
        scanner.scan.supplement = known == "events"
        wanted = Wanted(device=experiment.device.addresses, keys=capture.keys, phases=experiment.phases)
        for record in read(capture.path, capture.name, wanted):
            scanner.add(record)
    except BadCapture as refusal:
        refused = refusal
        scanner.add(
            Gap(capture=capture.name, reason="unsupported", offset=refusal.offset, detail=refusal.problem)
        )
    except KeyboardInterrupt:
        # what was found so far is worth keeping; that there was more is told
        interrupted = True
        scanner.add(Gap(capture=capture.name, reason="limit", detail=INTERRUPTED))
    scan = scanner.finished()
    counts = dict(sorted(scan.records.items()))
    summary = CaptureSummary(name=capture.name, format=known, sha256=_sha256(capture.path), records=counts)
    return _Scanned(summary, scan, refused, interrupted)


def _unread(capture: Capture) -> _Scanned:
    scan = Scan(capture.name)
    scan.gaps.append(Gap(capture=capture.name, reason="limit", detail=INTERRUPTED))
    summary = CaptureSummary(name=capture.name, format="unknown", sha256=_sha256(capture.path), records={})
    return _Scanned(summary, scan)


def _accompany(
    capture: Capture, recipients: frozenset[Key], experiment: Experiment, decoders: tuple[str, ...]
) -> Companions:
    companions = Companions(recipients)
    keyed = tuple(map(parse, decoders))
    try:
        wanted = Wanted(_CONTENT, experiment.device.addresses, keys=capture.keys)
        for record in read(capture.path, capture.name, wanted):
            companions.add(record, keyed)
    except BadCapture:
        pass  # told already, by the scan
    return companions


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _data_sources() -> tuple[DataSource, ...]:
    """Of all third-party tables used, each named once."""
    return tuple(
        {source.name: source for source in (*adapters.load().data_sources, *data_sources())}.values()
    )


def _limited(scans: Sequence[Scan]) -> int:
    return len({(hit.capture, hit.transmission) for scan in scans for hit in scan.limits})


def _limits(scans: Sequence[Scan]) -> tuple[LimitHit, ...]:
    hits = [hit for scan in scans for hit in scan.limits]
    if len(hits) > _MAX_LIMITS:
        more = LimitHit(
            bound="matches", detail=f"{len(hits) - _MAX_LIMITS} more bounds were hit and are not listed"
        )
        return (*hits[:_MAX_LIMITS], more)
    return tuple(hits)
