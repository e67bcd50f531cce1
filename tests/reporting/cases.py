"""The experiments whose reports must read right, made up here and audited in earnest.

A browser that reports addresses and searches to its maker in both modes, one that reports nothing, packets
that nobody can open, and a capture with nothing in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit import pipeline
from audit.experiment import load
from audit.records import Audit, Browser, Canary, Device, Experiment, Phase, Step
from tests.test_pipeline import har_entry, write_har
from tests.test_planted import PAGES, SINK, WORDS, at, batch, event, post

SAMPLE = Path(__file__).parents[2] / "captures" / "chromium-156"
COOKIE = "s3ss10n-5f1c8e77b2"
TOKEN = "tok_Zm94aG91bmQtOTkx"
SINGAPORE = "47.241.0.10"  # an address that the shipped tables locate there


def experiment() -> Experiment:
    return Experiment(
        device=Device(name="Made-up Phone 3"),
        browser=Browser(name="Made-up Browser", version="1"),
        phases=(
            Phase(id="n1", mode="normal", start=at(0), end=at(9)),
            Phase(id="p1", mode="private", start=at(10), end=at(19)),
        ),
        canaries=(
            Canary(id="n-url", kind="url", value=PAGES["normal"], phase="n1"),
            Canary(id="n-term", kind="term", value=WORDS["normal"], phase="n1"),
            Canary(id="p-url", kind="url", value=PAGES["private"], phase="p1"),
            Canary(id="p-term", kind="term", value=WORDS["private"], phase="p1"),
        ),
        steps=(
            Step(at=at(1), action="visit", canary="n-url"),
            Step(at=at(2), action="type_and_submit", canary="n-term"),
            Step(at=at(11), action="visit", canary="p-url"),
            Step(at=at(12), action="type_and_submit", canary="p-term"),
        ),
    )


def _visits() -> list[dict[str, Any]]:
    return [
        har_entry(
            "GET", PAGES[mode], at(minute).isoformat(), sec_fetch_dest="document", sec_fetch_site="none"
        )
        for mode, minute in (("normal", 1.0), ("private", 11.0))
    ]


def planted(folder: Path) -> Audit:
    """Sensors Analytics batches with address and search words, in both modes."""
    entries = _visits()
    for mode, minute in (("normal", 1.2), ("private", 11.2)):
        events = [
            event("page_load_event_finish", at(minute), url=PAGES[mode]),
            event("search", at(minute + 1), search_word=WORDS[mode], used_searchengine="google"),
        ]
        entry = post(SINK, at(minute + 1.1), batch(events))
        entry["serverIPAddress"] = SINGAPORE
        entry["request"]["headers"] += [
            {"name": "cookie", "value": f"uid={COOKIE}"},
            {"name": "authorization", "value": f"Bearer {TOKEN}"},
        ]
        entries.append(entry)
    path = write_har(folder / "page.har", entries)
    return pipeline.analyze([pipeline.Capture(path, path.name)], experiment())


def unplanned(folder: Path) -> Audit:
    """The same traffic, by somebody who told nothing of what was planted: addresses are inferred."""
    planted(folder)
    return pipeline.analyze([pipeline.Capture(folder / "page.har", "page.har")], Experiment())


def clean(folder: Path) -> Audit:
    """The visits and nothing else."""
    path = write_har(folder / "page.har", _visits())
    return pipeline.analyze([pipeline.Capture(path, path.name)], experiment())


def locked(_: Path) -> Audit:
    """The packets of our own sample without the keys to them."""
    path = SAMPLE / "phone.pcapng"
    return pipeline.analyze([pipeline.Capture(path, path.name)], load(SAMPLE))


def sample(_: Path) -> Audit:
    """Our own sample as it is."""
    own = load(SAMPLE)
    keys = tuple(SAMPLE / name for name in own.keys)
    return pipeline.analyze([pipeline.Capture(SAMPLE / name, name, keys) for name in own.captures], own)


def empty(folder: Path) -> Audit:
    """A capture of nothing, without an experiment."""
    path = write_har(folder / "page.har", [])
    return pipeline.analyze([pipeline.Capture(path, path.name)], Experiment())
