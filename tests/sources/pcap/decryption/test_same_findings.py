"""The same traffic as proxy flows and as packets with keys: the same findings, with the same ids.

What differs lies in the traffic itself and is listed here with its reason.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TypeVar

import pytest

from audit import pipeline
from audit.experiment import capture_paths, key_paths, load
from audit.records import AnyRecord, Audit, Dns, Gap, Http
from audit.sources import Wanted, read

from ..corpus import CORPUS

T = TypeVar("T")
OURS = Path(__file__).resolve().parents[4] / "captures" / "chromium-156"
THEIRS = CORPUS / "experiments" / "chromium-156"

# Places of findings that only the packets show, by leak type and channel: the browser opens a second connection
# to the visited site in advance and asks nothing over it, so the proxy has no flow of it, and the packets have
# its ClientHello.
ONLY_IN_PACKETS = [("D1", "sni")]


def audited(folder: Path, suffix: str) -> Audit:
    """The findings of one of the experiment's two captures."""
    experiment = load(folder)
    keys = key_paths(folder, experiment)
    (path,) = (path for path in capture_paths(folder, experiment) if path.suffix == suffix)
    return pipeline.analyze([pipeline.Capture(path, path.name, keys)], experiment)


@pytest.mark.parametrize("folder", [OURS, THEIRS], ids=["ours", "theirs"])
def test_whichever_way_in(folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip("the shared corpus is not there")
    flows, packets = audited(folder, ".mitm"), audited(folder, ".pcapng")
    assert len(flows.findings) > 10
    shape = [
        (f.id, f.leak_type, f.expected, f.mode, f.severity, f.granularity, f.recipient.host)
        for f in flows.findings
    ]
    assert shape == [
        (f.id, f.leak_type, f.expected, f.mode, f.severity, f.granularity, f.recipient.host)
        for f in packets.findings
    ]
    extra = [
        (found.leak_type, place)
        for found, same in zip(packets.findings, flows.findings, strict=True)
        for place in _more(
            [(o.channel, o.request) for o in found.occurrences],
            [(o.channel, o.request) for o in same.occurrences],
        )
    ]
    assert sorted({(kind, channel) for kind, (channel, _) in extra}) == ONLY_IN_PACKETS
    missing = [
        _more([o.channel for o in same.occurrences], [o.channel for o in found.occurrences])
        for found, same in zip(packets.findings, flows.findings, strict=True)
    ]
    assert not any(missing)
    assert {o.capture for f in packets.findings for o in f.occurrences} == {"phone.pcapng"}


@pytest.mark.parametrize("folder", [OURS, THEIRS], ids=["ours", "theirs"])
def test_what_was_said(folder: Path) -> None:
    """The same requests and questions; responses differ only where the browser gave up before it had read one."""
    if not folder.is_dir():
        pytest.skip("the shared corpus is not there")
    flows, packets = said(folder, ".mitm"), said(folder, ".pcapng")
    assert _requests(flows) == _requests(packets)
    assert sum(_requests(flows).values()) == 55
    questions = [
        Counter(
            (r.name, r.type, r.response, r.src if r.response else r.dst) for r in one if isinstance(r, Dns)
        )
        for one in (flows, packets)
    ]
    assert questions[0] == questions[1]
    assert questions[0]
    whole, parts = _responses(flows), _responses(packets)
    given_up = parts - whole
    assert {asked for asked, *_ in whole - parts} == {asked for asked, *_ in given_up}
    assert given_up
    for (_, authority, path), status, body in given_up:
        assert (authority, path.partition("?")[0]) == (
            "duckduckgo.com",
            "/ac/",
        )  # overtaken by the next letter
        assert status in (None, 200)
        assert body == b""
    assert not [r for r in packets if isinstance(r, Gap)]  # nothing of it was lost


def said(folder: Path, suffix: str) -> list[AnyRecord]:
    """The records of one of the experiment's two captures."""
    experiment = load(folder)
    keys = key_paths(folder, experiment)
    (path,) = (path for path in capture_paths(folder, experiment) if path.suffix == suffix)
    return list(read(path, path.name, Wanted(keys=keys, bodies=True)))


def _requests(records: list[AnyRecord]) -> Counter[tuple[object, ...]]:
    return Counter(
        (r.method, r.scheme, r.authority, r.path, r.version, r.body or b"")
        for r in records
        if isinstance(r, Http)
    )


def _responses(records: list[AnyRecord]) -> Counter[tuple[tuple[str, str, str], int | None, bytes]]:
    return Counter(
        ((r.method, r.authority, r.path), r.status, r.response_body or b"")
        for r in records
        if isinstance(r, Http)
    )


def _more(these: list[T], than: list[T]) -> list[T]:
    left = list(than)
    more = []
    for one in these:
        if one in left:
            left.remove(one)
        else:
            more.append(one)
    return more
