"""Both file formats, in all their variants, cut and damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR

from audit.records import Dns, Flow, Gap
from audit.sources import BadCapture
from audit.sources import read as read_any

from . import craft

QUERY = craft.udp(DNS(qd=DNSQR(qname="a.example")), 50_000, 53)
TIME = 1_700_000_000


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34])
def test_pcap_variants(tmp_path: Path, order: str, magic: int) -> None:
    found = craft.read(tmp_path, craft.pcap([QUERY], order, magic))
    dns = [r for r in found if isinstance(r, Dns)]
    assert [r.name for r in dns] == ["a.example"]
    fraction = 5e-9 if magic == 0xA1B23C4D else 5e-6
    assert dns[0].time == pytest.approx(TIME + fraction, abs=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_many_interfaces(tmp_path: Path, order: str) -> None:
    raw_ip = QUERY[14:]
    nano = struct.pack(order + "HHB3xHHqHH", 9, 1, 9, 14, 8, 100, 0, 0)
    data = craft.section(order) + craft.interface(1, order=order) + craft.interface(101, nano, order)
    data += craft.enhanced(QUERY, TIME * 10**6, 0, order) + craft.block(0xBAD, b"what is this", order)
    data += craft.enhanced(raw_ip, TIME * 10**9, 1, order)
    data += craft.block(3, struct.pack(order + "I", len(QUERY)) + QUERY, order)
    times = [r.time for r in craft.read(tmp_path, data) if isinstance(r, Dns)]
    assert times == [TIME, TIME + 100, None]


def test_sections_of_both_byte_orders_in_one_file(tmp_path: Path) -> None:
    data = b"".join(
        craft.section(order) + craft.interface(order=order) + craft.enhanced(QUERY, TIME * 10**6, 0, order)
        for order in "<><"
    )
    assert sum(isinstance(r, Dns) for r in craft.read(tmp_path, data)) == 3


def test_names_of_a_name_resolution_block(tmp_path: Path) -> None:
    body = struct.pack("<HH", 1, 15) + bytes([93, 184, 216, 34]) + b"given.name\0" + bytes(1) + bytes(4)
    data = craft.section() + craft.interface() + craft.block(4, body) + craft.enhanced(QUERY, TIME * 10**6)
    (flow,) = [r for r in craft.read(tmp_path, data) if isinstance(r, Flow)]
    assert flow.names["dns"] == ("given.name",)


def test_a_cut_file_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    whole = craft.pcap([QUERY, QUERY, QUERY])
    found = craft.read(tmp_path, whole[:-10])
    assert sum(isinstance(r, Dns) for r in found) == 2
    (gap,) = [r for r in found if isinstance(r, Gap)]
    assert (gap.reason, gap.offset) == ("truncated", 24 + 2 * (16 + len(QUERY)))


@pytest.mark.parametrize("chunk", [300, 1 << 20])
def test_reading_goes_on_behind_damage(tmp_path: Path, chunk: int) -> None:
    data = bytearray(craft.pcap([QUERY] * 20))
    size = 16 + len(QUERY)
    data[24 + 5 * size : 24 + 6 * size] = b"\xff" * size
    found = craft.read(tmp_path, bytes(data), chunk=chunk)
    assert sum(isinstance(r, Dns) for r in found) == 19
    (gap,) = [r for r in found if isinstance(r, Gap)]
    assert (gap.reason, gap.offset, gap.bytes) == ("malformed", 24 + 5 * size, size)


def test_reading_goes_on_behind_a_damaged_block(tmp_path: Path) -> None:
    good = craft.enhanced(QUERY, TIME * 10**6)
    bad = good[:-4] + b"\0\0\0\1"
    found = craft.read(tmp_path, craft.section() + craft.interface() + good + bad + good)
    assert sum(isinstance(r, Dns) for r in found) == 2
    (gap,) = [r for r in found if isinstance(r, Gap)]
    assert gap.bytes == len(bad)


def test_an_unknown_link_type_is_stated(tmp_path: Path) -> None:
    (gap,) = craft.read(tmp_path, craft.pcap([QUERY], link=147))
    assert isinstance(gap, Gap)
    assert gap.reason == "unsupported"


def test_through_the_registry_and_compressed(tmp_path: Path) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(gzip.compress(craft.pcap([QUERY])))
    assert [type(r) for r in read_any(path, "c")] == [Dns, Flow]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_never_raises(tmp_path: Path, data: st.DataObject) -> None:
    modern = craft.section() + craft.interface() + craft.enhanced(QUERY, TIME * 10**6) * 3
    whole = bytearray(data.draw(st.sampled_from([craft.pcap([QUERY] * 3), modern])))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(24, len(whole)))])
    try:
        large = craft.read(tmp_path, cut)
    except BadCapture:
        return
    assert craft.read(tmp_path, cut, chunk=256) == large


@pytest.mark.parametrize("order", "<>")
def test_a_section_of_another_version_is_not_guessed_at(tmp_path: Path, order: str) -> None:
    other = craft.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 2, 0, -1), order)
    packets = craft.interface(1, b"", order) + craft.enhanced(craft.udp(b"readable", 1, 9), 10**15, 0, order)
    found = craft.read(
        tmp_path, craft.section(order) + packets + other + packets + craft.section(order) + packets
    )
    assert [(r.packets_up) for r in found if isinstance(r, Flow)] == [2]
    (gap,) = (r for r in found if isinstance(r, Gap))
    assert (gap.reason, gap.offset) == ("unsupported", len(craft.section(order) + packets))
    assert "version 2.0" in gap.detail


def snoop(packets: list[bytes]) -> bytes:
    data = b"snoop\0\0\0" + struct.pack(">II", 2, 4)
    for second, packet in enumerate(packets):
        padded = packet + bytes(-len(packet) % 4)
        data += (
            struct.pack(">6I", len(packet), len(packet), 24 + len(padded), 0, 1_700_000_000 + second, 5)
            + padded
        )
    return data


def test_snoop_files(tmp_path: Path) -> None:
    packets = [craft.udp(DNS(qd=DNSQR(qname=f"{n}.example")), 50_000 + n, 53) for n in range(3)]
    found = craft.read(tmp_path, snoop(packets))
    assert found == craft.read(tmp_path, craft.pcap(packets))
    assert craft.read(tmp_path, snoop(packets), chunk=256) == found
    cut = craft.read(tmp_path, snoop(packets)[:-5])
    assert [r.name for r in cut if isinstance(r, Dns)] == ["0.example", "1.example"]
    assert [r.reason for r in cut if isinstance(r, Gap)] == ["truncated"]
    damaged = bytearray(snoop(packets))
    damaged[24:28] = b"\0\0\0\1"
    with pytest.raises(BadCapture):
        craft.read(tmp_path, bytes(damaged))
