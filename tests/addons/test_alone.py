"""Each addon alone in a real mitmdump: it loads without a word of trouble, and traffic passes."""

from __future__ import annotations

import asyncio
import re
import runpy
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest
from mitmproxy.hooks import all_hooks

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
    "together": (EXPERIMENT, EVENTS, FLOWS, "offline_domains="),
}
CASES = [pytest.param(name, True, id=name) for name in sorted(NEEDS)] + [
    pytest.param(name, False, id=f"{name}-bare", marks=pytest.mark.slow)
    for name in sorted(set(NEEDS) - {"recorder", "together"})  # these refuse: test_recorder.py
]


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One certificate authority for all: making one takes as long as everything else here."""
    return tmp_path_factory.mktemp("conf")


def test_every_addon_is_tried() -> None:
    assert set(NEEDS) == {path.stem for path in ADDONS.glob("*.py")}


def test_nobody_is_left_out_where_all_run_together() -> None:
    together = runpy.run_path(str(ADDONS / "together.py"))
    assert {*together["ORDER"], "together"} == set(NEEDS)
    hooks = vars(together["addons"][0])
    assert hooks["command_mark"].command_name == "audit.mark"
    for name in together["ORDER"]:
        for addon in runpy.run_path(str(ADDONS / f"{name}.py"))["addons"]:
            assert {hook for hook in all_hooks if hasattr(addon, hook)} <= set(hooks)


def test_hooks_are_called_in_turn_and_awaited() -> None:
    in_turn = runpy.run_path(str(ADDONS / "together.py"))["in_turn"]
    said: list[str] = []

    async def slowly(word: str) -> None:
        await asyncio.sleep(0)
        said.append(f"slowly {word}")

    in_turn([said.append, said.append])("plain")
    asyncio.run(in_turn([said.append, slowly, said.append])("awaited"))
    assert said == ["plain", "plain", "awaited", "slowly awaited", "awaited"]


@pytest.mark.parametrize(("name", "configured"), CASES)
def test_it_loads_and_lets_traffic_through(tmp_path: Path, conf: Path, name: str, configured: bool) -> None:
    """With the options that its head names, and (but for those that refuse) without any."""
    folder, port = tmp_path / "experiment", free_port()
    save(plan(Outline()), folder)
    options = [option.format(folder=folder) for option in NEEDS[name]] if configured else []
    process = mitmdump(conf, f"regular@127.0.0.1:{port}", *options, addons=(f"{name}.py",))
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
