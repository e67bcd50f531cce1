"""The public answers of the room, and what is said about the data behind them."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.recipients import data_sources, identify
from audit.records import Recipient


def test_a_recipient_with_name_and_address():
    assert identify("SA.api.intl.miui.com.", "47.74.128.10") == Recipient(
        host="sa.api.intl.miui.com",
        registrable_domain="miui.com",
        organisation="Xiaomi",
        category="analytics",
        ip="47.74.128.10",
        asn=45102,
        as_name="Alibaba (US) Technology Co., Ltd.",
        country_located="SG",
        country_registered="US",
        product="Sensors Analytics collector of the Mi and Mint browsers",
        evidence="sa.api.intl.miui.com: W. Palant, May 2020: analysis of Mint Browser",
    )


def test_an_address_of_a_test_range_has_no_country_and_says_why():
    found = identify("update.googleapis.com", "198.18.179.125")
    assert found.organisation == "Google"
    assert (found.asn, found.as_name, found.country_located, found.country_registered) == (None,) * 4
    assert "198.18.179.125: benchmarking and tests (RFC 2544)" in found.evidence


def test_an_unknown_name_keeps_its_domain_alone():
    assert identify("a.n7-lantern.example", None) == Recipient(
        host="a.n7-lantern.example", registrable_domain="n7-lantern.example"
    )


def test_nothing_is_known_of_nothing():
    assert identify(None, None) == Recipient()
    assert identify("", "") == Recipient()


def test_a_host_that_is_an_address_counts_as_one():
    assert identify("8.8.8.8", None) == identify(None, "8.8.8.8") == identify("8.8.8.8", "8.8.8.8")
    assert identify(None, "8.8.8.8").product == "Google Public DNS"
    assert identify("[2001:4860:4860::8888]", None).ip == "2001:4860:4860::8888"
    other = identify("1.2.3.4", "8.8.8.8")
    assert (other.host, other.ip) == ("1.2.3.4", "8.8.8.8")


def test_an_address_alone_does_not_name_an_organisation():
    found = identify(None, "47.74.128.10")
    assert found.organisation is None
    assert found.asn == 45102


@settings(max_examples=200, deadline=None)
@given(st.none() | st.text(), st.none() | st.text() | st.ip_addresses().map(str))
def test_anything_from_the_wire_is_answered(host, ip):
    found = identify(host, ip)
    assert found.registrable_domain is None or found.host.endswith(found.registrable_domain)
    if found.ip is None:
        assert found.asn is None
        assert found.country_located is None


def test_every_source_has_licence_date_and_link_and_is_in_notice():
    sources = data_sources()
    notice = (Path(__file__).parents[2] / "NOTICE").read_text(encoding="utf-8")
    assert len(sources) == 6
    for source in sources:
        assert source.date[:2] == "20"
        assert source.url.startswith("https://")
        for part in (source.name, source.licence, source.date, source.url, source.attribution):
            assert part in notice, part
    assert ("IP Geolocation by DB-IP", "https://db-ip.com") in {(s.attribution, s.url) for s in sources}
