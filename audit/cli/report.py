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
def report(folder: Path, output: Path | None, unmask: bool) -> None:
    """Renders the report again from DIR/findings.json alone.

    \b
    Example:
      privacy-audit report result/ --unmask -o unmasked.html
    """
    from audit.reporting import html

    audit = findings_file.load(folder / findings_file.NAME)
    target = output or folder / ("report-unmasked.html" if unmask else "report.html")
    click.echo(findings_file.write_private(target, html.render(audit, unmask=unmask).encode()))
