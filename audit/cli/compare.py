"""`compare`: two audits side by side, as a page or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from audit.records import Audit
from audit.reporting import findings as findings_file


@click.command()
@click.argument("before", type=click.Path(path_type=Path), metavar="A")
@click.argument("after", type=click.Path(path_type=Path), metavar="B")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="A page; where FILE ends in .json, JSON. [default: JSON on stdout]")  # fmt: skip
def compare(before: Path, after: Path, output: Path | None) -> None:
    """Compares the audits in the folders A and B (or their findings.json): two browsers, two versions,
    before and after opting out. Says what appeared, vanished and changed, and what cannot be compared.

    \b
    Example:
      privacy-audit compare version-1/ version-2/ -o compared.html
    """
    import msgspec

    from audit.reporting import comparison, html
    from audit.reporting.wire import inert_json

    both = comparison.compare(_load(before), _load(after), _names(before, after))
    if output is not None and output.suffix != ".json":
        click.echo(findings_file.write_private(output, html.render_comparison(both).encode()))
        return
    told = msgspec.json.encode(both, order="deterministic")
    content = inert_json(msgspec.json.format(told, indent=2)) + b"\n"
    if output is None:
        click.echo(content, nl=False)
    else:
        click.echo(findings_file.write_private(output, content))


def _names(before: Path, after: Path) -> tuple[str, str]:
    """What the two folders are called, with as little of their paths as tells them apart: a page that is handed on
    need not say where they lie."""
    one, other = (path if path.is_dir() else path.parent for path in (before.resolve(), after.resolve()))
    for count in range(1, max(len(one.parts), len(other.parts)) + 1):
        names = "/".join(one.parts[-count:]), "/".join(other.parts[-count:])
        if names[0] != names[1]:
            break
    return names


def _load(path: Path) -> Audit:
    return findings_file.load(path / findings_file.NAME if path.is_dir() else path)
