"""The blocks we write, read back by our own reader and by another tool."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.protocols import pcapng
from audit.records import Dns, Flow, Gap
from audit.sources import read
from audit.sources.pcap import pcapng_file
from audit.sources.pcap.batch import Batch
from audit.sources.pcap.window import Window
from tests.sources.pcap import craft

QUERY = bytes.fromhex("000101000001000000000000") + b"\x01a\x07example\0\0\1\0\1"
START = 1_795_000_000_123_456


def written(packets: list[tuple[int, bytes]], link: int = 1) -> bytes:
    """A whole file."""
    return (
        pcapng.section("test")
        + pcapng.interface(link, "wlan0", 262_144, "linux")
        + b"".join(pcapng.packet(stamp, data, len(data)) for stamp, data in packets)
        + pcapng.statistics(START, pcapng.Counts(len(packets), 3))
    )


def test_our_reader_finds_every_packet_and_its_time(tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    file.write_bytes(written([(START + n, craft.udp(QUERY, 4000 + n, 53)) for n in range(20)]))
    records = list(read(file, "a"))
    assert not [record for record in records if isinstance(record, Gap)]
    asked = [record for record in records if isinstance(record, Dns)]
    assert [record.name for record in asked] == ["a.example"] * 20
    assert [round(record.time * 1e6) - START for record in asked if record.time] == list(range(20))
    assert sum(record.packets_up for record in records if isinstance(record, Flow)) == 20


@given(st.lists(st.tuples(st.integers(0, 9 * 10**15), st.binary(max_size=90)), max_size=9))
def test_any_packets_come_back_as_they_were(packets: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryFile() as file:
        content = written(packets)
        file.write(content)
        file.flush()
        found = []
        for item in pcapng_file.read(Window(file, len(content))):
            assert isinstance(item, Batch)
            for start, size, stamp in zip(item.start, item.captured, item.time, strict=True):
                found.append((int(stamp) // 1000, item.data[start : start + size].tobytes()))
    assert found == packets


def test_blocks_are_laid_out_as_the_specification_draws_them() -> None:
    block = pcapng.packet(0x1_0000_0002, b"abcde", 9)
    assert struct.unpack_from("<IIIIIII", block) == (6, 40, 0, 1, 2, 5, 9)
    assert block[28:] == b"abcde\0\0\0" + struct.pack("<I", 40)


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_reads_packets_interface_and_statistics(tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    file.write_bytes(written([(START, craft.udp(QUERY, 4000, 53))]))
    done = subprocess.run(
        ["tshark", "-n", "-r", str(file), "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name",
         "-e", "dns.qry.name"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    time, *rest = done.stdout.split()
    assert float(time) == pytest.approx(START / 1e6, abs=1e-6)
    assert rest == ["wlan0", "a.example"]
    told = subprocess.run(["capinfos", "-M", str(file)], capture_output=True, text=True, check=True).stdout
    assert "test" in told
    assert "linux" in told
