"""`sniff`: packets of an interface into an experiment."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.terminal import Refused, say, stderr
from audit.reporting.wire import inert


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT")
@click.option("-i", "--interface", required=True, metavar="INTERFACE", help="The network interface.")
@click.option("--rotate-mb", default=256, show_default=True, type=click.IntRange(1, 1 << 20), metavar="MB",
              help="Megabytes after which another file begins.")  # fmt: skip
def sniff(experiment: Path, interface: str, rotate_mb: int) -> None:
    """Records the packets of INTERFACE into an experiment until Ctrl-C; prints the files.

    \b
    Example:
      sudo "$(command -v privacy-audit)" sniff captures/my-phone/ -i wlan0
    """
    from rich.text import Text

    from audit.recording.sniffer import BadRecording, Sniffer

    sniffer = Sniffer(experiment, interface, rotate_mb << 20, say)
    try:
        with stderr.status("opening") as status:
            sniffer.run(lambda state: status.update(Text(inert(state))))
    except BadRecording as error:
        raise Refused(str(error)) from None
    finally:
        for path in sniffer.paths:
            click.echo(path)
