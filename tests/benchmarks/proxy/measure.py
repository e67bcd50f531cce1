"""What the addons cost: requests per second through mitmproxy with all of them, against bare `mitmdump -w`.

    python tests/benchmarks/proxy/measure.py [--rounds 5] [--requests 3000] [--memory 200000]

Both proxies run in reverse mode against the same upstream on loopback (a process of its own), one after the other in
rounds, and h2load is the client: HTTP/1.1 in clear and HTTP/2 over TLS, bodies of 1 kB and 100 kB. Printed are the
median rates and the median of the rounds' ratios, then the ratio of what each request costs the proxy's own process in
processor time (below 1: cheaper than bare), which a busy machine blurs less. `--memory N` sends N
requests through the proxy with all addons and prints its memory along the way. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from audit.canaries import Outline, plan  # noqa: E402 - the repository has to be on the path first
from audit.experiment import save  # noqa: E402
from audit.recording.capture import Sitting, Wishes  # noqa: E402
from audit.recording.proxy_mode import ProxyMode  # noqa: E402

SIZES = {"1 kB": 1_000, "100 kB": 100_000}


async def upstream(port: int) -> None:
    """Answers /N with N bytes, as fast as a small program can, and keeps connections open."""

    class Answer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.data = transport, b""

        def data_received(self, data: bytes) -> None:
            self.data += data
            while b"\r\n\r\n" in self.data:
                head, _, self.data = self.data.partition(b"\r\n\r\n")
                size = int(head.split(b" ", 2)[1].lstrip(b"/") or 0)
                self.transport.write(  # type: ignore[attr-defined]
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % size
                    + b"x" * size
                )

    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", port)
    await server.serve_forever()


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own while the block lasts."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def listening(port: int) -> None:
    """Waits until somebody listens."""
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


def bare(room: Path, spec: str) -> list[str]:
    """mitmdump that only writes flows."""
    program = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
    options = ["--set", "flow_detail=0", "--set", f"confdir={room / 'conf'}"]
    return [*program, "--mode", spec, *options, "-w", str(room / f"bare-{time.time_ns()}.mitm")]


def with_addons(room: Path, spec: str) -> list[str]:
    """mitmdump as `capture` starts it, with a plan, live findings and all."""
    folder = room / f"experiment-{time.time_ns()}"
    save(plan(Outline()), folder)
    sitting = Sitting(folder, Wishes(ProxyMode("regular", "", 0, False), confdir=room / "conf"), print)
    command = sitting.command(sitting.prepare())
    command[command.index("--mode") + 1] = spec
    return command


def rate(port: int, version: str, size: int, requests: int) -> float:
    """Requests per second that h2load measured; exits where any request failed."""
    words = ["--h1", "-m1"] if version == "HTTP/1.1" else ["-m10"]
    scheme = "http" if version == "HTTP/1.1" else "https"
    command = ["h2load", "-n", str(requests), "-c", "8", *words, f"{scheme}://127.0.0.1:{port}/{size}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = re.search(r"([\d.]+) req/s", said)
    if done is None or f"{requests} succeeded" not in said:
        raise SystemExit(f"h2load failed:\n{said}")
    return float(done[1])


def compare(room: Path, origin: int, rounds: int, requests: int) -> None:
    """The table of rates."""
    print(
        "| protocol | body | bare, req/s | all addons, req/s | ratio | processor time |\n|---|---|---|---|---|---|"
    )
    for version in ("HTTP/1.1", "HTTP/2"):
        for name, size in SIZES.items():
            rates: dict[str, list[float]] = {"bare": [], "addons": []}
            times: dict[str, list[float]] = {"bare": [], "addons": []}
            for number in range(rounds):
                makers = [("bare", bare), ("addons", with_addons)]
                for kind, make in makers if number % 2 == 0 else reversed(makers):
                    port = free_port()
                    spec = f"reverse:http://127.0.0.1:{origin}@127.0.0.1:{port}"
                    with running(*make(room, spec)) as process:
                        listening(port)
                        rate(port, version, size, 200)  # warm
                        before = worked(process.pid)
                        rates[kind].append(rate(port, version, size, requests))
                        times[kind].append(worked(process.pid) - before)
                for path in (*room.glob("bare-*"), *room.glob("experiment-*")):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            ratio, time_ratio = (
                statistics.median(a / b for a, b in zip(each["addons"], each["bare"], strict=True))
                for each in (rates, times)
            )
            middle = {kind: statistics.median(found) for kind, found in rates.items()}
            middle_bare, middle_addons = f"{middle['bare']:.0f}", f"{middle['addons']:.0f}"
            row = (version, name, middle_bare, middle_addons, f"{ratio:.2f}", f"{time_ratio:.2f}")
            print(f"| {' | '.join(row)} |", flush=True)


def memory(room: Path, origin: int, requests: int) -> None:
    """The proxy's and the search's resident memory while many requests pass."""
    port = free_port()
    with running(*with_addons(room, f"reverse:http://127.0.0.1:{origin}@127.0.0.1:{port}")) as process:
        listening(port)
        print("| requests | proxy, MB | search, MB |\n|---|---|---|")
        step = max(1, requests // 10)
        for done in range(step, requests + 1, step):
            rate(port, "HTTP/1.1", 1_000, step)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            sizes = [resident(pid) for pid in (str(process.pid), *children[:1])]
            print(f"| {done:,} | " + " | ".join(f"{size:.0f}" for size in sizes) + " |", flush=True)


def worked(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: str) -> float:
    """Resident memory in MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--upstream", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.upstream:
        asyncio.run(upstream(given.upstream))
        return
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing: install nghttp2-client")
    origin = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="proxy-benchmark-") as made,
        running(sys.executable, __file__, "--upstream", str(origin)),
    ):
        listening(origin)
        if given.memory:
            memory(Path(made), origin, given.memory)
        else:
            compare(Path(made), origin, given.rounds, given.requests)


if __name__ == "__main__":
    main()
