"""Clients that refuse our certificate, in a real mitmdump: noted, then let through, and measured."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from audit.protocols.notes import AnyNote, Passed, Passing, Records, Refused, decode
from audit.records import Flow
from audit.sources import read
from tests.addons.proxies import needs_mitmdump, proxy

pytestmark = [
    needs_mitmdump,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

ADDONS = ("recorder.py", "pinning.py")
SAID, ANSWER = b"k7m2" * 500, b"heard" * 2000


class Upstream:
    """A TLS server of its own, which answers everything with ANSWER."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "server.pem"
        key = folder / "server.key"
        command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bank.example -addext subjectAltName=DNS:bank.example -keyout {key} -out {self.certificate}"
        subprocess.run(command.split(), check=True, capture_output=True)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(self.certificate, key)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self.answer, args=(self.server.accept()[0],), daemon=True).start()

    def answer(self, raw: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError), self.context.wrap_socket(raw, server_side=True) as connection:
            data = b""
            while len(data) < len(SAID) and (chunk := connection.recv(65536)):
                data += chunk
            connection.sendall(ANSWER)
            connection.unwrap()


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    server = Upstream(tmp_path)
    yield server
    server.server.close()


def pinned(upstream: Upstream) -> ssl.SSLContext:
    """A client that accepts the real certificate and no other."""
    return ssl.create_default_context(cafile=str(upstream.certificate))


