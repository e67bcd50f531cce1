"""A made-up audit with everything that the report has to show, hostile strings included.

All names are invented (RFC 2606 hosts, RFC 5737 addresses), apart from country codes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from datetime import UTC, datetime, timedelta

from audit.records import (
    Activity,
    Audit,
    Browser,
    Canary,
    CaptureSummary,
    Coverage,
    CoverageEntry,
    DataSource,
    Device,
    Exhibit,
    Expected,
    Experiment,
    Finding,
    GapSummary,
    Granularity,
    Identifier,
    Layer,
    LimitHit,
    Mode,
    Occurrence,
    Phase,
    PhaseTraffic,
    Recipient,
    RecipientSummary,
    Run,
    Severity,
    Step,
    Tool,
    Trials,
    Verdict,
)

START = datetime(2026, 11, 22, 13, 46, 32, 739000, tzinfo=UTC)
TERM, URL, TEXT = (
    "marble otter h4q2",
    "https://n7-lantern.example/reading/room7?note=violet-83",
    "unsent pebble 5kd",
)
P_TERM, P_URL = "copper finch w9z3", "https://p2-lantern.example/reading/room8?note=amber-41"
DEVICE_ID = "f3a9c1d27be84a55"
COOKIE = "anna.schmidt-session-77QxZ"
INFERRED = "divorce lawyer near me"
HOSTILE = "<img src=x onerror=alert(1)>\"'\u202egpj.\u200b\x00\x1b[31m</style><script>alert(2)</script>"

SUGGEST = Recipient(
    host="suggest.search.example",
    registrable_domain="search.example",
    organisation="Search Example",
    category="search engine",
    ip="198.51.100.7",
)
VENDOR = Recipient(
    host="sa.api.intl.telemetry-of-a-vendor-with-a-long-name.example",
    registrable_domain="telemetry-of-a-vendor-with-a-long-name.example",
    organisation="Vendor Example Ltd.",
    category="analytics",
    ip="203.0.113.20",
    asn=64496,
    as_name="EXAMPLE-CLOUD",
    country_located="SG",
    country_registered="US",
    product="Example Analytics SDK",
    evidence="request form and checksum",
)
SITE = Recipient(host="n7-lantern.example", registrable_domain="n7-lantern.example", ip="192.0.2.10")
PRIVATE_SITE = Recipient(host="p2-lantern.example", registrable_domain="p2-lantern.example", ip="192.0.2.11")
RESOLVER = Recipient(
    host=None, ip="192.0.2.53", organisation="Local resolver", category="dns", country_located="DE"
)
UPDATE = Recipient(
    host="update.browser.example", registrable_domain="browser.example", organisation="Browser Example"
)
EVIL = Recipient(host='"><script>alert(3)</script>.example', organisation=HOSTILE, category=HOSTILE)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def occurrence(
    seconds: float,
    excerpt: str,
    *,
    granularity: Granularity = "full",
    transmission: str = "http-0001",
    channel: str = "url.query",
    path: str = "$.q",
    layers: tuple[str, ...] = (),
    form: str = "plain",
    request: str = "",
) -> Occurrence:
    return Occurrence(
        time=at(seconds),
        mode_by="canary",
        capture="flows.mitm",
        transmission=transmission,
        channel=channel,
        path=path,
        layers=layers,
        offset=0,
        form=form,
        excerpt=excerpt,
        granularity=granularity,
        request=request,
    )


def finding(
    leak_type: str,
    severity: Severity,
    recipient: Recipient,
    occurrences: tuple[Occurrence, ...],
    *,
    mode: Mode = "normal",
    canary: str | None = None,
    inferred: str | None = None,
    expected: Expected | None = None,
    granularity: Granularity = "full",
    identifiers: tuple[Identifier, ...] = (),
    explanation: str | None = None,
    exhibit: Exhibit | None = None,
) -> Finding:
    name = f"{leak_type}{recipient.host}{mode}{canary}{inferred}"
    return Finding(
        id="f-" + hashlib.sha256(name.encode()).hexdigest()[:12],
        leak_type=leak_type,
        severity=severity,
        mode=mode,
        setting="default",
        expected=expected,
        origin="browser",
        recipient=recipient,
        canary=canary,
        inferred=inferred,
        granularity=granularity,
        identifiers=identifiers,
        explanation=explanation,
        occurrences=occurrences,
        exhibit=exhibit,
    )


def exhibit(text: str, value: str, *, hostile: str = "") -> Exhibit:
    """A batch as the vendor's library sends it, with `value` in `text`."""
    packed = gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0)
    coded = base64.b64encode(packed).decode()
    before, _, after = text.partition(value)

    def layer(name: str, path: str, before: str, value: str, after: str) -> Layer:
        return Layer(layer=name, path=path, before=before, value=value, after=after, bytes=len(value))

    return Exhibit(
        capture="flows.mitm",
        transmission="http-900",
        channel=f"body{hostile}",
        request=f"POST https://{VENDOR.host}/sa?project=global_mini&uid={COOKIE}{hostile}",
        headers=(
            ("content-type", "application/x-www-form-urlencoded"),
            ("cookie", f"sid={COOKIE}; uid={DEVICE_ID}"),
            (f"x-{hostile}", hostile),
        ),
        body=f"crc=-5&gzip=1&data_list={coded}",
        body_bytes=len(coded),
        layers=(
            layer("", "", "crc=-5&gzip=1&data_list=", coded, ""),
            layer("base64", "data_list", "", packed.decode("utf-8", "backslashreplace"), ""),
            layer("gzip", "data_list", before, value, after + hostile),
            layer("json", "$[0].properties.url", "", value, ""),
        ),
    )


