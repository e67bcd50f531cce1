"""Every adapter's own examples: what must be recognised is, with each value at its place and in its role;
what only looks alike is not."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import urlsplit

import pytest

from audit.adapters import Adapter, load
from audit.adapters.model import Example
from audit.decoding.channels import channels
from audit.detection.opened import opened
from audit.records import Http

HAND_WRITTEN = [adapter for adapter in load().adapters if adapter.example]
EXAMPLES = [
    pytest.param(adapter, example, id=f"{adapter.id}-{number}")
    for adapter in HAND_WRITTEN
    for number, example in enumerate(adapter.example)
]


def request_of(example: Example) -> Http:
    url = urlsplit(example.url)
    return Http(
        capture="example",
        id="example",
        host=url.hostname,
        method=example.method,
        scheme=url.scheme,
        authority=url.netloc,
        path=url.path + (f"?{url.query}" if url.query else ""),
        version="2",
        headers=tuple((name.encode(), value.encode()) for name, value in example.headers.items()),
        body=b64decode(example.body_base64, validate=True) if example.body_base64 else example.body.encode(),
    )


@pytest.mark.parametrize(("adapter", "example"), EXAMPLES)
def test_example(adapter: Adapter, example: Example) -> None:
    request = request_of(example)
    recognised = load().recognise(request)
    assert (adapter.id in [known.id for known in recognised]) == example.recognised
    roles: set[str] = set()
    places = []
    parts = channels(request)
    for channel, tree in zip(parts, opened(parts, (adapter,)), strict=True):
        for field in tree.fields:
            role = adapter.role_of(channel.name, field.path, field.layers)
            if role:
                roles.add(role.role)
                places.append((channel.name, field.path, role.role, field.data))
    for found in example.finds:
        assert any(
            (found.channel, found.path, found.role) == place[:3] and found.value.encode() in place[3]
            for place in places
        ), f"{found} is not among {[(*place[:3], place[3][:80]) for place in places]}"
    assert not roles & set(example.without)


@pytest.mark.parametrize("adapter", HAND_WRITTEN, ids=lambda adapter: adapter.id)
def test_has_both_kinds_of_example(adapter: Adapter) -> None:
    assert any(example.recognised for example in adapter.example)
    assert any(not example.recognised or example.without for example in adapter.example)


def test_only_converted_adapters_and_search_engines_come_without_examples() -> None:
    without = [adapter for adapter in load().adapters if not adapter.example]
    assert all(
        adapter.kind in ("search", "suggestions") or adapter.id.startswith("trackhar.") for adapter in without
    )
