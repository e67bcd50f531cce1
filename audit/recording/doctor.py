"""What works on this machine, what is missing, and how to get it. Looks, and changes nothing.

One function per check, each with a plain answer. A check that cannot be made says so: unknown is not good.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from audit import shipped
from audit.recording import network

Result = Literal["good", "bad", "unknown"]
MIN_DISK = 1 << 30  # bytes
_PACKAGES = ("mitmproxy", "scapy", "cryptography", "msgspec", "numpy", "brotli", "zstandard", "segno")
_PROXY_PORTS = (
    (8080, socket.SOCK_STREAM, "regular and transparent"),
    (51820, socket.SOCK_DGRAM, "wireguard"),
)


class Answer(NamedTuple):
    """The answer of one check, and what to do where it is not good."""

    check: str
    result: Result
    detail: str
    remedy: str = ""


def checkup(folder: Path) -> Iterator[Answer]:
    """All answers, one after the other; `folder` is where recordings would go."""
    for check in _CHECKS:
        try:
            yield from check(folder)
        except Exception as error:
            yield Answer(check.__name__.strip("_"), "unknown", f"could not be checked: {error}")


def _python(_: Path) -> Iterator[Answer]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Answer(
        "Python", "good" if sys.version_info >= (3, 11) else "bad", version, "install Python 3.11 or newer"
    )
    for name in _PACKAGES:
        try:
            yield Answer(name, "good", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Answer(name, "bad", "not installed", "install device-privacy-audit again")
    addons = sorted(path.name for path in shipped.folder("addons").glob("*.py"))
    yield Answer("addons", "good" if len(addons) > 5 else "bad", f"{len(addons)} files", "install again")


def _mitmproxy(_: Path) -> Iterator[Answer]:
    version = metadata.version("mitmproxy")
    if version.startswith("11.0.2"):
        yield Answer(
            "mitmproxy in WireGuard mode", "unknown", "11.0.2 may crash; capture starts it again",
            "Python 3.12 or newer gets mitmproxy 12",
        )  # fmt: skip
    authority = Path("~/.mitmproxy/mitmproxy-ca-cert.pem").expanduser()
    if not authority.exists():
        yield Answer("certificate authority", "good", "will be made at the first capture")
        return
    from cryptography import x509

    end = x509.load_pem_x509_certificate(authority.read_bytes()).not_valid_after_utc
    left = (end.timestamp() - time.time()) / 86_400
    detail = f"valid until {end:%Y-%m-%d}"
    yield Answer(
        "certificate authority", "good" if left > 30 else "bad", detail, f"move {authority.parent} away"
    )
    secret = authority.with_name("mitmproxy-ca.pem")
    if secret.exists() and secret.stat().st_mode & 0o077:
        yield Answer("its secret key", "bad", "others on this computer can read it", f"chmod 600 {secret}")


def _addresses(_: Path) -> Iterator[Answer]:
    found = network.interfaces()
    detail = ", ".join(f"{each.address} ({each.name or '?'})" for each in found) or "none"
    remedy = "connect this computer to the network that the phone is in"
    yield Answer("addresses", "good" if found else "bad", detail, remedy)


def _ports(_: Path) -> Iterator[Answer]:
    for port, kind, mode in _PROXY_PORTS:
        name = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} port {port} ({mode})"
        taken = network.free(port, "0.0.0.0", kind)  # noqa: S104 - as capture does
        yield Answer(name, "bad" if taken else "good", taken or "free", "capture --port takes another one")


def _firewall(_: Path) -> Iterator[Answer]:
    hint = "let the phone in: for example sudo ufw allow 51820/udp"
    ufw, rules = Path("/etc/ufw/ufw.conf"), shutil.which("nft")
    if ufw.exists() and "ENABLED=yes" in ufw.read_text(errors="replace"):
        yield Answer("firewall", "unknown", "ufw is on", hint)
    elif Path("/run/firewalld").exists():
        yield Answer(
            "firewall",
            "unknown",
            "firewalld is on",
            "sudo firewall-cmd --add-port=51820/udp --add-port=8080/tcp",
        )
    elif rules and os.geteuid() == 0:
        said = subprocess.run(
            [rules, "list", "ruleset"], capture_output=True, text=True, timeout=10, check=False
        )
        drops = "policy drop" in said.stdout or " reject" in said.stdout
        yield Answer(
            "firewall",
            "unknown" if drops else "good",
            "rules that drop" if drops else "no rules that drop",
            hint,
        )
    else:
        yield Answer("firewall", "unknown", "cannot be looked at without root", hint)


def _clock(_: Path) -> Iterator[Answer]:
    now = time.time()
    newest = Path(__file__).stat().st_mtime
    if now < newest - 86_400:
        yield Answer(
            "clock",
            "bad",
            "is behind the age of this program",
            "set the clock: sudo timedatectl set-ntp true",
        )
        return
    tool = shutil.which("timedatectl")
    said = ""
    if tool:
        command = [tool, "show", "-p", "NTPSynchronized", "--value"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    if said == "yes":
        yield Answer("clock", "good", "synchronised")
    else:
        remedy = "compare it with the phone's; phases are told by this computer's clock"
        yield Answer("clock", "unknown", "not known to be synchronised", remedy)


def _packets(_: Path) -> Iterator[Answer]:
    if not sys.platform.startswith("linux"):
        yield Answer("recording packets (sniff)", "bad", "Linux only", "capture works without it")
        return
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        yield Answer(
            "recording packets (sniff)", "bad", "not allowed", 'sudo "$(command -v privacy-audit)" sniff ...'
        )
    else:
        yield Answer("recording packets (sniff)", "good", "allowed")


def _disk(folder: Path) -> Iterator[Answer]:
    place = next((each for each in (folder, *folder.resolve().parents) if each.is_dir()), Path.cwd())
    free = shutil.disk_usage(place).free
    yield Answer(
        "free disk space",
        "good" if free > MIN_DISK else "bad",
        f"{free >> 20:,} MB",
        "free some: a full disk stops the recording",
    )
    writable = os.access(place, os.W_OK)
    yield Answer(
        "place for recordings",
        "good" if writable else "bad",
        str(place),
        "choose a folder that you may write to",
    )


_CHECKS: tuple[Callable[[Path], Iterator[Answer]], ...] = (
    _python, _mitmproxy, _addresses, _ports, _firewall, _clock, _packets, _disk,
)  # fmt: skip
