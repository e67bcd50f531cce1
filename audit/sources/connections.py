"""One running tally per connection, for formats that tell of requests and messages, not of packets.

It becomes the `Flow` record of the connection. It claims nothing it was not told: one unknown size makes the
total unknown, two different servers on one connection make the server unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audit.records import Flow, Headers, Observability

_LONGEST_REASON = 200


def head_bytes(*line: str, headers: Headers) -> int:
    """The size of a message head written as HTTP/1.1 (RFC 9112): start line, header lines, empty line.
    HTTP/2 and HTTP/3 send fewer bytes; what they sent is not recorded."""
    return (
        sum(len(part) + 1 for part in line) + 3 + sum(len(name) + len(value) + 4 for name, value in headers)
    )


@dataclass(slots=True)
class Connection:
    """What is known so far of one connection. `failed` says why nothing could be seen in it."""

    id: str
    transport: Literal["tcp", "udp"]
    src: str | None = None
    sport: int | None = None
    first: float | None = None
    last: float | None = None
    opaque: str | None = None
    failed: str | None = None
    seen: bool = False
    up: int | None = 0
    down: int | None = 0
    names: dict[str, set[str]] = field(default_factory=dict)
    servers: set[tuple[str | None, int | None]] = field(default_factory=set)

    def name(self, kind: Literal["sni", "http"], name: str | None) -> None:
        """Tie a name to the connection."""
        if name:
            self.names.setdefault(kind, set()).add(name)

    def carried(self, time: float | None, *, up: int | None = 0, down: int | None = 0) -> None:
        """Count what went each way; None for a size nobody recorded."""
        self.seen = True
        self.up = None if self.up is None or up is None else self.up + up
        self.down = None if self.down is None or down is None else self.down + down
        self.touched(time)

    def touched(self, time: float | None) -> None:
        """Something happened on it at this time."""
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)

    def record(self, capture: str) -> Flow:
        """The tally as a record."""
        dst, dport = next(iter(self.servers)) if len(self.servers) == 1 else (None, None)
        observability: Observability = "observed"
        if self.opaque:
            observability = "metadata_only"
        elif self.failed and not self.seen:
            observability = "capture_failed"
        reason = self.opaque or self.failed
        return Flow(
            capture=capture,
            time=self.first,
            flow=self.id,
            src=self.src,
            sport=self.sport,
            dst=dst,
            dport=dport,
            transport=self.transport,
            payload_up=self.up,
            payload_down=self.down,
            first=self.first,
            last=self.last,
            observability=observability,
            reason=reason[:_LONGEST_REASON] if reason else None,
            names={kind: tuple(sorted(names)) for kind, names in sorted(self.names.items())},
        )
