"""What the tests of the sources share: where real captures lie, and flow files made by mitmproxy itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from mitmproxy import flow
from mitmproxy.io import FlowWriter

from audit.records import AnyRecord
from audit.sources import read


@pytest.fixture
def flow_file(tmp_path: Path) -> Callable[[Iterable[flow.Flow]], Path]:
    """Writes flows the way mitmproxy does."""

    def write(flows: Iterable[flow.Flow]) -> Path:
        path = tmp_path / "flows.mitm"
        with path.open("wb") as file:
            writer = FlowWriter(file)
            for item in flows:
                writer.add(item)
        return path

    return write


@pytest.fixture
def records_of(tmp_path: Path) -> Callable[[bytes], list[AnyRecord]]:
    """The records of a file with this content."""

    def records(content: bytes) -> list[AnyRecord]:
        path = tmp_path / "capture"
        path.write_bytes(content)
        return list(read(path, "capture"))

    return records
