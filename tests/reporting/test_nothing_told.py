"""What is masked is absent: every form of an audit that may be handed on is searched by our own detector,
in all codings and hashes, for each identifier, cookie, token and inferred value; its unmasked counterpart
tells them, so that this search can fail."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from audit import pipeline
from audit.decoding.channels import Channel
from audit.detection.needles import Needles
from audit.detection.search import Searcher
from audit.experiment import load
from audit.records import Audit, Canary, Experiment
from audit.reporting import exports, har_export, har_full
from audit.reporting.comparison import compare
from audit.reporting.html import render, render_comparison
from audit.reporting.shared import masked
from audit.reporting.wording import words
from audit.sources import Wanted, read
from tests.reporting import cases
from tests.reporting import sample as made
from tests.test_planted import ANDROID_ID

pytestmark = pytest.mark.slow  # whole files are searched, without any hint where
WINDOW, OVERLAP = 1 << 16, 4096
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "hex": lambda value: value.hex().encode(),
    "base64": base64.b64encode,
    "base64 twice": lambda value: base64.b64encode(base64.b64encode(value)),
    "percent": lambda value: b"".join(b"%%%02X" % each for each in value),
    "entities": lambda value: b"".join(b"&#%d;" % each for each in value),
    "gzip": lambda value: base64.b64encode(gzip.compress(b"uid=" + value, mtime=0)),
    "md5": lambda value: hashlib.md5(value).hexdigest().encode(),
    "sha256": lambda value: base64.b64encode(hashlib.sha256(value).digest()),
}


class Case(msgspec.Struct, frozen=True):
    """An audit, the captures it was made of, and what must not be told of it."""

    audit: Audit
    captures: tuple[pipeline.Capture, ...]
    secrets: tuple[str, ...]


def told(content: bytes, secrets: Iterable[str]) -> set[str]:
    """The secrets that our own detector finds in a file: whole, in any coding, as any hash."""
    needles = Needles([Canary(id=each, kind="identifier", value=each) for each in secrets])
    searcher = Searcher(needles)
    found: set[str] = set()
    for start in range(0, len(content), WINDOW):
        part = content[max(0, start - OVERLAP) : start + WINDOW]
        found |= {each.match.canary for each in searcher.search([Channel("body", part)]).sightings}
    return found


def constructed(_: Path) -> Case:
    return Case(made.audit(), (), (made.DEVICE_ID, made.COOKIE, made.INFERRED))


def planted(folder: Path) -> Case:
    audit = cases.planted(folder)
    captures = (pipeline.Capture(folder / "page.har", "page.har"),)
    return Case(audit, captures, (ANDROID_ID, cases.COOKIE, cases.TOKEN))


def inferred(_: Path) -> Case:
    """Our own sample, packets and keys, without being told what was planted."""
    own = load(cases.SAMPLE)
    keys = tuple(cases.SAMPLE / name for name in own.keys)
    captures = tuple(pipeline.Capture(cases.SAMPLE / name, name, keys) for name in own.captures)
    audit = pipeline.analyze(list(captures), Experiment())
    return Case(audit, captures, tuple(sorted({each.inferred for each in audit.findings if each.inferred})))


CASES: dict[str, Callable[[Path], Case]] = {
    "constructed": constructed, "planted": planted, "inferred": inferred,
}  # fmt: skip
# those forms that may be handed on, and beside each what a researcher may see of the same
FORMS: dict[str, tuple[Callable[[Audit], bytes], Callable[[Audit], bytes]]] = {
    "report": (lambda audit: render(audit).encode(), lambda audit: render(audit, unmask=True).encode()),
    "json": (lambda audit: exports.to_json(masked(audit)), exports.to_json),
    "csv": (lambda audit: exports.to_csv(masked(audit)), exports.to_csv),
    "sarif": (lambda audit: exports.to_sarif(masked(audit)), exports.to_sarif),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return CASES[request.param](tmp_path_factory.mktemp(request.param))


def test_one_coded_value_in_a_whole_report_would_be_found() -> None:
    page = render(made.audit()).encode()
    middle = page.index(b"</td>", len(page) // 2)
    values = {coding: f"kq7-{number}-vexing-harbour-{coding[:3]}" for number, coding in enumerate(CODINGS)}
    cells = b"".join(b"</td><td>" + code(values[coding].encode()) for coding, code in CODINGS.items())
    assert told(page[:middle] + cells + page[middle:], values.values()) == set(values.values())


@pytest.mark.parametrize("form", FORMS)
def test_masked_forms_tell_nothing_and_unmasked_ones_do(case: Case, form: str) -> None:
    shared, own = FORMS[form]
    assert told(shared(case.audit), case.secrets) == set()
    findings = case.audit.findings
    held = {
        value for each in findings for value in (each.inferred, *(i.value for i in each.identifiers)) if value
    }
    if form == "sarif":  # tells values in its sentences only, and not every sentence has one
        held = {
            each.inferred
            for each in findings
            if each.inferred and "{value}" in words(each.leak_type).sentence
        }
    assert held or form == "sarif"
    assert told(own(case.audit), held) == held


def test_comparisons_tell_nothing(case: Case) -> None:
    fewer = msgspec.structs.replace(case.audit, findings=case.audit.findings[::2])
    both = compare(case.audit, fewer, ("before", "after"))
    assert told(render_comparison(both).encode(), case.secrets) == set()
    assert told(msgspec.json.encode(both), case.secrets) == set()


def test_masked_requests_tell_nothing_and_whole_ones_do(case: Case) -> None:
    if not case.captures:
        return  # constructed findings have none

    def records(*, bodies: bool) -> Iterable[object]:
        kinds = frozenset({"http", "websocket"})
        for capture in case.captures:
            wanted = Wanted(kinds, frozenset(), keys=capture.keys, bodies=bodies)
            yield from read(capture.path, capture.name, wanted)

    content = har_export.har(case.audit, records(bodies=False))  # type: ignore[arg-type]
    assert told(content, case.secrets) == set()
    whole = b"".join(har_full.written(records(bodies=True)))  # type: ignore[arg-type]
    assert told(whole, case.secrets)
