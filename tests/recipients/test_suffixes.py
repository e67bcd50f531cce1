"""Names and registrable domains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.recipients.suffixes import normalise, registrable_domain


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Example.COM.", "example.com"),
        ("bücher.de", "xn--bcher-kva.de"),
        ("XN--BCHER-KVA.de", "xn--bcher-kva.de"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("_dns.resolver.arpa", "_dns.resolver.arpa"),
        ("localhost", "localhost"),
        ("1.2.3.4", None),
        ("1.2.3.999", None),
        ("::1", None),
        ("[::1]", None),
        ("", None),
        (".", None),
        ("a..b", None),
        (".com", None),
        ("-a.com", None),
        ("a b.com", None),
        ("<script>.com", None),
        ("host:443", None),
        ("a.com\n", None),
        ("a" * 64 + ".com", None),
        (".".join(["a" * 60] * 5), None),
        ("\ud800.com", None),
    ],
)
def test_normal_form(host, name):
    assert normalise(host) == name


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("www.bbc.co.uk", "bbc.co.uk"),
        ("sa.api.intl.miui.com", "miui.com"),
        ("x.s3.amazonaws.com", "amazonaws.com"),
        ("foo.github.io", "github.io"),
        ("duckduckgo.com", "duckduckgo.com"),
        ("a.n7-lantern.example", "n7-lantern.example"),
        ("a.b.c.test", "c.test"),
        ("printer.local", "printer.local"),
        ("co.uk", None),
        ("com", None),
        ("example", None),
        ("localhost", None),
    ],
)
def test_registrable_domain(name, domain):
    assert registrable_domain(name) == domain


@given(st.text(max_size=300))
def test_any_text_is_a_name_in_a_form_that_stays_or_no_name(text):
    name = normalise(text)
    if name is not None:
        assert normalise(name) == name
        domain = registrable_domain(name)
        assert domain is None or name == domain or name.endswith("." + domain)
