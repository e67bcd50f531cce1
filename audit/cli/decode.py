"""`decode`: the tree of layers that a blob unfolds into."""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console

from audit.cli.decoders import decoder_option
from audit.cli.targets import path_of
from audit.cli.terminal import say


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per field.")
@decoder_option
def decode(file: str, as_json: bool, decoders: tuple[str, ...]) -> None:
    """Shows the tree of layers that FILE unfolds into; - reads stdin.

    \b
    Examples:
      privacy-audit decode body.bin
      privacy-audit decode body.bin --decoder "rc4:key=text:secret"
    """
    from audit.decoding.keyed import parse, unfold_with
    from audit.decoding.opaque import entropy
    from audit.reporting.tree import branches

    with path_of(file) as path:
        tree = unfold_with(map(parse, decoders), path.read_bytes())
    if as_json:
        for index, field in enumerate(tree.fields):
            click.echo(msgspec.json.encode({
                "index": index, "parent": field.parent, "layers": field.layers, "path": field.path,
                "offset": field.offset, "bytes": len(field.data), "opaque": field.opaque,
                **({"entropy": round(entropy(field.data), 3)} if field.opaque else {}),
                "text": field.data.decode("utf-8", "backslashreplace"),
            }))  # fmt: skip
    else:
        wide = None if sys.stdout.isatty() else 200
        Console(highlight=False, markup=False, width=wide).print(branches(tree))
    for limit in tree.limits:
        say(f"not opened in full: {limit.detail}")
