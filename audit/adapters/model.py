"""The shape of endpoint knowledge: what an adapter file may say, and the adapter that answers from it.

An adapter is a declaration: how to recognise requests to one endpoint, whose it is and what for, and which
decoded field holds what, each with its source. Paths are those of decoded fields (`audit.records.Field`):
`$[*].properties.url` in JSON (`[*]` any index, `$..a.b` at any depth), a plain name in forms and cookies (a
final `*` stands for any ending), field numbers such as `2.3.2` in protobuf, "" where there is no structure.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from audit.decoding.keyed import Decoder, parse

Kind = Literal[
    "account", "advertising", "analytics", "attribution", "captive_portal", "configuration", "crash", "doh",
    "error_logging", "favicon", "ocsp", "page_hints", "push", "safe_browsing", "search", "site_check",
    "suggestions", "sync", "telemetry", "time", "translation", "update",
]  # fmt: skip
Role = Literal[
    "visited_url", "referrer", "title", "search_term", "typed_text", "host", "identifier", "account", "ad_id",
    "install_id", "session_id", "hardware_id", "event_time", "private_flag", "event_name", "usage", "dwell",
    "click", "hash", "hash_prefix", "opaque",
]  # fmt: skip
Unit = Literal["s", "ms", "us"]
Fingerprint = Literal[
    "sensors", "sensors_encrypted", "ocsp", "dns_query", "sentry", "ut_envelope", "measurement"
]

_INDEX = re.compile(r"\[\d+\]")


class FieldRole(msgspec.Struct, frozen=True):
    """What a decoded field holds, and why that is known. `unit` is that of an `event_time`, counted from
    the Unix epoch, or of a `dwell`."""

    role: Role
    reasoning: str
    unit: Unit | None = None


class FieldRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fields of one role: every path in every channel."""

    channels: tuple[str, ...]
    role: Role
    reasoning: str
    paths: tuple[str, ...] = ("",)
    unit: Unit | None = None


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to recognise a request: all that is said must hold.

    hosts: the host is one of these or ends with one of these (by label). Without hosts the rule holds for
    any host and needs `last_segments` (the end of the path), `media` or `fingerprint`.
    path: a regular expression for the whole path without its query. methods, query (names of parameters),
    headers (names): as sent. body: texts that all stand within the first 64 kB of the body.
    """

    hosts: tuple[str, ...] = ()
    path: str = ""
    methods: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    last_segments: tuple[str, ...] = ()
    fingerprint: Fingerprint | None = None


class Decode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keyed layers of the endpoint, in the language of `audit.decoding.keyed`. They open data anywhere in the
    request, and only where what they yield means something, so that several may be told where it is not
    known which one it is. Not enabled: kept for those who can check it."""

    specs: tuple[str, ...]
    reasoning: str
    enabled: bool = True


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field whose format is known and does not show: what the field at `path` holds, once all that shows
    was opened, is of this media type, such as `application/x-protobuf`."""

    channel: str
    path: str
    media: str
    reasoning: str


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that the example holds, and where decoding must find it."""

    channel: str
    path: str
    role: Role
    value: str


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A made-up request kept beside the knowledge it proves.

    `finds` must be found. With `recognised = false` it is a near miss: the adapter must not take it.
    `without` names roles that no field of it may have.
    """

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    body: str = ""
    body_base64: str = ""
    recognised: bool = True
    finds: tuple[Found, ...] = ()
    without: tuple[Role, ...] = ()


class _Rows(NamedTuple):
    """The fields of one channel: whole paths, ends of paths by their last step, beginnings."""

    exact: dict[str, FieldRole]
    endings: dict[str, list[tuple[str, FieldRole]]]
    beginnings: list[tuple[str, FieldRole]]


class Adapter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Knowledge of one endpoint. `feature` says in a few words what it is for where that is harmless or
    expected; `private_by_design` marks those that are built to carry no address in clear."""

    id: str
    name: str
    organisation: str
    kind: Kind
    source: str
    match: tuple[Match, ...]
    feature: str = ""
    private_by_design: bool = False
    decode: tuple[Decode, ...] = ()
    known: tuple[Known, ...] = ()
    fields: tuple[FieldRow, ...] = ()
    example: tuple[Example, ...] = ()

    def role_of(self, channel: str, path: str, layers: tuple[str, ...] = ()) -> FieldRole | None:  # noqa: ARG002
        """What the field at that place holds; None where nothing is known of it. (No adapter needs the
        layers yet to tell two fields apart; those who ask have them.)"""
        rows = self._by_channel.get(channel)
        if rows is None:
            return None
        if path in rows.exact:
            return rows.exact[path]
        if "[" in path:
            path = _INDEX.sub("[*]", path)
            if path in rows.exact:
                return rows.exact[path]
        if path.startswith("$"):
            for ending, role in rows.endings.get(path[path.rfind(".") :], ()):
                if path.endswith(ending):
                    return role
        for beginning, role in rows.beginnings:
            if path.startswith(beginning):
                return role
        return None

    @cached_property
    def decoders(self) -> tuple[Decoder, ...]:
        """The keyed layers that are enabled. Raises SpecificationError where one cannot be read."""
        return tuple(parse(spec) for decode in self.decode if decode.enabled for spec in decode.specs)

    @cached_property
    def _by_channel(self) -> dict[str, _Rows]:
        table: dict[str, _Rows] = {}
        for row in self.fields:
            role = FieldRole(row.role, row.reasoning, row.unit)
            for channel in row.channels:
                rows = table.setdefault(channel, _Rows({}, {}, []))
                for path in row.paths:
                    if path.startswith("$.."):
                        rows.endings.setdefault(path[path.rfind(".") :], []).append((path[2:], role))
                    elif path.endswith("*") and not path.endswith("[*]"):
                        rows.beginnings.append((path[:-1], role))
                    else:
                        rows.exact.setdefault(path, role)
        return table
