"""A HAR file that may be handed on: requests as they were, masked, and searched again for what it must not tell.

Readable: addresses as far as the report shows them, names of fields and headers, planted values. The
finished file is searched by our own detector for every identifier, inferred value and cookie of the
captures, in all codings; what still holds one loses its body and its query; if that does not help, the
export is refused. Extension fields: `_resourceType` and `_webSocketMessages` (browsers), `_tweasel`
(tweasel's HAR files). PCAPdroid's `postData.encoding` has no place here: bytes that are no text are a mark, never
base64 (har_full.py writes it). Specified by: HAR 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from audit.decoding.channels import Channel
from audit.detection.needles import Needles
from audit.detection.search import Searcher
from audit.records import AnyRecord, Audit, Canary, Http, WebSocketMessage
from audit.reporting.evidence import readable_header
from audit.reporting.masking import Masker
from audit.reporting.wire import inert, inert_json

_SHORTEST = 6
_MOST_SECRETS = 20_000
_SECRET_HEADERS = frozenset({b"cookie", b"authorization", b"proxy-authorization", b"x-api-key"})


class Refused(ValueError):  # noqa: N818 (named as the reader says it)
    """The file would still tell a secret; the message says how often."""


def har(audit: Audit, records: Iterable[AnyRecord]) -> bytes:
    """The masked HAR of these records; raises Refused if it cannot be made clean."""
    masker = Masker(audit)
    secrets = _known(audit)
    entries: list[dict[str, Any]] = []
    sockets: dict[str, dict[str, Any]] = {}
    for record in records:
        if isinstance(record, Http) and record.direction == "up":
            secrets |= _carried(record)
            entries.append(_entry(record, masker))
            upgrades = record.status == 101 or record.method == "CONNECT"
            if record.flow and (upgrades or record.flow not in sockets):
                sockets[record.flow] = entries[-1]
        elif isinstance(record, WebSocketMessage):
            entry = sockets.get(record.flow or "")
            if entry is not None:
                entry.setdefault("_webSocketMessages", []).append(_message(record, masker))
    secrets -= {canary.value for canary in audit.experiment.canaries}
    return _clean(audit, entries, secrets)


def _clean(audit: Audit, entries: list[dict[str, Any]], secrets: set[str]) -> bytes:
    needles = Needles(
        Canary(id=f"s{number}", kind="identifier", value=value)
        for number, value in enumerate(sorted(secrets)[:_MOST_SECRETS])
    )
    searcher = Searcher(needles)

    def tells(part: Any) -> bool:
        data = json.dumps(part, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return bool(searcher.search([Channel("har", data, ("application/json",))]).sightings)

    for entry in entries:
        if tells(entry):
            _strip(entry)
    log = _log(audit, entries)
    left = sum(1 for entry in entries if tells(entry))
    if left or len(secrets) > _MOST_SECRETS or tells({**log["log"], "entries": []}):
        raise Refused(f"{left or 'some'} of the entries would still tell what must stay hidden")
    return (
        inert_json(json.dumps(log, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")) + b"\n"
    )


def _strip(entry: dict[str, Any]) -> None:
    request = entry["request"]
    request["url"] = request["url"].partition("?")[0]
    request["queryString"] = []
    request["headers"] = [{**each, "value": "masked"} for each in request["headers"]]
    request.pop("postData", None)
    entry.pop("_webSocketMessages", None)
    entry["_masked"] = "values of headers, query and body left out"


def _known(audit: Audit) -> set[str]:
    found = {finding.inferred for finding in audit.findings if finding.inferred}
    found |= {each.value for finding in audit.findings for each in finding.identifiers}
    return {each for each in found if len(each) >= _SHORTEST}


def _carried(record: Http) -> set[str]:
    """The values of cookies and credentials that a request carried."""
    found: set[str] = set()
    for name, value in record.headers:
        if name.lower() not in _SECRET_HEADERS:
            continue
        text = value.decode("utf-8", "backslashreplace")
        parts = text.split(";") if name.lower() == b"cookie" else [text]
        found |= {part.partition("=")[2].strip() if "=" in part else part.strip() for part in parts}
    return {each for each in found if len(each) >= _SHORTEST and not each.isdecimal()}


def _entry(record: Http, masker: Masker) -> dict[str, Any]:
    url = f"{record.scheme}://{record.authority}{record.path}"
    body = record.body or b""
    request: dict[str, Any] = {
        "method": record.method,
        "url": _masked(url, masker),
        "httpVersion": f"HTTP/{record.version}",
        "cookies": [],
        "headers": [
            {"name": inert(_text(name), 200), "value": _header(_text(name), _text(value), masker)}
            for name, value in record.headers
        ],
        "queryString": [],
        "headersSize": -1,
        "bodySize": record.request_bytes,
    }
    if body:
        media = next((_text(value) for name, value in record.headers if name.lower() == b"content-type"), "")
        text = _text(body)
        coded = "\\x" in text or len(body) > 1 << 20
        request["postData"] = {
            "mimeType": inert(media.partition(";")[0], 100),
            "text": masker.mark(text) if coded else _masked(text, masker),
        }
        if coded:
            request["postData"]["_masked"] = f"{len(body)} bytes that are no text"
    destination = next((_text(v) for n, v in record.headers if n.lower() == b"sec-fetch-dest"), "")
    entry: dict[str, Any] = {
        "startedDateTime": _time(record.time),
        "time": 0,
        "request": request,
        "response": {
            "status": record.status or 0,
            "statusText": "",
            "httpVersion": f"HTTP/{record.version}",
            "cookies": [],
            "headers": [],
            "content": {"size": record.response_bytes if record.response_bytes is not None else -1, "mimeType": ""},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": record.response_bytes if record.response_bytes is not None else -1,
        },
        "cache": {},
        "timings": {"send": -1, "wait": -1, "receive": -1},
        "_transmission": record.id,
        "_capture": inert(record.capture, 200),
    }  # fmt: skip
    if record.dst:
        entry["serverIPAddress"] = record.dst
    if destination and destination.isalpha():
        entry["_resourceType"] = destination
    return entry


def _message(record: WebSocketMessage, masker: Masker) -> dict[str, Any]:
    return {
        "type": "send" if record.direction == "up" else "receive",
        "time": record.time or 0,
        "opcode": 1 if record.type == "text" else 2,
        "data": _masked(_text(record.data[: 1 << 20]), masker)
        if record.type == "text"
        else masker.mark(_text(record.data)),
    }


def _header(name: str, value: str, masker: Masker) -> str:
    return value if readable_header(name, value, masker) else _masked(value, masker)


def _masked(text: str, masker: Masker) -> str:
    return "".join(piece.text for piece in masker.excerpt(text, None))


def _log(audit: Audit, entries: list[dict[str, Any]]) -> dict[str, Any]:
    times = sorted(each["startedDateTime"] for each in entries)
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": audit.tool.name, "version": audit.tool.version},
            "pages": [],
            "entries": entries,
            "comment": "masked: planted values are readable, equal marks are equal values",
            "_tweasel": {
                "startDate": times[0] if times else None,
                "endDate": times[-1] if times else None,
                "options": {"mode": "device"},
                "device": {"name": inert(audit.experiment.device.name, 200)},
                "versions": {audit.tool.name: audit.tool.version},
                "metaVersion": "1.0",
            },
        }
    }


def _time(at: float | None) -> str:
    return datetime.fromtimestamp(at or 0.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
