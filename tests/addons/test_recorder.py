"""The recorder in a real mitmdump on loopback, with offline answers: what was sent is on disk, whatever happens."""

import os
import random
import re
import runpy
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from pathlib import Path

import pytest
from mitmproxy.dns import DNSFlow
from mitmproxy.flow import Flow
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowReader
from mitmproxy.net import tls
from mitmproxy.net.dns import classes, types
from mitmproxy.tcp import TCPFlow
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, Request

from audit.records import Http, WebSocketMessage
from audit.sources import read as records
from tests.addons.proxies import ADDONS, free_port, mitmdump, needs_mitmdump, proxy

pytestmark = needs_mitmdump


def read(path: Path) -> list[Flow]:
    """Every state in the file, as mitmproxy reads it."""
    with path.open("rb") as file:
        return list(FlowReader(file).stream())


def last_states(path: Path) -> list[Flow]:
    """Each flow as its last state tells it."""
    return list({flow.id: flow for flow in read(path)}.values())


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """Where the recording goes; the folder is the recorder's to make."""
    return tmp_path / "experiment" / "flows.mitm"


def get(port: int, url: str) -> bytes:
    """One request through the proxy."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", url)
    body = connection.getresponse().read()
    connection.close()
    return body


def test_request_is_on_disk_when_the_proxy_is_killed(flows: Path) -> None:
    with proxy(flows) as (process, port):
        assert b"plover.example" in get(port, "http://plover.example/mill?quay=t4x2")
        process.send_signal(signal.SIGKILL)
        process.wait()
    (flow,) = last_states(flows)
    assert isinstance(flow, HTTPFlow)
    assert flow.request.pretty_url == "http://plover.example/mill?quay=t4x2"
    assert flow.response is not None
    assert flow.response.status_code == 200


def test_what_the_upstream_saw_is_on_disk_though_nothing_was_answered(flows: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        proxy(flows, addons=("recorder.py",)) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=20) as client,
    ):
        host = f"127.0.0.1:{upstream.getsockname()[1]}"
        client.sendall(
            f"POST http://{host}/sent HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nk7m2".encode()
        )
        seen = b""
        with upstream.accept()[0] as connection:
            while not seen.endswith(b"k7m2"):
                seen += connection.recv(4096)
            process.send_signal(signal.SIGKILL)
            process.wait()
    (flow,) = last_states(flows)
    assert isinstance(flow, HTTPFlow)
    assert flow.request.pretty_url == f"http://{host}/sent"
    assert flow.request.content == b"k7m2"
    assert flow.response is None


def test_every_message_of_a_long_conversation_is_on_disk_and_the_file_stays_small(flows: Path) -> None:
    said = [f"message {number:4} ".encode() * 64 for number in range(200)]
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        proxy(flows, addons=("recorder.py",)) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=20) as client,
    ):
        target = f"127.0.0.1:{upstream.getsockname()[1]}"
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        with upstream.accept()[0] as connection:
            client.recv(4096)
            for message in said:
                client.sendall(b"\x00" + message)
                received = 0
                while received <= len(message):
                    received += len(connection.recv(4096))
            process.send_signal(signal.SIGKILL)
            process.wait()
    first, *others = last_states(flows)
    assert all(isinstance(flow, TCPFlow) for flow in (first, *others))
    assert {flow.metadata["continues"] for flow in others} == {first.id}
    sent = b"".join(b"\x00" + message for message in said)
    assert b"".join(message.content for flow in (first, *others) for message in flow.messages) == sent  # type: ignore[attr-defined]
    assert flows.stat().st_size < 8 * len(sent)


def test_a_long_websocket_is_one_request_and_all_its_messages(flows: Path) -> None:
    said = [f"wren {number} k7m2".encode() for number in range(100)]

    def answer(upstream: socket.socket) -> None:
        with upstream.accept()[0] as connection:
            peer = WSConnection(ConnectionType.SERVER)
            while data := connection.recv(65536):
                peer.receive_data(data)
                for event in peer.events():
                    if isinstance(event, Request):
                        connection.sendall(peer.send(AcceptConnection()))
                    elif isinstance(event, BytesMessage):
                        connection.sendall(peer.send(BytesMessage(data=b"heard " + event.data)))

    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        proxy(flows, addons=("recorder.py",)) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        threading.Thread(target=answer, args=(upstream,), daemon=True).start()
        host = f"127.0.0.1:{upstream.getsockname()[1]}"
        client = WSConnection(ConnectionType.CLIENT)
        connection.sendall(client.send(Request(host=host, target=f"http://{host}/chat")))
        client.receive_data(connection.recv(65536))
        list(client.events())
        for message in said:
            connection.sendall(client.send(BytesMessage(data=message)))
            client.receive_data(connection.recv(65536))
            (event,) = client.events()
            assert isinstance(event, BytesMessage)
        process.send_signal(signal.SIGKILL)
        process.wait()
    seen = list(records(flows, flows.name))
    assert [record.path for record in seen if isinstance(record, Http)] == ["/chat"]
    messages = [record for record in seen if isinstance(record, WebSocketMessage)]
    assert [message.data for message in messages if message.direction == "up"] == said
    assert [message.data for message in messages if message.direction == "down"] == [
        b"heard " + m for m in said
    ]


def test_the_key_log_belongs_to_its_owner_and_is_appended_to(flows: Path, tmp_path: Path) -> None:
    keys = tmp_path / "experiment" / "keys.log"
    keys.parent.mkdir()
    keys.write_text("# an earlier sitting\n")
    with proxy(flows, options=(f"recorder_keys={keys}",)) as (_, port):
        trust = ssl.create_default_context(cafile=str(flows.parent.parent / "conf" / "mitmproxy-ca-cert.pem"))
        connection = HTTPSConnection("127.0.0.1", port, context=trust, timeout=20)
        connection.set_tunnel("heron.example", 443)
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()
    assert keys.read_text().startswith("# an earlier sitting\n")
    assert "CLIENT_TRAFFIC_SECRET_0 " in keys.read_text()
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_a_large_response_passes_and_what_was_sent_is_kept(flows: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        proxy(flows, addons=("recorder.py",), options=("recorder_large=1m",)) as (_, port),
    ):

        def answer() -> None:
            with upstream.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))

        threading.Thread(target=answer, daemon=True).start()
        assert len(get(port, f"http://127.0.0.1:{upstream.getsockname()[1]}/film")) == 3_000_000
    (flow,) = last_states(flows)
    assert isinstance(flow, HTTPFlow)
    assert flow.request.path == "/film"
    assert flows.stat().st_size < 100_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_proxy_visibly_and_keeps_what_is_there(small_disk: Path) -> None:
    flows = small_disk / "flows.mitm"
    sent = 0
    with proxy(flows) as (process, port):
        body = os.urandom(30_000)
        with suppress(OSError, RemoteDisconnected):
            for number in range(200):
                connection = HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("POST", f"http://plover.example/{number}", body=body)
                connection.getresponse().read()
                sent += 1
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "No space left on device" in said
    assert "The proxy stops" in said
    assert 3 < sent < 100
    recorded = [flow.request.path for flow in last_states(flows) if isinstance(flow, HTTPFlow)]
    assert recorded[:sent] == [f"/{number}" for number in range(sent)]


@pytest.mark.slow
def test_killed_at_any_moment_under_load_no_request_is_missing(flows: Path) -> None:
    """Twenty times: what the upstream saw of each request is in the recording, tail recovery included."""
    chance = random.Random(6)
    seen: set[str] = set()
    ended = threading.Event()

    def upstream(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            data = b""
            while chunk := connection.recv(65536):
                data += chunk
                seen.update(re.findall(r"/sent-[0-9-]+", data.decode("latin-1")))
                while b"\r\n\r\n" in data:
                    data = data.partition(b"\r\n\r\n")[2]
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def listen(server: socket.socket) -> None:
        with suppress(OSError):
            while not ended.is_set():
                threading.Thread(target=upstream, args=(server.accept()[0],), daemon=True).start()

    def load(port: int, host: str, who: str) -> None:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            for number in range(100_000):
                connection.request("GET", f"http://{host}/sent-{who}-{number}")
                connection.getresponse().read()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, args=(server,), daemon=True).start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        for turn in range(20):
            before = len(seen)
            with proxy(flows, addons=("recorder.py",)) as (process, port):
                workers = [
                    threading.Thread(target=load, args=(port, host, f"{turn}-{n}"), daemon=True)
                    for n in range(4)
                ]
                for worker in workers:
                    worker.start()
                while len(seen) == before:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0.0, 0.8))
                process.send_signal(signal.SIGKILL)
                process.wait()
            for worker in workers:
                worker.join()
        ended.set()
    with proxy(flows):
        pass
    recorded = {record.path for record in records(flows, flows.name) if isinstance(record, Http)}
    assert len(seen) > 200
    assert seen <= recorded


def test_what_was_written_is_brought_to_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut takes what was not; a disk that refuses then ends the process."""
    recorder = runpy.run_path(str(ADDONS / "recorder.py"))
    assert recorder["SURFACE"] <= 1
    monkeypatch.setitem(recorder["keep_on_surface"].__globals__, "SURFACE", 0.01)
    file = recorder["FlowFile"](tmp_path / "flows.mitm")
    surfaced: list[int] = []
    at_disk, refused = threading.Event(), threading.Event()

    def brought(fd: int) -> None:
        surfaced.append(os.fstat(fd).st_size)
        at_disk.set()
        if len(surfaced) > 1:
            raise OSError(5, "Input/output error")

    def ended(code: int) -> None:
        file.closing.set()
        if code == 1:
            refused.set()

    monkeypatch.setattr(os, "fdatasync", brought)
    monkeypatch.setattr(os, "_exit", ended)
    surfacing = (file.path, file.fd, file.closing)
    threading.Thread(target=recorder["keep_on_surface"], args=surfacing, daemon=True).start()
    file.append(b"2:{}}")
    assert at_disk.wait(20)
    assert surfaced == [5]
    file.append(b"2:{}}")
    assert refused.wait(20)


