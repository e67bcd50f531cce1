"""`privacy-audit sniff`: refusals anywhere, and real recordings in a network namespace of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.experiment import load, save
from audit.recording import capabilities, privileges
from audit.records import Dns, Experiment, Flow, Gap, Http
from audit.sources import read

ROOT = Path(__file__).resolve().parents[2]
SNIFF = [sys.executable, "-m", "audit", "sniff"]
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("SUDO_")}, "PYTHONPATH": str(ROOT)}
NAMESPACE, HERE, THERE = f"audit-test-{os.getpid()}", "10.99.0.1", "10.99.0.2"
USER, GROUP = 4321, 4322
SUDO = {"SUDO_UID": str(USER), "SUDO_GID": str(GROUP)}
IN_IT = ["ip", "netns", "exec", NAMESPACE]

only_as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces take root and iproute2"
)


def refused(*arguments: str) -> str:
    """The one line that a refused recording says."""
    done = subprocess.run(
        [*SNIFF, *arguments], capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr.strip().splitlines()[-1]


def test_an_interface_that_is_not_there(tmp_path: Path) -> None:
    line = refused(str(tmp_path / "e"), "-i", "nosuch0")
    assert "nosuch0: no such interface; there are" in line
    assert not (tmp_path / "e").exists()


@only_as_root
def test_no_permission_says_how_to_get_it(tmp_path: Path) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    command = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", *SNIFF, str(tmp_path), "-i", "lo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    assert done.returncode == 2
    assert "no permission to record packets; run it as root: sudo" in done.stderr


@only_as_root
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter.txt").write_text("mine")
    assert "is no experiment" in refused(str(tmp_path), "-i", "lo")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_root_stays_root_where_nobody_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(capabilities, "give_up", lambda: None)
    for user in ("", "0", "-1", "x"):
        monkeypatch.setenv("SUDO_UID", user)
        assert "recording as root" in privileges.drop(tmp_path)


# --- real recordings --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A namespace with two ends of a cable; the far end has a namespace of its own."""
    far = f"{NAMESPACE}-far"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        for name in (NAMESPACE, far):
            ip("netns", "add", name)
        ip("-n", NAMESPACE, "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", far)
        for name, device, address in ((NAMESPACE, "near0", HERE), (far, "far0", THERE)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", device)
            for each in ("lo", device):
                ip("-n", name, "link", "set", each, "up")
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr!r}")
    finally:
        for name in (NAMESPACE, far):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def sniffing(
    folder: Path,
    *options: str,
    environment: dict[str, str] | None = None,
    interface: str = "near0",
    program: list[str] = SNIFF,
) -> Iterator[subprocess.Popen[str]]:
    """A recording that has begun; the test stops it."""
    with subprocess.Popen(
        [*IN_IT, *program, str(folder), "-i", interface, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=ENVIRONMENT | (environment or {}),
    ) as process:  # fmt: skip
        try:
            for _ in range(300):
                if list(folder.glob("sniff-*.pcapng")) or process.poll() is not None:
                    break
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str], by: signal.Signals = signal.SIGINT) -> tuple[list[Path], str]:
    """The files of a recording that was told to stop, and what it said."""
    process.send_signal(by)
    output, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return [Path(line) for line in output.splitlines()], said


def send(count: int, size: int = 0, port: int = 53) -> None:
    """Datagrams from the namespace to the far end of the cable."""
    script = (
        "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('', 5555))\n"
        "q=bytes.fromhex('000101000001000000000000')+b'\\x01a\\x07example\\0\\0\\1\\0\\1'\n"
        f"for n in range({count}): s.sendto(bytes({size}) or q, ('{THERE}', {port}))"
    )
    subprocess.run([*IN_IT, sys.executable, "-c", script], check=True, timeout=60)


