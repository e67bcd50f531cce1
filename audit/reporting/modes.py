"""Modes side by side: the columns (mode × setting), the matrix of leak type × recipient, the answer.

It counts and names; it judges nothing: answers come from the verdicts, severities from the findings.
What was not audited or not seen is said as such and never as "clean".
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Literal

from msgspec import Struct

from audit.records import Audit, Finding, Mode, Severity, Verdict
from audit.reporting.findings import severity_rank
from audit.reporting.wire import inert
from audit.reporting.wording import country, words

State = Literal["leak", "expected", "apart", "signal", "none", "unknown", "not_audited"]
Answer = Literal["leak", "no_leak_seen", "unknown", "not_audited"]
_ORDER: tuple[Mode, ...] = ("idle", "normal", "private", "unknown")
_TEST_NETWORKS = tuple(
    map(ip_network, ("192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)
_SAY = {"idle": "Idle", "normal": "Normal mode", "private": "Private mode", "unknown": "Mode unknown"}
_IN = {
    "idle": "While the device was idle",
    "normal": "In normal mode",
    "private": "In private mode",
    "unknown": "In a mode that nothing in the captures tells",
}


class Column(Struct, frozen=True, kw_only=True):
    """One mode and setting, with the answer given for it."""

    mode: Mode
    setting: str | None
    label: str
    answer: Answer
    verdict: Verdict | None
    leaks: int
    unseen: int
    partly: int
    flows: int


class Cell(Struct, frozen=True, kw_only=True):
    """What the matrix says in one place. `count` is of occurrences; `link` names a finding."""

    state: State
    count: int = 0
    severity: Severity | None = None
    link: str | None = None


class Row(Struct, frozen=True, kw_only=True):
    """One leak type at one organisation (None: at nobody at all), one cell for each column."""

    title: str
    code: str
    organisation: str | None
    state: State
    cells: tuple[Cell, ...]


class Headline(Struct, frozen=True, kw_only=True):
    """The answer: a few words and two or three sentences."""

    answer: Answer
    words: str
    sentences: tuple[str, ...]


def kind(finding: Finding) -> State:
    """What a finding counts as. Only what nothing explains, and what carries content, is a leak."""
    group = words(finding.leak_type).group
    if group == "leak":
        return "expected" if finding.expected else "leak"
    return group


def recipient_name(finding: Finding) -> str:
    """The organisation, else the site, else the address that received it."""
    who = finding.recipient
    return who.organisation or who.registrable_domain or who.host or who.ip or "an unknown recipient"


def times_seen(finding: Finding) -> int:
    """How often it was sent: captures of the same traffic are not added up, the fullest of them counts."""
    spans: dict[str, list[str]] = {}
    for each in finding.occurrences:
        spans.setdefault(each.capture, []).append(each.time or "")
    total = best = 0
    end = ""
    for times in sorted(spans.values(), key=lambda each: (min(each), -len(each))):
        if min(times) > end:
            total, best = total + best, 0
        best = max(best, len(times))
        end = max(end, *times)
    return total + best


def columns(audit: Audit) -> tuple[Column, ...]:
    """The modes audited, found or judged, in fixed order. Where there are phases, normal and private mode
    are named even if none of them is theirs; where there are none, the mode is unknown, not unaudited."""
    keys: dict[tuple[Mode, str | None], None] = {}
    for phase in audit.experiment.phases:
        keys[phase.mode, phase.setting] = None
    audited = set(keys)
    judged: list[Finding | Verdict] = [*audit.verdicts, *audit.findings]
    for each in judged:
        setting = each.setting or ("default" if (each.mode, "default") in audited else None)
        keys[each.mode, setting] = None
        if each.mode == "unknown":
            audited.add((each.mode, setting))
    settings_of = {mode for mode, _ in keys}
    required: tuple[Mode, ...] = ("normal", "private")
    for mode in required if audit.experiment.phases else ():
        if mode not in settings_of:
            keys[mode, None] = None
    if not keys:
        keys["unknown", None] = None
        audited.add(("unknown", None))
    ordered = sorted(
        keys, key=lambda key: (_ORDER.index(key[0]), key[1] not in {None, "default"}, key[1] or "")
    )
    return tuple(_column(audit, mode, setting, (mode, setting) in audited) for mode, setting in ordered)


def _column(audit: Audit, mode: Mode, setting: str | None, audited: bool) -> Column:
    verdict = next((each for each in audit.verdicts if _same(each, mode, setting)), None)
    flows = [entry for entry in audit.coverage.flows if entry.mode == mode]
    answer: Answer = verdict.answer if verdict else ("unknown" if audited else "not_audited")
    return Column(
        mode=mode,
        setting=setting,
        label=_SAY[mode] + (f" ({setting})" if setting not in {None, "default"} else ""),
        answer=answer,
        verdict=verdict,
        leaks=sum(1 for each in audit.findings if _same(each, mode, setting) and kind(each) == "leak"),
        unseen=sum(entry.flows for entry in flows if entry.observability != "observed"),
        partly=sum(entry.flows for entry in flows if entry.partly),
        flows=sum(entry.flows for entry in flows),
    )


def _same(each: Finding | Verdict, mode: Mode, setting: str | None) -> bool:
    return each.mode == mode and (each.setting or "default") == (setting or "default")


def matrix(audit: Audit, shown: tuple[Column, ...]) -> tuple[Row, ...]:
    """Leaks first, then what is explained; then types that were planted for and seen nowhere."""
    groups: dict[tuple[State, str, str], list[Finding]] = {}
    for finding in audit.findings:
        if kind(finding) == "apart":
            continue  # listed in its own section: needed to reach any site, so it compares nothing
        groups.setdefault((kind(finding), finding.leak_type, recipient_name(finding)), []).append(finding)
    order: tuple[State, ...] = ("leak", "signal", "expected")
    rows = [
        Row(
            title=words(code).title,
            code=code,
            organisation=organisation,
            state=state,
            cells=tuple(_cell(state, findings, column) for column in shown),
        )
        for (state, code, organisation), findings in sorted(
            groups.items(),
            key=lambda item: (order.index(item[0][0]), min(_rank(each) for each in item[1]), item[0]),
        )
    ]
    seen = {code for state, code, _ in groups if state == "leak"}
    rows += [
        Row(
            title=words(code).title,
            code=code,
            organisation=None,
            state="none",
            cells=tuple(_cell("leak", (), column) for column in shown),
        )
        for code in _looked_for(audit)
        if code not in seen
    ]
    return tuple(rows)


def _cell(state: State, findings: Iterable[Finding], column: Column) -> Cell:
    here = [each for each in findings if _same(each, column.mode, column.setting)]
    if here:
        worst = min(here, key=_rank)
        count = sum(times_seen(each) for each in here)
        return Cell(state=state, count=count, severity=worst.severity, link=worst.id)
    if column.answer == "not_audited" or column.answer == "unknown":  # noqa: PLR1714 (mypy narrows this form)
        return Cell(state=column.answer)
    return Cell(state="none")


def _looked_for(audit: Audit) -> tuple[str, ...]:
    planted = {canary.kind for canary in audit.experiment.canaries if not canary.decoy}
    return tuple(code for code in ("B1", "S1", "S2", "B3", "B6") if planted & set(words(code).looked))


def _rank(finding: Finding) -> int:
    return severity_rank(finding.severity)


def headline(audit: Audit, shown: tuple[Column, ...]) -> Headline:
    """The answer in a few words, a sentence for each mode that matters, and what limits it."""
    browser = audit.experiment.browser.name or "the device"
    by_mode = {mode: [column for column in shown if column.mode == mode] for mode in _ORDER}
    leaky = {mode for mode, each in by_mode.items() if any(column.answer == "leak" for column in each)}
    private = by_mode["private"]
    known_private = bool(private) and all(column.answer == "no_leak_seen" for column in private)
    answer: Answer = "leak"
    if "private" in leaky:
        text = "Browsing data leaked in private mode" + (", as in normal mode" if "normal" in leaky else "")
    elif leaky and known_private:
        text = "Leaks in normal mode; none seen in private mode"
    elif "unknown" in leaky:
        text = "Leaks seen; the capture does not tell in which mode"
    elif leaky:
        text = "Leaks seen; private mode remains unknown"
    elif any(column.answer == "no_leak_seen" for column in shown):
        answer, text = "no_leak_seen", "No leak seen in what could be read"
    elif _nothing_captured(audit):
        answer, text = "unknown", "Unknown: the captures hold no traffic"
    else:
        answer, text = "unknown", "Unknown: these captures do not give an answer"
    worst_first = sorted(shown, key=lambda column: not (column.answer == "leak" and column.mode == "private"))
    sentences = [each for column in worst_first if (each := _sentence(audit, column, browser))]
    sentences = [*sentences[:3], _reach(audit)]
    return Headline(answer=answer, words=text, sentences=tuple(sentences))


def briefly(audit: Audit, shown: tuple[Column, ...]) -> tuple[tuple[str, str], ...]:
    """The four questions that everybody asks, with their answers."""
    leaks = sorted((each for each in audit.findings if kind(each) == "leak"), key=_rank)
    private = [column.answer for column in shown if column.mode == "private"]
    if "leak" in private:
        did = "Yes."
    elif private and all(answer == "no_leak_seen" for answer in private):
        did = "Not in what could be read."
    elif "not_audited" in private:
        did = "Unknown: private mode was not audited."
    else:
        did = "Unknown."
    if not leaks:
        nobody = any(column.answer == "no_leak_seen" for column in shown)
        to, how = (
            ("To nobody, in what could be read.", "In none that was seen.")
            if nobody
            else ("Unknown.", "Unknown.")
        )
    else:
        normal_only = {each.mode for each in leaks} == {"normal"}
        to = "In normal mode: " if normal_only else ""
        to += _listed(_whither(leaks), 4) + "."
        how = _listed(dict.fromkeys(_form(each) for each in leaks), 3)
        tied = [bool(each.identifiers) for each in leaks]
        if any(tied):
            how += f", {'' if all(tied) else 'in part '}beside a lasting identifier"
        how = f"{how[0].upper()}{how[1:]}."
    return (
        ("Did private mode leak?", did),
        ("To whom, and where?", to),
        ("In what form?", how),
        ("What was not seen?", _reach(audit)),
    )


def _whither(leaks: list[Finding]) -> list[str]:
    """Each recipient once, with the countries of all of its addresses."""
    places: dict[str, dict[str, None]] = {}
    for finding in leaks:
        name = inert(recipient_name(finding), 60).rstrip(".")
        located = finding.recipient.country_located
        if located:
            place = country(located).rpartition(" (")[0] or located
        else:
            place = "country unknown" + (": a test address" if _test_address(finding.recipient.ip) else "")
        places.setdefault(name, {})[place] = None
    return [f"{name} ({', '.join(found)})" for name, found in places.items()]


def _test_address(ip: str | None) -> bool:
    """Whether no machine of the internet has it: kept for benchmarks and examples (RFC 2544, 5737, 3849)."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return False
    return any(address.version == net.version and address in net for net in _TEST_NETWORKS)


