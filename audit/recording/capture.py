"""One sitting of a recording: prepares the experiment, starts mitmproxy with the addons, watches it, ends it.

Every sitting writes a flow file of its own, so nothing is overwritten; notes and TLS keys are appended. The
proxy is a process of its own: if it crashes, it is started again, and what was recorded is there; if it stops
because nothing can be recorded any more, the sitting ends and says why.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec.structs import replace

from audit import __version__, shipped
from audit.experiment import EVENTS_NAME, FILE_NAME, BadExperiment, change, load
from audit.protocols import notes
from audit.recording import marks, proxy_mode, wireguard
from audit.recording.notebook import Notebook
from audit.recording.proxy_mode import ProxyMode
from audit.records import Experiment

KEYS_NAME = "keys.log"
WIREGUARD_NAME = "wireguard.json"
SEES_UDP = ("wireguard", "transparent", "local")  # the modes in which QUIC could come here
RESERVED = (".example", ".test", ".invalid")  # RFC 2606: nobody serves pages there but us
MAX_CRASHES = 20
_PATIENCE = 60.0  # seconds for mitmproxy to start
_SURFACE = 0.8  # seconds between two times that notes are brought to the disk itself
_SETTLED = 4.0  # seconds without trouble after which local mode works
_LOGGED = re.compile(r"\[\d\d:\d\d:\d\d\.\d+\] (?!Loading script)(.+)")  # a line of mitmproxy's log
_LAST_WORDS = "Error logged during startup"  # after the error itself
_CHATTER = re.compile(r"\] (client|server) (connect|disconnect)")
WEB_PORT = 8081  # of mitmproxy's web interface


class BadCaptureSetup(Exception):  # noqa: N818 - beside BadExperiment
    """A sitting that cannot begin, or had to end. `str()` is one line: what happened; what to do."""


class Wishes(NamedTuple):
    """What was asked for on the command line."""

    mode: ProxyMode
    listen: str = "0.0.0.0"  # noqa: S104 - the device has to reach it
    quic: Literal["refuse", "leave"] = "refuse"
    passthrough: bool = True
    offline: bool = False
    answer: tuple[str, ...] = ()
    web: bool = False
    confdir: Path = Path("~/.mitmproxy")
    fence: tuple[int, ...] = ()
    options: tuple[str, ...] = ()


class Sitting:
    """One run of the proxy over an experiment folder; `say` takes lines for people."""

    def __init__(self, folder: Path, wishes: Wishes, say: Callable[[str], None]) -> None:
        self.folder, self._wishes, self._say = folder, wishes, say
        self._process: subprocess.Popen[str] | None = None
        self._crashes = 0
        self.state = "starting"
        self.flows = folder / f"flows-{datetime.now(UTC):%Y%m%dT%H%M%S}.mitm"

    def prepare(self) -> Experiment:
        """Makes the folder an experiment that names its files. Raises BadCaptureSetup, BadExperiment, OSError."""
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise BadCaptureSetup(f"{folder}: is a file; name a folder for the experiment")
        if folder.exists() and not (folder / FILE_NAME).exists() and any(folder.iterdir()):
            raise BadCaptureSetup(
                f"{folder}: is no experiment; name one with {FILE_NAME} in it, or a new folder"
            )
        number = 1
        while self.flows.exists():
            number += 1
            self.flows = folder / f"{self.flows.stem.partition('_')[0]}_{number}.mitm"

        def named(before: Experiment) -> Experiment:
            keys = before.keys if KEYS_NAME in before.keys else (*before.keys, KEYS_NAME)
            captures = before.captures
            if captures:
                captures = tuple(dict.fromkeys((*captures, self.flows.name, EVENTS_NAME)))
            return replace(before, keys=keys, captures=captures)

        experiment = change(folder, named)
        folder.chmod(0o700)
        for name in (KEYS_NAME, EVENTS_NAME, self.flows.name):
            os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return experiment

    def fence(self, *ports: int) -> None:
        """Keeps devices away from these ports of ours."""
        self._wishes = self._wishes._replace(fence=(*self._wishes.fence, *ports))

    def code(self, endpoint: str) -> str | None:
        """The WireGuard configuration for the device, in that mode. Raises BadCaptureSetup."""
        if self._wishes.mode.name != "wireguard":
            return None
        try:
            return wireguard.configuration(self.folder / WIREGUARD_NAME, endpoint, self._wishes.mode.port)
        except wireguard.BadKeys as bad:
            raise BadCaptureSetup(str(bad)) from None

    def command(self, experiment: Experiment) -> list[str]:
        """mitmproxy, with all that this sitting asks of it."""
        wishes = self._wishes
        tool = "mitmweb" if wishes.web else "mitmdump"
        words = [sys.executable, "-c", f"from mitmproxy.tools.main import {tool}; {tool}()"]
        for spec in proxy_mode.specs(
            wishes.mode, wishes.listen, str((self.folder / WIREGUARD_NAME).resolve())
        ):
            words += ["--mode", spec]
        words += ["-s", str(shipped.folder("addons") / "together.py")]
        domains = ("*",) if wishes.offline else (*_reserved_hosts(experiment), *wishes.answer)
        options = {
            "confdir": str(wishes.confdir.expanduser()),
            "experiment": str(self.folder.resolve()),
            "recorder_file": str(self.flows.resolve()),
            "recorder_keys": str((self.folder / KEYS_NAME).resolve()),
            "events_file": str((self.folder / EVENTS_NAME).resolve()),
            "quic": wishes.quic,
            "passthrough": "true" if wishes.passthrough else "false",
            "offline_domains": ",".join(domains),
            "fence_ports": ",".join(map(str, (*wishes.fence, WEB_PORT) if wishes.web else wishes.fence)),
        }
        if wishes.web:
            options |= {"web_open_browser": "false", "web_host": "127.0.0.1", "web_port": str(WEB_PORT)}
        else:
            options["flow_detail"] = "0"
        for name, value in options.items():
            words += ["--set", f"{name}={value}"]
        for option in wishes.options:
            words += ["--set", option]
        return words

    def run(self, experiment: Experiment, ready: Callable[[], None], stopped: Callable[[], bool]) -> None:
        """Records until `stopped`; calls `ready` once the proxy listens.

        Raises BadCaptureSetup where the proxy does not start, or ends by itself for good.
        """
        command = self.command(experiment)
        book = Notebook(self.folder / EVENTS_NAME)
        mode = self._wishes.mode.name
        quic = self._wishes.quic if mode in SEES_UDP else ""
        book.write(notes.Sitting(time=time.time(), what="started", mode=mode, version=__version__, quic=quic))
        begun = False
        try:
            while not stopped():
                with self._running(command) as lines:
                    self._await_start(lines, stopped)
                    self.state = "recording"
                    if not begun and not stopped():
                        ready()
                        begun = True
                    code = self._watch(lines, stopped, book)
                if stopped():
                    break
                self._crashed(code, book)
        finally:
            self.state = "stopped"
            if begun:  # else the phase may be that of a sitting that runs beside this one
                self._end_phase()
            self._drop_empty()
            try:
                book.write(notes.Sitting(time=time.time(), what="stopped", mode=mode))
                book.close()
            except OSError as error:
                self._say(f"{EVENTS_NAME}: {error.strerror}")

    @contextmanager
    def _running(self, command: list[str]) -> Iterator[queue.Queue[str | None]]:
        """The proxy while the block lasts, and the lines that it says (None at the end)."""
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True, env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._process = process
        lines: queue.Queue[str | None] = queue.Queue(10_000)

        def listen() -> None:
            for line in process.stdout or ():
                lines.put(line.rstrip())
            lines.put(None)

        threading.Thread(target=listen, daemon=True).start()
        try:
            yield lines
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()

    def _await_start(self, lines: queue.Queue[str | None], stopped: Callable[[], bool]) -> None:
        said: list[str] = []
        local = self._wishes.mode.name == "local"
        deadline = time.monotonic() + _PATIENCE
        settled = deadline
        while not stopped():
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                if settled < time.monotonic() <= deadline:
                    return
                if time.monotonic() > deadline:
                    raise BadCaptureSetup("mitmproxy does not start; try: privacy-audit doctor") from None
                continue
            if line is None:
                if self._wishes.mode.name == "local":
                    raise BadCaptureSetup(
                        f"local mode is not to be had here: {_reason(said)}; take wireguard"
                    )
                raise BadCaptureSetup(f"mitmproxy does not start: {_reason(said)}; try: privacy-audit doctor")
            said.append(line)
            if "listening at" in line:
                self._say(line)
                return
            if "Local redirector started" in line:  # it says so before it knows whether the system lets it
                self._say(line)
                settled = time.monotonic() + _SETTLED
            elif local and "Error" in line:
                raise _no_local_mode(said)
            elif "rror" in line:
                self._say(line)

    def _watch(self, lines: queue.Queue[str | None], stopped: Callable[[], bool], book: Notebook) -> int:
        """Passes on what the proxy says until it ends or is to end; its exit code. Once a second the notes are
        brought to the disk itself; the recorder does so with the flows."""
        surfaced = time.monotonic()
        while not stopped():
            if time.monotonic() - surfaced > _SURFACE:
                surfaced = time.monotonic()
                try:
                    book.surface()
                except OSError as error:
                    raise BadCaptureSetup(
                        f"{book.path}: {error.strerror}; what was recorded is kept"
                    ) from None
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                break
            if line and not _CHATTER.search(line):
                self._say(line)
        return self._process.wait() if self._process and not stopped() else 0

    def _crashed(self, code: int, book: Notebook) -> None:
        """Starts again after a crash; gives up where the proxy stopped on purpose, or crashes all the time."""
        self._crashes += 1
        if code >= 0 or self._crashes > MAX_CRASHES:
            self.state = "the proxy stopped; nothing is recorded"
            raise BadCaptureSetup("the proxy stopped (see above); what was recorded is kept")
        name = signal.Signals(-code).name
        self.state = f"the proxy crashed ({name}) and is starting again"
        self._say(f"mitmproxy crashed ({name}); what was recorded is there; starting again")
        text = f"mitmproxy crashed ({name}) and was started again; what was sent meanwhile is not recorded"
        book.write(notes.Alert(time=time.time(), text=text))
        time.sleep(min(self._crashes, 5))

    def _drop_empty(self) -> None:
        """A sitting in which nothing came leaves no flow file behind."""
        if self.flows.exists() and not self.flows.stat().st_size:
            self.flows.unlink()

            def without(before: Experiment) -> Experiment:
                captures = tuple(name for name in before.captures if name != self.flows.name)
                return replace(before, captures=captures)

            try:
                change(self.folder, without)
            except (BadExperiment, OSError) as bad:
                self._say(str(bad))

    def _end_phase(self) -> None:
        """A phase is a time that was recorded: it ends with the sitting."""
        try:
            phase = marks.running(load(self.folder))
            if phase:
                marks.mark(self.folder, "end")
                self._say(f"phase {phase.id} ended with the recording")
        except (BadExperiment, marks.BadMark, OSError) as bad:
            self._say(f"the phase could not be ended: {bad}")


def _no_local_mode(said: list[str]) -> BadCaptureSetup:
    return BadCaptureSetup(f"local mode is not to be had here: {_reason(said)}; take wireguard")


def _reason(said: list[str]) -> str:
    """What mitmproxy logged last before it ended, with the cause that it names below, if it does."""
    for number in range(len(said) - 1, -1, -1):
        if found := _LOGGED.match(said[number]):
            rest = [line.strip() for line in said[number + 1 :] if line.strip()]
            cause = rest[rest.index("Caused by:") + 1 :][:1] if "Caused by:" in rest else []
            return ": ".join((found[1].rstrip(" ."), *cause))
    told = [line for line in said if line.strip() and not line.startswith(_LAST_WORDS)]
    return told[-1] if told else "no reason given"


def _reserved_hosts(experiment: Experiment) -> Iterator[str]:
    """Hosts of planted addresses that nobody serves."""
    from urllib.parse import urlsplit

    for canary in experiment.canaries:
        if canary.kind == "url" and not canary.decoy:
            host = urlsplit(canary.value).hostname or ""
            if host.endswith(RESERVED):
                yield host
