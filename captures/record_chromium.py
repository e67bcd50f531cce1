#!/usr/bin/env python3
"""Records the sample experiment: Debian's Chromium on a network of its own, with planted values, offline.

    sudo python captures/record_chromium.py [FOLDER]         (default: captures/chromium-<major version>)

A network namespace is the phone: its only way out is a WireGuard tunnel to mitmproxy, where the recorder addon writes
the flows and the offline-answers addon answers. In the namespace runs a real Chromium on a virtual screen; a search
term and a URL are typed and submitted, a text is typed and never submitted, first in a normal window, then, with new
values and Chromium started again, in an incognito window. The packets on the phone's side of the tunnel and
Chromium's TLS keys of the same run are kept beside the flows.

Needs Linux, root, and on the PATH or beside this Python: mitmdump, chromium, Xvfb, xdotool, import (ImageMagick),
wireguard-go, wg, ip, dumpcap, certutil.

Every value, time and step in the result was made here, at the moment it happened. All that is set up (namespace,
processes, browser policy, certificate authority) is taken down again, also after an error. It must never reach the
internet, keep the certificate authority's key, or overwrite a recording.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ADDONS = Path(__file__).resolve().parent.parent / "addons"
PROGRAMS = (
    "mitmdump",
    "chromium",
    "Xvfb",
    "xdotool",
    "import",
    "wireguard-go",
    "wg",
    "ip",
    "dumpcap",
    "certutil",
)

RESULTS = ("flows.mitm", "phone.pcapng", "keys.log", "normal-1.png", "private-1.png")

PHONE = "phone"  # the namespace
TUNNEL = "wg0"
LAPTOP_ADDRESS, PHONE_UPLINK = "203.0.113.1", "203.0.113.2"  # the cable between both; RFC 5737: test range 3
PHONE_ADDRESS, NAME_SERVER = "10.0.0.1", "10.0.0.53"  # fixed by mitmproxy's WireGuard mode
WIREGUARD_PORT = 51820
SOCKET = Path(f"/var/run/wireguard/{TUNNEL}.sock")

LOCK = Path("/run/lock/device-privacy-audit-sample")
RESOLVER = Path(f"/etc/netns/{PHONE}/resolv.conf")
POLICY = Path("/etc/chromium/policies/managed/device-privacy-audit-sample.json")
SETTINGS = {
    "SpellcheckEnabled": False,  # no dictionary to download: it would be most of the recording
    "DefaultSearchProviderEnabled": True,
    "DefaultSearchProviderName": "DuckDuckGo",
    "DefaultSearchProviderKeyword": "duckduckgo.com",
    "DefaultSearchProviderSearchURL": "https://duckduckgo.com/?q={searchTerms}",
    "DefaultSearchProviderSuggestURL": "https://duckduckgo.com/ac/?q={searchTerms}&type=list",
}
FLAGS = (
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
    "--ozone-platform=x11",
    "--disable-gpu",
    "--window-position=0,0",
    "--window-size=1060,780",
)

KEY_DELAY = 150  # milliseconds from key press to key press
HESITATION = 0.6  # seconds before a URL's path, and before Enter: a browser throttles its suggestion requests
SETTLE = 9.0  # seconds that a new window gets before something is typed
READ = 4.0  # seconds after something was submitted, or typed
IDLE = 3.0  # seconds between two phases

NOUNS = ("plover", "heron", "badger", "wren", "teal", "willow", "fern", "cobalt", "sage")
PLACES = ("weir", "barn", "quay", "mill", "dale", "croft")


class RecordingError(Exception):
    """Why there is no recording: one sentence for the person who started it."""


# What is planted


@dataclass(frozen=True)
class Canary:
    """A value never used before or again; `phase` is empty for a decoy, which is never used at all."""

    id: str
    kind: str
    value: str
    phase: str


def tag() -> str:
    """Four characters, letters and digits in turn: easily typed, and in no dictionary."""
    letters, digits = "bcdfghjkmnpqrstvwxz", "23456789"
    return "".join(secrets.choice(letters if i % 2 == 0 else digits) for i in range(4))


def make_canaries() -> list[Canary]:
    """A term, a URL and a text for each phase, and a decoy of each kind; no word is used twice."""
    nouns, places = list(NOUNS), list(PLACES)
    secrets.SystemRandom().shuffle(nouns)
    secrets.SystemRandom().shuffle(places)
    canaries = []
    for prefix, phase in (("n", "normal-1"), ("p", "private-1"), ("decoy", "")):
        host, path, query = f"{nouns.pop()}-{tag()}.example", places.pop(), places.pop()
        canaries += [
            Canary(f"{prefix}-term", "term", f"{nouns.pop()} {tag()}", phase),
            Canary(f"{prefix}-url", "url", f"https://{host}/{path}/{tag()}?{query}={tag()}", phase),
            Canary(f"{prefix}-text", "text", f"{nouns.pop()} {tag()}", phase),
        ]
    return canaries


# What was done


@dataclass
class Log:
    """The experiment as it happens; becomes experiment.toml."""

    version: str
    canaries: list[Canary]
    phases: list[dict[str, str | datetime]] = field(default_factory=list)
    steps: list[dict[str, str | datetime]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, mode: str) -> Iterator[None]:
        """A phase from now until the block ends."""
        start = datetime.now(UTC)
        yield
        end = datetime.now(UTC)
        self.phases.append({"id": name, "mode": mode, "setting": "default", "start": start, "end": end})

    def step(self, action: str, canary: Canary) -> None:
        """A step that begins now."""
        self.steps.append({"at": datetime.now(UTC), "action": action, "canary": canary.id})

    def toml(self) -> str:
        """The text of experiment.toml."""
        canaries: list[dict[str, str | bool]] = []
        for canary in self.canaries:
            canaries.append({"id": canary.id, "kind": canary.kind, "value": canary.value})
            canaries[-1].update({"phase": canary.phase} if canary.phase else {"decoy": True})
        device = {"name": f"network namespace '{PHONE}' on {system_name()}", "addresses": [PHONE_ADDRESS]}
        top = {"schema": 1, "captures": ["flows.mitm", "phone.pcapng"], "keys": ["keys.log"]}
        parts = [
            "# Written by captures/record_chromium.py during the recording.\n" + toml_table("", top),
            toml_table("[device]", device),
            toml_table("[browser]", {"name": "Chromium", "version": self.version}),
            *(toml_table("[[phase]]", phase) for phase in self.phases),
            *(toml_table("[[canary]]", canary) for canary in canaries),
            *(toml_table("[[step]]", step) for step in self.steps),
        ]
        return "\n".join(parts)


def toml_table(header: str, table: Mapping[str, object]) -> str:
    """One table; strings, numbers, booleans and lists are written in TOML as in JSON."""
    lines = [header] if header else []
    for key, value in table.items():
        is_time = isinstance(value, datetime)
        lines.append(f"{key} = {value:%Y-%m-%dT%H:%M:%S.%fZ}" if is_time else f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def system_name() -> str:
    """The operating system's name and version."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    return " ".join(release.get(key, "").strip('"') for key in ("NAME", "VERSION_ID")).strip()


