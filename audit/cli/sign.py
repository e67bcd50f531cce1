"""`sign`: the manifest of an audit's files, signed with the researcher's own key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from audit.records import Audit
from audit.reporting import findings as findings_file


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--key", "key_file", type=click.Path(path_type=Path), metavar="FILE",
              help="An Ed25519 private key (PEM or OpenSSH). Without it the manifest is not signed.")  # fmt: skip
@click.option("--experiment", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where the captures lie. [default: DIR, else the folder above it]")  # fmt: skip
def sign(folder: Path, key_file: Path | None, experiment: Path | None) -> None:
    """Writes DIR/manifest.json with the SHA-256 of every capture, key log, plan and result, and signs it.

    \b
    Examples:
      privacy-audit sign result/
      privacy-audit sign result/ --key ~/.ssh/id_ed25519
    """
    from audit.cli.terminal import Refused, say
    from audit.reporting import manifest

    audit = findings_file.load(folder / findings_file.NAME)
    places = [experiment] if experiment else [folder, folder.parent]
    try:
        files = list(_files(audit, places))
        missing = sorted({capture.name for capture in audit.captures} - {name for name, _, _ in files})
        if missing:
            raise Refused(
                f"{missing[0]}: this capture is not in {places[-1]}; name its folder with --experiment"
            )
        key = manifest.load_key(key_file, _password(key_file)) if key_file else None
        content = manifest.encode(manifest.make(folder, audit, [(path, role) for _, path, role in files]))
    except manifest.BadManifest as reason:
        raise Refused(str(reason)) from None
    signature = folder / manifest.SIGNATURE
    signature.unlink(missing_ok=True)
    click.echo(findings_file.write_private(folder / manifest.NAME, content))
    if key:
        click.echo(findings_file.write_private(signature, manifest.sign(content, key)))
    else:
        say("not signed: no --key was given; the manifest shows accidents, not intent")


def _files(audit: Audit, places: list[Path]) -> Iterator[tuple[str, Path, str]]:
    """Captures, key logs and the plan, where they lie."""
    names = [(capture.name, "capture") for capture in audit.captures]
    names += [(name, "keys") for name in audit.experiment.keys] + [("experiment.toml", "plan")]
    for name, role in names:
        for place in places:
            if (place / name).is_file():
                yield name, place / name, role
                break


def _password(key_file: Path) -> bytes | None:
    """The password of an encrypted key, asked for on the terminal."""
    try:
        encrypted = b"ENCRYPTED" in key_file.read_bytes()[:200]
    except OSError:
        return None
    return click.prompt("password of the key", hide_input=True, err=True).encode() if encrypted else None
