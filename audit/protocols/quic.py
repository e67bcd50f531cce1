"""QUIC packets: headers, packet protection, and the ClientHello of Initial packets.

RFC 9000 (packets, frames), RFC 9001 (protection), RFC 9369 (version 2), RFC 8999 (what all versions
share), and the drafts 22 to 34 that captures still hold, with the numbers that Facebook's and Google's
stacks gave to theirs. Three layers that stand alone: `packets` splits a datagram, `Protection` opens a
packet with any secret, `Initials` joins what the Initial packets of one flow say. Must never believe
a packet that does not authenticate.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from audit.protocols.malformed import Malformed
from audit.protocols.quic_frames import integer

MAX_CRYPTO = 1 << 16
MAX_CONNECTIONS = 8
MAX_PARTS = 256
MAX_PACKETS = 16

V1: Final = 0x00000001
V2: Final = 0x6B3343CF

_SALT_V1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001, 5.2
_SALT_V2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")  # RFC 9369, 3.3.1
_SALT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")  # draft-ietf-quic-tls-29, 5.2
_SALT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")  # draft-ietf-quic-tls-23, 5.2
_SALT_22 = bytes.fromhex("7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a")  # draft-ietf-quic-tls-22, 5.2
_SALT_T050 = bytes.fromhex("7ff579e5acd072915580304c43a2367c60488310")  # Chromium, quic_versions
_SALT_T051 = bytes.fromhex("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d")
_SALT_Q050 = bytes.fromhex("504574efd066fe2f9d945cfcdbd3a7f0d3b56b45")

SALTS: Final[dict[int, bytes]] = {
    V1: _SALT_V1,
    V2: _SALT_V2,
    **{0xFF000000 + draft: _SALT_29 for draft in range(29, 33)},
    0xFF000021: _SALT_V1,
    0xFF000022: _SALT_V1,
    **{0xFF000000 + draft: _SALT_23 for draft in range(23, 29)},
    0xFF000015: _SALT_22,
    0xFF000016: _SALT_22,
    0xFACEB001: _SALT_22,
    0xFACEB002: _SALT_23,
    0x54303530: _SALT_T050,
    0x54303531: _SALT_T051,
    0x51303530: _SALT_Q050,
}
"""Salt of the Initial keys per version; other versions cannot be read."""

_GOOGLE = frozenset({0x54303530, 0x54303531, 0x51303530})
"""Versions that gave CRYPTO frames the number 8."""


class Kind(IntEnum):
    """What a packet is, whatever number its version gives to that."""

    INITIAL = 0
    ZERO_RTT = 1
    HANDSHAKE = 2
    RETRY = 3
    NEGOTIATION = 4
    ONE_RTT = 5


# read for every packet, and a member of an enumeration is slow to come by in Python 3.11
_INITIAL, _RETRY, _NEGOTIATION, _ONE_RTT = Kind.INITIAL, Kind.RETRY, Kind.NEGOTIATION, Kind.ONE_RTT
_KINDS_V1 = (Kind.INITIAL, Kind.ZERO_RTT, Kind.HANDSHAKE, Kind.RETRY)
_KINDS_V2 = (Kind.RETRY, Kind.INITIAL, Kind.ZERO_RTT, Kind.HANDSHAKE)


class Packet(NamedTuple):
    """One packet of a datagram: from `start`, its packet number (still masked) at `number`, to `end`."""

    kind: Kind
    version: int
    dcid: bytes
    scid: bytes
    token: bytes
    start: int
    number: int
    end: int


def starts(datagram: bytes) -> bool:
    """Whether a datagram begins with a long header of a version known here."""
    return len(datagram) >= 20 and datagram[0] >= 0x80 and int.from_bytes(datagram[1:5], "big") in SALTS


def packets(datagram: bytes, *, dcid_size: int = 0) -> list[Packet]:
    """Split a datagram into its coalesced packets (RFC 9000, 12.2 and 17).

    A packet with a short header reaches to the end; its connection id has `dcid_size` bytes.
    Raises Malformed if the first packet cannot be read; later rubbish is padding.
    """
    found: list[Packet] = []
    at = 0
    while at < len(datagram) and len(found) < MAX_PACKETS:
        try:
            packet = _packet(datagram, at, dcid_size)
        except (Malformed, IndexError):
            if not found:
                raise Malformed("no QUIC packet header") from None
            break
        found.append(packet)
        at = packet.end
    if not found:
        raise Malformed("an empty datagram")
    return found


def _packet(data: bytes, start: int, dcid_size: int) -> Packet:
    first = data[start]
    if first < 0x80:
        if not first & 0x40:
            raise Malformed("the fixed bit of a QUIC packet is not set")
        number = start + 1 + dcid_size
        return Packet(_ONE_RTT, 0, data[start + 1 : number], b"", b"", start, number, len(data))
    version = int.from_bytes(data[start + 1 : start + 5], "big")
    at = start + 6 + data[start + 5]
    dcid = data[start + 6 : at]
    behind = at + 1 + data[at]
    scid = data[at + 1 : behind]
    at = behind
    if at > len(data):
        raise Malformed("a QUIC connection id is cut")
    if version == 0:
        return Packet(_NEGOTIATION, 0, dcid, scid, b"", start, at, len(data))
    if len(dcid) > 20 or len(scid) > 20:
        raise Malformed("a QUIC connection id is longer than 20 bytes")
    kind = (_KINDS_V2 if version == V2 else _KINDS_V1)[first >> 4 & 3]
    if kind is _RETRY:
        return Packet(kind, version, dcid, scid, data[at:-16], start, at, len(data))
    token = b""
    if kind is _INITIAL:
        size, at = integer(data, at)
        if size:
            token = data[at : at + size]
            at += size
    size, at = integer(data, at)
    if size < 20 and size + at > len(data):
        raise Malformed("a QUIC packet is cut")
    return Packet(kind, version, dcid, scid, token, start, at, min(at + size, len(data)))


def offered(datagram: bytes, packet: Packet) -> tuple[int, ...]:
    """The versions that a version negotiation packet lists."""
    count = packet.end - packet.number >> 2
    return struct.unpack_from(f">{count}I", datagram, packet.number)


AES_128, AES_256, CHACHA20 = 0x1301, 0x1302, 0x1303
_SUITES: Final[dict[int, tuple[int, str]]] = {
    AES_128: (16, "sha256"),
    AES_256: (32, "sha384"),
    CHACHA20: (32, "sha256"),
}


def expand_label(secret: bytes, label: str, size: int, hash_: str = "sha256") -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446, 7.1), for at most one hash's length: one HMAC."""
    info = _info(label, size)
    return (_hmac_sha256(secret, info) if hash_ == "sha256" else hmac.digest(secret, info, hash_))[:size]


