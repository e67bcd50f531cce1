"""The secrets one reading of a capture has: from key logs, which may still grow, and from the capture itself.

It also holds what connections of the same capture share: TLS sessions that may be resumed, and QUIC
connections by their ids. It never says whether a secret fits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audit.protocols.key_log import Keys, Lines
from audit.protocols.tls_session import Resumable
from audit.sources.bad_capture import BadCapture
from audit.sources.pcap.batch import Secrets

MAX_LOG = 16 << 20
"""Bytes read of one key log, and of all secrets a capture carries: some 18,000 connections. Reading so much takes no
longer than opening a hundred megabytes, so that a hostile log does not double the time of a run that matters."""
MAX_PATHS = 16_384
MIN_ID, MAX_ID = 4, 20
"""Bytes of a connection id below which it may be another one's by chance."""
_TLS_KEY_LOG = 0x544C534B  # the secrets type of a pcapng block that holds an NSS key log
_STEP = 1 << 20


@dataclass
class _Log:
    file: BinaryIO
    lines: Lines
    read: int = 0


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
        self._carried = 0
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
    def cut(self) -> bool:
        """Whether more secrets were given than are read."""
        return self._carried > MAX_LOG or any(log.read >= MAX_LOG for log in self._logs)

    def refresh(self) -> None:
        """Take in what was added to the key logs since."""
        for log in self._logs:
            grown = False
            while log.read < MAX_LOG and (text := log.file.read(_STEP)):
                log.lines.feed(text)
                log.read += len(text)
                grown = True
            if grown:
                log.lines.finish()

    def block(self, block: Secrets) -> None:
        """Take in a Decryption Secrets Block; kinds other than the TLS key log are passed over."""
        self._carried += len(block.data)
        if block.kind == _TLS_KEY_LOG and self._carried <= MAX_LOG:
            lines = Lines(self.keys, "dsb")
            lines.feed(block.data)
            lines.finish()
