"""Records the packets of one network interface into an experiment, until it is told to stop.

Opens the socket, gives up root, then writes pcapng files that are whole at every moment to within a second.
It must never overwrite a file, stop in silence, or hide that packets were lost; it analyses nothing.
Linux only: packet(7) through scapy's listening socket; link types as libpcap maps those of if_arp.h.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import structs

from audit import __version__
from audit.experiment import FILE_NAME, BadExperiment, load, save
from audit.protocols import pcapng
from audit.recording import glimpse, privileges
from audit.recording.rotation import Rotation
from audit.recording.stopping import stop_signals
from audit.records import Experiment

SNAPLEN = 262_144  # bytes per packet; nothing a network card hands over is longer
MAX_NAMES = 10_000  # remembered for the summary
_LOOPBACK = 772
_LINKS = {1: glimpse.ETHERNET, _LOOPBACK: glimpse.ETHERNET, 803: 127} | dict.fromkeys(
    (519, 768, 776, 65534), glimpse.RAW_IP
)
_BUFFER = 32 << 20  # bytes the kernel may hold while we write
_BURST = 1_000  # packets between two looks at the clock
_GONE = -1
_TICK = 0.25  # seconds
_LAST = 2.0  # seconds for what waits in the kernel when the recording is stopped
_SO_RCVBUFFORCE, _SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 33, 263, 6, 23


class BadRecording(Exception):  # noqa: N818 - beside BadCapture and BadExperiment
    """A recording that cannot begin, or had to end. `str()` is one line: what happened; what to do."""


class Sniffer:
    """One recording. `paths` are its files so far; `say` takes lines for people."""

    def __init__(self, folder: Path, interface: str, limit: int, say: Callable[[str], None]) -> None:
        self._folder, self._interface, self._limit, self._say = folder, interface, limit, say
        self._packets = self._bytes = self._dropped = self._seen = 0
        self._names: dict[str, None] = {}
        self._link = 0
        self.paths: list[Path] = []

    def run(self, show: Callable[[str], None]) -> None:
        """Records until SIGINT or SIGTERM; `show` is given the state several times a second.

        Raises:
            BadRecording: there is no such interface, no permission, no space left, ...
            BadExperiment: the folder's `experiment.toml` cannot be used.
        """
        with stop_signals() as stopped, self._listening() as listener:
            try:
                if done := privileges.drop(self._folder):
                    self._say(done)
                self._prepare()
                self._record(listener, stopped, show)
            except OSError as error:
                where = error.filename or self._folder
                raise BadRecording(
                    f"{where}: {error.strerror or error}; {self._packets} packets were recorded before"
                ) from None
            finally:
                if self.paths:
                    self._say(self.state)

    @property
    def state(self) -> str:
        """What was recorded so far, in one line."""
        names = list(self._names)
        latest = f", latest {', '.join(reversed(names[-3:]))}" if names else ""
        lost = f"{self._dropped:,} lost" if self._dropped else "none lost"
        return (
            f"{self._interface}: {self._packets:,} packets, {self._bytes:,} bytes, {lost}, "
            f"names: {len(names):,}{latest}"
        )

    # --- opening ------------------------------------------------------------------------------------

    @contextmanager
    def _listening(self) -> Iterator[Any]:
        if sys.platform != "linux":
            raise BadRecording("sniff records on Linux only; record with another tool and analyze its pcapng")
        try:
            self._index = socket.if_nametoindex(self._interface)
        except (OSError, ValueError):
            there = ", ".join(sorted(name for _, name in socket.if_nameindex()))
            raise BadRecording(f"{self._interface}: no such interface; there are {there}") from None
        logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns of link types that it cannot dissect
        import scapy.arch  # noqa: F401 - sets conf.L2listen
        from scapy.config import conf

        try:
            listener = conf.L2listen(iface=self._interface)
        except PermissionError:
            raise BadRecording(
                f"{self._interface}: no permission to record packets; run it as root: "
                'sudo "$(command -v privacy-audit)" sniff ..., whose rights are given up after opening'
            ) from None
        except OSError as error:
            raise BadRecording(f"{self._interface}: cannot be opened ({error.strerror or error})") from None
        with listener:
            hardware = listener.ins.getsockname()[3]
            if hardware not in _LINKS:
                raise BadRecording(
                    f"{self._interface}: interfaces of its kind ({hardware}) cannot be recorded; "
                    "choose the one below it"
                )
            self._link = _LINKS[hardware]
            if hardware == _LOOPBACK:  # else every packet comes twice
                with suppress(OSError):
                    listener.ins.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            listener.ins.setblocking(False)
            for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
                with suppress(OSError):
                    listener.ins.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
                    break
            yield listener

    def _prepare(self) -> None:
        """Makes the experiment, or makes sure that it is one and nobody else's to read."""
        if (self._folder / FILE_NAME).exists():
            load(self._folder)
            self._folder.chmod(0o700)
        elif self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise BadRecording(
                f"{self._folder}: is no experiment; name one with {FILE_NAME} in it, or a new folder"
            )
        else:
            save(Experiment(), self._folder)

    # --- recording ----------------------------------------------------------------------------------

    def _record(self, listener: Any, stopped: Callable[[], bool], show: Callable[[str], None]) -> None:
        application = f"privacy-audit {__version__}"
        prelude = pcapng.section(application) + pcapng.interface(
            self._link, self._interface, SNAPLEN, sys.platform
        )
        stem = f"sniff-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        files = Rotation(self._folder, stem, ".pcapng", prelude, self._limit, self._opened)
        try:
            written = shown = time.monotonic()
            while not stopped():
                if select.select([listener.ins], [], [], _TICK)[0] and self._take(listener, files) == _GONE:
                    self._say(f"{self._interface}: went away; the recording ends")
                    break
                now = time.monotonic()
                if now - written >= 1:
                    files.flush()
                    written = now
                if now - shown >= _TICK:
                    self._count(listener)
                    show(self.state)
                    shown = now
            last = time.monotonic() + _LAST
            while self._take(listener, files) == _BURST and time.monotonic() < last:
                pass
            files.close(self._statistics(listener))
        finally:
            with suppress(OSError):  # the first error is the one to tell
                files.close()

    def _take(self, listener: Any, files: Rotation) -> int:
        """Writes packets that wait, a burst at most; how many, or _GONE if there will be no more."""
        for count in range(_BURST):
            try:
                _, data, stamp = listener.recv_raw(SNAPLEN)
            except BlockingIOError:
                return count
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                return count if self._still_there() else _GONE
            if not data:
                continue
            if files.full:
                files.rotate(self._statistics(listener))
            files.write(pcapng.packet(round(stamp * 1e6), data, len(data)))
            self._packets += 1
            self._bytes += len(data)
            name = glimpse.name_in(data, self._link)
            if name and len(self._names) < MAX_NAMES:
                self._names[name] = None
        return _BURST

    def _still_there(self) -> bool:
        try:
            there = socket.if_nametoindex(self._interface) == self._index
        except OSError:
            there = False
        if there:
            self._say(f"{self._interface}: is down; waiting for it")
        return there

    def _count(self, listener: Any) -> None:
        with suppress(OSError, struct.error):
            # reading it sets the kernel's counters to zero
            raw = listener.ins.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            seen, dropped = struct.unpack("II", raw)
            self._seen += seen
            self._dropped += dropped

    def _statistics(self, listener: Any) -> bytes:
        self._count(listener)
        return pcapng.statistics(time.time_ns() // 1000, pcapng.Counts(self._seen, self._dropped))

    def _opened(self, path: Path) -> None:
        """Names a new file in the experiment, if that names its captures."""
        self.paths.append(path)
        try:
            experiment = load(self._folder)
            if experiment.captures:
                captures = (*experiment.captures, path.name)
                save(structs.replace(experiment, captures=captures), self._folder)
        except BadExperiment as error:
            self._say(f"{path.name} is recorded, but not named among the captures: {error}")
