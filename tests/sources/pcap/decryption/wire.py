"""A wire to put made traffic on: TCP and UDP payloads in, a packet capture out (raw IPv4, one clock)."""

from __future__ import annotations

import random
import struct
from pathlib import Path

CLIENT, SERVER = bytes((10, 9, 0, 2)), bytes((192, 0, 2, 7))
_FIN, _SYN, _PUSH, _ACK = 1, 2, 8, 16


class Wire:
    """The packets in the order sent; each a ten thousandth of a second after the one before."""

    def __init__(self, segment: int = 1_400) -> None:
        self.packets: list[bytes] = []
        self.segment = segment

    def udp(
        self, payload: bytes, *, up: bool, sport: int = 50_000, dport: int = 443, client: bytes = CLIENT
    ) -> None:
        """A datagram of the client (`up`), who is at this address, or of the server."""
        ports = (sport, dport) if up else (dport, sport)
        header = struct.pack(">HHHH", *ports, 8 + len(payload), 0)
        self.packets.append(_ip(17, header + payload, up=up, client=client))

    def tcp(self, sport: int, dport: int = 443) -> Tcp:
        """A connection, shaken hands on."""
        return Tcp(self, sport, dport)

    def pcap(self) -> bytes:
        """All of it as a file."""
        parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)]
        for number, packet in enumerate(self.packets):
            second, fraction = divmod(number * 100, 1_000_000)
            parts += (
                struct.pack("<IIII", 1_700_000_000 + second, fraction, len(packet), len(packet)),
                packet,
            )
        return b"".join(parts)

    def write(self, folder: Path, name: str = "made.pcap") -> Path:
        """The file in this folder."""
        path = folder / name
        path.write_bytes(self.pcap())
        return path

    def harmed(self, seed: int, *, lost: float = 0.0, late: float = 0.0) -> Wire:
        """The same with a share of the packets lost and another share up to eight places late."""
        chance = random.Random(seed)
        other = Wire(self.segment)
        order: list[tuple[float, bytes]] = []
        for number, packet in enumerate(self.packets):
            if chance.random() < lost:
                continue
            place = number + chance.randint(2, 8) + 0.5 if chance.random() < late else float(number)
            order.append((place, packet))
        other.packets = [packet for _, packet in sorted(order, key=lambda item: item[0])]
        return other


class Tcp:
    """One connection on the wire."""

    def __init__(self, wire: Wire, sport: int, dport: int) -> None:
        self._wire = wire
        self._ports = (sport, dport)
        self._next = [0x10000000, 0xFFFFF000]  # the server's numbers wrap
        self._segment(b"", up=True, flags=_SYN)
        self._segment(b"", up=False, flags=_SYN | _ACK)
        self._segment(b"", up=True, flags=_ACK)

    def send(self, data: bytes, *, up: bool) -> None:
        """Bytes of one side, acknowledged by the other."""
        size = self._wire.segment
        for at in range(0, len(data), size):
            self._segment(data[at : at + size], up=up, flags=_PUSH | _ACK)
            if at // size % 2:
                self._segment(b"", up=not up, flags=_ACK)

    def close(self) -> None:
        """Both sides are done."""
        for up in (True, False):
            self._segment(b"", up=up, flags=_FIN | _ACK)

    def _segment(self, data: bytes, *, up: bool, flags: int) -> None:
        me = 0 if up else 1
        ports = self._ports if up else self._ports[::-1]
        header = struct.pack(
            ">HHIIBBHHH", *ports, self._next[me] & 0xFFFFFFFF, self._next[1 - me] & 0xFFFFFFFF, 0x50, flags,
            64_000, 0, 0,
        )  # fmt: skip
        self._next[me] += len(data) + bool(flags & (_SYN | _FIN))
        self._wire.packets.append(_ip(6, header + data, up=up))


def _ip(protocol: int, payload: bytes, *, up: bool, client: bytes = CLIENT) -> bytes:
    ends = (client, SERVER) if up else (SERVER, client)
    return (
        struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, *ends) + payload
    )
