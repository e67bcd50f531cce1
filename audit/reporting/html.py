"""The report: one HTML file that opens anywhere, asks the network for nothing and is complete
without its script.

Its text is masked unless asked otherwise (masking.py), strings from the wire are inert (wire.py), the
policy in its head forbids everything but its own style sheet. The same findings give the same bytes.
Specified by: HTML Living Standard; Content Security Policy Level 3; WCAG 2.2 AA.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from audit.records import Audit
from audit.reporting import evidence, ledger, modes, places, recurring, streams, timeline, wording
from audit.reporting.comparison import Comparison
from audit.reporting.findings import canonical
from audit.reporting.masking import Masker, Piece
from audit.reporting.wire import inert
from audit.shipped import folder

Paper = Literal["A4", "letter"]
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def render(audit: Audit, *, unmask: bool = False, paper: Paper | None = None) -> str:
    """The whole report as HTML. `unmask` shows every value and says so on each page; `paper` fixes the size
    of printed pages, which the printer decides otherwise."""
    audit = canonical(audit)
    masker = Masker(audit, unmask=unmask)
    shown = modes.columns(audit)
    found = evidence.views(audit, masker)
    environment = _environment()
    css = Markup(environment.get_template("report.css").render())  # noqa: S704 (our own file, nothing put in)
    if paper:
        css += Markup(f"@page {{ size: {paper}; }}\n")  # noqa: S704 (one of two words)
    script = Markup(environment.get_template("report.js").render())  # noqa: S704 (our own file, nothing put in)
    located = places.places(audit)
    received = ledger.recipients(audit, masker)
    return environment.get_template("report.html").render(
        audit=audit,
        unmask=unmask,
        css=css,
        style_hash=_hash(css),
        script=script,
        script_hash=_hash(script),
        planted=sum(1 for each in audit.experiment.canaries if not each.decoy),
        decoys=sum(1 for each in audit.experiment.canaries if each.decoy),
        identifiers=recurring.recurring(audit, masker),
        places=located,
        world=places.world(audit, located),
        streams=streams.streams(audit),
        timeline=timeline.timeline(audit, masker),
        anchor=partial(_anchor, frozenset(each.id for each in found)),
        opaque=sorted(audit.coverage.opaque, key=lambda row: -row.bytes),
        sealed=[row for row in audit.coverage.flows if row.tls_records_up],
        period=_period(audit),
        headline=modes.headline(audit, shown),
        briefly=modes.briefly(audit, shown),
        columns=shown,
        rows=modes.matrix(audit, shown),
        ids={finding.id: masker.finding_id(finding) for finding in audit.findings},
        sentence=masker.sentence,
        leaks=[each for each in found if each.state == "leak"],
        expected=[each for each in found if each.state == "expected"],
        apart=[each for each in found if each.state == "apart"],
        signals=[each for each in found if each.state == "signal"],
        counts=Counter(modes.kind(finding) for finding in audit.findings),
        findings_shown=evidence.SHOWN,
        exhibits_shown=evidence.EXHIBITS,
        first=evidence.FIRST,
        last=evidence.LAST,
        recipient_modes=ledger.modes_shown(audit),
        recipients=received,
        phases=[(row.host, each) for row in received for each in row.phases],
        devices=ledger.devices(audit, masker),
        rows_shown=ledger.ROWS,
        shares=ledger.shares(audit),
        seen=ledger.seen(audit),
        leak_types=wording.leak_types(),
    )


def render_comparison(both: Comparison) -> str:
    """Two audits side by side as HTML. It shows no values, so there is nothing to mask."""
    environment = _environment()
    css = Markup(environment.get_template("report.css").render())  # noqa: S704 (our own file, nothing put in)
    counts = both.counts
    said = [
        f"{counts[change]} {word}"
        for change, word in (("appeared", "appeared"), ("changed", "changed"), ("vanished", "vanished"))
        if counts[change]
    ]
    if counts["unknown"]:
        said.append(f"{counts['unknown']} cannot be compared")
    return environment.get_template("compare.html").render(
        both=both,
        css=css,
        style_hash=_hash(css),
        answer="Findings: " + ", ".join(said) if said else "No difference in what could be seen",
        rows_shown=ledger.ROWS,
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _anchor(shown: frozenset[str], finding: str) -> str:
    """Where a link to a finding leads: to itself, or to the section, where it is not among those shown."""
    return finding if finding in shown else "findings"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        wire=inert, size=_size, count=_count, moment=_moment, pieces=_pieces, breakable=_breakable
    )
    return environment


def _pieces(pieces: Iterable[Piece]) -> Markup:
    """Evidence as HTML: the value in question marked, what is masked recognisable as such."""
    out = Markup()
    for piece in pieces:
        text = inert(piece.text)
        if piece.masked:
            text = Markup('<span class="masked">{}</span>').format(text)
        out += Markup("<mark>{}</mark>").format(text) if piece.hit else Markup("{}").format(text)
    return out


def _breakable(text: str) -> Markup:
    """A host name or path that may be wrapped after its dots and slashes."""
    return Markup("<wbr>").join(part for part in _split(inert(text)))


def _split(text: str) -> Iterable[str]:
    start = 0
    for at, character in enumerate(text):
        if character in "./_" and at + 1 < len(text):
            yield text[start : at + 1]
            start = at + 1
    yield text[start:]


def _size(count: int | None) -> str:
    """1,234 bytes → "1.2 kB"; None → "unknown"."""
    if count is None:
        return "unknown"
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{count:,} bytes" if not unit else f"{size:.1f} {_UNITS[unit]}"


def _count(number: int, one: str, many: str | None = None) -> str:
    """2, "leak" → "2 leaks"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _moment(value: datetime | str | None) -> str:
    """A time in UTC to the second, or to the millisecond where it came as text from the findings."""
    if value is None:
        return "unknown"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        moment = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return inert(value, 40)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d} UTC"


def _period(audit: Audit) -> tuple[datetime, datetime] | None:
    """From the first moment written down or seen to the last one; None where nothing tells."""
    moments = [each for phase in audit.experiment.phases for each in (phase.start, phase.end) if each]
    if not moments:
        for row in audit.recipients:
            moments += [datetime.fromisoformat(each) for each in (row.first, row.last) if each]
    return (min(moments), max(moments)) if moments else None
