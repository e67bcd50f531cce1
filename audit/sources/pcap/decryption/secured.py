"""A TLS connection told as what is inside it, if there are secrets that open it; else as what is seen from outside.

Inside begins another conversation of any protocol: TLS in TLS and TLS in CONNECT are found like everything.
It says of each connection how it was opened or why not. Ciphers and keys are the business of
`audit.protocols.tls_session`.
"""

from __future__ import annotations

from collections.abc import Callable

from audit.protocols import tls
from audit.protocols.malformed import Malformed
from audit.protocols.tls_session import Alpn, Data, Event, Missing, Session
from audit.records import SecuredBy
from audit.sources.pcap.decryption.ring import KeyRing
from audit.sources.pcap.speaker import Speaker
from audit.sources.pcap.telling import Teller

_PATIENCE = 48  # protected pieces for which the capture's first secrets may come late


class Secured:
    """TLS whose secrets may be known. `begin` opens the conversation inside, given the protocol agreed on."""

    def __init__(self, teller: Teller, client: int, ring: KeyRing, begin: Callable[[str], Speaker]) -> None:
        self._teller = teller
        self._client = client
        self._ring = ring
        self._begin = begin
        self._session = Session(ring.keys, ring.resumable)
        self._inner: Speaker | None = None
        self._outer: SecuredBy = teller.secured
        self._agreed = ""
        self._deaf = [False, False]
        self._hopeless = 0  # protected pieces while there was no secret at all
        self._greeted = False
        self._holes = self._missing = 0
        self.done = False
        teller.observed("metadata_only", "no_key")

    def feed(self, side: int, data: bytes) -> None:
        if self._deaf[side]:
            return
        try:
            events = self._session.feed(data, side != self._client)
        except Malformed:
            self._deaf[side] = True
            return
        session = self._session
        if events:
            self._events(events)
        elif not session.refused and self._ring.hopeful:
            return  # nearly always
        self._hopeless += not self._ring.hopeful and session.sealed
        if session.refused or self._hopeless > _PATIENCE or (self._inner is not None and self._inner.done):
            self._end()

    def gap(self, side: int, size: int) -> None:
        self._events(self._session.gap(size, side != self._client))

    def finish(self) -> None:
        if not self.done:
            for server in (False, True):
                self._events(self._session.finish(server))
            self._end()

    def _events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Data):
                self._content(self._side(event.server), event.data)
            elif isinstance(event, Missing):
                self._holes += 1
                self._missing += event.size
                self._content(self._side(event.server), event.size)
            elif isinstance(event, tls.ClientHello):
                self._greeted = True
                if self._inner is None:
                    self._teller.hello(self._client, event, "tls")
            elif isinstance(event, tls.Certificate):
                for name in event.names or ((event.common_name,) if event.common_name else ()):
                    self._teller.name("certificate", name)
            elif isinstance(event, Alpn):
                self._agreed = event.name

    def _side(self, server: bool) -> int:
        return 1 - self._client if server else self._client

    def _content(self, side: int, piece: bytes | int) -> None:
        """Let the conversation inside go on, with bytes or with a gap of so many."""
        teller = self._teller
        teller.secured = self._session.opened or self._outer
        if self._inner is None:
            teller.observed("observed")
            self._inner = self._begin(self._agreed)
        if isinstance(piece, bytes):
            self._inner.feed(side, piece)
        else:
            self._inner.gap(side, piece)
        teller.secured = self._outer

    def _end(self) -> None:
        """Nothing more can be learnt: say what became of the connection."""
        self.done = True
        session, teller = self._session, self._teller
        if session.opened:
            teller.opened = session.opened
            teller.secured = session.opened
            if self._inner is not None:
                self._inner.finish()
            teller.secured = self._outer
            if self._inner is None:
                teller.observed("observed", "no content was sent")
            if self._holes or session.unread or session.cut:
                detail = f"{self._holes} gaps in the decrypted content, {session.unread} records not opened"
                detail += ", records at its end are missing" * session.cut
                teller.gap("lost", self._missing or None, detail)
            if session.refused:
                teller.gap("unsupported", None, session.refused)
        elif self._ring.hopeful and self._greeted:
            teller.observed("metadata_only", "no_key")
            teller.gap("no_key", None, session.refused or "no secret of this connection was given")
        elif self._ring.hopeful:
            teller.lost_beginning()
