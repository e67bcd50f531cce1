"""One capture, record by record: what was found in it, and what was there at all.

`Scan` is the plain result (it travels between processes); `Scanner` fills it. Nothing here says what is
a leak: that needs the phases, the other captures and the recipients, and is assessment's work.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from msgspec import structs

from audit.adapters import load, search_engines
from audit.adapters.model import Role
from audit.decoding import Tree
from audit.decoding.channels import Channel, channels
from audit.decoding.keyed import parse
from audit.detection.closed import Closed, Stayed
from audit.detection.exhibits import Exhibits, Key
from audit.detection.needles import Needles
from audit.detection.origin import BY_REFERER, Connections, Sender, headers_of, is_submission, sender
from audit.detection.pieces import Sighting, excerpt
from audit.detection.roles import MAX_FIELDS, Told, event_time, roles
from audit.detection.search import Result, Searcher, Typed
from audit.detection.sequences import Keystroke
from audit.experiment import mode_at
from audit.records import (
    AnyRecord,
    AnyTransmission,
    DeviceName,
    Dns,
    Exhibit,
    Experiment,
    Flow,
    Gap,
    Http,
    LimitHit,
    Message,
    MqttMessage,
    Observability,
    Tls,
    Transmission,
    WebSocketMessage,
)

# roles of fields that say something even where no value was looked for
_MAX_IPS = 64
_MAX_SPANS = 300
_MAX_NAMES = 16  # of a device, by each protocol
_MAX_LOOKUPS = 10_000  # different names per resolver and phase
_NUMBERED = re.compile(r"\d|.{32}")
_INDEX = re.compile(r"\[\d+\]")
SIGNALS = ("usage", "click", "dwell", "private_flag", "hash_prefix")


@dataclass(frozen=True)
class Sent:
    """The facts about one transmission that assessment needs. `request` names it for people, without
    its query. `suggests` is true at a search engine's suggestion endpoint, `submits` where a search is
    submitted: a navigation to an engine's results page, or one that a person began. `adapters` are the ids of
    those that know the endpoint."""

    id: str
    capture: str
    flow: str | None
    kind: str
    time: float | None
    order: int
    host: str | None
    ip: str | None
    request: str
    submits: bool
    suggests: bool
    sender: Sender
    adapters: tuple[str, ...]
    agent: bytes = b""


@dataclass(frozen=True)
class Hit:
    """One sighting in one transmission. `event_time` is the time stamp of the event it stands in, `role` what
    its field holds, each where an adapter knows it."""

    sent: Sent
    sighting: Sighting
    event_time: float | None
    role: Role | None = None


class Signal(NamedTuple):
    """A field that says something even where no value was looked for, and the time of its event, where an
    adapter knows it."""

    sent: Sent
    told: Told
    event_time: float | None


@dataclass
class Traffic:
    """What went to one recipient: its addresses, and per phase (None: outside all) how many transmissions
    and bytes; when (`seconds`, each span as long as `width`)."""

    ips: set[str] = field(default_factory=set)
    transmissions: Counter[str | None] = field(default_factory=Counter)
    bytes: Counter[str | None] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    width: int = 1
    first: float | None = None
    last: float | None = None

    def note(self, time: float) -> None:
        """Counts a transmission in its second, or in a longer span where there are too many seconds."""
        self.seconds[int(time) // self.width * self.width] += 1
        if len(self.seconds) > _MAX_SPANS:
            self.width *= 10
            spans: Counter[int] = Counter()
            for second, count in self.seconds.items():
                spans[second // self.width * self.width] += count
            self.seconds = spans


@dataclass
class Seen:
    """Flows that were seen equally well: how many, their bytes, and how many TLS records of which size
    passed unread. A sum is None as long as no flow of these told its bytes."""

    flows: int = 0
    bytes_up: int | None = None
    bytes_down: int | None = None
    records_up: Counter[int] = field(default_factory=Counter)
    records_down: Counter[int] = field(default_factory=Counter)


class Sight(NamedTuple):
    """How well flows to one recipient in one phase could be seen."""

    host: str | None
    ip: str | None
    phase: str | None
    observability: Observability
    reason: str | None


class Place(NamedTuple):
    """Where data stayed closed: at which recipient, in which phase and channel."""

    host: str | None
    ip: str | None
    phase: str | None
    channel: str


Lookup = tuple[str | None, str | None, str, str | None]
"""Host and address of who was asked for names, over what, and in which phase."""


@dataclass
class Scan:
    """All that one capture showed. `first` and `last` are the times of its first and last record.
    A `supplement` tells only of traffic that no other recording of the same proxy holds."""

    capture: str
    supplement: bool = False
    records: Counter[str] = field(default_factory=Counter)
    hits: list[Hit] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    keystrokes: list[tuple[Keystroke, Sent]] = field(default_factory=list)
    closed: dict[Place, Stayed] = field(default_factory=dict)
    recipients: dict[tuple[str | None, str | None], Traffic] = field(default_factory=dict)
    flows: dict[Sight, Seen] = field(default_factory=dict)
    exhibits: dict[Key, Exhibit] = field(default_factory=dict)
    apps: dict[tuple[str | None, str | None], set[str]] = field(default_factory=dict)
    devices: dict[str | None, dict[str, set[str]]] = field(default_factory=dict)
    lookups: dict[Lookup, Counter[str]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    limits: list[LimitHit] = field(default_factory=list)
    first: float | None = None
    last: float | None = None

    def hit_recipients(self) -> set[tuple[str | None, str | None]]:
        """The recipients that a looked-for value, the beginning of one, or a signal went to."""
        sent = [hit.sent for hit in self.hits] + [sent for _, sent in self.keystrokes]
        sent += [signal.sent for signal in self.signals]
        return {recipient_key(one.host, one.ip) for one in sent}


def recipient_key(host: str | None, ip: str | None) -> tuple[str | None, str | None]:
    """What makes a recipient the same one: its name; its address only where it has no name."""
    return (host, None) if host else (None, ip)


class Scanner:
    """Takes the records of one capture in any order and collects a `Scan`. `decoders` tell of keyed layers
    (`audit.decoding.keyed`), beside those that adapters know."""

    def __init__(
        self, capture: str, needles: Needles, experiment: Experiment, decoders: Iterable[str] = ()
    ) -> None:
        self.scan = Scan(capture)
        self._decoders = tuple(map(parse, decoders))
        self._experiment = experiment
        self._needles = needles
        self._searcher = Searcher(needles)
        self._engines = search_engines()
        self._adapters = load()
        self._connections = Connections()
        self._exhibits = Exhibits()
        self._said: set[str] = set()
        self._order = 0

    def add(self, record: AnyRecord) -> None:
        """Searches and counts one record."""
        self._order += 1
        self._connections.add(record)
        if record.time is not None:
            self.scan.first = min(record.time, self.scan.first or record.time)
            self.scan.last = max(record.time, self.scan.last or record.time)
        self.scan.records[record.__struct_config__.tag] += 1  # type: ignore[index]
        match record:
            case Flow():
                self._flow(record)
            case Gap():
                self.scan.gaps.append(record)
            case DeviceName():
                names = self.scan.devices.setdefault(record.src, {}).setdefault(record.by, set())
                if len(names) < _MAX_NAMES or record.name in names:
                    names.add(record.name)
                else:
                    self._full("names", f"more than {_MAX_NAMES} names of one device by {record.by}")
            case Transmission():
                if record.direction == "up" and not (isinstance(record, Dns) and record.response):
                    self._transmission(record)
                    if isinstance(record, Dns) and record.carrier in ("doh", "dot", "doq"):
                        self._looked_up(record)

    def _looked_up(self, record: Dns) -> None:
        who = *recipient_key(record.host, record.dst), record.carrier, self._phase(record.time)
        names = self.scan.lookups.setdefault(who, Counter())
        if len(names) < _MAX_LOOKUPS or record.name in names:
            names[record.name] += 1
        else:
            self._full(
                "look-ups",
                f"more than {_MAX_LOOKUPS} different names were asked of {record.host or record.dst}",
            )

    def _full(self, what: str, detail: str) -> None:
        """Says once that no more of something is kept; what is beyond was still searched."""
        if what not in self._said:
            self._said.add(what)
            self.scan.limits.append(LimitHit(bound="fields", detail=detail, capture=self.scan.capture))

    def finished(self) -> Scan:
        """The scan, once all records were added: what the connections tell about senders is known now."""
        scan = self.scan
        scan.exhibits = self._exhibits.kept
        if self._exhibits.left_out:
            self._full(
                "exhibits",
                f"{self._exhibits.left_out} sorts of what was found are told without the request they stand in",
            )
        scan.hits = [replace(hit, sent=self._told(hit.sent)) for hit in scan.hits]
        scan.keystrokes = [(stroke, self._told(sent)) for stroke, sent in scan.keystrokes]
        scan.signals = [signal._replace(sent=self._told(signal.sent)) for signal in scan.signals]
        return scan

    def _told(self, sent: Sent) -> Sent:
        if sent.sender.origin != "unknown":
            return sent
        https = sent.request.partition(" ")[2].startswith("https://")
        sender = self._connections.sender(sent.flow, sent.time, sent.agent, https=https)
        return replace(sent, sender=sender) if sender else sent

    def _transmission(self, record: AnyTransmission) -> None:
        self._count(record)
        parts = channels(record)
        adapters = self._adapters.recognise(record)
        trees: list[Tree] = []
        if adapters or self._decoders:
            trees = self._searcher.open(parts, adapters, self._decoders)
        result = self._searcher.search(parts, trees)
        told = roles(parts, trees, adapters) if adapters else []
        if len(told) >= MAX_FIELDS:
            self._limited(record, LimitHit(bound="fields", detail=f"more than {MAX_FIELDS} known fields"))
        result = replace(result, sightings=(*result.sightings, *self._known_hashes(told, result)))
        self._stayed_closed(record, result.closed, told)
        self._limited(record, *result.limits)
        signals = [row for row in told if row.role in SIGNALS]
        if not (result.sightings or result.typed or signals):
            return
        sent = self._sent(record, tuple(adapter.id for adapter in adapters))
        at = {(row.channel, row.path): row.role for row in told}
        self.scan.hits += [
            Hit(
                sent,
                sighting,
                event_time(told, sighting.channel, sighting.path, record.time),
                at.get((sighting.channel, sighting.path)),
            )
            for sighting in result.sightings
        ]
        self.scan.keystrokes += [
            (Keystroke(record.time or 0.0, self._order, _place(sent, typed), typed), sent)
            for typed in result.typed
            if not sent.submits
        ]
        self.scan.signals += [
            Signal(sent, row, event_time(told, row.channel, row.path, record.time)) for row in signals
        ]
        opened = dict(zip((part.name for part in parts), trees, strict=True)) if trees else {}
        self._exhibit(record, parts, opened, result, signals)

    def _exhibit(
        self,
        record: Transmission,
        parts: list[Channel],
        trees: dict[str, Tree],
        result: Result,
        signals: list[Told],
    ) -> None:
        """Keeps this transmission in full where it is the first of its sort."""
        where = (recipient_key(record.host, record.dst), self._phase(record.time))
        named = {part.name: part for part in parts}
        wanted: list[tuple[str, tuple[str, tuple[str, ...], int, int | None]]] = []
        for one in result.sightings:
            match = one.match
            if self._exhibits.wants((where, match.canary, match.granularity, match.form, one.channel)):
                wanted.append((one.channel, (one.path, one.layers, match.offset, match.length)))
        for typed in result.typed:
            if self._exhibits.wants((where, typed.prefix.canary, typed.path), typed=True):
                wanted.append((typed.channel, (typed.path, typed.layers, 0, None)))
        for row in signals:
            if self._exhibits.wants((where, row.adapter, row.role, row.path)):
                wanted.append((row.channel, (row.path, row.layers, 0, None)))
        for channel, place in wanted:
            part = named.get(channel)
            if part and channel not in trees:
                trees[channel] = self._searcher.open([part], (), self._decoders)[0]
            if part:
                self._exhibits.keep(record, part, trees[channel], place)

    def _known_hashes(self, told: list[Told], result: Result) -> list[Sighting]:
        """Hashes too short to count but for an adapter that says that they are hashes."""
        seen = {(s.channel, s.path, s.match.canary) for s in result.sightings}
        return [
            Sighting(match, row.channel, row.path, row.layers, excerpt(row.value, match))
            for row in told
            if row.role == "hash"
            for match in self._needles.find(row.value, "url_hash")
            if (row.channel, row.path, match.canary) not in seen
        ]

    def _limited(self, record: Transmission, *limits: LimitHit) -> None:
        self.scan.limits += [
            structs.replace(limit, capture=record.capture, transmission=record.id) for limit in limits
        ]

    def _stayed_closed(self, record: Transmission, values: tuple[Closed, ...], told: list[Told]) -> None:
        counted = set()
        for channel, data in values:
            place = Place(*recipient_key(record.host, record.dst), self._phase(record.time), channel)
            stayed = self.scan.closed.setdefault(place, Stayed())
            stayed.add(data)
            if place not in counted:
                counted.add(place)
                stayed.transmissions += 1
                stayed.known = stayed.known or _known_closed(channel, told)

    def _count(self, record: Transmission) -> None:
        traffic = self.scan.recipients.setdefault(recipient_key(record.host, record.dst), Traffic())
        if record.dst and (len(traffic.ips) < _MAX_IPS or record.dst in traffic.ips):
            traffic.ips.add(record.dst)
        elif record.dst:
            self._full("addresses", f"more than {_MAX_IPS} addresses of {record.host or record.dst}")
        if isinstance(record, Tls):
            return
        phase = self._phase(record.time)
        traffic.transmissions[phase] += 1
        traffic.bytes[phase] += _size(record)
        if record.time is not None:
            traffic.note(record.time)
            traffic.first = min(record.time, traffic.first or record.time)
            traffic.last = max(record.time, traffic.last or record.time)

    def _flow(self, flow: Flow) -> None:
        host = next((names[0] for names in flow.names.values() if names), None)
        key = recipient_key(host, flow.dst)
        if flow.app:
            self.scan.apps.setdefault(key, set()).add(flow.app)

        def seen_in(phase: str | None, up: int | None, down: int | None) -> Seen:
            seen = self.scan.flows.setdefault(Sight(*key, phase, flow.observability, flow.reason), Seen())
            seen.flows += 1
            if up is not None:
                seen.bytes_up = (seen.bytes_up or 0) + up
            if down is not None:
                seen.bytes_down = (seen.bytes_down or 0) + down
            return seen

        # a connection that outlives a phase counts in each phase, with what it carried there
        for part in flow.parts:
            seen_in(part.phase, part.bytes_up, part.bytes_down)
        if not flow.parts:
            seen = seen_in(
                self._phase(flow.first if flow.first is not None else flow.time),
                flow.payload_up if flow.bytes_up is None else flow.bytes_up,
                flow.payload_down if flow.bytes_down is None else flow.bytes_down,
            )
            seen.records_up.update(flow.tls_records_up)
            seen.records_down.update(flow.tls_records_down)

    def _phase(self, time: float | None) -> str | None:
        phase = mode_at(self._experiment, time) if time is not None else None
        return phase.id if phase else None

    def _sender(self, record: AnyRecord, adapters: tuple[str, ...]) -> Sender:
        """Who sent it; a Referer tells nothing where it is known as the field that the address goes in."""
        said = sender(record)
        for adapter in (self._adapters[name] for name in adapters if said.evidence == BY_REFERER):
            if role := adapter.role_of("header:referer", ""):
                return Sender("browser", f"its Referer is known as a field for addresses: {role.reasoning}")
        return said

    def _sent(self, record: AnyTransmission, adapters: tuple[str, ...]) -> Sent:
        request = ""
        agent = b""
        submits = suggests = False
        if isinstance(record, Http):
            agent = headers_of(record).get(b"user-agent", b"")
            request = f"{record.method} {record.scheme}://{record.authority}{record.path.partition('?')[0]}"
            submits = is_submission(record)
            suggests = self._engines.suggestion(record.host or "", record.path) is not None
        elif isinstance(record, WebSocketMessage):
            request = f"WebSocket {record.url.partition('?')[0]}"
        elif isinstance(record, Dns):
            request = f"DNS query ({record.type}, {record.carrier})"
        elif isinstance(record, Tls):
            request = "TLS ClientHello"
        elif isinstance(record, MqttMessage):
            request = f"MQTT {record.topic}" if record.topic else f"MQTT to port {record.dport}"
        elif isinstance(record, Message):
            request = f"{record.transport.upper()} message to port {record.dport}"
        return Sent(
            record.id, record.capture, record.flow, str(record.__struct_config__.tag), record.time, self._order,
            record.host, record.dst, request, submits, suggests, self._sender(record, adapters), adapters, agent,
        )  # fmt: skip


def _place(sent: Sent, typed: Typed) -> tuple[str, ...]:
    """What makes keystrokes stand in the same place: recipient, endpoint, channel and path, with any index in
    a list. Of the endpoint's address, what holds the typed text itself is left out, and so is what holds
    digits: a counter or a session."""
    host, ip = recipient_key(sent.host, sent.ip)
    segments = sent.request.split("/")
    at = int(typed.path[1:]) + 2 if typed.channel == "url.path" and typed.path[1:].isdigit() else None
    shape = [
        "*" if number == at or (number > 2 and _NUMBERED.search(segment)) else segment
        for number, segment in enumerate(segments)
    ]
    return (host or ip or "", "/".join(shape), typed.channel, _INDEX.sub("[*]", typed.path))


def _known_closed(channel: str, told: list[Told]) -> str | None:
    """What an adapter knows of data that stays closed in this channel."""
    for row in told:
        if row.role == "opaque" and row.channel.partition(":")[0] == channel:
            return f"{load()[row.adapter].name}: {row.reasoning}"
    return None


def _size(record: Transmission) -> int:
    match record:
        case Http():
            heads = sum(len(name) + len(value) + 4 for name, value in record.headers)
            return len(record.method) + len(record.path) + 12 + heads + record.request_bytes
        case WebSocketMessage() | Message():
            return record.bytes
        case MqttMessage():
            return record.bytes + len((record.topic or "").encode("utf-8", "replace"))
        case Dns():
            return len(record.name) + 17
    return 0
