"""`search`: values in raw bodies, through every coding."""

from __future__ import annotations

import click
import msgspec

from audit.cli.decoders import decoder_option
from audit.cli.targets import path_of
from audit.cli.terminal import say
from audit.records import Canary, CanaryKind


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--value", "values", multiple=True, required=True, help="What to look for: an address or words."
)
@decoder_option
def search(files: tuple[str, ...], values: tuple[str, ...], decoders: tuple[str, ...]) -> None:
    """Looks for values in raw bodies, through every coding; JSON lines, one per match; - reads stdin.

    \b
    Example:
      privacy-audit search --value "https://example.org/a?b=c" body.bin
    """
    from audit.decoding.channels import Channel
    from audit.decoding.keyed import parse
    from audit.detection.needles import Needles
    from audit.detection.search import Searcher

    if any(len(value.strip()) < 3 for value in values):
        raise click.BadParameter(
            "a value of less than three characters stands everywhere", param_hint="--value"
        )
    canaries = tuple(Canary(id=value, kind=_kind_of(value), value=value) for value in values)
    searcher = Searcher(Needles(canaries))
    keyed = tuple(map(parse, decoders))
    count = 0
    for name in files:
        with path_of(name) as path:
            body = [Channel("body", path.read_bytes())]
        result = searcher.search(body, searcher.open(body, (), keyed) if keyed else ())
        for limit in result.limits:
            say(f"{name}: not looked at in full: {limit.detail}")
        for sighting in result.sightings:
            count += 1
            click.echo(msgspec.json.encode({
                "file": name, "value": sighting.match.canary, "granularity": sighting.match.granularity,
                "form": sighting.match.form, "layers": sighting.layers, "path": sighting.path,
                "offset": sighting.match.offset, "excerpt": sighting.excerpt,
            }))  # fmt: skip
    if not count:
        raise SystemExit(1)


def _kind_of(value: str) -> CanaryKind:
    from audit.detection.addresses import parse_address

    address = parse_address(value)
    named = address is not None and "." in address.host and " " not in value.strip()
    return "url" if named and ("://" in value or "/" in value or value.count(".") >= 1) else "text"
