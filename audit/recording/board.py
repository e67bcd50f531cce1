"""What the control page shows: the state of a recording, put together from the files that it writes.

Reads the experiment, the notes and the live report; writes nothing. What was not seen is told as unknown.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audit.experiment import EVENTS_NAME, BadExperiment, load
from audit.protocols import notes
from audit.recording import live_report, qr
from audit.recording.checklist import DOING, canary_of
from audit.recording.marks import running, step_phase
from audit.recording.onboarding import HOST
from audit.records import Canary, Experiment, Phase
from audit.reporting.wire import inert

MAX_SHOWN = 60
_LATE = 6.0  # seconds after which the search is said to be behind


class Board:
    """The state of one sitting, which began when this was made."""

    def __init__(self, folder: Path, proxy: Callable[[], str], mode: str) -> None:
        self._folder, self._proxy, self._mode = folder, proxy, mode
        self._events = folder / EVENTS_NAME
        self._offset = self._events.stat().st_size if self._events.exists() else 0
        self._began = time.time()
        self._devices: dict[str, float] = {}
        self._trusting: set[str] = set()
        self._tested: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        self._quic: Counter[str] = Counter()
        self._alerts: list[str] = []

    def state(self) -> dict[str, Any]:
        """Everything the page shows, as JSON can hold it; all texts are inert."""
        self._read_notes()
        report = live_report.read(self._folder)
        if report is not None and report.updated < self._began - 1:
            report = None  # an earlier sitting's
        try:
            experiment = load(self._folder)
            trouble = ""
        except BadExperiment as bad:
            experiment, trouble = Experiment(), str(bad)
        return {
            "proxy": self._proxy(),
            "mode": self._mode,
            "trouble": inert(trouble),
            "now": time.time(),
            "phase": _phase(running(experiment)),
            "settings": sorted({phase.setting for phase in experiment.phases}),
            **_steps(experiment),
            "health": self._health(report),
            "findings": _findings(report),
            "recipients": _recipients(report),
            "phases": [phase.id for phase in experiment.phases if phase.start],
        }

    def _read_notes(self) -> None:
        """Takes up the notes that were written since the last look."""
        try:
            with self._events.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    try:
                        self._note(notes.decode(line))
                    except ValueError:
                        continue
        except OSError:
            return

    def _note(self, note: notes.AnyNote) -> None:
        device = note.client[0] if note.client else ""
        host = ""
        if isinstance(note, notes.Hello):
            host = note.sni or (note.server[0] if note.server else "") or "unknown"
        for counter in (self._refused, self._passed, self._quic):
            if len(counter) > 1_000:
                counter.clear()
        match note:
            case notes.Contact(what="connected"):
                self._devices.setdefault(device, note.time)
            case notes.Contact(what="self-test-https"):
                self._trusting.add(device)
                self._refused.pop(HOST, None)  # refused before, now read
            case notes.Contact():
                self._tested.add(device)
            case notes.Refused():
                self._refused[host] += 1
            case notes.Passing(reason="pinned"):
                self._passed[host] += 1
            case notes.Passing() | notes.Quic():
                self._quic[host] += 1
            case notes.Alert():
                self._alerts = [*self._alerts[-9:], note.text]
            case _:
                pass

    def _health(self, report: live_report.Live | None) -> list[dict[str, str]]:
        """Three questions and their answers, each `good`, `bad` or `unknown`."""
        seen = report.transmissions if report else 0
        devices = ", ".join(inert(device, 60) for device in list(self._devices)[:4])
        connected = (
            ("good", f"{devices}: {seen:,} transmissions recorded")
            if seen
            else ("good", f"{devices}: connected, nothing readable yet")
            if devices
            else ("unknown", "nothing has connected yet")
        )
        read = report.opened if report else 0
        if self._trusting:
            trusted = ("good", "the self-test page was read over HTTPS")
        elif self._refused and not read:
            trusted = (
                "bad",
                f"refused for {_few(self._refused)}, and nothing encrypted was read: install the certificate",
            )
        elif read:
            trusted = ("good", "encrypted content is being read; the self-test page was not opened yet")
        else:
            trusted = ("unknown", "open the self-test page on the device")
        beside = []
        if self._refused:
            beside.append(f"{_few(self._refused)} refused the certificate")
        if self._passed:
            count = sum(self._passed.values())
            beside.append(f"{count:,} connection{'s were' if count > 1 else ' was'} let through unread")
        if self._quic:
            beside.append(f"QUIC to {_few(self._quic)}")
        bypass = (
            ("bad", "; ".join(beside))
            if beside
            else ("unknown", "nothing known; other networks are not seen")
        )
        rows = [("connected", "Device connected?", *connected), ("trusted", "Certificate trusted?", *trusted)]
        rows.append(("bypass", "Anything unread?", *bypass))
        if self._alerts:
            rows.append(("alert", "Trouble", "bad", inert(self._alerts[-1])))
        if report and report.behind and time.time() - report.updated > _LATE:
            rows.append(("behind", "Live search", "unknown", f"{report.behind:,} bytes behind the recording"))
        return [{"key": k, "question": q, "state": s, "answer": a} for k, q, s, a in rows]


def _few(hosts: Counter[str]) -> str:
    names = [inert(host, 60) for host, _ in hosts.most_common(3)]
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return ", ".join(names) + more


def _phase(phase: Phase | None) -> dict[str, Any] | None:
    if phase is None or phase.start is None:
        return None
    return {
        "id": inert(phase.id, 80), "mode": phase.mode, "setting": inert(phase.setting, 80),
        "since": phase.start.timestamp(),
    }  # fmt: skip


def _steps(experiment: Experiment) -> dict[str, Any]:
    """The plan's steps, and which comes next: in the phase that is on, else the first that is not done."""
    on = running(experiment)
    steps: list[dict[str, Any]] = []
    for number, step in enumerate(experiment.steps[:500]):
        canary = canary_of(experiment, step)
        steps.append(
            {
                "number": number,
                "phase": inert(step_phase(experiment, number) or "", 80),
                "doing": DOING[step.action],
                "value": inert(canary.value) if canary else "",
                "note": inert(step.note),
                "at": step.at.timestamp() if step.at else None,
            }
        )
    todo = [step for step in steps if step["at"] is None]
    here = [step for step in todo if on and step["phase"] in ("", on.id)]
    following = here[0] if here else todo[0] if todo else None
    if following is not None:
        canary = canary_of(experiment, experiment.steps[following["number"]])
        following = {**following, "ready": bool(here), "code": _code(canary)}
    return {"steps": steps, "next": following}


