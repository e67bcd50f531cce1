"""Secrets of TLS and QUIC connections as programs log them: lines in, secrets by label and client random out.

The NSS key log format (draft-ietf-tls-keylogfile) with the older `RSA` lines, `PMS_CLIENT_RANDOM`, the
`RSA Session-ID:… Master-Key:…` lines that OpenSSL's tools print, and the `QUIC_` labels of early stacks.
Whatever is no such line is passed over. A secret is never believed: who looks one up has to try it,
so several for the same connection are kept, up to a bound. Must never raise, nor look into a capture.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Container
from functools import lru_cache
from typing import Final, Literal, NamedTuple

MAX_SAME = 4
"""Different secrets kept for one label and client random from the logs, and as many from the capture; real logs
hold one, merged ones a few."""
MAX_SECRETS = 2_000_000
MAX_LINE = 4_096

Origin = Literal["keylog", "dsb"]

MASTER, PREMASTER = "CLIENT_RANDOM", "PMS_CLIENT_RANDOM"
ENCRYPTED_PREMASTER, SESSION_MASTER = "RSA", "RSA Session-ID"
EARLY: Final = "CLIENT_EARLY_TRAFFIC_SECRET"
HANDSHAKE: Final = ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET")
TRAFFIC: Final = ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0")

_MARK = b"\xef\xbb\xbf"  # of UTF-8, as some editors write it before the first line
_LINE = re.compile(
    rb"^(?:\xef\xbb\xbf)?+[ \t]*+(?:QUIC_)?+(CLIENT_RANDOM|PMS_CLIENT_RANDOM|CLIENT_EARLY_TRAFFIC_SECRET"
    rb"|(?:CLIENT|SERVER)_(?:HANDSHAKE_TRAFFIC_SECRET|TRAFFIC_SECRET_[0-9N]{1,4}))"
    rb"[ \t]++([0-9A-Fa-f]{64})[ \t]++([0-9A-Fa-f]{64,128}+)[ \t]*+$"
    rb"|^(?:\xef\xbb\xbf)?+[ \t]*+RSA[ \t]++(?:Session-ID:([0-9A-Fa-f]{2,64}+)[ \t]++Master-Key:([0-9A-Fa-f]{96})"
    rb"|([0-9A-Fa-f]{16})[ \t]++([0-9A-Fa-f]{96}))[ \t]*+$",
    re.MULTILINE,
)


class Secret(NamedTuple):
    """A secret and where it came from."""

    value: bytes
    origin: Origin


class Keys:
    """All secrets known so far. `count` grows with each, so that who found none can see when to ask again."""

    def __init__(self) -> None:
        # a hostile log may hold a hundred thousand: what is kept of each is little
        self._secrets: dict[Origin, dict[str, dict[bytes, tuple[bytes, ...]]]] = {"keylog": {}, "dsb": {}}
        self._randoms: dict[bytes, None] = {}
        self.met: set[bytes] = set()
        """By what names of connections that were seen there are secrets."""
        self.count = 0

    def add(self, label: str, of: bytes, value: bytes, origin: Origin) -> None:
        """Take in a secret of a connection named by its client random (or, for RSA lines, by the first
        bytes of the encrypted premaster secret, or by the session id)."""
        labels = self._secrets[origin]
        named = labels.get(label)
        if named is None:
            named = labels[label] = {}
        known = named.get(of)
        if self.count >= MAX_SECRETS:
            return
        if known is None:
            named[of] = (value,)
            if label not in (SESSION_MASTER, ENCRYPTED_PREMASTER):
                self._randoms[of] = None
        elif len(known) < MAX_SAME and value not in known:
            named[of] = (*known, value)
        else:
            return
        self.count += 1

    def find(self, label: str, of: bytes) -> tuple[Secret, ...]:
        """The secrets that may be the one asked for, those of the logs first, in the order they came."""
        found: dict[bytes, Secret] = {}
        for origin, labels in self._secrets.items():
            for value in labels.get(label, {}).get(of, ()):
                found.setdefault(value, Secret(value, origin))
        return tuple(found.values())

    def meet(self, of: bytes) -> None:
        """A connection goes by this name: its client random, session id or encrypted premaster secret."""
        if of in self._randoms or self.find(SESSION_MASTER, of) or self.find(ENCRYPTED_PREMASTER, of):
            self.met.add(of)

    def randoms(self) -> list[bytes]:
        """The client randoms of all connections that have a secret, in the order they came."""
        return list(self._randoms)

    def knows(self, random: bytes) -> bool:
        """Whether there is any secret of the connection with this client random."""
        return random in self._randoms


class Lines:
    """One key log, read piece by piece as it grows; a line counts as soon as it is complete."""

    def __init__(self, keys: Keys, origin: Origin) -> None:
        self._keys = keys
        self._origin = origin
        self._rest = b""

    def feed(self, text: bytes) -> None:
        """Take in the next bytes of the log."""
        whole, newline, rest = (self._rest + text.replace(b"\r", b"\n")).rpartition(b"\n")
        self._rest = rest[-MAX_LINE:]
        if newline:
            self._read(whole)

    def finish(self) -> None:
        """The log ends here for now: its last line may lack a line break and still be whole."""
        self._read(self._rest)

    def _read(self, text: bytes) -> None:
        for label, random, secret, session, master, encrypted, premaster in _LINE.findall(text):
            if label:
                if len(secret) in (64, 96):
                    self._keys.add(_label(label), unhexlify(random), unhexlify(secret), self._origin)
            elif session and len(session) % 2 == 0:
                self._keys.add(SESSION_MASTER, unhexlify(session), unhexlify(master), self._origin)
            elif encrypted:
                self._keys.add(ENCRYPTED_PREMASTER, unhexlify(encrypted), unhexlify(premaster), self._origin)


@lru_cache(256)
def _label(written: bytes) -> str:
    """What a label is called here: traffic secrets that are numbered are all the first ones."""
    head, numbered, _ = written.decode().partition("TRAFFIC_SECRET_")
    return f"{head}{numbered}0" if numbered else head


def clean(text: bytes, of: Container[bytes] | None = None) -> bytes:
    """Only the lines that hold a secret (of connections with these names, see `Keys.meet`), each once."""
    text = text.replace(b"\r", b"\n")
    lines = dict.fromkeys(
        match[0].removeprefix(_MARK).strip() + b"\n"
        for match in _LINE.finditer(text)
        if of is None or _name(match) in of
    )
    return b"".join(lines)


def _name(match: re.Match[bytes]) -> bytes:
    """What the connection is named by that a line is about."""
    name = match[2] or match[4] or match[6]
    return unhexlify(name) if len(name) % 2 == 0 else b""
