"""leakbench's command line. From the root of the repository:

    python -m tests.benchmarks.leakbench [--quick] [--json FILE] [--seed N] [--only PART]...

Parts: recall, hashes, innocent, speed, worst, growth (all, if none is named). `--quick` takes a small
part of the cases and a tenth of the sizes: good for a look, not for figures to be published. The peer
runs beside recall, hashes and speed. The report goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

from audit.records import Canary
from tests.benchmarks.leakbench import benign, cases, peer, recall, report, speed, values
from tests.benchmarks.leakbench.codings import MISSING

PARTS = ("recall", "hashes", "innocent", "speed", "worst", "growth")


def main() -> None:
    """Runs the parts asked for and prints what they measured."""
    parser = argparse.ArgumentParser(prog="leakbench")
    parser.add_argument("--quick", action="store_true", help="fewer cases, smaller bodies")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and all missed cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    asked = parser.parse_args()
    parts = asked.only or list(PARTS)
    setting = {
        "seed": asked.seed,
        "quick": asked.quick,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    figures = report.Figures(setting)
    for missing in MISSING:
        _say(f"coding left out: {missing}")
    other = _peer(figures, asked.no_peer)
    canaries = values.planted(asked.seed)
    if "recall" in parts:
        _recall(figures, canaries, asked.seed, asked.quick, other)
    if "hashes" in parts:
        _hashes(figures, canaries, asked.seed, asked.quick, other)
    if "innocent" in parts:
        _say("innocent traffic")
        traffic = benign.benign(canaries, asked.seed, 3_000 if asked.quick else 25_000)
        figures.innocent = recall.innocence(traffic, recall.searcher(canaries), _decoys(canaries))
    if "speed" in parts:
        _speed(figures, asked.seed, asked.quick, other)
    if "worst" in parts:
        for case in speed.worst(asked.seed, asked.quick):
            _say(f"worst: {case.name} {case.seconds:.2f} s")
            figures.worst.append(case)
    if "growth" in parts:
        _say("growth")
        figures.growth = list(speed.growth(asked.seed, asked.quick))
    print(report.as_text(figures))
    if asked.json:
        asked.json.write_text(json.dumps(report.as_json(figures), indent=1))


def _recall(
    figures: report.Figures, canaries: list[Canary], seed: int, quick: bool, other: peer.Peer | None
) -> None:
    made = list(cases.plain_cases(canaries, seed, 2 if quick else 16))
    _say(f"recall: {len(made)} cases of plain values")
    figures.plain = recall.recall(made, recall.searcher(canaries), _decoys(canaries))
    if other:
        figures.peer_plain = report.peer_shares(made, _ask(other, made, canaries))


def _hashes(
    figures: report.Figures, canaries: list[Canary], seed: int, quick: bool, other: peer.Peer | None
) -> None:
    made = list(cases.hash_cases(canaries, seed, 1 if quick else 12))
    _say(f"hashes: {len(made)} cases of hashed values")
    figures.hashed = recall.recall(made, recall.searcher(canaries), _decoys(canaries))
    if other:
        figures.peer_hashed = report.peer_shares(made, _ask(other, made, canaries))


def _ask(other: peer.Peer, made: list[cases.Case], canaries: list[Canary]) -> peer.Answer:
    _say("the peer on the same bodies")
    return other.run((case.record for case in made), peer.values_and_hosts(canaries))


def _speed(figures: report.Figures, seed: int, quick: bool, other: peer.Peer | None) -> None:
    for load in speed.loads(seed, quick):
        _say(f"speed: {load.name}")
        figures.rates.append(speed.rate(load, quick))
        if other:
            answer = other.run(load.requests, peer.values_only(load.canaries))
            figures.peer_rates[load.name] = (
                len(load.requests) / answer.seconds,
                load.size / answer.seconds / 1e6,
            )


def _peer(figures: report.Figures, left_out: bool) -> peer.Peer | None:
    if left_out:
        figures.no_peer = "--no-peer"
        return None
    try:
        return peer.Peer()
    except peer.UnavailableError as reason:
        figures.no_peer = str(reason)
        return None


def _decoys(canaries: list[Canary]) -> set[str]:
    return {canary.id for canary in canaries if canary.decoy}


def _say(what: str) -> None:
    print(f"[{time.process_time():7.1f} s] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
