"""HTTP/2 connections seen from aside: the header blocks of RFC 7541, frames, late starts and loss."""

from __future__ import annotations

import random
import struct

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.protocols import http2


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + body


REQUESTS = (
    [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ],
    [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ],
)


@pytest.mark.parametrize("blocks", REQUESTS)
def test_header_blocks_of_rfc_7541(blocks: list[str]) -> None:
    # appendices C.3 and C.4
    direction = http2.Direction(False)
    events = direction.feed(http2.PREFACE + frame(4, 0, 0))
    for number, block in enumerate(blocks):
        events += direction.feed(frame(1, 5, 2 * number + 1, bytes.fromhex(block)))
    found = [event for event in events if isinstance(event, http2.Fields)]
    assert [event.kind for event in found] == ["request"] * 3
    assert found[0].fields == (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    )
    assert found[1].fields[-1] == ("cache-control", "no-cache")
    assert found[2].fields == (
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    )


def test_responses_of_rfc_7541() -> None:
    # appendix C.6
    blocks = (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
    )
    direction = http2.Direction(True)
    events = direction.feed(
        frame(4, 0, 0) + b"".join(frame(1, 4, 1, bytes.fromhex(block)) for block in blocks)
    )
    assert [event.fields[0] for event in events if isinstance(event, http2.Fields)] == [
        (":status", "302"),
        (":status", "307"),
    ]
    assert isinstance(events[1], http2.Fields)
    assert events[1].fields[3] == ("location", "https://www.example.com")


def test_padding_continuation_push_trailers() -> None:
    encoder = Encoder()
    push = encoder.encode([(":method", "GET"), (":path", "/style.css")])
    head = encoder.encode([(":status", "103")])
    main = encoder.encode([(":status", "200"), ("x-long", "y" * 90)])
    trailers = encoder.encode([("grpc-status", "0")])
    wire = (
        frame(4, 0, 0)
        + frame(5, 4 | 8, 1, b"\x03" + struct.pack(">I", 2) + push + bytes(3))
        + frame(1, 4, 1, head)
    )
    wire += (
        frame(1, 8 | 32, 1, b"\x02" + bytes(5) + main[:20] + bytes(2))
        + frame(9, 0, 1, main[20:30])
        + frame(9, 4, 1, main[30:])
    )
    wire += frame(0, 8, 1, b"\x04data" + bytes(4)) + frame(8, 0, 0, bytes(4)) + frame(1, 5, 1, trailers)
    wire += frame(3, 0, 1, bytes((0, 0, 0, 8))) + frame(7, 0, 0, bytes((0, 0, 0, 9, 0, 0, 0, 2)))
    events = http2.Direction(True).feed(wire)
    kinds = [event.kind for event in events if isinstance(event, http2.Fields)]
    assert kinds == ["push", "informational", "response", "trailers"]
    assert events[0] == http2.Fields(
        True, 2, "push", ((":method", "GET"), (":path", "/style.css")), False, True
    )
    assert events[3] == http2.Data(True, 1, b"data", False, 0)
    assert isinstance(events[4], http2.Fields)
    assert events[4].end
    assert events[5:] == [http2.Reset(True, 1, 8), http2.Away(True, 9, 2)]


def client(count: int, seed: int = 1) -> tuple[list[bytes], dict[int, dict[str, str]]]:
    """Frames of `count` requests with much in the header table, and what they say."""
    dice = random.Random(seed)
    encoder = Encoder()
    frames = [http2.PREFACE, frame(4, 0, 0, b"\0\4\0\0\xff\xff")]
    said = {}
    for number in range(count):
        stream = 2 * number + 1
        fields = {
            ":method": dice.choice(["GET", "POST"]),
            ":path": f"/{dice.randrange(2)}/{number // 7}",
            ":authority": f"{dice.choice('ab')}{number // 7}.example",
            "cookie": "c" * dice.randrange(60),
            f"x-{number}": str(number),
        }
        said[stream] = fields
        frames.append(frame(1, 4, stream, encoder.encode(fields.items())))
        frames.append(frame(0, 1, stream, dice.randbytes(dice.randrange(400))))
    return frames, said


@settings(deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(1, 90), max_size=60))
def test_pieces_do_not_matter(seed: int, sizes: list[int]) -> None:
    frames, said = client(6, seed)
    wire = b"".join(frames)
    direction = http2.Direction(False)
    events: list[http2.Event] = []
    at = 0
    for size in [*sizes, len(wire)]:
        events += direction.feed(wire[at : at + size])
        at += size
    events += direction.finish()
    assert events == http2.Direction(False).feed(wire)
    assert {e.stream: dict(e.fields) for e in events if isinstance(e, http2.Fields)} == said


