"""The plan as a checklist to follow: for the terminal, and as a page to print.

Every value comes from a file that a person may have edited, so it is made inert, and escaped in HTML.
The page refers to nothing outside itself.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from audit.recording import qr
from audit.recording.marks import step_phase
from audit.records import Canary, Experiment, Phase, Step
from audit.reporting.wire import inert

DOING = {
    "type_and_submit": "type and search for",
    "search": "search for",
    "type_only": "type, never submit",
    "paste": "paste",
    "visit": "open",
    "click": "click",
    "download": "download",
    "wait": "wait",
    "other": "do",
}

_STYLE = """
body{font:16px/1.45 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
section{break-inside:avoid}ol{list-style:none;padding:0}li{display:flex;gap:1rem;padding:.8rem 0;
border-top:1px solid #bbb;break-inside:avoid}code{font:600 1.05rem ui-monospace,monospace;overflow-wrap:anywhere}
.box{flex:none;width:1.4rem;height:1.4rem;border:2px solid #111;font:700 1rem/1.1rem system-ui,sans-serif;text-align:center}
svg{width:9rem;height:9rem;display:block;margin-top:.5rem}small{color:#444}
"""


def by_phase(experiment: Experiment) -> Iterator[tuple[Phase | None, list[tuple[int, Step]]]]:
    """Each phase with its steps and their numbers, in the order of the plan; last, steps of no phase."""
    for phase in (*experiment.phases, None):
        name = phase.id if phase else None
        steps = [(n, s) for n, s in enumerate(experiment.steps) if step_phase(experiment, n) == name]
        if phase or steps:
            yield phase, steps


def canary_of(experiment: Experiment, step: Step) -> Canary | None:
    """The value a step plants."""
    return next((canary for canary in experiment.canaries if canary.id == step.canary), None)


def as_text(experiment: Experiment, codes: bool) -> str:
    """The checklist for a terminal; with `codes`, a QR code under each address, coloured by escape sequences."""
    lines: list[str] = []
    for phase, steps in by_phase(experiment):
        title = f"{phase.id}: {phase.mode}, {inert(phase.setting)}" if phase else "without phase"
        lines += ["", f"== {title}{_when(phase)}"]
        for number, step in steps:
            canary = canary_of(experiment, step)
            value = f"  {inert(canary.value)}" if canary else ""
            doing, note = _told(step)
            more = f"  ({inert(note)})" if note else ""
            lines.append(f"[{'x' if step.at else ' '}] {number + 1:2}. {inert(doing)}{value}{more}")
            if codes and canary and canary.kind == "url" and not step.at:
                lines += ["", qr.in_colours(qr.drawn(canary.value))]
    decoys = [canary for canary in experiment.canaries if canary.decoy]
    if decoys:
        lines += ["", f"{len(decoys)} decoys were made and are never used; they are in experiment.toml."]
    return "\n".join(lines[1:]) + "\n"


def _told(step: Step) -> tuple[str, str]:
    """What to do, and a remark on it; where no word fits what to do, the remark says it."""
    return (step.note, "") if step.action == "other" and step.note else (DOING[step.action], step.note)


def _when(phase: Phase | None) -> str:
    if phase is None or phase.start is None:
        return ""
    start = phase.start.strftime("%Y-%m-%d %H:%M:%S")
    return f", {start} to {phase.end:%H:%M:%S} UTC" if phase.end else f", running since {start} UTC"


def as_html(experiment: Experiment) -> str:
    """The checklist as one page to print."""
    parts = []
    for phase, steps in by_phase(experiment):
        title = f"{phase.id} · {phase.mode} · {phase.setting}" if phase else "Without phase"
        parts.append(f"<section><h2>{_safe(title)}</h2><ol>")
        for number, step in steps:
            canary = canary_of(experiment, step)
            value = f"<br><code>{_safe(canary.value)}</code>" if canary else ""
            doing, note = _told(step)
            at = f"done at {step.at:%H:%M:%S} UTC" if step.at else ""
            small = "".join(f"<br><small>{_safe(text)}</small>" for text in (note, at) if text)
            code = qr.svg(canary.value) if canary and canary.kind == "url" else ""
            parts.append(
                f'<li><span class="box">{"✓" if step.at else ""}</span><div>{number + 1}. '
                f"{_safe(doing)}{value}{small}{code}</div></li>"
            )
        parts.append("</ol></section>")
    name = _safe(experiment.device.name or "this device")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>Plan</title><style>{_STYLE}</style></head><body><h1>Plan for {name}</h1>"
        "<p>Enter each value exactly as it stands here, once, and nowhere else. "
        "Switch automatic correction off.</p>" + "".join(parts) + "</body></html>\n"
    )


def _safe(text: str) -> str:
    return html.escape(inert(text))
