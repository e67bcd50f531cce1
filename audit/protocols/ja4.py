"""JA4, the fingerprint of a TLS client, from its ClientHello.

Written after FoxIO's technical description of JA4 (the TLS client part of JA4+, BSD 3-clause; the rest
of JA4+ has another licence and is not here). A fingerprint names a kind of software, never a person,
and must never be made of a ClientHello that is not complete.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

from audit.protocols.tls import ClientHello

TLS, QUIC, DTLS = "t", "q", "d"

_GREASE = frozenset(range(0x0A0A, 0xFAFB, 0x1010))
_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2",
    0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3",
}  # fmt: skip
_NONE = "0" * 12


def ja4(hello: ClientHello, transport: str = TLS) -> str | None:
    """The fingerprint of a ClientHello over TLS, QUIC or DTLS; None if the hello is not complete."""
    if not hello.complete:
        return None
    return _fingerprint(
        transport, hello.version, hello.versions, hello.ciphers, hello.extensions, hello.alpn,
        hello.signature_algorithms,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _fingerprint(
    transport: str, version: int, versions: tuple[int, ...], offered: tuple[int, ...], sent: tuple[int, ...],
    alpn: tuple[str, ...], algorithms: tuple[int, ...],
) -> str:  # fmt: skip
    """Of what a fingerprint is made; the same software sends the same, over and over."""
    known = [each for each in versions if each not in _GREASE]
    # DTLS counts its versions downwards
    newest = (min if transport == DTLS else max)(known) if known else version
    count, ciphers = _ciphers(offered)
    extensions = [number for number in sent if number not in _GREASE]
    return (
        f"{transport}{_VERSIONS.get(newest, '00')}{'d' if 0 in extensions else 'i'}{count:02}"
        f"{min(len(extensions), 99):02}{_alpn(alpn)}_{ciphers}"
        f"_{_extensions(tuple(sorted(extensions)), algorithms)}"
    )


def _alpn(names: tuple[str, ...]) -> str:
    """First and last character of the first protocol, in hex if they are no letters or digits."""
    if not names or not names[0]:
        return "00"
    first, last = names[0][0], names[0][-1]
    if first.isascii() and first.isalnum() and last.isascii() and last.isalnum():
        return first + last
    return f"{ord(first):02x}"[0] + f"{ord(last):02x}"[1]


@lru_cache(maxsize=1024)
def _ciphers(offered: tuple[int, ...]) -> tuple[int, str]:
    ciphers = [f"{number:04x}" for number in sorted(offered) if number not in _GREASE]
    return min(len(ciphers), 99), _hash(",".join(ciphers)) if ciphers else _NONE


@lru_cache(maxsize=1024)
def _extensions(extensions: tuple[int, ...], signatures: tuple[int, ...]) -> str:
    """Hash of the sorted extensions without SNI and ALPN, then the signature algorithms as sent."""
    if not extensions:
        return _NONE
    text = ",".join(f"{number:04x}" for number in extensions if number not in {0, 16})
    algorithms = ",".join(f"{number:04x}" for number in signatures if number not in _GREASE)
    return _hash(f"{text}_{algorithms}" if algorithms else text)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]