def check(events: list[http2.Event], said: dict[int, dict[str, str]]) -> int:
    """Nothing is garbled: what is told of a request was said; returns how many were told in full."""
    full = 0
    for event in events:
        if isinstance(event, http2.Fields):
            for name, value in event.fields:
                assert name is None or value is None or said[event.stream][name] == value
                assert value is None or value in said[event.stream].values()
            full += event.known
            if event.known:
                assert dict(event.fields) == said[event.stream]
    return full


@settings(deadline=None)
@given(st.integers(0, 9999), st.data())
def test_loss_is_reported_and_nothing_is_garbled(seed: int, data: st.DataObject) -> None:
    frames, said = client(20, seed)
    wire = b"".join(frames)
    at = data.draw(st.integers(0, len(wire) - 10))
    size = data.draw(st.integers(1, 600))
    direction = http2.Direction(False)
    events = (
        direction.feed(wire[:at])
        + direction.gap(size)
        + direction.feed(wire[at + size :])
        + direction.finish()
    )
    check(events, said)
    lost = any(
        isinstance(event, http2.Unread) or (isinstance(event, http2.Data) and event.lost) for event in events
    )
    assert lost
    told = {event.stream for event in events if isinstance(event, http2.Fields)}
    reached = 0
    for number, piece in enumerate(frames):
        # every request whose frame begins more than one frame behind the loss is told
        if piece[3] == 1 and reached >= at + size + 450 + len(http2.PREFACE) and number > 1:
            assert int.from_bytes(piece[5:9], "big") in told
        reached += len(piece)


@pytest.mark.parametrize("late", [False, True])
def test_a_late_start(late: bool) -> None:
    frames, said = client(20)
    direction = http2.Direction(False, late=late)
    events = direction.feed(b"".join(frames[6:])[7 if late else 0 :]) + direction.finish()
    full = check(events, said)
    told = [event for event in events if isinstance(event, http2.Fields)]
    assert len(told) >= 17
    assert 0 < full < len(told)


def test_only_the_lost_part_of_a_data_frame_is_missing() -> None:
    frames, said = client(3)
    wire = (
        b"".join(frames)
        + frame(0, 1, 99, b"d" * 1000)
        + frame(1, 5, 101, Encoder().encode([(":method", "GET")]))
    )
    start = len(b"".join(frames)) + 100
    direction = http2.Direction(False)
    direction.feed(wire[:start])
    events = direction.gap(200) + direction.feed(wire[start + 200 :])
    data = [event for event in events if isinstance(event, http2.Data)]
    assert sum(event.lost for event in data) == 200
    assert sum(len(event.data) for event in data) == 800
    assert data[-1].end
    assert isinstance(events[-1], http2.Fields)
    assert events[-1].known
    assert said


def test_a_header_table_that_may_have_been_emptied_is_not_trusted() -> None:
    encoder = Encoder()
    first = encoder.encode([(":method", "GET"), ("x-old", "1")])
    second = encoder.encode([("x-large", "z" * 4000), ("x-new", "2")])
    third = encoder.encode([("x-new", "2"), ("x-old", "1")])
    direction = http2.Direction(True, late=True)
    events = direction.feed(
        b"".join(frame(1, 4, 2 * n + 1, block) for n, block in enumerate((first, second, third)))
    )
    events += direction.finish()
    last = [event for event in events if isinstance(event, http2.Fields)][-1]
    assert not last.known
    assert all(field in {(None, None), ("x-old", "1"), ("x-new", "2")} for field in last.fields)


def test_both_directions_and_bounds() -> None:
    connection = http2.Connection()
    frames, _ = client(1)
    assert len(connection.feed(b"".join(frames), False)) == 2
    assert connection.feed(frame(4, 0, 0) + frame(1, 5, 1, b"\x88"), True) == [
        http2.Fields(True, 1, "response", ((":status", "200"),), True, True)
    ]
    flood = frame(1, 0, 3, b"\x00" * 10) + frame(9, 0, 3, bytes(60000)) * 6
    reasons = [event.reason for event in connection.feed(flood, True) if isinstance(event, http2.Unread)]
    assert "limit" in reasons
    assert connection.gap(0, False) == []
