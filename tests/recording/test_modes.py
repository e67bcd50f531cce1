"""Each way to lead a device through the proxy that needs no network of its own, with real traffic.

WireGuard and transparent mode are in test_phone.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from audit.protocols.notes import Sitting, decode
from audit.records import Http
from audit.sources import read
from tests.addons.proxies import ROOT, free_port, needs_mitmdump, proxy

pytestmark = [
    needs_mitmdump,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


class Site(BaseHTTPRequestHandler):
    """A web server that says what it was asked."""

    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = f"heard {self.path}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site(certificate: Path | None = None) -> Iterator[tuple[int, list[str]]]:
    """A web server on loopback, over TLS where a certificate with its key is given; its port, what it was asked."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Site,), {"asked": asked}))
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1]), asked
    finally:
        server.shutdown()
        server.server_close()


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key in one file."""
    made = folder / "site.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=site.example"
    more = ("-addext", "subjectAltName=DNS:site.example", "-keyout", str(made), "-out", str(folder / "cert"))
    subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "cert").read_text())
    return made


@contextmanager
def capturing(folder: Path, mode: str, *words: str) -> Iterator[int]:
    """`capture` in a mode; its port."""
    port, said = free_port(), folder.parent / "said.txt"
    command = [sys.executable, "-m", "audit", "capture", str(folder), "--mode", mode, "--listen", "127.0.0.1"]
    command += ["--port", str(port), "--confdir", str(folder.parent / "conf"), *words]
    with said.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    try:
        deadline = time.monotonic() + 90
        while "Recording; end it" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        yield port
        assert process.poll() is None, said.read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def curl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """curl with a time limit; without the proxy settings of whoever runs the tests."""
    clean = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        ["curl", "-sS", "-m", "30", *map(str, words)], capture_output=True, text=True, check=False, env=clean
    )


def recorded(folder: Path) -> list[tuple[str, str | None, int | None]]:
    """Authority, path and status of every exchange in the folder's flows."""
    (flows,) = folder.glob("flows-*.mitm")
    return [
        (record.authority, record.path, record.status)
        for record in read(flows, flows.name)
        if isinstance(record, Http) and record.direction == "up"
    ]


def sittings(folder: Path) -> list[str | None]:
    """The modes that the notes name."""
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    return [note.mode for line in lines if isinstance(note := decode(line), Sitting)]


