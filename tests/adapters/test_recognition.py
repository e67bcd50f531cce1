"""Recognition: by host, by content on any host, and what a damaged adapter file is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.adapters import AdapterError, load
from audit.adapters.fingerprints import java_hash, sensors_form
from audit.adapters.loader import parse
from audit.adapters.model import Role
from audit.records import Headers, Http, WebSocketMessage

# Request forms A of facts gathered for this project: made up, with their checksums.
PLAIN = (
    b"crc=1850956737&gzip=1&data_list=H4sIAAAAAAAC%2F22Q22qEMBBA%2F2XaR9dr1CgsZX%2Bh0KdSQjTRDasmTUapLP57o4WW"
    b"hc5LmJM5zOX9Dgwtb29MCaiTNCN5UdIqAFSj9CCnNI0JjffwcDUewiFAAEI5VFOLhwuCJIK2oqJdHDde8gWDaqC%2Bw%2FPxwmUSVvvS"
    b"4ABskdYpPfmPLEzDasfcmAdMwhi2AOQiJ%2FTA8F6yQXPBDsI6NSl39aKx2kiLSrr%2F22n3kM928PkV0bg6iloyEbueTIpJKL%2F4aAYZ"
    b"onQY8ah5%2BTyjvp2qLkueOsv7XZ6PbauyJCIvREFTmZOq3acYOHbajn%2B9LsZ4PqpZMSv7n61e3%2BD3kMaqhbcrbNvHN3%2FDX2uJAQAA"
)
ESCAPED = (
    b"crc=-1488359601&gzip=1&data_list=H4sIAAAAAAAC%2F22Q22rDMAyG30XbZZpTndYOlNFXGOxqGcaNndQ0sT1bLSul7z7Hg43C"
    b"dCP0Sb9O7zfg6EV%2F4lpCW9Vr0my2lGWAelYRNJTWJaHlYhFeXYSQBJCB1AG16TFpQZJK0l4yOpTlIYpiwaQP0N7gOXnYG%2BltLM0S"
    b"4Bflg7YmJtZ5nbMFC%2BceMMlLuGegLspgBE6Mik9WSJ4IH7TR4RiFzlunPGoV%2Fh9nw0N89lOMj4gutF3RFT0xxF9XrsYqV19idpPK"
    b"UQXsCtEVh5fPHdrTig3r6mnwYlwanNPFbLslstnIDa1VQ1i%2FbDIJHKyf%2F%2BbtnYt81mfNvRp%2FLnt9g99nOq8vor%2FC%2Ff7x"
    b"DSkjy7SNAQAA"
)


def request(
    url: str = "https://collector.example.test/x",
    method: str = "GET",
    headers: Headers = (),
    body: bytes = b"",
) -> Http:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return Http(
        capture="c", id="1", host=host, method=method, scheme=scheme, authority=host, path=slash + path,
        version="1.1", headers=headers, body=body,
    )  # fmt: skip


def ids(sent: Http | WebSocketMessage) -> list[str]:
    return [adapter.id for adapter in load().recognise(sent)]


@given(st.binary(max_size=200_000))
def test_java_hash_is_the_polynomial(data: bytes) -> None:
    value = 0
    for byte in data:
        value = (value * 31 + byte) & 0xFFFFFFFF
    assert java_hash(data) == (value - (1 << 32) if value >> 31 else value)


def test_java_hash_across_its_steps() -> None:
    text = b"sensors" * 20_000
    value = 0
    for byte in text:
        value = (value * 31 + byte) & 0xFFFFFFFF
    assert java_hash(text) == (value - (1 << 32) if value >> 31 else value)
    assert java_hash(b"hello") == 99162322
    assert java_hash(b"") == 0


@pytest.mark.parametrize("body", [PLAIN, ESCAPED])
def test_sensors_is_known_on_any_host_by_its_checksum(body: bytes) -> None:
    assert sensors_form("", body) == "A"
    assert ids(request(method="POST", body=body)) == ["sensors-analytics"]
    reordered = b"&".join(reversed(body.split(b"&")))
    assert sensors_form("", reordered) == "A"


@pytest.mark.parametrize(
    "body", [PLAIN.replace(b"crc=1", b"crc=2"), ESCAPED.replace(b"H4sI", b"H4sJ"), PLAIN.partition(b"&")[2]]
)
def test_sensors_without_a_true_checksum_is_not_known(body: bytes) -> None:
    assert ids(request(method="POST", body=body)) == []


def test_all_forms_of_sensors() -> None:
    forms = {
        sensors_form(example.url.partition("?")[2], example.body.encode())
        for name in ("sensors-analytics", "sensors-analytics-encrypted")
        for example in load()[name].example
        if example.recognised
    }
    assert forms == set("ABCDEFG")


def test_an_ordinary_form_with_data_is_not_sensors() -> None:
    document = quote('[{"id":1,"name":"x"}]')
    for form in (
        f"data={document}",
        f"data_list={document}&gzip=1",
        "crc=5&data=eyJhIjoxfQ%3D%3D",
        "ext=crc%3D1&data=x",
    ):
        assert ids(request(method="POST", body=form.encode())) == []
        assert ids(request(f"https://x.example.test/sa.gif?{form}")) == []


def test_xiaomi_and_sensors_are_both_known() -> None:
    sent = request("https://sa.api.intl.miui.com/sa?project=global_browser&r=IN", "POST", body=PLAIN)
    assert ids(sent) == ["sensors-analytics", "xiaomi-sensors"]


def test_search_engines_are_adapters_too() -> None:
    known = load().recognise(request("https://duckduckgo.com/ac/?q=marb&type=list"))
    assert [adapter.id for adapter in known] == ["duckduckgo-suggestions"]
    assert known[0].kind == "suggestions"
    role = known[0].role_of("url.query", "q", ("form",))
    assert role is not None
    assert role.role == "typed_text"
    assert ids(request("https://www.google.co.uk/search?q=a")) == ["google-search"]
    assert ids(request("https://www.google.co.uk/complete/search?q=a&url=b")) == [
        "google-suggest-page",
        "google-suggestions",
    ]


def test_websocket_messages_are_recognised_by_their_handshake() -> None:
    message = WebSocketMessage(
        capture="c",
        id="1",
        host="mc.yandex.ru",
        type="text",
        bytes=2,
        url="wss://mc.yandex.ru/watch/1?a=b",
        data=b"{}",
    )
    assert ids(message) == ["yandex-metrica"]


def test_unknown_is_unknown() -> None:
    assert ids(request()) == []
    assert ids(request("https://www.example.test/collect?v=2&dl=x")) == []
    assert ids(request("https://com/a")) == []
    assert ids(request("/")) == []


@given(
    st.binary(max_size=2000), st.text(max_size=300), st.sampled_from(["GET", "POST"]), st.binary(max_size=60)
)
def test_hostile_requests_do_no_harm(body: bytes, path: str, method: str, media: bytes) -> None:
    for start in (b"", b"data=", b"crc=1&data_list=", b"\1", b"gzip=9&data=%7B"):
        sent = request(f"https://x.example.test/{path}", method, ((b"Content-Type", media),), start + body)
        assert isinstance(ids(sent), list)
    assert isinstance(ids(request(f"http://x.example.test/M{path}")), list)
    assert isinstance(ids(request(f"http://x.example.test/dns-query?dns={path}")), list)


def test_indexes_depths_and_endings_of_paths() -> None:
    adapter = load()["sensors-analytics"]
    for path in (
        "$[0].properties.$url",
        "$[49].properties.$url",
        "$.properties.$url",
        '$["odd name"].properties.$url',
    ):
        role = adapter.role_of("body", path, ())
        assert role is not None
        assert role.role == "visited_url"
    for path in (
        "$[0].xproperties.$url",
        "$[0].properties.$urls",
        "properties.$url",
        "",
        '$["x.properties.$url"]',
    ):
        assert adapter.role_of("body", path, ()) is None
    assert adapter.role_of("header:cookie", "$[0].properties.$url", ()) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"surplus": 1}, "surplus"),
        ({"id": "No Spaces"}, "id"),
        ({"match": [{"path": "/x"}]}, "hosts"),
        ({"match": [{"hosts": ["x.test"], "path": "("}]}, "path"),
        ({"match": [{"hosts": [".x.test"]}]}, "leading dot"),
        ({"source": ""}, "source"),
        ({"fields": [{"channels": ["bodies"], "role": "title", "reasoning": "r"}]}, "bodies"),
        ({"fields": [{"channels": ["body"], "role": "event_time", "reasoning": "r"}]}, "unit"),
        ({"fields": [{"channels": ["body"], "role": "title", "unit": "s", "reasoning": "r"}]}, "unit"),
        ({"fields": [{"channels": ["body"], "role": "title", "reasoning": ""}]}, "reasoning"),
    ],
)
def test_a_damaged_file_is_named_with_its_entry(change: dict[str, object], complaint: str) -> None:
    good = {
        "id": "x",
        "name": "X",
        "organisation": "X",
        "kind": "analytics",
        "source": "s",
        "match": [{"hosts": ["x.test"]}],
    }
    assert parse("good.json", json.dumps({"adapter": [good]}).encode())[0][0].id == "x"
    with pytest.raises(AdapterError, match=complaint) as caught:
        parse("bad.json", json.dumps({"adapter": [good | change]}).encode())
    assert "bad.json" in str(caught.value)


def test_what_a_system_app_reports_of_its_use() -> None:
    role = load()["xiaomi-onetrack-plain"].role_of("body", "$[3].B.page.name", ())
    assert role is not None
    assert role.role == "usage"
    assert load()["xiaomi-onetrack-plain"].role_of("body", "$[3].C.page", ()) is None


def test_a_key_that_follows_from_the_request_is_tried_in_every_usual_way() -> None:
    decoders = load()["xiaomi-mistat-v2"].decoders
    assert {(d.cipher, d.prefix) for d in decoders} == {("aes-ecb", 0), ("aes-cbc", 16)}
    assert all(d.coding({"app_id": b"1", "app_key": b"2", "device_id": b"3"}) for d in decoders)
    assert not any(d.coding({"app_id": b"1"}) for d in decoders)


def test_what_is_not_enabled_is_checked_and_not_used() -> None:
    row = {
        "id": "x", "name": "X", "organisation": "X", "kind": "analytics", "source": "s",
        "match": [{"hosts": ["x.test"]}],
        "decode": [{"specs": ["rc4:key=text:secret"], "reasoning": "r", "enabled": False}],
    }  # fmt: skip
    assert parse("good.json", json.dumps({"adapter": [row]}).encode())[0][0].decoders == ()
    row["decode"] = [{"specs": ["rc4:key="], "reasoning": "r"}]
    with pytest.raises(AdapterError, match="expected a value"):
        parse("bad.json", json.dumps({"adapter": [row]}).encode())


def test_the_page_about_adapters_shows_one_that_loads_and_every_role() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "adapters.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    ((adapter,), _) = parse("page.toml", block.encode())
    assert adapter.example[0].recognised
    assert not adapter.example[1].recognised
    table = page.partition("| role |")[2]
    assert {role for role in get_args(Role) if f"`{role}`" not in table} == set()
    assert {
        part for part in ("match", "fields", "decode", "known", "example") if f"| `{part}`" not in page
    } == set()


def test_a_file_that_is_no_text_is_one_error_that_names_it() -> None:
    with pytest.raises(AdapterError, match=r"data/odd\.toml: "):
        parse("odd.toml", b'id = "\xff"')