def typed(value: str, start: float, first: int = 0) -> tuple[Occurrence, ...]:
    quoted = value.replace(" ", "+")
    return tuple(
        occurrence(
            start + 0.12 * length,
            f"q={quoted[:length]}&kl=xx-xx&sid={COOKIE}",
            granularity="prefix" if length < len(value) else "term",
            transmission=f"http-{first + length:04d}",
            request=f"GET https://suggest.search.example/ac/?q={quoted[:length]}&kl=xx-xx",
            layers=("form", "percent"),
        )
        for length in range(1, len(value) + 1)
    )


def experiment() -> Experiment:
    def plant(key: str, kind: str, value: str, phase: str | None, *, decoy: bool = False) -> Canary:
        return Canary(id=key, kind=kind, value=value, phase=phase, decoy=decoy)  # type: ignore[arg-type]

    return Experiment(
        captures=("flows.mitm", "phone.pcapng"),
        keys=("keys.log",),
        device=Device(name="Example Phone 3", addresses=("10.0.0.1",)),
        browser=Browser(name="Example Browser", version="156.0.1"),
        phases=(
            Phase(id="normal-1", mode="normal", start=START, end=START + timedelta(seconds=33)),
            Phase(
                id="private-1",
                mode="private",
                start=START + timedelta(seconds=36),
                end=START + timedelta(seconds=68),
            ),
        ),
        canaries=(
            plant("n-term", "term", TERM, "normal-1"),
            plant("n-url", "url", URL, "normal-1"),
            plant("n-text", "text", TEXT, "normal-1"),
            plant("p-term", "term", P_TERM, "private-1"),
            plant("p-url", "url", P_URL, "private-1"),
            plant(
                "decoy-1", "url", "https://d5-lantern.example/reading/room0?note=never-52", None, decoy=True
            ),
        ),
        steps=(
            Step(at=START + timedelta(seconds=15), action="type_and_submit", canary="n-term"),
            Step(at=START + timedelta(seconds=21), action="type_and_submit", canary="n-url", note=HOSTILE),
            Step(at=START + timedelta(seconds=29), action="type_only", canary="n-text"),
        ),
    )


