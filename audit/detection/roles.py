"""What the fields of a known endpoint hold, by the adapters that recognise the transmission.

An adapter names places and what stands there; this module reads those places of an opened transmission.
It says nothing about what that means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from audit.adapters import Adapter
from audit.adapters.model import Role, Unit
from audit.decoding import Tree
from audit.decoding.channels import Channel

MAX_FIELDS = 2_000
MAX_VALUE = 512


class Told(NamedTuple):
    """A field whose role is known. `value` is cut at 512 bytes, and then ends in an ellipsis; `reasoning` is the adapter's source."""

    adapter: str
    role: Role
    unit: Unit | None
    channel: str
    path: str
    layers: tuple[str, ...]
    value: bytes
    reasoning: str


def roles(channels: Sequence[Channel], trees: Iterable[Tree], adapters: tuple[Adapter, ...]) -> list[Told]:
    """The fields of these channels, opened in full (`trees`), whose role one of the adapters knows; the
    innermost reading of each place, at most 2,000 of them."""
    found: dict[tuple[str, str, str], Told] = {}
    for channel, tree in zip(channels, trees, strict=True):
        knowing = [a for a in adapters if any(channel.name in row.channels for row in a.fields)]
        for field in tree.fields if knowing else ():
            for adapter in knowing:
                known = adapter.role_of(channel.name, field.path, field.layers)
                if known is None or (field.opaque and (adapter.id, channel.name, field.path) in found):
                    continue
                # a later field of the same place is the same value with one more layer taken off
                found[adapter.id, channel.name, field.path] = Told(
                    adapter.id, known.role, known.unit, channel.name, field.path, field.layers,
                    _cut(field.data), known.reasoning,
                )  # fmt: skip
            if len(found) >= MAX_FIELDS:
                return list(found.values())
    return list(found.values())


def _cut(data: bytes) -> bytes:
    return data if len(data) <= MAX_VALUE else data[:MAX_VALUE] + "…".encode()


_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_EARLIEST_BEFORE_ARRIVAL = 45 * 86_400.0
_LATEST_AFTER_ARRIVAL = 86_400.0


def event_time(told: Iterable[Told], channel: str, path: str, arrival: float | None) -> float | None:
    """When the event happened that holds the field at `path`: the time stamp that stands nearest to it in
    the same structure, in epoch seconds. A time far from the arrival is no time of an event: None."""
    best: tuple[int, float] | None = None
    for field in told:
        if field.role != "event_time" or field.channel != channel:
            continue
        try:
            time = float(field.value) * _SECONDS[field.unit or "s"]
        except ValueError:
            continue
        if arrival is None or not -_EARLIEST_BEFORE_ARRIVAL < time - arrival < _LATEST_AFTER_ARRIVAL:
            continue
        shared = _shared_steps(field.path, path)
        if shared is not None and (best is None or shared > best[0]):
            best = (shared, time)
    return best[1] if best else None


def _shared_steps(one: str, other: str) -> int | None:
    """How many steps two paths have in common, from the root; None where they part at two items of a list: these
    are two events."""
    steps = 0
    for left, right in zip(_steps(one), _steps(other), strict=False):
        if left != right:
            if left[:1] == right[:1] == "[":
                return None
            break
        steps += 1
    return steps


def _steps(path: str) -> list[str]:
    return path.replace("[", ".[").split(".")