def _code(canary: Canary | None) -> str:
    """The QR code of an address, as a picture that stands in the page itself."""
    if canary is None or canary.kind != "url" or len(canary.value) > qr.MAX_CHARACTERS:
        return ""
    return picture(qr.svg(canary.value))


def picture(svg: str) -> str:
    """An SVG as a data URL."""
    if "xmlns" not in svg:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _findings(report: live_report.Live | None) -> list[dict[str, Any]]:
    if report is None:
        return []
    order = {"critical": 0, "high": 1, "medium": 2, "low": 3, "info": 4}
    found = sorted(report.findings, key=lambda f: (f.expected, order[f.severity], f.last or ""))
    return [
        {
            "id": each.id, "title": each.title, "severity": each.severity, "mode": each.mode,
            "setting": inert(each.setting or "", 80), "expected": each.expected,
            "recipient": inert(each.recipient, 120), "host": inert(each.host, 120),
            "value": inert(each.value, 120), "times": each.times,
        }
        for each in found[:MAX_SHOWN]
    ]  # fmt: skip


def _recipients(report: live_report.Live | None) -> list[dict[str, Any]]:
    if report is None:
        return []
    rows = sorted(report.recipients, key=lambda each: -sum(each.phases.values()))
    return [
        {
            "host": inert(each.host, 120), "name": inert(each.name, 120), "category": each.category or "",
            "phases": {inert(phase, 80): count for phase, count in each.phases.items()},
        }
        for each in rows[:MAX_SHOWN]
    ]  # fmt: skip
