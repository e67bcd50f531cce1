"""Exhibits: single transmissions kept as they were sent, with every layer on the way to what was found.

A reader who doubts a finding can follow the value from the request to the innermost text. Keeping all of
them would keep the whole capture, so the first of each sort is kept, and texts are cut and say so. What is
kept is the truth; masking is reporting's work. This module searches nothing: it shows what was found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence

from audit.decoding import Tree
from audit.decoding.channels import Channel
from audit.records import Exhibit, Field, Http, Layer, Message, MqttMessage, Transmission, WebSocketMessage

_AROUND = 90  # bytes shown on either side of the value
_VALUE = 320  # bytes of the value itself, or of its coded form
_HEADERS, _HEADER = 40, 400  # headers kept, bytes of each
_TARGET, _BODY = 2_000, 1_200  # bytes kept of the request's target and of its body
_MOST = 600  # exhibits of one capture
_TYPED = 80  # of one value typed in one place

Key = tuple[str, str, str, int]  # transmission, channel, path, offset


class Exhibits:
    """The exhibits of one capture, by transmission, channel, path and offset. `left_out` counts those that
    would have been kept if there were not so many."""

    def __init__(self) -> None:
        self.kept: dict[Key, Exhibit] = {}
        self._sorts: Counter[Hashable] = Counter()
        self.left_out = 0

    def wants(self, sort: Hashable, *, typed: bool = False) -> bool:
        """Whether one more exhibit of this sort is worth keeping; asking counts."""
        self._sorts[sort] += 1
        wanted = self._sorts[sort] <= (_TYPED if typed else 1)
        if wanted and len(self.kept) >= _MOST:
            self.left_out += 1
            return False
        return wanted

    def keep(
        self,
        record: Transmission,
        channel: Channel,
        tree: Tree,
        place: tuple[str, tuple[str, ...], int, int | None],
    ) -> None:
        """Keeps the record as an exhibit of the value at `place` (path, layers, offset, length; a length of
        None: to the end)."""
        path, layers, offset, length = place
        key = (record.id, channel.name, path, offset)
        if key not in self.kept:
            steps = _steps(tree.fields, path, layers, offset, length)
            self.kept[key] = _exhibit(record, channel.name, steps)


def _steps(
    fields: Sequence[Field], path: str, layers: tuple[str, ...], offset: int, length: int | None
) -> tuple[Layer, ...]:
    """From the channel's data down to the field, what stands there; empty where no field fits."""
    fitting = [
        index
        for index, field in enumerate(fields)
        if field.path == path
        and field.layers == layers[: len(field.layers)]
        and len(field.data) >= offset + (length or 0)
    ]
    if not fitting:
        return ()
    at = max(fitting, key=lambda index: len(fields[index].layers))
    steps: list[Layer] = []
    start, size = offset, length
    while True:
        field = fields[at]
        steps.append(_layer(field, start, len(field.data) - start if size is None else size))
        if field.parent is None:
            return tuple(reversed(steps))
        start, size = _origin(field, fields[field.parent])
        at = field.parent


def _origin(field: Field, parent: Field) -> tuple[int, int | None]:
    """Where in its parent a field was opened from: as it says, else where the same text stands
    (plain or as JSON escapes it), else anywhere."""
    if field.offset is not None:
        return field.offset, field.length
    text = json.dumps(field.data.decode("utf-8", "replace"))[1:-1].encode()
    for form in (field.data, field.data.replace(b"/", b"\\/"), text, text.replace(b"/", b"\\/")):
        at = parent.data.find(form)
        if form and at >= 0:
            return at, len(form)
    return 0, None


def _layer(field: Field, start: int, length: int) -> Layer:
    data = field.data
    end = min(len(data), start + length)
    before = data[max(0, start - _AROUND) : start]
    value = data[start : min(end, start + _VALUE)]
    after = data[end : end + _AROUND]
    return Layer(
        layer=field.layers[-1] if field.layers else "",
        path=field.path,
        before=("…" if start > _AROUND else "") + _text(before),
        value=_text(value) + ("…" if end - start > _VALUE else ""),
        after=_text(after) + ("…" if end + _AROUND < len(data) else ""),
        bytes=len(data),
    )


def _exhibit(record: Transmission, channel: str, layers: tuple[Layer, ...]) -> Exhibit:
    sent, body, size = "", b"", 0
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(record, Http):
        target = record.path if len(record.path) <= _TARGET else record.path[:_TARGET] + "…"
        sent = f"{record.method} {record.scheme}://{record.authority}{target}"
        headers = tuple(
            (_text(name[:_HEADER]), _text(value[:_HEADER]) + ("…" if len(value) > _HEADER else ""))
            for name, value in record.headers[:_HEADERS]
        )
        body, size = record.body or b"", record.request_bytes
    elif isinstance(record, WebSocketMessage):
        sent, body, size = f"WebSocket {record.url[:_TARGET]}", record.data, record.bytes
    elif isinstance(record, MqttMessage):
        sent, body, size = f"MQTT {(record.topic or '')[:_TARGET]}".rstrip(), record.data, record.bytes
    elif isinstance(record, Message):
        sent = f"{record.transport.upper()} message to port {record.dport}"
        body, size = record.data, record.bytes
    return Exhibit(
        capture=record.capture,
        transmission=record.id,
        channel=channel,
        request=sent,
        headers=headers,
        body=_text(body[:_BODY]),
        body_bytes=size,
        layers=layers,
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
