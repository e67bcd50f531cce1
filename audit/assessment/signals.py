"""Findings that no looked-for value carries: usage telemetry (U1), clicks (I1), dwell times (I2), a flag
that tells private mode (P1), and the hash prefixes of safe browsing (H1).

They come from fields whose role an adapter knows. What a page reports of itself to its own analytics is
no statement about the device or browser and is left out.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from audit.adapters import load
from audit.assessment.clock import rfc3339
from audit.assessment.identity import Persistent
from audit.assessment.leak_types import severity
from audit.assessment.phases import Placing, place, place_at
from audit.assessment.statement import finding_id
from audit.detection.addresses import parse_address
from audit.detection.identifiers import Key
from audit.detection.roles import Told
from audit.detection.scan import Scan, Signal, recipient_key
from audit.recipients import identify
from audit.records import Canary, Experiment, Finding, LimitHit, Mode, Occurrence, Origin

_CODES = {"usage": "U1", "click": "I1", "dwell": "I2"}
_MAX_PER_RECIPIENT = 50
_PREFIX = 4
_INDEX = re.compile(r"\[\d+\]")


def signals(
    scans: Iterable[Scan],
    experiment: Experiment,
    canaries: Iterable[Canary],
    persistent: Persistent,
    *,
    inferred: bool,
) -> tuple[list[Finding], list[LimitHit]]:
    """These findings, by id, and the bounds hit: of one type at most 50 values per recipient, mode and setting
    are told. `inferred`: the canaries were inferred and not planted."""
    scans = list(scans)
    told = [signal for scan in scans for signal in scan.signals if signal.sent.sender.origin != "page"]
    hits = {(hit.sent.capture, hit.sent.id) for scan in scans for hit in scan.hits}
    maker = _Maker(experiment, persistent, hits)
    looked_for = {
        (hit.sent.capture, hit.sent.id, hit.sighting.channel, hit.sighting.path)
        for scan in scans
        for hit in scan.hits
    }
    used, limits = _usage([signal for signal in told if _place(signal) not in looked_for], maker)
    found = [*used, *_flags(told, maker), *_prefixes(told, maker, canaries, inferred=inferred)]
    return sorted(found, key=lambda finding: finding.id), limits


def _usage(told: list[Signal], maker: _Maker) -> tuple[list[Finding], list[LimitHit]]:
    groups: dict[tuple[str, Key, Placing, str], list[Signal]] = defaultdict(list)
    for signal in told:
        code = _CODES.get(signal.told.role)
        value = _text(signal.told)
        if code and value:
            groups[code, _recipient(signal), maker.placed(signal), value].append(signal)
    kept: dict[tuple[str, Key, Placing], int] = defaultdict(int)
    found = []
    for (code, recipient, placing, value), same in sorted(groups.items(), key=lambda item: str(item[0])):
        kept[code, recipient, placing] += 1
        if kept[code, recipient, placing] <= _MAX_PER_RECIPIENT:
            found.append(maker.finding(code, same, placing, value))
    limits = [
        LimitHit(
            bound="matches",
            detail=f"{code} in {placing.mode} mode: {count - _MAX_PER_RECIPIENT} more values to "
            f"{recipient[0] or recipient[1]} are not listed",
        )
        for (code, recipient, placing), count in kept.items()
        if count > _MAX_PER_RECIPIENT
    ]
    return found, limits


def _flags(told: list[Signal], maker: _Maker) -> list[Finding]:
    """A field that is always the same in private mode, and always something else outside it."""
    places: dict[tuple[Key, str, str], dict[Mode, dict[str, list[Signal]]]] = defaultdict(dict)
    for signal in told:
        if signal.told.role == "private_flag":
            where = (_recipient(signal), signal.told.channel, _INDEX.sub("[*]", signal.told.path))
            here = places[where].setdefault(maker.placed(signal).mode, {})
            here.setdefault(_text(signal.told), []).append(signal)
    found = []
    for (_, _, path), modes in places.items():
        private, normal = modes.get("private", {}), modes.get("normal", {})
        if len(private) == 1 and len(normal) == 1 and private.keys() != normal.keys():
            ((value, all_private),) = private.items()
            settings: dict[Placing, list[Signal]] = defaultdict(list)
            for signal in all_private:
                settings[maker.placed(signal)].append(signal)
            found += [
                maker.finding("P1", same, placing, f"{path} = {value}") for placing, same in settings.items()
            ]
    return found


def _prefixes(
    told: list[Signal], maker: _Maker, canaries: Iterable[Canary], *, inferred: bool
) -> list[Finding]:
    known = {
        hashlib.sha256(text).digest()[:_PREFIX]: canary
        for canary in canaries
        if canary.kind == "url"
        for text in _expressions(canary.value)
    }
    groups: dict[tuple[Key, Placing, str], list[Signal]] = defaultdict(list)
    by_id: dict[str, Canary] = {}
    for signal in told:
        canary = known.get(_four_bytes(signal.told.value)) if signal.told.role == "hash_prefix" else None
        if canary:
            by_id[canary.id] = canary
            groups[_recipient(signal), maker.placed(signal, canary), canary.id].append(signal)
    return [
        maker.finding(
            "H1",
            same,
            placing,
            by_id[canary].value,
            canary=by_id[canary],
            planted=None if inferred else canary,
        )
        for (_, placing, canary), same in groups.items()
    ]


def _four_bytes(value: bytes) -> bytes:
    """A hash prefix as it is, or as the base64 that an address carries it in."""
    if len(value) in (6, 8):
        try:
            return b64decode(value.rstrip(b"=") + b"==", altchars=b"-_", validate=True)
        except Base64Error:
            return value
    return value


def _expressions(value: str) -> list[bytes]:
    """The host and path combinations that safe browsing hashes (Safe Browsing v4, URLs and Hashing), as
    far as they name this very page or its host."""
    address = parse_address(value)
    if not address:
        return []
    path = address.path or "/"
    rows = [f"{address.host}{path}", f"{address.host}/"]
    return [
        text.encode() for text in ([f"{address.host}{path}?{address.query}"] if address.query else []) + rows
    ]


def _place(signal: Signal) -> tuple[str, str, str, str]:
    return signal.sent.capture, signal.sent.id, signal.told.channel, signal.told.path


def _recipient(signal: Signal) -> Key:
    return recipient_key(signal.sent.host, signal.sent.ip)


def _text(field: Told) -> str:
    return field.value.decode("utf-8", "backslashreplace").strip()


@dataclass(frozen=True)
class _Maker:
    """Makes findings of signals. `hits` are the transmissions that also hold a value that was looked for."""

    experiment: Experiment
    persistent: Persistent
    hits: set[tuple[str, str]]

    def placed(self, signal: Signal, canary: Canary | None = None) -> Placing:
        return self._place(signal, canary)._replace(phase=None, by="unknown")

    def _place(self, signal: Signal, canary: Canary | None) -> Placing:
        if canary:
            return place(self.experiment, canary, signal.sent.time, signal.event_time)
        return place_at(self.experiment, signal.sent.time, signal.event_time)

    def finding(
        self,
        code: str,
        same: list[Signal],
        placing: Placing,
        value: str,
        *,
        canary: Canary | None = None,
        planted: str | None = None,
    ) -> Finding:
        sent, told, _ = same[0]
        adapter = load()[told.adapter]
        harmless = code == "H1"
        transmissions = sorted({(signal.sent.capture, signal.sent.id) for signal in same})
        identifiers = () if harmless else self.persistent.beside(_recipient(same[0]), transmissions)
        # a flag that tells private mode weighs more beside what was done in it
        beside = code == "P1" and not self.hits.isdisjoint(transmissions)
        return Finding(
            id=finding_id(
                code, sent.host or sent.ip, placing, f"canary {planted}" if planted else f"value {value}"
            ),
            leak_type=code,
            severity=severity(
                code,
                placing.mode,
                placing.setting,
                expected=harmless,
                feature=bool(adapter.feature),
                identified=bool(identifiers) or beside,
            ),
            mode=placing.mode,
            setting=placing.setting,
            expected="visited_site" if harmless else None,
            origin=_origin(same),
            recipient=identify(sent.host, sent.ip),
            canary=planted,
            inferred=None if planted else value,
            granularity="term",
            identifiers=identifiers,
            explanation=adapter.feature or None,
            occurrences=tuple(self._occurrence(signal, canary) for signal in same),
        )

    def _occurrence(self, signal: Signal, canary: Canary | None) -> Occurrence:
        sent, told, _ = signal
        return Occurrence(
            time=rfc3339(sent.time),
            mode_by=self._place(signal, canary).by,
            capture=sent.capture,
            transmission=sent.id,
            channel=told.channel,
            path=told.path,
            layers=told.layers,
            offset=0,
            form="plain",
            excerpt=_text(told),
            granularity="term",
            request=sent.request,
            origin=sent.sender.origin,
            origin_evidence=f"{sent.sender.evidence}; field known from: {told.reasoning}",
        )


def _origin(same: list[Signal]) -> Origin:
    origins = {signal.sent.sender.origin for signal in same}
    return origins.pop() if len(origins) == 1 else "unknown"
