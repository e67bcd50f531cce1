"""DNS messages: questions, and the answers that tie names to addresses.

RFC 1035, with RFC 6762 (mDNS), RFC 4795 (LLMNR), RFC 1002 (NetBIOS names), RFC 6891 (EDNS, left out of
the answers), RFC 9460 (SVCB and HTTPS), and RFC 7766 for the two-byte framing over TCP. A message that
is cut or damaged gives what stands before the damage. Must never follow a name for more than 255 bytes
or 128 pointers, nor believe a record count.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import NamedTuple

from audit.protocols import resync
from audit.protocols.malformed import Malformed

MAX_NAME = 255
MAX_POINTERS = 128
MAX_RECORDS = 4096
MAX_DATA_TEXT = 4096

_HEADER = struct.Struct(">HHHHHH")
_PAIR = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_PRINTABLE = re.compile(r"[ -\[\]-~]*").fullmatch
_ESCAPES = {
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, NB, SRV, DNAME, OPT, SVCB, HTTPS = (
    1, 2, 5, 6, 12, 15, 16, 28, 32, 33, 39, 41, 64, 65,
)  # fmt: skip
_PARAMETERS = (
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
)


class Question(NamedTuple):
    """What was asked; the top bit of an mDNS class (unicast answer wished) is not part of `class_`."""

    name: str
    type: int
    class_: int


class Answer(NamedTuple):
    """A resource record; `data` is its content as text, `\\# LENGTH HEX` (RFC 3597) where not known."""

    name: str
    type: int
    ttl: int
    data: str


class Message(NamedTuple):
    """A DNS message. `others` are authority and additional records; `complete` is False if it was cut."""

    id: int
    response: bool
    opcode: int
    rcode: int
    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]
    others: tuple[Answer, ...]
    complete: bool


def parse(message: bytes, *, nbns: bool = False) -> Message:
    """Read a message of DNS, mDNS or LLMNR, or of NetBIOS names with `nbns`.

    Raises Malformed if there is no header, or no part of what it announces can be read.
    """
    size = len(message)
    if size < 12:
        raise Malformed("a DNS header takes 12 bytes")
    number, flags, asked, answered, authority, additional = _HEADER.unpack_from(message)
    questions: list[Question] = []
    answers: list[Answer] = []
    others: list[Answer] = []
    complete = True
    at = 12
    read = _nbns_name if nbns else _name
    try:
        for _ in range(min(MAX_RECORDS, asked)):
            name, at = read(message, at)
            kind, class_ = _PAIR.unpack_from(message, at)
            at += 4
            questions.append(Question(name, kind, class_ & 0x7FFF))
        if answered:
            at = _records(message, at, answered, answers, read)
        if authority or additional:
            at = _records(message, at, authority + additional, others, read)
    except (Malformed, struct.error, IndexError):
        if not questions and not answers:
            raise Malformed("no readable name where the DNS header announces one") from None
        complete = False
    return Message(
        number,
        flags >= 0x8000,
        flags >> 11 & 15,
        flags & 15,
        tuple(questions),
        tuple(answers),
        tuple(others),
        complete,
    )


_Reader = Callable[[bytes, int], tuple[str, int]]


def _records(message: bytes, at: int, count: int, into: list[Answer], read: _Reader) -> int:
    """Append `count` records to `into`; returns the offset behind them."""
    seen: dict[int, str] = {}
    for _ in range(min(count, MAX_RECORDS)):
        if message[at] >= 192:
            # most records point at a name already read
            place = (message[at] & 63) << 8 | message[at + 1]
            if (name := seen.get(place, "")) == "":
                name = seen[place] = read(message, at)[0]
            at += 2
        else:
            name, at = read(message, at)
        kind, _, ttl, length = _RECORD.unpack_from(message, at)
        at += 10
        end = at + length
        if end > len(message):
            raise Malformed("a DNS record is cut")
        if kind == A and length == 4:
            into.append(Answer(name, A, ttl, inet_ntoa(message[at:end])))
        elif kind != OPT:
            into.append(Answer(name, kind, ttl, _data(message, at, end, kind, read is _nbns_name)))
        at = end
    return at


def _name(message: bytes, at: int) -> tuple[str, int]:
    """The name at an offset and the offset behind it; the root is the empty name."""
    labels: list[bytes] = []
    behind = -1
    total = pointers = 0
    while length := message[at]:
        if length < 64:
            at += 1
            label = message[at : at + length]
            at += length
            total += length + 1
            if total > MAX_NAME or len(label) < length:
                raise Malformed("a DNS name is too long or cut")
            labels.append(label)
        elif length >= 192:
            pointers += 1
            if pointers > MAX_POINTERS:
                raise Malformed("a DNS name points in circles")
            if behind < 0:
                behind = at + 2
            at = (length & 63) << 8 | message[at + 1]
        else:
            raise Malformed("an unknown kind of DNS label")
    return _text(b".".join(labels)), at + 1 if behind < 0 else behind


def _text(name: bytes) -> str:
    """A name as text: UTF-8 where it is, every other or unprintable byte escaped as tshark does."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("utf-8", "replace")
    if _PRINTABLE(text):
        return text
    return "".join(
        _ESCAPES.get(char)
        or (char if char.isprintable() else "".join(f"\\{byte:03o}" for byte in char.encode()))
        for char in text
    )


