"""WebSocket frames and messages of one direction."""

from __future__ import annotations

import itertools
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.protocols import websocket
from audit.protocols.websocket import Deflate, Message, Messages


def frame(kind: int, data: bytes, *, fin: bool = True, key: bytes | None = None, rsv1: bool = False) -> bytes:
    first = bytes(((0x80 if fin else 0) | (0x40 if rsv1 else 0) | kind,))
    mask = 0x80 if key else 0
    size = len(data)
    if size < 126:
        first += bytes((mask | size,))
    elif size < 1 << 16:
        first += bytes((mask | 126,)) + size.to_bytes(2, "big")
    else:
        first += bytes((mask | 127,)) + size.to_bytes(8, "big")
    body = bytes(byte ^ key[i % 4] for i, byte in enumerate(data)) if key else data
    return first + (key or b"") + body


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("810548656c6c6f", (1, b"Hello")),
        ("818537fa213d7f9f4d5158", (1, b"Hello")),
        ("010348656c80026c6f", (1, b"Hello")),
        ("890548656c6c6f", (9, b"Hello")),
        ("8a8537fa213d7f9f4d5158", (10, b"Hello")),
        ("827e0100" + "61" * 256, (2, b"a" * 256)),
    ],
)
def test_examples_of_rfc_6455(wire: str, expected: tuple[int, bytes]) -> None:
    # section 5.7
    assert Messages(True).feed(bytes.fromhex(wire)) == [Message(*expected, len(expected[1]), False, False, 0)]


@pytest.mark.parametrize(
    "wire", ["c107f248cdc9c90700", "4103f248cd8004c9c90700", "c10df24805000000ffffcac9c90700"]
)
def test_examples_of_rfc_7692(wire: str) -> None:
    # section 7.2.3
    (message,) = Messages(True, Deflate(True, 15)).feed(bytes.fromhex(wire))
    assert (message.data, message.compressed, message.cut) == (b"Hello", True, False)


def test_a_context_that_is_taken_over() -> None:
    # RFC 7692, 7.2.3.2
    found = Messages(True, Deflate(True, 15)).feed(bytes.fromhex("c107f248cdc9c90700c105f200110000"))
    assert [message.data for message in found] == [b"Hello", b"Hello"]


def test_what_was_negotiated() -> None:
    header = "x, permessage-deflate; server_no_context_takeover; client_max_window_bits=10"
    assert websocket.negotiated(header, response=True) == Deflate(False, 15)
    assert websocket.negotiated(header, response=False) == Deflate(True, 10)
    assert websocket.negotiated("x-webkit-deflate-frame", response=False) is None


def script(seed: int, deflate: bool) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    """Frames of a few messages, fragmented and with control frames between, and what they say."""
    dice = random.Random(seed)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    frames = []
    said: list[tuple[int, bytes]] = []
    for number in range(8):
        text = b"%d " % number + dice.randbytes(dice.randrange(300)).hex().encode()
        packed = deflate and dice.random() < 0.7
        body = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4] if packed else text
        cuts = [0, *sorted(dice.randrange(len(body) + 1) for _ in range(dice.randrange(3))), len(body)]
        for part, (a, b) in enumerate(itertools.pairwise(cuts)):
            last = b == len(body) and part == len(cuts) - 2
            key = dice.randbytes(3) + b"k"
            frames.append(frame(0 if part else 1, body[a:b], fin=last, key=key, rsv1=packed and not part))
            if dice.random() < 0.3:
                frames.append(frame(9, b"ping", key=key))
                said.append((9, b"ping"))
        if frames[-1][0] & 15 == 9 and said[-1] == (9, b"ping"):
            said.insert(-1, (1, text))
        else:
            said.append((1, text))
    return frames, said


@settings(deadline=None)
@given(st.integers(0, 9999), st.booleans(), st.lists(st.integers(1, 300), max_size=30))
def test_pieces_do_not_matter(seed: int, deflate: bool, sizes: list[int]) -> None:
    frames, said = script(seed, deflate)
    wire = b"".join(frames)
    stream = Messages(False, Deflate(True, 15) if deflate else None)
    found: list[Message] = []
    at = 0
    for size in [*sizes, len(wire)]:
        found += stream.feed(wire[at : at + size])
        at += size
    found += stream.finish()
    assert [(message.kind, message.data) for message in found] == said
    assert not any(message.cut for message in found)


@settings(
    derandomize=True, deadline=None
)  # a chain of frames inside random bytes is improbable, not impossible
@given(st.integers(0, 9999), st.integers(0, 1500), st.integers(1, 500))
def test_loss_is_told_and_the_rest_is_read(seed: int, at: int, size: int) -> None:
    frames, said = script(seed, False)
    frames += [frame(1, b"tail %d" % n, key=b"abcd") for n in range(5)]
    wire = b"".join(frames)
    tail = len(b"".join(frames[:-5]))
    at = min(at, tail - 1)
    size = min(size, tail - at)
    stream = Messages(False)
    found = stream.feed(wire[:at]) + stream.gap(size) + stream.feed(wire[at + size :]) + stream.finish()
    good = [(message.kind, message.data) for message in found if not message.cut]
    assert good[-5:] == [(1, b"tail %d" % n) for n in range(5)]
    assert all(message in said for message in good[:-5])


def test_a_compressed_message_behind_a_loss_is_not_guessed() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    frames = [
        frame(1, (packer.compress(b"same text") + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv1=True)
        for _ in range(5)
    ]
    stream = Messages(True, Deflate(True, 15))
    found = stream.feed(frames[0] + frames[1][:-3]) + stream.gap(3) + stream.feed(b"".join(frames[2:]))
    assert [(message.data, message.cut) for message in found] == [(b"same text", False)] + [(b"", True)] * 4


def test_bounds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 100)
    (long,) = Messages(True).feed(frame(2, b"x" * 150))
    assert (len(long.data), long.size, long.cut) == (100, 150, True)
    bomb = zlib.compress(bytes(1 << 22), 9, wbits=-15)
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1 << 16)
    (inflated,) = Messages(True, Deflate(False, 15)).feed(frame(2, bomb, rsv1=True))
    assert inflated.cut
    assert len(inflated.data) <= 1 << 17


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_unmask(data: bytes, key: bytes) -> None:
    assert websocket.unmask(data, key) == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