def test_the_keys_are_brought_to_the_disk_itself_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows of packets recorded beside are worth nothing without them."""
    recorder = runpy.run_path(str(ADDONS / "recorder.py"))
    monkeypatch.setitem(recorder["keep_on_surface"].__globals__, "SURFACE", 0.01)
    surfaced: list[tuple[str, bytes]] = []
    at_disk = threading.Event()

    def brought(fd: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink()
        surfaced.append((name.name, name.read_bytes()))
        at_disk.set()

    monkeypatch.setattr(tls, "log_master_secret", None)
    monkeypatch.setattr(os, "fdatasync", brought)
    recorder["Recorder"].log_keys(tmp_path / "keys.log")
    assert not at_disk.wait(0.1)
    assert tls.log_master_secret is not None
    tls.log_master_secret(None, b"CLIENT_RANDOM 00 11")
    assert at_disk.wait(20)
    assert surfaced == [("keys.log", b"\nCLIENT_RANDOM 00 11\n")]


def test_request_is_written_before_its_answer(flows: Path) -> None:
    with proxy(flows) as (_, port):
        get(port, "http://plover.example/")
    first, second = read(flows)
    assert isinstance(first, HTTPFlow)
    assert isinstance(second, HTTPFlow)
    assert first.id == second.id
    assert first.response is None
    assert second.response is not None


def test_https_with_the_proxys_own_certificate(flows: Path) -> None:
    with proxy(flows) as (_, port):
        trust = ssl.create_default_context(cafile=str(flows.parent.parent / "conf" / "mitmproxy-ca-cert.pem"))
        connection = HTTPSConnection("127.0.0.1", port, context=trust, timeout=20)
        connection.set_tunnel("heron.example", 443)
        connection.request("POST", "/barn", body=b"k7m2")
        connection.getresponse().read()
        connection.close()
    (flow,) = last_states(flows)
    assert isinstance(flow, HTTPFlow)
    assert flow.request.pretty_url == "https://heron.example/barn"
    assert flow.request.content == b"k7m2"


def test_each_dns_query_is_a_flow_though_the_client_reuses_its_id(flows: Path) -> None:
    labels = ("wren", "teal", "wren")
    addresses = []
    with proxy(flows, "dns") as (_, port), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        for label in labels:
            name = bytes([len(label)]) + label.encode() + b"\x07example\x00"
            client.send(
                struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", types.A, classes.IN)
            )
            addresses.append(client.recv(4096)[-4:])
    recorded = [flow for flow in last_states(flows) if isinstance(flow, DNSFlow)]
    assert [flow.request.questions[0].name for flow in recorded] == [f"{label}.example" for label in labels]
    assert [flow.response.answers[0].data for flow in recorded if flow.response] == addresses
    assert addresses[0] == addresses[2] != addresses[1]
    assert all(address[0] == 198 and address[1] in (18, 19) for address in addresses)


def test_a_connection_of_no_known_protocol_goes_nowhere_and_is_recorded(flows: Path) -> None:
    with proxy(flows) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"CONNECT fern.example:9 HTTP/1.1\r\nHost: fern.example:9\r\n\r\n")
        assert b" 200 " in client.recv(4096)
        client.sendall(b"\x00\x01\x02 no protocol\n")
        assert client.recv(4096) == b""
    (flow,) = last_states(flows)
    assert isinstance(flow, TCPFlow)
    assert flow.error is not None
    assert "offline" in flow.error.msg


def test_only_the_owner_can_read_the_recording(flows: Path) -> None:
    with proxy(flows):
        pass
    assert stat.S_IMODE(flows.stat().st_mode) == 0o600
    assert stat.S_IMODE(flows.parent.stat().st_mode) == 0o700


def test_a_record_cut_off_by_a_crash_is_removed_and_recording_goes_on(flows: Path) -> None:
    with proxy(flows) as (_, port):
        get(port, "http://plover.example/first")
    whole = flows.read_bytes()
    with proxy(flows) as (_, port):
        get(port, "http://plover.example/second")
    flows.write_bytes(flows.read_bytes()[:-9])
    with proxy(flows) as (_, port):
        get(port, "http://plover.example/third")
    assert flows.read_bytes().startswith(whole)
    paths = [flow.request.path for flow in last_states(flows) if isinstance(flow, HTTPFlow)]
    assert paths == ["/first", "/second", "/third"]


@pytest.mark.parametrize("content", [b"12:30 lunch with Kim", b"100:a short note", b"%PDF-1.7", b"4:{}x"])
def test_a_file_that_holds_anything_else_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "notes.txt"
    other.write_bytes(content)
    process = mitmdump(
        tmp_path / "conf",
        f"regular@127.0.0.1:{free_port()}",
        f"recorder_file={other}",
        addons=("recorder.py",),
    )
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is no mitmproxy flow file" in said
    assert other.read_bytes() == content


def test_no_file_to_write_to_stops_the_proxy(tmp_path: Path) -> None:
    process = mitmdump(tmp_path / "conf", f"regular@127.0.0.1:{free_port()}", addons=("recorder.py",))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--set recorder_file=PATH" in said


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux"
)
def test_a_full_disk_stops_the_proxy_and_leaves_the_file_readable(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        flows = disk / "flows.mitm"
        with proxy(flows) as (process, port):
            answered = 0
            with suppress(RemoteDisconnected, ConnectionError):
                while answered < 1000:
                    get(port, f"http://plover.example/{answered}")
                    answered += 1
            assert process.stdout is not None
            assert "No space left on device" in process.stdout.read()
            assert process.wait(timeout=30) == 1
        paths = [flow.request.path for flow in last_states(flows) if isinstance(flow, HTTPFlow)]
        assert paths == [f"/{number}" for number in range(len(paths))]
        assert 5 < answered <= len(paths)
    finally:
        subprocess.run(["umount", disk], check=True)
