"""What is stepped over is the same as what is read: bodies passed over in columns, headers left out, holes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.cli.inspect import _Lines
from audit.records import AnyRecord, Http
from audit.sources import BadCapture
from audit.sources.opening import opened
from audit.sources.pcap import reading, tcp_flows
from audit.sources.pcap.conversation import Conversation
from audit.sources.pcap.streams import Half, Piece
from audit.sources.shape import AsRecords
from tests.sources.pcap import corpus
from tests.sources.pcap.craft import pcap, tcp

KINDS = frozenset({"flow", "dns", "tls", "http"})
_WITHOUT_FLOWS = KINDS - {"flow"}
SIZE = 700  # bytes of a segment
LONG, CHUNK = 9_000, 4_000
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LONG + b"x" * LONG
    + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"%x\r\n" % CHUNK + b"y" * CHUNK + b"\r\n") * 2 + b"0\r\n\r\n"
    + b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * LONG
)  # fmt: skip
QUESTIONS = b"".join(b"GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % number for number in range(3))


def conversation() -> list[bytes]:
    """Three requests, and their answers in many segments with acknowledgements between them."""
    packets = [
        tcp(b"", 99, flags="S"),
        tcp(b"", 999, up=False, flags="SA", ack=100),
        tcp(QUESTIONS, 100, ack=1_000),
    ]
    for at in range(0, len(ANSWERS), SIZE):
        packets.append(tcp(ANSWERS[at : at + SIZE], 1_000 + at, up=False, ack=100 + len(QUESTIONS)))
        if at % 3 == 0:
            packets.append(tcp(b"", 100 + len(QUESTIONS), ack=1_000 + at + SIZE, flags="A"))
    return packets


PACKETS = conversation()


def told(folder: Path, packets: list[bytes], *, bodies: bool) -> list[AnyRecord]:
    """What is told of packets, without the bodies of responses."""
    path = folder / "made.pcap"
    path.write_bytes(pcap(packets))
    with opened(path, "made") as source:
        records = list(reading.read(path, source, "made", bodies=bodies))
    return [
        msgspec.structs.replace(record, response_body=None) if isinstance(record, Http) else record
        for record in records
    ]


def sizes(records: list[AnyRecord]) -> list[int | None]:
    return [record.response_bytes for record in records if isinstance(record, Http)]


def test_bodies_that_nobody_wants_are_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = 0

    packet = Conversation.packet

    def counted(self: Conversation, *arguments: object) -> None:
        nonlocal fed
        fed += 1
        packet(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Conversation, "packet", counted)
    assert sizes(told(tmp_path, PACKETS, bodies=False)) == [LONG, 2 * CHUNK, LONG]
    few, fed = fed, 0
    assert sizes(told(tmp_path, PACKETS, bodies=True)) == [LONG, 2 * CHUNK, LONG]
    assert few < fed / 3


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(3, len(PACKETS) - 1), st.integers(-6, 6)), max_size=6),
    lost=st.sets(st.integers(3, len(PACKETS) - 1), max_size=3),
    again=st.sets(st.integers(3, len(PACKETS) - 1), max_size=3),
    block=st.sampled_from([1, 2, 16, 1_000]),
)
def test_disorder_and_loss_say_the_same_with_and_without_bodies(
    tmp_path_factory: pytest.TempPathFactory,
    moves: list[tuple[int, int]], lost: set[int], again: set[int], block: int,
) -> None:  # fmt: skip
    packets = [packet for number, packet in enumerate(PACKETS) if number not in lost]
    packets += [PACKETS[number] for number in again]
    for number, by in moves:
        packet = packets.pop(min(number, len(packets) - 1))
        packets.insert(max(min(number, len(packets)) + by, 0), packet)
    folder = tmp_path_factory.mktemp("stepping")
    whole = told(folder, packets, bodies=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tcp_flows, "_BLOCK", block)
        assert told(folder, packets, bodies=False) == whole


@given(
    st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=9), st.integers(0, 2)), max_size=30)
)
def test_holding_a_segment_is_taking_it(segments: list[tuple[int, bytes, int]]) -> None:
    plain, held = Half(0), Half(0)
    first: list[Piece] = []
    second: list[Piece] = []
    for sequence, data, cut in segments:
        first += plain.segment(sequence, data, cut)
        if not held.waiting or not held.hold(sequence, data, cut):
            second += held.segment(sequence, data, cut)
    first += plain.flush()
    second += held.flush()
    assert first == second


def _without_headers(record: AnyRecord) -> AnyRecord:
    if isinstance(record, Http):
        return msgspec.structs.replace(record, headers=(), response_headers=())
    return record


class _Light(AsRecords):
    """Records that do without headers."""

    whole = False


def test_headers_that_nobody_wants_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "made.pcap"
    path.write_bytes(pcap(PACKETS))
    with opened(path, "made") as source:
        whole = list(reading.read(path, source, "made", kinds=_WITHOUT_FLOWS))
    with opened(path, "made") as source:
        light = list(reading.read(path, source, "made", kinds=_WITHOUT_FLOWS, shape=_Light()))
    requests = [record for record in whole if isinstance(record, Http)]
    assert requests
    assert all(request.headers for request in requests)
    assert light == [_without_headers(record) for record in whole]


@pytest.mark.slow
def test_lines_of_the_corpus_are_those_of_whole_records() -> None:
    if not corpus.CORPUS.exists():
        pytest.skip("the shared corpus is not there")
    different = []
    for capture in corpus.captures():
        path = corpus.CORPUS / "captures" / capture
        lines = _Lines(KINDS)
        try:
            with opened(path, capture) as source:
                records = list(reading.read(path, source, capture, kinds=KINDS, bodies=True))
            with opened(path, capture) as source:
                light = b"".join(reading.read(path, source, capture, kinds=KINDS, shape=lines))
        except BadCapture:
            continue
        if light != b"".join(map(lines.record, records)):
            different.append(capture)
    assert not different
