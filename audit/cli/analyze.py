"""`analyze`: an experiment or captures in, the report and the findings out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import click
import msgspec

from audit.cli.decoders import decoder_option
from audit.cli.targets import addresses, audited, keys_option, private
from audit.cli.terminal import say, stderr
from audit.records import Audit, Canary, CanaryKind, Severity
from audit.reporting import findings as findings_file

_ARP = "packets carry no IP"  # every capture of a local network has some; the report lists them
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--experiment", "experiment_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The experiment.toml that belongs to captures lying elsewhere.")  # fmt: skip
@click.option("--canary", "given", multiple=True, metavar="KIND=VALUE",
              help=f"A value to look for; KIND is one of {', '.join(get_args(CanaryKind))}. Repeatable.")  # fmt: skip
@keys_option
@decoder_option
@click.option("--device", multiple=True, metavar="ADDRESS", callback=addresses,
              help="An IP address of the device, in packet captures. Repeatable.")  # fmt: skip
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Captures analysed at once."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="Where the results go. [default: the experiment folder, else ./audit-result]")  # fmt: skip
@click.option(
    "--fail-on", type=click.Choice(_SEVERITIES), help="Exit with 1 if a leak this severe was found."
)
def analyze(
    targets: tuple[str, ...], experiment_file: Path | None, given: tuple[str, ...], keys: tuple[Path, ...],
    decoders: tuple[str, ...], device: tuple[str, ...], jobs: int, output: Path | None, fail_on: Severity | None,
) -> None:  # fmt: skip
    """Audits an experiment folder or captures; writes report.html and findings.json.

    TARGET is an experiment folder, or captures of any supported format (told by content); - reads stdin.
    Without canaries, visits and searches are inferred from the traffic itself.

    \b
    Examples:
      privacy-audit analyze captures/my-phone/
      privacy-audit analyze phone.pcapng --keys keys.log
      privacy-audit analyze flows.mitm --canary term="marble otter h4q2" -o result/
    """
    from audit import pipeline
    from audit.reporting import html

    with ExitStack() as stack:
        folder, experiment, captures = audited(targets, experiment_file, stack, keys)
        experiment = msgspec.structs.replace(experiment, canaries=(*experiment.canaries, *_given(given)))
        if device:
            addresses = (*experiment.device.addresses, *device)
            named = msgspec.structs.replace(experiment.device, addresses=addresses)
            experiment = msgspec.structs.replace(experiment, device=named)
        with stderr.status("reading") as status:
            audit = pipeline.analyze(
                captures, experiment, jobs=jobs, decoders=decoders, progress=status.update
            )
        where = output or folder or Path("audit-result")
        private(where)
        findings_file.write(audit, where)
        report_file = findings_file.write_private(where / "report.html", html.render(audit).encode())
    _summary(audit)
    click.echo(report_file)
    if any(gap.detail == pipeline.INTERRUPTED for gap in audit.coverage.gaps):
        raise KeyboardInterrupt
    leaks = [f for f in audit.findings if f.expected is None]
    if fail_on and any(_SEVERITIES.index(f.severity) <= _SEVERITIES.index(fail_on) for f in leaks):
        raise SystemExit(1)


def _given(values: tuple[str, ...]) -> Iterator[Canary]:
    for number, text in enumerate(values, 1):
        kind, equals, value = text.partition("=")
        if not equals or len(value.strip()) < 3 or kind not in get_args(CanaryKind):
            raise click.BadParameter(
                f"{text!r} is not KIND=VALUE with KIND one of {', '.join(get_args(CanaryKind))} "
                "and a VALUE of three characters or more",
                param_hint="--canary",
            )
        yield Canary(id=f"given-{number}", kind=kind, value=value)  # type: ignore[arg-type]


def _summary(audit: Audit) -> None:
    leaks = [f for f in audit.findings if f.expected is None]
    for gap in audit.coverage.gaps:
        if gap.reason in ("unsupported", "truncated", "malformed", "limit") and _ARP not in gap.detail:
            say(f"{gap.capture}: not read in full: {gap.detail}")
    say(f"{len(audit.recipients)} recipients, {len(audit.findings)} findings, {len(leaks)} of them leaks")
    for verdict in audit.verdicts:
        say(f"  {verdict.statement}")
    for finding in leaks[:20]:
        who = finding.recipient.host or finding.recipient.ip or "an unknown recipient"
        say(
            f"  {finding.severity:8} {finding.leak_type} {finding.canary or finding.inferred} → {who} ({finding.mode})"
        )
