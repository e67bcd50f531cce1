"""Which packets can tell something: chosen by ports and first bytes, many at once.

What is chosen here is read by Python, packet by packet; everything else never is. For TCP that is a whole
connection from its first telling packet on, for UDP single datagrams.
"""

from __future__ import annotations

import numpy as np

from audit.sources.pcap.batch import I64, U8, Bools
from audit.sources.pcap.packets import Packets

TRIES = 12  # payloads at the start of a connection among which a telling one may be
TLS_HANDSHAKE = 0x16  # the first byte of a connection that begins with a hello
_HEAD = 64
_DNS_PORTS = (53, 137, 5353, 5355, 8053)
_TEXT = np.zeros(256, dtype=np.uint8)
_TEXT[[9, 10, 13, *range(0x20, 0x7F)]] = 1
_UPPER = np.zeros(256, dtype=np.bool_)
_UPPER[ord("A") : ord("Z") + 1] = True


def heads(data: U8, at: I64, size: int) -> U8:
    """The first `size` bytes at each position, one row each (zeros behind the data's end)."""
    at = np.minimum(at, len(data) - size)
    rows = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))[at]
    return rows.view(np.uint8).reshape(len(at), size)


def text_like(data: U8, at: I64, length: I64) -> Bools:
    """Whether payloads are readable, wholly or for the most part."""
    rows = heads(data, at, _HEAD)
    seen = np.minimum(length, _HEAD)
    inside = np.arange(_HEAD) < seen[:, None]
    count = (_TEXT[rows] * inside).sum(axis=1)
    return np.asarray((count >= np.where(seen >= 32, 0.6, 0.85) * seen) & (seen >= 4))


def telling_tcp(data: U8, packets: Packets, rows: I64, kinds: frozenset[str]) -> Bools:
    """Which of these TCP payloads may begin something that can be read."""
    at, length = packets.payload[rows], packets.carried[rows]
    head = heads(data, at, 8)
    first = head[:, 0]
    telling = np.zeros(len(rows), dtype=np.bool_)
    ports = np.minimum(packets.sport[rows], packets.dport[rows])
    if "dns" in kinds:
        telling |= np.isin(ports, (53, 5353))
    if kinds & {"tls", "http", "websocket", "message"}:
        telling |= (first >= 0x14) & (first <= 0x17) & (first != 0x15) & (head[:, 1] == 3) & (head[:, 2] <= 4)
        telling |= (first == 0x15) & (head[:, 1] == 3) & (head[:, 2] <= 4) & (length <= 64)
        telling |= _UPPER[first] & (_UPPER[head[:, 1]] | (head[:, 1] == ord("-")) | (length < 2))
        telling |= (
            (first == 5) & (head[:, 1] >= 1) & (head[:, 1] <= 8) & (length == head[:, 1].astype(np.int64) + 2)
        )
        telling |= (first == 4) & (head[:, 1] <= 2) & (head[:, 1] >= 1) & (length >= 9) & (length <= 512)
        telling |= (first == 0x10) & (length >= 12)  # MQTT's CONNECT
    if kinds & {"tls", "message"}:
        rest = np.flatnonzero(~telling)
        if len(rest):
            telling[rest] = text_like(data, at[rest], length[rest])
    return telling


DNS, QUIC, GQUIC, DTLS, PLAIN, SCTP, QUIC_REST, QUIC_OR_PLAIN = 1, 2, 3, 4, 5, 6, 7, 8


def telling_udp(data: U8, packets: Packets, rows: I64, kinds: frozenset[str]) -> U8:
    """What each of these UDP payloads may be (0: nothing that can be read)."""
    found = np.zeros(len(rows), dtype=np.uint8)
    sport, dport = packets.sport[rows], packets.dport[rows]
    named = np.isin(dport, _DNS_PORTS) | np.isin(sport, _DNS_PORTS)
    if kinds & {"dns", "device"}:
        found[named] = DNS
    rest = np.flatnonzero(~named)
    if len(rest) and "tls" in kinds:
        at, length = packets.payload[rows[rest]], packets.carried[rows[rest]]
        head = heads(data, at, 16)
        first = head[:, 0]
        version = head[:, 1].astype(np.int64) << 24 | head[:, 2].astype(np.int64) << 16
        version |= head[:, 3].astype(np.int64) << 8 | head[:, 4]
        known = (
            (version == 1) | (version == 0x6B3343CF) | (version >> 8 == 0xFF0000) | (version >> 8 == 0xFACEB0)
        )
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
    if len(rest) and kinds & {"message", "device"}:
        readable = text_like(data, packets.payload[rows[rest]], packets.carried[rows[rest]])
        readable |= np.isin(dport[rest], (67, 68))
        found[rest[readable]] = PLAIN
    return found
