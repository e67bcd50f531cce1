"""Builds `data/organisations.json`, the generated one of the two tables that `organisations.py` reads.

    npm pack trackhar@1.0.0 third-party-web@0.30.0
    pip download --no-deps whotracksme==2018.5.17
    python -m audit.recipients.build_organisations trackhar-1.0.0.tgz third-party-web-0.30.0.tgz \\
        whotracksme-2018.5.17-py3-none-any.whl

Responsible for bringing three published lists whose licences allow it (CC0, MIT, CC BY 4.0) into one table:
one row per suffix, from the first list that knows it, in the order above. A name below a suffix of the
hand-written table belongs to that table's organisation, unless that one merely hosts (cloud, cdn). Must
never read inputs other than those pinned below, run anything from them, or write a row of a list that
forbids commercial use. Writes the same bytes every time.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from audit.recipients.organisations import Category, GeneratedTable, of_name, read_generated, read_hand
from audit.recipients.suffixes import normalise, registrable_domain
from audit.records import DataSource

DATA = Path(__file__).parent / "data"
OUTPUT = DATA / "organisations.json"
SOURCES = (
    DataSource(
        name="TrackHAR",
        licence="CC0 1.0",
        date="2024-11",
        attribution="TrackHAR by the tweasel project",
        url="https://github.com/tweaselORG/TrackHAR",
    ),
    DataSource(
        name="third-party-web",
        licence="MIT",
        date="2026-09-14",
        attribution="third-party-web, copyright (c) 2019 Patrick Hulce",
        url="https://github.com/patrickhulce/third-party-web",
    ),
    DataSource(
        name="WhoTracks.Me",
        licence="CC BY 4.0",
        date="2018-05-17",
        attribution="WhoTracks.Me data by Cliqz GmbH, adapted",
        url="https://whotracks.me",
    ),
)
SHA256 = (
    "d98b89d7e1b5c54edc1a81df12390421ebfd613d0ca98f9f94b801e315cc5d34",
    "1ad015c9187d88d6adfe0ab7d5b9febefa7a093b776bdf97d43ba138f4179041",
    "c3aa336c8d21c77253d462f06ff3cedb5cf56e7c2ac0fe5537dd72d0dc2e64d8",
)
# TrackHAR has no categories: all its endpoints get tracking data. These are its trackers whose business is
# not advertising.
TRACKHAR_ANALYTICS = frozenset(
    ("adjust", "branch-io", "infonline", "onesignal", "singular-net", "smartbear", "yandex")
)
# Endpoints of TrackHAR under names that serve much else besides.
TRACKHAR_SHARED = frozenset(("www.google.com", "www.googleapis.com", "www.facebook.com", "web.facebook.com"))
THIRD_PARTY_WEB: dict[str, Category] = {
    "ad": "advertising",
    "analytics": "analytics",
    "cdn": "cdn",
    "consent-provider": "consent",
    "content": "content",
    "customer-success": "support",
    "hosting": "cloud",
    "marketing": "advertising",
    "other": "other",
    "social": "social",
    "tag-manager": "analytics",
    "utility": "other",
    "video": "content",
}
WHOTRACKSME: dict[str, Category] = {
    "advertising": "advertising",
    "audio_video_player": "content",
    "cdn": "cdn",
    "comments": "social",
    "customer_interaction": "support",
    "essential": "other",
    "extensions": "other",
    "hosting": "cloud",
    "misc": "other",
    "pornvertising": "advertising",
    "site_analytics": "analytics",
    "social_media": "social",
    "unknown": "other",
}


class Row(NamedTuple):
    """What a list says of one suffix."""

    suffix: str
    organisation: str
    category: Category
    product: str | None


def trackhar(package: bytes) -> Iterator[Row]:
    """Rows of the TrackHAR package: hosts of its endpoints, written out or at the end of a pattern. The
    compiled adapters are object literals, read as text."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile("package/dist/index.js")
        text = member.read().decode() if member else ""
    trackers = {
        variable: (slug, name)
        for variable, slug, name in re.findall(
            r'(\$\S+) = \{\s*slug: "([^"]+)",\s*(?://.*\s*)?name: "([^"]+)"', text
        )
    }
    adapters = re.findall(
        r'name: "([^"]+)",\s*tracker: (\S+),\s*endpointUrls: \[(.*?)\n {8}\]', text, re.DOTALL
    )
    products: dict[tuple[str, str, str], set[str]] = {}
    for product, variable, endpoints in adapters:
        for line in endpoints.split("\n"):
            host = re.match(r'\s*(?:"https?://([^/"]+)|/\^?https:\\/\\/(.+?)\\/)', line)
            if host is None:
                continue
            # Of a pattern, the literal labels at its end: `.+\.openx\.net` tells `openx.net`.
            literal = host[1] or re.search(r"(?:^|\\\.)((?:[a-z0-9-]+\\\.)*[a-z0-9-]+)$", host[2])
            if isinstance(literal, re.Match):
                literal = literal[1].replace("\\.", ".")
            if literal and literal not in TRACKHAR_SHARED:
                products.setdefault((literal, *trackers[variable]), set()).add(product.partition(" (")[0])
    for (host_suffix, slug, organisation), names in sorted(products.items()):
        category: Category = "analytics" if slug in TRACKHAR_ANALYTICS else "advertising"
        yield Row(host_suffix, organisation, category, names.pop() if len(names) == 1 else None)


