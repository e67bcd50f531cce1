"""Origin: what a request declares of its sender, and what its connection tells where it declares nothing."""

from __future__ import annotations

import pytest
from msgspec import structs

from audit.detection.origin import Connections, is_navigation, results_page, sender
from audit.records import Dns, Http, Tls


def request(flow: str = "c1", **headers: str) -> Http:
    return Http(
        capture="a", id="1", flow=flow, method="GET", scheme="https", authority="t.example", path="/", version="2",
        headers=tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
        response_headers=((b"content-type", b"text/html"),), status=200,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"sec_fetch_dest": "document", "sec_fetch_site": "none"}, "page"),
        ({"sec_fetch_dest": "empty", "sec_fetch_site": "none"}, "browser"),
        ({"sec_fetch_dest": "image", "sec_fetch_site": "cross-site"}, "page"),
        ({"Accept": "text/html,*/*"}, "page"),
        ({"Referer": "https://a.example/"}, "page"),
        ({"Origin": "https://a.example"}, "page"),
        ({"Origin": "null"}, "unknown"),
        ({"X_Requested_With": "com.mi.globalbrowser"}, "page"),
        ({"X_Requested_With": "XMLHttpRequest"}, "page"),
        ({"Origin": "chrome-extension://abcdefgh"}, "browser"),
        ({"Referer": "moz-extension://1f0c/options.html"}, "browser"),
        ({"Referer": "android-app://com.example.reader"}, "browser"),
        ({"sec_fetch_site": "none", "X_Requested_With": "com.mi.globalbrowser"}, "browser"),
        ({"sec_fetch_site": "cross-site", "User_Agent": "okhttp/3.12.1"}, "page"),
        ({"sec_fetch_site": "cross-site", "Origin": "chrome-extension://abcdefgh"}, "browser"),
        ({"Referer": "https://a.example/", "User_Agent": "okhttp/3.12.1"}, "browser"),
        ({"Origin": "https://a.example", "User_Agent": "AndroidDownloadManager/10"}, "system"),
        ({"User_Agent": "com.example.reader/12 (Linux; Android 10)"}, "browser"),
        ({"User_Agent": "Reader/12 okhttp/4.9"}, "browser"),
        ({"User_Agent": "com.google.android.gms/243"}, "system"),
        ({"User_Agent": "Reader/12 (Linux; Android 10)"}, "unknown"),
        ({"User_Agent": "Dalvik/2.1.0 (Linux; U; Android 10)"}, "unknown"),
        ({"User_Agent": "AndroidDownloadManager/10"}, "system"),
        ({"User_Agent": "com.apple.geod/1 CFNetwork/1490.0.4 Darwin/23.2.0"}, "system"),
        ({"User_Agent": "MobileSafari/8617 CFNetwork/1490.0.4 Darwin/23.2.0"}, "browser"),
        ({"User_Agent": "okhttp/3.12.1"}, "browser"),
        ({"User_Agent": "Mozilla/5.0"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_what_it_declares_tells_the_sender(headers: dict[str, str], origin: str) -> None:
    told = sender(request(**headers))
    assert told.origin == origin
    assert told.evidence


def test_a_frame_is_no_navigation() -> None:
    assert not is_navigation(request(sec_fetch_dest="iframe", Accept="text/html"))
    assert is_navigation(request(sec_fetch_dest="document"))


def test_the_connection_tells_where_the_request_does_not() -> None:
    seen = Connections()
    for record in (
        Tls(capture="a", id="t1", flow="c1", ja4="t13d1516h2_aaaaaaaaaaaa_bbbbbbbbbbbb"),
        Tls(capture="a", id="t2", flow="c2", ja4="t13d1516h2_aaaaaaaaaaaa_bbbbbbbbbbbb"),
        Tls(capture="a", id="t3", flow="c3", ja4="t12d0909h1_cccccccccccc_dddddddddddd"),
        request("c1", sec_fetch_dest="document"),
    ):
        seen.add(record)
    origins = {
        flow: told.origin if (told := seen.sender(flow)) else None for flow in ("c1", "c2", "c3", "c4")
    }
    assert origins == {"c1": "browser", "c2": "browser", "c3": "unknown", "c4": None}


@pytest.mark.parametrize(
    ("initiator", "origin"),
    [
        ("https://a.example/app.js", "page"),
        ("xhr", "page"),
        ("script", "page"),
        ("document", "page"),
        ("chrome-extension://abcdefgh/bg.js", "browser"),
        ("other", "unknown"),
        ("preflight", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_recording_may_name_what_started_it(initiator: str | None, origin: str) -> None:
    told = sender(structs.replace(request(), initiator=initiator))
    assert told.origin == origin
    assert told.evidence


def at(time: float, number: int, agent: str = "Mozilla/5.0 (X) Browser/1", **headers: str) -> Http:
    return structs.replace(request(f"f{number}", User_Agent=agent, **headers), time=time, id=str(number))


def test_its_time_may_tell_where_nothing_else_does() -> None:
    seen = Connections()
    for record in (at(10.0, 1), at(20.0, 2, sec_fetch_dest="document", sec_fetch_site="none"), at(22.0, 3)):
        seen.add(record)
    agent = b"Mozilla/5.0 (X) Browser/1"
    before, after = seen.sender("f1", 10.0, agent), seen.sender("f3", 22.0, agent)
    assert before is not None
    assert before.origin == "browser"
    assert "before any page was opened" in before.evidence
    assert after is not None
    assert after.origin == "unknown"
    assert "2.0 s after a page was opened" in after.evidence
    assert seen.sender("f1", 10.0, b"another/1") is None
    assert seen.sender("f4", 400.0, agent) is None
    assert Connections().sender("f1", 10.0, agent) is None


def test_a_search_is_read_from_an_address_and_from_a_form() -> None:
    asked = structs.replace(
        request(), host="duckduckgo.com", authority="duckduckgo.com", path="/?q=quiet+harbour"
    )
    posted = structs.replace(asked, method="POST", path="/", body=b"q=quiet+harbour&b=")
    other = structs.replace(asked, path="/about?q=quiet")
    assert [found.term if (found := results_page(r)) else None for r in (asked, posted, other)] == [
        "quiet harbour", "quiet harbour", None,
    ]  # fmt: skip


def test_name_look_ups_are_the_systems_unless_they_are_encrypted() -> None:
    def asked(carrier: str) -> str:
        return sender(
            Dns(capture="a", id="1", name="a.example", type="A", response=False, carrier=carrier)  # type: ignore[arg-type]
        ).origin

    assert [asked(carrier) for carrier in ("udp", "tcp", "mdns", "doh", "dot")] == [
        "system", "system", "system", "unknown", "unknown",
    ]  # fmt: skip


def test_a_handshake_is_told_by_who_uses_its_connection() -> None:
    hello = Tls(capture="a", id="t1", flow="c1", sni="a.example")
    assert sender(hello).origin == "unknown"
    seen = Connections()
    seen.add(hello)
    seen.add(request("c1", sec_fetch_dest="image", sec_fetch_site="cross-site"))
    told = seen.sender("c1")
    assert told is not None
    assert told.origin == "browser"


def test_who_shares_a_connection_with_the_system_alone_is_the_system() -> None:
    seen = Connections()
    seen.add(request("c1", User_Agent="AndroidDownloadManager/10"))
    seen.add(request("c2", User_Agent="AndroidDownloadManager/10"))
    seen.add(request("c2", sec_fetch_dest="image", sec_fetch_site="cross-site"))
    told = {flow: found.origin if (found := seen.sender(flow)) else None for flow in ("c1", "c2")}
    assert told == {"c1": "system", "c2": None}


def test_a_browser_whose_pages_declare_themselves_sent_what_does_not() -> None:
    agent = "Mozilla/5.0 (X) Browser/1"
    declared, silent = Connections(), Connections()
    declared.add(at(20.0, 1, agent, sec_fetch_dest="document", sec_fetch_site="none"))
    silent.add(at(20.0, 1, agent, Accept="text/html"))

    def origin(seen: Connections, agent: str, *, https: bool) -> str | None:
        told = seen.sender("f9", 400.0, agent.encode(), https=https)
        return told.origin if told else None

    assert origin(declared, agent, https=True) == "browser"
    # in clear no page declares itself (Fetch Metadata, 2); other agents, and older browsers, tell nothing
    assert origin(declared, agent, https=False) is None
    assert origin(declared, "another/1", https=True) is None
    assert origin(silent, agent, https=True) is None
