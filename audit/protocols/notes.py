"""What a recording notes beside the traffic: one JSON object per line of `events.jsonl`.

The addons write these lines and a source reads them; this module only turns notes into bytes and back. Times
are seconds since the Unix epoch. Every text comes off the wire and means nothing but itself. Keys may be
added; none changes its meaning. Described in docs/recording.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

MAX_LINE = 1 << 20  # bytes
Address = tuple[str, int]


class Note(Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """One thing that happened. `client` is the device's side of the connection, `server` the other."""

    time: float
    client: Address | None = None
    server: Address | None = None


class Hello(Note, frozen=True, kw_only=True):
    """What the ClientHello of a connection said. `process` is the app, where the system tells it."""

    sni: str | None = None
    alpn: tuple[str, ...] = ()
    ech: bool = False
    process: str | None = None


class Refused(Hello, frozen=True, kw_only=True, tag="refused"):
    """The client did not accept our certificate. `alert` is what it said, `how` what it did: sent an
    `alert`, `closed` during the handshake, or stayed `silent` after it, several times in a row; `failed`
    where both sides could not agree on something else."""

    how: Literal["alert", "closed", "silent", "failed"]
    alert: str = ""
    passes_next: bool = False


class Passing(Hello, frozen=True, kw_only=True, tag="passing"):
    """A connection is let through unread from now on."""

    id: str
    reason: Literal["pinned", "quic"]
    transport: Literal["tcp", "udp"] = "tcp"


class Records(Note, frozen=True, kw_only=True, tag="records"):
    """Sizes of TLS records (or UDP payloads) of a connection let through: pairs of the milliseconds since it
    began and the bytes with their header, negative where they went to the device."""

    id: str
    sizes: tuple[tuple[int, int], ...]


class Passed(Note, frozen=True, kw_only=True, tag="passed"):
    """A connection that was let through ended, having carried so many bytes."""

    id: str
    up: int
    down: int


class Quic(Hello, frozen=True, kw_only=True, tag="quic"):
    """A QUIC connection was refused, so that the app falls back to TCP."""


class PhaseMark(Note, frozen=True, kw_only=True, tag="phase"):
    """A phase began; `mode` is `end` where none did."""

    mode: Literal["idle", "normal", "private", "end"]
    setting: str = ""
    id: str = ""


class Contact(Note, frozen=True, kw_only=True, tag="contact"):
    """A device sent something for the first time in this sitting, or the self-test page was reached."""

    what: Literal["connected", "self-test-http", "self-test-https"]


class Alert(Note, frozen=True, kw_only=True, tag="alert"):
    """Something went wrong with the recording itself, such as a full disk."""

    text: str


class Sitting(Note, frozen=True, kw_only=True, tag="sitting"):
    """The recording started or stopped; `quic` is what becomes of QUIC, where the mode carries UDP."""

    what: Literal["started", "stopped"]
    mode: str = ""
    version: str = ""
    quic: Literal["", "refuse", "leave"] = ""


AnyNote = Refused | Passing | Records | Passed | Quic | PhaseMark | Contact | Alert | Sitting

_decoder = msgspec.json.Decoder(AnyNote)


def encode(note: AnyNote) -> bytes:
    """The note as one line, with its line end."""
    return msgspec.json.encode(note) + b"\n"


def decode(line: bytes) -> AnyNote:
    """The note in a line. Raises ValueError, also for a kind of note that is not known."""
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    try:
        note: AnyNote = _decoder.decode(line)
    except msgspec.DecodeError as error:  # a ValueError already; told shortly
        raise ValueError(str(error)[:200]) from None
    return note
