"""What comes before its time at the beginning of a connection is kept until its time has come."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from audit.records import Flow, Http, Tls

from . import craft

HEAD = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
BODY = b"\x1f\x8b\x08\x00" + bytes(range(128, 256)) * 3


def opened(pieces: list[bytes], order: tuple[int, ...]) -> bytes:
    """A connection whose client sends these pieces, which are recorded in this order."""
    ends = [101]
    for piece in pieces:
        ends.append(ends[-1] + len(piece))
    packets = [craft.tcp(b"", 100, flags="S"), craft.tcp(b"", 500, up=False, flags="SA", ack=101)]
    packets += [craft.tcp(pieces[at], ends[at], ack=501) for at in order]
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    return craft.pcap([*packets, craft.tcp(answer, 501, up=False, ack=ends[-1])])


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("chunk", [300, 1 << 20])
def test_a_body_before_its_head(tmp_path: Path, order: tuple[int, ...], chunk: int) -> None:
    pieces = [HEAD % len(BODY), BODY[:100], BODY[100:]]
    (http,) = [r for r in craft.read(tmp_path, opened(pieces, order), chunk=chunk) if isinstance(r, Http)]
    assert (http.path, http.status, http.body) == ("/p", 204, BODY)


def hello(name: bytes) -> bytes:
    """A ClientHello record with a server name and little else."""
    host = b"\0" + len(name).to_bytes(2, "big") + name
    listed = len(host).to_bytes(2, "big") + host
    extension = b"\0\0" + len(listed).to_bytes(2, "big") + listed
    extension += b"\0\x15" + (900).to_bytes(2, "big") + bytes(900)
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + b"\0\x02\x13\x01"
        + b"\x01\0"
        + len(extension).to_bytes(2, "big")
        + extension
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_hello_in_two_segments(tmp_path: Path, order: tuple[int, ...]) -> None:
    whole = hello(b"a.example")
    data = opened([whole[:500], whole[500:]], order)
    (tls,) = [r for r in craft.read(tmp_path, data) if isinstance(r, Tls)]
    assert tls.sni == "a.example"
    assert tls.ja4 is not None


@pytest.mark.parametrize("taken", [True, False])
def test_data_in_the_packet_that_opens(tmp_path: Path, taken: bool) -> None:  # TCP Fast Open, RFC 7413
    asked = b"GET /fast HTTP/1.1\r\nHost: a.example\r\n\r\n"
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    behind = 1 + len(asked)
    packets = [
        craft.tcp(asked, 0, flags="S"),
        craft.tcp(b"", 0, up=False, flags="SA", ack=behind if taken else 1),
        *([] if taken else [craft.tcp(asked, 1, ack=1)]),
        craft.tcp(answer, 1, up=False, ack=behind),
    ]
    found = craft.read(tmp_path, craft.pcap(packets))
    assert [(r.path, r.status) for r in found if isinstance(r, Http)] == [("/fast", 204)]
    (flow,) = (r for r in found if isinstance(r, Flow))
    assert flow.reason is None
