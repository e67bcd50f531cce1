"""IP address → autonomous system, located country, registered country, from the vendored table.

Responsible for reading `data/networks.xz` (written by `build_networks.py`) and answering from it, IPv4 and
IPv6 to the last bit. Must never answer for private, test or otherwise reserved addresses, touch the
network, or answer from a damaged table. The standard library is enough for it.

The file is one xz stream (its CRC-64 notices damage): the line `MAGIC`, one line of JSON (`Header`), and
the sections that the header lists, one after the other. A table of ranges is a sorted list of first
addresses and the value that holds from there to the next one; value 0 says nothing is known. First
addresses are stored as differences; integers are little-endian and stored byte plane by byte plane, which
is what makes them compress well. IPv6 addresses are two such lists, upper and lower 64 bits.
"""

from __future__ import annotations

import lzma
import sys
from array import array
from bisect import bisect_left, bisect_right
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import NamedTuple

import msgspec

from audit.recipients.reserved import carried, parse, reserved_range
from audit.records import DataSource

MAGIC = b"audit networks 1\n"
MAX_UNPACKED = 1 << 26
PARTS = ("values", "v4", "v4.index", "v6.high", "v6.low", "v6.index")
SECTIONS = (*(f"{table}.{part}" for table in ("located", "registered", "as") for part in PARTS), "as.numbers")


class NetworkTableError(Exception):
    """The vendored table is missing or damaged. The message names the file and the remedy."""


class Header(msgspec.Struct, frozen=True):
    """First line of the file: its sections (name and bytes, in order) and where the data come from."""

    sections: tuple[tuple[str, int], ...]
    sources: tuple[DataSource, ...]


class Network(NamedTuple):
    """What the table knows of one address; each part None where it knows nothing. Countries are
    ISO 3166-1 alpha-2."""

    asn: int | None = None
    as_name: str | None = None
    country_located: str | None = None
    country_registered: str | None = None


class _Ranges(NamedTuple):
    v4: array[int]
    v4_index: array[int]
    v6_high: array[int]
    v6_low: array[int]
    v6_index: array[int]

    def value_of(self, value: int, version: int) -> int:
        """The value of the range that holds the address `value`. Both lists begin at address 0."""
        if version == 4:
            return self.v4_index[bisect_right(self.v4, value) - 1]
        high, low = value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF
        first = bisect_left(self.v6_high, high)
        after = bisect_right(self.v6_high, high, first)
        # No range begins in this /64: the bisection below is empty and yields the range before it.
        return self.v6_index[bisect_right(self.v6_low, low, first, after) - 1]


class Networks:
    """The table in memory."""

    def __init__(self, packed: bytes, name: str) -> None:
        """Unpacks the content of a table file; `name` is for error messages.

        Raises:
            NetworkTableError: the content is not a whole and consistent table.
        """
        try:
            unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_UNPACKED * 2)
            data = unpacker.decompress(packed, MAX_UNPACKED)
            if not unpacker.eof:
                raise ValueError(f"cut off or longer than {MAX_UNPACKED} bytes")
            self.sources = self._read(data)
        except (ValueError, EOFError, lzma.LZMAError, msgspec.MsgspecError) as error:
            raise NetworkTableError(
                f"{name}: the table of networks is damaged ({error}); install the package again, or rebuild "
                "the table with `python -m audit.recipients.build_networks`"
            ) from error

    def _read(self, data: bytes) -> tuple[DataSource, ...]:
        if not data.startswith(MAGIC):
            raise ValueError("it does not begin as one at offset 0")
        start = data.index(b"\n", len(MAGIC)) + 1
        header = msgspec.json.decode(data[len(MAGIC) : start], type=Header)
        if tuple(name for name, _ in header.sections) != SECTIONS:
            raise ValueError(f"unexpected sections in the header at offset {len(MAGIC)}")
        view = memoryview(data)
        sections = {}
        for name, length in header.sections:
            sections[name] = view[start : start + length]
            start += length
        if start != len(data):
            raise ValueError(f"the sections end at offset {start}, the data at offset {len(data)}")
        self._located, self._located_codes = _ranges(sections, "located", "B")
        self._registered, self._registered_codes = _ranges(sections, "registered", "B")
        self._as, self._as_names = _ranges(sections, "as", "I")
        self._as_numbers = array("I", accumulate(_integers(sections["as.numbers"], "I")))
        if len(self._as_numbers) != len(self._as_names):
            raise ValueError("as many numbers as names of autonomous systems were expected")
        return header.sources

    def lookup(self, ip: str) -> Network:
        """What is known of the address `ip` (text). Reserved addresses and text that is no address are
        known to nobody: every part is None."""
        written = parse(ip)
        if written is None:
            return Network()
        address = carried(written)
        if reserved_range(address) is not None:
            return Network()
        value, version = int(address), address.version
        system = self._as.value_of(value, version)
        return Network(
            self._as_numbers[system] or None,
            self._as_names[system] or None,
            self._located_codes[self._located.value_of(value, version)] or None,
            self._registered_codes[self._registered.value_of(value, version)] or None,
        )


def _integers(planes: memoryview, typecode: str) -> array[int]:
    numbers = array(typecode)
    size = numbers.itemsize
    count, rest = divmod(len(planes), size)
    if rest:
        raise ValueError("a section of integers has a broken length")
    mixed = bytearray(len(planes))
    for plane in range(size):
        mixed[plane::size] = planes[plane * count : (plane + 1) * count]
    numbers.frombytes(mixed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _ranges(sections: dict[str, memoryview], table: str, typecode: str) -> tuple[_Ranges, list[str]]:
    values = str(sections[f"{table}.values"], "utf-8").split("\n")
    ranges = _Ranges(
        array("I", accumulate(_integers(sections[f"{table}.v4"], "I"))),
        _integers(sections[f"{table}.v4.index"], typecode),
        array("Q", accumulate(_integers(sections[f"{table}.v6.high"], "Q"))),
        _integers(sections[f"{table}.v6.low"], "Q"),
        _integers(sections[f"{table}.v6.index"], typecode),
    )
    v6 = {len(ranges.v6_high), len(ranges.v6_low), len(ranges.v6_index)}
    if len(ranges.v4) != len(ranges.v4_index) or len(v6) != 1:
        raise ValueError(f"the parts of the table `{table}` differ in length")
    if not ranges.v4 or not ranges.v6_high or ranges.v4[0] or ranges.v6_high[0] or ranges.v6_low[0]:
        raise ValueError(f"the table `{table}` does not begin at address 0")
    if any(max(index) >= len(values) for index in (ranges.v4_index, ranges.v6_index)):
        raise ValueError(f"the table `{table}` points beyond its values")
    return ranges, values


@cache
def load() -> Networks:
    """The vendored table, read once.

    Raises:
        NetworkTableError: the file is missing or damaged.
    """
    path = files("audit.recipients") / "data" / "networks.xz"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise NetworkTableError(
            f"{path}: the table of networks cannot be read ({error.strerror}); install the package again, "
            "or rebuild the table with `python -m audit.recipients.build_networks`"
        ) from error
    return Networks(packed, str(path))
