"""`doctor`: what works here, and what is missing."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path(), metavar="[FOLDER]")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per check.")
def doctor(folder: Path, as_json: bool) -> None:
    """Says what works on this machine, what is missing, and how to get it.

    FOLDER is where recordings are to go. Exit code 2 if something needed is missing.
    """
    from audit.recording.doctor import checkup
    from audit.reporting.wire import inert

    signs = {"good": "ok     ", "bad": "MISSING", "unknown": "?      "}
    bad = False
    for answer in checkup(folder):
        bad |= answer.result == "bad" and answer.check in _NEEDED
        if as_json:
            click.echo(msgspec.json.encode(answer._asdict()))
        else:
            remedy = f"; {answer.remedy}" if answer.result != "good" and answer.remedy else ""
            click.echo(f"{signs[answer.result]} {answer.check}: {inert(answer.detail)}{inert(remedy)}")
    if bad:
        raise SystemExit(2)


_NEEDED = ("Python", "mitmproxy", "addons", "place for recordings", "free disk space")
