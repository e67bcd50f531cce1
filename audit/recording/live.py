"""Looks on while the proxy records: finds planted values in what has just been written, in a process of its own.

    python -m audit.recording.live EXPERIMENT FLOWS PARENT

Reads the flow file as it grows and keeps `.live.json` in the experiment's folder up to date: recipients and
findings by phase, and which flow holds what. It never talks to the proxy, so it can neither delay nor change
traffic. What it says is a first look: the analysis of the whole recording is what counts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from audit.assessment.findings import findings
from audit.assessment.identity import Persistent
from audit.detection.identifiers import Companions
from audit.detection.needles import Needles
from audit.detection.scan import Scanner
from audit.experiment import FILE_NAME, BadExperiment, load, mode_at
from audit.recipients import identify
from audit.recording.live_report import NAME, Live, LiveFinding, LiveRecipient
from audit.records import Dns, Experiment, Finding, Http, Tls, Transmission, WebSocketMessage
from audit.reporting.wording import words
from audit.sources.growing import Growing

PAUSE = 0.15  # seconds between two looks at the file
BURST = 100  # flows between two reports
BUSY, REST = 256 * 1024, 4  # bytes behind from which on it rests REST times as long as it worked
MAX_FINDINGS, MAX_RECIPIENTS, MAX_FLOWS, MAX_HITS = 500, 1_000, 5_000, 5_000


class Looker:
    """Collects what the transmissions so far show."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = Live()
        self._stamp: tuple[int, int] | None = None
        self._experiment = Experiment()
        self._needles = Needles(())
        self._scanner = Scanner("live", self._needles, self._experiment)
        self._recipients: dict[str, Counter[str]] = {}
        self._findings: dict[str, LiveFinding] = {}
        self._load()

    def _load(self) -> bool:
        """Takes up the experiment, where it changed; what was found before is then looked at anew."""
        try:
            state = (self.folder / FILE_NAME).stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp == self._stamp:
                return False
            self._experiment = load(self.folder)
            self._stamp = stamp
        except (OSError, BadExperiment):
            return False  # not there yet, or being edited
        if self._needles.canaries != self._experiment.canaries:
            self._needles = Needles(self._experiment.canaries)
        before = self._scanner.scan
        self._scanner = Scanner("live", self._needles, self._experiment)
        self._scanner.scan.hits, self._scanner.scan.keystrokes = before.hits, before.keystrokes
        return True

    def look(self, growing: Growing) -> bool:
        """Takes what is new, a burst at most; whether anything was."""
        changed = self._load()
        scan = self._scanner.scan
        before = (len(scan.hits), len(scan.keystrokes))
        count = 0
        for news in growing.more():
            for record in news.records:
                self._scanner.add(record)
                if isinstance(record, Transmission) and not isinstance(record, Tls):
                    self._count(record)
            count += 1
            if count >= BURST:
                break
        if changed or (len(scan.hits), len(scan.keystrokes)) != before:
            del scan.hits[:-MAX_HITS], scan.keystrokes[:-MAX_HITS]
            self._find()
        scan.gaps.clear()
        scan.limits.clear()
        scan.signals.clear()
        scan.closed.clear()
        scan.flows.clear()
        scan.recipients.clear()
        return bool(count) or changed

    def _count(self, record: Transmission) -> None:
        if record.direction != "up" or (isinstance(record, Dns) and record.response):
            return
        self.live.transmissions += 1
        self.live.opened += isinstance(record, Http | WebSocketMessage) and record.secured_by == "proxy"
        phase = mode_at(self._experiment, record.time) if record.time else None
        host = record.host or record.dst or "unknown"
        if isinstance(record, Dns):
            return
        if host not in self._recipients and len(self._recipients) >= MAX_RECIPIENTS:
            return
        self._recipients.setdefault(host, Counter())[phase.id if phase else ""] += 1

    def _find(self) -> None:
        """All findings so far: those about typing need what came before."""
        persistent = Persistent(Companions(frozenset()), self._experiment)
        found = findings(
            [self._scanner.finished()], self._experiment, self._needles, persistent, inferred=False
        )
        values = {canary.id: canary.value for canary in self._experiment.canaries}
        for finding in found:
            if finding.id in self._findings or len(self._findings) < MAX_FINDINGS:
                self._findings[finding.id] = _short(finding, values.get(finding.canary or "", ""))
            if finding.expected is None:
                self._name_flows(finding)

    def _name_flows(self, finding: Finding) -> None:
        who = finding.recipient
        text = (
            f"leak: {words(finding.leak_type).title.lower()} → "
            f"{who.organisation or who.registrable_domain or who.ip or 'unknown'} ({finding.mode})"
        )
        for occurrence in finding.occurrences:
            flow = occurrence.transmission.partition(".")[0]
            if flow not in self.live.flows and len(self.live.flows) < MAX_FLOWS:
                self.live.flows[flow] = text

    def report(self, behind: int) -> None:
        """Writes what is known, whole or not at all, for the owner alone."""
        self.live.updated = time.time()
        self.live.behind = behind
        self.live.findings = list(self._findings.values())
        self.live.recipients = [
            LiveRecipient(
                host=host, name=(who := identify(host, None)).organisation or who.registrable_domain or host,
                category=who.category, phases=dict(phases),
            )
            for host, phases in self._recipients.items()
        ]  # fmt: skip
        new = self.folder / f"{NAME}.new"
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self.live))
        new.replace(self.folder / NAME)


def _short(finding: Finding, value: str) -> LiveFinding:
    who = finding.recipient
    return LiveFinding(
        id=finding.id,
        title=words(finding.leak_type).title,
        severity=finding.severity,
        mode=finding.mode,
        setting=finding.setting,
        expected=finding.expected is not None,
        recipient=who.organisation or who.registrable_domain or who.host or who.ip or "unknown",
        host=who.host or who.ip or "unknown",
        value=value,
        times=len(finding.occurrences),
        last=max((o.time for o in finding.occurrences if o.time), default=None),
    )


def main(folder: Path, flows: Path, parent: int) -> None:
    """Looks on until the process `parent`, which started it, is gone or asks it to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.nice(10)  # the proxy comes first
    growing = Growing(flows, flows.name)
    looker = Looker(folder)
    identify("privacy-audit.test", None)  # reads its tables now, not when the first leak comes
    words("B1")
    looker.report(0)
    while os.getppid() == parent:
        began = time.monotonic()
        if looker.look(growing):
            behind = (flows.stat().st_size if flows.exists() else 0) - growing.offset
            looker.report(max(0, behind))
            _step_back(behind > BUSY)
            if behind > BUSY:  # the proxy is working hard and has only so many cores beside it
                time.sleep(REST * (time.monotonic() - began))
        else:
            _step_back(False)
            time.sleep(PAUSE)


def _step_back(busy: bool) -> None:
    """Works only where nothing else wants to (Linux), or again like others."""
    if sys.platform == "linux":
        policy = os.SCHED_IDLE if busy else os.SCHED_OTHER
        if os.sched_getscheduler(0) != policy:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, policy, os.sched_param(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
