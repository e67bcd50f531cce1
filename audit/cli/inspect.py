"""`inspect`: every record of a capture, a JSON line each."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from msgspec.structs import asdict, fields

from audit.assessment.clock import rfc3339, rfc3339_at, rfc3339_of
from audit.cli.targets import addresses, keys_option, path_of
from audit.protocols import grpc
from audit.protocols.malformed import Malformed
from audit.records import AnyRecord, Dns, Flow, Http, Tls
from audit.reporting.wire import inert_json
from audit.sources import Wanted, read, read_as
from audit.sources.shape import AsRecords, Columns

_UNSHOWN = ("body", "headers", "response_headers", "response_body", "data", "initiator")
_GRPC = "grpc"
_OF_A_CALL = ("capture", "flow", "src", "sport", "dst", "dport", "id", "host", "direction", "secured_by")
_OFTEN_EMPTY = ("tls_records_up", "tls_records_down", "parts")
_encoder = msgspec.json.Encoder()
_encode = _encoder.encode


@click.command()
@click.argument("capture", metavar="CAPTURE")
@click.option("--kind", "kinds", metavar="KIND,...", help="Only these kinds, such as http,dns,gap.")
@click.option("--id", "ids", multiple=True, metavar="ID",
              help="Only the transmission of this id, with its headers and its body. Repeatable.")  # fmt: skip
@keys_option
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes for packet captures."
)
@click.option(
    "--device",
    multiple=True,
    metavar="ADDRESS",
    callback=addresses,
    help="An IP address of the device. Repeatable.",
)
@click.option("--follow", is_flag=True, help="Go on as the packet capture grows, until interrupted.")
def inspect(
    capture: str, kinds: str | None, ids: tuple[str, ...], keys: tuple[Path, ...], jobs: int,
    device: tuple[str, ...], *, follow: bool,
) -> None:  # fmt: skip
    """Prints every record the sources see in CAPTURE as JSON lines; - reads stdin.

    \b
    Example:
      privacy-audit inspect flows.mitm --kind http | jq -r .authority | sort | uniq -c
      privacy-audit inspect phone.pcapng --keys keys.log --kind http
      tcpdump -w - | privacy-audit inspect - --follow --kind dns,tls
      privacy-audit inspect flows.mitm --id f16
    """
    wanted = Wanted(_kinds(kinds), device, jobs, keys)
    gc.set_threshold(30_000)  # records come and go by the thousand, and hold no cycles
    out = sys.stdout.buffer
    if follow:
        from audit.cli.following import following

        with following(capture) as more:
            for line in _told(more.path, capture, wanted._replace(more=more), ids):
                out.write(inert_json(line))
                out.flush()
        return
    with path_of(capture) as path:
        lines = _told(path, capture, wanted, ids)
        out.writelines(map(inert_json, _some(lines, capture, ids) if ids else lines))
    out.flush()


def _some(lines: Iterator[bytes], capture: str, ids: tuple[str, ...]) -> Iterator[bytes]:
    """The lines as they come; raises Refused where there is none, as silence would look like an answer."""
    first = next(lines, None)
    if first is None:
        from audit.cli.terminal import Refused

        raise Refused(
            f"{capture}: holds no transmission {' or '.join(ids)}; check the file, "
            "and name its key log with --keys if it was encrypted"
        )
    yield first
    yield from lines


def _told(path: Path, capture: str, wanted: Wanted, ids: tuple[str, ...]) -> Iterator[bytes]:
    if ids:
        records = read(path, Path(capture).name, wanted)
        return (_whole(each) for each in records if getattr(each, "id", None) in ids)
    lines = _Lines(wanted.kinds)
    if wanted.kinds is not None and _GRPC in wanted.kinds:
        wanted = wanted._replace(kinds=wanted.kinds - {_GRPC} | {"http"})
    return read_as(lines, path, Path(capture).name, wanted)


def _kinds(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    known = {struct.__struct_config__.tag for struct in get_args(AnyRecord)} | {_GRPC}
    wanted = {part.strip() for part in text.split(",") if part.strip()}
    if not wanted or wanted - known:
        raise click.BadParameter(f"kinds are {', '.join(sorted(map(str, known)))}", param_hint="--kind")
    return frozenset(wanted)


class _Lines:
    """Records as JSON lines: their times as text, without what is not shown. A call by gRPC has a line of
    its own beside that of its request."""

    def __init__(self, kinds: frozenset[str] | None) -> None:
        self._kinds = kinds
        self.whole = kinds is None or _GRPC in kinds  # headers are not shown, but those of gRPC are looked at

    def record(self, record: AnyRecord) -> bytes:
        if not isinstance(record, Http):
            return self._line(record)
        line = self._line(record) if self._kinds is None or "http" in self._kinds else b""
        return line + _call(record) if self._kinds is None or _GRPC in self._kinds else line

    def records(self, kind: type[Dns | Tls | Http], columns: Columns) -> list[bytes]:
        if kind is Http and self.whole:
            return list(map(self.record, AsRecords().records(kind, columns)))
        columns = {**columns, "time": rfc3339_at(columns["time"])}
        line, names = _line_about(kind)
        lines = _encoder.encode_lines(list(map(line, *(columns[name] for name in names))))
        return lines.splitlines(keepends=True)

    def _line(self, record: AnyRecord) -> bytes:
        if not isinstance(record, Flow):
            line, names = _line_about(type(record))
            shown = attrgetter(*names[2:])
            return _encode(line(record.capture, rfc3339(record.time), *shown(record))) + b"\n"
        values: dict[str, Any] = {"kind": "flow", **asdict(record)}
        for name in ("time", "first", "last"):
            values[name] = rfc3339(values[name])
        for name in _OFTEN_EMPTY:
            if not values[name]:
                del values[name]
        return _encode(values) + b"\n"

    def flows(self, columns: Columns, *, apart: bool = True) -> list[bytes]:
        import numpy as np

        count = len(columns["first"])
        times = rfc3339_of(np.concatenate((columns["first"], columns["last"])))
        columns = {**columns, "time": times[:count], "first": times[:count], "last": times[count:]}
        shown = [field for field in _fields(Flow) if field.name in columns or field.name not in _OFTEN_EMPTY]
        line = _line_of(tuple(field.name for field in shown), "flow")
        rows = map(
            line,
            *(columns[field.name] if field.name in columns else repeat(field.default) for field in shown),
        )
        lines = _encoder.encode_lines(list(rows))
        return lines.splitlines(keepends=True) if apart else [lines]

    def together(self, made: Iterable[bytes]) -> list[bytes]:
        lines = b"".join(made)
        return [lines] if lines else []


_fields = lru_cache(fields)


@lru_cache
def _line_of(names: tuple[str, ...], kind: str) -> type[msgspec.Struct]:
    """What a line about a record of this kind is made of."""
    return msgspec.defstruct("line", names, tag=kind, tag_field="kind", gc=False)


@lru_cache
def _line_about(record: type[AnyRecord]) -> tuple[type[msgspec.Struct], tuple[str, ...]]:
    """What a line about such a record is made of, and the names of what is in it."""
    names = tuple(field.name for field in fields(record) if field.name not in _UNSHOWN)
    return _line_of(names, str(record.__struct_config__.tag)), names


def _call(http: Http) -> bytes:
    """The line of a call by gRPC, nothing for any other request. `messages` are those that were sent."""
    kind = next((value for name, value in http.headers if name.lower() == b"content-type"), b"")
    if not kind.startswith(b"application/grpc"):
        return b""
    try:
        messages = len(grpc.parse(http.body or b""))
    except Malformed:
        messages = 0
    shared = {name: getattr(http, name) for name in _OF_A_CALL}
    return (
        _encode(
            {"kind": _GRPC, **shared, "time": rfc3339(http.time), "method": http.path, "messages": messages}
        )
        + b"\n"
    )


def _whole(record: AnyRecord) -> bytes:
    """A transmission with all that it carried; bytes that are no UTF-8 stand there as \\xNN."""
    values: dict[str, Any] = {"kind": record.__struct_config__.tag, **asdict(record)}
    values["time"] = rfc3339(record.time)
    for name in ("headers", "response_headers"):
        if name in values:
            values[name] = [[_text(part) for part in header] for header in values[name]]
    for name in ("body", "response_body", "data"):
        if values.get(name) is not None:
            values[name] = _text(values[name])
    return _encode(values) + b"\n"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
