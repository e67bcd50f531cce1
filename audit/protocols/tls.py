"""What TLS says in clear: hello messages, certificate names, alerts.

RFC 8446 (1.3), RFC 5246 (1.2 and before), RFC 6066 (server names), RFC 7301 (ALPN), RFC 9849 (encrypted
client hello). One `Stream` reads one direction of a connection; its layers, `Records` and `Handshakes`,
stand alone for those who hold keys. Must never decrypt, nor judge a certificate. An encrypted client
hello cannot be told from a greased one by a passive observer: `ech` says the extension is there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from audit.protocols import resync
from audit.protocols.malformed import Malformed

_Reader = Callable[[bytes, int], tuple[int, ...]]

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = range(20, 25)
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE = 1, 2, 11

MAX_RECORD = (1 << 14) + 2048
MAX_HANDSHAKE = 1 << 17
MAX_NAMES = 256
MAX_CERTIFICATE = 1 << 16
_SHORT = 128  # bytes of a list of names that is kept in case it comes again

_RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The ServerHello random that means HelloRetryRequest (RFC 8446, 4.1.3)."""

_SERVER_NAME, _GROUPS, _SIGNATURES, _ALPN, _TICKET, _PSK, _EARLY_DATA, _VERSIONS = (
    0,
    10,
    13,
    16,
    35,
    41,
    42,
    43,
)
_ECH = frozenset({0xFE0D, 0xFE0A, 0xFE09, 0xFE08})
"""Encrypted client hello as standardised, and the drafts that used their own numbers."""
_TELLING = _ECH | {_SERVER_NAME, _GROUPS, _SIGNATURES, _ALPN, _TICKET, _PSK, _EARLY_DATA, _VERSIONS}
_EXTENSION: _Reader = struct.Struct(">HH").unpack_from  # its number and size


class Record(NamedTuple):
    """A TLS record as on the wire; `offset` is where its header stood in the direction's stream."""

    kind: int
    version: int
    body: bytes
    offset: int


class ClientHello(NamedTuple):
    """A ClientHello. Numbers are the registry's, in the order sent; names of protocols are latin-1.

    `psk` and `ticket` say that there is an identity of an earlier session in it (RFC 8446, 4.2.11; RFC 5077, 3.2).
    `complete` is False where it was cut: what is listed stood before the cut.
    """

    version: int
    random: bytes
    session_id: bytes
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    sni: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    groups: tuple[int, ...]
    signature_algorithms: tuple[int, ...]
    ech: bool
    psk: bool
    ticket: bool
    early_data: bool
    complete: bool


class ServerHello(NamedTuple):
    """A ServerHello; `version` is the one agreed on, `retry` a request for another ClientHello.

    `psk` says that a TLS 1.3 session is resumed; for earlier versions ask `resumed`. `compression` is the
    method chosen, 0 for none.
    """

    version: int
    random: bytes
    session_id: bytes
    cipher: int
    alpn: str | None
    psk: bool
    retry: bool
    compression: int = 0
    extensions: tuple[int, ...] = ()


class Certificate(NamedTuple):
    """The names in the first certificate of a clear Certificate message."""

    common_name: str | None
    names: tuple[str, ...]


class Alert(NamedTuple):
    """A clear alert; numbers as in RFC 8446, 6."""

    level: int
    description: int


class Sealed(NamedTuple):
    """From here on the direction is encrypted: nothing more will be told by this stream."""

    offset: int


Event = ClientHello | ServerHello | Certificate | Alert | Sealed


class Handshake(NamedTuple):
    """A handshake message without its header."""

    kind: int
    body: bytes


_HEADER: _Reader = struct.Struct(">BHH").unpack_from  # a record's kind, version and size
_MESSAGE: _Reader = struct.Struct(">BBH").unpack_from  # a message's kind and size
_CANDIDATE = re.compile(rb"(?s)[\x14-\x18]\x03[\x00-\x04][\x00-\x48]")


def starts(data: bytes) -> bool:
    """Whether bytes can begin a TLS connection: a record with a ClientHello, ServerHello or alert."""
    return (
        len(data) >= 3
        and data[1] == 3
        and data[2] <= 4
        and ((data[0] == HANDSHAKE and data[5:6] in {b"\x01", b"\x02", b""}) or data[0] == ALERT)
    )


def _measure(data: bytes, at: int) -> int:
    if len(data) < at + 5:
        return resync.MORE
    kind, version, size = _HEADER(data, at)
    if 20 <= kind <= 24 and 0x0300 <= version <= 0x0304 and 0 < size <= MAX_RECORD:
        return 5 + size
    return resync.NO


