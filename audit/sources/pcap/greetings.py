"""TLS connections that begin as they should: a whole hello, then the server's, in order and without loss.

Nearly all do, and these are read at one glance, without a reader that is fed packet by packet. Where anything
is unusual nothing is said, and `conversation` reads the connection from its beginning: both must tell the same.
Specification: see `audit.protocols.tls`.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.protocols import tls
from audit.protocols.malformed import Malformed
from audit.sources.pcap.segments import Run
from audit.sources.pcap.streams import UNKNOWN

_TLS_13 = 0x0304
_ENDS = 0x07  # FIN, SYN and RST
_ACK = 0x10
_MASK = 0xFFFFFFFF
_MAX_FLIGHT = 32 << 10  # bytes of a server's answer that are looked at here


class Greeting(NamedTuple):
    """A client's hello, the place in the run of the packet that completed it, and the names in the server's
    certificate where it was sent in clear."""

    place: int
    hello: tls.ClientHello
    names: tuple[str, ...]


def read(run: Run, start: int, stop: int, view: memoryview, expected: tuple[int, int]) -> Greeting | None:
    """The greeting of the connection whose packets stand from `start` to `stop`, all that can be read of it; None
    if it is not complete there, or unusual. `expected` are the sequence numbers with which its sides begin."""
    client = run.side[start]
    following, flags, side = run.following, run.flags, run.side
    sequences, carried, sent, places = run.sequence, run.carried, run.sent, run.place
    due = sequences[start]
    if expected[client] not in (UNKNOWN, due):
        return None
    server_due = expected[1 - client]
    hello, whole, held = None, 0, b""
    place = index = start
    while index < stop:
        if following[index] != index:
            index = following[index]
            continue
        size, at = sent[index], places[index]
        if flags[index] & _ENDS or carried[index] != size:
            return None
        data = bytes(view[at : at + size])
        if side[index] == client:
            if hello is not None or sequences[index] != due:
                return None
            due = due + size & _MASK
            held = held + data if held else data
            if not whole:
                whole = _size(held)
                if not whole:
                    return None
            if len(held) >= whole:
                hello = _hello(held) if len(held) == whole else None
                if hello is None:
                    return None
                place, held = index, b""
            if server_due == UNKNOWN and flags[index] & _ACK:
                server_due = run.acknowledged[index]
        else:
            if hello is None or sequences[index] != server_due:
                return None
            server_due = server_due + size & _MASK
            held = held + data if held else data
            try:
                answer = _answer(held)
            except Malformed:
                return None
            if answer is not None:
                return Greeting(place, hello, answer)
            if len(held) > _MAX_FLIGHT:
                return None
        index += 1
    return None


def _size(data: bytes) -> int:
    """Bytes of a record that holds a ClientHello and nothing else; 0 if these begin no such."""
    if (
        len(data) < 9
        or data[0] != tls.HANDSHAKE
        or data[1] != 3
        or data[2] > 4
        or data[5] != tls.CLIENT_HELLO
    ):
        return 0
    size = data[3] << 8 | data[4]
    message = data[6] << 16 | data[7] << 8 | data[8]
    return size + 5 if size == message + 4 and size <= tls.MAX_RECORD else 0


def _hello(record: bytes) -> tls.ClientHello | None:
    try:
        hello = tls.client_hello(record[9:])
    except Malformed:
        return None
    return hello if hello.complete else None


def _answer(data: bytes) -> tuple[str, ...] | None:
    """The names in the certificate of a server whose answer begins with these bytes, none in TLS 1.3; None
    while it is not complete. Raises Malformed where it is anything else."""
    messages = b""
    hello, at = None, 0
    while len(data) >= at + 5:
        if data[at] != tls.HANDSHAKE or data[at + 1] != 3 or data[at + 2] > 4:
            raise Malformed("no record of a handshake")
        end = at + 5 + (data[at + 3] << 8 | data[at + 4])
        if end > len(data):
            return None
        messages += data[at + 5 : end]
        at = end
        while len(messages) >= 4:
            size = 4 + int.from_bytes(messages[1:4], "big")
            if messages[0] != (tls.SERVER_HELLO if hello is None else tls.CERTIFICATE):
                raise Malformed("no hello, or no certificate behind it")
            if size > len(messages):
                break
            if hello is not None:
                found = tls.certificate(messages[4:size])
                return found.names or ((found.common_name,) if found.common_name else ())
            hello = tls.server_hello(messages[4:size])
            if hello.retry:
                raise Malformed("another hello is asked for")
            if hello.version == _TLS_13:
                return ()
            messages = messages[size:]
    return None
