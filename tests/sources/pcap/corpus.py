"""The shared captures, what another analyser says of them, and what this one says: as multisets of rows.

Rows are `dns` (kind, query or response, name), `sni` (transport, name), `http` (method, host, target) and
`dest` (layer, protocol, address, port). Nothing of the captures is kept in the project; differences are named
by a digest of their row.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audit.records import AnyRecord, Dns, Http, Tls
from audit.sources.opening import opened
from audit.sources.pcap import addresses, reading
from audit.sources.pcap.batch import Batch
from audit.sources.pcap.fragments import Fragments
from audit.sources.pcap.packets import FIRST, WHOLE, Packets, walk

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus"
DIFFERENCES = Path(__file__).parent / "differences.tsv"
KINDS = ("dns", "sni", "http", "dest")
Rows = Counter[tuple[str, ...]]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated file with a header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def captures() -> list[str]:
    """All packet captures of the corpus, by path."""
    return [
        row["path"]
        for row in table(CORPUS / "inventory.tsv")
        if row["kind"] == "capture" and row["format"] in ("pcap", "pcapng", "snoop")
    ]


def truth(capture: str, kind: str) -> Rows:
    """What the other analyser says."""
    path = CORPUS / "truth" / f"{capture.replace('/', '__')}.{kind}.tsv"
    rows = table(path) if path.exists() else []
    if kind == "dns":  # names it prints as <...> are left out
        return Counter(
            (r["kind"], r["qr"], r["name"].lower()) for r in rows if r["name"][:1] not in ("", "<")
        )
    if kind == "sni":
        return Counter((r["transport"].replace("gquic", "quic"), r["sni"]) for r in rows if r["sni"])
    if kind == "http":  # SSDP is no HTTP; what was decrypted is not in clear
        return Counter(
            _request(r["method"], r["host"], r["uri"])
            for r in rows
            if not r["secured_by"] and not (r["uri"] == "*" and r["host"].endswith(":1900"))
        )
    # packets without an address have no destination
    return Counter(
        {(r["layer"], r["proto"], r["dst_ip"], r["dst_port"]): int(r["packets"]) for r in rows if r["dst_ip"]}
    )


def _request(method: str, host: str, target: str) -> tuple[str, ...]:
    """A request for comparison: targets in absolute form without their host, CONNECT by its target alone."""
    if method == "CONNECT":
        return method, "", target
    if target[:8].lower().startswith(("http://", "https://")):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    return method, host, target


def records(capture: str, chunk: int | None = None) -> list[AnyRecord]:
    """What this analyser says."""
    path = CORPUS / "captures" / capture
    with opened(path, capture) as source:
        if chunk is None:
            return list(reading.read(path, source, capture))
        return list(reading.read(path, source, capture, chunk=chunk))


def ours(found: list[AnyRecord]) -> dict[str, Rows]:
    """The same rows from our records."""
    dns: Rows = Counter()
    sni: Rows = Counter()
    http: Rows = Counter()
    for record in found:
        if isinstance(record, Dns) and record.carrier != "nbns" and record.name[:1] not in ("", "<"):
            carrier = record.carrier if record.carrier in ("mdns", "llmnr") else "dns"
            dns[carrier, "response" if record.response else "query", record.name.lower()] += 1
        elif isinstance(record, Tls) and record.sni:
            sni[record.transport, record.sni] += 1
        elif isinstance(record, Http):
            http[_request(record.method, record.authority, record.path)] += 1
    return {"dns": dns, "sni": sni, "http": http}


def destinations(capture: str) -> Rows:
    """Packets per destination. Of fragments only the one that completes a datagram has a port, as in truth;
    of nested tunnels the outermost and the innermost header count; an inner packet without ports has those of
    the UDP datagram around it, and what announces an inner packet that is cut counts as its outer one."""
    found: Rows = Counter()
    path = CORPUS / "captures" / capture
    fragments = Fragments()
    with opened(path, capture) as source:
        for item in reading.items(source, 32 << 20):
            if not isinstance(item, Batch):
                continue
            packets, outer, _ = walk(item)
            tunnelled: set[int] = set()
            around: dict[int, tuple[str, str]] = {}
            for headers in reversed(outer):
                fresh = [
                    row
                    for row, number in enumerate(headers.number.tolist())
                    if number not in tunnelled and headers.valid[row]
                ]
                tunnelled |= set(headers.number.tolist())
                for number, proto, address, port in _rows(headers.take(np.array(fresh, dtype=np.int64))):
                    found["outer", proto, address, port] += 1
                    around[number] = proto, port
            _, packets, counted = fragments.reassemble(item.data, packets)
            whole = set() if counted is None else set(packets.number[~counted].tolist())
            cut = (packets.part == FIRST) & (packets.carried < packets.sent)  # is read as if it were whole
            fragment = (packets.part != WHOLE) & ~cut & ~np.isin(packets.number, list(whole))
            kept = np.flatnonzero(~((packets.part != WHOLE) & np.isin(packets.number, list(whole))))
            plain = set(packets.number[fragment].tolist())
            hollow = set(packets.number[np.isin(packets.proto, (4, 41)) & (packets.carried > 0)].tolist())
            for number, proto, address, port in _rows(packets.take(kept)):
                layer = "inner" if number in tunnelled else "outer" if number in hollow else "single"
                if number in plain:
                    proto, port = "other", ""
                elif proto == "other" and around.get(number, ("", ""))[0] == "udp":
                    proto, port = around[number]
                found[layer, proto, address, port] += 1
    return found


def _rows(packets: Packets) -> Iterator[tuple[int, str, str, str]]:
    columns = (packets.number, packets.proto, packets.dst_hi, packets.dst_lo, packets.dport)
    for number, proto, high, low, port in zip(*(column.tolist() for column in columns), strict=True):
        name = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}.get(proto, "other")
        yield number, name, addresses.text(high, low), str(port) if name in ("tcp", "udp") else ""


def differences(capture: str, kind: str, mine: Rows) -> set[tuple[str, str, str]]:
    """(capture, kind, row): the sign and number of rows too many (+) or too few (-), and the row's digest."""
    theirs = truth(capture, kind)
    return {
        (capture, kind, f"{mine[row] - theirs[row]:+d} {digest(row)}")
        for row in mine.keys() | theirs.keys()
        if mine[row] != theirs[row]
    }


def digest(row: tuple[str, ...]) -> str:
    """A name for a row that does not tell what is in it."""
    return hashlib.sha256("\0".join(row).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def explained() -> dict[tuple[str, str, str], tuple[str, str]]:
    """The checked-in differences, with why they are and who is right."""
    return {(r["file"], r["kind"], r["row"]): (r["why"], r["right"]) for r in table(DIFFERENCES)}