def findings() -> tuple[Finding, ...]:
    android = Identifier(name="$device_id", value=DEVICE_ID, kind="hardware")
    batch = ("form", "percent", "base64", "gzip", "json")
    event = f'{{"event":"page_load_event_start","distinct_id":"{DEVICE_ID}","properties":{{"url":"%s","incognito":true}}}}'
    return (
        finding("S2", "high", SUGGEST, typed(TERM, 15), canary="n-term", granularity="term"),
        finding("S2", "high", SUGGEST, typed(TEXT, 29, 100), canary="n-text", granularity="term"),
        finding(
            "S2",
            "medium",
            SUGGEST,
            typed("https://n7-lantern.example", 21, 200),
            canary="n-url",
            granularity="host",
        ),
        finding(
            "S1",
            "info",
            SUGGEST,
            (
                occurrence(
                    18,
                    f"q={TERM.replace(' ', '+')}&ia=web",
                    granularity="term",
                    path="$.q",
                    transmission="http-0040",
                ),
            ),
            canary="n-term",
            expected="chosen_engine",
            granularity="term",
        ),
        finding(
            "B1", "info", SITE, (occurrence(22, URL, channel="url"),), canary="n-url", expected="visited_site"
        ),
        finding(
            "B1",
            "info",
            PRIVATE_SITE,
            (occurrence(55, P_URL),),
            canary="p-url",
            expected="visited_site",
            mode="private",
        ),
        finding(
            "B1",
            "critical",
            VENDOR,
            tuple(
                occurrence(
                    50 + number,
                    event % P_URL,
                    channel="body",
                    path="$.data_list[0].properties.url",
                    layers=batch,
                    transmission=f"http-{900 + number}",
                    request="POST https://sa.api.intl.telemetry-of-a-vendor-with-a-long-name.example/sa?project=global_mini",
                )
                for number in range(12)
            ),
            canary="p-url",
            mode="private",
            identifiers=(android,),
            exhibit=exhibit(event % P_URL, P_URL),
        ),
        finding(
            "B6",
            "medium",
            VENDOR,
            (
                occurrence(
                    23,
                    f"Referer: https://n7-lantern.example/ uid={COOKIE}",
                    channel="header:referer",
                    granularity="host",
                ),
            ),
            canary="n-url",
            granularity="host",
            explanation="A check of the site against a list of dangerous sites would look alike.",
        ),
        finding(
            "S1",
            "high",
            EVIL,
            (occurrence(24, f"{HOSTILE}{TERM}{HOSTILE}", channel=f"header:{HOSTILE}"),),
            canary="n-term",
            exhibit=exhibit(f'{{"q":"{TERM}","id":"{DEVICE_ID}"}}', TERM, hostile=HOSTILE),
        ),
        finding(
            "S1",
            "high",
            VENDOR,
            (occurrence(25, f'{{"search_word":"{INFERRED}","uid":"{DEVICE_ID}"}}', path="$.search_word"),),
            inferred=INFERRED,
            identifiers=(android,),
            granularity="term",
        ),
        finding(
            "D1",
            "info",
            RESOLVER,
            (
                occurrence(
                    21.5,
                    "n7-lantern.example",
                    channel="dns",
                    path="",
                    granularity="host",
                    transmission="dns-3",
                ),
            ),
            canary="n-url",
            granularity="host",
        ),
    )


