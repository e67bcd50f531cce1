"""MQTT packets: who connects, what is published, which topics are wished for.

MQTT 3.1 (IBM and Eurotech), 3.1.1 and 5.0 (OASIS standards). Passwords are never handed out. Must never
believe a length beyond MAX_PACKET, nor wait for one.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from audit.protocols import resync
from audit.protocols.malformed import Malformed

MAX_PACKET = 16 << 20
MAX_TOPICS = 1024
MAX_ALIASES, MAX_ALIASED = 256, 1024  # topics that are remembered for their number, bytes of one

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT = 1, 2, 3, 8, 10, 14


class Connect(NamedTuple):
    """A client introduces itself; `level` is 3 (3.1), 4 (3.1.1) or 5. The will is a message kept for later."""

    level: int
    client_id: str
    username: str | None
    password: bool
    will_topic: str | None
    will: bytes


class Publish(NamedTuple):
    """A message; `topic` is empty where an alias stands for it (version 5, 3.3.2.3.4) that was given before the first
    packet, or may have been given another meaning in what was lost."""

    topic: str
    payload: bytes
    retain: bool
    cut: bool


class Subscribe(NamedTuple):
    """The topic filters a client wants to hear, or (`end`) no longer."""

    topics: tuple[str, ...]
    end: bool


class Properties(NamedTuple):
    """The properties of the packet told of next, as sent, if its sender's own are among them (version 5, 2.2.2)."""

    data: bytes


class Other(NamedTuple):
    """Any other packet, by its type."""

    kind: int


Event = Connect | Publish | Subscribe | Properties | Other

_SHORT = (CONNACK, 4, 5, 6, 7)  # two bytes, and properties since version 5
_USER_PROPERTY = b"\x26"
_ALIAS, _PAIR, _NUMBER = 0x23, 0x26, 0x0B
_SIZES = {
    0x01: 1,
    0x17: 1,
    0x19: 1,
    0x24: 1,
    0x25: 1,
    0x28: 1,
    0x29: 1,
    0x2A: 1,
    0x13: 2,
    0x21: 2,
    0x22: 2,
    _ALIAS: 2,
    0x02: 4,
    0x11: 4,
    0x18: 4,
    0x27: 4,
}  # of properties that have one (2.2.2.2)

# CONNECT: flags 0; PUBLISH: any; PUBREL, SUBSCRIBE, UNSUBSCRIBE: flags 2; the rest: flags 0.
_FIRST = re.compile(rb"[\x10\x20\x30-\x3f\x40\x50\x62\x70\x82\x90\xa2\xb0\xc0\xd0\xe0\xf0]")


