"""OpenSSL's own programs, relayed and recorded: early data, key updates, renegotiation, resumption."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.records import Flow, Gap, Http, Message

from . import talks
from .relay import Relay
from .wire import Wire

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def server(folder: Path, *options: str) -> Iterator[int]:
    """`s_server` with these options, until the context ends."""
    port = free_port()
    cert, key = talks.certificate_files(folder)
    process = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", cert, "-key", key, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def client(port: int, log: Path, *options: str, say: tuple[bytes, ...] = ()) -> bytes:
    """`s_client`, saying these things half a second apart; what it printed."""
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-keylogfile", log, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    for words in say:
        time.sleep(0.5)
        process.stdin.write(words)
        process.stdin.flush()
    time.sleep(1.0)
    process.stdin.close()
    deadline = threading.Timer(10, process.kill)
    deadline.start()
    try:
        assert process.stdout is not None
        return process.stdout.read()
    finally:
        deadline.cancel()
        process.kill()
        process.wait()


def test_early_data(tmp_path: Path) -> None:
    wire, log = Wire(), tmp_path / "keys.log"
    early = tmp_path / "early"
    early.write_bytes(b"GET /early?q=first HTTP/1.1\r\nHost: made.example\r\n\r\n")
    session = tmp_path / "session"
    with server(tmp_path, "-tls1_3", "-early_data") as port, Relay(wire, port) as relay:
        client(relay.port, log, "-tls1_3", "-sess_out", str(session), say=(_get("full"),))
        told = client(
            relay.port,
            log,
            "-tls1_3",
            "-sess_in",
            str(session),
            "-early_data",
            str(early),
            say=(_get("later"),),
        )
    assert b"Early data was accepted" in told
    records = talks.opened(wire.write(tmp_path), log)
    assert [r.path for r in records if isinstance(r, Http)] == ["/full", "/early?q=first", "/later"]
    assert {r.secured_by for r in records if isinstance(r, Flow)} == {"keylog"}
    # without the early secret only what came early is lost
    lines = [line for line in log.read_text().splitlines() if "EARLY" not in line]
    (tmp_path / "some.log").write_text("\n".join(lines))
    records = talks.opened(tmp_path / "made.pcap", tmp_path / "some.log")
    assert [r.path for r in records if isinstance(r, Http)] == ["/full", "/later"]
    assert [r.reason for r in records if isinstance(r, Gap)] == ["lost"]


def _get(path: str) -> bytes:
    return f"GET /{path} HTTP/1.1\nHost: made.example\n\n".encode()


def test_keys_are_updated_while_they_talk(tmp_path: Path) -> None:
    wire, log = Wire(), tmp_path / "keys.log"
    words = [
        b"words before the change of keys\n",
        b"words after the first change\n",
        b"words after the second\n",
    ]
    with server(tmp_path, "-tls1_3", "-rev") as port, Relay(wire, port) as relay:
        client(relay.port, log, "-tls1_3", say=(words[0], b"K\n", words[1], b"K\n", words[2]))
    records = talks.opened(wire.write(tmp_path), log)
    sent = b"".join(r.data for r in records if isinstance(r, Message) and r.direction == "up")
    back = b"".join(r.data for r in records if isinstance(r, Message) and r.direction == "down")
    assert sent == b"".join(words)
    assert back == b"".join(line[:-1][::-1] + b"\n" for line in words)
    assert not [r for r in records if isinstance(r, Gap)]


def test_renegotiation(tmp_path: Path) -> None:
    wire, log = Wire(), tmp_path / "keys.log"
    words = [
        b"words before the second handshake\n",
        b"words between the two of them\n",
        b"words after the third\n",
    ]
    with server(tmp_path, "-tls1_2", "-client_renegotiation") as port, Relay(wire, port) as relay:
        told = client(relay.port, log, "-tls1_2", say=(words[0], b"R\n", words[1], b"R\n", words[2]))
    assert told.count(b"RENEGOTIATING") == 2
    records = talks.opened(wire.write(tmp_path), log)
    assert b"".join(r.data for r in records if isinstance(r, Message)) == b"".join(words)
    assert not [r for r in records if isinstance(r, Gap)]


def test_cbc_without_encrypt_then_mac(tmp_path: Path) -> None:
    wire, log = Wire(), tmp_path / "keys.log"
    with server(tmp_path, "-tls1_2", "-www") as port, Relay(wire, port) as relay:
        client(
            relay.port, log, "-tls1_2", "-cipher", "AES256-SHA", "-no_etm",
            say=(b"GET /cbc HTTP/1.0\r\nHost: made.example\r\n\r\n",)
        )  # fmt: skip
    records = talks.opened(wire.write(tmp_path), log)
    (asked,) = (r for r in records if isinstance(r, Http))
    assert (asked.path, asked.status) == ("/cbc", 200)
    assert b"Cipher" in (asked.response_body or b"")
