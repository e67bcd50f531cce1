"""`events.jsonl` → records: what the recording noted that is not in its flows.

A client that refused our certificate, a connection let through unread with the sizes of its TLS records,
QUIC refused or left alone, by policy and by attempt, a proxy that crashed. Notes of other things (phases,
contacts) are no traffic and give no record. It must never invent content: all it knows of these connections is that they were there. docs/recording.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from audit.protocols import notes
from audit.records import AnyRecord, Flow, Gap, Tls
from audit.sources import values
from audit.sources.opening import Opened

MAX_RECORDS = 1_000_000  # of one connection
MAX_TEXT = 200  # characters of what went wrong
_HOW = {
    "alert": "the client refused the proxy's certificate",
    "closed": "the client closed the connection during the TLS handshake",
    "silent": "the client closed the connection after the TLS handshake without sending anything",
    "failed": "the TLS handshake between client and proxy failed",
}
_PINNED = "pinned: let through unread, as the client had refused the proxy's certificate"
_QUIC_LEFT = "QUIC was left alone"
_QUIC_REFUSED = "QUIC (UDP port 443) was refused so that apps fall back to TCP"
_POLICY = {
    "refuse": "recorded with QUIC (UDP port 443) refused, so that apps fall back to TCP",
    "leave": "recorded with QUIC left alone: what is sent by it is not observed",
}


@dataclass
class _Passage:
    """A connection that is let through: what began it and what it has carried."""

    number: int
    began: notes.Passing
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    last: float = 0.0
    beyond: int = 0


def records(path: Path, source: Opened, capture: str) -> Iterator[AnyRecord]:  # noqa: ARG001 - all readers' shape
    """The records of a file of notes, in its order; connections that never ended come last."""
    open_: dict[str, _Passage] = {}
    for number, (offset, line) in enumerate(_lines(source.file), 1):
        if not line.strip():
            continue
        try:
            note = notes.decode(line)
        except ValueError as error:
            yield Gap(
                capture=capture, reason="malformed" if line.endswith(b"\n") else "truncated", offset=offset,
                bytes=len(line), detail=f"a note: {error}",
            )  # fmt: skip
            continue
        match note:
            case notes.Refused():
                yield from _refused(capture, number, note)
            case notes.Quic():
                yield _hello(capture, number, note, "quic")
                yield Gap(
                    capture=capture, time=note.time, flow=f"n{number}", reason="quic", detail=_QUIC_REFUSED
                )
            case notes.Passing():
                open_[note.id] = _Passage(number, note, last=note.time)
                yield _hello(capture, number, note, "quic" if note.reason == "quic" else "tls")
            case notes.Records() if note.id in open_:
                _count(open_[note.id], note)
            case notes.Passed() if note.id in open_:
                yield from _passed(capture, open_.pop(note.id), note)
            case notes.Alert():
                yield Gap(
                    capture=capture, time=values.moment(note.time), reason="lost",
                    detail=f"trouble with the recording: {note.text[:MAX_TEXT]}",
                )  # fmt: skip
            case notes.Sitting() if note.quic:
                yield Gap(
                    capture=capture, time=values.moment(note.time), reason="quic", detail=_POLICY[note.quic]
                )
            case _:
                pass
    for passage in open_.values():
        yield from _passed(capture, passage, None)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines with their offsets; one that is too long is given in pieces, none of which is a note."""
    offset = 0
    while line := file.readline(notes.MAX_LINE + 1):
        yield offset, line
        offset += len(line)


def _common(capture: str, number: int, note: notes.Hello) -> dict[str, object]:
    src, sport = note.client or (None, None)
    dst, dport = note.server or (None, None)
    return {
        "capture": capture, "time": values.moment(note.time), "flow": f"n{number}", "src": values.address(src),
        "sport": values.port(sport), "dst": values.address(dst), "dport": values.port(dport),
    }  # fmt: skip


def _names(note: notes.Hello) -> dict[str, tuple[str, ...]]:
    """The name asked for; else what the device called the other side, where that is no address."""
    if sni := values.hostname(note.sni):
        return {"sni": (sni,)}
    host = note.server[0] if note.server else None
    if host and values.address(host) is None and (name := values.hostname(host)):
        return {"dns": (name,)}
    return {}


def _hello(capture: str, number: int, note: notes.Hello, transport: str) -> Tls:
    return Tls(
        **_common(capture, number, note),  # type: ignore[arg-type]
        id=f"n{number}.tls",
        host=values.hostname(note.sni),
        sni=values.text(note.sni) or None,
        alpn=note.alpn,
        ech=note.ech,
        transport="quic" if transport == "quic" else "tls",
    )


def _refused(capture: str, number: int, note: notes.Refused) -> Iterator[AnyRecord]:
    why = _HOW[note.how] + (f" ({note.alert[:100]})" if note.alert else "")
    yield _hello(capture, number, note, "tls")
    yield Flow(
        **_common(capture, number, note),  # type: ignore[arg-type]
        transport="tcp",
        first=values.moment(note.time),
        last=values.moment(note.time),
        observability="capture_failed",
        reason=f"pinned: {why}",
        names=_names(note),
    )
    name = next((name for names in _names(note).values() for name in names), "an unnamed host")
    app = f", app {note.process[:100]}" if note.process else ""
    yield Gap(
        capture=capture, time=values.moment(note.time), flow=f"n{number}", reason="pinned",
        detail=f"{name}: {why}{', ECH offered' if note.ech else ''}{app}",
    )  # fmt: skip


def _count(passage: _Passage, note: notes.Records) -> None:
    for milliseconds, size in note.sizes:
        passage.last = max(passage.last, passage.began.time + milliseconds / 1000)
        into = passage.up if size > 0 else passage.down
        if len(into) < MAX_RECORDS:
            into.append(abs(size))
        else:
            passage.beyond += 1


def _passed(capture: str, passage: _Passage, end: notes.Passed | None) -> Iterator[AnyRecord]:
    began = passage.began
    quic = began.reason == "quic"
    yield Flow(
        **_common(capture, passage.number, began),  # type: ignore[arg-type]
        transport=began.transport,
        payload_up=end.up if end else sum(passage.up),
        payload_down=end.down if end else sum(passage.down),
        tls_records_up=() if quic else tuple(passage.up),
        tls_records_down=() if quic else tuple(passage.down),
        first=values.moment(began.time),
        last=values.moment(end.time if end else passage.last),
        observability="not_observed" if quic else "metadata_only",
        reason=_QUIC_LEFT if quic else _PINNED,
        names=_names(began),
    )
    if quic:
        yield Gap(
            capture=capture, time=began.time, flow=f"n{passage.number}", reason="quic", detail=_QUIC_LEFT
        )
    if passage.beyond:
        detail = f"{passage.beyond} more TLS records of one connection"
        yield Gap(capture=capture, flow=f"n{passage.number}", reason="limit", detail=detail)
