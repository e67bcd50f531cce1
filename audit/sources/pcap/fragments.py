"""Fragments of IPv4 and IPv6 datagrams put together again (RFC 791, RFC 8200, RFC 5722).

Bounded: so many open datagrams, so many bytes, so long. What overlaps keeps the bytes that came first.
The fragments themselves stay in the table and are counted; a complete datagram is added as a packet in the place of
the fragment that completed it, and counted only if there is a tunnel in it: then it belongs to another flow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from audit.sources.pcap.batch import U8, Bools
from audit.sources.pcap.link import IPV4, IPV6
from audit.sources.pcap.packets import FIRST, IPV4_HIGH, WHOLE, Packets, joined, network
from audit.sources.pcap.window import PAD

_MAX_OPEN = 4_096
_MAX_HELD = 32 << 20  # bytes
_MAX_SIZE = 65_535
_MAX_PARTS = 4_096
_PATIENCE = 60 * 1_000_000_000  # ns; RFC 8200 gives up after a minute
_Key = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class _Datagram:
    time: int
    parts: dict[int, bytes] = field(default_factory=dict)
    held: int = 0
    size: int | None = None
    ports: tuple[int, int] | None = None


class Fragments:
    """The datagrams of a capture that are not complete yet."""

    def __init__(self) -> None:
        self._open: dict[_Key, _Datagram] = {}
        self._held = 0
        self._dropped = 0

    @property
    def incomplete(self) -> int:
        """Datagrams of which parts are missing, as far as is known now."""
        return self._dropped + len(self._open)

    def reassemble(self, data: U8, packets: Packets) -> tuple[U8, Packets, Bools | None]:
        """The packets with completed datagrams among them, where their bytes now lie, and which of them
        count (None: all). Later fragments get the ports of the first, if that came before them."""
        rows = np.flatnonzero(packets.part != WHOLE)
        if not len(rows):
            return data, packets, None
        complete: list[bytes] = []
        kinds, numbers, times = [], [], []
        for row in rows.tolist():
            packet = self._take(data, packets, row)
            if packet is not None:
                complete.append(packet)
                kinds.append(IPV4 if packet[0] >> 4 == 4 else IPV6)
                numbers.append(packets.number[row])
                times.append(packets.time[row])
        if not complete:
            return data, packets, None
        lengths = np.array([len(packet) for packet in complete], dtype=np.int64)
        at = len(data) + np.cumsum(lengths) - lengths
        tail = np.frombuffer(b"".join(complete) + bytes(PAD), dtype=np.uint8)
        data = np.concatenate([data, tail])
        whole, tunnels = network(
            data, np.array(kinds, dtype=np.uint16), at, at + lengths, np.array(numbers), np.array(times)
        )
        table = joined([packets, whole])
        order = np.argsort(table.number, kind="stable")
        inside = np.isin(
            whole.number, np.concatenate([np.zeros(0, np.int64), *(outer.number for outer in tunnels)])
        )
        counted = np.append(np.ones(len(packets), dtype=np.bool_), inside)
        return data, table.take(order), counted[order]

    def _take(self, data: U8, packets: Packets, row: int) -> bytes | None:
        key = (int(packets.src_hi[row]), int(packets.src_lo[row]), int(packets.dst_hi[row]),
               int(packets.dst_lo[row]), int(packets.proto[row]), int(packets.ident[row]))  # fmt: skip
        time, offset = int(packets.time[row]), int(packets.offset[row])
        datagram = self._open.get(key)
        if datagram is not None and time - datagram.time > _PATIENCE:
            self._drop(key)
            datagram = None
        if datagram is None:
            datagram = self._open[key] = _Datagram(time)
            if len(self._open) > _MAX_OPEN:
                self._drop(next(iter(self._open)))
        if packets.part[row] == FIRST:
            datagram.ports = int(packets.sport[row]), int(packets.dport[row])
        elif datagram.ports is not None:
            packets.sport[row], packets.dport[row] = datagram.ports
        at, size = int(packets.payload[row]), int(packets.carried[row])
        if size < int(packets.sent[row]) or offset + size > _MAX_SIZE or len(datagram.parts) >= _MAX_PARTS:
            return None  # cut by the recording, or more than a datagram can be
        if offset not in datagram.parts:
            datagram.parts[offset] = data[at : at + size].tobytes()
            datagram.held += size
            self._held += size
        if not packets.more[row]:
            datagram.size = offset + size
        while self._held > _MAX_HELD and len(self._open) > 1:
            self._drop(next(iter(self._open)))
        if datagram.size is None or datagram.held < datagram.size:
            return None
        whole = _joined(datagram)
        if whole is None:
            return None
        self._held -= datagram.held
        self._open.pop(key, None)
        return _header(key, len(whole)) + whole

    def _drop(self, key: _Key) -> None:
        self._held -= self._open.pop(key).held
        self._dropped += 1


def _joined(datagram: _Datagram) -> bytes | None:
    """The parts one after the other, None while there is a hole."""
    whole = bytearray()
    for offset in sorted(datagram.parts):
        if offset > len(whole):
            return None
        whole += datagram.parts[offset][len(whole) - offset :]
    return bytes(whole) if len(whole) >= (datagram.size or 0) else None


def _header(key: _Key, size: int) -> bytes:
    """A header as the datagram would have had it undivided."""
    src_hi, src_lo, dst_hi, dst_lo, proto, _ = key
    if src_hi == int(IPV4_HIGH):
        return struct.pack(
            ">BBHHHBBHII", 0x45, 0, min(size + 20, _MAX_SIZE), 0, 0, 64, proto, 0, src_lo, dst_lo
        )
    return struct.pack(">IHBBQQQQ", 6 << 28, size, proto, 64, src_hi, src_lo, dst_hi, dst_lo)
