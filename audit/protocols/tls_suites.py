"""The cipher suites of TLS 1.0 to 1.3 whose records can be opened, as a table.

Numbers are those of the TLS Cipher Suites registry (RFC 2246, 4346, 5246, 5288, 5289, 5487, 5489, 6655, 7251,
7905, 8442, 8446). Key exchange and signature do not matter to someone who holds the secrets, so a row is the bulk
cipher, its MAC and the hash of the key derivation. Must hold no code beyond the look-up.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Bulk = Literal["gcm", "ccm", "ccm8", "chacha20", "aes-cbc", "3des-cbc", "rc4"]
Hash = Literal["md5", "sha1", "sha256", "sha384"]


class Suite(NamedTuple):
    """`key` is the size of the bulk cipher's key in bytes, `mac` the hash of the records' MAC where the
    cipher does not authenticate itself, `prf` that of the key derivation since TLS 1.2."""

    bulk: Bulk
    key: int
    mac: Hash | None
    prf: Literal["sha256", "sha384"]


_ROWS: Final[tuple[tuple[Suite, tuple[int, ...]], ...]] = (
    (Suite("rc4", 16, "md5", "sha256"), (0x0004, 0x0018)),
    (Suite("rc4", 16, "sha1", "sha256"), (0x0005, 0x0066, 0x008A, 0x008E, 0x0092, 0xC002, 0xC007, 0xC00C,
                                          0xC011, 0xC016, 0xC033)),
    (Suite("3des-cbc", 24, "sha1", "sha256"), (0x000A, 0x000D, 0x0010, 0x0013, 0x0016, 0x001B, 0x008B, 0x008F,
                                               0x0093, 0xC003, 0xC008, 0xC00D, 0xC012, 0xC017, 0xC01A, 0xC01B,
                                               0xC01C, 0xC034)),
    (Suite("aes-cbc", 16, "sha1", "sha256"), (*range(0x002F, 0x0035), 0x008C, 0x0090, 0x0094, 0xC004, 0xC009,
                                              0xC00E, 0xC013, 0xC018, 0xC01D, 0xC01E, 0xC01F, 0xC035)),
    (Suite("aes-cbc", 32, "sha1", "sha256"), (*range(0x0035, 0x003B), 0x008D, 0x0091, 0x0095, 0xC005, 0xC00A,
                                              0xC00F, 0xC014, 0xC019, 0xC020, 0xC021, 0xC022, 0xC036)),
    (Suite("aes-cbc", 16, "sha256", "sha256"), (0x003C, 0x003E, 0x003F, 0x0040, 0x0067, 0x006C, 0x00AE, 0x00B2,
                                                0x00B6, 0xC023, 0xC025, 0xC027, 0xC029, 0xC037)),
    (Suite("aes-cbc", 32, "sha256", "sha256"), (0x003D, 0x0068, 0x0069, 0x006A, 0x006B, 0x006D)),
    (Suite("aes-cbc", 32, "sha384", "sha384"), (0x00AF, 0x00B3, 0x00B7, 0xC024, 0xC026, 0xC028, 0xC02A, 0xC038)),
    (Suite("gcm", 16, None, "sha256"), (*range(0x009C, 0x00AE, 2), *range(0xC02B, 0xC033, 2), 0xD001, 0x1301)),
    (Suite("gcm", 32, None, "sha384"), (*range(0x009D, 0x00AE, 2), *range(0xC02C, 0xC033, 2), 0xD002, 0x1302)),
    (Suite("ccm", 16, None, "sha256"), (0xC09C, 0xC09E, 0xC0A4, 0xC0A6, 0xC0AC, 0xD005, 0x1304)),
    (Suite("ccm", 32, None, "sha256"), (0xC09D, 0xC09F, 0xC0A5, 0xC0A7, 0xC0AD)),
    (Suite("ccm8", 16, None, "sha256"), (0xC0A0, 0xC0A2, 0xC0A8, 0xC0AA, 0xC0AE, 0xD003, 0x1305)),
    (Suite("ccm8", 32, None, "sha256"), (0xC0A1, 0xC0A3, 0xC0A9, 0xC0AB, 0xC0AF)),
    (Suite("chacha20", 32, None, "sha256"), (0xCCA8, 0xCCA9, 0xCCAA, 0xCCAB, 0xCCAC, 0xCCAD, 0xCCAE, 0x1303)),
)  # fmt: skip

SUITES: Final[dict[int, Suite]] = {number: suite for suite, numbers in _ROWS for number in numbers}


def modern(secret: bytes) -> tuple[int, ...]:
    """The suites of TLS 1.3 that a traffic secret of this size may belong to, the likeliest first."""
    return (0x1302,) if len(secret) == 48 else (0x1301, 0x1303, 0x1304, 0x1305)
