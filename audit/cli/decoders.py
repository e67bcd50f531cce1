"""The option --decoder: keyed layers that the user knows, checked before any work begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def decoder_option(command: _Command) -> _Command:
    """Gives a command the repeatable option --decoder as its parameter `decoders` (lines as told)."""
    return click.option(
        "--decoder", "decoders", multiple=True, metavar="SPEC", callback=_checked,
        help="A cipher with its key, such as 'aes-cbc:key=hex:00112233445566778899aabbccddeeff,iv=prefix16', or a key "
        "from the request's own fields: 'aes-ecb:key=md5(field app_id)'. Repeatable.",
    )(command)  # fmt: skip


def _checked(_: click.Context, __: click.Parameter, lines: tuple[str, ...]) -> tuple[str, ...]:
    from audit.decoding.keyed import SpecificationError, parse

    for line in lines:
        try:
            parse(line)
        except SpecificationError as error:
            raise click.BadParameter(str(error), param_hint="--decoder") from error
    return lines
