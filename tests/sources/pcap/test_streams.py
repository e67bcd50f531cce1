"""Streams put in order: reordering, retransmission, overlap, loss; nothing stalls, nothing depends on luck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audit.sources.pcap.streams import MAX_HELD, PATIENCE, Half, Piece

DATA = bytes(range(256)) * 4


def test_in_order_and_around_the_end_of_the_numbers() -> None:
    half = Half(0xFFFFFFF0)
    pieces: list[Piece] = []
    for at in range(0, 64, 16):
        pieces += half.segment(0xFFFFFFF0 + at & 0xFFFFFFFF, DATA[at : at + 16], 0)
    assert pieces == [DATA[at : at + 16] for at in range(0, 64, 16)]


@given(st.permutations(range(12)), st.lists(st.integers(0, 11)))
def test_any_order_with_repetitions(order: list[int], again: list[int]) -> None:
    half = Half(1000)
    out = b""
    for index in [*order, *again]:
        for piece in half.segment(1000 + index * 10, DATA[index * 10 : index * 10 + 14], 0):
            assert isinstance(piece, bytes)
            out += piece
    assert out == DATA[:124]


def test_a_hole_is_a_gap_when_the_stream_ends() -> None:
    half = Half(0)
    assert list(half.segment(0, b"aa", 0)) == [b"aa"]
    assert list(half.segment(5, b"bb", 0)) == []
    assert list(half.flush()) == [3, b"bb"]


def test_a_hole_that_was_acknowledged_does_not_stall() -> None:
    half = Half(0)
    assert list(half.segment(10, b"later", 0)) == []
    pieces: list[Piece] = []
    for _ in range(PATIENCE + 1):
        pieces += half.acknowledged(15)
    assert pieces == [10, b"later"]


def test_what_waits_is_bounded() -> None:
    half = Half(0)
    pieces: list[Piece] = []
    size = 60_000
    for index in range(MAX_HELD // size + 2):
        pieces += half.segment(1 + index * size, bytes(size), 0)
    assert pieces[0] == 1
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) > MAX_HELD


def test_what_the_recording_cut_is_a_gap() -> None:
    half = Half(0)
    assert list(half.segment(0, b"head", 100)) == [b"head", 100]
    assert list(half.segment(104, b"next", 0)) == [b"next"]


@given(
    st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.binary(max_size=40), st.integers(0, 9)), max_size=40)
)
def test_hostile_numbers_never_raise(segments: list[tuple[int, bytes, int]]) -> None:
    half = Half()
    for sequence, data, cut in segments:
        list(half.segment(sequence, data, cut))
        list(half.acknowledged(sequence))
    list(half.flush())
    assert not half.waiting
