"""Rare link types, read by scapy's dissectors: frames in, raw IP packets out.

Only link types that `link` does not know come here, so nothing waits for scapy that does not need it
(some 5,000 packets a second, and a second to load). What scapy finds no IP packet in stays as it
is and is accounted for as unread. Link types: IEEE 802.15.4 with 6LoWPAN (RFC 4944, 6282), frame
preemption (IEEE 802.3br), and the old numbers of Ethernet and IPv6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from audit.sources.pcap.batch import Batch, Item
from audit.sources.pcap.link import LINKS
from audit.sources.pcap.window import PAD

RAW_IP = 101
_CHECKED = 195  # IEEE 802.15.4 with its checksum
_MAX_FRAME = 16_384  # bytes of a frame that are looked at


def read(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, packets of rare link types as raw IP."""
    for item in items:
        yield translated(item) if isinstance(item, Batch) else item


def translated(batch: Batch) -> Batch:
    """The same packets, those of rare link types as raw IP."""
    first = int(batch.link[0])
    if first in LINKS and bool((batch.link == first).all()):
        return batch
    rare = np.flatnonzero(np.isin(batch.link, [link for link in READERS if link not in LINKS]))
    if not len(rare):
        return batch
    tail = bytearray()
    start, captured, original = batch.start.copy(), batch.captured.copy(), batch.original.copy()
    link = batch.link.copy()
    for row in rare.tolist():
        begin, size = int(batch.start[row]), int(batch.captured[row])
        frame = batch.data[begin : begin + min(size, _MAX_FRAME)].tobytes()
        packet = _packet(int(batch.link[row]), frame, whole=len(frame) == batch.original[row])
        if packet:
            start[row], link[row] = len(batch.data) + len(tail), RAW_IP
            captured[row] = original[row] = len(packet)
            tail += packet
    data = np.concatenate([batch.data, np.frombuffer(bytes(tail) + bytes(PAD), dtype=np.uint8)])
    return batch._replace(data=data, start=start, captured=captured, original=original, link=link)


def _packet(link: int, frame: bytes, *, whole: bool) -> bytes:
    """The IP packet in a frame, written out in full; nothing where there is none. Of frames that end in a
    checksum, what is `whole` must fit it."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    try:
        if link == _CHECKED and whole:
            if _checksum(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
                return b""
            frame = frame[:-2]
        found = READERS[link](frame)
        inner = found.getlayer(IPv6) or found.getlayer(IP)  # type: ignore[attr-defined]
        return bytes(inner) if inner is not None else b""
    except Exception:  # scapy's dissectors raise whatever they like on hostile frames
        return b""


def _checksum(frame: bytes) -> int:
    """The ITU-T CRC of 16 bits that ends an IEEE 802.15.4 frame."""
    value = 0
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
    return value


def _ieee802154(frame: bytes) -> object:
    """A frame without its checksum. The PAN-ID compression of 2015 is put as that of 2006, which scapy knows."""
    from scapy.config import conf
    from scapy.layers.dot15d4 import Dot15d4

    setattr(conf, "dot15d4_protocol", "sixlowpan")  # noqa: B010 - declared as None
    control = int.from_bytes(frame[:2], "little")
    long_addresses = control & 0xCC00 == 0xCC00
    if control & 0x3000 == 0x2000 and long_addresses and not control & 0x0340:
        control = control & ~0x3000 | 0x1040
    return Dot15d4(control.to_bytes(2, "little") + frame[2:])


def _of(module: str, name: str) -> Callable[[bytes], object]:
    def reader(frame: bytes) -> object:
        from importlib import import_module

        return getattr(import_module(module), name)(frame)

    return reader


READERS: dict[int, Callable[[bytes], object]] = {
    23: _of("scapy.layers.l2", "Ether"),
    31: _of("scapy.layers.inet6", "IPv6"),
    _CHECKED: _ieee802154,
    230: _ieee802154,
    274: _of("scapy.layers.l2", "MPacketPreamble"),
}