class Records:
    """Splits one direction of a connection into records; buffers one record at most.

    `skipped` counts the bytes passed over, other than those reported as lost.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._offset = 0
        self._lost = False
        self._any = False
        self._drop = 0
        self.skipped = 0

    def feed(self, data: bytes) -> list[Record]:
        """The records that are complete with these bytes.

        Raises Malformed if the very first bytes are no record; later damage is passed over.
        """
        buffer = self._buffer + data if self._buffer else data
        records: list[Record] = []
        at = min(self._drop, len(buffer))
        self._drop -= at
        self.skipped += at
        while True:
            if self._lost:
                start, found = resync.find(buffer[at:], _CANDIDATE, 5, _measure)
                at += start
                self.skipped += start
                if not found:
                    break
                self._lost = False
            if len(buffer) - at < 5:
                break
            kind, version, size = _HEADER(buffer, at)
            if not (20 <= kind <= 24 and 0x0300 <= version <= 0x0304 and 0 < size <= MAX_RECORD):
                if not self._any:
                    raise Malformed("no TLS record header")
                self._lost = True
                continue
            behind = at + 5 + size
            if behind > len(buffer):
                break
            self._any = True
            records.append(Record(kind, version, buffer[at + 5 : behind], self._offset + at))
            at = behind
        self._offset += at
        self._buffer = buffer[at:]
        return records

    @property
    def offset(self) -> int:
        """Where in the stream the next record begins."""
        return self._offset

    @property
    def begun(self) -> int:
        """The kind of the record that is not complete yet, if it is known to be one; else 0."""
        if len(self._buffer) < 5 or self._lost or not self._any:
            return 0
        return self._buffer[0]

    @property
    def missing(self) -> int:
        """How many bytes must come at least before another record can be complete."""
        if self._lost or self._drop or len(self._buffer) < 5:
            return 0
        return max(_measure(self._buffer, 0) - len(self._buffer), 0)

    def gap(self, size: int) -> int | None:
        """`size` bytes are missing here: go on behind the record they belong to, else at the next two
        records in a row. The size of the one record's body that is lost with them, 0 if that was lost
        before, None where it cannot be told which records are."""
        if size <= 0:
            return 0
        held = len(self._buffer)
        whole = _measure(self._buffer, 0) if not self._lost else resync.MORE
        body: int | None = None
        if self._drop and size <= self._drop:
            self._drop -= size
            body = 0
        elif held + size <= whole:
            self._drop = whole - held - size
            body = whole - 5
        else:
            self._drop = 0
            self._lost = True
        self.skipped += held
        self._offset += held + size
        self._buffer = b""
        self._any = True
        return body

    def finish(self) -> Record | None:
        """The stream ended: the record that was cut by it, with what there is of its body."""
        rest, self._buffer = self._buffer, b""
        if self._lost or len(rest) < 6 or _measure(rest, 0) == resync.NO:
            return None
        return Record(rest[0], rest[1] << 8 | rest[2], rest[5:], self._offset)


class Handshakes:
    """Joins the bodies of handshake records to messages. Never raises."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, body: bytes) -> list[Handshake]:
        """The messages that are complete with the next record's body."""
        buffer = self._buffer + body if self._buffer else body
        at = 0
        messages: list[Handshake] = []
        while len(buffer) - at >= 4:
            kind, high, low = _MESSAGE(buffer, at)
            behind = at + 4 + (high << 16 | low)
            if behind - at - 4 > MAX_HANDSHAKE:
                self._buffer = b""
                return messages
            if behind > len(buffer):
                break
            messages.append(Handshake(kind, buffer[at + 4 : behind]))
            at = behind
        self._buffer = buffer[at:]
        return messages

    def gap(self) -> None:
        """A record is missing: whatever was begun is dropped."""
        self._buffer = b""

    def finish(self) -> Handshake | None:
        """The message that was begun and never completed."""
        rest, self._buffer = self._buffer, b""
        return Handshake(rest[0], rest[4:]) if len(rest) > 4 else None


