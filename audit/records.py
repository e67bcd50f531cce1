"""The nouns of the product as immutable typed records: what the rooms of the house hand to each other.

Rules: no behaviour, no I/O, no defaults that claim something ("not seen" is None, never 0 or "clean").
Times of traffic are seconds since the Unix epoch (UTC) as floats, good to a microsecond; times a person
wrote down (phases, steps) are aware datetimes. Names follow
docs/words.md; the JSON form of `Audit` is the file `findings.json` (docs/findings.schema.json).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

Mode = Literal["idle", "normal", "private", "unknown"]
ModeBy = Literal["canary", "event_time", "arrival", "unknown"]
CanaryKind = Literal["url", "term", "text", "title", "identifier"]
Action = Literal[
    "type_and_submit", "type_only", "paste", "click", "search", "visit", "download", "wait", "other"
]
Observability = Literal["observed", "metadata_only", "not_observed", "capture_failed"]
GapReason = Literal[
    "truncated", "malformed", "lost", "pinned", "ech", "quic", "no_key", "limit", "unsupported"
]
SecuredBy = Literal["cleartext", "proxy", "keylog", "dsb"]
Direction = Literal["up", "down"]
SideBy = Literal["told", "multicast", "private", "opened", "spoke_first"]
Granularity = Literal["full", "no_scheme", "no_query", "path", "host", "registrable_domain", "term", "prefix"]
Expected = Literal["visited_site", "chosen_engine"]
Origin = Literal["page", "browser", "system", "unknown"]
Severity = Literal["critical", "high", "medium", "low", "info"]
Headers = tuple[tuple[bytes, bytes], ...]
Raw = bytes  # for the records that have a member called `bytes`

# --- what the sources see ------------------------------------------------------------------------


class Record(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """One thing a source saw. `capture` is the file's name as the experiment gives it.

    `src` is the device's side, `dst` the other side, whichever of them spoke.
    """

    capture: str
    time: float | None = None
    flow: str | None = None
    src: str | None = None
    sport: int | None = None
    dst: str | None = None
    dport: int | None = None


class Transmission(Record, frozen=True, kw_only=True):
    """One unit of data on the wire. `id` is unique in its capture and the same at every reading.

    `host` is the name of the other side, lower case, without port; None where only an address is known.
    `direction` is `up` when it left the device; only those are searched.
    """

    id: str
    host: str | None = None
    direction: Direction = "up"


class Http(Transmission, frozen=True, kw_only=True, tag="http"):
    """An HTTP request and what is known of its response (RFC 9110). Bodies are as sent: content
    codings are not undone. `path` is the request target with its query. `body` of None means that a
    body was sent and not kept. `request_bytes` and `response_bytes` are the
    sizes of the bodies as sent. `response_body` is only kept where it was asked for. A request that a
    browser listed and never sent (from its cache, blocked) has the direction `down`."""

    method: str
    scheme: str
    authority: str
    path: str
    version: str
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int | None = None
    secured_by: SecuredBy = "cleartext"
    headers: Headers = ()
    body: bytes | None = b""
    response_headers: Headers = ()
    response_body: bytes | None = None
    initiator: str | None = None


class WebSocketMessage(Transmission, frozen=True, kw_only=True, tag="websocket"):
    """One WebSocket message (RFC 6455), reassembled. `url` is that of the handshake."""

    type: Literal["text", "binary"]
    bytes: int
    url: str = ""
    secured_by: SecuredBy = "cleartext"
    data: Raw = b""


class Dns(Transmission, frozen=True, kw_only=True, tag="dns"):
    """One question of a DNS message (RFC 1035) with the answers to it, if it is a response."""

    name: str
    type: str
    response: bool
    answers: tuple[str, ...] = ()
    carrier: Literal["udp", "tcp", "mdns", "llmnr", "nbns", "doh", "dot", "doq"] = "udp"


class Tls(Transmission, frozen=True, kw_only=True, tag="tls"):
    """One ClientHello (RFC 8446). `version` is the highest one offered, None where not recorded. `resumes`
    says whether it offers to go on with an earlier session, which tells the server that it is the same
    client; None where what says so is missing."""

    sni: str | None = None
    alpn: tuple[str, ...] = ()
    version: str | None = None
    ech: bool = False
    ja4: str | None = None
    transport: Literal["tls", "dtls", "quic"] = "tls"
    resumes: bool | None = None


class Message(Transmission, frozen=True, kw_only=True, tag="message"):
    """A readable TCP or UDP payload of no known protocol."""

    transport: Literal["tcp", "udp"]
    bytes: int
    data: Raw = b""


class MqttMessage(Transmission, frozen=True, kw_only=True, tag="mqtt"):
    """What a client of MQTT and its broker tell each other (OASIS, MQTT 5.0): a message published under a
    topic, a topic wished for (without content), or, without a topic, who the client says it is, or properties
    of its own."""

    topic: str | None
    bytes: int
    secured_by: SecuredBy = "cleartext"
    data: Raw = b""


class FlowPart(Struct, frozen=True, kw_only=True):
    """What of a flow fell into one phase; `phase` is None for what fell into none."""

    phase: str | None
    packets_up: int
    packets_down: int
    bytes_up: int
    bytes_down: int
    payload_up: int
    payload_down: int
    first: float | None
    last: float | None


class Flow(Record, frozen=True, kw_only=True, tag="flow"):
    """A transport connection. Packet and byte counts are None where the format does not tell them;
    `secured_by` says with what an encrypted connection was opened (`keylog`, `dsb`), None where none was.
    `bytes_*` count IP bytes, `payload_*` what TCP or UDP carried (or, from a proxy, what it read).
    `app` is the one that a list made on the device names for it.
    `tls_records_*` are the sizes of the TLS records of a connection that was let through unread.
    `side_by` says what told the device's side in a packet capture: its address as `told`, or inferred from a
    `multicast` receiver, a `private` address, who `opened` the connection, or who `spoke_first`.
    `parts` divide the counts by phase, where phases are known."""

    transport: Literal["tcp", "udp", "icmp", "other"]
    packets_up: int | None = None
    packets_down: int | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    payload_up: int | None = None
    payload_down: int | None = None
    tls_records_up: tuple[int, ...] = ()
    tls_records_down: tuple[int, ...] = ()
    first: float | None = None
    last: float | None = None
    observability: Observability = "not_observed"
    reason: str | None = None
    secured_by: SecuredBy | None = None
    names: dict[str, tuple[str, ...]] = {}
    app: str | None = None
    side_by: SideBy | None = None
    parts: tuple[FlowPart, ...] = ()


class Gap(Record, frozen=True, kw_only=True, tag="gap"):
    """Something that is there and could not be read. `offset` is in bytes from the start of the file."""

    reason: GapReason
    offset: int | None = None
    bytes: int | None = None
    detail: str = ""


class DeviceName(Record, frozen=True, kw_only=True, tag="device"):
    """What a device on the local network calls itself: `src` is its address, None where it has none yet.
    `by` is the protocol it said so in."""

    name: str
    by: Literal["dhcp", "mdns", "llmnr", "nbns", "ssdp"]


AnyTransmission = Http | WebSocketMessage | Dns | Tls | Message | MqttMessage
AnyRecord = AnyTransmission | Flow | Gap | DeviceName

# --- the experiment ------------------------------------------------------------------------------


class Device(Struct, frozen=True, kw_only=True):
    """What was audited. `addresses` are its IP addresses in packet captures."""

    name: str = ""
    addresses: tuple[str, ...] = ()


class Browser(Struct, frozen=True, kw_only=True):
    name: str = ""
    version: str = ""


class Phase(Struct, frozen=True, kw_only=True):
    """A time interval with a mode. `start` of None: planned, not begun; `end` of None: still running."""

    id: str
    mode: Literal["idle", "normal", "private"]
    setting: str = "default"
    start: datetime | None = None
    end: datetime | None = None


class Canary(Struct, frozen=True, kw_only=True):
    """A planted value; a `decoy` was generated and never used."""

    id: str
    kind: CanaryKind
    value: str
    phase: str | None = None
    decoy: bool = False


class Step(Struct, frozen=True, kw_only=True):
    """One thing done on the device, or, as long as `at` is None, to be done. `phase` says in which phase
    where no canary does."""

    at: datetime | None = None
    action: Action
    canary: str | None = None
    phase: str | None = None
    note: str = ""


class Experiment(Struct, frozen=True, kw_only=True):
    """The content of `experiment.toml`. Paths in `captures` and `keys` are relative to its folder."""

    schema: int = 1
    captures: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    device: Device = Device()
    browser: Browser = Browser()
    phases: tuple[Phase, ...] = ()
    canaries: tuple[Canary, ...] = ()
    steps: tuple[Step, ...] = ()


# --- decoding and detection ----------------------------------------------------------------------


class Field(Struct, frozen=True, kw_only=True):
    """A value reached by decoding.

    `path` says where it lies in the innermost structure (JSONPath-like; "" where there is none),
    `layers` the decode chain, outermost first. `offset` is where its encoded form begins in the data
    of the field `parent` (its index in the same tree, None at the root), `length` how long that form is;
    None where it cannot be told.
    `opaque` is true for data that nothing could open and that does not read as text.
    """

    path: str
    layers: tuple[str, ...]
    data: bytes
    offset: int | None = 0
    length: int | None = None
    parent: int | None = None
    opaque: bool = False


class LimitHit(Struct, frozen=True, kw_only=True):
    """A bound that stopped the work on a transmission: what was not looked at is unknown."""

    bound: Literal["depth", "bytes", "ratio", "time", "fields", "matches"]
    detail: str
    capture: str = ""
    transmission: str = ""


class Match(Struct, frozen=True, kw_only=True):
    """One needle found in one field. `offset` counts bytes in the field's data; `part` says which part
    of an address stands there without its host, and `weak` is true where that part is too plain to count alone;
    `written` how bytes are written there, where that was no layer that unfolding took off."""

    canary: str
    granularity: Granularity
    form: str
    offset: int
    length: int
    part: Literal["", "path", "query", "both"] = ""
    weak: bool = False
    written: Literal["", "base64", "base64url", "decimal", "hex"] = ""


class Occurrence(Struct, frozen=True, kw_only=True):
    """One place in one transmission where a value was found. `offset` counts bytes in the data that
    the last layer yielded (the innermost field)."""

    time: str | None
    mode_by: ModeBy
    capture: str
    transmission: str
    channel: str
    path: str
    layers: tuple[str, ...]
    offset: int
    form: str
    excerpt: str
    granularity: Granularity
    request: str = ""
    origin: Origin = "unknown"
    origin_evidence: str = ""


# --- recipients ----------------------------------------------------------------------------------


class Recipient(Struct, frozen=True, kw_only=True):
    """Who receives. Unknown is None. `country_located` is where the address is said to be,
    `country_registered` where its block is registered (ISO 3166-1 alpha-2)."""

    host: str | None = None
    registrable_domain: str | None = None
    organisation: str | None = None
    category: str | None = None
    ip: str | None = None
    asn: int | None = None
    as_name: str | None = None
    country_located: str | None = None
    country_registered: str | None = None
    product: str | None = None
    evidence: str | None = None


class DataSource(Struct, frozen=True, kw_only=True):
    """A third-party data set the product ships. `date` is that of the data, ISO 8601."""

    name: str
    licence: str
    date: str
    attribution: str
    url: str


# --- findings.json -------------------------------------------------------------------------------


class Identifier(Struct, frozen=True, kw_only=True):
    """A persistent identifier sent together with a finding."""

    name: str
    value: str
    kind: str


class Layer(Struct, frozen=True, kw_only=True):
    """One step on the way to a value: what undoing `layer` yielded ("": the data as sent), how many bytes
    that is, and the value, or its coded form, with some of what stands around it. `path` is the place in
    the structure reached so far."""

    layer: str
    path: str
    before: str
    value: str
    after: str
    bytes: int


class Exhibit(Struct, frozen=True, kw_only=True):
    """One transmission of a finding as it was sent, and the layers down to the value, outermost first.
    Long texts are cut, which an ellipsis says; `body_bytes` is the size of the whole body."""

    capture: str
    transmission: str
    channel: str
    request: str
    headers: tuple[tuple[str, str], ...]
    body: str
    body_bytes: int
    layers: tuple[Layer, ...]


class Finding(Struct, frozen=True, kw_only=True):
    """One statement of fact: leak type × recipient × mode × setting × canary or inferred value.
    Only a finding whose `expected` is None is a leak. `exhibit` shows the first of the occurrences that
    hold most of the value in full."""

    id: str
    leak_type: str
    severity: Severity
    mode: Mode
    setting: str | None
    expected: Expected | None
    origin: Origin
    recipient: Recipient
    canary: str | None
    inferred: str | None
    granularity: Granularity
    identifiers: tuple[Identifier, ...]
    explanation: str | None
    occurrences: tuple[Occurrence, ...]
    exhibit: Exhibit | None = None


class DeviceSeen(Struct, frozen=True, kw_only=True):
    """An address on the local network and what its device called itself there, by protocol. `audited` says
    whether it is that of the experiment's device; None where the experiment names no address."""

    address: str | None
    names: dict[str, tuple[str, ...]]
    audited: bool | None