def third_party_web(package: bytes) -> Iterator[Row]:
    """Rows of the third-party-web package. Its entities are products; some name a company."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile("package/dist/entities-nostats.json")
        entities = json.load(member) if member else []
    for entity in entities:
        name = entity["name"]
        company = entity.get("company", name)
        for domain in entity["domains"]:
            product = name if name != company else None
            yield Row(domain.removeprefix("*."), company, THIRD_PARTY_WEB[entity["category"]], product)


def whotracksme(package: bytes) -> Iterator[Row]:
    """Rows of the tracker database in the whotracksme package."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        script = archive.read("whotracksme/data/assets/trackerdb.sql").decode()
    database = sqlite3.connect(":memory:")
    database.executescript(script)
    for domain, tracker, company, category in database.execute(
        "SELECT domain, trackers.name, companies.name, categories.name FROM tracker_domains"
        " JOIN trackers ON trackers.id = tracker LEFT JOIN companies ON companies.id = company_id"
        " LEFT JOIN categories ON categories.id = category_id ORDER BY domain"
    ):
        organisation = (company or tracker).strip()
        product = tracker.strip() if tracker.strip() != organisation else None
        yield Row(domain, organisation, WHOTRACKSME[category or "unknown"], product)


def build(packages: list[bytes], by_hand: bytes) -> GeneratedTable:
    """The generated table from the three packages and the hand-written table."""
    hand, known = read_hand(by_hand, "organisations.toml")
    aliases = {alias: entry for entry in hand.organisation for alias in (*entry.aliases, entry.name)}
    rows: dict[str, tuple[str, str, Category, str | None, str | None, int]] = {}
    for source, (read, package) in enumerate(
        zip((trackhar, third_party_web, whotracksme), packages, strict=True)
    ):
        for row in read(package):
            suffix = normalise(row.suffix)
            # Some lists name whole public suffixes of platforms (`co.uk`, `com`); those are nobody's.
            if suffix is None or suffix in known or suffix in rows or registrable_domain(suffix) is None:
                continue
            above = of_name(suffix, known)
            if above is not None and above.category not in ("cloud", "cdn"):
                name, country = above.name, above.country
            elif row.organisation in aliases:
                name, country = aliases[row.organisation].name, aliases[row.organisation].country
            else:
                name, country = row.organisation, None
            product = row.product if row.product != name else None
            rows[suffix] = (suffix, name, row.category, product, country, source)
    return GeneratedTable(SOURCES, tuple(rows[suffix] for suffix in sorted(rows)))


def render(table: GeneratedTable) -> bytes:
    """The table as JSON with one row per line, so that a change of a row is a change of a line."""
    sources = ",\n".join(msgspec.json.encode(source).decode() for source in table.sources)
    rows = ",\n".join(msgspec.json.encode(row).decode() for row in table.rows)
    return f'{{"sources":[\n{sources}\n],"rows":[\n{rows}\n]}}\n'.encode()


def main(arguments: list[str]) -> None:
    """Builds the table from the three packages named on the command line."""
    if len(arguments) != len(SHA256):
        raise SystemExit(f"usage: python -m audit.recipients.build_organisations PACKAGE...\n\n{__doc__}")
    packages = [Path(argument).read_bytes() for argument in arguments]
    for argument, package, pinned in zip(arguments, packages, SHA256, strict=True):
        if hashlib.sha256(package).hexdigest() != pinned:
            raise SystemExit(f"{argument}: this is not the pinned package (its sha256 differs)")
    content = render(build(packages, (DATA / "organisations.toml").read_bytes()))
    read_generated(content, str(OUTPUT))
    OUTPUT.write_bytes(content)
    print(f"{OUTPUT}: {len(content)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
