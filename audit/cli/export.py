"""`export`: what was captured, in the formats of other tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli.targets import audited, keys_option
from audit.cli.terminal import Refused, say

if TYPE_CHECKING:
    from audit.pipeline import Capture


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--format", "form", required=True, type=click.Choice(("har-full", "pcapng")),
              help="har-full: all requests with their bodies; pcapng: packets with the secrets inside.")  # fmt: skip
@keys_option
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where it goes, readable by you alone. [default: standard output]")  # fmt: skip
def export(targets: tuple[str, ...], form: str, keys: tuple[Path, ...], output: Path | None) -> None:
    """Writes captures in formats of other tools: an experiment folder, or captures (- reads stdin).

    \b
    Examples:
      privacy-audit export phone.pcapng --keys keys.log --format har-full -o phone.har
      privacy-audit export captures/my-phone/ --format pcapng -o opened.pcapng
    """
    with ExitStack() as stack:
        _, experiment, captures = audited(targets, None, stack, keys)
        write = {"har-full": _har_full, "pcapng": _pcapng}[form]
        _write(write(captures, experiment.device.addresses), output)
    say(f"{output or 'standard output'}: not masked; it holds all that was read, secrets included")


def _har_full(captures: Sequence[Capture], device: tuple[str, ...]) -> Iterator[bytes]:
    from audit.reporting import har_full
    from audit.sources import Wanted, read

    kinds = frozenset({"http", "websocket"})
    return har_full.written(
        record
        for capture in captures
        for record in read(capture.path, capture.name, Wanted(kinds, device, keys=capture.keys, bodies=True))
    )


def _pcapng(captures: Sequence[Capture], _: tuple[str, ...]) -> Iterator[bytes]:
    from audit.reporting import pcapng_full
    from audit.sources import capture_format

    packets = [capture for capture in captures if capture_format(capture.path) in ("pcap", "pcapng")]
    if len(packets) != 1:
        raise Refused(f"pcapng takes one packet capture, and here are {len(packets)}; name the one you mean")
    return pcapng_full.written(packets[0].path, packets[0].keys)


def _write(pieces: Iterator[bytes], output: Path | None) -> None:
    """To standard output, or to a file that is there in full or not at all, readable by its owner alone."""
    if output is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    unfinished = output.with_name(f".{output.name}.unfinished")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
        unfinished.replace(output)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
