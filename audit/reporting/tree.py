"""The layers of a blob as a tree on a terminal, said so that a journalist understands it.

Where an adapter recognises the blob as the body of a known endpoint, it says what each field holds.
Everything from the blob is made inert; nothing is judged.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import groupby

from rich.text import Text
from rich.tree import Tree as Branches

from audit.adapters import Adapter, load
from audit.adapters.model import Unit
from audit.assessment.clock import rfc3339
from audit.decoding import Tree
from audit.decoding.evidence import is_clean, is_text
from audit.decoding.opaque import entropy
from audit.records import Field, Http
from audit.reporting.wire import inert

_SHOWN = 100
_MAX_CHILDREN = 400
_ROLES = {
    "visited_url": "the address of a visited page", "referrer": "the address of the page before",
    "title": "the title of a page", "search_term": "what was searched for", "typed_text": "what was typed",
    "host": "the name of a visited site", "identifier": "an identifier", "account": "an account",
    "ad_id": "the advertising identifier", "install_id": "an identifier of this installation",
    "session_id": "an identifier of this session", "hardware_id": "an identifier of this device",
    "event_time": "when it happened", "private_flag": "tells private mode", "event_name": "what happened",
    "usage": "what was used", "dwell": "how long", "click": "what was clicked",
    "hash": "a hash", "hash_prefix": "the beginning of a hash", "opaque": "encrypted for the recipient",
}  # fmt: skip
_PRIVATE = (b"privacy", b"private", b"incognito", b"inprivate")
_SAYS_PRIVATE = re.compile(r"(?i)(?:incognito|inprivate|private_?(?:mode|browsing)|is_?private)\Z")
_YES = (b"1", b"true", b"yes")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_LONG_AGO = 1e8  # below it, a number is a span and no moment


@cache
def layer_words() -> dict[str, str]:
    """What each layer is, in plain words."""
    return tomllib.loads(files(__package__).joinpath("layers.toml").read_text("utf-8"))


def branches(tree: Tree) -> Branches:
    """The tree of layers for rich to print."""
    fields = tree.fields
    below: dict[int, list[int]] = {}
    for index, field in enumerate(fields):
        if field.parent is not None:
            below.setdefault(field.parent, []).append(index)
    # a body saved by an editor ends in a newline of its own
    adapters = _adapters(fields[0].data.rstrip(b"\r\n"))
    root = Branches(_size(fields[0], [fields[i] for i in below.get(0, ())]))
    if len(fields) == 1 and fields[0].data and not fields[0].opaque:
        root.add(Text("nothing encoded was found in it: ").append(inert(fields[0].data, _SHOWN)))
    for adapter in adapters:
        root.add(Text(f"looks like: {adapter.name} ({adapter.organisation})", style="bold magenta"))
    todo = [(0, root)]
    while todo:
        index, branch = todo.pop()
        for layer, group in groupby(below.get(index, ()), key=lambda i: fields[i].layers[-1]):
            children = list(group)
            here = branch
            if any(fields[i].path != fields[index].path for i in children):
                here = branch.add(
                    _layer(layer, f"{len(children)} values" if len(children) > 1 else "one value")
                )
            closed = False
            for child in children[:_MAX_CHILDREN]:
                field = fields[child]
                structured = field.path != fields[index].path
                if field.opaque and not structured and (len(field.data) <= 32 or closed):
                    # an identifier written in hex or base64 says no more as bytes, another reading neither
                    continue
                closed |= field.opaque
                size = _size(field, [fields[i] for i in below.get(child, ())])
                line = _value(field, size, adapters) if structured else _layer(layer, size)
                short = len(field.data) <= _SHOWN and is_clean(field.data)
                if not structured and not field.opaque and (short or child not in below):
                    line.append(": ").append(inert(field.data, _SHOWN), style="default")
                todo.append((child, here.add(line)))
            if len(children) > _MAX_CHILDREN:
                here.add(f"… and {len(children) - _MAX_CHILDREN} more")
    return root


def _adapters(data: bytes) -> tuple[Adapter, ...]:
    body = Http(
        capture="", id="", method="POST", scheme="https", authority="", path="/", version="1.1", body=data,
        headers=((b"content-type", b"application/x-www-form-urlencoded"),),
    )  # fmt: skip
    return load().recognise(body)


def _layer(layer: str, size: str) -> Text:
    text = Text(layer, style="bold cyan")
    return text.append(f"  {layer_words().get(layer, layer)}; {size}", style="not bold")


def _value(field: Field, size: str, adapters: tuple[Adapter, ...]) -> Text:
    text = Text(inert(field.path or "(no name)", 200), style="green")
    text.append(" = ", style="default")
    shown = inert(field.data, _SHOWN) if is_text(field.data) else size
    text.append(shown, style="default")
    for said in _roles(field, adapters):
        text.append(f"   ← {said}", style="bold yellow")
    return text


def _roles(field: Field, adapters: tuple[Adapter, ...]) -> Iterator[str]:
    for adapter in adapters:
        role = adapter.role_of("body", field.path, field.layers)
        if role:
            yield _ROLES[role.role] + _moment(field.data, role.unit)
            return
    if field.data.lower() in _PRIVATE or (
        field.data.lower() in _YES and _SAYS_PRIVATE.search(field.path) is not None
    ):
        yield "says private mode"


def _moment(data: bytes, unit: Unit | None) -> str:
    """A time stamp as people write it, in UTC; empty for what is none."""
    try:
        time = rfc3339(float(data) * _SECONDS[unit]) if unit else None
    except ValueError:
        return ""
    return f": {time[:10]} {time[11:19]} UTC" if time and float(data) > _LONG_AGO else ""


def _size(field: Field, below: list[Field]) -> str:
    """How large a value is, and whether it stays closed in spite of what was opened of it."""
    count = f"{len(field.data):,} byte{'' if len(field.data) == 1 else 's'}"
    whole = any(not part.opaque and part.length == len(field.data) for part in below)
    if field.opaque and not whole:
        most = min(8.0, math.log2(max(2, len(field.data))))
        known = "nothing known opens all of it, only what follows" if below else "nothing known opens it"
        return (
            f"{count}, could not be opened ({known}; it may be encrypted); "
            f"entropy {entropy(field.data):.1f} of at most {most:.1f} bits per byte"
        )
    if not field.data:
        return "empty"
    return f"{count} of {'text' if is_clean(field.data) else 'binary data'}"