class Stream:
    """The clear part of one direction of a TLS connection.

    Once `sealed`, feeding more costs nothing and yields nothing.
    """

    def __init__(self) -> None:
        self._records = Records()
        self._handshakes = Handshakes()
        self._changed = False
        self.sealed = False

    def feed(self, data: bytes) -> list[Event]:
        """What is said in clear with these bytes. Raises Malformed if the first bytes are no TLS."""
        if self.sealed:
            return []
        events: list[Event] = []
        for record in self._records.feed(data):
            self._record(record, events)
            if self.sealed:
                return events
        if self._records.begun == APPLICATION_DATA:
            self.sealed = True  # what it says cannot be read, so its end need not be awaited
            self._handshakes.gap()
            events.append(Sealed(self._records.offset))
        return events

    def gap(self, size: int) -> None:
        """`size` bytes are missing here."""
        if size and not self.sealed:
            self._records.gap(size)
            self._handshakes.gap()

    def finish(self) -> list[Event]:
        """The stream ended: a hello that was cut by it, marked as not complete."""
        events: list[Event] = []
        if not self.sealed:
            if (record := self._records.finish()) and record.kind == HANDSHAKE and not self._changed:
                self._record(record, events)
            if rest := self._handshakes.finish():
                _message(rest, events)
        return events

    def _record(self, record: Record, events: list[Event]) -> None:
        kind, _, body, offset = record
        if kind == HANDSHAKE and not (self._changed and not _is_hello(body)):
            for message in self._handshakes.feed(body):
                _message(message, events)
        elif kind == ALERT and len(body) == 2 and not self._changed:
            events.append(Alert(body[0], body[1]))
        elif kind == CHANGE_CIPHER_SPEC:
            # not yet the end: in TLS 1.3 a second ClientHello may follow it (RFC 8446, D.4)
            self._changed = True
            self._handshakes.gap()
        elif kind == APPLICATION_DATA or self._changed:
            self.sealed = True
            self._handshakes.gap()
            events.append(Sealed(offset))


def _is_hello(body: bytes) -> bool:
    return body[:2] in {b"\x01\x00", b"\x02\x00"} and int.from_bytes(body[1:4], "big") + 4 == len(body)


def _message(message: Handshake, events: list[Event]) -> None:
    try:
        if message.kind == CLIENT_HELLO:
            events.append(client_hello(message.body))
        elif message.kind == SERVER_HELLO:
            events.append(server_hello(message.body))
        elif message.kind == CERTIFICATE:
            events.append(certificate(message.body))
    except Malformed:
        pass


def client_hello(body: bytes, *, dtls: bool = False) -> ClientHello:
    """Read a ClientHello without its handshake header (RFC 8446, 4.1.2; with `dtls` RFC 6347, 4.2.1).

    Raises Malformed unless the list of ciphers is there in full.
    """
    size = len(body)
    if size < 38:
        raise Malformed("a ClientHello takes more than 38 bytes")
    at = 35 + body[34]
    session = body[35:at]
    if dtls and at < size:
        at += 1 + body[at]
    if at + 2 > size:
        raise Malformed("a ClientHello cut before its ciphers")
    length = body[at] << 8 | body[at + 1]
    at += 2
    if not length or length & 1 or at + length > size:
        raise Malformed("a ClientHello cut in its ciphers, or without any")
    ciphers = _numbers(body, at, at + length)
    at += length
    end = size
    complete = at < size
    if complete:
        at += 1 + body[at]
        complete = at <= size
        if at + 2 <= size:
            end = at + 2 + (body[at] << 8 | body[at + 1])
            complete = end <= size
            end = min(end, size)
            at += 2
    extensions: list[int] = []
    sni: str | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    signatures: tuple[int, ...] = ()
    ech = psk = ticket = early = False
    while at + 4 <= end:
        kind, length = _EXTENSION(body, at)
        extensions.append(kind)
        at += 4
        if kind in _TELLING:
            last = min(at + length, end)
            if kind == _SERVER_NAME:
                sni = _server_name(body, at, last)
            elif kind == _VERSIONS:
                versions = _numbers(body, at + 1, last)
            elif kind == _GROUPS:
                groups = _numbers(body, at + 2, last)
            elif kind == _SIGNATURES:
                signatures = _numbers(body, at + 2, last)
            elif kind == _ALPN:
                alpn = _protocols(body, at + 2, last)
            elif kind == _TICKET:
                ticket = length > 0  # an empty one only asks for one
            elif kind == _PSK:
                psk = True
            elif kind == _EARLY_DATA:
                early = True
            else:
                ech = True
        at += length
    return ClientHello(
        body[0] << 8 | body[1],
        body[2:34],
        session,
        ciphers,
        tuple(extensions),
        sni,
        alpn,
        versions,
        groups,
        signatures,
        ech,
        psk,
        ticket,
        early,
        complete and at == end,
    )


def _server_name(body: bytes, at: int, end: int) -> str | None:
    """The first host name of a server_name extension (RFC 6066, 3)."""
    at += 2
    while at + 3 <= end:
        length = body[at + 1] << 8 | body[at + 2]
        if body[at] == 0:
            return body[at + 3 : min(at + 3 + length, end)].decode("latin-1")
        at += 3 + length
    return None


def _protocols(body: bytes, at: int, end: int) -> tuple[str, ...]:
    """The names of an ALPN extension (RFC 7301, 3.1)."""
    return (_names if end - at <= _SHORT else _names.__wrapped__)(body[at:end])


