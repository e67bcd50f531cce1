"""The secrets one reading of a capture has: from key logs, which may still grow, and from the capture itself.

It also holds what connections of the same capture share: TLS sessions that may be resumed, and QUIC
connections by their ids. It never says whether a secret fits.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audit.protocols.key_log import Keys, Lines
from audit.protocols.tls_session import Resumable
from audit.sources.bad_capture import BadCapture
from audit.sources.pcap.batch import Secrets
from audit.sources.pcap.pcapng_file import TLS_KEY_LOG

MAX_LOG = 16 << 20
"""Bytes read of one key log, and of all secrets a capture carries: some 18,000 connections. Reading so much takes no
longer than opening a hundred megabytes, so that a hostile log does not double the time of a run that matters."""
MAX_LINES = 100_000
"""Lines read of the same: those of TLS 1.3 are longer than 160 bytes on the average, but short and empty ones cost
more than they weigh."""
MAX_PATHS = 16_384
MIN_ID, MAX_ID = 4, 20
"""Bytes of a connection id below which it may be another one's by chance."""
_STEP = 1 << 20


@dataclass
class _Log:
    file: BinaryIO
    lines: Lines
    read: int = 0
    breaks: int = 0

    @property
    def full(self) -> bool:
        """Whether no more of it is read."""
        return self.read >= MAX_LOG or self.breaks >= MAX_LINES

    def more(self) -> bytes:
        """Its next bytes. Processes that share the open file each have their own place in it, unless it is a
        pipe, which was read to its end before there were several."""
        if self.file.seekable():
            return os.pread(self.file.fileno(), _STEP, self.read)
        return self.file.read(_STEP)


def _breaks(text: bytes) -> int:
    """How many lines end here, in whatever way."""
    return max(text.count(b"\n"), text.count(b"\r"))


class KeyRing:
    """All secrets known at this point of the capture.

    Raises:
        BadCapture: a key log cannot be read.
    """

    def __init__(self, logs: Collection[Path] = ()) -> None:
        self.keys = Keys()
        self.resumable = Resumable()
        self.paths: dict[bytes, object] = {}
        """Whose each QUIC connection id is."""
        self._carried = self._carried_breaks = 0
        self._logs: list[_Log] = []
        for path in logs:
            try:
                file = path.open("rb")
                if path.is_dir():
                    raise IsADirectoryError
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "it is no file"
                raise BadCapture(path, f"the key log cannot be read ({why})", "name a key log file") from None
            self._logs.append(_Log(file, Lines(self.keys, "keylog")))
        self.refresh()

    def path(self, connection_id: bytes, owner: object) -> None:
        """A connection can be reached under this id, wherever its packets come from."""
        if len(connection_id) >= MIN_ID and self.paths.get(connection_id) is not owner:
            self.paths[connection_id] = owner
            if len(self.paths) > MAX_PATHS:
                del self.paths[next(iter(self.paths))]

    def leads_to(self, datagram: bytes) -> object | None:
        """The connection that a packet with a short header is sent to, by its id."""
        for size in range(MIN_ID, min(len(datagram), MAX_ID + 1)):
            owner = self.paths.get(datagram[1 : 1 + size])
            if owner is not None:
                return owner
        return None

    @property
    def hopeful(self) -> bool:
        """Whether there are secrets, or a log that may have some yet."""
        return self.keys.count > 0 or bool(self._logs)

    @property
    def cut(self) -> bool:
        """Whether more secrets were given than are read."""
        return not self._room or any(log.full for log in self._logs)

    @property
    def _room(self) -> bool:
        """Whether the capture's own secrets are not yet too many."""
        return self._carried <= MAX_LOG and self._carried_breaks <= MAX_LINES

    def refresh(self) -> None:
        """Take in what was added to the key logs since."""
        for log in self._logs:
            grown = False
            while not log.full and (text := log.more()):
                log.lines.feed(text)
                log.read += len(text)
                log.breaks += _breaks(text)
                grown = True
            if grown:
                log.lines.finish()

    def block(self, block: Secrets) -> None:
        """Take in a Decryption Secrets Block; kinds other than the TLS key log are passed over."""
        self._carried += len(block.data)
        self._carried_breaks += _breaks(block.data)
        if block.kind == TLS_KEY_LOG and self._room:
            lines = Lines(self.keys, "dsb")
            lines.feed(block.data)
            lines.finish()
