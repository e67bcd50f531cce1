"""The report on paper: Chromium prints the finished HTML file. Nothing is loaded and nothing leaves.

Needs a Chromium or Chrome on this machine; the browser gets a profile of its own that is thrown away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_SECONDS = 180


class NoPdf(ValueError):  # noqa: N818 (named as the reader says it)
    """It could not be printed: one line with the reason and the remedy."""


def browser() -> str | None:
    """The path of a Chromium on this machine."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def pdf(html: str) -> bytes:
    """The report as PDF (tagged, on the paper that Chromium takes by default). Raises NoPdf."""
    found = browser()
    if found is None:
        raise NoPdf(
            "no Chromium found to print with; install chromium, or print report.html from any browser"
        )
    with tempfile.TemporaryDirectory(prefix="privacy-audit-print-") as folder:
        source, target = Path(folder, "report.html"), Path(folder, "report.pdf")
        source.write_text(html, "utf-8")
        command = [
            found, "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--no-pdf-header-footer",
            "--generate-pdf-document-outline", f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}",
            source.as_uri(),
        ]  # fmt: skip
        if os.geteuid() == 0:  # Chromium's own sandbox does not work for root
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise NoPdf(f"{found}: did not finish printing in {_SECONDS} seconds") from None
        except OSError as error:
            raise NoPdf(f"{found}: {error.strerror or error}") from None
        if done.returncode or not target.is_file():
            last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise NoPdf(f"{found}: could not print ({last[0] if last else f'exit code {done.returncode}'})")
        return target.read_bytes()