class CaptureSummary(Struct, frozen=True, kw_only=True):
    """One analysed file. `records` counts what the source saw, by kind."""

    name: str
    format: str
    sha256: str
    records: dict[str, int]


class Activity(Struct, frozen=True, kw_only=True):
    """When transmissions left: `counts` are of spans of `width` seconds, each named by its start in seconds
    since the epoch, in order of time."""

    width: int
    counts: tuple[tuple[int, int], ...]


class PhaseTraffic(Struct, frozen=True, kw_only=True):
    """What went to one recipient in one phase (None: outside all of them)."""

    phase: str | None
    mode: Mode
    transmissions: int
    bytes_up: int


class RecipientSummary(Struct, frozen=True, kw_only=True):
    """One recipient and what went there. Counts are of transmissions that left the device, by mode;
    `bytes_up` counts what was sent (requests, messages), by mode; `phases` tells both for each phase that
    something was sent in, null standing for the time outside all of them. `apps` are those that a list made
    on the device names for flows to this recipient."""

    recipient: Recipient
    ips: tuple[str, ...]
    transmissions: dict[str, int]
    bytes_up: dict[str, int]
    first: str | None
    last: str | None
    findings: tuple[str, ...]
    apps: tuple[str, ...] = ()
    activity: Activity | None = None
    phases: tuple[PhaseTraffic, ...] = ()


