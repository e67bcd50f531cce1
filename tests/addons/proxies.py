"""A real mitmdump on loopback for tests, with addons of this repository."""

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDONS = ROOT / "addons"
MITMDUMP = shutil.which("mitmdump", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

needs_mitmdump = pytest.mark.skipif(MITMDUMP is None, reason="mitmdump is not installed")


def free_port() -> int:
    """A port of loopback that nobody uses now, for TCP or UDP, and that no connection going out gets by chance."""
    while True:
        port = random.SystemRandom().randrange(18_000, 32_000)
        with (
            suppress(OSError),
            socket.socket() as stream,
            socket.socket(type=socket.SOCK_DGRAM) as datagram,
        ):
            stream.bind(("127.0.0.1", port))
            datagram.bind(("127.0.0.1", port))
            return port


def mitmdump(confdir: Path, mode: str, *options: str, addons: tuple[str, ...]) -> subprocess.Popen[str]:
    """A proxy with these addons; its words come on one pipe."""
    command = [str(MITMDUMP), "--mode", mode, "--set", f"confdir={confdir}", "--set", "flow_detail=0"]
    for addon in addons:
        command += ["-s", str(ADDONS / addon)]
    for option in options:
        command += ["--set", option]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


@contextmanager
def proxy(
    flows: Path,
    mode: str = "regular",
    addons: tuple[str, ...] = ("recorder.py", "offline_answers.py"),
    options: tuple[str, ...] = (),
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A proxy that records and, with both addons, answers; ready for connections; and its port."""
    port = free_port()
    process = mitmdump(
        flows.parent.parent / "conf",
        mode if "@" in mode else f"{mode}@127.0.0.1:{port}",
        f"recorder_file={flows}",
        *options,
        addons=addons,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "listening at" in line:
                break
        else:
            pytest.fail(f"mitmdump ended: {process.wait()}")
        yield process, port
    finally:
        process.kill()
        process.wait()
