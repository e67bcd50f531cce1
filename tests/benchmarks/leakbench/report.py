"""The benchmark's figures as text for people and as one JSON document."""

from __future__ import annotations

from dataclasses import dataclass, field

from audit.records import Http, WebSocketMessage
from tests.benchmarks.leakbench.cases import Case
from tests.benchmarks.leakbench.peer import Answer, site
from tests.benchmarks.leakbench.recall import Innocence, Recall, Share
from tests.benchmarks.leakbench.speed import Growth, Rate, Worst

_GROUPS = ("depth", "channel", "granularity", "coding", "coding and depth", "hash", "digest")


@dataclass
class Figures:
    """All that one run measured. `peer` is None with the reason in `no_peer`."""

    setting: dict[str, object]
    plain: Recall | None = None
    hashed: Recall | None = None
    innocent: Innocence | None = None
    rates: list[Rate] = field(default_factory=list)
    worst: list[Worst] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    peer_plain: dict[str, Share] | None = None
    peer_hashed: dict[str, Share] | None = None
    peer_rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    no_peer: str = ""


def peer_shares(cases: list[Case], answer: Answer) -> dict[str, Share]:
    """The peer's recall over the cases it can be given, in all and by depth."""
    shares: dict[str, Share] = {}
    for case in cases:
        if not isinstance(case.record, Http | WebSocketMessage):
            continue
        hit = (site(case.record), case.canary) in answer.found
        for key in ("all", f"depth {case.depth}"):
            share = shares.setdefault(key, Share())
            share.of += 1
            share.hit += hit
    return shares


def as_text(figures: Figures) -> str:
    """The report for people."""
    lines = [f"leakbench  {' '.join(f'{k}={v}' for k, v in figures.setting.items())}", ""]
    for title, result, shares in (
        ("plain values", figures.plain, figures.peer_plain),
        ("hashed values", figures.hashed, figures.peer_hashed),
    ):
        if result:
            lines += _recall(title, result, shares)
    if figures.innocent:
        lines += _innocent(figures.innocent)
    if figures.rates:
        lines += [
            "throughput, one core",
            f"  {'':52} {'per second':>10} {'MB/s':>8}  goal      peer/s  peer MB/s  ratio",
        ]
        for rate in figures.rates:
            lines.append(
                f"  {rate.name:52} {rate.per_second:10,.0f} {rate.megabytes:8.1f}  {rate.goal:8}"
                + _beside(rate, figures)
            )
        lines.append("")
    if figures.worst:
        lines += ["worst cases: seconds, and the bounds that were hit"]
        lines += [
            f"  {w.name:40} {w.size / 1e6:6.2f} MB {w.seconds:8.2f} s  {', '.join(w.bounds) or '-'}"
            for w in figures.worst
        ]
        lines.append("")
    if figures.growth:
        lines += ["time against size (1 : 2 : 4 : 8), slope 1 is linear"]
        lines += [
            f"  {g.name:40} {' '.join(f'{s:8.3f}' for s in g.seconds)} s  slope {g.exponent:.2f}  {', '.join(g.bounds)}"
            for g in figures.growth
        ]
        lines.append("")
    if figures.no_peer:
        lines.append(f"peer left out: {figures.no_peer}")
    return "\n".join(lines)


def _beside(rate: Rate, figures: Figures) -> str:
    if rate.name not in figures.peer_rates:
        return ""
    per_second, megabytes = figures.peer_rates[rate.name]
    return f"  {per_second:6,.0f} {megabytes:10.2f} {rate.per_second / per_second:6.1f}"


def _recall(title: str, result: Recall, peer: dict[str, Share] | None) -> list[str]:
    lines = [f"recall, {title}: {_share(result.total)}; found only in part: {result.partly.total()}"]
    if peer:
        lines.append(f"  peer, over the HTTP and WebSocket cases: {_share(peer['all'])}")
    for group in _GROUPS:
        if group == "coding and depth" or group not in result.by:
            continue
        lines.append(f"  by {group}")
        for key, share in sorted(result.by[group].items()):
            beside = (
                f"   peer {_share(peer[f'depth {key}'])}"
                if peer and group == "depth" and f"depth {key}" in peer
                else ""
            )
            depths = _depths(result, key) if group == "coding" else ""
            lines.append(f"    {key:40} {_share(share)}{depths}{beside}")
    lines.append(
        f"  wrong canary reported: {len(result.wrong)}; decoy hits: {result.decoys}; failures: {len(result.failures)}"
    )
    return [*lines, ""]


def _depths(result: Recall, coding: str) -> str:
    shares = result.by["coding and depth"]
    cells = [(shares[f"{coding} @{d}"].percent if f"{coding} @{d}" in shares else None) for d in range(1, 7)]
    return "   depth 1-6: " + " ".join("  -" if cell is None else f"{cell:3.0f}" for cell in cells)


def _innocent(result: Innocence) -> list[str]:
    rates = (
        f"{result.false} false positives ({result.per_thousand:.2f} per 1,000), {result.decoys} decoy hits"
    )
    troubles = f"{len(result.failures)} failures, {result.limits} with a bound hit"
    return [
        f"innocent traffic: {result.transmissions:,} transmissions, {rates}, {troubles}",
        *(f"    {sort:40} {count}" for sort, count in sorted(result.by_sort.items())),
        "",
    ]


def _share(share: Share) -> str:
    return f"{share.percent:6.2f} % ({share.hit} of {share.of})"


def as_json(figures: Figures) -> dict[str, object]:
    """The same figures as one document; missed cases by name, so that each can be made again."""
    return {
        "setting": figures.setting,
        "plain": _recall_json(figures.plain),
        "hashed": _recall_json(figures.hashed),
        "innocent": figures.innocent and {
            "transmissions": figures.innocent.transmissions, "false": figures.innocent.false,
            "per_thousand": figures.innocent.per_thousand, "decoys": figures.innocent.decoys,
            "by_sort": dict(figures.innocent.by_sort), "failures": figures.innocent.failures,
        },
        "rates": [
            {"name": r.name, "per_second": r.per_second, "mb_per_second": r.megabytes, "goal": r.goal,
             "peer": figures.peer_rates.get(r.name)}
            for r in figures.rates
        ],
        "worst": [{"name": w.name, "bytes": w.size, "seconds": w.seconds, "bounds": w.bounds} for w in figures.worst],
        "growth": [{"name": g.name, "seconds": g.seconds, "slope": g.exponent, "bounds": g.bounds} for g in figures.growth],
        "peer": {
            name: shares and {key: [s.hit, s.of] for key, s in shares.items()}
            for name, shares in (("plain", figures.peer_plain), ("hashed", figures.peer_hashed))
        },
        "no_peer": figures.no_peer,
    }  # fmt: skip


def _recall_json(result: Recall | None) -> dict[str, object] | None:
    if result is None:
        return None
    return {
        "by": {group: {key: [s.hit, s.of] for key, s in rows.items()} for group, rows in result.by.items()},
        "partly": [[sent, told, count] for (sent, told), count in result.partly.most_common()],
        "wrong": [(case.name, canary, form) for case, canary, form in result.wrong],
        "decoys": result.decoys,
        "failures": result.failures,
        "misses": [
            {"case": c.name, "chain": c.chain, "channel": c.channel, "granularity": c.granularity, "hash": c.hash,
             "digest": c.digest, "payload": c.payload[:200].decode("latin-1")}
            for c in result.misses
        ],
    }  # fmt: skip
