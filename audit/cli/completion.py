"""`completion`: the script that completes our commands in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from audit.cli.terminal import Refused


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Prints the completion script for a shell.

    \b
    Example:
      privacy-audit completion bash > ~/.local/share/bash-completion/completions/privacy-audit
    """
    found = get_completion_class(shell)
    if found is None:
        raise Refused(f"no completion for {shell}")
    click.echo(found(context.find_root().command, {}, "privacy-audit", "_PRIVACY_AUDIT_COMPLETE").source())