def test_socks5_with_names_resolved_by_the_proxy(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    with capturing(folder, "socks5", "--offline") as port:
        authority = tmp_path / "conf" / "mitmproxy-ca-cert.pem"
        through = ("--socks5-hostname", f"127.0.0.1:{port}")
        clear = curl(*through, "http://plover.example/clear?mark=k3v8")
        sealed = curl(*through, "--cacert", authority, "https://plover.example/sealed?mark=t7q2")
        page = curl(*through, "http://privacy-audit.test/")
    assert "plover.example" in clear.stdout, clear.stderr
    assert "plover.example" in sealed.stdout, sealed.stderr
    assert "Self-test" in page.stdout, page.stderr
    found = {(authority.partition(":")[0], path) for authority, path, _ in recorded(folder)}
    assert ("plover.example", "/clear?mark=k3v8") in found
    assert ("plover.example", "/sealed?mark=t7q2") in found
    assert set(sittings(folder)) == {"socks5"}


def test_upstream_leads_through_the_other_proxy(tmp_path: Path) -> None:
    """The other proxy is a mitmdump of its own, which must have seen what ours recorded, and nothing less."""
    folder, other = tmp_path / "experiment", tmp_path / "other" / "flows.mitm"
    with site() as (server, asked), proxy(other, addons=("recorder.py",)) as (_, beyond):
        with capturing(folder, f"upstream:http://127.0.0.1:{beyond}") as port:
            through = ("--proxy", f"http://127.0.0.1:{port}", "--noproxy", "")
            done = curl(*through, f"http://127.0.0.1:{server}/clear?mark=k3v8")
        assert done.stdout == "heard /clear?mark=k3v8", done.stderr
        assert asked == ["/clear?mark=k3v8"]
    assert [(path, status) for _, path, status in recorded(folder)] == [("/clear?mark=k3v8", 200)]
    beyond_saw = [record.path for record in read(other, other.name) if isinstance(record, Http)]
    assert "/clear?mark=k3v8" in beyond_saw
    assert set(sittings(folder)) == {"upstream"}


class Tunnels(socketserver.StreamRequestHandler):
    """A proxy that only makes tunnels (RFC 9110, CONNECT) and keeps the requests for them."""

    asked: ClassVar[list[bytes]]

    def handle(self) -> None:
        line = self.rfile.readline(1000)
        while self.rfile.readline(1000).strip():
            pass
        self.asked.append(line.strip())
        host, _, port = line.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as far:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self.pump, args=(far, self.connection), daemon=True)
            back.start()
            self.pump(self.connection, far)
            back.join(10)

    @staticmethod
    def pump(near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_upstream_reads_tls_that_goes_on_through_a_tunnel(tmp_path: Path) -> None:
    folder, tunnels = tmp_path / "experiment", []
    handler = type("Handler", (Tunnels,), {"asked": tunnels})
    with site(self_signed(tmp_path)) as (server, asked), socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as beyond:  # fmt: skip
        beyond.daemon_threads = True
        threading.Thread(target=beyond.serve_forever, daemon=True).start()
        mode = f"upstream:http://127.0.0.1:{beyond.server_address[1]}"
        with capturing(folder, mode, "--set", "ssl_insecure=true") as port:
            authority = tmp_path / "conf" / "mitmproxy-ca-cert.pem"
            through = ("--proxy", f"http://127.0.0.1:{port}", "--noproxy", "", "--cacert", authority)
            done = curl(*through, f"https://127.0.0.1:{server}/sealed?mark=t7q2")
        beyond.shutdown()
    assert done.stdout == "heard /sealed?mark=t7q2", done.stderr
    assert asked == ["/sealed?mark=t7q2"]
    assert set(tunnels) == {b"CONNECT 127.0.0.1:%d HTTP/1.1" % server}
    assert [(path, status) for _, path, status in recorded(folder)] == [("/sealed?mark=t7q2", 200)]


def test_an_upstream_that_is_not_there_is_told_to_the_device_and_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    with capturing(folder, f"upstream:http://127.0.0.1:{free_port()}") as port:
        done = curl("-o", tmp_path / "page", "-w", "%{http_code}", "--noproxy", "", "--proxy", f"http://127.0.0.1:{port}", "http://plover.example/lost?mark=k3v8")  # fmt: skip
    assert done.stdout == "502"
    assert "/lost?mark=k3v8" in [path for _, path, _ in recorded(folder)]


def test_local_records_a_program_of_this_computer_or_says_why_not(tmp_path: Path) -> None:
    """Only one program by its name is led through the proxy, so that nothing else here is touched."""
    program = tmp_path / "audited-curl"
    shutil.copy(str(shutil.which("curl")), program)
    folder, said = tmp_path / "experiment", tmp_path / "said.txt"
    command = [
        sys.executable,
        "-m",
        "audit",
        "capture",
        str(folder),
        "--mode",
        "local:audited-curl",
        "--offline",
    ]
    command += ["--confdir", str(tmp_path / "conf")]
    with said.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT)
    try:
        deadline = time.monotonic() + 90
        while "Recording; end it" not in said.read_text() and process.poll() is None:
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        if process.poll() is not None:
            assert process.returncode == 2
            last = said.read_text().strip().splitlines()[-1]
            assert last.startswith("privacy-audit: local mode is not to be had here: "), said.read_text()
            assert "take wireguard" in last
            assert "Traceback" not in said.read_text()
            return
        done = subprocess.run(
            [program, "-sS", "-m", "30", "http://198.18.5.5/local?mark=k3v8"], capture_output=True, text=True, check=False
        )  # fmt: skip
        assert "198.18.5.5" in done.stdout, done.stderr
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    assert ("198.18.5.5", "/local?mark=k3v8") in [
        (a.partition(":")[0], path) for a, path, _ in recorded(folder)
    ]
