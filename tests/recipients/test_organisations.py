"""The tables of organisations: the vendored ones are sound, broken ones are refused."""

import io
import json
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pytest

from audit.recipients import organisations
from audit.recipients.build_organisations import OUTPUT, SOURCES, build, render
from audit.recipients.organisations import (
    OrganisationTableError,
    of_name,
    read_generated,
    read_hand,
)

HAND = Path(organisations.__file__).parent / "data" / "organisations.toml"


@pytest.mark.parametrize(
    ("host", "organisation", "category"),
    [
        ("sa.api.intl.miui.com", "Xiaomi", "analytics"),
        ("tracking.intl.miui.com", "Xiaomi", "analytics"),
        ("data.mistat.xiaomi.com", "Xiaomi", "analytics"),
        ("app-measurement.com", "Google", "analytics"),
        ("graph.facebook.com", "Meta", "analytics"),
        ("t.appsflyer.com", "AppsFlyer", "analytics"),
        ("app.adjust.com", "Adjust (AppLovin)", "analytics"),
        ("hm.baidu.com", "Baidu", "analytics"),
        ("ulogs.umeng.com", "Umeng (Alibaba)", "analytics"),
        ("mc.yandex.ru", "Yandex", "analytics"),
        ("log.byteoversea.com", "ByteDance", "analytics"),
        ("pangolin-sdk-toutiao.com", "ByteDance", "advertising"),
        ("vortex.data.microsoft.com", "Microsoft", "analytics"),
        ("sensorsdata.cn", "Sensors Data", "analytics"),
        ("accounts.google.com", "Google", "browser_vendor"),
        ("update.googleapis.com", "Google", "browser_vendor"),
        ("optimizationguide-pa.googleapis.com", "Google", "browser_vendor"),
        ("clients2.google.com", "Google", "browser_vendor"),
        ("redirector.gvt1.com", "Google", "browser_vendor"),
        ("safebrowsing.googleapis.com", "Google", "security"),
        ("duckduckgo.com", "DuckDuckGo", "search"),
        ("fastlane.rubiconproject.com", "Magnite, Inc. (formerly The Rubicon Project)", "advertising"),
    ],
)
def test_hosts_of_known_organisations(host, organisation, category):
    found = of_name(host, organisations.load().names)
    assert found is not None
    assert (found.name, found.category) == (organisation, category)


@pytest.mark.parametrize(
    "host", ["n7-lantern.example", "notmiui.com", "miui.com.evil.test", "localhost", "com"]
)
def test_an_unknown_host_is_of_no_organisation(host):
    assert of_name(host, organisations.load().names) is None


def test_the_hand_written_row_wins_and_the_longer_suffix_wins():
    _, hand = read_hand(HAND.read_bytes(), HAND.name)
    names = organisations.load().names
    assert {suffix: names[suffix] for suffix in hand} == hand
    assert of_name("x.browser.miui.com", names).product == "Mi Browser backend"
    assert of_name("x.miui.com", names).product == "MIUI services"


def test_the_self_test_is_named_as_this_tools_own_and_nothing_else_is():
    from audit.recording.onboarding import HOST

    names = organisations.load().names
    assert "recording itself" in of_name(HOST, names).name
    assert of_name(f"{HOST}.evil.example", names) is None
    assert of_name("test", names) is None


def test_the_generated_table_is_as_the_build_script_writes_it():
    content = OUTPUT.read_bytes()
    table, rows = read_generated(content, OUTPUT.name)
    assert render(table) == content
    assert table.sources == SOURCES
    assert len(rows) > 3000


