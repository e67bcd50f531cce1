"""The clear hellos of DTLS: records of a datagram, and handshake messages joined from fragments.

RFC 6347 (1.2), RFC 9147 (1.3, whose encrypted records are recognised and passed over). The messages
themselves are those of TLS. Must never hold more than MAX_MESSAGES unfinished messages per flow.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.protocols import tls
from audit.protocols.malformed import Malformed

MAX_MESSAGES = 16
MAX_FRAGMENTS = 64
_VERSIONS = frozenset({0xFEFF, 0xFEFD, 0xFEFC, 0x0100})


class Record(NamedTuple):
    """A DTLS record with a full header; epoch 0 is in clear."""

    kind: int
    version: int
    epoch: int
    sequence: int
    body: bytes


def starts(datagram: bytes) -> bool:
    """Whether a datagram can begin a DTLS exchange."""
    return (
        len(datagram) >= 13
        and tls.CHANGE_CIPHER_SPEC <= datagram[0] <= tls.HEARTBEAT
        and datagram[1] << 8 | datagram[2] in _VERSIONS
    )


def records(datagram: bytes) -> list[Record]:
    """The records of one datagram. Raises Malformed if it does not begin with one."""
    found: list[Record] = []
    at = 0
    while starts(datagram[at : at + 13]):
        size = datagram[at + 11] << 8 | datagram[at + 12]
        found.append(
            Record(
                datagram[at],
                datagram[at + 1] << 8 | datagram[at + 2],
                datagram[at + 3] << 8 | datagram[at + 4],
                int.from_bytes(datagram[at + 5 : at + 11], "big"),
                datagram[at + 13 : at + 13 + size],
            )
        )
        at += 13 + size
    if not found and (not datagram or datagram[0] >> 5 != 1):  # 001 begins a DTLS 1.3 ciphertext
        raise Malformed("no DTLS record header")
    return found


class Stream:
    """The clear part of one direction of a DTLS flow; a lost datagram needs no telling."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int, int], dict[int, bytes]] = {}

    def feed(self, datagram: bytes) -> list[tls.Event]:
        """What the datagram says in clear. Raises Malformed if it is no DTLS."""
        events: list[tls.Event] = []
        for record in records(datagram):
            if record.epoch == 0:
                if record.kind == tls.HANDSHAKE:
                    self._handshake(record.body, events)
                elif record.kind == tls.ALERT and len(record.body) == 2:
                    events.append(tls.Alert(record.body[0], record.body[1]))
        return events

    def _handshake(self, body: bytes, events: list[tls.Event]) -> None:
        """Fragments of one record: type, length, sequence, offset, fragment length (RFC 6347, 4.2.2)."""
        at = 0
        while at + 12 <= len(body):
            kind = body[at]
            size = int.from_bytes(body[at + 1 : at + 4], "big")
            sequence = int.from_bytes(body[at + 4 : at + 6], "big")
            offset = int.from_bytes(body[at + 6 : at + 9], "big")
            length = int.from_bytes(body[at + 9 : at + 12], "big")
            part = body[at + 12 : at + 12 + length]
            at += 12 + length
            if len(part) < length or offset + length > size or size > tls.MAX_HANDSHAKE:
                return
            if length == size:
                _message(kind, part, events)
            else:
                self._fragment((kind, sequence, size), offset, part, events)

    def _fragment(self, key: tuple[int, int, int], offset: int, part: bytes, events: list[tls.Event]) -> None:
        parts = self._parts.setdefault(key, {})
        if len(parts) < MAX_FRAGMENTS and len(part) > len(parts.get(offset, b"")):
            parts[offset] = part
        whole = b""
        for place in sorted(parts):
            if place > len(whole):
                break
            whole += parts[place][len(whole) - place :] if place + len(parts[place]) > len(whole) else b""
        if len(whole) == key[2]:
            del self._parts[key]
            _message(key[0], whole, events)
        elif len(self._parts) > MAX_MESSAGES:
            del self._parts[next(iter(self._parts))]


def _message(kind: int, body: bytes, events: list[tls.Event]) -> None:
    try:
        if kind == tls.CLIENT_HELLO:
            events.append(tls.client_hello(body, dtls=True))
        elif kind == tls.SERVER_HELLO:
            events.append(tls.server_hello(body))
        elif kind == tls.CERTIFICATE:
            events.append(tls.certificate(body))
    except Malformed:
        pass
