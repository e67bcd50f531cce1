"""Record protection of TLS 1.0 to 1.3: a protected record and its number in, its content out.

RFC 2246, 4346 and 5246 (key block, stream and block ciphers, AEAD), 5288 (GCM), 6655 (CCM), 7366
(encrypt-then-MAC), 7905 (ChaCha20-Poly1305), 8446 (TLS 1.3). Ciphers and hashes are those of `cryptography`.
A record either authenticates or is None: nothing is told that the MAC or tag does not vouch for. Must never
raise for whatever a record holds.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from audit.protocols.malformed import Malformed
from audit.protocols.tls_suites import SUITES, Suite

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304
_HASH_SIZE = {"md5": 16, "sha1": 20, "sha256": 32, "sha384": 48}
_SEQUENCE_HEAD = struct.Struct(
    ">QBHH"
)  # what a MAC and the additional data begin with: number, type, version, size


class Opened(NamedTuple):
    """The content of a record and its true type."""

    kind: int
    content: bytes


class Protection(Protocol):
    """What opens the records of one direction under one set of keys."""

    def open(self, kind: int, version: int, body: bytes, number: int, /) -> Opened | None:
        """The record's content, or None if it does not authenticate as the `number`th under these keys."""


def expand(secret: bytes, label: str, context: bytes, size: int, hash_: str) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1), for at most one hash's length."""
    name = b"tls13 " + label.encode()
    info = struct.pack(">HB", size, len(name)) + name + bytes((len(context),)) + context
    return hmac.digest(secret, info + b"\x01", hash_)[:size]


def renewed(secret: bytes) -> bytes:
    """The traffic secret after a KeyUpdate (RFC 8446, 7.2)."""
    hash_ = "sha384" if len(secret) == 48 else "sha256"
    return expand(secret, "traffic upd", b"", len(secret), hash_)


