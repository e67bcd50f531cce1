"""Takes the pictures of docs/images: `python -m tests.reporting.screenshots`. Needs Chromium and pdftoppm.

The reports of our own sample, and of the made-up browser that reports to its maker, on a phone, a laptop
and paper, light and dark.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from audit.reporting.html import render
from audit.reporting.pdf import browser, pdf
from tests.reporting import cases

TARGET = Path(__file__).parents[2] / "docs" / "images"
# picture, case, width, height, colours, what is scrolled to (and opened)
SHOTS = (
    ("report", "sample", 1280, 1000, "light", "#answer"),
    ("report-dark", "planted", 1280, 1000, "dark", "article.finding"),
    ("report-map", "planted", 1280, 1000, "light", "#places"),
    ("report-timeline", "sample", 1280, 860, "light", "#timeline"),
    ("report-phone", "sample", 390, 844, "light", "#answer"),
    ("report-phone-dark", "planted", 390, 844, "dark", "#streams"),
)


def main() -> None:
    """Writes all pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = {}
        for name in {shot[1] for shot in SHOTS}:
            pages[name] = Path(folder, f"{name}.html")
            place = Path(folder, name)
            place.mkdir()
            pages[name].write_text(render(getattr(cases, name)(place)), "utf-8")
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for picture, name, width, height, colours, place in SHOTS:
            page = chromium.new_page(
                viewport={"width": width, "height": height},
                color_scheme=colours,  # type: ignore[arg-type]
            )
            page.goto(pages[name].as_uri())
            if place != "#answer":
                spot = page.locator(place).first
                if place == "article.finding":
                    spot.locator("summary").first.click()
                spot.evaluate("each => window.scrollTo({top: each.offsetTop - 12, behavior: 'instant'})")
            page.screenshot(path=TARGET / f"{picture}.png")
            page.close()
        chromium.close()
        paper = Path(folder, "report.pdf")
        paper.write_bytes(pdf(pages["sample"].read_text("utf-8")))
        subprocess.run(
            ["pdftoppm", "-f", "1", "-l", "1", "-r", "75", "-png", "-singlefile", paper, TARGET / "report-print"],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