def sent_packets(paths: list[Path]) -> int:
    """Packets up of the flow that `send` made, over all files, by our own reader."""
    records = [record for path in paths for record in read(path, path.name)]
    assert not [record for record in records if isinstance(record, Gap) and record.reason != "unsupported"]
    return sum(
        record.packets_up if record.sport == 5555 else record.packets_down
        for record in records
        if isinstance(record, Flow) and 5555 in {record.sport, record.dport}
    )


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_every_packet_is_in_the_file(tmp_path: Path, by: signal.Signals) -> None:
    folder = tmp_path / "new"
    with sniffing(folder) as process:
        send(250)
        paths, said = stopped(process, by)
    assert [path.parent for path in paths] == [folder]
    assert re.fullmatch(r"sniff-\d{8}T\d{6}Z-001\.pcapng", paths[0].name)
    assert sent_packets(paths) == 250
    assert sum(isinstance(r, Dns) and r.name == "a.example" for r in read(paths[0], "c")) == 250
    assert "none lost" in said
    assert "a.example" in said
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert load(folder).captures == ()
    if shutil.which("tshark"):
        told = subprocess.run(
            ["tshark", "-n", "-r", str(paths[0]), "-Y", "udp.srcport == 5555 && !icmp"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert len(told.stdout.splitlines()) == 250
        assert "cut short" not in told.stderr


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_a_page_fetched_by_a_browser_s_little_sister(tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    server = subprocess.Popen(
        ["ip", "netns", "exec", f"{NAMESPACE}-far", sys.executable, "-m", "http.server", "8080", "--bind", THERE],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with sniffing(tmp_path / "e") as process:
            url = f"http://{THERE}:8080/?q=marble+otter"
            fetch = [
                *IN_IT,
                "curl",
                "--silent",
                "--retry",
                "20",
                "--retry-connrefused",
                "--retry-delay",
                "1",
                url,
            ]
            subprocess.run(fetch, check=True, timeout=60, capture_output=True)
            paths, _ = stopped(process)
    finally:
        server.kill()
        server.wait()
    asked = [record for path in paths for record in read(path, "c") if isinstance(record, Http)]
    assert [(record.method, record.path) for record in asked] == [("GET", "/?q=marble+otter")]


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_files_follow_each_other_and_are_named_in_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "old.har").write_text("{}")
    save(Experiment(captures=("old.har",)), tmp_path)
    with sniffing(tmp_path, "--rotate-mb", "1") as process:
        send(2500, size=1000, port=9)
        paths, said = stopped(process)
    assert [path.name[-11:-7] for path in paths] == ["-001", "-002", "-003"]
    assert all(path.stat().st_size < (1 << 20) + 2000 for path in paths)
    assert sent_packets(paths) == 2500, said
    assert load(tmp_path).captures == ("old.har", *(path.name for path in paths))


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_what_is_recorded_can_be_read_while_the_recording_goes_on(tmp_path: Path) -> None:
    with sniffing(tmp_path / "e") as process:
        (path,) = (tmp_path / "e").glob("sniff-*.pcapng")
        send(20)
        for _ in range(100):
            if sent_packets([path]) == 20:
                break
            time.sleep(0.1)
        assert sent_packets([path]) == 20
        process.kill()  # and after a kill, too
        process.wait()
    assert sent_packets([path]) == 20


# Python may lie where the user of the test cannot read it: what it loads late has to be there before.
READABLE = (
    "import encodings.utf_8_sig; from audit.recording import privileges; privileges.OURS = {ours!r}; "
    "from audit.cli import main; main()"
)


@pytest.fixture
def of_a_user(tmp_path: Path) -> Path:
    """A folder that belongs to a user who is not root, and that the user can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest", "popen", "test_")) and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    os.chown(tmp_path, USER, GROUP)
    return tmp_path


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_root_is_given_up_for_who_called_sudo(of_a_user: Path) -> None:
    folder = of_a_user / "e"
    program = [sys.executable, "-c", READABLE.format(ours=()), "sniff"]
    with sniffing(folder, environment=SUDO, program=program) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        send(5)
        paths, said = stopped(process)
    assert re.search(rf"Uid:(\s+{USER}){{4}}\n", status)
    assert re.search(rf"Gid:(\s+{GROUP}){{4}}\n", status)
    assert re.search(rf"Groups:\s*{GROUP}\s*\n", status)
    assert re.search(r"CapPrm:\s+0+\n", status)
    assert f"root's rights are given up, recording as {USER}" in said
    assert sent_packets(paths) == 5
    assert {(p.stat().st_uid, p.stat().st_gid) for p in (folder, *paths)} == {(USER, GROUP)}


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_root_stays_where_the_user_could_not_go_on(of_a_user: Path) -> None:
    secret = of_a_user / "program"
    secret.touch(mode=0o600)
    program = [sys.executable, "-c", READABLE.format(ours=(str(secret),)), "sniff"]
    with sniffing(of_a_user / "e", environment=SUDO, program=program) as process:
        send(5)
        paths, said = stopped(process)
    assert re.search(rf"recording as root, with all rights .*: {USER} has no access to", said)
    assert sent_packets(paths) == 5
    of_root = of_a_user / "of-root"
    of_root.mkdir()
    program = [sys.executable, "-c", READABLE.format(ours=()), "sniff"]
    with sniffing(of_root / "deep" / "e", environment=SUDO, program=program) as process:
        _, said = stopped(process)
    assert f": {USER} has no access to {of_root}" in " ".join(said.split())


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_root_that_nobody_called_keeps_none_of_its_rights(tmp_path: Path) -> None:
    with sniffing(tmp_path / "e") as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        send(5)
        paths, said = stopped(process)
    assert len(re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\s+0+\n", status)) == 4
    assert re.search(r"NoNewPrivs:\s+1\n", status)
    assert "recording as root, without root's rights" in said
    assert sent_packets(paths) == 5


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_a_full_disk_stops_it_visibly_and_keeps_what_is_there(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        with sniffing(disk / "e") as process:
            send(1000, size=1000, port=9)
            output, said = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "No space left on device" in said.splitlines()[-1]
        kept = sent_packets([Path(line) for line in output.splitlines()])
        assert 200 < kept < 400
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@only_as_root
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_an_interface_that_goes_away_ends_the_recording(tmp_path: Path) -> None:
    subprocess.run(["ip", "-n", NAMESPACE, "link", "add", "gone0", "type", "veth"], check=True)
    subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "gone0", "up"], check=True)
    with sniffing(tmp_path / "e", interface="gone0") as process:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "delete", "gone0"], check=True)
        _, said = process.communicate(timeout=60)
    assert "gone0: went away" in said
