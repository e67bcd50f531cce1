"""Live findings: flows that hold a planted value are marked in mitmproxy's own interfaces, with what and to whom.

    mitmweb -s addons/recorder.py -s addons/live_findings.py --set experiment=EXPERIMENT \
            --set recorder_file=EXPERIMENT/flows.mitm

The search runs in a process of its own, which reads the recording as it grows (audit/recording/live.py); this addon
starts it, reads its report a few times a second, marks the flows named there and logs each of them once. It must never
search by itself or wait for the search.
"""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.hooks import UpdateHook
from mitmproxy.log import ALERT

import audit
from audit.recording import live_report

logger = logging.getLogger(__name__)

GLANCE = 0.2  # seconds between two looks at the report
PATIENCE = 1.0  # seconds for the search to end by itself
MARK = ":red_circle:"


class LiveFindings:
    """The addon."""

    def __init__(self) -> None:
        self.search: subprocess.Popen[bytes] | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.marked: set[str] = set()
        self.told: set[str] = set()
        self.stamp = 0

    def load(self, loader: Loader) -> None:
        """Declares the options that are shared with other addons."""
        loader.add_option("experiment", str, "", "Folder of the experiment that is recorded.")
        loader.add_option("recorder_file", str, "", "File that every flow is appended to.")

    def running(self) -> None:
        """Starts the search, and begins to watch what it finds."""
        folder, flows = ctx.options.experiment, ctx.options.recorder_file
        if not folder or not flows:
            logger.warning(
                "live findings: need the options experiment and recorder_file; nothing is searched."
            )
            return
        self.folder = Path(folder).expanduser()
        (self.folder / live_report.NAME).unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "audit.recording.live",
            str(self.folder),
            str(Path(flows).expanduser()),
            str(os.getpid()),
        ]
        path = os.pathsep.join(
            filter(None, (str(Path(audit.__file__).parents[1]), os.environ.get("PYTHONPATH")))
        )
        self.search = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.watcher = asyncio.create_task(self.watch())

    def done(self) -> None:
        """Ends the search."""
        if self.watcher:
            self.watcher.cancel()
        if self.search:
            self.search.terminate()
            try:
                self.search.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # it gets no time on a busy computer, and has nothing to lose
                self.search.kill()

    async def watch(self) -> None:
        """Looks at the report again and again."""
        while True:
            await asyncio.sleep(GLANCE)
            if self.search and self.search.poll() is not None:
                logger.error(
                    "live findings: the search ended; the recording goes on and can be analysed later."
                )
                return
            self.look()

    def look(self) -> None:
        """Marks what the report names and was not marked before."""
        try:
            stamp = (self.folder / live_report.NAME).stat().st_mtime_ns
        except OSError:
            return
        if stamp == self.stamp:
            return
        report = live_report.read(self.folder)
        if report is None:
            return
        self.stamp = stamp
        for finding in report.findings:
            if not finding.expected and finding.id not in self.told:
                self.told.add(finding.id)
                logger.log(ALERT, f"leak: {finding.title} → {finding.recipient} ({finding.mode})")
        view: Any = ctx.master.addons.get("view")  # type: ignore[no-untyped-call]
        for name, text in report.flows.items():
            if name in self.marked:
                continue
            self.marked.add(name)
            flow = view.get_by_id(name) if view else None
            if flow is not None:
                flow.marked, flow.comment = MARK, text
                ctx.master.addons.trigger(UpdateHook([flow]))


addons = [LiveFindings()]
