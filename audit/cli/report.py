"""`report`: the report again, from the findings alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.reporting import findings as findings_file

if TYPE_CHECKING:
    from audit.reporting.html import Paper


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: DIR/report.html]"
)
@click.option("--unmask", is_flag=True, help="Show identifiers and inferred values; for your eyes only.")
@click.option("--pdf", "printed", is_flag=True, help="Print it to a PDF file, through Chromium.")
@click.option("--paper", default="A4", show_default=True, type=click.Choice(("A4", "letter"), case_sensitive=False),
              help="The size of the PDF's pages.")  # fmt: skip
def report(folder: Path, output: Path | None, unmask: bool, printed: bool, paper: Paper) -> None:
    """Renders the report again from DIR/findings.json alone.

    \b
    Examples:
      privacy-audit report result/ --unmask -o unmasked.html
      privacy-audit report result/ --pdf
    """
    from audit.cli.terminal import Refused
    from audit.reporting import html, pdf

    audit = findings_file.load(folder / findings_file.NAME)
    name = "report-unmasked" if unmask else "report"
    target = output or folder / f"{name}.{'pdf' if printed else 'html'}"
    text = html.render(audit, unmask=unmask, paper=paper if printed else None)
    try:
        content = pdf.pdf(text) if printed else text.encode()
    except pdf.NoPdf as reason:
        raise Refused(str(reason)) from None
    click.echo(findings_file.write_private(target, content))
