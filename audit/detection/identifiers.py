"""Persistent identifiers that go to a recipient: known fields, and values that recur.

A value that is long and random enough to tell one device from all others, and that one recipient gets
again in another phase, links what it got. Which fields hold identifiers is known for adapters' endpoints;
elsewhere recurrence shows it. This module collects; assessment decides what persisted over what.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace

from audit.adapters import load
from audit.decoding import Bounds, Tree
from audit.decoding.channels import channels
from audit.decoding.keyed import Decoder
from audit.detection.opened import opened
from audit.detection.roles import roles
from audit.detection.scan import recipient_key
from audit.records import AnyRecord, Field, Http, LimitHit, Message, MqttMessage, WebSocketMessage

KNOWN_ROLES = ("hardware_id", "account", "ad_id", "install_id", "identifier", "session_id")
# of one place at one recipient; what has more different values than this identifies nobody for long
MAX_VALUES = 8
MAX_PLACES = 20_000
# the search has guessed at the same data before, for the values that were looked for; identifiers are worth less
_BOUNDS = replace(Bounds(), guessing=4 << 20)
_INDEX = re.compile(r"\[[0-9]+\]")
_TOKEN = re.compile(rb"[A-Za-z0-9+/=_.:@{}-]{8,160}")
_TIME = re.compile(
    rb"1[0-9]{9}(?:[0-9]{3}|[0-9]{6})?(?:\.[0-9]+)?|"
    rb"(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9](?:[T_.:-].*)?"
)
_ADDRESS = re.compile(rb"(?i)[a-z][a-z0-9+.-]*:|(?:[a-z0-9-]+\.)+[a-z]{2,}$|.*/.*/")
_VERSION = re.compile(rb"[0-9]+(?:\.[0-9]+)+")
_SCREEN = re.compile(rb"[0-9]{3,4}[xX*][0-9]{3,4}(?![0-9]).*")
# what tells the app, the site or the model from others, and not the device (keys of Google's interfaces, ids of apps
# at Firebase, of properties at Google's analytics and advertising)
_OF_APP = re.compile(
    rb"AIza[\w-]{35}|1:[0-9]+:(?:android|ios|web):[0-9a-f]+|(?:G|UA|GT|AW|DC|GTM)-[A-Z0-9-]{4,}|ca-(?:app-)?pub-.*"
)
_APP_NAMES = re.compile(
    r"(?i)(?:api|app|application|write|public|site)[_-]?(?:key|id|secret|token)$|bundle|package|build|version|model|"
    r"resolution|screen|sdk|user[_-]?agent|commit|revision|integrity"
)
_LAST_STEP = re.compile(r"[^.\[\]'\": ]+(?=[\[\]'\"\d*]*$)")
_UUID = re.compile(rb"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCHEME = re.compile(rb"(?i)(?:bearer|token|basic) ")  # RFC 9110, 11.6.2
# what stands where there is no identifier: an advertising id that was switched off, the address that Android gives
# of every network card
_NOBODY = re.compile(rb"(?i)[0:{}-]*|null|none|nil|unknown|undefined|n/?a|false|(?:0?2)(?::?00){5}")
_DISGUISES = frozenset(("xor", "rot13", "reversed"))
_TEXTS = _DISGUISES | {"embedded", "utf-8", "utf-16le", "utf-16be", "utf-32le", "utf-32be", "percent"}
_MIN_BITS = 32.0
_RAW_SIZES = (8, 16, 20, 32)
_MIN_RAW_BITS = 20.0
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
    hurried: int = 0

    def add(self, record: AnyRecord, decoders: tuple[Decoder, ...] = ()) -> None:
        """Looks at one record. `decoders`: keyed layers beside those that adapters know."""
        if (
            not isinstance(record, Http | WebSocketMessage | MqttMessage | Message)
            or record.direction != "up"
        ):
            return
        key = recipient_key(record.host, record.dst)
        if key not in self.recipients:
            return
        parts = channels(record)
        carried: dict[str, tuple[str, str]] = {}
        adapters = load().recognise(record)
        trees = opened(parts, adapters, decoders, bounds=_BOUNDS)
        self.hurried += any(limit.bound == "time" for tree in trees for limit in tree.limits)
        for told in roles(parts, trees, adapters):
            if told.role in KNOWN_ROLES and not _NOBODY.fullmatch(told.value):
                carried[_name(told.channel, told.path)] = (told.role, told.value.decode("utf-8", "replace"))
        for channel, tree in zip(parts, trees, strict=True):
            found = _tokens(channel.name, tree) if channel.name not in _SKIPPED else []
            found += _segments(channel.data) if channel.name == "url.path" else []
            for name, value in found:
                carried.setdefault(name, ("recurring", value))
        here = self.transmissions.setdefault((record.capture, record.id), [])
        for name, (kind, value) in carried.items():
            if self._note(key, name, kind, value, record.time):
                here.append((name, value))

    def limits(self) -> tuple[LimitHit, ...]:
        """The bounds on the number of places and on guessing, where they were hit."""
        found = []
        if self.full:
            said = f"identifiers were looked for in the first {MAX_PLACES} fields only"
            found.append(LimitHit(bound="fields", detail=said))
        if self.hurried:
            said = f"in {self.hurried} transmissions identifiers were not looked for under every coding that nothing marks"
            found.append(LimitHit(bound="time", detail=said))
        return tuple(found)

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
    """The values that could identify, each in its innermost reading: a value that was opened into text is told
    by what it holds."""
    holding = {field.parent for field in tree.fields if not (field.opaque or _guessed(field))}
    of_app: set[int | None] = set()
    found: dict[str, str] = {}
    for number, value in enumerate(tree.fields):
        name = _name(channel, value.path)
        if value.parent in of_app or _OF_APP.fullmatch(value.data):
            of_app.add(number)
            continue
        if number in holding or _of_app(name) or _guessed(value):
            continue
        if value.opaque:
            if len(value.data) in _RAW_SIZES and _bits(value.data) >= _MIN_RAW_BITS:
                found.setdefault(name, value.data.hex())
            continue
        data = _SCHEME.sub(b"", value.data, count=1) if channel.endswith("authorization") else value.data
        if _identifying(data):
            found.setdefault(name, data.decode("ascii"))
    return list(found.items())


def _guessed(value: Field) -> bool:
    """Whether this is text read as text in disguise, which shows nothing of its own; a structure in disguise does."""
    return not _DISGUISES.isdisjoint(value.layers) and value.layers[-1] in _TEXTS


def _segments(path: bytes) -> list[tuple[str, str]]:
    """The segments of a path that are UUIDs; others name what is asked for."""
    return [
        (f"url.path /{number}", segment.decode("ascii"))
        for number, segment in enumerate(path.split(b"/"))
        if _UUID.fullmatch(segment)
    ]


def _of_app(name: str) -> bool:
    step = _LAST_STEP.search(name)
    return step is not None and _APP_NAMES.search(step[0]) is not None


def _identifying(data: bytes) -> bool:
    """Whether a value could tell one device from all others: a token of enough entropy that is no time,
    address, version, size of a screen or plain word."""
    if not _TOKEN.fullmatch(data) or any(other.fullmatch(data) for other in (_TIME, _VERSION, _SCREEN)):
        return False
    if _ADDRESS.match(data) or not any(c in b"0123456789" for c in data):
        return False
    return _bits(data.lower()) >= _MIN_BITS


def _bits(data: bytes) -> float:
    counts = Counter(data)
    return -sum(n * math.log2(n / len(data)) for n in counts.values())
