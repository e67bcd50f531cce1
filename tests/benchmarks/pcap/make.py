"""Makes the captures that the speed benchmark reads, from real ones: deterministically, whatever the machine.

    python tests/benchmarks/pcap/make.py mixed OUT.pcap --bytes 760000000 [SOURCE...]
    python tests/benchmarks/pcap/make.py long  OUT.pcap --bytes 760000000 [SOURCE...]

Without sources it takes the captures of this project.

`mixed` repeats all connections of the sources, each time between other addresses and ports, with other
QUIC connection ids (Initial packets are encrypted anew, else their names could not be read), every fourth
time inside a VLAN and every fourth time with its IPv4 packets turned into IPv6. `long` repeats the data of
the sixteen TCP connections of most packets with advancing sequence numbers. Addresses come from ranges for
documentation and benchmarks only (RFC 2544, RFC 3849).
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.protocols import quic
from audit.sources.opening import opened
from audit.sources.pcap import reading
from audit.sources.pcap.batch import Batch
from audit.sources.pcap.link import network_of
from audit.sources.pcap.packets import TCP, UDP
from audit.sources.pcap.window import CHUNK

ROOT = Path(__file__).resolve().parents[3]
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
EPOCH = 1_700_000_000
ACROSS = 4  # repetitions woven into each other


class Packet(NamedTuple):
    """A packet of a source: microseconds since the first one, and its IP packet."""

    time: int
    data: bytes


def packets(path: Path) -> Iterator[Packet]:
    """The TCP and UDP packets of a capture that are no fragments, from the network header on."""
    with opened(path, path.name) as source:
        first = None
        for item in reading.items(source, CHUNK):
            if not isinstance(item, Batch):
                continue
            end = item.start + item.captured
            for link in sorted(set(item.link.tolist())):
                mine = np.flatnonzero(item.link == link)
                found = network_of(link, item.data, item.start[mine], end[mine])
                if found is None:
                    continue
                times = item.time[mine].tolist()
                for time, at, stop in zip(times, found[1].tolist(), end[mine].tolist(), strict=True):
                    data = _packet(item.data[at:stop].tobytes())
                    if data:
                        first = time if first is None else first
                        yield Packet(max(time - first, 0) // 1000, data)


def _packet(data: bytes) -> bytes:
    """A TCP or UDP packet without what the link added behind it; nothing for any other."""
    if len(data) > 20 and data[0] == 0x45 and data[9] in (TCP, UDP) and not data[6] & 0x3F and not data[7]:
        return data[: data[2] << 8 | data[3]]
    if len(data) > 40 and data[0] >> 4 == 6 and data[6] in (TCP, UDP):
        return data[: 40 + (data[4] << 8 | data[5])]
    return b""


def six(data: bytes) -> bytes:
    """An IPv4 packet without options as IPv6."""
    if data[0] != 0x45 or data[6] & 0x3F or data[7]:
        return data
    prefix = bytes.fromhex("20010db8") + bytes(8)
    return (
        struct.pack(">IHBB", 6 << 28, len(data) - 20, data[9], 64)
        + prefix
        + data[12:16]
        + prefix
        + data[16:20]
        + data[20:]
    )


def reseal(datagram: bytes, serial: int, known: dict[bytes, bytes]) -> bytes:
    """An Initial of a connection that gets another connection id; anything else as it is. `known` are the first
    ids of connections by those that their clients chose for themselves."""
    try:
        parts = quic.packets(datagram)
    except ValueError:
        return datagram
    if not parts or parts[0].kind is not quic.Kind.INITIAL or parts[0].version != quic.V1:
        return datagram
    packet = parts[0]
    answers = packet.dcid in known
    if not answers and len(packet.dcid) < 8:
        return datagram
    old = known[packet.dcid] if answers else known.setdefault(packet.scid or packet.dcid, packet.dcid)
    opened = quic.initial_protection(packet.version, old, server=answers).open(datagram, packet)
    if opened is None or not (answers or packet.dcid == old):
        return datagram
    number, frames, first = opened
    fresh = bytes(
        a ^ b for a, b in zip(old, struct.pack(">Q", serial * 0x9E3779B97F4A7C15 % (1 << 64)), strict=False)
    )
    fresh += old[8:]
    size = (first & 3) + 1
    header = bytes([first]) + datagram[packet.start + 1 : packet.start + 6]
    header += packet.dcid if answers else fresh
    header += datagram[packet.start + 6 + len(packet.dcid) : packet.number] + number.to_bytes(size, "big")
    label = "server in" if answers else "client in"
    secret = quic.expand_label(quic._initial_secret(packet.version, fresh), label, 32)
    key, nonce, mask_key = (
        quic.expand_label(secret, name, length)
        for name, length in (("quic key", 16), ("quic iv", 12), ("quic hp", 16))
    )
    sealed = AESGCM(key).encrypt((int.from_bytes(nonce, "big") ^ number).to_bytes(12, "big"), frames, header)
    sample = sealed[4 - size : 20 - size]
    mask = Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor().update(sample)
    masked = bytearray(header)
    masked[0] ^= mask[0] & 0x0F
    for index in range(size):
        masked[-size + index] ^= mask[1 + index]
    return bytes(masked) + sealed + datagram[packet.end :]


class Template:
    """A source as one block of records whose addresses, ports and times can be rewritten at once."""

    def __init__(self, source: list[Packet], tag: bytes) -> None:
        block = bytearray()
        self.quic: list[tuple[int, int]] = []
        places: dict[str, list[int]] = {"four": [], "six": [], "ports": [], "time": []}
        for time, data in source:
            places["time"].append(len(block))
            link = bytes(12) + tag + (b"\x08\x00" if data[0] >> 4 == 4 else b"\x86\xdd")
            length = len(link) + len(data)
            block += struct.pack("<IIII", time // 1_000_000, time % 1_000_000, length, length)
            at = len(block) + len(link)
            block += link + data
            head = 20 if data[0] >> 4 == 4 else 40
            places["four" if head == 20 else "six"].append(at)
            transport = at + (data[0] & 15) * 4 if head == 20 else at + 40
            places["ports"].append(transport)
            if (
                data[9 if head == 20 else 6] == UDP
                and len(data) > head + 1000
                and data[head + 8] & 0xC0 == 0xC0
            ):
                self.quic.append((transport + 8, at + len(data)))
        self.block = np.frombuffer(bytes(block), dtype=np.uint8)
        self.at = {name: np.array(found, dtype=np.int64) for name, found in places.items()}
        self.count = len(source)

    def repeated(self, serial: int) -> tuple[bytes, np.ndarray]:
        """The block for repetition `serial`, and where its records begin."""
        data = self.block.copy()
        low, high = serial & 0xFF, serial >> 8 & 0xFF
        for field, mine in (("four", (12, 16)), ("six", (8, 24))):
            at = self.at[field]
            for side in mine:
                width = 0 if field == "four" else 12
                data[at + side + width] = 198 if field == "four" else 0x10
                data[at + side + width + 1] = 18 | high & 1 if field == "four" else high & 1
                data[at + side + width + 1] += high & 0xFE if field == "six" else 0
                data[at + side + width + 2] ^= low
                data[at + side + width + 3] ^= high
        ports = self.at["ports"]
        for side in (0, 2):
            value = data[ports + side].astype(np.int64) << 8 | data[ports + side + 1]
            free = value >= 10_000
            value = np.where(free, 10_000 + (value - 10_000 + serial * 7) % 50_000, value)
            data[ports + side], data[ports + side + 1] = value >> 8, value & 0xFF
        known: dict[bytes, bytes] = {}
        for begin, end in self.quic:
            fresh = reseal(data[begin:end].tobytes(), serial, known)
            data[begin:end] = np.frombuffer(fresh, dtype=np.uint8)
        times = self.at["time"]
        seconds = np.ndarray((len(data) - 3,), dtype="<u4", buffer=data, strides=(1,))
        seconds[times] = seconds[times] % 600 + EPOCH + serial * 2
        return data.tobytes(), times


def mixed(out: Path, size: int, sources: list[Path]) -> None:
    """Write the capture of many connections."""
    loaded = [list(packets(path)) for path in sources]
    plain = [Template(source, b"") for source in loaded]
    tagged = [Template(source, b"\x81\x00\x00\x2a") for source in loaded]
    sixes = [Template([Packet(p.time, six(p.data)) for p in source], b"") for source in loaded]
    with out.open("wb") as file:
        written = file.write(HEADER)
        serial = 0
        while written < size:
            woven = []
            for _ in range(ACROSS):
                kind = (plain, tagged, plain, sixes)[serial % 4]
                for template in kind:
                    block, starts = template.repeated(serial)
                    ends = np.append(starts[1:], len(block))
                    cuts = np.linspace(0, template.count, 65).astype(np.int64)
                    woven.append([block[starts[a] : ends[b - 1]] for a, b in pairwise(cuts) if b > a])
                serial += 1
            for turn in range(64):
                for pieces in woven:
                    if turn < len(pieces):
                        written += file.write(pieces[turn])


def long(out: Path, size: int, sources: list[Path]) -> None:
    """Write the capture of few long connections."""
    flows: dict[tuple[bytes, bytes], list[bytes]] = {}
    for path in sources:
        for _, data in packets(path):
            if data[0] == 0x45 and data[9] == TCP:
                ends = sorted((data[12:16] + data[20:22], data[16:20] + data[22:24]))
                flows.setdefault((ends[0], ends[1]), []).append(data)
    longest = sorted(flows.values(), key=lambda flow: (-len(flow), flow[0]))[:16]
    with out.open("wb") as file:
        written = file.write(HEADER)
        clock, turn = 0, 0
        offsets: list[dict[bytes, int]] = [{} for _ in longest]
        firsts: list[dict[bytes, int]] = [{} for _ in longest]  # sequence numbers of the first bytes
        while written < size:
            for flow, offset, begins in zip(longest, offsets, firsts, strict=True):
                sent: dict[bytes, int] = {}
                for data in flow:
                    flags = data[33]
                    if flags & 0x04 or (turn and flags & 0x02):
                        continue
                    me, you = data[12:16], data[16:20]
                    fresh = bytearray(data)
                    for place, who in ((24, me), (28, you)):
                        value = int.from_bytes(data[place : place + 4], "big") + offset.get(who, 0)
                        fresh[place : place + 4] = (value % (1 << 32)).to_bytes(4, "big")
                    fresh[33] = flags & ~0x01
                    payload = len(data) - 20 - (data[32] >> 4) * 4
                    end = int.from_bytes(data[24:28], "big") + payload
                    begin = begins.setdefault(me, end - payload + (flags >> 1 & 1))
                    sent[me] = max(sent.get(me, 0), (end - begin + (1 << 31)) % (1 << 32) - (1 << 31))
                    clock += 40
                    length = 14 + len(fresh)
                    head = struct.pack("<IIII", EPOCH + clock // 1_000_000, clock % 1_000_000, length, length)
                    written += file.write(head + bytes(12) + b"\x08\x00" + fresh)
                for who, advance in sent.items():
                    offset[who] = offset.get(who, 0) + advance
            turn += 1


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("mixed", "long"))
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", type=Path, nargs="*")
    parser.add_argument("--bytes", type=int, default=760_000_000)
    options = parser.parse_intermixed_args()
    sources = options.sources or sorted((ROOT / "captures").glob("*/*.pcap*"))
    (mixed if options.kind == "mixed" else long)(options.out, options.bytes, sources)


if __name__ == "__main__":
    main()
