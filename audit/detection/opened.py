"""A transmission opened once and in full, for all who read its fields.

What an adapter or the user tells of keyed layers is applied here: their keys may follow from the request's
own fields, so these are opened first. So is what an adapter knows of formats that do not show. It says
nothing about what a field means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from msgspec import structs

from audit.adapters import Adapter, Known
from audit.decoding import Bounds, Tree, unfold
from audit.decoding.channels import Channel
from audit.decoding.coding import Sought
from audit.decoding.keyed import Decoder, layers, named

__all__ = ["opened"]
_HEADER = "header:"


def opened(
    channels: Sequence[Channel],
    adapters: Iterable[Adapter] = (),
    decoders: Iterable[Decoder] = (),
    *,
    bounds: Bounds | None = None,
    sought: Sought | None = None,
) -> list[Tree]:
    """A tree for each of these channels of one transmission. `adapters` are those that know it, `decoders` tell
    of more keyed layers; `sought` as for `unfold`. Raises nothing."""
    adapters = tuple(adapters)
    decoders = (*(decoder for adapter in adapters for decoder in adapter.decoders), *decoders)
    extra = layers(decoders, {})
    if len(extra) < len(decoders):
        # some keys follow from fields, which must be opened for that, but not guessed at
        evident = replace(bounds or Bounds(), guessing=0)
        plain = [unfold(c.data, c.hints, bounds=evident) for c in channels]
        extra = layers(decoders, _fields(channels, plain))
    trees = [unfold(c.data, c.hints, bounds=bounds, sought=sought, extra=extra) for c in channels]
    for known in (known for adapter in adapters for known in adapter.known):
        for channel, tree in zip(channels, trees, strict=True):
            if channel.name == known.channel:
                _open_known(tree, known, bounds)
    return trees


def _open_known(tree: Tree, known: Known, bounds: Bounds | None) -> None:
    """Opens a field whose format does not show, if nothing opened it so far."""
    index = max((i for i, field in enumerate(tree.fields) if field.path == known.path), default=None)
    if index is None or not tree.fields[index].opaque:
        return
    parent = tree.fields[index]
    inner = unfold(parent.data, (known.media,), bounds=bounds)
    start = len(tree.fields) - 1
    for field in inner.fields[1:]:
        tree.fields.append(
            structs.replace(
                field,
                path=field.path or parent.path,
                layers=(*parent.layers, *field.layers),
                parent=start + field.parent if field.parent else index,
            )
        )
    if len(inner.fields) > 1:
        tree.fields[index] = structs.replace(parent, opaque=False)
    tree.limits.extend(inner.limits)


def _fields(channels: Sequence[Channel], trees: list[Tree]) -> dict[str, bytes]:
    """What a key may follow from: fields by their names, headers by theirs."""
    known = {c.name.removeprefix(_HEADER): c.data for c in channels if c.name.startswith(_HEADER)}
    for tree in trees:
        known |= named(tree.fields)
    return known
