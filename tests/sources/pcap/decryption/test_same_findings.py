"""The same traffic as proxy flows and as packets with keys: the same findings, with the same ids.

What differs lies in the traffic itself and is listed here with its reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest

from audit import pipeline
from audit.experiment import capture_paths, key_paths, load
from audit.records import Audit

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


def _more(these: list[T], than: list[T]) -> list[T]:
    left = list(than)
    more = []
    for one in these:
        if one in left:
            left.remove(one)
        else:
            more.append(one)
    return more