HEAD = '[sources]\ns = "a source"\n[[organisation]]\nname = "N"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + 'rows = [["a.com", "spying", "", "s"]]', "Invalid enum value 'spying'"),
        (HEAD + 'rows = [["a.com", "other", "", "t"]]', "a.com: no source is named 't'"),
        (HEAD + 'rows = [["a.com", "other", ""]]', "length"),
        (HEAD + 'rows = [["A.com", "other", "", "s"]]', "'A.com' is no host name"),
        (HEAD + 'rows = [["*.a.com", "other", "", "s"]]', "no host name"),
        (HEAD + 'rows = [["a.com", "other", "", "s"], ["a.com", "cdn", "", "s"]]', "a.com has two rows"),
        (HEAD + 'country = "China"\nrows = [["a.com", "other", "", "s"]]', "'China' is no country code"),
        (HEAD + 'colour = "red"\nrows = []', "unknown field"),
        ("[sources", "table.toml"),
        ("\0", "table.toml"),
    ],
)
def test_a_broken_table_is_refused_with_the_reason(content, message):
    with pytest.raises(OrganisationTableError, match=r"^table\.toml: ") as error:
        read_hand(content.encode(), "table.toml")
    assert message in str(error.value)


def test_a_broken_generated_table_is_refused():
    for rows in ([["a.com", "N", "other", None, None, 0]], [["a.com"]], "x"):
        with pytest.raises(OrganisationTableError, match=r"^t\.json: "):
            read_generated(json.dumps({"sources": [], "rows": rows}).encode(), "t.json")


def tar(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_the_three_lists_become_one_table():
    adapters = r"""
const $a$var$tracker = {
    slug: "adjust",
    // a comment
    name: "Adjust GmbH",
};
const $a$export$1 = [
    {
        slug: "x",
        name: "Adjust (one)",
        tracker: $a$var$tracker,
        endpointUrls: [
            "https://a.tracker.test/x",
            /^https:\/\/.+\.pattern\.test\/w$/,
            /^https:\/\/www\.google\..+\/ads$/,
            "https://www.google.com/ccm/collect"
        ],
"""
    entities = [
        {
            "name": "Product",
            "company": "Firm",
            "category": "ad",
            "domains": ["*.firm.test", "a.tracker.test"],
        },
        {"name": "Maps", "company": "Other", "category": "utility", "domains": ["maps.vendor.test"]},
        {"name": "Tenant", "category": "content", "domains": ["tenant.cloud.test", "co.uk"]},
        {"name": "Facebook", "category": "social", "domains": ["face.test"]},
    ]
    database = sqlite3.connect(":memory:")
    database.executescript(
        "CREATE TABLE categories(id, name); CREATE TABLE companies(id, name);"
        "CREATE TABLE trackers(id, name, category_id, company_id); CREATE TABLE tracker_domains(tracker, domain);"
        "INSERT INTO categories VALUES(1, 'site_analytics'); INSERT INTO companies VALUES('c', 'Company ');"
        "INSERT INTO trackers VALUES('t', 'Tracker', 1, 'c'), ('u', 'Lone', NULL, NULL);"
        "INSERT INTO tracker_domains VALUES('t', 'old.test'), ('u', 'lone.test'), ('t', 'firm.test');"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("whotracksme/data/assets/trackerdb.sql", "\n".join(database.iterdump()))
    hand = (
        '[sources]\ns = "a source"\n'
        '[[organisation]]\nname = "Meta"\ncountry = "US"\naliases = ["Facebook"]\nrows = []\n'
        '[[organisation]]\nname = "Vendor"\ncountry = "CN"\nrows = [["vendor.test", "other", "", "s"]]\n'
        '[[organisation]]\nname = "Cloud"\nrows = [["cloud.test", "cloud", "", "s"]]\n'
    )
    packages = [
        tar("package/dist/index.js", adapters.encode()),
        tar("package/dist/entities-nostats.json", json.dumps(entities).encode()),
        buffer.getvalue(),
    ]
    # fmt: off
    assert build(packages, hand.encode()).rows == (
        ("a.tracker.test", "Adjust GmbH", "analytics", "Adjust", None, 0),
        ("face.test", "Meta", "social", None, "US", 1),
        ("firm.test", "Firm", "advertising", "Product", None, 1),
        ("lone.test", "Lone", "other", None, None, 2),
        ("maps.vendor.test", "Vendor", "other", "Maps", "CN", 1),
        ("old.test", "Company", "analytics", "Tracker", None, 2),
        ("pattern.test", "Adjust GmbH", "analytics", "Adjust", None, 0),
        ("tenant.cloud.test", "Tenant", "content", None, None, 1),
    )
    # fmt: on