def recipients(made: tuple[Finding, ...]) -> tuple[RecipientSummary, ...]:
    rows = []
    for number, who in enumerate((SUGGEST, VENDOR, SITE, PRIVATE_SITE, RESOLVER, UPDATE, EVIL)):
        ids = tuple(each.id for each in made if each.recipient == who)
        rows.append(
            RecipientSummary(
                recipient=who,
                ips=(who.ip,) if who.ip else (),
                transmissions={"normal": 40 - 5 * number, "private": number},
                bytes_up={"normal": 9000 >> number, "private": 120 * number},
                phases=(
                    PhaseTraffic(
                        phase="normal-1",
                        mode="normal",
                        transmissions=40 - 5 * number,
                        bytes_up=9000 >> number,
                    ),
                    PhaseTraffic(
                        phase="private-1", mode="private", transmissions=number, bytes_up=120 * number
                    ),
                ),
                first=at(number),
                last=at(60 + number),
                findings=ids,
                apps=(f"app {HOSTILE}",) if who is EVIL else (),
                activity=Activity(
                    width=1,
                    counts=tuple((int(START.timestamp()) + 3 * at + number, at) for at in range(1, 20)),
                ),
            )
        )
    return tuple(rows)


def audit() -> Audit:
    made = findings()
    leaks = {
        mode: tuple(f.id for f in made if f.mode == mode and f.expected is None and f.leak_type != "D1")
        for mode in ("normal", "private")
    }
    return Audit(
        schema=1,
        tool=Tool(name="device-privacy-audit", version="0.1.0"),
        run=Run(started="2026-11-22T14:00:00.123456Z", seconds=1.234567, python="3.11.2", platform="Linux"),
        experiment=experiment(),
        captures=(
            CaptureSummary(
                name="flows.mitm",
                format="mitmproxy flows",
                sha256="ab" * 32,
                records={"http": 180, "websocket": 2},
            ),
            CaptureSummary(
                name="phone.pcapng",
                format="pcapng",
                sha256="cd" * 32,
                records={"flow": 60, "dns": 44, "gap": 3},
            ),
        ),
        recipients=recipients(made),
        findings=made,
        coverage=Coverage(
            flows=(
                CoverageEntry(
                    host="suggest.search.example",
                    ip="198.51.100.7",
                    mode="normal",
                    observability="observed",
                    reason=None,
                    flows=41,
                    bytes_up=52_000,
                    bytes_down=410_000,
                ),
                CoverageEntry(
                    host="update.browser.example",
                    ip=None,
                    mode="private",
                    observability="capture_failed",
                    reason="pinned",
                    flows=4,
                    bytes_up=5_200,
                    bytes_down=9_100,
                ),
                CoverageEntry(
                    host=None,
                    ip="203.0.113.99",
                    mode="private",
                    observability="metadata_only",
                    reason="quic",
                    flows=7,
                    bytes_up=None,
                    bytes_down=None,
                ),
                CoverageEntry(
                    host="sa.api.intl.telemetry-of-a-vendor-with-a-long-name.example",
                    ip="203.0.113.20",
                    mode="private",
                    observability="observed",
                    reason=None,
                    flows=12,
                    bytes_up=30_000,
                    bytes_down=2_000,
                ),
            ),
            gaps=(
                GapSummary(
                    capture="phone.pcapng",
                    reason="truncated",
                    detail=f"packet cut at 64 bytes {HOSTILE}",
                    count=3,
                    offset=1204,
                    bytes=880,
                ),
            ),
            statements=("QUIC to 1 address could not be opened: no keys.",),
        ),
        verdicts=(
            Verdict(
                mode="normal",
                setting="default",
                answer="leak",
                statement="Typed text and searches went to third parties.",
                findings=leaks["normal"],
                trials=Trials(n=1, of=1),
            ),
            Verdict(
                mode="private",
                setting="default",
                answer="leak",
                statement="A full address went to an analytics service, with a device identifier.",
                findings=leaks["private"],
                trials=Trials(n=1, of=1),
            ),
        ),
        limits=(LimitHit(bound="depth", detail="16 layers", capture="flows.mitm", transmission="http-0077"),),
        data_sources=(
            DataSource(
                name="DB-IP Country Lite",
                licence="CC BY 4.0",
                date="2026-09-01",
                attribution="IP Geolocation by DB-IP",
                url="https://db-ip.com",
            ),
            DataSource(
                name="Evil", licence="none", date="2026-01-01", attribution="x", url="javascript:alert(1)"
            ),
        ),
    )
