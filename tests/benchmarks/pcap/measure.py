"""Measures how fast captures are read: whole processes, output thrown away, one after the other in rounds.

    python tests/benchmarks/pcap/measure.py CAPTURE... [--rounds 5]

Prints the median, and the ratio to ours in the same round, for what is installed of tshark and ndpiReader, and
for a scapy loop over the first packets, which is extrapolated. On a busy machine only the ratios mean
something. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FIELDS = (
    "frame.number",
    "dns.qry.name",
    "tls.handshake.extensions_server_name",
    "http.host",
    "http.request.uri",
)
SCAPY_PACKETS = 20_000
OURS = """
import sys
from pathlib import Path
import msgspec
from audit.sources.opening import opened
from audit.sources.pcap import reading
path, kinds, jobs = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
encode = msgspec.json.Encoder().encode
with opened(path, path.name) as source:
    for record in reading.read(path, source, path.name, kinds=kinds, jobs=jobs):
        sys.stdout.buffer.write(encode(record) + b"\\n")
"""
SCAPY = """
import sys
from scapy.all import PcapReader
with PcapReader(sys.argv[1]) as reader:
    for count, packet in enumerate(reader, 1):
        packet.summary()
        if count == int(sys.argv[2]):
            break
"""


def commands(capture: Path) -> dict[str, Sequence[str]]:
    """What is measured, ours first."""
    full = "flow,dns,tls,http"
    found: dict[str, Sequence[str]] = {
        f"ours {full}, 2 jobs": (sys.executable, "-c", OURS, str(capture), full, "2"),
        f"ours {full}, 1 job": (sys.executable, "-c", OURS, str(capture), full, "1"),
        "ours flow, 1 job": (sys.executable, "-c", OURS, str(capture), "flow", "1"),
        f"scapy, first {SCAPY_PACKETS} packets": (
            sys.executable,
            "-c",
            SCAPY,
            str(capture),
            str(SCAPY_PACKETS),
        ),
    }
    if tool := shutil.which("ndpiReader"):
        found["ndpiReader -q"] = (tool, "-q", "-i", str(capture))
    if tool := shutil.which("tshark"):
        chosen = [part for field in FIELDS for part in ("-e", field)]
        shown = "dns || tls.handshake.type == 1 || http.request"
        found["tshark -T fields"] = (tool, "-n", "-r", str(capture), "-Y", shown, "-T", "fields", *chosen)
    return found


def seconds(command: Sequence[str]) -> float:
    """How long a process takes."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captures", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for capture in options.captures:
        tools = commands(capture)
        capture.read_bytes()  # warm
        times: dict[str, list[float]] = {name: [] for name in tools}
        for _ in range(options.rounds):
            for name, command in tools.items():
                times[name].append(seconds(command))
        ours = times[next(iter(tools))]
        megabytes = capture.stat().st_size / 1e6
        print(f"{capture.name}: {megabytes:.0f} MB")
        for name, taken in times.items():
            middle = statistics.median(taken)
            ratio = statistics.median(other / mine for other, mine in zip(taken, ours, strict=True))
            print(f"  {name:36} {middle:7.2f} s {megabytes / middle:7.0f} MB/s {ratio:6.2f} x ours")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"largest process of all: {peak} MB")


if __name__ == "__main__":
    main()