@lru_cache(maxsize=64)
def _info(label: str, size: int) -> bytes:
    """What HKDF-Expand-Label feeds to HMAC for its first block."""
    name = b"tls13 " + label.encode()
    return struct.pack(">HB", size, len(name)) + name + b"\0\1"


_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def _hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC (RFC 2104) with a key of at most 64 bytes. Five of these are a good part of what a connection
    costs, and the library's call spends more time on looking the hash up than on hashing."""
    key = key.ljust(64, b"\0")
    return sha256(key.translate(_OUTER) + sha256(key.translate(_INNER) + message).digest()).digest()


class Protection:
    """Opens the packets that one secret protects (RFC 9001, 5)."""

    __slots__ = ("_aead", "_chacha", "_ecb", "_iv", "_secret", "_suite", "_version")

    def __init__(self, secret: bytes, version: int = V1, suite: int = AES_128) -> None:
        """`suite` is the TLS cipher suite. Raises Malformed for one that QUIC does not use."""
        if suite not in _SUITES:
            raise Malformed(f"no QUIC cipher suite: {suite:#06x}")
        size, hash_ = _SUITES[suite]
        if len(secret) != (48 if hash_ == "sha384" else 32):
            raise Malformed("a secret that is not of its suite's size")
        self._secret, self._version, self._suite = secret, version, suite
        prefix = "quicv2" if version == V2 else "quic"
        key = expand_label(secret, f"{prefix} key", size, hash_)
        mask_key = expand_label(secret, f"{prefix} hp", size, hash_)
        self._iv = int.from_bytes(expand_label(secret, f"{prefix} iv", 12, hash_), "big")
        self._aead = ChaCha20Poly1305(key) if suite == CHACHA20 else AESGCM(key)
        self._chacha = mask_key if suite == CHACHA20 else b""
        self._ecb = None if self._chacha else Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor()  # noqa: S305 - what 5.4.3 prescribes

    def updated(self) -> Protection:
        """That of the next key phase; the header protection stays as it is (RFC 9001, 6.1)."""
        label = "quicv2 ku" if self._version == V2 else "quic ku"
        hash_ = _SUITES[self._suite][1]
        after = Protection(
            expand_label(self._secret, label, len(self._secret), hash_), self._version, self._suite
        )
        after._chacha, after._ecb = self._chacha, self._ecb
        return after

    def mask(self, sample: bytes) -> bytes:
        """The header protection mask for a sample of 16 bytes (RFC 9001, 5.4)."""
        if self._ecb is not None:
            return self._ecb.update(sample)
        return Cipher(algorithms.ChaCha20(self._chacha, sample), None).encryptor().update(bytes(5))

    def open(self, datagram: bytes, packet: Packet, largest: int = -1) -> tuple[int, bytes, int] | None:
        """Packet number, frames and first byte of a packet, or None if it does not authenticate.

        `largest` is the highest packet number already seen in this space (RFC 9000, A.3).
        """
        start, at, end = packet[5:]
        sample = datagram[at + 4 : at + 20]
        if len(sample) < 16 or at + 20 > end:
            return None
        mask = self._ecb.update(sample) if self._ecb is not None else self.mask(sample)
        first = datagram[start]
        first ^= mask[0] & (0x0F if first >= 0x80 else 0x1F)
        size = (first & 3) + 1
        number = int.from_bytes(datagram[at : at + size], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        header = b"%c%b%b" % (first, datagram[start + 1 : at], number.to_bytes(size, "big"))
        if largest > 126:  # before that, every number is sent whole
            number = _recover(number, size * 8, largest + 1)
        nonce = (self._iv ^ number).to_bytes(12, "big")
        try:
            return number, self._aead.decrypt(nonce, datagram[at + size : end], header), first
        except InvalidTag:
            return None


def _recover(number: int, bits: int, expected: int) -> int:
    """The full packet number nearest to the one expected (RFC 9000, A.3)."""
    window = 1 << bits
    candidate = expected & -window | number
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


@lru_cache(maxsize=256)
def _initial_secret(version: int, dcid: bytes) -> bytes:
    """The secret both sides' Initial keys come from; Malformed for an unknown version (RFC 9001, 5.2)."""
    salt = SALTS.get(version)
    if salt is None:
        raise Malformed(f"no QUIC version known here: {version:#010x}")
    return _hmac_sha256(salt, dcid)


@lru_cache(maxsize=256)
def initial_protection(version: int, dcid: bytes, server: bool) -> Protection:
    """The Initial keys of one side. `dcid` is the one of the client's first Initial, or after a Retry
    the one that gave. Raises Malformed for a version not in SALTS."""
    label = "server in" if server else "client in"
    return Protection(expand_label(_initial_secret(version, dcid), label, 32), version)


def crypto_frames(frames: bytes, version: int = V1) -> Iterator[tuple[int, bytes]]:
    """Offset and data of each CRYPTO frame of an Initial or Handshake packet (RFC 9000, 12.4 and 19).

    Stops at the first frame that may not stand there.
    """
    crypto = 8 if version in _GOOGLE else 6
    at = 0
    size = len(frames)
    while at < size:
        kind = frames[at]
        try:
            if kind == crypto:
                offset, at = integer(frames, at + 1)
                length, at = integer(frames, at)
                yield offset, frames[at : at + length]
                at += length
            elif kind == 0:  # padding is long: step over all of it at once
                at = size - len(frames[at:].lstrip(b"\0"))
            elif kind == 1:
                at += 1
            elif kind in {2, 3}:
                at = _behind_ack(frames, at)
            else:
                return
        except IndexError:
            return


def _behind_ack(frames: bytes, at: int) -> int:
    """The offset behind an ACK frame (RFC 9000, 19.3)."""
    counts = frames[at] == 3
    _, at = integer(frames, at + 1)
    _, at = integer(frames, at)
    ranges, at = integer(frames, at)
    for _ in range(1 + 2 * min(ranges, len(frames)) + (3 if counts else 0)):
        _, at = integer(frames, at)
    return at


class CryptoStream:
    """Joins CRYPTO frames in any order; holds MAX_CRYPTO bytes at most and never raises."""

    __slots__ = ("_parts", "data")

    def __init__(self) -> None:
        self.data = b""
        """What is there without a hole, from the start."""
        self._parts: dict[int, bytes] = {}

    def join(self, pieces: list[tuple[int, bytes]]) -> bool:
        """Take in the frames of a packet, which mostly make up a whole in some order; True if `data` grew."""
        ordered = sorted(pieces)
        end = len(self.data)
        for offset, data in ordered:
            if offset != end:
                break
            end += len(data)
        else:
            if not self._parts and len(pieces) <= MAX_PARTS and end <= MAX_CRYPTO:
                grew = end > len(self.data)
                self.data += b"".join([data for _, data in ordered])
                return grew
        grew = False
        for offset, data in pieces:
            grew = self.add(offset, data) or grew
        return grew

    def add(self, offset: int, data: bytes) -> bool:
        """Take a frame in; True if `data` grew."""
        if offset + len(data) > MAX_CRYPTO or not data:
            return False
        have = len(self.data)
        if offset > have:
            if len(self._parts) < MAX_PARTS and len(data) > len(self._parts.get(offset, b"")):
                self._parts[offset] = data
            return False
        if offset + len(data) <= have:
            return False
        self.data += data[have - offset :]
        for place in sorted(self._parts):
            if place > len(self.data):
                break
            part = self._parts.pop(place)
            self.data += part[len(self.data) - place :] if place + len(part) > len(self.data) else b""
        return True


class Hello(NamedTuple):
    """A handshake message that stood in Initial packets: `kind` and `body` as TLS has them.

    `origin` is the connection id that the client's first Initial was sent to.
    """

    version: int
    origin: bytes
    server: bool
    kind: int
    body: bytes


class Retry(NamedTuple):
    """The server asks the client to start again with another connection id and a token."""

    version: int
    scid: bytes


class Negotiation(NamedTuple):
    """The server names the versions it speaks."""

    versions: tuple[int, ...]


Event = Hello | Retry | Negotiation


class _Connection:
    """What is known of one connection: where its keys come from, and both sides' CRYPTO streams.

    After a Retry the keys change and everything else goes on (RFC 9001, 5.2), except with clients that say
    another hello then.
    """

    __slots__ = ("client", "ids", "keys", "largest", "origin", "read", "streams", "version")

    def __init__(
        self, version: int, keys: bytes, client: bytes = b"", before: _Connection | None = None
    ) -> None:
        self.version = version
        self.keys = keys
        self.client: bytes = before.client if before else client
        self.ids: set[bytes] = {keys}
        self.origin: bytes = before.origin if before else keys
        self.streams: list[CryptoStream] = before.streams if before else [CryptoStream(), CryptoStream()]
        self.read: list[int] = before.read if before else [0, 0]
        self.largest: list[int] = before.largest if before else [-1, -1]

    def take(self, packet: Packet, side: int, opened: tuple[int, bytes, int], events: list[Event]) -> bool:
        """Take in a packet that `side` sent; True if others that could not be opened before may be now."""
        number, frames, _ = opened
        news = False
        if number > self.largest[side]:
            self.largest[side] = number
            news = number > 126  # from then on, short packet numbers mean something else
        if (scid := packet.scid) and scid not in self.ids and len(self.ids) < MAX_PACKETS:
            self.ids.add(scid)
            news = True
        pieces = list(crypto_frames(frames, packet.version))
        if side or self.keys == self.origin:
            grew = self.streams[side].join(pieces)
        else:
            grew = self._after_retry(pieces)
        if grew:
            self._hellos(side, events)
        return news

    def _after_retry(self, pieces: list[tuple[int, bytes]]) -> bool:
        """The client goes on, or says another hello; True if there is more to read."""
        grew = False
        for offset, data in pieces:
            if not offset and _differs(self.streams[0].data, data):
                self.streams[0] = CryptoStream()
                self.read[0] = 0
            grew = self.streams[0].add(offset, data) or grew
        return grew

    def _hellos(self, side: int, events: list[Event]) -> None:
        """Tell the messages that are complete now."""
        data = self.streams[side].data
        at = self.read[side]
        while at + 4 <= len(data):
            behind = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
            if behind > len(data):
                break
            events.append(Hello(self.version, self.origin, bool(side), data[at], data[at + 4 : behind]))
            at = self.read[side] = behind


def _differs(said: bytes, again: bytes) -> bool:
    size = min(len(said), len(again))
    return said[:size] != again[:size]


class Initials:
    """The Initial packets of one UDP flow. Datagrams may come in any order; lost ones need no telling.

    A packet that nothing opens is tried again once there are `_news`: keys, ids, or high packet numbers.
    """

    def __init__(self) -> None:
        self._connections: list[_Connection] = []
        self._early: list[bytes] = []
        self._news = False

    def feed(self, datagram: bytes) -> list[Event]:
        """What a datagram says; from which side it came shows by the key that opens it.

        Raises Malformed if it does not begin with a QUIC packet.
        """
        events: list[Event] = []
        self._feed(datagram, events)
        if self._news:
            early, self._early, self._news = self._early, [], False
            for earlier in early:
                self._feed(earlier, events)
        return events

    def partial(self) -> list[Hello]:
        """At the end of the flow: the hello messages of which only the beginning came."""
        return [
            Hello(known.version, known.origin, bool(side), rest[0], rest[4:])
            for known in self._connections
            for side in (0, 1)
            if len(rest := known.streams[side].data[known.read[side] :]) > 4
        ]

    def _feed(self, datagram: bytes, events: list[Event]) -> None:
        for packet in packets(datagram):
            kind = packet.kind
            if kind is _INITIAL and packet.version in SALTS:
                if not self._initial(datagram, packet, events) and len(self._early) < MAX_CONNECTIONS:
                    self._early.append(datagram[packet.start : packet.end])
            elif kind is _RETRY:
                events.append(Retry(packet.version, packet.scid))
                if self._connections:
                    self._remember(_Connection(packet.version, packet.scid, before=self._connections[-1]))
            elif kind is _NEGOTIATION:
                events.append(Negotiation(offered(datagram, packet)))
                # the client begins anew, in another version
                self._connections = [
                    known for known in self._connections if known.read[1] or packet.scid != known.keys
                ]

    def _initial(self, datagram: bytes, packet: Packet, events: list[Event]) -> bool:
        """Open an Initial with the keys of a known connection, else as the first of a new one."""
        _, version, dcid, scid, *_ = packet
        for known in reversed(self._connections):
            # a server may go on in another version than the client began with (RFC 9368, 2.3)
            if not dcid or dcid in known.ids or scid in known.ids:
                for side in (1, 0) if dcid == known.client else (0, 1):  # the likely one first
                    protection = initial_protection(version, known.keys, bool(side))
                    if opened := protection.open(datagram, packet, known.largest[side]):
                        self._news = known.take(packet, side, opened, events) or self._news
                        return True
        opened = initial_protection(version, dcid, False).open(datagram, packet)
        if opened is None:
            return False
        fresh = _Connection(version, dcid, scid)
        fresh.take(packet, 0, opened, events)
        self._remember(fresh)
        return True

    def _remember(self, connection: _Connection) -> None:
        self._connections.append(connection)
        del self._connections[:-MAX_CONNECTIONS]
        self._news = True
