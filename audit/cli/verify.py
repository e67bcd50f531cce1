"""`verify`: whether the files of a signed audit are still what they were, in plain words."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--key", "key_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The public key that must have signed (PEM or OpenSSH).")  # fmt: skip
def verify(folder: Path, key_file: Path | None) -> None:
    """Holds the files in and around DIR against DIR/manifest.json and its signature; says what changed.
    Exits with 1 if anything did.

    \b
    Example:
      privacy-audit verify result/ --key researcher.pub
    """
    from audit.cli.terminal import Refused
    from audit.reporting import manifest
    from audit.reporting.wire import inert

    try:
        outcome = manifest.verify(folder, manifest.load_public(key_file) if key_file else None)
    except manifest.BadManifest as reason:
        raise Refused(str(reason)) from None
    for line in outcome.lines:
        click.echo(inert(line, 500))
    click.echo("Nothing changed." if outcome.sound else "Not verified: the lines above say why.")
    if not outcome.sound:
        raise SystemExit(1)