# Setting up and taking down


def run(*command: str | Path, text: str | None = None) -> str:
    """Runs a program to its end and returns what it printed; raises RecordingError with its own words."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RecordingError(f"`{' '.join(map(str, command))}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits until something is ready; raises RecordingError when it never is."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RecordingError(f"{what}: not ready after {seconds:.0f} s")
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """Asks a process of ours to end, and its group if it does not."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def running(
    *command: str | Path, log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs in a process group of its own while the block lasts."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | (environment or {}),
        )
    try:
        yield process
    finally:
        end(process)


@contextmanager
def machine() -> Iterator[None]:
    """The browser policy and the phone's namespace are one per machine: whoever comes second waits.

    What still stands when nobody else is in here was left by a run that was killed, and is taken down.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system opens it when its holder dies, however that happens
        with browser_policy(), phone_namespace():
            yield


@contextmanager
def browser_policy() -> Iterator[None]:
    """DuckDuckGo as every Chromium's search engine on this machine while the block lasts."""
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    try:
        POLICY.write_text(json.dumps(SETTINGS))
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        remove_empty(POLICY.parent, POLICY.parent.parent)


@contextmanager
def phone_namespace() -> Iterator[None]:
    """The namespace, with a cable to here and our name server; whatever still runs in it at the end is ended."""
    take_down_phone()
    RESOLVER.parent.mkdir(parents=True, exist_ok=True)
    try:
        RESOLVER.write_text(f"nameserver {NAME_SERVER}\n")
        run("ip", "netns", "add", PHONE)
        cable = ("type", "veth", "peer", "name", "uplink", "netns", PHONE)
        run("ip", "link", "add", "to-phone", *cable)
        run("ip", "addr", "add", f"{LAPTOP_ADDRESS}/30", "dev", "to-phone")
        run("ip", "link", "set", "to-phone", "up")
        run("ip", "-n", PHONE, "addr", "add", f"{PHONE_UPLINK}/30", "dev", "uplink")
        run("ip", "-n", PHONE, "link", "set", "lo", "up")
        run("ip", "-n", PHONE, "link", "set", "uplink", "up")
        yield
    finally:
        take_down_phone()
        RESOLVER.unlink(missing_ok=True)
        remove_empty(RESOLVER.parent, RESOLVER.parent.parent)


