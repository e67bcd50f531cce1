"""Keyed layers: ciphers whose key, or the rule by which the key follows from the request's own fields, is
known from an adapter or given by the user.

A layer is told in one line, which is read by the few rules below and never evaluated:

    aes-cbc:key=hex:00112233445566778899aabbccddeeff,iv=prefix16
    aes-ecb:key=md5('seed:' + field app_id + '-' + field device_id)[:16]
    rc4:key=text:secret        xor:key=hex:5a17        aes-gcm:key=base64:…,iv=prefix12

Values: `hex:`, `base64:`, `text:`, 'quoted', `field NAME`; joined by `+`; cut by `[a:b]`; under `md5(…)`,
`sha1(…)`, `sha256(…)` (raw digests), `hex(…)` (their hexadecimal text). AES as in FIPS 197 and NIST SP
800-38A and 38D, with the padding of PKCS #7 (RFC 5652, 6.3) where it is there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from Crypto.Cipher import ARC4
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from audit.decoding.coding import Bounds, Piece, Purse
from audit.decoding.unfold import Tree, unfold
from audit.records import Field

Fields = Mapping[str, bytes]
Value = Callable[[Fields], bytes]
CIPHERS = ("aes-cbc", "aes-ecb", "aes-gcm", "rc4", "xor")
_BLOCK = 16
_TAG = 16
_TOKEN = re.compile(
    r"\s*(?:(?P<literal>hex|text|base64):(?P<data>(?<=base64:)[A-Za-z0-9+/=]*|[^,+\[\])\s]*)|'(?P<quoted>[^']*)'"
    r"|field[ :](?P<field>[\w.$\[\]~-]+?)(?=\s*(?:[+,)]|\[-?\d*:|$))|(?P<function>md5|sha1|sha256|hex)\()"
)
_CUT = re.compile(r"\s*\[(-?\d*):(-?\d*)\]")
_PARAMETER = re.compile(r"\s*(key|iv)\s*=")
_PREFIX = re.compile(r"\s*prefix(\d{1,3})\s*(?=,|$)")


class SpecificationError(ValueError):
    """A line that tells a keyed layer and cannot be read; says where and what is expected there."""


@dataclass(frozen=True)
class Decoder:
    """One keyed layer as told. `prefix` is how many bytes before the encrypted ones are the IV, where
    `iv` is None."""

    cipher: str
    key: Value
    iv: Value | None
    prefix: int

    def coding(self, fields: Fields) -> Keyed | None:
        """The layer with the keys that follow from these fields; None where one of them is missing, or
        what follows is no key of that cipher."""
        try:
            key = self.key(fields)
            iv = self.iv(fields) if self.iv else None
        except KeyError:
            return None
        if not key or (self.cipher.startswith("aes") and len(key) not in (16, 24, 32)):
            return None
        return Keyed(self.cipher, key, iv, self.prefix)


class Keyed:
    """A cipher with its key: a candidate for data that nothing else opens."""

    covers = True
    chancy = False
    markless = False
    needs = ()
    bars = b""

    def __init__(self, cipher: str, key: bytes, iv: bytes | None, prefix: int) -> None:
        self.name = cipher
        self._key = key
        self._iv = iv
        self._prefix = prefix

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not purse.charge(len(data)):
            return []
        body = data if self._iv is not None else data[self._prefix :]
        iv = self._iv if self._iv is not None else data[: self._prefix]
        out = _OPEN[self.name](body, self._key, iv)
        return [Piece(self.name, out, "", len(data) - len(body), len(body))] if out else []


def _aes(body: bytes, cipher: Cipher[CBC] | Cipher[ECB]) -> bytes:
    opener = cipher.decryptor()
    out = opener.update(body) + opener.finalize()
    pad = out[-1]
    padded = 0 < pad <= _BLOCK and out.endswith(bytes([pad]) * pad)
    return out[:-pad] if padded else out


def _aes_cbc(body: bytes, key: bytes, iv: bytes) -> bytes:
    if not body or len(body) % _BLOCK or len(iv) != _BLOCK:
        return b""
    return _aes(body, Cipher(AES(key), CBC(iv)))


def _aes_ecb(body: bytes, key: bytes, iv: bytes) -> bytes:
    return _aes(body, Cipher(AES(key), ECB())) if body and len(body) % _BLOCK == 0 else b""  # noqa: S305


def _aes_gcm(body: bytes, key: bytes, iv: bytes) -> bytes:
    if len(body) <= _TAG or not 8 <= len(iv) <= 128:
        return b""
    try:
        return AESGCM(key).decrypt(iv, body, None)
    except InvalidTag:
        return b""


def _rc4(body: bytes, key: bytes, iv: bytes) -> bytes:
    try:
        return bytes(ARC4.new(key).decrypt(body))
    except ValueError:
        return b""  # a length of key that RC4 does not take


def _xor(body: bytes, key: bytes, iv: bytes) -> bytes:
    stream = (key * (len(body) // len(key) + 1))[: len(body)]
    return (int.from_bytes(body, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(body), "big")


_OPEN: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "aes-cbc": _aes_cbc, "aes-ecb": _aes_ecb, "aes-gcm": _aes_gcm, "rc4": _rc4, "xor": _xor,
}  # fmt: skip


def parse(specification: str) -> Decoder:
    """Reads one line that tells a keyed layer.

    Raises SpecificationError.
    """
    text = specification.strip()
    cipher, colon, _ = text.partition(":")
    if cipher not in CIPHERS or not colon:
        raise SpecificationError(f"decoder {text!r}: begins with none of {', '.join(CIPHERS)} and a colon")
    return _Reader(text, len(cipher) + 1).decoder(cipher)


class _Reader:
    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at

    def decoder(self, cipher: str) -> Decoder:
        values: dict[str, Value] = {}
        prefix = 0
        while True:
            parameter = self._take(_PARAMETER, "key= or iv=")
            found = _PREFIX.match(self._text, self._at) if parameter.group(1) == "iv" else None
            if found:
                self._at, prefix = found.end(), int(found.group(1))
            else:
                values[parameter.group(1)] = self._sum()
            if self._at >= len(self._text):
                break
            self._sign(",")
        if "key" not in values:
            raise SpecificationError(f"decoder {self._text!r}: has no key=")
        if cipher in ("aes-cbc", "aes-gcm") and "iv" not in values and not prefix:
            raise SpecificationError(f"decoder {self._text!r}: {cipher} needs an iv=, such as iv=prefix16")
        return Decoder(cipher, values["key"], values.get("iv"), prefix)

    def _sum(self) -> Value:
        parts = [self._value()]
        while self._text[self._at :].lstrip().startswith("+"):
            self._sign("+")
            parts.append(self._value())
        return lambda fields: b"".join(part(fields) for part in parts)

    def _value(self) -> Value:
        token = self._take(
            _TOKEN, "a value: hex:, base64:, text:, 'quoted', field NAME, md5( sha1( sha256( hex("
        )
        value = self._of(token)
        while cut := _CUT.match(self._text, self._at):
            self._at = cut.end()
            start, end = (int(bound) if bound else None for bound in cut.groups())
            value = _cut(value, start, end)
        return value

    def _of(self, token: re.Match[str]) -> Value:
        if token["function"]:
            inner = self._sum()
            self._sign(")")
            function = _FUNCTIONS[token["function"]]
            return lambda fields: function(inner(fields))
        if token["field"]:
            name = token["field"]
            return lambda fields: fields[name]
        data = (
            self._literal(token["literal"], token["data"]) if token["literal"] else token["quoted"].encode()
        )
        return lambda fields: data

    def _literal(self, kind: str, data: str) -> bytes:
        try:
            if kind == "hex":
                return bytes.fromhex(data)
            return base64.b64decode(data, validate=True) if kind == "base64" else data.encode()
        except (ValueError, binascii.Error) as error:
            raise SpecificationError(f"decoder {self._text!r}: {data!r} is no {kind}") from error

    def _take(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if not match:
            raise SpecificationError(
                f"decoder {self._text!r}: at character {self._at + 1}, expected {wanted}"
            )
        self._at = match.end()
        return match

    def _sign(self, sign: str) -> None:
        self._take(re.compile(r"\s*" + re.escape(sign)), f"{sign!r}")


def _cut(value: Value, start: int | None, end: int | None) -> Value:
    return lambda fields: value(fields)[start:end]


_FUNCTIONS: dict[str, Callable[[bytes], bytes]] = {
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "hex": lambda data: data.hex().encode(),
}


def named(fields: Iterable[Field]) -> dict[str, bytes]:
    """The values of a tree by their paths and by the last names of these; of several under one name the
    last, which is the one decoded furthest."""
    values: dict[str, bytes] = {}
    for field in fields:
        if field.path:
            values[field.path.rpartition(".")[2]] = field.data
            values[field.path] = field.data
    return values


def layers(decoders: Iterable[Decoder], fields: Fields) -> tuple[Keyed, ...]:
    """The layers whose keys follow from these fields."""
    return tuple(layer for decoder in decoders if (layer := decoder.coding(fields)))


def unfold_with(
    decoders: Iterable[Decoder],
    data: bytes,
    hints: tuple[str, ...] = (),
    *,
    fields: Fields | None = None,
    bounds: Bounds | None = None,
) -> Tree:
    """Unfolds data, then once more with the keyed layers whose keys follow from what the first time opened
    (and from `fields` of other parts of the request)."""
    tree = unfold(data, hints, bounds=bounds)
    extra = layers(decoders, {**(fields or {}), **named(tree.fields)})
    return unfold(data, hints, bounds=bounds, extra=extra) if extra else tree
