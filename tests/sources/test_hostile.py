"""Whatever the bytes: records, gaps, or `BadCapture`; and every record can be written as JSON."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import connection, http, tcp, websocket
from mitmproxy.io import tnetstring
from wsproto.frame_protocol import Opcode

from audit.sources import BadCapture, read


def harmless(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            for record in read(Path(file.name), "c"):
                msgspec.json.encode(record)
        except BadCapture as error:
            line = str(error)
            assert line.isprintable(), line


def flow_file() -> bytes:
    here, there = (
        connection.Client(peername=("10.0.0.1", 1), sockname=("", 0)),
        connection.Server(address=None),
    )
    here.tls = True
    asked = http.HTTPFlow(here, there)
    asked.request = http.Request.make("POST", "https://a.example/?q=1", b"body", {"host": "a.example"})
    asked.response = http.Response.make(101)
    asked.websocket = websocket.WebSocketData([websocket.WebSocketMessage(Opcode.TEXT, True, b"x", 1.0)])
    raw = tcp.TCPFlow(here, there)
    raw.messages = [tcp.TCPMessage(True, b"hello", 1.0)]
    return tnetstring.dumps(asked.get_state()) + tnetstring.dumps(raw.get_state())


FLOWS = flow_file()
ENTRY = {
    "startedDateTime": "2023-11-14T22:13:20Z",
    "time": 5,
    "connection": "5",
    "serverIPAddress": "192.0.2.1",
    "_initiator": {"stack": {"callFrames": [{"url": "https://a.example/"}]}},
    "_webSocketMessages": [{"type": "send", "opcode": 2, "data": "AA=="}],
    "request": {
        "method": "POST",
        "url": "https://a.example:443/?q=1",
        "headers": [{"name": "host", "value": "a.example"}],
        "cookies": [{"name": "a", "value": "b"}],
        "postData": {"mimeType": "text/plain", "params": [{"name": "a", "value": "b"}]},
    },
    "response": {"status": 200, "bodySize": 5, "headers": []},
}
HAR = json.dumps({"log": {"entries": [ENTRY, ENTRY]}}).encode()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(blacklist_categories=()))
    | st.sampled_from(
        [10**400, "https://[", "http://a:99999/", "base64", "\ud800", "9999-12-31T23:59:59-14:00"]
    )
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner), max_leaves=9
)


@given(st.binary(max_size=300))
def test_random_bytes(content: bytes) -> None:
    harmless(content)


@given(
    st.sampled_from([FLOWS, HAR]),
    st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=6
    ),
)
@settings(max_examples=400)
def test_mutated_files(content: bytes, changes: list[tuple[int, bytes, int]]) -> None:
    for at, new, removed in changes:
        at %= len(content)
        content = content[:at] + new + content[at + removed :]
    harmless(content)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where each member of a nested value lies."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    return [path] * bool(path) + [at for key, item in inner for at in places(item, (*path, key))]


def replaced(value: object, path: tuple[str | int, ...], new: object) -> object:
    if not path:
        return new
    if isinstance(value, dict):
        return {k: replaced(v, path[1:], new) if k == path[0] else v for k, v in value.items()}
    assert isinstance(value, list | tuple)
    return [replaced(v, path[1:], new) if k == path[0] else v for k, v in enumerate(value)]


@given(st.sampled_from(places(ENTRY)), JSON)
@settings(max_examples=300)
def test_har_entries_with_any_value_anywhere(path: tuple[str | int, ...], new: object) -> None:
    harmless(json.dumps({"log": {"entries": [replaced(ENTRY, path, new)]}}).encode())


STATE = next(iter([tnetstring.loads(FLOWS)]))
STATE_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.binary(max_size=9)
    | st.text(max_size=9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(places(STATE)),
    STATE_VALUES,
    st.sampled_from([None, 4, 7, 11, 18, [0, 11], [1, 0], [2, 0]]),
)
@settings(max_examples=400)
def test_flows_with_any_value_anywhere(path: tuple[str | int, ...], new: object, version: object) -> None:
    state = replaced(STATE, path, new)
    if version is not None:
        state = replaced(state, ("version",), version)
    harmless(tnetstring.dumps(state))  # type: ignore[arg-type]
