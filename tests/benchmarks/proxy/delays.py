"""How long a leak takes until a person sees it: the mark in mitmproxy's interface, and the finding on the control page.

    python tests/benchmarks/proxy/delays.py [--rounds 10]

`capture` runs in regular mode, offline, with mitmproxy's web interface on a port of its own. In each round a request with
a planted value goes through the proxy to a host that no round before had. Counted from the moment before the request is
sent: until mitmweb says that its flow is marked, and until the control page's state, which the page asks for every 0.6
seconds, has the finding (that pause is added to what is printed). Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from audit.canaries import Outline, plan  # noqa: E402 - the repository has to be on the path first
from audit.experiment import load, save  # noqa: E402
from tests.benchmarks.proxy.measure import free_port, listening  # noqa: E402

PAUSE = 0.6  # seconds between two questions of the control page
PATIENCE = 30.0


def asked(url: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def until(ready: Callable[[], bool], began: float) -> float:
    """Seconds from `began` until it is ready."""
    while not ready():
        if time.monotonic() - began > PATIENCE:
            raise SystemExit("not seen within half a minute")
        time.sleep(0.01)
    return time.monotonic() - began


def main() -> None:
    """Measures and prints one line for each of both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="delay-benchmark-") as made:
        folder, log = Path(made) / "experiment", Path(made) / "said"
        save(plan(Outline()), folder)
        planted = next(each.value for each in load(folder).canaries if each.kind == "url" and not each.decoy)
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "audit",
            "capture",
            str(folder),
            "--mode",
            "regular",
            "--offline",
            "--web",
        ]
        command += ["--listen", "127.0.0.1", "--port", str(port), "--confdir", str(Path(made) / "conf")]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        try:
            began = time.monotonic()
            while "Recording; end it" not in log.read_text():
                if process.poll() is not None or time.monotonic() - began > 90:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            listening(port)
            said = log.read_text()
            page = re.findall(r"http://127\.0\.0\.1:\d+/\S{20,}/", said)[-1]
            token = re.search(r"http://127\.0\.0\.1:8081/\?token=(\w+)", said)
            flows = "http://127.0.0.1:8081/flows" + (f"?token={token[1]}" if token else "")
            until((folder / ".live.json").exists, time.monotonic())
            marks, shown = [], []
            for number in range(rounds):
                host = f"tracker-{number}.invalid"
                connection = HTTPConnection("127.0.0.1", port, timeout=20)
                began = time.monotonic()
                connection.request("GET", f"http://{host}/c?u={quote(planted, safe='')}")
                connection.getresponse().read()

                def marked(host: str = host) -> bool:
                    return any(f["marked"] and f["request"]["host"] == host for f in json.loads(asked(flows)))

                def listed(host: str = host) -> bool:
                    return any(f["host"] == host for f in json.loads(asked(f"{page}state"))["findings"])

                marks.append(until(marked, began))
                shown.append(until(listed, began) + PAUSE)
                time.sleep(0.5)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    for what, times in (("mark in mitmproxy's interface", marks), ("finding on the control page", shown)):
        print(f"{what}: median {statistics.median(times):.2f} s, longest {max(times):.2f} s, {rounds} rounds")


if __name__ == "__main__":
    main()
