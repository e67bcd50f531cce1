"""How commands speak to people: one-line errors and messages on stderr, made inert."""

from __future__ import annotations

import click
from rich.console import Console

from audit.reporting.wire import inert

stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class Refused(click.ClickException):
    """Bad input: one line on stderr, exit code 2."""

    exit_code = 2


def say(message: str) -> None:
    """Prints a line on stderr."""
    stderr.print(inert(message, 2_000))