def starts(data: bytes) -> bool:
    """Whether bytes begin with a CONNECT packet."""
    if data[:1] != b"\x10":
        return False
    header, _ = _length(data, 0)
    return header > 0 and data[header : header + 6] in {b"\x00\x04MQTT", b"\x00\x06MQIs"}


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Length of the fixed header and of what follows; header 0 if incomplete, -1 if no length."""
    value = 0
    for place in range(4):
        if at + 1 + place >= len(data):
            return 0, 0
        byte = data[at + 1 + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return 2 + place, value
    return -1, 0


class Packets:
    """The packets of one direction. `level` is the version of the CONNECT seen in the other, if any."""

    def __init__(self, level: int = 4) -> None:
        self.level = level
        self._buffer = b""
        self._any = False
        self._lost = False
        self._rest = 0  # bytes that are still to come of a packet of which some are lost
        self._properties: list[bytes] = []
        self._aliases: dict[int, str] = {}
        self.skipped = 0
        """Bytes that could not be read, other than those reported as lost; known when the direction has ended."""

    def feed(self, data: bytes) -> list[Event]:
        """The packets that are complete with these bytes. Raises Malformed if the first bytes are none."""
        rest, self._rest = min(self._rest, len(data)), max(self._rest - len(data), 0)
        buffer = self._buffer + data[rest:] if self._buffer else data[rest:]
        events: list[Event] = []
        at = 0
        while at < len(buffer):
            if self._lost:
                start, found = resync.find(buffer[at:], _FIRST, 2, partial(_measure, self.level))
                at += start
                self.skipped += start
                if not found:
                    break
                self._lost = False
            header, size = _length(buffer, at)
            if not header:
                break
            if header < 0 or size > MAX_PACKET or not _FIRST.match(buffer, at):
                if not self._any:
                    raise Malformed("no MQTT packet")
                self._lost = True
                self._aliases.clear()
                continue
            if len(buffer) < at + header + size:
                break
            try:
                event = self._packet(buffer[at], buffer[at + header : at + header + size])
            except (Malformed, IndexError):
                if not self._any:
                    raise Malformed("no MQTT packet") from None
                self.skipped += header + size
            else:
                events += [Properties(data) for data in self._properties if _USER_PROPERTY in data]
                events.append(event)
                self._any = True
            self._properties.clear()
            at += header + size
        self._buffer = buffer[at:]
        return events

    def gap(self, size: int) -> list[Event]:
        """`size` bytes are missing here; the message they were part of is told as far as it came."""
        if size <= 0:
            return []
        if size <= self._rest:
            self._rest -= size
            return []
        held = self._buffer
        header, whole = _length(held, 0) if held and not self._lost and self._any else (0, 0)
        due = header + whole - len(held) if header > 0 and whole <= MAX_PACKET else 0
        events = self.finish()
        self._aliases.clear()
        self._rest = max(due - size, 0)
        self._lost = self._lost or due < size
        self._any = True
        return events

    def finish(self) -> list[Event]:
        """The direction ended: what may still be found behind a loss, and a message that was begun."""
        events: list[Event] = []
        if self._lost and self._buffer:
            measure = partial(_measure, self.level)
            start, found = resync.find(self._buffer, _FIRST, 2, measure, end=True)
            if found:
                self._lost = False
                self.skipped += start
                behind, self._buffer = self._buffer[start:], b""
                events = self.feed(behind)
        rest, self._buffer = self._buffer, b""
        header, size = _length(rest, 0)
        if not self._lost and header > 0 and rest[0] >> 4 == PUBLISH and self._any:
            try:
                event = self._packet(rest[0], rest[header:])
            except (Malformed, IndexError):
                pass
            else:
                cut = len(rest) < header + size
                return [*events, event._replace(cut=cut)] if isinstance(event, Publish) else events
        self.skipped += len(rest)
        return events

    def _packet(self, first: int, body: bytes) -> Event:
        kind = first >> 4
        if kind == CONNECT:
            event = _connect(body, self._properties)
            self.level = event.level
            return event
        if kind == PUBLISH:
            topic, at = _string(body, 0)
            if first & 6:
                at += 2
            if self.level == 5:
                at = _behind_properties(body, at, self._properties)
            if at > len(body):
                raise Malformed("a PUBLISH is cut")
            name = self._named(topic.decode("utf-8", "backslashreplace"))
            return Publish(name, body[at:], bool(first & 1), False)
        if kind in {SUBSCRIBE, UNSUBSCRIBE}:
            at = _behind_properties(body, 2, self._properties) if self.level == 5 else 2
            topics: list[str] = []
            while at < len(body) and len(topics) < MAX_TOPICS:
                topic, at = _string(body, at)
                topics.append(topic.decode("utf-8", "backslashreplace"))
                at += kind == SUBSCRIBE
            return Subscribe(tuple(topics), kind == UNSUBSCRIBE)
        return Other(kind)

    def _named(self, topic: str) -> str:
        """The topic of a PUBLISH whose properties were read: its own, or the one that its alias stands for."""
        alias = _alias(self._properties[-1]) if self._properties else 0
        if not topic:
            return self._aliases.get(alias, "")
        self._aliases.pop(alias, None)
        if alias and len(topic) <= MAX_ALIASED and len(self._aliases) < MAX_ALIASES:
            self._aliases[alias] = topic
        return topic


def _alias(properties: bytes) -> int:
    """The topic alias among properties, 0 if there is none."""
    at = 0
    while at + 2 < len(properties):
        kind = properties[at]
        if kind == _ALIAS:
            return properties[at + 1] << 8 | properties[at + 2]
        if kind in _SIZES:
            at += 1 + _SIZES[kind]
        elif kind == _NUMBER:
            header, _ = _length(properties, at)
            if header <= 0:
                break
            at += header
        else:  # one string, or two
            at += 1
            for _ in range(2 if kind == _PAIR else 1):
                at += 2 + int.from_bytes(properties[at : at + 2], "big")
    return 0


def _string(body: bytes, at: int) -> tuple[bytes, int]:
    """A length-prefixed string and the offset behind it."""
    end = at + 2 + (body[at] << 8 | body[at + 1])
    if end > len(body):
        raise Malformed("an MQTT string is cut")
    return body[at + 2 : end], end


def _behind_properties(body: bytes, at: int, properties: list[bytes]) -> int:
    """The offset behind the properties that begin at `at`, which are added to the others."""
    header, size = _length(body, at - 1)
    if header <= 0:
        raise Malformed("MQTT properties are cut")
    begin = at - 1 + header
    properties.append(body[begin : begin + size])
    return begin + size


def _connect(body: bytes, properties: list[bytes]) -> Connect:
    name, at = _string(body, 0)
    if name not in {b"MQTT", b"MQIsdp"}:
        raise Malformed("no MQTT protocol name")
    level, flags = body[at] & 0x7F, body[at + 1]
    at += 4
    if level == 5:
        at = _behind_properties(body, at, properties)
    client, at = _string(body, at)
    will_topic, will, username = None, b"", None
    if flags & 4:
        if level == 5:
            at = _behind_properties(body, at, properties)
        topic, at = _string(body, at)
        will, at = _string(body, at)
        will_topic = topic.decode("utf-8", "backslashreplace")
    if flags & 128:
        user, at = _string(body, at)
        username = user.decode("utf-8", "backslashreplace")
    return Connect(
        level, client.decode("utf-8", "backslashreplace"), username, bool(flags & 64), will_topic, will
    )


def _measure(level: int, data: bytes, at: int) -> int:
    """Length of a plausible packet of this version (for resync)."""
    header, size = _length(data, at)
    if header == 0:
        return resync.MORE
    if header < 0 or size > 1 << 16 or not _FIRST.match(data, at):
        return resync.NO
    kind = data[at] >> 4
    if kind in _SHORT and (size < 2 or size > (2 if level < 5 else 1 << 10)):
        return resync.NO
    if kind == PUBLISH:
        if len(data) < at + header + 2:
            return resync.MORE
        topic = data[at + header] << 8 | data[at + header + 1]
        if topic + 2 > size or (data[at] & 6) == 6 or 0 in data[at + header + 2 : at + header + 2 + topic]:
            return resync.NO
    elif kind >= 12 and size > (0 if kind < DISCONNECT else 1 << 10):
        return resync.NO
    return header + size
