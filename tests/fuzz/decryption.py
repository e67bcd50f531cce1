"""Fuzz targets of what is opened with secrets: key logs, and what an authenticated peer may say inside TLS and QUIC.

Random bytes never authenticate, so these seal them: everything behind a right key is the peer's word, too.
"""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.protocols import http3, key_log, quic, quic_frames, quic_session, tls, tls_protection
from audit.protocols.key_log import Keys, Lines
from audit.protocols.malformed import Malformed
from audit.protocols.quic import Kind
from audit.protocols.tls_session import Data, Missing, Resumable, Session
from tests.fuzz.targets import Target

_RANDOM, _SECRET = bytes(range(32)), b"\x07" * 32
_KEY = tls_protection.expand(_SECRET, "key", b"", 16, "sha256")
_IV = int.from_bytes(tls_protection.expand(_SECRET, "iv", b"", 12, "sha256"), "big")
_AEAD = AESGCM(_KEY)
_LINE = b"CLIENT_RANDOM " + _RANDOM.hex().encode() + b" " + b"11" * 48 + b"\n"


def log(data: bytes) -> None:
    """A key log, in two pieces."""
    keys = Keys()
    lines = Lines(keys, "keylog")
    half = len(data) // 2
    lines.feed(data[:half])
    lines.feed(data[half:])
    lines.finish()
    assert len(keys.randoms()) <= keys.count
    whole = Keys()
    again = Lines(whole, "keylog")
    again.feed(key_log.clean(data))
    again.finish()
    assert whole.count >= keys.count or len(data) > key_log.MAX_LINE


def _hello(kind: int, body: bytes) -> bytes:
    message = bytes((kind,)) + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


_CLIENT = _hello(1, b"\x03\x03" + _RANDOM + b"\0" + b"\0\x02\x13\x01" + b"\x01\0")
_SERVER = _hello(2, b"\x03\x03" + bytes(32) + b"\0" + b"\x13\x01\0" + b"\0\x06\0\x2b\0\x02\x03\x04")


def _sealed(content: bytes, kind: int, number: int) -> bytes:
    inner = content + bytes((kind,))
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    return header + _AEAD.encrypt((_IV ^ number).to_bytes(12, "big"), inner, header)


def tls_session(data: bytes) -> None:
    """A TLS 1.3 connection: sealed records of all types, bytes that are none, and gaps."""
    keys = Keys()
    for label in (*key_log.HANDSHAKE, *key_log.TRAFFIC):
        keys.add(label, _RANDOM, _SECRET, "keylog")
    session = Session(keys, Resumable())
    session.feed(_CLIENT, False)
    session.feed(_SERVER, True)
    numbers = [0, 0]
    said, heard = 0, 0
    try:
        while len(data) > 3:
            what, size = data[0], data[1] << 8 | data[2]
            side, piece, data = what & 1, data[3 : 3 + size], data[3 + size :]
            if what & 6 == 2:
                events = session.gap(size, bool(side))
            elif what & 6 == 4:
                events = session.feed(piece, bool(side))
            else:
                numbers[side] += what >> 6
                events = session.feed(_sealed(piece, what >> 3 & 7 | 0x14, numbers[side]), bool(side))
                numbers[side] += 1
                said += len(piece)
            heard += sum(len(e.data) for e in events if isinstance(e, Data))
            assert all(e.size > 0 for e in events if isinstance(e, Missing))
    except Malformed:
        pass
    for server in (False, True):
        heard += sum(len(e.data) for e in session.finish(server) if isinstance(e, Data))
    assert heard <= said, "more was told than was sealed"


def frames(data: bytes) -> None:
    """The payload of a QUIC packet that authenticated."""
    size = 0
    for frame in quic_frames.frames(data):
        if isinstance(frame, quic_frames.Stream | quic_frames.Crypto):
            size += len(frame.data)
    assert size <= len(data)


