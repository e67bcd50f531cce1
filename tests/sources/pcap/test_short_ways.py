"""The short ways, for what nearly all connections and lookups are, tell what the long ways tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.records import AnyRecord, Dns, Tls
from audit.sources import BadCapture
from audit.sources.pcap import greetings, lookups

from . import corpus

PHONE = Path(__file__).resolve().parents[3] / "captures" / "chromium-156" / "phone.pcapng"


def told(path: Path, monkeypatch: pytest.MonkeyPatch, *, short: bool) -> list[AnyRecord]:
    with monkeypatch.context() as patched:
        if not short:
            patched.setattr(greetings, "read", lambda *_: None)
            patched.setattr(lookups, "lookup", lambda *_: None)
        try:
            return corpus.records(str(path))
        except BadCapture:
            return []


def bare(folder: Path) -> Path:
    """The project's own capture as a pcap, which carries no secrets."""
    from scapy.utils import PcapNgReader, wrpcap

    path = folder / "bare.pcap"
    with PcapNgReader(str(PHONE)) as reader:
        wrpcap(str(path), list(reader))
    return path


def test_they_are_taken_and_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bare(tmp_path)
    taken = {"greetings": 0, "lookups": 0}
    read, tell = greetings.read, lookups.tell

    def greeted(*given: object) -> object:
        greeting = read(*given)  # type: ignore[arg-type]
        taken["greetings"] += greeting is not None
        return greeting

    def looked_up(*given: object) -> None:
        taken["lookups"] += 1
        tell(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(greetings, "read", greeted)
    monkeypatch.setattr(lookups, "tell", looked_up)
    short = told(path, monkeypatch, short=True)
    assert sum(isinstance(one, Tls) for one in short) > 5
    assert sum(isinstance(one, Dns) for one in short) > 20
    assert taken["greetings"] > 3
    assert taken["lookups"] > 10
    assert told(path, monkeypatch, short=False) == short


@pytest.mark.slow
@pytest.mark.skipif(not corpus.CORPUS.is_dir(), reason="the shared corpus is not there")
def test_they_tell_the_same_of_every_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    for capture in corpus.captures():
        path = corpus.CORPUS / "captures" / capture
        assert told(path, monkeypatch, short=True) == told(path, monkeypatch, short=False), capture
