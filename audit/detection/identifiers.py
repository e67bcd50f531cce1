"""Persistent identifiers that go to a recipient: known fields, and values that recur.

A value that is long and random enough to tell one device from all others, and that one recipient gets
again in another phase, links what it got. Which fields hold identifiers is known for adapters' endpoints;
elsewhere recurrence shows it. This module collects; assessment decides what persisted over what.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

from audit.adapters import load
from audit.decoding import Tree
from audit.decoding.channels import channels
from audit.decoding.keyed import Decoder
from audit.detection.opened import opened
from audit.detection.roles import roles
from audit.detection.scan import recipient_key
from audit.records import AnyRecord, Http, LimitHit, Message, WebSocketMessage

KNOWN_ROLES = ("hardware_id", "account", "ad_id", "install_id", "identifier", "session_id")
# of one place at one recipient; what has more different values than this identifies nobody for long
MAX_VALUES = 8
MAX_PLACES = 20_000
_INDEX = re.compile(r"\[[0-9]+\]")
_TOKEN = re.compile(rb"[A-Za-z0-9+/=_.:{}-]{8,160}")
_TIME = re.compile(rb"1[0-9]{9}(?:[0-9]{3}|[0-9]{6})?(?:\.[0-9]+)?")
_ADDRESS = re.compile(rb"(?i)[a-z][a-z0-9+.-]*:|(?:[a-z0-9-]+\.)+[a-z]{2,}$|.*/.*/")
_VERSION = re.compile(rb"[0-9]+(?:\.[0-9]+)+")
_MIN_BITS = 32.0
_SKIPPED = ("url.host", "url.path", "header:user-agent", "header:authority", "header:accept", "header:content-type",
            "header:referer", "header:origin", "header:sec-ch-ua", "header:date", "header:if-modified-since")  # fmt: skip

Key = tuple[str | None, str | None]


@dataclass
class Place:
    """The values seen at one place, each with the times of the transmissions that carried it."""

    kind: str
    values: dict[str, list[float | None]] = field(default_factory=dict)
    overflown: bool = False


@dataclass
class Companions:
    """Collects, for some recipients, the identifiers that they got. `transmissions` tells for each
    transmission which (place, value) it carried."""

    recipients: frozenset[Key]
    places: dict[tuple[Key, str], Place] = field(default_factory=dict)
    transmissions: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)
    full: bool = False

    def add(self, record: AnyRecord, decoders: tuple[Decoder, ...] = ()) -> None:
        """Looks at one record. `decoders`: keyed layers beside those that adapters know."""
        if not isinstance(record, Http | WebSocketMessage | Message) or record.direction != "up":
            return
        key = recipient_key(record.host, record.dst)
        if key not in self.recipients:
            return
        parts = channels(record)
        carried: dict[str, tuple[str, str]] = {}
        adapters = load().recognise(record)
        trees = opened(parts, adapters, decoders)
        for told in roles(parts, trees, adapters):
            if told.role in KNOWN_ROLES and told.value:
                carried[_name(told.channel, told.path)] = (told.role, told.value.decode("utf-8", "replace"))
        for channel, tree in zip(parts, trees, strict=True):
            if channel.name not in _SKIPPED:
                for name, value in _tokens(channel.name, tree):
                    carried.setdefault(name, ("recurring", value))
        here = self.transmissions.setdefault((record.capture, record.id), [])
        for name, (kind, value) in carried.items():
            if self._note(key, name, kind, value, record.time):
                here.append((name, value))

    def limits(self) -> tuple[LimitHit, ...]:
        """The bound on the number of places, if it was hit."""
        if not self.full:
            return ()
        said = f"identifiers were looked for in the first {MAX_PLACES} fields only"
        return (LimitHit(bound="fields", detail=said),)

    def _note(self, key: Key, name: str, kind: str, value: str, time: float | None) -> bool:
        if (key, name) not in self.places and len(self.places) >= MAX_PLACES:
            self.full = True
            return False
        place = self.places.setdefault((key, name), Place(kind))
        if place.overflown:
            return False
        place.values.setdefault(value, []).append(time)
        if len(place.values) > MAX_VALUES:
            place.overflown = True
            place.values.clear()
            return False
        return True


def _name(channel: str, path: str) -> str:
    """A place's name: the channel and the path, indexes left out, so that the same field of every event
    is one place."""
    return f"{channel} {_INDEX.sub('[*]', path)}".strip()


def _tokens(channel: str, tree: Tree) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for value in tree.fields:
        if not value.opaque and _identifying(value.data):
            found.setdefault(_name(channel, value.path), value.data.decode("ascii"))
    return list(found.items())


def _identifying(data: bytes) -> bool:
    """Whether a value could tell one device from all others: a token of enough entropy that is no time,
    address, version or plain word."""
    if (
        not _TOKEN.fullmatch(data)
        or _TIME.fullmatch(data)
        or _ADDRESS.match(data)
        or _VERSION.fullmatch(data)
    ):
        return False
    if not any(c in b"0123456789" for c in data):
        return False
    counts = Counter(data.lower())
    bits = -sum(n * math.log2(n / len(data)) for n in counts.values())
    return bits >= _MIN_BITS
