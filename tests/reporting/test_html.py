"""The report says what the findings say, the same each time, and nothing that must stay hidden."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from audit.assessment.leak_types import table
from audit.records import Audit, Coverage, Experiment, OpaqueEntry, RecordSizes, Trials, Verdict
from audit.reporting.html import render
from audit.reporting.modes import columns, headline
from audit.reporting.wording import leak_types
from tests.reporting import sample


class Page(HTMLParser):
    """Collects what matters about a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._skip = False
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skip = tag in {"style", "script"}

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.text += data


def empty() -> Audit:
    return msgspec.structs.replace(
        sample.audit(),
        experiment=Experiment(),
        captures=(),
        recipients=(),
        findings=(),
        coverage=Coverage(flows=(), gaps=(), statements=()),
        verdicts=(),
        limits=(),
        data_sources=(),
    )


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(sample.audit()))


def test_every_leak_type_has_words() -> None:
    assert set(table().types) <= set(leak_types())
    for each in leak_types().values():
        assert "{recipient}" in each.sentence


def test_same_findings_same_bytes() -> None:
    audit = sample.audit()
    turned = msgspec.structs.replace(audit, findings=audit.findings[::-1], recipients=audit.recipients[::-1])
    assert render(audit) == render(sample.audit()) == render(turned)


def test_loads_nothing_and_runs_nothing(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]
    assert not names & {
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "video",
        "audio",
    }
    assert not [
        attrs for _, attrs in page.tags for name in attrs if name.startswith("on") or name in {"style", "src"}
    ]
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert {link for link in links if link and not link.startswith("#")} == {"https://db-ip.com"}


