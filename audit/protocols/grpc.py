"""The framing of gRPC messages: a flag, a length, and the message as sent.

Source: "gRPC over HTTP2" (Length-Prefixed-Message); the same framing serves gRPC-Web. Must never inflate
anything: how a message is compressed stands in the headers, which are not here.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.protocols.malformed import Malformed

MAX_MESSAGE = 16 << 20


class Message(NamedTuple):
    """One message; `cut` if less of it is there than was announced. `trailers` as gRPC-Web sends them."""

    compressed: bool
    data: bytes
    cut: bool
    trailers: bool


class Messages:
    """The messages in the data of one direction of a stream."""

    def __init__(self) -> None:
        self._buffer = b""
        self._missing = False

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with these bytes.

        Raises Malformed where no message can begin, or one is longer than MAX_MESSAGE.
        """
        if self._missing:
            return []
        buffer = self._buffer + data if self._buffer else data
        messages: list[Message] = []
        at = 0
        while len(buffer) - at >= 5:
            size = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if buffer[at] & 0x7E or size > MAX_MESSAGE:
                if messages:
                    break
                raise Malformed("no gRPC message, or one that is too long")
            if len(buffer) < at + 5 + size:
                break
            messages.append(
                Message(bool(buffer[at] & 1), buffer[at + 5 : at + 5 + size], False, buffer[at] >= 128)
            )
            at += 5 + size
        self._buffer = buffer[at:]
        return messages

    def gap(self, size: int) -> list[Message]:
        """`size` bytes are missing: nothing marks where a later message begins, so this was the last."""
        if size <= 0:
            return []
        rest = self.finish()
        self._missing = True
        return rest

    def finish(self) -> list[Message]:
        """The stream ended: the message that was begun."""
        rest, self._buffer = self._buffer, b""
        return [Message(bool(rest[0] & 1), rest[5:], True, rest[0] >= 128)] if len(rest) > 5 else []


def parse(data: bytes) -> list[Message]:
    """All messages in a whole body. Raises Malformed if it does not begin with one."""
    stream = Messages()
    return stream.feed(data) + stream.finish()
