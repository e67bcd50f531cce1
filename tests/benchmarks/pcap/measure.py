"""Measures how fast packet captures are read: whole processes, output thrown away, in rounds.

    python tests/benchmarks/pcap/measure.py CAPTURE... [--rounds 5] [--only ours,ndpi]

Every round runs all contestants one after the other: ours, and what is installed of tshark and ndpiReader; a
scapy loop reads the first packets only and is extrapolated. For each it prints the medians of seconds on the
clock and of processor seconds, and how many times ours (all four kinds, two jobs) it took in the same round.
On a machine that others use too, only ratios mean something, those of processor time more than those of
the clock. Our memory is that of all our processes together, each shared page counted once, in a run
that is not timed. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from audit.sources.opening import opened
from audit.sources.pcap import reading
from audit.sources.pcap.batch import Batch
from audit.sources.pcap.window import CHUNK

ROOT = Path(__file__).resolve().parents[3]
KINDS = "flow,dns,tls,http"
FIELDS = (
    "frame.number",
    "dns.qry.name",
    "tls.handshake.extensions_server_name",
    "http.host",
    "http.request.uri",
)
SCAPY_PACKETS = 20_000
SCAPY = """
import sys
from scapy.all import PcapReader
with PcapReader(sys.argv[1]) as reader:
    for count, packet in enumerate(reader, 1):
        packet.summary()
        if count == int(sys.argv[2]):
            break
"""


class Taken(NamedTuple):
    """What a run took, in seconds: on the clock, and of the processors."""

    clock: float
    processor: float


class Contestant(NamedTuple):
    """A command, and by how much its time is multiplied."""

    name: str
    command: Sequence[str]
    times: float = 1.0


def contestants(capture: Path, packets: int) -> list[Contestant]:
    """What is measured, the one that the others are compared with first."""

    def ours(kinds: str, jobs: int) -> Contestant:
        command = (sys.executable, "-m", "audit", "inspect", "--kind", kinds, "--jobs", str(jobs))
        return Contestant(f"ours: {kinds}, {jobs} job{'s' * (jobs > 1)}", (*command, str(capture)))

    found = [ours(KINDS, 2), ours(KINDS, 1), ours("flow", 1)]
    if tool := shutil.which("ndpiReader"):
        found.append(Contestant("ndpiReader -q", (tool, "-q", "-i", str(capture))))
    if tool := shutil.which("tshark"):
        fields = [part for field in FIELDS for part in ("-e", field)]
        shown = "dns || tls.handshake.type == 1 || http.request"
        command = (tool, "-n", "-r", str(capture), "-Y", shown, "-T", "fields", *fields)
        found.append(Contestant("tshark -n -T fields", command))
    few = min(SCAPY_PACKETS, packets)
    loop = (sys.executable, "-c", SCAPY, str(capture), str(few))
    found.append(Contestant(f"scapy, {few} packets extrapolated", loop, packets / few))
    return found


def count(capture: Path) -> tuple[int, int]:
    """How many packets are in it, and their bytes; reading them warms the cache."""
    packets = size = 0
    with opened(capture, capture.name) as source:
        for item in reading.items(source, CHUNK):
            if isinstance(item, Batch):
                packets += len(item.start)
                size += int(item.original.sum())
    return packets, size


def run(contestant: Contestant) -> Taken:
    """One run to its end."""
    started = time.perf_counter()
    process = _start(contestant.command)
    _, status, usage = os.wait4(process.pid, 0)
    clock = time.perf_counter() - started
    if status:
        raise SystemExit(f"{contestant.name} failed: {' '.join(contestant.command)}")
    return Taken(clock * contestant.times, (usage.ru_utime + usage.ru_stime) * contestant.times)


def memory(contestant: Contestant) -> int:
    """The most bytes that its processes together held, looked at every 20 ms."""
    process = _start(contestant.command)
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_held, _family(process.pid))))
        time.sleep(0.02)
    return most


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is not compiled anew at every start
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captures", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="beginnings of names, such as ours,ndpi")
    options = parser.parse_args()
    for capture in options.captures:
        packets, size = count(capture)
        megabytes = capture.stat().st_size / 1e6
        print(
            f"{capture.name}: {megabytes:.0f} MB, {packets} packets of {size / packets:.0f} bytes on average"
        )
        chosen = [
            one
            for one in contestants(capture, packets)
            if one.name.startswith(tuple(options.only.split(",")))
        ]
        rounds = [[run(one) for one in chosen] for _ in range(options.rounds)]
        print(f"  {'':40} {'clock':>9} {'processor':>10} {'':>12} {'ratios':>14} {'memory':>9}")
        for index, one in enumerate(chosen):
            taken = [each[index] for each in rounds]
            clock = statistics.median(each.clock for each in taken)
            processor = statistics.median(each.processor for each in taken)
            ratios = [
                statistics.median(each[index][kind] / each[0][kind] for each in rounds) for kind in (0, 1)
            ]
            held = f"{memory(one) / 1e6:6.0f} MB" if one.name.startswith("ours") else ""
            print(
                f"  {one.name:40} {clock:7.2f} s {processor:8.2f} s {megabytes / clock:7.0f} MB/s"
                f" {ratios[0]:6.2f} {ratios[1]:7.2f} {held}",
                flush=True,
            )


if __name__ == "__main__":
    main()