def talk(port: int, upstream: Upstream, context: ssl.SSLContext) -> bytes:
    """One connection through the proxy; what came back. Raises ssl.SSLError where it is refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in raw.recv(4096)
        with context.wrap_socket(raw, server_hostname="bank.example") as connection:
            connection.sendall(SAID)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer


def notes(path: Path) -> list[AnyNote]:
    return [decode(line) for line in path.read_bytes().splitlines() if line]


def until(ready: Callable[[], bool]) -> None:
    """Waits for something the proxy does a moment later."""
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    return tmp_path / "experiment" / "flows.mitm"


def test_who_pins_is_noted_then_let_through_and_measured(flows: Path, upstream: Upstream) -> None:
    events = flows.with_name("events.jsonl")
    options = (f"events_file={events}", "ssl_insecure=true")
    with proxy(flows, addons=ADDONS, options=options) as (_, port):
        with pytest.raises(ssl.SSLError):
            talk(port, upstream, pinned(upstream))
        assert talk(port, upstream, pinned(upstream)) == ANSWER
        for _ in range(2):
            assert talk(port, upstream, pinned(upstream)) == ANSWER
        until(lambda: sum(isinstance(note, Passed) for note in notes(events)) == 3)
    refused = [note for note in notes(events) if isinstance(note, Refused)]
    assert [(note.sni, note.how, note.passes_next) for note in refused] == [("bank.example", "alert", True)]
    assert refused[0].alert in ("unknown ca", "certificate unknown", "bad certificate")
    passing = [note for note in notes(events) if isinstance(note, Passing)]
    passed = [note for note in notes(events) if isinstance(note, Passed)]
    assert len(passing) == len(passed) == 3
    sizes = [
        s
        for note in notes(events)
        if isinstance(note, Records) and note.id == passing[0].id
        for s in note.sizes
    ]
    up, down = sum(s for _, s in sizes if s > 0), -sum(s for _, s in sizes if s < 0)
    assert len(SAID) < up == passed[0].up < 2 * len(SAID)
    assert len(ANSWER) < down == passed[0].down < 2 * len(ANSWER)
    assert b"k7m2" not in events.read_bytes()
    assert all(b"k7m2" not in path.read_bytes() for path in (events, flows))
    seen = [record for record in read(events, events.name) if isinstance(record, Flow)]
    assert [flow.observability for flow in seen] == ["capture_failed"] + ["metadata_only"] * 3


def test_another_client_is_still_read(flows: Path, upstream: Upstream) -> None:
    events = flows.with_name("events.jsonl")
    with proxy(flows, addons=ADDONS, options=(f"events_file={events}", "ssl_insecure=true")) as (_, port):
        with pytest.raises(ssl.SSLError):
            talk(port, upstream, pinned(upstream))
        other = ssl.create_default_context(cafile=str(flows.parent.parent / "conf/mitmproxy-ca-cert.pem"))
        other.set_ciphers("ECDHE+CHACHA20")
        assert talk(port, upstream, other) == ANSWER
    assert not [note for note in notes(events) if isinstance(note, Passing)]
    assert b"k7m2" in flows.read_bytes()


def test_strict_lets_nothing_through(flows: Path, upstream: Upstream) -> None:
    events = flows.with_name("events.jsonl")
    options = (f"events_file={events}", "ssl_insecure=true", "passthrough=false")
    with proxy(flows, addons=ADDONS, options=options) as (_, port):
        for _ in range(3):
            with pytest.raises(ssl.SSLError):
                talk(port, upstream, pinned(upstream))
        until(lambda: len(notes(events)) >= 3)
    found = notes(events)
    assert len(found) == 3
    assert not any(note.passes_next for note in found if isinstance(note, Refused))


def test_a_certificate_installed_later_ends_the_passing(flows: Path, upstream: Upstream) -> None:
    events = flows.with_name("events.jsonl")
    with proxy(flows, addons=ADDONS, options=(f"events_file={events}", "ssl_insecure=true")) as (_, port):
        with pytest.raises(ssl.SSLError):
            talk(port, upstream, pinned(upstream))
        trusting = ssl.create_default_context(cafile=str(flows.parent.parent / "conf/mitmproxy-ca-cert.pem"))
        trusting.check_hostname = False
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode())
            raw.recv(4096)
            with trusting.wrap_socket(raw, server_hostname="other.example") as connection:
                connection.sendall(SAID)
                connection.recv(10)
        assert talk(port, upstream, trusting) == ANSWER
    assert not [note for note in notes(events) if isinstance(note, Passing)]


def test_closing_after_the_handshake_again_and_again_is_a_refusal(flows: Path, upstream: Upstream) -> None:
    events = flows.with_name("events.jsonl")
    with proxy(flows, addons=ADDONS, options=(f"events_file={events}", "ssl_insecure=true")) as (_, port):
        trusting = ssl.create_default_context(cafile=str(flows.parent.parent / "conf/mitmproxy-ca-cert.pem"))
        for turn in range(3):
            assert not events.read_bytes() or turn == 0
            with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
                raw.sendall(f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode())
                raw.recv(4096)
                with trusting.wrap_socket(raw, server_hostname="bank.example"):
                    pass
        assert talk(port, upstream, pinned(upstream)) == ANSWER
    (refused,) = (note for note in notes(events) if isinstance(note, Refused))
    assert refused.how == "silent"


@pytest.mark.parametrize("host", ["privacy-audit.test", "wren-k7m2.example"])
def test_what_is_answered_here_is_read_as_soon_as_the_certificate_is_installed(
    flows: Path, host: str
) -> None:
    """The self-test is loaded once before and once after; so may be the page of a planted address."""
    events = flows.with_name("events.jsonl")
    options = (f"events_file={events}", "offline_domains=wren-k7m2.example")
    with proxy(flows, addons=("recorder.py", "pinning.py", "offline_answers.py", "self_test.py"), options=options) as (_, port):  # fmt: skip
        trusting = ssl.create_default_context(cafile=str(flows.parent.parent / "conf/mitmproxy-ca-cert.pem"))
        for context in (ssl.create_default_context(), trusting):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
                raw.sendall(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
                assert b" 200 " in raw.recv(4096)
                if context is not trusting:
                    with pytest.raises(ssl.SSLError):
                        context.wrap_socket(raw, server_hostname=host)
                    until(lambda: any(isinstance(note, Refused) for note in notes(events)))
                    continue
                with context.wrap_socket(raw, server_hostname=host) as connection:
                    connection.sendall(f"GET /trusted.svg HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert not [note for note in notes(events) if isinstance(note, Passing)]
    assert not any(note.passes_next for note in notes(events) if isinstance(note, Refused))
