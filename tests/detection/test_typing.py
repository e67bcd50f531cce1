"""What is typed leaves letter by letter: found in any channel and coding, with letters skipped."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest

from audit.detection.needles import Needles
from audit.detection.scan import Scanner
from audit.detection.sequences import Sequence, sequences
from audit.records import AnyRecord, Canary, Dns, Experiment, Http, Message, Tls, WebSocketMessage

TERM = Canary(id="t", kind="text", value="marble otter zx4q8")
URL = Canary(id="u", kind="url", value="https://n7-lantern.example/reading/room7?note=violet-83")
FILLER = {"v": 2, "client": "browser", "words": ["one", "two", "three", "four", "five", "six"], "ok": True}
Sent = Callable[[str, int], AnyRecord]


def http(path: str = "/s", method: str = "GET", body: bytes = b"", **headers: str) -> Http:
    return Http(
        capture="c", id="", host="type.example", method=method, scheme="https", authority="type.example", path=path,
        version="2", body=body, headers=tuple((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()),
    )  # fmt: skip


def form(text: str) -> str:
    return quote(text, safe="")


def document(text: str) -> bytes:
    return json.dumps(FILLER | {"input": text}).encode()


def varint(field: bytes, data: bytes) -> bytes:
    return field + bytes([len(data)]) + data


CHANNELS: dict[str, Sent] = {
    "query": lambda t, n: http(f"/s?q={form(t)}"),
    "long query": lambda t, n: http(f"/s?client=browser&hl=en&words=one-two-three-four&q={form(t)}&cp={n}&more=yes&ok=1"),
    "query, a counter in the path": lambda t, n: http(f"/session/{n}81f/s?q={form(t)}"),
    "last segment": lambda t, n: http(f"/suggest/{form(t)}"),
    "middle segment": lambda t, n: http(f"/v1/{n}/suggest/{form(t)}/list.json?n={n}"),
    "header": lambda t, n: http(x_input=t),
    "referer": lambda t, n: http(referer=f"https://a.example/box?q={form(t)}"),
    "cookie": lambda t, n: http(cookie=f"sid=1; last={form(t)}"),
    "json": lambda t, n: http("/s", "POST", document(t), content_type="application/json"),
    "json in a list": lambda t, n: http("/s", "POST", json.dumps({"e": [{}] * n + [{"i": t}]}).encode()),
    "form": lambda t, n: http("/s", "POST", f"a=1&q={form(t)}".encode(), content_type="application/x-www-form-urlencoded"),
    "base64": lambda t, n: http(f"/s?d={form(base64.b64encode(document(t)).decode())}"),
    "gzip": lambda t, n: http("/s", "POST", gzip.compress(document(t)), content_encoding="gzip"),
    "protobuf": lambda t, n: http("/s", "POST", varint(b"\x0a", varint(b"\x12", t.encode()) + b"\x18\x07"), content_type="application/x-protobuf"),
    "percent twice": lambda t, n: http(f"/s?q={form(form(t))}"),
    "value in base64": lambda t, n: http(f"/s?v={n}", x_text=base64.b64encode(f"text={form(t)}".encode()).decode()),
    "value in hex": lambda t, n: http("/s", "POST", json.dumps(FILLER | {"i": t.encode().hex()}).encode()),
    "value alone in base64": lambda t, n: http(f"/s?q={form(base64.b64encode(t.encode()).decode())}"),
    "value alone in a segment": lambda t, n: http("/s/" + base64.urlsafe_b64encode(t.encode()).decode().rstrip("=") + f"?n={n}"),
    "value alone in capital hex": lambda t, n: http(x_input=t.encode().hex().upper()),
    "value in base64 in json": lambda t, n: http("/s", "POST", json.dumps(FILLER | {"i": base64.b64encode(t.encode()).decode()}).encode()),
    "json in json": lambda t, n: http("/s", "POST", json.dumps({"d": json.dumps({"i": t, "n": n})}).encode()),
    "json in form": lambda t, n: http("/s", "POST", f"v=1&d={form(document(t).decode())}".encode(), content_type="application/x-www-form-urlencoded"),
    "gzip in base64": lambda t, n: http("/s", "POST", base64.b64encode(gzip.compress(document(t)))),
    "zlib": lambda t, n: http("/s", "POST", zlib.compress(document(t))),
    "multipart": lambda t, n: http("/s", "POST", f'--b{n}\r\nContent-Disposition: form-data; name="q"\r\n\r\n{t}\r\n--b{n}--\r\n'.encode(), content_type=f"multipart/form-data; boundary=b{n}"),
    "grpc": lambda t, n: http("/s.S/Suggest", "POST", b"\0\0\0\0" + varint(b"", varint(b"\x0a", t.encode()) + b"\x10\x07"), content_type="application/grpc"),
    "cookie in base64": lambda t, n: http(cookie="sid=1; state=" + base64.b64encode(document(t)).decode()),
    "websocket in base64": lambda t, n: WebSocketMessage(
        capture="c", id="", host="type.example", type="text", bytes=1, url="wss://type.example/ws",
        data=base64.b64encode(document(t)),
    ),
    "clear message": lambda t, n: Message(capture="c", id="", host="type.example", transport="tcp", bytes=1, data=document(t)),
    "websocket": lambda t, n: WebSocketMessage(
        capture="c", id="", host="type.example", type="text", bytes=1, url="wss://type.example/ws", data=document(t)
    ),
}  # fmt: skip


def typed(sent: Sent, canary: Canary, lengths: list[int], text: str = "") -> list[Sequence]:
    needles = Needles([TERM, URL])
    scanner = Scanner("c", needles, Experiment())
    for number, length in enumerate(lengths):
        record = sent((text or canary.value)[:length], number)
        scanner.add(type(record)(**{
            **{name: getattr(record, name) for name in record.__struct_fields__},
            "id": str(number), "time": 1_700_000_000.0 + number,
        }))  # fmt: skip
    return sequences((stroke for stroke, _ in scanner.finished().keystrokes), needles)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("lengths", [[1, 2, 3, 4, 5, 6, 7, 8], [3, 6, 11], [9, 4, 14]])
def test_a_text_typed(channel: str, lengths: list[int]) -> None:
    (found,) = typed(CHANNELS[channel], TERM, lengths)
    assert found.canary == "t"
    assert found.reach == max(lengths)
    # a form of a few letters in base64 is too short to be told from a word
    short = 8 if channel == "value in base64" else 4
    assert len(found.strokes) >= max(2, sum(length >= short for length in lengths))
    if channel.startswith("value") and channel != "value in base64":
        assert {"hex", "base64"} & {layer for stroke in found.strokes for layer in stroke.typed.layers}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("lead", ["", "https://"])
def test_an_address_typed(channel: str, lead: str) -> None:
    text = lead + URL.value.removeprefix("https://")
    lengths = [len(lead) + n for n in (2, 5, 9, 13, 20)]
    found = typed(CHANNELS[channel], URL, lengths, text)
    # in a path, its slashes make segments of it, which are told as well
    assert any((one.canary, one.reach) == ("u", max(lengths)) for one in found)
    assert len(found) == 1 or "segment" in channel


@pytest.mark.parametrize("joiner", ["+", "-", "_"])
def test_words_joined_otherwise(joiner: str) -> None:
    text = TERM.value.replace(" ", joiner)
    (found,) = typed(CHANNELS["header"], TERM, [5, 9, 13], text)
    assert found.reach == 13


def test_a_name_typed_leaves_by_name_look_ups_too() -> None:
    def asked(text: str, number: int) -> AnyRecord:
        return Dns(capture="c", id="", host="dns.example", name=text, type="A", response=False)

    def greeted(text: str, number: int) -> AnyRecord:
        return Tls(capture="c", id="", host="x.example", sni=text)

    for sent in (asked, greeted):
        (found,) = typed(sent, URL, [5, 9, 13], "n7-lantern.example")
        assert found.canary == "u"


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_same_beginning_again_and_the_value_alone_are_no_typing(channel: str) -> None:
    assert typed(CHANNELS[channel], TERM, [7, 7, 7]) == []
    assert typed(CHANNELS[channel], TERM, [len(TERM.value)]) == []


def test_host_and_page_of_an_address_are_no_typing() -> None:
    whole = URL.value
    assert typed(CHANNELS["query"], URL, [26, 34, len(whole)]) == []


def test_other_places_and_other_recipients_are_not_joined() -> None:
    def elsewhere(text: str, number: int) -> AnyRecord:
        return http(f"/s?q{'ab'[number]}={form(text)}")

    assert typed(elsewhere, TERM, [6, 9]) == []


def test_letters_of_another_script_in_any_case_and_form() -> None:
    canary = Canary(id="k", kind="text", value="Größe Über")
    needles = Needles([canary])
    assert {p.length for p in needles.prefix("GRÖ".encode())} == {3}
    assert {p.length for p in needles.prefix("gro\u0308".encode())} == {3}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    "texts",
    [
        ["1", "2", "3", "10", "11"],
        ["m", "ma", "mar", "mars", "mars ro"],
        ["marching", "marching b", "marching band"],
        ["h", "ht", "https://", "https://n8-lan", "https://n8-lantern.example"],
        ["page=1", "page=2", "page=3"],
        ["arble", "arble ot", "arble otter"],
        ["otter", "otter zx", "otter zx4q8"],
        ["m", "a", "r", "b", "l", "e"],
    ],
)
def test_what_others_type_and_what_only_counts_is_no_typing(channel: str, texts: list[str]) -> None:
    needles = Needles([TERM, URL])
    scanner = Scanner("c", needles, Experiment())
    for number, text in enumerate(texts):
        record = CHANNELS[channel](text, number)
        scanner.add(type(record)(**{
            **{name: getattr(record, name) for name in record.__struct_fields__},
            "id": str(number), "time": 1_700_000_000.0 + number,
        }))  # fmt: skip
    assert sequences((stroke for stroke, _ in scanner.finished().keystrokes), needles) == []
