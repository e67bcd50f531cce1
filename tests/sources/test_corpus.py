"""The sources on real captures, counted a second way: by mitmproxy's own reader and by the json module."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import dns, exceptions, http, tcp, udp
from mitmproxy.io import FlowReader

from audit.records import AnyRecord, Dns, Flow, Gap, Http, Message, Tls, WebSocketMessage
from audit.sources import BadCapture, capture_format, read

CORPUS = Path(__file__).parents[2] / "../shared/corpus"
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the folder ../shared/corpus is absent")

FLOW_FILES = sorted(CORPUS.glob("**/*.mitm"))
HAR_FILES = sorted(CORPUS.glob("**/*.har"))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def kinds(records: list[AnyRecord]) -> Counter[str]:
    return Counter(type(record).__name__ for record in records)


def expected_of_flow_file(path: Path) -> Counter[str]:
    """By mitmproxy's reader and classes; the last state of each flow counts."""
    flows: dict[str, object] = {}
    with path.open("rb") as file:
        for item in FlowReader(file).stream():
            flows[item.id] = item
    counted: Counter[str] = Counter()
    for item in flows.values():
        if isinstance(item, http.HTTPFlow):
            counted["Http"] += 1
            counted["WebSocketMessage"] += len(item.websocket.messages) if item.websocket else 0
        elif isinstance(item, tcp.TCPFlow | udp.UDPFlow):
            counted["Message"] += len(item.messages)
        elif isinstance(item, dns.DNSFlow):
            counted["Dns"] += len(item.request.questions) * (2 if item.response else 1)
    clients = {item.client_conn.id: item.client_conn for item in flows.values()}  # type: ignore[attr-defined]
    counted["Flow"] = len(clients)
    counted["Tls"] = sum(client.tls for client in clients.values())
    return +counted


@pytest.mark.parametrize("path", FLOW_FILES, ids=names(FLOW_FILES))
def test_flow_files_are_read_completely(path: Path) -> None:
    try:
        expected = expected_of_flow_file(path)
    except exceptions.FlowReadException:
        with pytest.raises(BadCapture, match="flow format version"):
            list(read(path, path.name))
        return
    assert capture_format(path) == "mitm"
    assert kinds(list(read(path, path.name))) == expected


@pytest.mark.parametrize("path", HAR_FILES, ids=names(HAR_FILES))
def test_har_files_are_read_completely(path: Path) -> None:
    try:
        entries = json.loads(path.read_text("utf-8-sig"))["log"]["entries"]
    except (ValueError, KeyError):
        with pytest.raises(BadCapture):
            list(read(path, path.name))
        return
    assert capture_format(path) == "har"
    records = list(read(path, path.name))
    requests = [record for record in records if isinstance(record, Http)]
    assert [(r.method, r.status or 0) for r in requests] == [
        (e["request"]["method"], e["response"]["status"]) for e in entries
    ]
    for request, entry in zip(requests, entries, strict=True):
        url = entry["request"]["url"]
        assert url.startswith(f"{request.scheme}://")
        assert url.partition("#")[0].endswith(request.path)
        assert (request.body or b"").decode() == entry["request"].get("postData", {}).get("text", "")
    flows = {record.flow for record in records if isinstance(record, Flow)}
    assert {r.flow for r in requests if r.direction == "up"} == flows
    assert not any(isinstance(record, Gap) for record in records)


def test_the_chromium_run_has_what_its_proxy_saw() -> None:
    path = CORPUS / "experiments/chromium-156/flows.mitm"
    records = list(read(path, "flows.mitm"))
    typed = [r.path for r in records if isinstance(r, Http) and r.host == "duckduckgo.com"]
    assert any(path.startswith("/ac/?") for path in typed)
    assert all(r.host == r.sni for r in records if isinstance(r, Tls))
    assert {r.src for r in records if not isinstance(r, Gap)} == {"10.0.0.1"}
    assert all(r.answers for r in records if isinstance(r, Dns) and r.response and r.type == "A")


@pytest.mark.parametrize("path", FLOW_FILES + HAR_FILES, ids=names(FLOW_FILES + HAR_FILES))
def test_transmission_ids_are_unique_and_the_same_at_every_reading(path: Path) -> None:
    try:
        first, second = list(read(path, "a")), list(read(path, "a"))
    except BadCapture:
        return
    assert first == second
    ids = [record.id for record in first if not isinstance(record, Flow | Gap)]
    assert len(set(ids)) == len(ids)
    flows = [record.flow for record in first if isinstance(record, Flow)]
    assert len(set(flows)) == len(flows)


def transmissions(records: list[AnyRecord]) -> list[AnyRecord]:
    return [r for r in records if isinstance(r, Http | Dns | Message | WebSocketMessage)]


def cuts(content: bytes) -> Iterator[int]:
    yield from sorted({len(content) * part // 40 for part in range(1, 40)} - {0})


@pytest.mark.parametrize("path", FLOW_FILES, ids=names(FLOW_FILES))
def test_a_cut_flow_file_yields_what_lies_before_the_cut(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    try:
        whole = transmissions(list(read(path, "c")))
    except BadCapture:
        return
    ends = frame_ends(content)
    legacy_sockets = path.name == "dumpfile-7-websocket.mitm"  # one transmission from two frames
    for size in cuts(content):
        cut = tmp_path / "cut.mitm"
        cut.write_bytes(content[:size])
        records = list(read(cut, "c"))
        gaps = [r for r in records if isinstance(r, Gap)]
        begun = max([0, *(end for end in ends if end <= size)])
        assert [(gap.reason, gap.offset, gap.bytes) for gap in gaps] == (
            [] if begun == size else [("truncated", begun, size - begun)]
        )
        kept = transmissions(records)
        if not legacy_sockets:
            assert kept == whole[: len(kept)]
            assert len({r.id.partition(".")[0] for r in kept}) == sum(end <= size for end in ends)  # type: ignore[union-attr]


def frame_ends(content: bytes) -> list[int]:
    """Where each flow ends: counted from the length prefixes alone."""
    ends, position = [], 0
    while position < len(content):
        length, _, _ = content[position : position + 13].partition(b":")
        position += len(length) + 1 + int(length) + 1
        ends.append(position)
    return ends


@pytest.mark.parametrize("path", HAR_FILES, ids=names(HAR_FILES))
def test_a_cut_har_yields_the_entries_before_the_cut(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    try:
        whole = transmissions(list(read(path, "c")))
    except BadCapture:
        return
    text = content.decode("utf-8-sig")
    begin = len(content) - len(text.encode()) + len(text[: text.index('"entries"')].encode())
    seen = 0
    for size in cuts(content):
        cut = tmp_path / "cut.har"
        cut.write_bytes(content[:size])
        try:
            records = list(read(cut, "c"))
        except BadCapture:
            assert size <= begin + 40  # the list of entries has not begun
            continue
        kept = transmissions(records)
        assert kept == whole[: len(kept)]
        assert len(kept) >= seen
        seen = len(kept)
        (gap,) = [r for r in records if isinstance(r, Gap)]
        assert gap.reason in ("truncated", "malformed")
        assert gap.offset is not None
        assert gap.bytes == size - gap.offset
    if len(whole) > 3:
        assert seen > len(whole) // 2