def test_every_link_has_its_target(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert {
        attrs["href"][1:] for tag, attrs in page.tags if tag == "a" and (attrs["href"] or "").startswith("#")
    } <= set(ids)


def test_policy_allows_exactly_the_one_style_sheet_and_the_one_script() -> None:
    text = render(sample.audit())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert text.count("<style>") == text.count("<script>") == 1
    for kind in ("style", "script"):
        inside = text.partition(f"<{kind}>")[2].partition(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]


def test_says_leak_of_leaks_only(page: Page) -> None:
    assert "Browsing data leaked in private mode, as in normal mode" in page.text
    assert "(also text that was never submitted)" in page.text
    assert "7 leaks. A leak is" in page.text
    assert "expected: the chosen search engine" in page.text
    assert "Name lookups and handshakes 1" in page.text
    assert "It left as far as https://n7-lantern.example" in page.text
    assert "First 5 and last 2 of 12 occurrences; all are in findings.json." in page.text


def test_lists_recipients_without_findings_and_unknown_countries(page: Page) -> None:
    assert "Browser Example update.browser.example" in page.text
    assert "country unknown" in page.text
    assert "located Singapore (SG), registered United States (US)" in page.text


def test_a_capture_that_could_not_be_read_is_named_in_the_answer() -> None:
    audit = sample.audit()
    closed = msgspec.structs.replace(audit.captures[1], records={"gap": 1})
    changed = msgspec.structs.replace(audit, captures=(audit.captures[0], closed))
    assert (
        "1 of 2 captures could not be read at all; of the rest: 11 of 64 connections"
        in Page(render(changed)).text
    )
    assert "could not be read at all" not in Page(render(audit)).text


def test_masked_values_are_absent_in_every_coding() -> None:
    text = render(sample.audit())
    for secret in (sample.DEVICE_ID, sample.COOKIE, sample.INFERRED):
        for form in (secret, quote(secret), quote_plus(secret), secret.encode().hex()):
            assert form.casefold() not in text.casefold()
    assert sample.TERM in text
    assert sample.audit().run.started not in text
    assert str(sample.audit().run.seconds) not in text


def test_unmasked_says_so() -> None:
    text = render(sample.audit(), unmask=True)
    assert sample.DEVICE_ID in text
    assert "Do not hand it on" in text
    assert "<title>UNMASKED" in text
    assert "Do not hand it on" not in render(sample.audit())


def test_hostile_strings_are_text(page: Page) -> None:
    text = render(sample.audit(), unmask=True)
    head, script = text.split("<script>")
    text = head + script.partition("</script>")[2]
    for bad in ("<img", "<script", "\u202e", "\u200b", "\x00", "\x1b", "javascript:"):
        assert bad not in text
    assert "‹U+202E›" in page.text


def test_nothing_seen_is_unknown_never_clean() -> None:
    text = Page(render(empty())).text
    assert "Unknown: the captures hold no traffic" in text
    assert "No phases were noted" in text
    assert "to whom cannot be known from these captures" in text
    assert "none seen" not in text
    assert "country unknown" not in text


def test_private_mode_that_was_not_audited_is_named() -> None:
    audit = sample.audit()
    experiment = msgspec.structs.replace(audit.experiment, phases=audit.experiment.phases[:1])
    normal = msgspec.structs.replace(
        audit,
        experiment=experiment,
        findings=tuple(each for each in audit.findings if each.mode == "normal"),
        verdicts=audit.verdicts[:1],
    )
    text = Page(render(normal)).text
    assert "Leaks seen; private mode remains unknown" in text
    assert "Private mode was not audited; what it does is unknown." in text
    assert "not audited" in text


@pytest.mark.parametrize(
    ("private", "words"),
    [
        ("no_leak_seen", "Leaks in normal mode; none seen in private mode"),
        ("unknown", "Leaks seen; private mode remains unknown"),
    ],
)
def test_answer_follows_the_verdicts(private: str, words: str) -> None:
    audit = sample.audit()
    verdict = msgspec.structs.replace(audit.verdicts[1], answer=private, findings=())
    changed = msgspec.structs.replace(
        audit,
        findings=tuple(each for each in audit.findings if each.mode == "normal"),
        verdicts=(audit.verdicts[0], verdict),
    )
    shown = headline(changed, columns(changed))
    assert shown.words == words
    assert ("nothing that was planted" in " ".join(shown.sentences)) == (private == "no_leak_seen")


def test_settings_are_columns_of_their_own() -> None:
    audit = sample.audit()
    out = msgspec.structs.replace(audit.experiment.phases[1], id="private-2", setting="opted-out")
    experiment = msgspec.structs.replace(audit.experiment, phases=(*audit.experiment.phases, out))
    verdict = Verdict(
        mode="private",
        setting="opted-out",
        answer="no_leak_seen",
        statement="",
        findings=(),
        trials=audit.verdicts[0].trials,
    )
    changed = msgspec.structs.replace(audit, experiment=experiment, verdicts=(*audit.verdicts, verdict))
    assert [each.label for each in columns(changed)] == [
        "Normal mode",
        "Private mode",
        "Private mode (opted-out)",
    ]
    assert columns(changed)[2].answer == "no_leak_seen"
    assert "with the setting “opted-out”" in Page(render(changed)).text


def test_many_occurrences_are_sampled_and_counted() -> None:
    audit = sample.audit()
    one = audit.findings[0]
    many = msgspec.structs.replace(one, occurrences=one.occurrences * 5000)
    text = render(msgspec.structs.replace(audit, findings=(many,)))
    assert f"First 5 and last 2 of {len(many.occurrences):,} occurrences" in text
    assert len(text) < 200_000


def test_trials_and_what_could_not_be_opened_are_sections_of_their_own() -> None:
    audit = sample.audit()
    assert "Agreement over repeated trials" not in render(audit)
    assert "What could not be opened" not in render(audit)
    verdict = msgspec.structs.replace(audit.verdicts[1], trials=Trials(n=2, of=3))
    opaque = OpaqueEntry(
        host="sealed.example", ip=None, mode="private", channel="body", transmissions=3, values=4, bytes=2048,
        largest=900, entropy=7.91, explanation=None,
    )  # fmt: skip
    sizes = RecordSizes(count=7, smallest=40, median=300, largest=1400)
    flows = (
        msgspec.structs.replace(audit.coverage.flows[1], tls_records_up=sizes),
        *audit.coverage.flows[2:],
    )
    changed = msgspec.structs.replace(
        audit,
        verdicts=(audit.verdicts[0], verdict),
        coverage=msgspec.structs.replace(audit.coverage, opaque=(opaque,), flows=flows),
    )
    text = Page(render(changed)).text
    assert "Agreement over repeated trials" in text
    assert "2 of 3" in text
    assert "sealed.exampleprivatebody42.0 kB7.9nothing" in text
    assert "40, 300, 1400" in text


def test_four_questions_are_answered_first(page: Page) -> None:
    assert "Did private mode leak?Yes." in page.text
    assert "To whom, and where?Vendor Example Ltd (Singapore)" in page.text
    assert "In what form?Readable after unpacking (base64, gzip)" in page.text
    assert ", in part beside a lasting identifier." in page.text
    assert "What was not seen?11 of 64 connections could not be read" in page.text
    nothing = Page(render(empty())).text
    assert "Did private mode leak?Unknown." in nothing
    assert "To whom, and where?Unknown." in nothing
