"""Five experiments whose reports must read right: our sample, a browser that reports to its maker, a clean
one, packets without keys, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from audit.records import Audit
from audit.reporting.html import render
from tests.reporting import cases
from tests.reporting.test_html import Page
from tests.test_planted import ANDROID_ID, PAGES, WORDS


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Audit]], str]:
    known: dict[str, str] = {}

    def text(case: Callable[[Path], Audit]) -> str:
        name = case.__name__
        if name not in known:
            known[name] = Page(render(case(tmp_path_factory.mktemp(name)))).text
        return known[name]

    return text


def test_our_sample(read: Callable[..., str]) -> None:
    text = read(cases.sample)
    assert "Leaks in normal mode; none seen in private mode" in text
    assert "to DuckDuckGo" in text
    assert "To whom, and where?In normal mode: DuckDuckGo (country unknown: a test address)" in text
    assert "No map: none of the addresses could be located." in text
    assert "privacy-audit inspect" in text
    assert "--id" in text


def test_a_browser_that_reports_to_its_maker(read: Callable[..., str]) -> None:
    text = read(cases.planted)
    assert "Browsing data leaked in private mode, as in normal mode" in text
    assert "Critical 2" in text
    assert "In private mode, Made-up Browser 1" not in text  # the name alone is enough in a sentence
    assert "sent full addresses of visited pages, submitted searches and usage telemetry to Xiaomi" in text
    assert "3 identifiers were sent in private mode and outside it, with the same value." in text
    assert "Singapore (SG)" in text
    assert "World map: countries in which recipients are located" in text
    assert "No map" not in text
    assert "1 registered elsewhere" in text
    for layer in ("body as it travelled", "base64 undone", "gzip unpacked", "json a structured document"):
        assert layer in text
    assert PAGES["private"] in text
    assert WORDS["private"] in text
    assert ANDROID_ID not in text
    assert cases.COOKIE not in text


def test_a_clean_browser_claims_nothing_beyond_what_was_seen(read: Callable[..., str]) -> None:
    text = read(cases.clean)
    assert "No leak seen in what could be read" in text
    assert "none of the 2 values looked for was seen to leak" in text
    assert "browser's own background traffic and everything else on the device is missing" in text
    assert "is clean" not in text
    assert "no leaks" not in text.casefold()


def test_packets_without_keys_are_unknown(read: Callable[..., str]) -> None:
    text = read(cases.locked)
    assert "Unknown: these captures do not give an answer" in text
    assert "In private mode, it is unknown whether anything leaked." in text
    assert "11 of 46 connections could not be read; what they carried is unknown." in text
    assert "metadata only" in text
    recipients = text.partition("Everyone who received something")[2].partition("Bytes by phase")[0]
    assert recipients.count("unread") == 5
    assert "No leak seen" not in text.partition("The experiment")[0]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (cases.clean, "1 of {} connections could be read only in part; what else they carried is unknown."),
        (
            cases.locked,
            "11 of {} connections could not be read, 1 only in part; what they carried is unknown.",
        ),
    ],
)
def test_what_was_read_in_part_is_not_called_read(
    tmp_path: Path, case: Callable[[Path], Audit], said: str
) -> None:
    audit = case(tmp_path)
    flows = sorted(audit.coverage.flows, key=lambda entry: (entry.observability != "observed", entry.flows))
    assert flows[0].flows == 1
    flows[0] = structs.replace(flows[0], reason="lost")
    coverage = structs.replace(audit.coverage, flows=tuple(flows))
    text = Page(render(structs.replace(audit, coverage=coverage))).text
    assert said.format(sum(entry.flows for entry in flows)) in text
    assert "connections could be read;" not in text


def test_an_empty_capture_says_what_it_cannot_know(read: Callable[..., str]) -> None:
    text = read(cases.empty)
    assert "Unknown: the captures hold no traffic" in text
    assert "to whom cannot be known from these captures" in text
    assert "none seen" not in text
