"""The report in a real browser: it asks for nothing, says nothing, hides nothing, fits every screen."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audit.reporting.comparison import compare
from audit.reporting.html import render, render_comparison
from audit.reporting.pdf import pdf
from tests.reporting import sample

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENS = {"phone": (390, 844), "laptop": (1366, 768), "wide": (2560, 1440), "smallest": (320, 568)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(sample.audit(), unmask=True), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize("script", [True, False])
def test_silent_and_self_contained(browser: Any, report: str, script: bool) -> None:
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(report)
    page.wait_for_load_state("networkidle")
    assert asked == [report]
    assert said == []
    assert page.locator("article.finding").count() == len(sample.findings())
    assert page.locator("script[src], img, iframe, link").count() == 0
    assert page.locator("label.filter").count() == (1 if script else 0)
    page.locator("details.evidence > summary").first.click()
    assert page.locator("details.evidence[open] mark").first.is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_reaches_beyond_the_screen(browser: Any, report: str, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(report)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for screen, (width, height) in SCREENS.items():
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, screen
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Any, report: str, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=scheme)
    page.goto(report)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate(CONTRAST) == []
    page.close()


def test_keyboard_reaches_the_answer_first(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.keyboard.press("Enter")
    assert page.url.endswith("#answer")
    page.close()


def test_print_shows_the_evidence(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    page.emulate_media(media="print")
    hidden = "[...document.querySelectorAll('.exhibit, .occurrences')].filter(each => !each.checkVisibility()).length"
    assert page.evaluate(hidden) == 0
    page.emulate_media(media="screen")
    assert page.evaluate(hidden) > 0
    page.close()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> str:
    audit = sample.audit()
    other = msgspec.structs.replace(audit, findings=audit.findings[::2])
    path = tmp_path_factory.mktemp("comparison") / "compare.html"
    path.write_text(render_comparison(compare(audit, other, (sample.HOSTILE, "after"))), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize("which", ["report", "comparison"])
def test_axe_finds_nothing(browser: Any, request: pytest.FixtureRequest, which: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    # axe runs inside the page, which the report's own policy forbids
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(request.getfixturevalue(which))
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    seen = []
    for screen, scheme, media in product(("phone", "laptop"), ("light", "dark"), ("screen", "print")):
        width, height = SCREENS[screen]
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(media=media, color_scheme=scheme)
        found = axe.Axe().run(page, options={"runOnly": tags, "resultTypes": ["violations"]}).response
        seen += [
            (screen, scheme, media, each["id"], each["nodes"][0]["html"][:120])
            for each in found["violations"]
        ]
    context.close()
    assert seen == []


@pytest.mark.parametrize("screen", SCREENS)
def test_the_comparison_is_silent_inert_and_fits(browser: Any, comparison: str, screen: str) -> None:
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: said.append(asked.url))
    page.goto(comparison)
    page.wait_for_load_state("networkidle")
    assert said == [comparison]
    assert page.locator("script, img, iframe, [onerror], svg[onload]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_every_link_button_and_summary_is_reached_by_keyboard(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    wanted = page.evaluate(
        "[...document.querySelectorAll('a, button, input, summary')]"
        ".filter(each => each.checkVisibility({contentVisibilityAuto: true}) && !each.closest('details:not([open]) > :not(summary)')).length"
    )
    reached = set()
    for _ in range(wanted + 40):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "(() => { const each = document.activeElement; return ['A', 'BUTTON', 'INPUT', 'SUMMARY']"
            ".includes(each.tagName) ? [...document.querySelectorAll('*')].indexOf(each) : null })()"
        )
        if at is not None:
            reached.add(at)
    assert len(reached) == wanted
    page.close()


def test_filter_and_sort(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    page.locator(".filter input").fill("telemetry-of-a-vendor critical")
    assert page.locator("article.finding:visible").count() == 1
    page.locator(".filter input").fill("")
    assert page.locator("article.finding:visible").count() == len(sample.findings())
    first = "table.recipients tbody tr:first-child .host"
    head = page.get_by_role("button", name="Sent")
    head.click()
    least = page.locator(first).inner_text()
    head.click()
    assert page.locator("table.recipients th[aria-sort=descending]").count() == 1
    assert page.locator(first).inner_text() != least
    page.close()


def test_hostile_values_are_inert(browser: Any, tmp_path: Path) -> None:
    """Markup, bidirectional controls, bytes that are no text, a megabyte: in every place that a capture fills."""
    nasty = (
        "<svg onload=alert(1)>",
        sample.HOSTILE,
        "\u202e\u2066\u200f",
        "\udc80\udcff",
        "]]>--></svg></style></title></script><script>alert(1)</script>",
        "javascript:alert(1)",
        "A" * 1_000_000,
    )
    audit = sample.audit()
    findings = []
    for number, text in enumerate(nasty):
        one = audit.findings[number % len(audit.findings)]
        spot = msgspec.structs.replace(
            sample.occurrence(30, text, channel=text, path=text, layers=(text,), form=text, request=text),
            capture=text,
            transmission=text,
        )
        who = msgspec.structs.replace(
            one.recipient, host=text, organisation=text, category=text, country_located=text[:3], as_name=text
        )
        findings.append(
            msgspec.structs.replace(
                one, id=f"n{number}", recipient=who, occurrences=(spot,), explanation=text, expected=None,
                exhibit=sample.exhibit(f"{text}|{sample.TERM}|", sample.TERM, hostile=text),
            )
        )  # fmt: skip
    steps = tuple(msgspec.structs.replace(audit.experiment.steps[0], note=text) for text in nasty)
    browser_said = msgspec.structs.replace(audit.experiment.browser, name=nasty[4], version=nasty[1])
    audit = msgspec.structs.replace(
        audit,
        findings=tuple(findings),
        experiment=msgspec.structs.replace(audit.experiment, steps=steps, browser=browser_said),
    )
    for unmask in (False, True):
        path = tmp_path / f"{unmask}.html"
        path.write_text(render(audit, unmask=unmask), "utf-8")
        assert path.stat().st_size < 2_000_000
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))  # noqa: B023
        page.on("pageerror", lambda error: said.append(str(error)))  # noqa: B023
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))  # noqa: B023
        page.on("request", lambda asked: said.append(asked.url))  # noqa: B023
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")
        assert said == [path.as_uri()]
        assert page.locator("script").count() == 1
        assert page.locator("svg[onload], img, [onerror], a[href^='javascript']").count() == 0
        assert page.locator("article.finding").count() == len(nasty)
        assert page.evaluate("/[\\u202A-\\u202E\\u2066-\\u2069]/.test(document.body.textContent)") is False
        page.close()


def test_an_unmasked_copy_says_so_on_every_printed_page(tmp_path: Path) -> None:
    if CHROMIUM is None or shutil.which("pdftotext") is None:
        pytest.skip("needs Chromium and pdftotext")
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf(render(sample.audit(), unmask=True)))
    done = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, check=True, text=True)
    pages = done.stdout.split("\f")[:-1]
    assert len(pages) > 3
    assert [number for number, text in enumerate(pages, 1) if "Unmasked." not in text] == []
    assert "Peeled, layer by layer" in done.stdout  # what is folded on the screen is there on paper


# WCAG 2.2, 1.4.3: 4.5:1, for large text 3:1; the background is that of the nearest ancestor that has one.
CONTRAST = """() => {
  const light = rgb => { const [r, g, b] = rgb.map(each => { each /= 255;
    return each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const parse = text => text.match(/[0-9.]+/g).map(Number);
  const ground = node => { for (let each = node; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color.slice(0, 3); }
    return [255, 255, 255]; };
  const poor = new Set();
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some(each => each.nodeType === 3 && each.data.trim())) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(style.color).slice(0, 3)), light(ground(node))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) poor.add(node.tagName + '.' + node.className);
  }
  return [...poor];
}"""
