"""A transmission opened once and in full, for all who read its fields.

What an adapter or the user tells of keyed layers is applied here: their keys may follow from the request's
own fields, so these are opened first. It says nothing about what a field means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from audit.decoding import Bounds, Tree, unfold
from audit.decoding.channels import Channel
from audit.decoding.keyed import Decoder, layers, named

__all__ = ["opened"]
_HEADER = "header:"


def opened(
    channels: Sequence[Channel],
    decoders: Iterable[Decoder] = (),
    *,
    bounds: Bounds | None = None,
    probe: Callable[[bytes], bool] | None = None,
) -> list[Tree]:
    """A tree for each of these channels of one transmission. `probe` as for `unfold`. Raises nothing."""
    decoders = tuple(decoders)
    extra = layers(decoders, {})
    if len(extra) < len(decoders):
        # some keys follow from fields, which must be opened for that
        plain = [unfold(c.data, c.hints, bounds=bounds) for c in channels]
        extra = layers(decoders, _fields(channels, plain))
    return [unfold(c.data, c.hints, bounds=bounds, probe=probe, extra=extra) for c in channels]


def _fields(channels: Sequence[Channel], trees: list[Tree]) -> dict[str, bytes]:
    """What a key may follow from: fields by their names, headers by theirs."""
    known = {c.name.removeprefix(_HEADER): c.data for c in channels if c.name.startswith(_HEADER)}
    for tree in trees:
        known |= named(tree.fields)
    return known
