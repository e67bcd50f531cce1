"""`python -m tests.fuzz [TARGET...] --seconds N`: fuzz targets for a time, report executions and crashes.

Exits with 1 if anything crashed; docs/fuzzing.md tells how to go on from there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1, metavar="[TARGET...]")
@click.option("--seconds", default=60, show_default=True, help="For each target.")
@click.option("--jobs", default=1, show_default=True, help="Targets at once.")
@click.option("--found", default="fuzz-found", show_default=True, type=click.Path(path_type=Path),
              help="Folder for the inputs that crash.")  # fmt: skip
def main(names: tuple[str, ...], seconds: int, jobs: int, found: Path) -> None:
    """Fuzz the TARGETs, all of them if none is named."""
    try:
        from tests.fuzz.running import fuzz
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed") from None
    from tests.fuzz.targets import names as known_names

    known = known_names()
    unknown = set(names) - known.keys()
    if unknown:
        raise click.UsageError(f"no target {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    crashed = False
    for outcome in fuzz(names or known, seconds, found.resolve(), jobs):
        crashed = crashed or bool(outcome.crashes)
        click.echo(f"{outcome.target:16} {outcome.executions:>10,} runs  {len(outcome.crashes)} crashes")
        for line in outcome.crashes:
            click.echo(f"    {line}")
    sys.exit(crashed)


if __name__ == "__main__":
    main()
