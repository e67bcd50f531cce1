"""`mark`: a phase begins now."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.terminal import Refused, say


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path, exists=True), metavar="EXPERIMENT")
@click.argument("mode", type=click.Choice(("idle", "normal", "private", "end")), metavar="MODE")
@click.option("--setting", metavar="NAME", help="The device's setting, such as opted-out.")
def mark(experiment: Path, mode: str, setting: str | None) -> None:
    """Begins a phase now: MODE is idle, normal or private; end begins none.

    The running phase ends. The next planned phase of this mode is taken, or else a new one is made.

    \b
    Example:
      privacy-audit mark captures/my-phone private --setting opted-out
    """
    from audit.recording.marks import BadMark
    from audit.recording.marks import mark as marked

    try:
        phase = marked(experiment, mode, setting)  # type: ignore[arg-type]
    except BadMark as bad:
        raise Refused(f"{experiment}: {bad}") from None
    if phase is None or phase.start is None:
        say("no phase is running")
    else:
        say(f"{phase.id}: {phase.mode}, {phase.setting}, since {phase.start:%H:%M:%S} UTC")
