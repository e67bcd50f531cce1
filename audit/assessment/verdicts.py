"""Findings to verdicts: one statement per mode and setting, with the findings it rests on.

"No leak seen" is only said where something was planted or done in that mode and traffic of that mode was
observed; everything else is unknown. Where part of the traffic stayed closed and no planted value was seen
even where it belongs, the open part says nothing. Never "clean".
"""

from __future__ import annotations

from collections.abc import Iterable

from audit.assessment.phases import place
from audit.detection.words import MIN_TOKEN
from audit.records import Canary, Coverage, Experiment, Finding, Mode, RecipientSummary, Trials, Verdict

_MODES: tuple[Mode, ...] = ("idle", "normal", "private", "unknown")
_NAMES = {"idle": "idle", "normal": "normal mode", "private": "private mode", "unknown": "an unknown mode"}


def verdicts(
    found: Iterable[Finding],
    experiment: Experiment,
    canaries: Iterable[Canary],
    recipients: Iterable[RecipientSummary],
    coverage: Coverage,
    limited: int,
) -> tuple[Verdict, ...]:
    """The verdicts in order of mode and setting. `limited`: so many transmissions hit a bound."""
    found, canaries, recipients = list(found), list(canaries), list(recipients)
    cases: dict[tuple[Mode, str | None], None] = {(p.mode, p.setting): None for p in experiment.phases}
    cases |= {(f.mode, f.setting): None for f in found}
    observed: set[str] = {mode for summary in recipients for mode in summary.transmissions}
    if not cases:
        cases[("unknown", None)] = None
    return tuple(
        _verdict(mode, setting, found, experiment, canaries, observed, coverage, limited)
        for mode, setting in sorted(cases, key=lambda case: (_MODES.index(case[0]), case[1] or ""))
    )


def _verdict(
    mode: Mode,
    setting: str | None,
    found: list[Finding],
    experiment: Experiment,
    canaries: list[Canary],
    observed: set[str],
    coverage: Coverage,
    limited: int,
) -> Verdict:
    here = [f for f in found if (f.mode, f.setting) == (mode, setting)]
    leaks = [f for f in here if f.expected is None]
    phases = [p for p in experiment.phases if (p.mode, p.setting) == (mode, setting)]
    leaking = {
        place(experiment, canary, None).phase
        for canary in canaries
        if any(f.canary == canary.id for f in leaks)
    }
    trials = Trials(n=len(leaking & {p.id for p in phases}), of=len(phases))
    name = _NAMES[mode] + (f" ({setting})" if setting and setting != "default" else "")
    looked_for = [
        c
        for c in canaries
        if not c.decoy
        and len(c.value.strip()) >= MIN_TOKEN
        and (not phases or c.phase in {p.id for p in phases})
    ]
    closed = [e for e in coverage.flows if e.mode == mode and e.observability != "observed"]
    unseen = sum(e.flows for e in closed)
    if leaks:
        recipients = len({(f.recipient.host, f.recipient.ip) for f in leaks})
        who = "one recipient" if recipients == 1 else f"{recipients} recipients"
        what = "one leak" if len(leaks) == 1 else f"{len(leaks)} leaks"
        answer = "leak"
        statement = f"In {name} {what} to {who} {'was' if len(leaks) == 1 else 'were'} found."
    elif unseen and looked_for and not any(f.leak_type != "D1" for f in here):
        answer = "unknown"
        statement = f"In {name} nothing can be said: no value looked for was seen anywhere, not even at the sites visited."
    elif looked_for and mode in observed:
        answer = "no_leak_seen"
        statement = (
            f"In {name} the value looked for was not seen to leak."
            if len(looked_for) == 1
            else f"In {name} none of the {len(looked_for)} values looked for was seen to leak."
        )
    else:
        answer = "unknown"
        statement = f"In {name} nothing can be said: " + (
            "no traffic was observed." if looked_for else "no value was planted or could be inferred."
        )
    if unseen:
        flows = "One flow" if unseen == 1 else f"{unseen} flows"
        count = len({(e.host, e.ip) for e in closed})
        sent = [e.bytes_up for e in closed if e.bytes_up is not None]
        size = f" in the {sum(sent):,} bytes sent" if any(sent) else ""
        statement += (
            f" {flows} to {'one recipient' if count == 1 else f'{count} recipients'} could not be read:"
            f" what was carried{size} is unknown."
        )
    partly = sum(e.flows for e in coverage.flows if e.mode == mode and e.partly)
    if partly:
        statement += (
            f" {'One flow was' if partly == 1 else f'{partly} flows were'} read in part: the rest is unknown."
        )
    opaque = sum(entry.values for entry in coverage.opaque if entry.mode == mode)
    if opaque:
        what = "One value that was sent" if opaque == 1 else f"{opaque:,} values that were sent"
        statement += f" {what} could not be opened: what is in there is unknown."
    if limited:
        what = "One transmission was" if limited == 1 else f"{limited} transmissions were"
        statement += f" {what} not looked at in full, because a bound was hit."
    return Verdict(
        mode=mode, setting=setting, answer=answer, statement=statement,  # type: ignore[arg-type]
        findings=tuple(f.id for f in leaks), trials=trials,
    )  # fmt: skip