def take_down_phone() -> None:
    """Ends what stands of the phone: its cable, its namespace with all that runs in it, its tunnel's socket."""
    with suppress(RecordingError):  # there may be none; else it stays as long as an orphaned socket does
        run("ip", "link", "delete", "to-phone")
    end_namespace(PHONE)
    SOCKET.unlink(missing_ok=True)  # else the next wireguard-go seems ready before it is


def end_namespace(name: str) -> None:
    """Ends a namespace with all that runs in it, if there is one."""
    if not Path("/run/netns", name).exists():
        return
    for pid in run("ip", "netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "delete", name)


def remove_empty(*folders: Path) -> None:
    """Removes folders, inner ones first, as far as nothing is in them."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def proxy(room: Path) -> Iterator[subprocess.Popen[bytes]]:
    """mitmproxy's WireGuard mode on the cable, with both addons; the tunnel's keys are new."""
    confdir = room / "mitmproxy"
    confdir.mkdir()
    keys = {"server_key": run("wg", "genkey"), "client_key": run("wg", "genkey")}
    (confdir / "wireguard.conf").write_text(json.dumps(keys))
    options = {
        "confdir": confdir,
        "recorder_file": room / "flows.mitm",
        "connection_strategy": "lazy",
        "upstream_cert": "false",
        "flow_detail": "0",
    }
    command: list[str | Path] = [
        program("mitmdump"),
        "--mode",
        f"wireguard@{LAPTOP_ADDRESS}:{WIREGUARD_PORT}",
    ]
    for addon in ("recorder.py", "offline_answers.py"):
        command += ["-s", ADDONS / addon]
    for name, value in options.items():
        command += ["--set", f"{name}={value}"]
    path = os.pathsep.join(filter(None, (str(ADDONS.parent), os.environ.get("PYTHONPATH"))))
    with running(*command, log=room / "mitmdump.log", environment={"PYTHONPATH": path}) as process:
        wait_for("mitmproxy", lambda: "listening at" in (room / "mitmdump.log").read_text())
        yield process


@contextmanager
def tunnel(room: Path) -> Iterator[None]:
    """The phone's only way out."""
    keys = json.loads((room / "mitmproxy/wireguard.conf").read_text())
    server = run("wg", "pubkey", text=keys["server_key"])
    secret = room / "client_key"
    secret.write_text(keys["client_key"])
    with running("ip", "netns", "exec", PHONE, "wireguard-go", "-f", TUNNEL, log=room / "wireguard.log"):
        wait_for("wireguard-go", SOCKET.exists)
        peer = ["peer", server, "endpoint", f"{LAPTOP_ADDRESS}:{WIREGUARD_PORT}", "allowed-ips", "0.0.0.0/0"]
        run("ip", "netns", "exec", PHONE, "wg", "set", TUNNEL, "private-key", secret, *peer)
        run("ip", "-n", PHONE, "addr", "add", f"{PHONE_ADDRESS}/32", "dev", TUNNEL)
        run("ip", "-n", PHONE, "link", "set", TUNNEL, "up", "mtu", "1420")
        run("ip", "-n", PHONE, "route", "add", "default", "dev", TUNNEL)
        yield


@contextmanager
def packets(room: Path) -> Iterator[None]:
    """All packets on the phone's side of the tunnel, from before the first until after the last."""
    target, log = room / "phone.pcapng", room / "dumpcap.log"
    with running(
        "ip", "netns", "exec", PHONE, "dumpcap", "-q", "-i", TUNNEL, "-w", target, log=log
    ) as process:
        wait_for("dumpcap", lambda: target.exists() and target.stat().st_size > 0)
        yield
        time.sleep(1)
        end(process, signal.SIGINT)


@contextmanager
def screen(room: Path) -> Iterator[str]:
    """A virtual screen; its name."""
    number = room / "display"
    # without auto-repeat (-r): on a busy machine a key's release comes late, and the key would be typed twice
    command = f'exec Xvfb -displayfd 3 -r -screen 0 1060x780x24 -nolisten tcp 3>"{number}"'
    with running("sh", "-c", command, log=room / "xvfb.log"):
        wait_for("Xvfb", lambda: number.exists() and number.read_text().endswith("\n"))
        yield f":{number.read_text().strip()}"


def make_home(room: Path) -> Path:
    """An empty home folder whose only content is trust in mitmproxy's certificate authority."""
    home = room / "home"
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    authority = room / "mitmproxy/mitmproxy-ca-cert.pem"
    run("certutil", "-d", f"sql:{store}", "-N", "--empty-password")
    run("certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "mitmproxy", "-i", authority)
    return home


# Chromium, and hands on its keyboard


@dataclass(frozen=True)
class Chromium:
    """A window on the virtual screen, in front and focused."""

    room: Path
    display: str

    def xdotool(self, *arguments: str) -> str:
        """Real key presses and window queries."""
        return run("env", f"DISPLAY={self.display}", "xdotool", *arguments)

    def photograph(self, phase: str) -> None:
        """What is on the screen now."""
        picture = self.room / f"{phase}.png"
        small = ("-resize", "60%", "+dither", "-colors", "8")
        run("import", "-display", self.display, "-window", "root", *small, picture)

    @contextmanager
    def window(self, *flags: str) -> Iterator[None]:
        """Chromium from its start to its orderly end; always the same profile."""
        environment = {
            "DISPLAY": self.display,
            "HOME": str(self.room / "home"),
            "SSLKEYLOGFILE": str(self.room / "keys.log"),
            "LANG": "en_US.UTF-8",
            "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        }
        profile = f"--user-data-dir={self.room / 'home/profile'}"
        command = ("ip", "netns", "exec", PHONE, "chromium", *FLAGS, profile, *flags)
        with running(*command, log=self.room / "chromium.log", environment=environment):
            time.sleep(SETTLE)
            windows = self.xdotool("search", "--sync", "--onlyvisible", "--class", "chromium").split()
            self.xdotool("windowfocus", "--sync", windows[-1])
            yield

    def type_into_address_bar(self, text: str) -> None:
        """Types at a person's pace what stands in the address bar then."""
        self.xdotool("key", "ctrl+l")
        for part in re.split(r"(?<=\w)(?=/)", text, maxsplit=1):
            time.sleep(HESITATION)
            self.xdotool("type", "--delay", str(KEY_DELAY), part)
        time.sleep(HESITATION)

    def carry_out(self, log: Log, phase: str) -> None:
        """The steps of one phase."""
        for canary in (canary for canary in log.canaries if canary.phase == phase):
            submit = canary.kind != "text"
            log.step("type_and_submit" if submit else "type_only", canary)
            self.type_into_address_bar(canary.value)
            if submit:
                self.xdotool("key", "Return")
            time.sleep(READ)
            if not submit:
                self.photograph(phase)
                self.xdotool("key", "ctrl+a", "Delete", "Escape")
                time.sleep(1)


# The recording


def program(name: str) -> str:
    """Where a program is, beside this Python or on the PATH; raises RecordingError if nowhere."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise RecordingError(f"{name} is missing: install it first")
    return found


def record(room: Path, version: str) -> Log:
    """The whole run; leaves flows, packets and keys in the room."""
    log = Log(version, make_canaries())
    with ExitStack() as stack:
        stack.enter_context(machine())
        mitmdump = stack.enter_context(proxy(room))
        stack.enter_context(tunnel(room))
        stack.enter_context(packets(room))
        make_home(room)
        chromium = Chromium(room, stack.enter_context(screen(room)))
        with log.phase("normal-1", "normal"), chromium.window():
            chromium.carry_out(log, "normal-1")
        time.sleep(IDLE)
        with log.phase("private-1", "private"), chromium.window("--incognito"):
            chromium.carry_out(log, "private-1")
        if mitmdump.poll() is not None:
            raise RecordingError(f"mitmproxy ended during the recording ({mitmdump.returncode}): try again")
        if (room / "flows.mitm").stat().st_size == 0:
            raise RecordingError("nothing came through the tunnel: is its address range in use here?")
    return log


def main(arguments: list[str]) -> int:
    """Records into a new folder and prints its name."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down then, too
    try:
        if os.geteuid() != 0:
            raise RecordingError("needs root, for the network namespace")
        for name in PROGRAMS:
            program(name)
        version = run("chromium", "--version").split()[1]
        default = Path(__file__).resolve().parent / f"chromium-{version.split('.')[0]}"
        folder = Path(arguments[0]) if arguments else default
        if folder.exists():
            raise RecordingError(f"{folder} exists: name another folder")
        with tempfile.TemporaryDirectory(prefix="record-chromium-") as made:
            room = Path(made)
            log = record(room, version)
            folder.mkdir(mode=0o700, parents=True)
            for name in RESULTS:
                shutil.move(room / name, folder / name)
                (folder / name).chmod(0o600)
        (folder / "experiment.toml").write_text(log.toml())
    except (RecordingError, OSError) as error:
        print(f"record_chromium: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("record_chromium: interrupted, nothing was kept", file=sys.stderr)
        return 130
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