class _Open:
    """Stands for keys that fit: what was sealed is the packet itself."""

    def __init__(self, *_: object) -> None:
        self._count = -1

    def open(self, datagram: bytes, packet: quic.Packet, _largest: int) -> tuple[int, bytes, int] | None:
        self._count += 1
        return None if datagram[:1] == b"\xff" else (self._count, datagram[packet.start : packet.end], 0)

    def updated(self) -> _Open:
        return self


def quic_packets(data: bytes) -> None:
    """The packets of a QUIC connection, as if their payloads had been opened."""
    keys = Keys()
    for label in (key_log.EARLY, *key_log.HANDSHAKE, *key_log.TRAFFIC):
        keys.add(label, _RANDOM, _SECRET, "keylog")
    session = quic_session.Session(keys, b"original")
    session.client_hello(tls.client_hello(_CLIENT[9:]))
    session.server_hello(tls.server_hello(_SERVER[9:]))
    session._under = lambda secret, *_, **__: [(_Open(), secret.origin)]  # type: ignore[assignment, method-assign, return-value, list-item]
    told = said = 0
    while len(data) > 3:
        what, size = data[0], data[1] << 8 | data[2]
        piece, data = data[3 : 3 + size], data[3 + size :]
        kind = (Kind.ONE_RTT, Kind.HANDSHAKE, Kind.ZERO_RTT)[what >> 1 & 3 if what >> 1 & 3 < 3 else 0]
        said += len(piece)
        packet = quic.Packet(kind, 1, b"", b"", b"", 0, 0, len(piece))
        told += sum(
            len(e.data)
            for e in session.packet(piece, packet, bool(what & 1))
            if isinstance(e, quic_session.Data)
        )
    told += sum(len(e.data) for e in session.finish() if isinstance(e, quic_session.Data))
    assert told <= said, "more was told than was said"


_PIECE = struct.Struct(">BBH")


def http_3(data: bytes) -> None:
    """Pieces of streams of an HTTP/3 connection."""
    connection = http3.Connection()
    while len(data) >= _PIECE.size:
        flags, stream, size = _PIECE.unpack_from(data)
        piece, data = data[4 : 4 + size], data[4 + size :]
        connection.feed(stream, bool(flags & 1), piece, size if flags & 2 else 0, bool(flags & 4))
    connection.finish()


def _piece(stream: int, flags: int, data: bytes) -> bytes:
    return _PIECE.pack(flags, stream, len(data)) + data


TARGETS = {
    "key-log": Target(log, (_LINE, b"# a comment\r\n" + _LINE.upper())),
    "tls-session": Target(
        tls_session,
        (
            b"\x18\x00\x05hello" + b"\x19\x00\x05hello" + b"\x11\x00\x05\x18\0\0\x01\0",
            b"\x02\x00\x40" + b"\x58\x00\x02hi" + b"\x04\x00\x05\x17\x03\x03\0\x20",
        ),
    ),
    "quic-session": Target(
        quic_packets,
        (
            b"\0\0\x05\x0a\0\x02hi" + b"\1\0\x06\x0e\0\x02\x02yo",
            b"\3\0\x09\x06\0\x06\x08\0\0\x02\0\0" + b"\0\0\x07\x04\0\0\x02",
        ),
    ),
    "quic-frames": Target(frames, (b"\x06\0\x02hi", b"\x0a\0\x02hi", bytes(40), b"\x02\x05\0\x01\0\0\0")),
    "http3": Target(
        http_3,
        (
            _piece(2, 0, b"\0\x04\x06\x01\x50\0\x07\x40\x64")
            + _piece(3, 1, b"\0\x04\x06\x01\x50\0\x07\x40\x64")
            + _piece(6, 0, b"\x02\x3f\xe1\x1f")
            + _piece(0, 4, b"\x01\x05\0\0\xd1\xd7\xc1\0\x02hi"),
        ),
    ),
}
