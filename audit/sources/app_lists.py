"""Connection lists made on the device (PCAPdroid's and TrackerControl's CSV) → flows with the app's name.

Such a list knows what a recording from outside cannot: which app opened a connection. Columns are told by
their names, whatever their order; what a list does not say stays unknown. It must never suggest that
content was seen. Columns after: PCAPdroid's connections export; TrackerControl's table of accesses.
"""

from __future__ import annotations

import csv
import io
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from audit.records import AnyRecord, Flow, Gap
from audit.sources.bad_capture import BadCapture
from audit.sources.opening import Opened

MAX_ROWS = 5_000_000
_NO_CONTENT = "a list made on the device: no content"
_COLUMNS = {
    "app": ("app", "appname", "app name", "package", "packagename", "package name", "uid"),
    "host": ("info", "host", "hostname", "domain", "dname", "daddr"),
    "ip": ("dstip", "daddr", "ip"),
    "port": ("dstport", "dport"),
    "src": ("srcip", "saddr"),
    "sport": ("srcport", "sport"),
    "protocol": ("ipproto", "protocol"),
    "up": ("bytessent", "sent"),
    "down": ("bytesrcvd", "received"),
    "packets_up": ("pktssent",),
    "packets_down": ("pktsrcvd",),
    "first": ("firstseen", "time", "timestamp"),
    "last": ("lastseen", "time", "timestamp"),
}
_PROTOCOLS: dict[str, Literal["tcp", "udp", "icmp"]] = {
    "6": "tcp", "17": "udp", "1": "icmp", "58": "icmp", "tcp": "tcp", "udp": "udp", "icmp": "icmp",
}  # fmt: skip


def records(path: Path, source: Opened, capture: str) -> Iterator[AnyRecord]:
    """One flow for each row, in the file's order. The first row that makes no sense is a gap, the others are
    counted in a second one. Raises BadCapture where no column says whom a connection went to."""
    text = io.TextIOWrapper(source.file, "utf-8-sig", "replace", newline="")
    try:
        head = text.readline(1 << 16)
        names = [
            each.strip().strip('"').casefold() for each in next(csv.reader([head], delimiter=_divider(head)))
        ]
        at = {
            key: next((names.index(name) for name in known if name in names), None)
            for key, known in _COLUMNS.items()
        }
        if at["host"] is None and at["ip"] is None:
            raise BadCapture(
                path,
                "line 1: no column says whom a connection went to (Info, DstIp, host, daddr)",
                "export the list again with all of its columns",
            )
        if at["app"] is None:
            yield Gap(
                capture=capture,
                reason="unsupported",
                detail="line 1: no column names the app (App, package, uid): the list tells connections only",
            )
        rows = csv.reader(text, delimiter=_divider(head))
        senseless = 0
        for number in range(1, MAX_ROWS + 1):
            try:
                row = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                yield Gap(
                    capture=capture, reason="malformed", detail=f"row {number} and what follows: {error}"
                )
                break
            if not any(row):
                continue
            flow = _flow(capture, number, {key: _cell(row, place) for key, place in at.items()})
            if flow:
                yield flow
                continue
            senseless += 1
            if senseless == 1:
                yield Gap(
                    capture=capture, reason="malformed", detail=f"row {number}: neither a name nor an address"
                )
        else:
            yield Gap(capture=capture, reason="limit", detail=f"only the first {MAX_ROWS:,} rows were read")
        if senseless > 1:
            yield Gap(
                capture=capture,
                reason="malformed",
                detail=f"{senseless - 1} more rows have neither a name nor an address",
            )
    finally:
        text.detach()  # the file is its opener's to close


def _divider(head: str) -> str:
    return max((",", ";", "\t"), key=head.count)


def _cell(row: list[str], place: int | None) -> str:
    return row[place].strip() if place is not None and place < len(row) else ""


def _flow(capture: str, number: int, cells: dict[str, str]) -> Flow | None:
    ip, host = _address(cells["ip"]), cells["host"].casefold().rstrip(".")
    if _address(host) or " " in host or "." not in host or len(host) > 253:
        ip, host = ip or _address(host), ""
    if not (ip or host):
        return None
    first, last = _time(cells["first"]), _time(cells["last"])
    return Flow(
        capture=capture,
        flow=f"l{number}",
        time=first,
        src=_address(cells["src"]),
        sport=_port(cells["sport"]),
        dst=ip,
        dport=_port(cells["port"]),
        transport=_PROTOCOLS.get(cells["protocol"].casefold(), "other"),
        packets_up=_number(cells["packets_up"]),
        packets_down=_number(cells["packets_down"]),
        payload_up=_number(cells["up"]),
        payload_down=_number(cells["down"]),
        first=first,
        last=last,
        observability="metadata_only",
        reason=_NO_CONTENT,
        names={"list": (host,)} if host else {},
        app=cells["app"][:200] or None,
    )


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None


def _port(text: str) -> int | None:
    number = _number(text)
    return number if number is not None and number < 1 << 16 else None


def _time(text: str) -> float | None:
    """Seconds since the epoch, from milliseconds or seconds since then, or from RFC 3339."""
    number = _number(text)
    if number is not None:
        return number / 1000 if number > 100_000_000_000 else float(number)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
