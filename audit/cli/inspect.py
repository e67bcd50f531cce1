"""`inspect`: every record of a capture, a JSON line each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from audit.assessment.clock import rfc3339
from audit.cli.targets import keys_option, path_of
from audit.records import AnyRecord
from audit.sources import Wanted, read

_UNSHOWN = ("body", "headers", "response_headers", "response_body", "data", "initiator")


@click.command()
@click.argument("capture", metavar="CAPTURE")
@click.option("--kind", "kinds", metavar="KIND,...", help="Only these kinds, such as http,dns,gap.")
@keys_option
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes for packet captures."
)
def inspect(capture: str, kinds: str | None, keys: tuple[Path, ...], jobs: int) -> None:
    """Prints every record the sources see in CAPTURE as JSON lines; - reads stdin.

    \b
    Example:
      privacy-audit inspect flows.mitm --kind http | jq -r .authority | sort | uniq -c
      privacy-audit inspect phone.pcapng --keys keys.log --kind http
    """
    wanted = Wanted(_kinds(kinds), jobs=jobs, keys=keys)
    out = sys.stdout.buffer
    with path_of(capture) as path:
        for record in read(path, Path(capture).name, wanted):
            out.write(_line(record) + b"\n")
    out.flush()


def _kinds(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    known = {struct.__struct_config__.tag for struct in get_args(AnyRecord)}
    wanted = {part.strip() for part in text.split(",") if part.strip()}
    if not wanted or wanted - known:
        raise click.BadParameter(f"kinds are {', '.join(sorted(map(str, known)))}", param_hint="--kind")
    return frozenset(wanted)


def _line(record: AnyRecord) -> bytes:
    values: dict[str, Any] = {"kind": record.__struct_config__.tag}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name not in _UNSHOWN and not (name.startswith("tls_records") and not value):
            values[name] = rfc3339(value) if name in ("time", "first", "last") else value
    return msgspec.json.encode(values)
