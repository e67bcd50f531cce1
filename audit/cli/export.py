"""`export`: what was found, and what was recorded, in the formats of other tools."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli.targets import audited, keys_option
from audit.reporting import findings as findings_file

if TYPE_CHECKING:
    from audit.pipeline import Capture
    from audit.records import Audit, Experiment

_OF_FINDINGS = ("json", "csv", "sarif")


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--format", "form", required=True, type=click.Choice((*_OF_FINDINGS, "har")), help="What to write."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: standard output]"
)
@click.option("--unmask", is_flag=True, help="Write identifiers and inferred values too; for your eyes only.")
@keys_option
def export(
    targets: tuple[str, ...], form: str, output: Path | None, unmask: bool, keys: tuple[Path, ...]
) -> None:
    """Writes findings or recorded requests for other tools; masked unless said otherwise.

    TARGET is a folder with results or an experiment, or captures. `json`, `csv` and `sarif` hold the
    findings; `har` holds the requests, masked and searched again until it tells nothing it must not.

    \b
    Examples:
      privacy-audit export result/ --format csv -o findings.csv
      privacy-audit export my-experiment/ --format har -o masked.har
    """
    from audit.cli.terminal import Refused
    from audit.reporting import exports, shared
    from audit.reporting.har_export import Refused as StillTells

    if unmask and form == "har":
        raise Refused("--unmask: the format har is always masked; har-full holds everything")
    with ExitStack() as stack:
        if form in _OF_FINDINGS:
            audit = _findings(targets, keys, stack)
            audit = audit if unmask else shared.masked(audit)
            content = {"json": exports.to_json, "csv": exports.to_csv, "sarif": exports.to_sarif}[form](audit)
        else:
            try:
                content = _har(targets, keys, stack)
            except StillTells as reason:
                raise Refused(f"not exported: {reason}; nothing was written") from None
    if output is None:
        click.echo(content, nl=False)
    else:
        click.echo(findings_file.write_private(output, content))


def _findings(targets: tuple[str, ...], keys: tuple[Path, ...], stack: ExitStack) -> Audit:
    """The findings of a folder, else those of an analysis made now."""
    if len(targets) == 1 and (Path(targets[0]) / findings_file.NAME).is_file():
        return findings_file.load(Path(targets[0]) / findings_file.NAME)
    _, experiment, captures = audited(targets, None, stack, keys)
    return _analysed(captures, experiment)


def _har(targets: tuple[str, ...], keys: tuple[Path, ...], stack: ExitStack) -> bytes:
    from audit.reporting import har_export
    from audit.sources import Wanted, read

    folder, experiment, captures = audited(targets, None, stack, keys)
    known = folder / findings_file.NAME if folder else None
    audit = findings_file.load(known) if known and known.is_file() else _analysed(captures, experiment)
    records = (
        record
        for capture in captures
        for record in read(
            capture.path,
            capture.name,
            Wanted(frozenset({"http", "websocket"}), experiment.device.addresses, keys=capture.keys),
        )
    )
    return har_export.har(audit, records)


def _analysed(captures: list[Capture], experiment: Experiment) -> Audit:
    from audit import pipeline
    from audit.cli.terminal import stderr

    with stderr.status("reading") as status:
        return pipeline.analyze(captures, experiment, progress=status.update)
