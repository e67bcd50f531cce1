"""Files of a recording: private, numbered, never replaced, and whole when the disk is full."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from audit.recording import rotation
from audit.recording.rotation import Rotation

PRELUDE = b"PRELUDE."


def begin(folder: Path, limit: int = 1000) -> Rotation:
    return Rotation(folder, "sniff-T", ".pcapng", PRELUDE, limit, lambda path: None)


def test_files_are_private_numbered_and_begin_alike(tmp_path: Path) -> None:
    files = begin(tmp_path)
    files.write(b"one")
    files.rotate(b"end.")
    files.write(b"two")
    files.close(b"end.")
    assert [path.name for path in files.paths] == ["sniff-T-001.pcapng", "sniff-T-002.pcapng"]
    assert [path.read_bytes() for path in files.paths] == [b"PRELUDE.oneend.", b"PRELUDE.twoend."]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.paths} == {0o600}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "sniff-T-001.pcapng").write_bytes(b"mine")
    (tmp_path / "sniff-T-002.pcapng").symlink_to(tmp_path / "elsewhere")
    files = begin(tmp_path)
    files.close()
    assert files.paths == [tmp_path / "sniff-T-003.pcapng"]
    assert (tmp_path / "sniff-T-001.pcapng").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_full_by_what_was_taken_not_by_what_was_flushed(tmp_path: Path) -> None:
    files = begin(tmp_path, limit=12)
    assert not files.full
    files.write(b"four")
    assert files.full


@pytest.mark.parametrize("room", [0, 1, 4, 5, 9])
def test_a_full_disk_leaves_whole_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    files = begin(tmp_path)
    left = room

    def write(fd: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        size = min(left, len(data), 3)
        left -= size
        return os.pwrite(fd, bytes(data[:size]), os.lseek(fd, 0, os.SEEK_END))

    for _ in range(3):
        files.write(b"5678")
    with monkeypatch.context() as patched:
        patched.setattr(rotation.os, "write", write)
        with pytest.raises(OSError, match="No space"):
            files.flush()
    files.close()
    assert files.paths[0].read_bytes() == PRELUDE + b"5678" * (room // 4)


def test_a_full_disk_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = begin(tmp_path)

    def write(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(rotation.os, "write", write)
        with pytest.raises(OSError, match="No space"):
            begin(tmp_path)
        with pytest.raises(OSError, match="No space"):
            files.rotate(b"")
    assert [path.name for path in tmp_path.iterdir()] == ["sniff-T-001.pcapng"]
    files.close()
