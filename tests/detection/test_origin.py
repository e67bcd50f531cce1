"""Origin: what a request declares of its sender, and what its connection tells where it declares nothing."""

from __future__ import annotations

import pytest

from audit.detection.origin import Connections, is_navigation, sender
from audit.records import Http, Tls


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
        ({"User_Agent": "Dalvik/2.1.0 (Linux; U; Android 10)"}, "system"),
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
    assert origins == {"c1": "browser", "c2": "browser", "c3": "system", "c4": None}
