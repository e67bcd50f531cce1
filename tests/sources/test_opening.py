"""Files of which nothing can be read, and compressed ones."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard
from mitmproxy import connection, flow, http

from audit.records import Gap, Http
from audit.sources import BadCapture, capture_format, opening, read

Write = Callable[[Iterable[flow.Flow]], Path]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 100
HAR = json.dumps(
    {
        "log": {
            "entries": [{"request": {"method": "GET", "url": f"https://h{n}.example/"}} for n in range(2000)]
        }
    }
).encode()

BAD = {
    "empty": (b"", "empty"),
    "png": (PNG, "no known capture format"),
    "text": (b"hello", "no known capture format"),
    "a log with times": (b"12:30 started\n12:31 stopped\n", "no flow in it"),
    "json": (b'{"a": 1}', "no HAR"),
    "har without log": (b'{"entries": []}', "`log`"),
    "har without entries": (b'{"log": {}}', "entries"),
    "har with entries that are none": (b'{"log": {"entries": 5}}', "entries"),
    "har cut before its entries": (b'{"log": {"version": "1.2"', "entries"),
    "not json": (b"{hello", "entries"),
    "a netstring that is no flow": (b"8:5:hello,}", "no flow in it"),
    "a gzipped nothing": (gzip.compress(b""), "empty"),
    "a gzipped png": (gzip.compress(PNG), "no known capture format"),
    "half a gzip header": (b"\x1f\x8b\x08", "cut off"),
    "pcap": (b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "no packet in it"),
    "pcapng": (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00", "no packet in it"),
}


@pytest.mark.parametrize(("content", "problem"), BAD.values(), ids=BAD.keys())
def test_one_line_says_what_is_wrong(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "bad\ncapture"
    path.write_bytes(content)
    with pytest.raises(BadCapture) as caught:
        list(read(path, "bad"))
    line = str(caught.value)
    assert "\n" not in line
    assert "capture: at byte 0: " in line
    assert problem in line
    assert "; " in line


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "nul\0"):
        with pytest.raises(BadCapture, match="cannot be opened"):
            capture_format(path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bytes], ids=["gzip", "zstd", "plain"])
def test_compressed_captures_are_read_as_they_are(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "capture.zhar"
    path.write_bytes(pack(HAR))
    assert capture_format(path) == "har"
    assert sum(isinstance(r, Http) for r in read(path, "c")) == 2000


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_cut_compressed_capture_yields_its_beginning(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "cut"
    incompressible = b"".join(
        b'{"request": {"method": "GET", "url": "https://h.example/%s"}},' % os.urandom(40).hex().encode()
        for _ in range(20_000)
    )
    packed = pack(b'{"log": {"entries": [' + incompressible + b"]}}")
    path.write_bytes(packed[: len(packed) // 2])
    records = list(read(path, "c"))
    assert sum(isinstance(r, Http) for r in records) > 5000
    assert any(isinstance(r, Gap) and r.reason == "truncated" for r in records)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_bomb_is_bounded_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(opening, "FREE", 4 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(pack(HAR[:-3] + b"," + b" " * (100 << 20) + b"]}}"))
    records = list(read(path, "c"))
    assert sum(isinstance(r, Http) for r in records) == 2000
    assert [r.reason for r in records if isinstance(r, Gap)] == ["truncated", "limit"]


def test_a_pipe_is_read(tmp_path: Path, flow_file: Write) -> None:
    made = http.HTTPFlow(
        connection.Client(peername=("", 0), sockname=("", 0)), connection.Server(address=None)
    )
    made.request = http.Request.make("GET", "http://a.example/")
    content = flow_file([made]).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    assert sum(isinstance(r, Http) for r in read(pipe, "-")) == 1
    writer.join()