def _nbns_name(message: bytes, at: int) -> tuple[str, int]:
    """A NetBIOS name as NAME<suffix>, with its scope if it has one (RFC 1001, 14.1)."""
    text, behind = _name(message, at)
    first, dot, scope = text.partition(".")
    if len(first) != 32 or not all("A" <= char <= "P" for char in first):
        return text, behind
    plain = bytes((ord(first[i]) - 65) << 4 | ord(first[i + 1]) - 65 for i in range(0, 32, 2))
    return f"{_text(plain[:15].rstrip(b' ' + bytes(1)))}<{plain[15]:02x}>{dot}{scope}", behind


def _data(message: bytes, at: int, end: int, kind: int, nbns: bool) -> str:
    """The content of a record as text; a content that does not fit its type is given as hex."""
    try:
        if kind == AAAA and end - at == 16:
            return inet_ntop(AF_INET6, message[at:end])
        if kind in {CNAME, PTR, NS, DNAME}:
            return _name(message, at)[0]
        if kind in {HTTPS, SVCB}:
            return _service(message, at, end)
        if kind == TXT:
            return _strings(message, at, end)[:MAX_DATA_TEXT]
        if kind == SRV:
            priority, weight, port = struct.unpack_from(">HHH", message, at)
            return f"{priority} {weight} {port} {_name(message, at + 6)[0]}"
        if kind == MX:
            return f"{message[at] << 8 | message[at + 1]} {_name(message, at + 2)[0]}"
        if kind == SOA:
            primary, at = _name(message, at)
            mailbox, at = _name(message, at)
            return f"{primary} {mailbox} {' '.join(map(str, struct.unpack_from('>IIIII', message, at)))}"
        if nbns and kind == NB and not (end - at) % 6:
            return ",".join(".".join(map(str, message[place + 2 : place + 6])) for place in range(at, end, 6))
    except (Malformed, struct.error, IndexError):
        pass
    return f"\\# {end - at} {message[at : min(end, at + MAX_DATA_TEXT // 2)].hex()}"


def _strings(message: bytes, at: int, end: int) -> str:
    """Length-prefixed strings, each in quotes."""
    parts = []
    while at < end:
        length = message[at]
        parts.append('"' + _text(message[at + 1 : min(at + 1 + length, end)]) + '"')
        at += 1 + length
    return " ".join(parts)


def _service(message: bytes, at: int, end: int) -> str:
    """An SVCB or HTTPS record in the presentation format of RFC 9460, unknown parameters in hex."""
    priority = message[at] << 8 | message[at + 1]
    target, at = _name(message, at + 2)
    parts = [str(priority), target or "."]
    while at < end:
        key, length = _PAIR.unpack_from(message, at)
        value = message[at + 4 : min(at + 4 + length, end)]
        at += 4 + length
        parts.append(_parameter(key, value))
    return " ".join(parts)[:MAX_DATA_TEXT]


def _parameter(key: int, value: bytes) -> str:
    name = _PARAMETERS[key] if key < len(_PARAMETERS) else f"key{key}"
    if key == 1:
        protocols = []
        at = 0
        while at < len(value):
            protocols.append(_text(value[at + 1 : at + 1 + value[at]]))
            at += 1 + value[at]
        return f"alpn={','.join(protocols)}"
    if key == 3 and len(value) == 2:
        return f"port={value[0] << 8 | value[1]}"
    if key == 4 and not len(value) % 4:
        return "ipv4hint=" + ",".join(".".join(map(str, value[i : i + 4])) for i in range(0, len(value), 4))
    if key == 6 and not len(value) % 16:
        return "ipv6hint=" + ",".join(
            inet_ntop(AF_INET6, value[i : i + 16]) for i in range(0, len(value), 16)
        )
    return f"{name}={value.hex()}" if value else name


# Length, id, flags with a zero Z bit, one question, and at most 255 records of each other kind.
_CANDIDATE = re.compile(rb"(?s)(?=.{4}[\x00-\x07\x80-\x87\x28].\x00\x01\x00.\x00.\x00.)")


def _measure(data: bytes, at: int) -> int:
    """Length of a framed message that parses as DNS (for resync)."""
    size = (data[at] << 8 | data[at + 1]) + 2
    if size < 19 or size > 1 << 14:
        return resync.NO
    if len(data) < at + size:
        return resync.MORE
    try:
        return size if parse(data[at + 2 : at + size]).complete else resync.NO
    except Malformed:
        return resync.NO


_OPCODES = (0, 1, 2, 4, 5, 6)  # RFC 6895, 2.2 and RFC 8490


def framed(data: bytes) -> bool:
    """Whether bytes begin like a message with its length before it: a header whose numbers can be (RFC 7766)."""
    return (
        len(data) >= 14
        and data[0] << 8 | data[1] >= 12
        and data[4] >> 3 & 15 in _OPCODES
        and data[6] == 0
        and data[8] < 0x10
    )


class Framing:
    """Splits one direction of DNS over TCP into messages. Never raises, buffers one message at most."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lost = False

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete with these bytes, without their length prefix."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if self._lost:
            at, found = resync.find(buffer, _CANDIDATE, 14, _measure, chain=1)
            if not found:
                self._buffer = buffer[at:]
                return []
            self._lost = False
        messages = []
        while len(buffer) - at >= 2:
            end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if end > len(buffer):
                break
            messages.append(buffer[at + 2 : end])
            at = end
        self._buffer = buffer[at:]
        return messages

    def gap(self, size: int) -> None:
        """`size` bytes are missing here: go on at the next bytes that parse as a framed message."""
        if size:
            self._buffer = b""
            self._lost = True