def prf(version: int, hash_: str, secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """The pseudorandom function of TLS 1.2 (RFC 5246, 5) and of those before (RFC 2246, 5)."""
    if version >= TLS12:
        return _stretched(hash_, secret, label + seed, size)
    half = (len(secret) + 1) // 2
    left = _stretched("md5", secret[:half], label + seed, size)
    right = _stretched("sha1", secret[-half:], label + seed, size)
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _stretched(hash_: str, secret: bytes, seed: bytes, size: int) -> bytes:
    out, turn = b"", seed
    while len(out) < size:
        turn = hmac.digest(secret, turn, hash_)
        out += hmac.digest(secret, turn + seed, hash_)
    return out[:size]


def master_secret(
    version: int, suite: int, premaster: bytes, client: bytes, server: bytes, transcript: bytes | None
) -> bytes:
    """The master secret from a premaster secret and both randoms (RFC 5246, 8.1), or, with `transcript` the
    handshake up to the ClientKeyExchange, the extended one (RFC 7627, 4)."""
    hash_ = SUITES[suite].prf if suite in SUITES else "sha256"
    if transcript is None:
        return prf(version, hash_, premaster, b"master secret", client + server, 48)
    if version >= TLS12:
        digest = hashlib.new(hash_, transcript).digest()
    else:
        digest = hashlib.md5(transcript).digest() + hashlib.sha1(transcript).digest()  # noqa: S324 - RFC 2246
    return prf(version, hash_, premaster, b"extended master secret", digest, 48)


def of_traffic_secret(secret: bytes, suite: int) -> Protection:
    """What opens the records under a traffic secret of TLS 1.3 (RFC 8446, 7.3).

    Raises Malformed for a suite that is not one of TLS 1.3, or not of this secret's size.
    """
    row = SUITES.get(suite)
    if row is None or suite >> 8 != 0x13 or _HASH_SIZE[row.prf] != len(secret):
        raise Malformed("no suite of TLS 1.3 for this secret")
    key = expand(secret, "key", b"", row.key, row.prf)
    return Modern(_aead(row, key), expand(secret, "iv", b"", 12, row.prf))


def of_master_secret(
    version: int, suite: int, master: bytes, client: bytes, server: bytes, *, encrypt_then_mac: bool
) -> tuple[Protection, Protection]:
    """What opens the client's and the server's records under a master secret (RFC 5246, 6.3).

    Raises Malformed for a suite or version that is not known here.
    """
    row = SUITES.get(suite)
    if row is None or suite >> 8 == 0x13 or not TLS10 <= version <= TLS12:
        raise Malformed("a cipher suite that is not known here")
    mac = _HASH_SIZE[row.mac] if row.mac else 0
    block = 8 if row.bulk == "3des-cbc" else 16 if row.bulk == "aes-cbc" else 0
    iv = 12 if row.bulk == "chacha20" else 4 if row.mac is None else block if version == TLS10 else 0
    keys = prf(version, row.prf, master, b"key expansion", server + client, 2 * (mac + row.key + iv))
    found: list[Protection] = []
    for side in (0, 1):
        mac_key = keys[side * mac : side * mac + mac]
        at = 2 * mac + side * row.key
        key = keys[at : at + row.key]
        at = 2 * (mac + row.key) + side * iv
        start = keys[at : at + iv]
        if row.bulk == "rc4":
            found.append(Stream(key, row, mac_key))
        elif row.mac is None:
            found.append(Aead(_aead(row, key), start, tag=8 if row.bulk == "ccm8" else 16))
        else:
            found.append(Block(row, key, mac_key, start, encrypt_then_mac=encrypt_then_mac))
    return found[0], found[1]


def _aead(row: Suite, key: bytes) -> AESGCM | AESCCM | ChaCha20Poly1305:
    if row.bulk == "chacha20":
        return ChaCha20Poly1305(key)
    return AESGCM(key) if row.bulk == "gcm" else AESCCM(key, 8 if row.bulk == "ccm8" else 16)


class Modern:
    """Records of TLS 1.3 (RFC 8446, 5.2): the true type stands behind the content, then zeros."""

    __slots__ = ("_decrypt", "_iv")

    def __init__(self, aead: AESGCM | AESCCM | ChaCha20Poly1305, iv: bytes) -> None:
        self._decrypt = aead.decrypt
        self._iv = int.from_bytes(iv, "big")

    def open(self, _kind: int, version: int, body: bytes, number: int, /) -> Opened | None:
        """See Protection."""
        if len(body) < 9:
            return None
        header = b"\x17" + version.to_bytes(2, "big") + len(body).to_bytes(2, "big")
        try:
            plain = self._decrypt((self._iv ^ number).to_bytes(12, "big"), body, header)
        except (InvalidTag, ValueError):
            return None
        if plain and not plain[-1]:
            plain = plain.rstrip(b"\0")
        return Opened(plain[-1], plain[:-1]) if plain else None


class Aead:
    """Records under an AEAD before TLS 1.3: an explicit part of the nonce before the ciphertext, or, with
    ChaCha20, none (RFC 5246, 6.2.3.3; RFC 7905)."""

    __slots__ = ("_decrypt", "_iv", "_salt", "_tag")

    def __init__(self, aead: AESGCM | AESCCM | ChaCha20Poly1305, iv: bytes, *, tag: int) -> None:
        self._decrypt = aead.decrypt
        self._tag = tag
        self._salt = iv if len(iv) == 4 else b""
        self._iv = int.from_bytes(iv, "big")

    def open(self, kind: int, version: int, body: bytes, number: int) -> Opened | None:
        """See Protection."""
        if self._salt:
            nonce, body = self._salt + body[:8], body[8:]
        else:
            nonce = (self._iv ^ number).to_bytes(12, "big")
        size = len(body) - self._tag
        if size < 0 or len(nonce) < 12:
            return None
        try:
            return Opened(kind, self._decrypt(nonce, body, _SEQUENCE_HEAD.pack(number, kind, version, size)))
        except (InvalidTag, ValueError):
            return None


class _Mac:
    """The MAC of a record (RFC 5246, 6.2.3.1)."""

    __slots__ = ("_hash", "_key", "size")

    def __init__(self, key: bytes, hash_: str) -> None:
        self._key, self._hash = key, hash_
        self.size = _HASH_SIZE[hash_]

    def of(self, number: int, kind: int, version: int, content: bytes) -> bytes:
        head = _SEQUENCE_HEAD.pack(number, kind, version, len(content))
        return hmac.digest(self._key, head + content, self._hash)


class Block:
    """Records under a block cipher. Before TLS 1.1 the first block is chained to the record before."""

    def __init__(self, row: Suite, key: bytes, mac_key: bytes, iv: bytes, *, encrypt_then_mac: bool) -> None:
        self._cipher = AES(key) if row.bulk == "aes-cbc" else TripleDES(key)
        self._size = 16 if row.bulk == "aes-cbc" else 8
        self._mac = _Mac(mac_key, row.mac or "sha1")
        self._chain = iv
        self._etm = encrypt_then_mac

    def chained(self, body: bytes) -> None:
        """A record was passed over: the next one is chained to it."""
        if self._chain:
            sealed = body[: -self._mac.size] if self._etm else body
            self._chain = sealed[-self._size :].rjust(self._size, b"\0")

    def open(self, kind: int, version: int, body: bytes, number: int) -> Opened | None:
        """See Protection."""
        mac = self._mac
        if self._etm:
            sealed, tag = body[: -mac.size], body[-mac.size :]
            if not hmac.compare_digest(mac.of(number, kind, version, sealed), tag):
                return None
        else:
            sealed = body
        iv, sealed = (self._chain, sealed) if self._chain else (sealed[: self._size], sealed[self._size :])
        if not sealed or len(sealed) % self._size or len(iv) != self._size:
            return None
        plain = Cipher(self._cipher, CBC(iv)).decryptor().update(sealed)
        padding = plain[-1] + 1
        if padding > len(plain) or plain[-padding:] != plain[-1:] * padding:
            return None
        content = plain[:-padding]
        if not self._etm:
            content, tag = content[: -mac.size], content[-mac.size :]
            if len(tag) < mac.size or not hmac.compare_digest(mac.of(number, kind, version, content), tag):
                return None
        if self._chain:
            self._chain = sealed[-self._size :]
        return Opened(kind, content)


class Stream:
    """Records under RC4: one key stream over all of them, so that none may be passed over unseen."""

    def __init__(self, key: bytes, row: Suite, mac_key: bytes) -> None:
        self._mac = _Mac(mac_key, row.mac or "sha1")
        self._context: CipherContext = Cipher(ARC4(key), None).decryptor()
        self._tried, self._plain = b"", b""

    def passed(self, size: int) -> None:
        """A record with a body of `size` bytes was lost."""
        self._context.update(bytes(size))

    def open(self, kind: int, version: int, body: bytes, number: int) -> Opened | None:
        """See Protection. A record uses up its part of the key stream whether it authenticates or not; tried
        again under another number, it uses up no more."""
        if body is not self._tried:
            self._tried, self._plain = body, self._context.update(body)
        plain = self._plain
        content, tag = plain[: -self._mac.size], plain[-self._mac.size :]
        if len(tag) < self._mac.size:
            return None
        if not hmac.compare_digest(self._mac.of(number, kind, version, content), tag):
            return None
        return Opened(kind, content)
