"""Together: all addons of this folder as one, which is how `privacy-audit capture` starts them.

    mitmdump -s addons/together.py --set experiment=EXPERIMENT --set recorder_file=EXPERIMENT/flows.mitm \\
             --set recorder_keys=EXPERIMENT/keys.log --set events_file=EXPERIMENT/events.jsonl --set offline_domains=

mitmproxy walks over every script at each of the eight or more events of a request, and most have nothing to say to
most events. Here each event goes to those that have a hook for it, in the order below, and to nobody else.

Each addon stays as it is and works alone, too. This one must have no behaviour of its own.
Source: mitmproxy's addon manager (mitmproxy 11.0 and 12.x).
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mitmproxy import hooks
from mitmproxy.addons.script import load_script

# What is asked first: the recorder writes what the device sent before anybody answers it.
ORDER = (
    "recorder", "fence", "phases", "pinning", "quic", "live_findings", "layers_view", "offline_answers", "self_test",
)  # fmt: skip

Hook = Callable[..., Any]


def in_turn(calls: list[Hook]) -> Hook:
    """One hook that calls these, one after the other; it has to be awaited if one of them has."""
    if len(calls) == 1:
        return calls[0]

    def plain(*given: Any) -> None:
        for call in calls:
            call(*given)

    async def awaited(*given: Any) -> None:
        for call in calls:
            result = call(*given)
            if inspect.isawaitable(result):
                await result

    return awaited if any(map(inspect.iscoroutinefunction, calls)) else plain


class Together:
    """The addon: the hooks and commands of the others."""

    def __init__(self, parts: list[Any]) -> None:
        for name in hooks.all_hooks:
            if calls := [getattr(part, name) for part in parts if hasattr(part, name)]:
                setattr(self, name, in_turn(calls))
        for part in parts:
            for name in dir(type(part)):
                if hasattr(getattr(type(part), name), "command_name"):
                    setattr(self, f"command_{name}", getattr(part, name))


def parts() -> list[Any]:
    """The addons, each from its own file; mitmproxy says which one does not load, and does not start then."""
    modules = [load_script(str(Path(__file__).resolve().with_name(f"{name}.py"))) for name in ORDER]
    return [addon for module in modules if module is not None for addon in module.addons]


addons = [Together(parts())]