@lru_cache(maxsize=256)
def _names(data: bytes) -> tuple[str, ...]:
    at = 0
    names = []
    while at < len(data):
        behind = at + 1 + data[at]
        names.append(data[at + 1 : behind].decode("latin-1"))
        at = behind
    return tuple(names)


def _numbers(body: bytes, at: int, end: int) -> tuple[int, ...]:
    count = end - at >> 1
    return _reader(count)(body, at) if count > 0 else ()


@lru_cache(maxsize=256)
def _reader(count: int) -> _Reader:
    """What reads so many numbers of two bytes."""
    return struct.Struct(f">{count}H").unpack_from


def server_hello(body: bytes) -> ServerHello:
    """Read a ServerHello without its handshake header (RFC 8446, 4.1.3). Raises Malformed if cut."""
    if len(body) < 38:
        raise Malformed("a ServerHello takes 38 bytes")
    at = 35 + body[34]
    if at + 3 > len(body):
        raise Malformed("a ServerHello cut before its cipher")
    random, session = body[2:34], body[35:at]
    cipher = body[at] << 8 | body[at + 1]
    version = body[0] << 8 | body[1]
    compression = body[at + 2]
    alpn = None
    psk = False
    extensions: list[int] = []
    at += 5
    size = len(body)
    while at + 4 <= size:
        kind, length = _EXTENSION(body, at)
        extensions.append(kind)
        at += 4
        if kind == _VERSIONS and min(length, size - at) == 2:
            version = body[at] << 8 | body[at + 1]
        elif kind == _ALPN:
            alpn = next(iter(_protocols(body, at + 2, min(at + length, size))), None)
        elif kind == _PSK:
            psk = True
        at += length
    retry = random == _RETRY_RANDOM
    return ServerHello(version, random, session, cipher, alpn, psk, retry, compression, tuple(extensions))


def extension(body: bytes, wanted: int) -> bytes | None:
    """The content of one extension of a ClientHello or ServerHello; None where it is not there (in full).

    `body` is the message without its header; which of the two it is shows by its shape.
    """
    if len(body) < 38:
        return None
    at = 35 + body[34]
    for lists in (True, False):  # a ClientHello has lists of ciphers and compressions, a ServerHello one each
        place = at
        if lists:
            place += 2 + int.from_bytes(body[place : place + 2], "big")
            place += 1 + (body[place] if place < len(body) else 0)
        else:
            place += 3
        if place + 2 <= len(body) and place + 2 + int.from_bytes(body[place : place + 2], "big") == len(body):
            break
    else:
        return None
    at = place + 2
    while at + 4 <= len(body):
        kind, size = struct.unpack_from(">HH", body, at)
        if kind == wanted:
            return body[at + 4 : at + 4 + size] if at + 4 + size <= len(body) else None
        at += 4 + size
    return None


def agreed(body: bytes) -> str:
    """The protocol that EncryptedExtensions name (RFC 8446, 4.3.1; RFC 7301), "" where they name none."""
    at = 2
    while at + 4 <= len(body):
        kind, size = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        if kind == 16 and size > 3:
            return body[at + 7 : at + 4 + size].decode("latin-1")
        at += 4 + size
    return ""


def resumed(client: ClientHello, server: ServerHello) -> bool:
    """Whether the server took up an earlier session (RFC 8446, 2.2; RFC 5246, 7.3; RFC 5077, 3.4)."""
    if server.version in {0x0304, 0xFEFC}:
        return server.psk
    return bool(server.session_id) and server.session_id == client.session_id


def certificate(body: bytes) -> Certificate:
    """The names of the first certificate of a TLS ≤ 1.2 Certificate message (RFC 5246, 7.4.2).

    Raises Malformed if there is none that can be read.
    """
    if len(body) < 6:
        raise Malformed("an empty Certificate message")
    size = int.from_bytes(body[3:6], "big")
    if size > MAX_CERTIFICATE or len(body) < 6 + size:
        raise Malformed("a certificate is cut or too large")
    return _certificate(body[6 : 6 + size])


@lru_cache(maxsize=512)
def _certificate(der: bytes) -> Certificate:
    from cryptography import x509  # takes longer to import than all the rest
    from cryptography.x509.oid import ExtensionOID, NameOID

    try:
        parsed = x509.load_der_x509_certificate(der)
        common = [str(item.value) for item in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, TypeError, KeyError) as error:
        raise Malformed("a certificate that cannot be read") from error
    try:
        names = parsed.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        found = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]  # type: ignore[attr-defined]
    except (
        ValueError,
        TypeError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        found = []
    return Certificate(common[0] if common else None, tuple(found[:MAX_NAMES]))
