"""An SCTP association: the user data of its packets, each stream read like a connection's.

What was sent again is passed over by its sequence number; data that comes out of order is read as it
comes. Specification: RFC 9260.
"""

from __future__ import annotations

from audit.protocols import sctp
from audit.protocols.malformed import Malformed
from audit.sources.pcap.speakers import Opening
from audit.sources.pcap.telling import Teller

_MAX_STREAMS = 64  # told apart; what further ones say is not read
_REMEMBERED = 1_024  # sequence numbers of each side


class Association:
    """One association, fed packets."""

    __slots__ = ("_seen", "_streams", "last", "teller")
    stateless = False
    wants_all = False

    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self.last = 0
        self._streams: dict[int, Opening] = {}
        self._seen: tuple[dict[int, None], dict[int, None]] = ({}, {})

    def packet(self, side: int, _kind: int, data: bytes) -> None:
        """Take a packet that `side` sent."""
        try:
            chunks = sctp.data_chunks(data)
        except Malformed:
            return
        for chunk in chunks:
            if self._fresh(side, chunk.tsn):
                stream = self._streams.get(chunk.stream)
                if stream is None and len(self._streams) < _MAX_STREAMS:
                    stream = self._streams[chunk.stream] = Opening(self.teller)
                if stream is None or stream.done:
                    continue
                if chunk.data:
                    stream.feed(side, chunk.data)
                if chunk.cut and not stream.done:
                    stream.gap(side, chunk.cut)

    def _fresh(self, side: int, tsn: int) -> bool:
        seen = self._seen[side]
        if tsn in seen:
            return False
        seen[tsn] = None
        if len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]
        return True

    def finish(self) -> None:
        """The association ended."""
        for stream in self._streams.values():
            if not stream.done:
                stream.finish()
