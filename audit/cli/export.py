"""`export`: what was found, and what was recorded, in the formats of other tools."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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
_UNMASKED = ("har-full", "pcapng")


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice((*_OF_FINDINGS, "har", *_UNMASKED)),
    help="What to write.",
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
    `har-full` (all requests with their bodies) and `pcapng` (a packet capture with its secrets inside) are
    not masked.

    \b
    Examples:
      privacy-audit export result/ --format csv -o findings.csv
      privacy-audit export my-experiment/ --format har -o masked.har
      privacy-audit export phone.pcapng --keys keys.log --format har-full -o phone.har
    """
    from audit.cli.terminal import Refused
    from audit.reporting import exports, shared
    from audit.reporting.har_export import Refused as StillTells

    if form in _UNMASKED:
        _write_unmasked(targets, form, keys, output)
        return
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


def _write_unmasked(targets: tuple[str, ...], form: str, keys: tuple[Path, ...], output: Path | None) -> None:
    """Written piece by piece, as it may be as large as the capture."""
    from audit.cli.terminal import say

    with ExitStack() as stack:
        _, experiment, captures = audited(targets, None, stack, keys)
        pieces = _har_full(captures, experiment) if form == "har-full" else _pcapng(captures)
        if output is None:
            sys.stdout.buffer.writelines(pieces)
        else:
            click.echo(findings_file.write_private_pieces(output, pieces))
    say(f"{output or 'standard output'}: not masked; it holds all that was read, secrets included")


def _har_full(captures: list[Capture], experiment: Experiment) -> Iterator[bytes]:
    from audit.reporting import har_full
    from audit.sources import Wanted, read

    kinds, device = frozenset({"http", "websocket"}), experiment.device.addresses
    return har_full.written(
        record
        for capture in captures
        for record in read(capture.path, capture.name, Wanted(kinds, device, keys=capture.keys, bodies=True))
    )


def _pcapng(captures: list[Capture]) -> Iterator[bytes]:
    from audit.cli.terminal import Refused, say
    from audit.reporting import pcapng_full
    from audit.sources import capture_format

    packets = [capture for capture in captures if capture_format(capture.path) in ("pcap", "pcapng")]
    if len(packets) != 1:
        raise Refused(f"pcapng takes one packet capture, and here are {len(packets)}; name the one you mean")
    path, keys = packets[0].path, packets[0].keys
    log = pcapng_full.secrets(path, keys)
    if keys and not log:
        say("no secret in the key logs is of a connection of this capture: none was put inside")
    return pcapng_full.written(path, log)