class RecordSizes(Struct, frozen=True, kw_only=True):
    """TLS records in one direction: how many, and their sizes in bytes."""

    count: int
    smallest: int
    median: int
    largest: int


class CoverageEntry(Struct, frozen=True, kw_only=True):
    """How well the flows to one recipient in one mode could be seen. Byte counts are None where no
    capture told them; record sizes are those of connections let through unread."""

    host: str | None
    ip: str | None
    mode: Mode
    observability: Observability
    reason: str | None
    flows: int
    bytes_up: int | None
    bytes_down: int | None
    tls_records_up: RecordSizes | None = None
    tls_records_down: RecordSizes | None = None

    @property
    def partly(self) -> bool:
        """Whether the flows were read, but not wholly."""
        return self.observability == "observed" and self.reason in ("lost", "read in part")


class GapSummary(Struct, frozen=True, kw_only=True):
    """Gaps of one capture, alike in reason and detail, counted."""

    capture: str
    reason: GapReason
    detail: str
    count: int
    offset: int | None
    bytes: int | None


class OpaqueEntry(Struct, frozen=True, kw_only=True):
    """Data to one recipient in one mode and channel that nothing could open: in how many transmissions, how
    many values, their bytes together, the largest, and the entropy of all of them in bits per byte (0 to
    8; what is encrypted or compressed has nearly 8 if there is enough of it). `explanation` is what an
    adapter knows of it."""

    host: str | None
    ip: str | None
    mode: Mode
    channel: str
    transmissions: int
    values: int
    bytes: int
    largest: int
    entropy: float
    explanation: str | None


