"""Where the beginning of something typed can stand: the whole values of a transmission.

Fields are such values, and so are the segments of a path, and the values of a form or of an address that
was not worth opening. Nothing is decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from audit.decoding.channels import Channel
from audit.records import Field, LimitHit

_MAX_PARTS = 5_000
_ADDRESS = re.compile(rb"[a-z]{2,8}://")

Value = tuple[str, tuple[str, ...], bytes]


def typed_values(channel: Channel, fields: Iterable[Field], limits: list[LimitHit]) -> Iterator[Value]:
    """The path, layers and data of each value; `fields` are those that the channel was opened into. A bound that
    is hit is added to `limits`."""
    opened = False
    for field in fields:
        opened |= field.parent is not None
        yield field.path, field.layers, field.data
        if channel.name == "url.path" and b"/" in field.data[:-1]:
            for number, segment in enumerate(_parts(field.data, b"/", channel, limits)):
                if segment:
                    yield f"/{number}", (*field.layers, "path"), segment
    if not opened and b"=" in channel.data:
        layer = "form" if "form" in channel.hints else "url"
        for pair in _parts(_query(channel), b"&", channel, limits):
            name, _, value = pair.partition(b"=")
            yield name.decode("utf-8", "replace"), (layer,), value


def _parts(data: bytes, sign: bytes, channel: Channel, limits: list[LimitHit]) -> list[bytes]:
    parts = data.split(sign, _MAX_PARTS)
    if len(parts) > _MAX_PARTS:
        said = f"{channel.name}: what was typed was looked for in the first {_MAX_PARTS} parts only"
        limits.append(LimitHit(bound="fields", detail=said))
    return parts[:_MAX_PARTS]


def _query(channel: Channel) -> bytes:
    """What of an unopened channel is written as a form: all of it, or the query of an address."""
    if "form" in channel.hints:
        return channel.data
    return channel.data.partition(b"?")[2].partition(b"#")[0] if _ADDRESS.match(channel.data) else b""
