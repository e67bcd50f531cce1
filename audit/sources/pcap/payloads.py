"""Which packets can tell something: chosen by ports and first bytes, many at once.

What is chosen here is read by Python, packet by packet; everything else never is. For TCP that is a whole
connection from its first telling packet on, for UDP single datagrams.
"""

from __future__ import annotations

import codecs
import re
import zlib
from contextlib import suppress

import numpy as np

from audit.protocols import dhcp
from audit.sources.pcap.batch import I64, U8, Bools
from audit.sources.pcap.packets import Packets

TRIES = 12  # payloads of each side at the start of a connection among which a telling one may be
ALONE = 1 << 16  # payloads after which the side that has not said anything is not waited for any more
TLS_HANDSHAKE = 0x16  # the first byte of a connection that begins with a hello
_HEAD = 64
_DNS_PORTS = (53, 137, 5353, 5355, 8053)
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_FOREIGN = 1 << 8  # counts bytes of other scripts beside printable ones in one sum
_TEXT = np.zeros(256, dtype=np.uint16)
_TEXT[list(_PRINTABLE)] = 1
_TEXT[0x80:] = _FOREIGN
_MIN_FOREIGN = 6  # bytes: two characters of Chinese
LONG_WORD = 20  # printable bytes in a row: of random data one place in 200 million begins as many
WORD = 8  # the same, one place in 2,000
_VARIED = 6  # different bytes among them: padding has fewer
_PACKED = re.compile(  # what gzip, zstd, LZ4 and framed snappy begin with
    rb"\x1f\x8b\x08[\x00-\x1f]|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\xff\x06\x00\x00sNaPpY"
)
_ZLIB = re.compile(rb"x[\x01\x5e\x9c\xda]")
_MARKED = np.zeros(1 << 16, dtype=np.bool_)  # pairs of bytes that begin one of these
_MARKED[[0x1F8B, 0x28B5, 0x0422, 0xFF06, 0x7801, 0x785E, 0x789C, 0x78DA]] = True
_LETTERS = bytes(byte in _PRINTABLE for byte in range(256))
_CONTROLS = bytes(byte for byte in range(0x80) if byte not in _PRINTABLE)
_CONTROL = re.compile(r"[\x80-\x9f]")
_UPPER = np.zeros(256, dtype=np.bool_)
_UPPER[ord("A") : ord("Z") + 1] = True


def heads(data: U8, at: I64, size: int) -> U8:
    """The first `size` bytes at each position, one row each (zeros behind the data's end)."""
    at = np.minimum(at, len(data) - size)
    rows = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))[at]
    return rows.view(np.uint8).reshape(len(at), size)


def tells(data: U8, at: I64, length: I64) -> Bools:
    """Whether payloads are readable, wholly or for the most part, or may speak."""
    rows = heads(data, at, _HEAD)
    seen = np.minimum(length, _HEAD)
    inside = np.arange(_HEAD) < seen[:, None]
    counts = (_TEXT[rows] * inside).sum(axis=1)
    count, foreign = counts % _FOREIGN, counts // _FOREIGN
    like = np.asarray((count >= np.where(seen >= 32, 0.6, 0.85) * seen) & (seen >= 4))
    for place in np.flatnonzero((count + foreign == seen) & (foreign > 0) & (seen >= _MIN_FOREIGN)).tolist():
        like[place] = like[place] or _utf8(rows[place, : seen[place]].tobytes())
    return like | _may_speak(rows, inside)


