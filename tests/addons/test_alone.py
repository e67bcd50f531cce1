"""Each addon alone in a real mitmdump: it loads without a word of trouble, and traffic passes."""

from __future__ import annotations

import re
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest

from audit.canaries import Outline, plan
from audit.experiment import save
from tests.addons.proxies import ADDONS, free_port, mitmdump, needs_mitmdump
from tests.recording.test_modes import site

pytestmark = needs_mitmdump
EXPERIMENT, EVENTS, FLOWS = "experiment={folder}", "events_file={folder}/events.jsonl", "recorder_file={folder}/f.mitm"  # fmt: skip
NEEDS = {
    "fence": ("fence_ports=1",),
    "layers_view": (),
    "live_findings": (EXPERIMENT, FLOWS),
    "offline_answers": (),
    "phases": (EXPERIMENT, EVENTS),
    "pinning": (EVENTS,),
    "quic": (EVENTS,),
    "recorder": (FLOWS,),
    "self_test": (EVENTS,),
}


def test_every_addon_is_tried() -> None:
    assert set(NEEDS) == {path.stem for path in ADDONS.glob("*.py")}


@pytest.mark.parametrize("name", sorted(NEEDS))
@pytest.mark.parametrize("configured", [True, False])
def test_it_loads_and_lets_traffic_through(tmp_path: Path, name: str, configured: bool) -> None:
    """With the options that its head names, and (but for the recorder, which refuses) without any."""
    if name == "recorder" and not configured:
        pytest.skip("refuses to run without a file: test_recorder.py")
    folder, port = tmp_path / "experiment", free_port()
    save(plan(Outline()), folder)
    options = [option.format(folder=folder) for option in NEEDS[name]] if configured else []
    process = mitmdump(tmp_path / "conf", f"regular@127.0.0.1:{port}", *options, addons=(f"{name}.py",))
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    said: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "listening at" in line:
                break
        with site() as (server, asked):
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", f"http://127.0.0.1:{server}/passes")
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
        for line in process.stdout:
            said.append(line)
            if "client disconnect" in line:
                break
        process.terminate()
        said += process.stdout.readlines()
        process.wait(30)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert answer.status == 200, said
    assert (asked == []) == (name == "offline_answers")
    assert name == "offline_answers" or body == b"heard /passes"
    assert not re.search(r"error|traceback|in script", "".join(said), re.IGNORECASE), "".join(said)
