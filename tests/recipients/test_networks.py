"""The reader of the table of networks against another reader's answers, and against plain models."""

import csv
import lzma
from bisect import bisect_right
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.recipients import networks
from audit.recipients.build_networks import INPUTS, Range, encode_table, filled, pack
from audit.recipients.networks import Network, Networks, NetworkTableError
from audit.recipients.reserved import carried, parse, reserved_range

ANSWERS = Path(__file__).with_name("answers.tsv")
VENDORED = Path(networks.__file__).parent / "data" / "networks.xz"


def test_the_vendored_table_answers_as_another_reader_does():
    with ANSWERS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) > 500
    table = networks.load()
    wrong = []
    for row in rows:
        want = Network(
            int(row["asn"]) if row["asn"] else None,
            row["as_name"] or None,
            row["located"] or None,
            row["registered"] or None,
        )
        if reserved_range(carried(parse(row["address"]))) is None and table.lookup(row["address"]) != want:
            wrong.append((row["address"], table.lookup(row["address"]), want))
    assert wrong == []


@pytest.mark.parametrize(
    ("ip", "asn", "located", "registered"),
    [
        ("8.8.8.8", 15169, "US", "US"),
        ("47.74.128.10", 45102, "SG", "US"),
        ("161.117.70.1", 45102, "SG", "SG"),
        ("5.255.255.5", 13238, "RU", "RU"),
        ("110.43.0.0", 59019, "CN", "CN"),
        ("20.47.97.231", 8069, "NL", "US"),
        ("2a00:1450::", 15169, "FR", "IE"),
    ],
)
def test_addresses_of_known_holders(ip, asn, located, registered):
    found = networks.load().lookup(ip)
    assert (found.asn, found.country_located, found.country_registered) == (asn, located, registered)


@pytest.mark.parametrize("ip", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "[::ffff:808:808]"])
def test_an_address_that_carries_another_is_answered_as_that_one(ip):
    assert networks.load().lookup(ip) == networks.load().lookup("8.8.8.8")


@pytest.mark.parametrize(
    "ip",
    [
        "0.0.0.0", "10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1",
        "172.31.255.255", "192.0.2.1", "192.168.1.1", "198.18.0.0", "198.19.255.255", "198.51.100.7",
        "203.0.113.9", "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1",
        "fe80::1", "fe80::1%wlan0", "fd00::1", "fc00::", "ff02::fb", "2001:db8::1", "3fff::1", "100::1",
        "2001::1", "64:ff9b::10.0.0.1", "::ffff:192.168.0.1", "2002:a00:1::",
    ],
)  # fmt: skip
def test_reserved_addresses_are_known_to_nobody(ip):
    assert networks.load().lookup(ip) == Network()
    assert reserved_range(carried(parse(ip)))


@pytest.mark.parametrize(
    "ip",
    ["9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "198.17.255.255", "198.20.0.0",
     "223.255.255.255", "100.63.255.255", "100.128.0.0", "::2", "2001:1::", "2001:db7::", "4000::"],
)  # fmt: skip
def test_the_neighbours_of_reserved_ranges_are_public(ip):
    assert reserved_range(parse(ip)) is None


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::1::", "8.8.8.8:53", "1" * 5000]
)
def test_what_is_no_address_is_answered_with_nothing(text):
    assert networks.load().lookup(text) == Network()


def ranges(bits: int):
    """Sorted ranges that do not overlap, many of them touching each other and many within one /64."""
    steps = st.lists(
        st.tuples(
            st.integers(0, 3) | st.integers(0, 2 ** (bits - 6)), st.integers(0, 9), st.sampled_from("ABC")
        ),
        max_size=12,
    )

    def build(parts):
        found, position = [], 1 << (bits - 4)  # above the reserved ranges at the beginning
        for gap, length, name in parts:
            first, last = position + gap, position + gap + length
            if last >= 2**bits:
                break
            found.append(Range(first, last, (ord(name), name)))
            position = last + 1
        return found

    return steps.map(build)


@settings(max_examples=60, deadline=None)
@given(ranges(32), ranges(128), st.data())
def test_what_was_written_is_read(v4, v6, data):
    sections = {}
    for entry in INPUTS:
        sections |= encode_table(entry.table, v4, v6)
    table = Networks(pack(sections, ()), "a table")
    for held, bits, kind in ((v4, 32, IPv4Address), (v6, 128, IPv6Address)):
        edges = {edge for first, last, _ in held for edge in (first, last, max(first - 1, 0), last + 1)}
        edges.add(data.draw(st.integers(0, 2**bits - 1)))
        for value in sorted(edge for edge in edges if edge < 2**bits):
            address = kind(value)
            if carried(address) != address or reserved_range(address) is not None:
                continue
            below = bisect_right(held, value, key=lambda one: one.first)
            name = held[below - 1].value[1] if below and value <= held[below - 1].last else None
            assert table.lookup(str(address)) == Network(ord(name) if name else None, name, name, name)


def test_overlapping_ranges_are_not_built():
    with pytest.raises(SystemExit, match="overlap"):
        list(filled([Range(0, 5, (1, "A")), Range(5, 9, (2, "B"))], 99))


def damaged():
    whole = VENDORED.read_bytes()
    middle = len(whole) // 2
    yield "cut", whole[:middle]
    yield "flipped", whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    yield "empty", b""
    yield "another format", b"\x89PNG\r\n\x1a\n"
    yield "another content", lzma.compress(b"hello")
    yield "no header", lzma.compress(networks.MAGIC)
    yield "a header of another kind", lzma.compress(networks.MAGIC + b"[]\n")
    yield "longer than said", lzma.compress(lzma.decompress(whole) + b"\0", preset=0)
    yield "a bomb", lzma.compress(b"\0" * (networks.MAX_UNPACKED + 1), preset=0)


@pytest.mark.parametrize(
    ("what", "content"), list(damaged()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_damaged_table_is_refused_with_its_name_and_the_remedy(what, content):
    with pytest.raises(NetworkTableError, match=r"some/networks\.xz: .*(again|rebuild)"):
        Networks(content, "some/networks.xz")
