"""`report`: the report again, from the findings alone."""

from __future__ import annotations

from pathlib import Path

import click

from audit.reporting import findings as findings_file


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: DIR/report.html]"
)
@click.option("--unmask", is_flag=True, help="Show identifiers and inferred values; for your eyes only.")
@click.option("--pdf", "paper", is_flag=True, help="Print it to a PDF file, through Chromium.")
def report(folder: Path, output: Path | None, unmask: bool, paper: bool) -> None:
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
    target = output or folder / f"{name}.{'pdf' if paper else 'html'}"
    text = html.render(audit, unmask=unmask)
    try:
        content = pdf.pdf(text) if paper else text.encode()
    except pdf.NoPdf as reason:
        raise Refused(str(reason)) from None
    click.echo(findings_file.write_private(target, content))
