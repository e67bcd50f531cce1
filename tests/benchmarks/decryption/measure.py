"""Measures decryption: whole processes that turn a capture and its key log into a list of all requests, each with
the response's status, its length and the SHA-256 of both bodies.

    python -m tests.benchmarks.decryption.make FOLDER [MEGABYTES]
    python -m tests.benchmarks.decryption.measure FOLDER [--rounds 3]

Prints for ours and for tshark the median of wall and CPU time, the peak memory, and how many exchanges came out
exactly as the servers saw them. On a busy machine only the ratio in CPU time means something. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = """
import hashlib, json, sys
from pathlib import Path
from audit.sources import Wanted, read
folder = Path(sys.argv[1])
digest = lambda body: hashlib.sha256(body or b"").hexdigest()
wanted = Wanted(frozenset({"http"}), keys=(folder / "keys.log",), bodies=True)
rows = [
    (r.method, r.path, r.status, r.response_bytes, digest(r.body), digest(r.response_body))
    for r in read(folder / "capture.pcap", "capture", wanted)
]
Path(sys.argv[2]).write_text(json.dumps(rows))
"""

# HTTP/1 bodies are exported as objects, HTTP/2 ones printed per DATA frame: no single way gives both.
TSHARK = """
import hashlib, json, subprocess, sys
from pathlib import Path
folder, objects = Path(sys.argv[1]), Path(sys.argv[2] + ".objects")
objects.mkdir()
fields = ["tcp.stream", "tcp.srcport", "http.request.method", "http.request.uri", "http.response.code",
          "http.content_length", "http2.type", "http2.streamid", "http2.length", "http2.headers.method",
          "http2.headers.path", "http2.headers.status", "http2.data.data"]
command = ["tshark", "-n", "-r", str(folder / "capture.pcap"), "-o", f"tls.keylog_file:{folder / 'keys.log'}",
           "-Y", "http or http2", "-T", "fields", "-E", "separator=/t", "--export-objects", f"http,{objects}"]
for field in fields:
    command += ["-e", field]
run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
digest = lambda body: hashlib.sha256(body).hexdigest()
bodies, heads, first = {}, {}, []
for line in run.stdout:
    (stream, port, method, uri, code, length, types, ids, sizes, method2, path2, status2, data) = line.rstrip("\\n").split("\\t")
    if types:
        up = port != "443"
        datas, methods, paths, codes = (iter(x.split(",")) if x else iter(()) for x in (data, method2, path2, status2))
        for kind, number, size in zip(types.split(","), ids.split(","), sizes.split(",")):
            key = stream, number, up
            if kind == "0" and size != "0":
                bodies.setdefault(key, []).append(next(datas, ""))
            elif kind == "1":
                if up:
                    heads.setdefault(key, (next(methods, ""), next(paths, "")))
                elif key not in heads:
                    heads[key] = next(codes, "")
    elif method:
        first.append([method, uri, None, None])
    elif code and first:
        first[-1][2:] = [int(code), int(length or 0)]
run.wait()
rows = [tuple(row) for row in first]
for (stream, number, up), head in heads.items():
    if up:
        sent = bytes.fromhex("".join(bodies.get((stream, number, True), ())))
        got = bytes.fromhex("".join(bodies.get((stream, number, False), ())))
        rows.append((*head, int(heads.get((stream, number, False)) or 0), len(got), digest(sent), digest(got)))
exported = sorted(digest(path.read_bytes()) for path in objects.iterdir())
Path(sys.argv[2]).write_text(json.dumps([rows, exported]))
"""


def once(script: str, folder: Path, out: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and peak memory (bytes) of one run and all it started."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", script, str(folder), str(out)])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit("a run failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def exact(rows: list[list[object]], exported: list[str], said: list[list[str]]) -> int:
    """How many of the exchanges that the servers saw are in the list, both bodies included."""
    whole = {(row[0], row[1], row[4], row[5]) for row in rows if len(row) == 6}
    named = {(row[0], row[1]) for row in rows if len(row) == 4}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    known = {empty, *exported}
    return sum(tuple(s) in whole or ((s[0], s[1]) in named and s[2] in known and s[3] in known) for s in said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    said = json.loads((given.folder / "said.json").read_text())
    size = (given.folder / "capture.pcap").stat().st_size
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "tshark": []}
    with tempfile.TemporaryDirectory(prefix="decryption-") as scratch:
        for turn in range(given.rounds):
            for name, script in (("ours", OURS), ("tshark", TSHARK)):
                out = Path(scratch) / f"{name}{turn}"
                wall, cpu, peak = once(script, given.folder, out)
                times[name].append((wall, cpu))
                read = json.loads(out.read_text())
                rows, exported = read if name == "tshark" else (read, [])
                print(f"{name:7} {wall:6.2f} s wall {cpu:6.2f} s cpu   "
                      f"peak {peak >> 20} MB   exact {exact(rows, exported, said)} of {len(said)}")  # fmt: skip
    wall, cpu = (statistics.median(t[place] for t in times["ours"]) for place in (0, 1))
    ratios = [
        statistics.median(t[place] for t in times["tshark"]) / mine for place, mine in enumerate((wall, cpu))
    ]
    print(f"capture {size / 1e6:.0f} MB; ours {size / 1e6 / cpu:.0f} MB a CPU second with start; "
          f"tshark takes {ratios[0]:.1f} times the wall and {ratios[1]:.1f} times the CPU time")  # fmt: skip


if __name__ == "__main__":
    main()
