"""Phases: which one is on, marked from mitmproxy itself, and written beside the traffic.

    mitmdump -s addons/phases.py --set experiment=EXPERIMENT --set events_file=EXPERIMENT/events.jsonl

In mitmproxy's console or web interface the commands `audit.mark normal`, `audit.mark private opted-out`, `audit.mark
idle` and `audit.mark end` begin and end phases. Marks made elsewhere (`privacy-audit mark`, the control page) are seen
within a second: each is noted, shown in mitmproxy's log, and named in the metadata of the flows that follow.

It must never change a mark that was made. The file that holds them is described in docs/experiment.md.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import command, ctx, dns, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.log import ALERT

from audit import experiment as experiments
from audit.experiment import FILE_NAME, BadExperiment
from audit.protocols.notes import PhaseMark
from audit.recording import marks
from audit.recording.notebook import Notebook
from audit.records import Phase

logger = logging.getLogger(__name__)

GLANCE = 0.5  # seconds between two looks at the file


class Phases:
    """The addon."""

    def __init__(self) -> None:
        self.book: Notebook | None = None
        self.folder: Path | None = None
        self.phase: Phase | None = None
        self.stamp: tuple[int, int] | None = None
        self.watcher: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        """Declares the options."""
        loader.add_option("experiment", str, "", "Folder of the experiment that is recorded.")
        loader.add_option("events_file", str, "", "File that notes beside the traffic are appended to.")

    def configure(self, updated: set[str]) -> None:
        """Opens the file and looks which phase is on."""
        if "events_file" in updated and ctx.options.events_file:
            self.book = Notebook.of_option(ctx.options.events_file)
        if "experiment" in updated and ctx.options.experiment:
            self.folder = Path(ctx.options.experiment).expanduser()
            self.look()

    def running(self) -> None:
        """Begins to watch."""
        self.watcher = asyncio.create_task(self.watch())

    def done(self) -> None:
        """Stops watching."""
        if self.watcher:
            self.watcher.cancel()

    async def watch(self) -> None:
        """Looks at the file again and again."""
        while True:
            self.look()
            await asyncio.sleep(GLANCE)

    def look(self) -> None:
        """Takes up a mark that was made since the last look."""
        if self.folder is None:
            return
        try:
            state = (self.folder / FILE_NAME).stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp == self.stamp:
                return
            phase = marks.running(experiments.load(self.folder))
        except (OSError, BadExperiment):
            return  # being edited by hand; the next look may find it whole
        self.stamp = stamp
        if phase and (self.phase is None or (phase.id, phase.start) != (self.phase.id, self.phase.start)):
            logger.log(ALERT, f"phase {phase.id} is on: {phase.mode}, {phase.setting}")
            self.note(PhaseMark(time=time.time(), mode=phase.mode, setting=phase.setting, id=phase.id))
        elif self.phase and phase is None:
            logger.log(ALERT, f"phase {self.phase.id} ended")
            self.note(PhaseMark(time=time.time(), mode="end", id=self.phase.id))
        self.phase = phase

    def note(self, mark: PhaseMark) -> None:
        """Writes it down."""
        if self.book:
            self.book.write_or_stop(mark)

    @command.command("audit.mark")  # type: ignore[untyped-decorator, unused-ignore]
    def mark(self, mode: str, *setting: str) -> None:
        """Begin a phase now: idle, normal, private; or end the one that is on."""
        if self.folder is None:
            raise exceptions.CommandError("no experiment: start with --set experiment=FOLDER")
        try:
            marks.mark(self.folder, mode, " ".join(setting) or None)  # type: ignore[arg-type]
        except (marks.BadMark, BadExperiment) as bad:
            raise exceptions.CommandError(str(bad)) from None
        self.look()

    @command.command("audit.phase")  # type: ignore[untyped-decorator, unused-ignore]
    def current(self) -> Sequence[str]:
        """The phase that is on, its mode and its setting."""
        return [self.phase.id, self.phase.mode, self.phase.setting] if self.phase else []

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Names the phase in the flow."""
        if self.phase:
            flow.metadata["phase"] = self.phase.id

    def dns_request(self, flow: dns.DNSFlow) -> None:
        """Names the phase in the flow."""
        if self.phase:
            flow.metadata["phase"] = self.phase.id


addons = [Phases()]
