"""One transmission that leaks and one that only looks alike, for every known kind of channel: browser
vendors' own services, search suggestions, what is built to carry no address, analytics.

What leaks must be told in its granularity and its endpoint must be known; what looks alike must not be told
as the planted value. The protocols were read in the sources that the adapters name; all values are made up.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import pytest

from audit.adapters import load, search_engines
from audit.decoding.channels import channels
from audit.detection.needles import Needles
from audit.detection.scan import Scanner
from audit.detection.search import Searcher
from audit.detection.sequences import sequences
from audit.records import Canary, Experiment, Http

URL = "https://c4n4ry-p2t1.example.test/a/b?q=tok-9f31"
HOST = "c4n4ry-p2t1.example.test"
# differs in one letter of the host and one of the query: another trial's value
NEAR_URL = URL.replace("p2t1", "p2t7").replace("9f31", "9f37")
NEAR_HOST = HOST.replace("p2t1", "p2t7")
TERM = "marble otter zx4q8"
NEAR_TERM = "marble otter zx4q7"
DEVICE = "c0ffee00-0000-4000-8000-00000000ad1d"
CANARIES = (
    Canary(id="page", kind="url", value=f"{URL}#frag"),
    Canary(id="term", kind="term", value=TERM),
    # a second page under the same domain, so that the domain alone tells nothing
    Canary(id="other", kind="url", value="https://never-3k1.example.test/"),
)
NEEDLES = Needles(CANARIES)
CLOSED = bytes(zlib.crc32(bytes([n])) & 0xFF for n in range(200))
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def get(url: str, **headers: str) -> Http:
    return sent("GET", url, b"", **headers)


def post(url: str, body: bytes | str = b"", media: str = "application/octet-stream", **headers: str) -> Http:
    return sent("POST", url, body.encode() if isinstance(body, str) else body, content_type=media, **headers)


def sent(method: str, url: str, body: bytes, **headers: str) -> Http:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return Http(
        capture="c", id="1", host=host.partition(":")[0], method=method, scheme=scheme, authority=host,
        path=slash + path, version="2", body=body, time=1_700_000_000.0,
        headers=tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
    )  # fmt: skip


def q(text: str) -> str:
    return quote(text, safe="")


def form(**values: str) -> str:
    return urlencode(values)


def pb(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    assert len(data) < 128
    key = number << 3 | 2
    head = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
    return head + bytes([len(data)]) + data


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def doc(**values: object) -> str:
    return json.dumps(values)


def sensors(url: str) -> str:
    """Form A of Sensors Analytics with its checksum."""
    events = [
        {
            "distinct_id": "d-1",
            "time": 1_700_000_000_000,
            "event": "page_load_event_finish",
            "properties": {"url": url},
        }
    ]
    text = b64(gzip.compress(json.dumps(events).replace("/", "\\/").encode(), mtime=0))
    crc = 0
    for letter in text.encode():
        crc = crc * 31 + letter & 0xFFFFFFFF
    return form(crc=str(crc - (1 << 32) if crc >> 31 else crc), gzip="1", data_list=text)


def threat(url: str) -> str:
    return base64.urlsafe_b64encode(pb(2, pb(3, pb(2, url.encode())))).decode()


PREFIX = "EggaBgoEF_IFvQ=="  # 4 bytes of the hash of the address without its scheme


@dataclass(frozen=True)
class Row:
    """`leak` is known to `adapter` and tells `granularity` of a planted value ("" where all stays closed);
    `near` tells nothing."""

    name: str
    adapter: str
    granularity: str
    leak: Http
    near: Http


def nodes(host: str) -> Http:
    return get(f"https://api.browser.yandex.ru/dashboard3/get?nodes={host}")


def opal(host: str) -> Http:
    return get(f"https://c.bingapis.com/api/custom/opal/search?q={q('url:' + host)}&appid=0")


def screen(url: str) -> Http:
    body = doc(
        correlationId="0c1f0000-0000-4000-8000-000000000001", destination={"uri": url, "ip": "192.0.2.7"}, type="top",
        referrer="", identity={"device": {"onlineIdTicket": "t=SYNTHETICTICKET00000000"}}, userAgent="x",
    )  # fmt: skip
    return post("https://nav.smartscreen.microsoft.com/api/browser/edge/navigate/2/sync", body, JSON)


def ut(url: str) -> bytes:
    inner = gzip.compress(b"\x01".join([b"2024-01-01", b"page", url.encode(), b"utdid=ZHVtbXk"]) * 3, mtime=0)
    return b"\x01" + len(inner).to_bytes(3, "big") + b"\x01\x29\x00\x00" + inner


def app_measurement(url: str) -> bytes:
    event = pb(2, pb(1, pb(1, b"page") + pb(2, url.encode())) + pb(2, b"_vs"))
    return pb(1, event + pb(14, b"com.example.browser"))


def ukm(url: str) -> bytes:
    return gzip.compress(pb(3, pb(2, url.encode()) + b"\x08\x01") + b"\x28\x05", mtime=0)


def dns(host: str) -> str:
    names = b"".join(bytes([len(label)]) + label for label in host.encode().split(b"."))
    message = b"\0\0\1\0\0\1\0\0\0\0\0\0" + names + b"\0\0\1\0\1"
    return base64.urlsafe_b64encode(message).rstrip(b"=").decode()


def both(name: str, adapter: str, granularity: str, make: object, value: str, near: str) -> Row:
    return Row(name, adapter, granularity, make(value), make(near))  # type: ignore[operator]


def page(name: str, adapter: str, make: object) -> Row:
    return both(name, adapter, "full", make, URL, NEAR_URL)


def site(name: str, adapter: str, make: object) -> Row:
    return both(name, adapter, "host", make, HOST, NEAR_HOST)


def search(name: str, adapter: str, make: object) -> Row:
    return both(name, adapter, "term", make, TERM, NEAR_TERM)


def sdk(name: str, adapter: str, url: str, elsewhere: str) -> Row:
    """A body that only its recipient can open."""
    return Row(name, adapter, "", post(url, CLOSED), post(elsewhere, CLOSED[:20]))


VENDORS = [
    Row("Yandex Safe Browsing", "yandex-safe-browsing", "full",
        get(f"https://sba.yandex.net/v4/threatMatches:find?$req={threat(URL)}"),
        get(f"https://sba.yandex.net/v4/threatMatches:find?$req={PREFIX}")),
    site("Yandex dashboard", "yandex-dashboard", nodes),
    page("Yandex translation", "yandex-translate", lambda u: post("https://translate.yandex.ru/api/v1/tr.json/translate", form(url=u), FORM)),
    page("UC, international", "uc-browser-intl", lambda u: post("https://gjtrack.ucweb.com/collect", b"", referer=u)),
    page("UC, China", "uc-browser-cn", lambda u: get(f"https://gj.track.uc.cn/collect?uc_param_str=cpfrveladnkt&appid=0&lt=event&e_c={q(u)}")),
    page("UC 2021", "uc-browser-other", lambda u: post("https://api.ucweb.com/v1", doc(u=b64(u)), JSON)),
    site("QQ", "qq-browser", lambda h: post("https://trpcpb.imtt.qq.com/", b"\0\0" + h.encode() + b"\0\x07")),
    sdk("QQ 2016", "qq-browser-wup", "http://wup.imtt.qq.com:8080/", "http://wup.example.test/"),
    site("Opera", "opera-sitecheck", lambda h: post("https://sitecheck.opera.com/api/v2/check", doc(host=h), JSON)),
    site("Edge, Android", "edge-opal", opal),
    page("Edge SmartScreen", "edge-smartscreen", screen),
    page("Edge 112", "edge-bingapis", lambda u: get(f"https://www.bingapis.com/api/v7/follow?pageUrl={q(u)}")),
    page("Chrome UKM", "google-ukm", lambda u: post("https://clients4.google.com/ukm", ukm(u), "application/vnd.chrome.ukm")),
    page("Chrome real-time check", "google-safe-browsing-realtime",
         lambda u: post("https://safebrowsing.google.com/safebrowsing/clientreport/realtime", pb(1, u.encode()) + b"\x10\x01")),
    page("Avast", "avast-urlinfo", lambda u: post("https://uib.ff.avast.com/v5/urlinfo", pb(1, u.encode()) + pb(5, b"tab-1"))),
    search("Baidu 2016", "baidu-mobile-statistics", lambda t: post("http://hmma.baidu.com/app.gif", gzip.compress(doc(q=t).encode()))),
    page("Mi and Mint Browser", "xiaomi-sensors", lambda u: post("https://sa.api.intl.miui.com/sa?project=global_browser_mini&r=PL", sensors(u), FORM)),
]  # fmt: skip

LOOKALIKES = [
    Row("Safe Browsing v4", "safe-browsing-v4", "full",
        get(f"https://safebrowsing.googleapis.com/v4/threatMatches:find?$req={threat(URL)}"),
        get(f"https://safebrowsing.googleapis.com/v4/fullHashes:find?$req={PREFIX}&$ct=application/x-protobuf&key=T")),
    Row("Safe Browsing v5", "safe-browsing-v5", "full",
        get(f"https://safebrowsing.googleapis.com/v5/hashes:search?hashPrefixes=F_IFvQ%3D%3D&url={q(URL)}"),
        get("https://safebrowsing.googleapis.com/v5/hashes:search?hashPrefixes=F_IFvQ%3D%3D&key=T")),
    Row("Safe Browsing by a relay", "safe-browsing-relay", "",
        post("https://google-ohttp-relay-safebrowsing.fastly-edge.com/", CLOSED, "message/ohttp-req"),
        post("https://relay.example.test/", CLOSED[:20], "message/ohttp-req")),
    Row("UMA", "chrome-uma", "full",
        post("https://clientservices.googleapis.com/uma/v2", gzip.compress(pb(3, URL.encode()) + b"\x08\x07"), "application/vnd.chrome.uma"),
        post("https://clientservices.googleapis.com/uma/v2", gzip.compress(b"\x09\0\0\0\0\0\0\xc0\x3f" + pb(3, b"Navigation.Main")), "application/vnd.chrome.uma")),
    site("DoH, GET", "doh", lambda h: get(f"https://dns.google/dns-query?dns={dns(h)}")),
    site("DoH, POST", "doh", lambda h: post("https://chrome.cloudflare-dns.com/dns-query", base64.urlsafe_b64decode(dns(h) + "=" * (-len(dns(h)) % 4)), "application/dns-message")),
    page("Network Error Logging", "network-error-logging",
         lambda u: post("https://nel.example.test/r", json.dumps([{"type": "network-error", "url": u}]), "application/reports+json")),
    page("favicon", "google-favicon", lambda u: get(f"https://t1.gstatic.com/faviconV2?client=SOCIAL&url={q(u)}")),
]  # fmt: skip


def amplitude(url: str) -> Http:
    event = [{"event_type": "page", "event_properties": {"url": url}, "device_id": DEVICE}]
    return post("https://api2.amplitude.com/", form(v="2", client="k", e=json.dumps(event)), FORM)


def mixpanel(url: str) -> Http:
    event = [{"event": "Page", "properties": {"$current_url": url, "distinct_id": DEVICE}}]
    return post("https://api.mixpanel.com/track/", form(data=b64(json.dumps(event))), FORM)


def segment(url: str) -> Http:
    body = gzip.compress(doc(batch=[{"context": {"page": {"url": url}}}]).encode())
    return post("https://api.segment.io/v1/import", body, JSON, content_encoding="gzip")


def sentry(url: str) -> Http:
    lines = [
        {"event_id": "9ec79c33ec9942ab8353589fcb2e04dc"},
        {"type": "event"},
        {"request": {"url": url}, "breadcrumbs": [{"data": {"url": url}}]},
    ]
    body = gzip.compress("\n".join(map(json.dumps, lines)).encode())
    return post(
        "https://o1.ingest.example.test/api/45/envelope/?sentry_key=0",
        body,
        "text/plain",
        content_encoding="gzip",
    )


def firelog(url: str) -> Http:
    event = {"eventTimeMs": "1700000000100", "sourceExtension": b64(pb(1, url.encode()))}
    body = gzip.compress(doc(logRequest=[{"logEvent": [event]}]).encode())
    return post(
        "https://firebaselogging-pa.googleapis.com/v1/firelog/legacy/batchlog",
        body,
        JSON,
        content_encoding="gzip",
    )


def bond(url: str) -> Http:
    raw = zlib.compress(b"\x29\x03ct1" + bytes([0x69, len(url)]) + url.encode() + b"\x00" + b"\x2a" * 40)[
        2:-4
    ]
    return post(
        "https://eu-mobile.events.data.microsoft.com/OneCollector/1.0/", raw, "application/bond-compact-binary",
        content_encoding="deflate", apikey="0",
    )  # fmt: skip


ANALYTICS = [
    page("GA4, query", "google-analytics", lambda u: post(f"https://region1.google-analytics.com/g/collect?v=2&tid=G-1&cid=1.2&dl={q(u)}")),
    page("GA4, lines in the body", "google-analytics", lambda u: post("https://www.google-analytics.com/g/collect?v=2&tid=G-1", f"en=page_view&dl=x\r\nen=scroll&dl={q(u)}", "text/plain")),
    page("Universal Analytics", "google-analytics", lambda u: get(f"https://ssl.google-analytics.com/collect?v=1&tid=UA-1&cid=1&dl={q(u)}")),
    page("Google, collected", "google-analytics", lambda u: get(f"https://www.google.com/ccm/collect?tid=G-1&dl={q(u)}")),
    page("doubleclick", "google-analytics", lambda u: get(f"https://stats.g.doubleclick.net/j/collect?t=dc&dl={q(u)}")),
    page("Firebase Analytics", "firebase-analytics", lambda u: post("https://app-measurement.com/a", app_measurement(u), "application/x-protobuf")),
    page("Firelog", "google-firelog", firelog),
    page("Facebook", "facebook-events", lambda u: post("https://graph.facebook.com/v17.0/1/activities", form(event="CUSTOM_APP_EVENTS", advertiser_id=DEVICE, custom_events=json.dumps([{"_eventName": "v", "link": u}])), FORM)),
    search("Facebook, search", "facebook-events", lambda t: post("https://graph.facebook.com/v17.0/1/activities", form(custom_events=json.dumps([{"fb_search_string": t}])), FORM)),
    sdk("AppsFlyer", "appsflyer", "https://launches.appsflyer.com/api/v6.12/androidevent?app_id=a&buildnumber=6", "https://www.appsflyer.com/x"),
    page("Adjust", "adjust", lambda u: post("https://app.eu.adjust.com/sdk_click", form(deeplink=u, gps_adid=DEVICE), FORM, client_sdk="android4.33.0")),
    page("Amplitude", "amplitude", amplitude),
    page("Mixpanel", "mixpanel", mixpanel),
    page("Segment", "segment", segment),
    page("Sentry", "sentry", sentry),
    sdk("AppMetrica", "appmetrica", "https://report.appmetrica.yandex.net/report?deviceid=d&uuid=u&encrypted_request=1", "https://appmetrica.example.test/report"),
    page("Metrica", "yandex-metrica", lambda u: get(f"https://mc.yandex.ru/watch/1?page-url={q(u)}&browser-info=pv%3A1")),
    page("Baidu Tongji", "baidu-tongji", lambda u: get(f"https://hm.baidu.com/hm.gif?si=0&u={q(u)}")),
    sdk("Umeng", "umeng", "https://ulogs.umeng.com/unify_logs", "https://www.umeng.com/unify_logs"),
    sdk("Tencent Beacon", "tencent-beacon", "https://otheve.beacon.qq.com/analytics/v2_upload?appkey=0", "https://beacon.qq.com/x"),
    page("ByteDance, gzip JSON", "bytedance-applog", lambda u: post("https://log.byteoversea.com/service/2/app_log/", gzip.compress(doc(event=[{"params": {"url": u}}]).encode()))),
    sdk("ByteDance, TTEncrypt", "bytedance-applog", "https://log.snssdk.com/service/2/app_log/?tt_data=a", "https://snssdk.com/x"),
    sdk("Pangle", "pangle", "https://api16-access-ttp.tiktokpangle.us/api/ad/union/sdk/get_ads/", "https://tiktokpangle.us/"),
    page("Alibaba UT", "alibaba-ut", lambda u: post("https://h-adashx.ut.taobao.com/upload", ut(u))),
    page("Alibaba page statistics", "mmstat", lambda u: get(f"https://log.mmstat.com/x.gif?url={q(u)}")),
    page("OneCollector", "microsoft-onecollector", bond),
    page("Sensors Analytics on any host", "sensors-analytics", lambda u: post("https://collect.example.test/any", sensors(u), FORM)),
]  # fmt: skip

ROWS = VENDORS + LOOKALIKES + ANALYTICS


def told(record: Http) -> dict[str, str]:
    """The most specific granularity told of each planted value."""
    found = Searcher(NEEDLES).search(channels(record)).sightings
    return {s.match.canary: s.match.granularity for s in reversed(found)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_leaks_is_told_and_its_endpoint_known(row: Row) -> None:
    assert row.adapter in [adapter.id for adapter in load().recognise(row.leak)]
    found = told(row.leak)
    if row.granularity:
        assert list(found.values()) == [row.granularity]
    else:
        assert found == {}
        scanner = Scanner("c", NEEDLES, Experiment())
        scanner.add(row.leak)
        ((place, stayed),) = scanner.finished().closed.items()
        assert (place.host, place.channel, stayed.size) == (row.leak.host, "body", len(CLOSED))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_looks_alike_is_not_told(row: Row) -> None:
    assert told(row.near) == {}


@pytest.mark.parametrize("row", [r for r in ROWS if not r.granularity], ids=lambda row: row.name)
def test_another_host_is_not_taken_for_the_recipient(row: Row) -> None:
    assert row.adapter not in [adapter.id for adapter in load().recognise(row.near)]


def ocsp_request() -> bytes:
    """A DER OCSPRequest for one certificate (RFC 6960, 4.1.1)."""
    sha1 = b"\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00"
    der = sha1 + b"\x04\x14" + CLOSED[:20] + b"\x04\x14" + CLOSED[20:40] + b"\x02\x10" + CLOSED[40:56]
    for _ in range(5):
        der = bytes([0x30, len(der)]) + der
    return der


CHECKS = [
        (f"http://ocsp.example.test/{q(b64(ocsp_request()))}", "ocsp"),
        ("http://crl3.digicert.com/DigiCertGlobalRootG2.crl", "certificate-revocation-list"),
        ("http://connectivitycheck.gstatic.com/generate_204", "captive-portal"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "adapter"), CHECKS)
def test_checks_that_name_no_page_tell_nothing(url: str, adapter: str) -> None:
    assert told(get(url)) == {}
    assert adapter in [known.id for known in load().recognise(get(url))]
    assert told(get(f"{url}?page={q(URL)}")) == {"page": "full"}


SUGGESTIONS = [
    "https://www.google.de/complete/search?client=chrome-omni&gs_ri=chrome-ext-ansg&xssi=t&oit=1&cp=3&pgcl=7&gs_rn=42&psi=x&q=",
    "https://www.bing.com/osjson.aspx?query=",
    "https://www.bing.com/qbox?pt=EdgBox&cvid=0&ig=0&cp=3&query=",
    "https://suggestion.baidu.com/su?wd=",
    "https://duckduckgo.com/ac/?q=",
    "https://yandex.ru/suggest-browser?part=",
    "https://ac.ecosia.org/autocomplete?q=",
    "https://search.brave.com/api/suggest?q=",
    "https://suggests.go.mail.ru/chrome?q=",
    "https://api.qwant.com/api/suggest/?q=",
    "https://sug.so.360.cn/suggest?word=",
    "https://sugg.sogou.com/sugg/ajaj_json.jsp?key=",
    "https://search.yahoo.com/sugg/chrome?command=",
    "https://ac.search.naver.com/nx/ac?q=",
    "https://suggest.seznam.cz/fulltext_ff?phrase=",
]


@pytest.mark.parametrize("endpoint", SUGGESTIONS)
@pytest.mark.parametrize("text", [TERM, URL.partition("://")[2]])
def test_typing_at_a_suggestion_endpoint_is_told(endpoint: str, text: str) -> None:
    def typed(whole: str) -> dict[str, int]:
        scanner = Scanner("c", NEEDLES, Experiment())
        for length in (1, 2, 4, 7, 9, 13, len(whole)):
            request = get(endpoint + q(whole[:length]))
            assert search_engines().suggestion(request.host or "", request.path)
            scanner.add(request)
        strokes = [stroke for stroke, _ in scanner.finished().keystrokes]
        return {sequence.canary: sequence.reach for sequence in sequences(strokes, NEEDLES)}

    assert typed(text) == {"term" if text == TERM else "page": len(text)}
    assert typed(text[::-1]) == {}
    assert typed(f"other {text}") == {}


def test_a_suggestion_call_may_carry_the_page_as_well() -> None:
    for value, expected in ((URL, {"page": "full"}), (NEAR_URL, {})):
        request = get(f"https://www.google.de/complete/search?client=chrome-omni&q=&url={q(value)}")
        assert told(request) == expected
        assert "google-suggest-page" in [adapter.id for adapter in load().recognise(request)]


# The rows of the tables of known channels, and which of the pairs above stand for each.
TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "browser vendors": {
        "Yandex, Android, addresses": ("Yandex Safe Browsing",),
        "Yandex, Android, sites": ("Yandex dashboard",),
        "Yandex, desktop": ("https://yandex.ru/suggest-browser?part=", "Yandex translation"),
        "UC, international": ("UC, international",),
        "UC, China": ("UC, China",),
        "UC 2021": ("UC 2021",),
        "QQ": ("QQ",),
        "QQ 2016": ("QQ 2016",),
        "Opera": ("Opera",),
        "Edge, Android": ("Edge, Android",),
        "Edge SmartScreen": ("Edge SmartScreen",),
        "Edge 112": ("Edge 112",),
        "Chrome UKM": ("Chrome UKM",),
        "Chrome, real-time check": ("Chrome real-time check",),
        "Avast": ("Avast",),
        "Baidu 2016": ("Baidu 2016",),
        "Mint and Mi": ("Mi and Mint Browser",),
    },
    "suggestions": {endpoint.partition("://")[2].partition("/")[0] + endpoint[-9:]: (endpoint,) for endpoint in SUGGESTIONS},
    "look-alikes": {
        "Safe Browsing v4": ("Safe Browsing v4",),
        "Safe Browsing v5": ("Safe Browsing v5", "Safe Browsing by a relay"),
        "UMA": ("UMA",),
        "DoH": ("DoH, GET", "DoH, POST"),
        "OCSP and CRL": ("ocsp", "certificate-revocation-list"),
        "favicon, NEL, captive portal": ("favicon", "Network Error Logging", "captive-portal"),
    },
    "analytics": {
        "GA4 and UA": ("GA4, query", "GA4, lines in the body", "Universal Analytics", "Google, collected", "doubleclick"),
        "Firebase": ("Firebase Analytics",),
        "Firelog and Crashlytics": ("Firelog",),
        "Facebook": ("Facebook", "Facebook, search"),
        "AppsFlyer": ("AppsFlyer",),
        "Adjust": ("Adjust",),
        "Amplitude": ("Amplitude",),
        "Mixpanel": ("Mixpanel",),
        "Segment": ("Segment",),
        "Sentry": ("Sentry",),
        "AppMetrica": ("AppMetrica",),
        "Metrica": ("Metrica",),
        "Baidu Tongji": ("Baidu Tongji",),
        "Umeng": ("Umeng",),
        "Tencent Beacon": ("Tencent Beacon",),
        "ByteDance": ("ByteDance, gzip JSON", "ByteDance, TTEncrypt"),
        "Pangle": ("Pangle",),
        "Alibaba UT": ("Alibaba UT", "Alibaba page statistics"),
        "OneCollector": ("OneCollector",),
    },
}  # fmt: skip


def test_every_row_of_the_tables_has_its_pair() -> None:
    """Each pair is a positive and a near miss, tested above; none is missing, none stands for nothing."""
    assert {name: len(rows) for name, rows in TABLES.items()} == {
        "browser vendors": 17, "suggestions": 15, "look-alikes": 6, "analytics": 19,
    }  # fmt: skip
    named = [pair for rows in TABLES.values() for pairs in rows.values() for pair in pairs]
    there = {row.name for row in ROWS} | set(SUGGESTIONS) | {adapter for _, adapter in CHECKS}
    assert set(named) == there - {"Sensors Analytics on any host"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_pair_differs_in_what_it_tells_and_not_in_how(row: Row) -> None:
    assert row.near.method == row.leak.method
    assert (row.near.host == row.leak.host) == bool(row.granularity)
