"""What the addons cost: requests per second through mitmproxy with all of them, against bare `mitmdump -w`.

    python tests/benchmarks/proxy/measure.py [--rounds 5] [--requests 3000] [--memory 200000]

Both proxies stand side by side in reverse mode before the same upstream on loopback (a process of its own), and h2load
is the client of one and of the other in turns, each time when the live search has caught up: HTTP/1.1 in clear and
HTTP/2 over TLS, bodies of 1 kB and 100 kB. Printed are the median rates and the median of the rounds' ratios, then the
same ratio from the processor time of the proxy's own process, which a busy machine blurs less: the median of the
rounds, and the least time of one against the least of the other. Above 0.85 is the goal. `--memory N` sends N requests
through the proxy with all addons and prints its memory along the way. Nothing here is asserted.
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

QUIET = 0.05  # seconds of processor time that an idle search takes in a second, at most
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
    """The table of rates and of processor time."""
    print("| protocol | body | bare, req/s | all addons, req/s | rate | processor time | least |")
    print("|---|---|---|---|---|---|---|")
    for version in ("HTTP/1.1", "HTTP/2"):
        for name, size in SIZES.items():
            found = side_by_side(room, origin, version, size, rounds, requests)
            rates, times = ({kind: [each[n] for each in found[kind]] for kind in found} for n in (0, 1))
            middle = {kind: f"{statistics.median(values):.0f}" for kind, values in rates.items()}
            ratio, cost = (
                statistics.median(a / b for a, b in zip(each["addons"], each["bare"], strict=True))
                for each in (rates, times)
            )
            least = min(times["bare"]) / min(times["addons"])
            row = (
                version,
                name,
                middle["bare"],
                middle["addons"],
                f"{ratio:.2f}",
                f"{1 / cost:.2f}",
                f"{least:.2f}",
            )
            print(f"| {' | '.join(row)} |", flush=True)


def side_by_side(
    room: Path, origin: int, version: str, size: int, rounds: int, requests: int
) -> dict[str, list[tuple[float, float]]]:
    """Rate and processor time of each round, for both proxies in turns."""
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "addons": []}
    ports = {kind: free_port() for kind in found}
    specs = {kind: f"reverse:http://127.0.0.1:{origin}@127.0.0.1:{port}" for kind, port in ports.items()}
    with running(*bare(room, specs["bare"])) as one, running(*with_addons(room, specs["addons"])) as other:
        for port in ports.values():
            listening(port)
            rate(port, version, size, 300)  # warm
        for number in range(rounds):
            turns = [("bare", one), ("addons", other)]
            for kind, process in turns if number % 2 == 0 else reversed(turns):
                settled(other.pid)
                before = worked(process.pid)
                speed = rate(ports[kind], version, size, requests)
                found[kind].append((speed, worked(process.pid) - before))
    for path in (*room.glob("bare-*"), *room.glob("experiment-*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found


def settled(pid: int) -> None:
    """Waits until the live search, a child of this proxy, has read what there is."""
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    before = -1.0
    while (now := worked(child)) - before > QUIET:
        before = now
        time.sleep(1)


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