def _may_speak(rows: U8, inside: Bools) -> Bools:
    """Whether payloads, of which these are the first bytes, hold words or what compressed data begins with."""
    bits = np.packbits((_TEXT[rows] == 1) & inside, axis=1).view(">u8")[:, 0].astype(np.uint64)
    for step in (1, 2, 4, 8, LONG_WORD - 16):  # what is left begins 2, 4, 8, 16, 20 of them
        bits &= bits >> np.uint64(step)
    may: Bools = bits != 0
    pairs = rows[:, :-1].astype(np.uint16) << 8 | rows[:, 1:]
    may[np.flatnonzero(_MARKED[pairs]) // (_HEAD - 1)] = True
    return may


def readable(data: bytes) -> bool:
    """Whether one payload is readable, wholly or for the most part."""
    head = data[:_HEAD]
    share = 1 - len(head.translate(None, _PRINTABLE)) / len(head) if head else 0.0
    if len(head) < 32:
        return share >= 0.85 or (len(head) >= _MIN_FOREIGN and _utf8(head))
    return share >= (0.6 if b"\1" * WORD in head.translate(_LETTERS) else 0.7) or _utf8(head)


def speaks(data: bytes, least: int = LONG_WORD) -> bool:
    """Whether a payload that is not readable holds words of at `least` so many bytes, or data under a common
    compression near its beginning: what is encrypted does not look like that."""
    letters = data.translate(_LETTERS)
    word = b"\1" * least
    at = letters.find(word)
    while at >= 0:
        end = letters.find(b"\0", at)
        words = data[at : end if end >= 0 else None]
        if len(set(words[:_HEAD])) >= _VARIED:
            return True
        at = letters.find(word, at + len(words))
    head = data[:_HEAD]
    if _PACKED.search(head):
        return True
    for mark in _ZLIB.finditer(head):
        with suppress(zlib.error):
            if zlib.decompressobj().decompress(data[mark.start() :], _HEAD):
                return True
    return False


def _utf8(head: bytes) -> bool:
    """Whether bytes are text of any script and nothing else, as far as they go (RFC 3629)."""
    if len(head.translate(None, _CONTROLS)) < len(head):
        return False
    try:
        return not _CONTROL.search(codecs.utf_8_decode(head, "strict", False)[0])
    except UnicodeDecodeError:
        return False


def telling_tcp(data: U8, packets: Packets, rows: I64) -> Bools:
    """Which of these TCP payloads may begin something that can be read."""
    at, length = packets.payload[rows], packets.carried[rows]
    head = heads(data, at, 8)
    first = head[:, 0]
    version = ((head[:, 1] == 3) | (length < 2)) & ((head[:, 2] <= 4) | (length < 3))
    telling: Bools = (first >= 0x14) & (first <= 0x17) & (first != 0x15) & version
    telling |= (first == 0x15) & (head[:, 1] == 3) & (head[:, 2] <= 4) & (length <= 64)
    telling |= np.isin(np.minimum(packets.sport[rows], packets.dport[rows]), (53, 5353))
    telling |= _UPPER[first] & (_UPPER[head[:, 1]] | (head[:, 1] == ord("-")) | (length < 2))
    telling |= (
        (first == 5) & (head[:, 1] >= 1) & (head[:, 1] <= 8) & (length == head[:, 1].astype(np.int64) + 2)
    )
    telling |= (first == 4) & (head[:, 1] <= 2) & (head[:, 1] >= 1) & (length >= 9) & (length <= 512)
    telling |= (first == 0x10) & ((length >= 12) | (length <= 2))  # MQTT's CONNECT
    rest = np.flatnonzero(~telling)
    if len(rest):
        telling[rest] = tells(data, at[rest], length[rest])
    return telling


DNS, QUIC, GQUIC, DTLS, PLAIN, SCTP, QUIC_REST, QUIC_OR_PLAIN = 1, 2, 3, 4, 5, 6, 7, 8


def telling_udp(data: U8, packets: Packets, rows: I64) -> U8:
    """What each of these UDP payloads may be (0: nothing that can be read)."""
    found = np.zeros(len(rows), dtype=np.uint8)
    sport, dport = packets.sport[rows], packets.dport[rows]
    named = np.isin(dport, _DNS_PORTS) | np.isin(sport, _DNS_PORTS)
    found[named] = DNS
    rest = np.flatnonzero(~named)
    if not len(rest):
        return found
    at, length = packets.payload[rows[rest]], packets.carried[rows[rest]]
    head = heads(data, at, 16)
    first = head[:, 0]
    version = head[:, 1].astype(np.int64) << 24 | head[:, 2].astype(np.int64) << 16
    version |= head[:, 3].astype(np.int64) << 8 | head[:, 4]
    known = (version == 1) | (version == 0x6B3343CF) | (version >> 8 == 0xFF0000) | (version >> 8 == 0xFACEB0)
    known |= (version & 0x0F0F0F0F == 0x0A0A0A0A) | (version == 0x709A50C4)
    known |= (head[:, 1] == ord("Q")) | (head[:, 1] == ord("T"))
    found[rest[(first >= 0xC0) & known & (length > 20)]] = QUIC
    # with 0x40 set it is a QUIC short header, whose bytes 9 and 10 are random
    google = (head[:, 9] == ord("Q")) & (head[:, 10] == ord("0")) & (first & 0xC1 == 0x01) & (length > 64)
    google |= (head[:, 1] == ord("Q")) & (head[:, 2] == ord("0")) & (length > 64) & (first >= 0xC0)
    found[rest[google & (found[rest] == 0)]] = GQUIC
    # application data and heartbeats tell nothing, and there may be many of them
    dtls = (first >= 0x14) & (first <= 0x16) & (head[:, 1] == 0xFE) & (head[:, 2] >= 0xFC)
    dtls |= (first == 0x16) & (head[:, 1] == 1) & (head[:, 2] == 0)
    found[rest[dtls & (length >= 13)]] = DTLS
    rest = rest[found[rest] == 0]
    if len(rest):
        readable = tells(data, packets.payload[rows[rest]], packets.carried[rows[rest]])
        readable |= np.isin(dport[rest], tuple(dhcp.PORTS))
        found[rest[readable]] = PLAIN
    return found
