"""What is said of one kind does not depend on which other kinds are wished for."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pytest

from audit.records import AnyRecord, Flow, Http
from audit.sources import BadCapture, Wanted, read
from audit.sources.pcap.reading import KINDS, PAYLOAD_KINDS

from . import corpus, craft

PHONE = Path(__file__).resolve().parents[3] / "captures" / "chromium-156" / "phone.pcapng"
ASKED = [*({kind} for kind in sorted(KINDS - {"flow"})), {"flow", "dns"}]


def only(records: list[AnyRecord], kinds: Collection[str]) -> list[AnyRecord]:
    return [record for record in records if record.__struct_config__.tag in kinds]


def told_alike(path: Path) -> None:
    whole = list(read(path, path.name))
    for kinds in ASKED:
        assert list(read(path, path.name, Wanted(frozenset(kinds)))) == only(whole, kinds), (path, kinds)


def test_of_the_projects_own_capture() -> None:
    told_alike(PHONE)


def test_a_request_behind_much_text(tmp_path: Path) -> None:
    lines = [b"measured %03d\r\n" % number for number in range(100)]
    request = b"GET /late HTTP/1.1\r\nHost: a.example\r\n\r\n"
    packets = [craft.tcp(piece, 1_000 + 14 * number, ack=1) for number, piece in enumerate([*lines, request])]
    data = craft.pcap(packets)
    whole = craft.read(tmp_path, data)
    for kind in sorted(PAYLOAD_KINDS):
        some = craft.read(tmp_path, data, kinds={"flow", kind})
        assert some == only(whole, {"flow", kind})
    (http,) = only(whole, {"http"})
    (flow,) = only(whole, {"flow"})
    assert isinstance(http, Http)
    assert http.path == "/late"
    assert isinstance(flow, Flow)
    assert flow.observability == "observed"


@pytest.mark.slow
@pytest.mark.skipif(not corpus.CORPUS.is_dir(), reason="the shared corpus is not there")
def test_of_the_corpus() -> None:
    for capture in corpus.captures()[::8]:
        path = corpus.CORPUS / "captures" / capture
        if path.stat().st_size < 1 << 20:
            with suppress(BadCapture):
                told_alike(path)