def _form(finding: Finding) -> str:
    """How the value was written, for somebody who knows no codings."""
    layers = {layer for each in finding.occurrences[:20] for layer in each.layers}
    forms = {each.form for each in finding.occurrences[:20]} - {"plain"}
    if forms:
        return f"as a hash ({inert(min(forms), 20)})"
    packed = sorted(
        layers & {"gzip", "zlib", "deflate", "brotli", "zstd", "lz4", "snappy", "base64", "base64url"}
    )
    return f"readable after unpacking ({', '.join(packed)})" if packed else "readable as sent"


def _sentence(audit: Audit, column: Column, browser: str) -> str | None:
    where = _IN[column.mode] + (
        f" with the setting “{column.setting}”" if column.setting not in {None, "default"} else ""
    )
    leaks = sorted(
        (f for f in audit.findings if _same(f, column.mode, column.setting) and kind(f) == "leak"), key=_rank
    )
    if leaks:
        unsent = any(each.leak_type == "S2" and each.canary in _never_submitted(audit) for each in leaks)
        things = _listed(
            words(code).short + (" (also text that was never submitted)" if code == "S2" and unsent else "")
            for code in dict.fromkeys(each.leak_type for each in leaks)
        )
        recipients = _listed(dict.fromkeys(inert(recipient_name(each), 60).rstrip(".") for each in leaks))
        tied = (
            ", in part together with a lasting identifier" if any(each.identifiers for each in leaks) else ""
        )
        return f"{where}, {browser} sent {things} to {recipients}{tied}."
    if column.answer == "no_leak_seen":
        but = (
            " beyond what the visited sites and the chosen search engine need"
            if _expected(audit, column)
            else ""
        )
        what = "nothing that was planted" if audit.experiment.canaries else "no visit or search"
        return f"{where}, {what} was seen leaving{but}."
    if column.mode == "idle":
        return None
    if column.answer == "not_audited":
        return f"{_SAY[column.mode]} was not audited; what it does is unknown."
    if column.mode == "unknown":
        return "No phases were noted, so it is unknown which mode the traffic belongs to."
    return f"{where}, it is unknown whether anything leaked."


