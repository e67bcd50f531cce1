"""A packet capture with the secrets that open it put inside: one file that any analyser reads and decrypts.

A pcapng keeps all of its blocks, and the secrets stand behind its first section header; a pcap becomes a
pcapng. Of the key logs only the secrets of connections of the capture are taken. Must never change a packet. Specified by:
draft-ietf-opsawg-pcapng, 4.7.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from audit import __version__
from audit.protocols import key_log, pcapng
from audit.sources import BadCapture, capture_format
from audit.sources.opening import opened
from audit.sources.pcap import pcap_file
from audit.sources.pcap.batch import NO_TIME, Batch
from audit.sources.pcap.decryption import belonging
from audit.sources.pcap.decryption.ring import MAX_LINES, MAX_LOG
from audit.sources.pcap.window import Window

_STEP = 1 << 20


def secrets(path: Path, keys: Sequence[Path]) -> bytes:
    """The lines of these key logs that are secrets of connections of this capture.

    Raises:
        BadCapture: a key log cannot be read.
    """
    of = belonging.names(path, keys) if keys else set()
    return b"".join(_lines(log, of) for log in keys)


def written(path: Path, log: bytes) -> Iterator[bytes]:
    """The file with this key log, in pieces.

    Raises:
        BadCapture: it is no packet capture.
    """
    form = capture_format(path)
    if form not in ("pcap", "pcapng"):
        raise BadCapture(path, f"a {form} file holds no packets", "give a pcap or pcapng")
    yield from _injected(path, log) if form == "pcapng" else _converted(path, log)


def _lines(path: Path, of: Container[bytes]) -> bytes:
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_LOG).replace(b"\r", b"\n").split(b"\n", MAX_LINES)
            return key_log.clean(b"\n".join(lines[:MAX_LINES]), of)
    except OSError as error:
        raise BadCapture(
            path, f"the key log cannot be read ({error.strerror})", "name a key log file"
        ) from None


def _injected(path: Path, log: bytes) -> Iterator[bytes]:
    with opened(path, path.name) as source:
        head = source.file.read(28)
        order = "little" if head[8:12] == b"\x4d\x3c\x2b\x1a" else "big"
        size = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
        if not 28 <= size <= _STEP or size % 4:
            raise BadCapture(path, "its first section header is damaged", "record it again")
        # the section grows, so its length is left open
        yield head[:16] + b"\xff" * 8 + head[24:] + source.file.read(size - 28)
        if log:
            yield pcapng.secrets(log, order=order)  # type: ignore[arg-type]
        while piece := source.file.read(_STEP):
            yield piece


def _converted(path: Path, log: bytes) -> Iterator[bytes]:
    yield pcapng.section(f"privacy-audit {__version__}")
    if log:
        yield pcapng.secrets(log)
    links: dict[int, int] = {}
    with opened(path, path.name) as source:
        for batch in pcap_file.read(Window(source.file, source.size)):
            if isinstance(batch, Batch):
                yield from _packets(batch, links)


def _packets(batch: Batch, links: dict[int, int]) -> Iterator[bytes]:
    for start, captured, original, time, link in zip(
        batch.start.tolist(), batch.captured.tolist(), batch.original.tolist(), batch.time.tolist(),
        batch.link.tolist(), strict=True,
    ):  # fmt: skip
        if link not in links:
            links[link] = len(links)
            yield pcapng.interface(link, f"link type {link}", 0, "", digits=9)
        data = batch.data[start : start + captured].tobytes()
        yield pcapng.packet(0 if time == NO_TIME else time, data, original, interface=links[link])