class Coverage(Struct, frozen=True, kw_only=True):
    """What was and was not seen. What was not seen, or not opened, is unknown, never clean."""

    flows: tuple[CoverageEntry, ...]
    gaps: tuple[GapSummary, ...]
    statements: tuple[str, ...]
    opaque: tuple[OpaqueEntry, ...] = ()


class Trials(Struct, frozen=True, kw_only=True):
    """n of N trials in which the verdict's finding was made."""

    n: int
    of: int


class Verdict(Struct, frozen=True, kw_only=True):
    """The statement made about one mode and setting, with the findings it rests on."""

    mode: Mode
    setting: str | None
    answer: Literal["leak", "no_leak_seen", "unknown"]
    statement: str
    findings: tuple[str, ...]
    trials: Trials


class Run(Struct, frozen=True, kw_only=True):
    """The only part of `findings.json` that may differ between two runs on the same input. `salt` is made
    by chance: without it nobody computes the mark of a masked value."""

    started: str
    seconds: float
    python: str
    platform: str
    salt: str = ""


class Tool(Struct, frozen=True, kw_only=True):
    name: str
    version: str


class EncryptedDns(Struct, frozen=True, kw_only=True):
    """Names asked of one resolver in one mode over an encrypted connection that could be read: how many
    questions, how many different names, and the first of these in their order."""

    host: str | None
    ip: str | None
    carrier: str
    mode: Mode
    questions: int
    distinct: int
    names: tuple[str, ...]


class Audit(Struct, frozen=True, kw_only=True):
    """The whole result: the content of `findings.json`."""

    schema: int
    tool: Tool
    run: Run
    experiment: Experiment
    captures: tuple[CaptureSummary, ...]
    recipients: tuple[RecipientSummary, ...]
    findings: tuple[Finding, ...]
    coverage: Coverage
    verdicts: tuple[Verdict, ...]
    limits: tuple[LimitHit, ...]
    data_sources: tuple[DataSource, ...]
    devices: tuple[DeviceSeen, ...] = ()
    encrypted_dns: tuple[EncryptedDns, ...] = ()