def _never_submitted(audit: Audit) -> set[str]:
    return {canary.id for canary in audit.experiment.canaries if canary.kind == "text"}


def _expected(audit: Audit, column: Column) -> bool:
    return any(
        kind(each) == "expected" and _same(each, column.mode, column.setting) for each in audit.findings
    )


def _nothing_captured(audit: Audit) -> bool:
    gaps = [gap for gap in audit.coverage.gaps if gap.reason != "quic"]  # a rule, or beside a recipient
    return not audit.recipients and not audit.coverage.flows and not gaps


def _reach(audit: Audit) -> str:
    if _nothing_captured(audit):
        return (
            "Everything: what left the device, in which mode and to whom cannot be known from these captures."
        )
    closed = [
        each for each in audit.captures if not any(n for kind, n in each.records.items() if kind != "gap")
    ]
    if closed and len(closed) < len(audit.captures):
        rest = _connections(audit)
        none = f"{len(closed)} of {len(audit.captures)} captures could not be read at all"
        return f"{none}; of the rest: {rest[0].lower()}{rest[1:]}"
    return _connections(audit)


def _connections(audit: Audit) -> str:
    total = sum(entry.flows for entry in audit.coverage.flows)
    unseen = sum(entry.flows for entry in audit.coverage.flows if entry.observability != "observed")
    partly = sum(entry.flows for entry in audit.coverage.flows if entry.partly)
    if not total:
        return "How much of the traffic could be read is unknown."
    if unseen:
        rest = f", {partly:,} only in part" if partly else ""
        return f"{unseen:,} of {total:,} connections could not be read{rest}; what they carried is unknown."
    if partly:
        return f"{partly:,} of {total:,} connections could be read only in part; what else they carried is unknown."
    return f"All {total:,} connections could be read; what went past the captures is unknown."


def _listed(things: Iterable[str], most: int = 3) -> str:
    names = list(things)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} others"]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
