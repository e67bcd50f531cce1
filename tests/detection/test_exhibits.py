"""An exhibit leads from the request to the value, step by step, and is cut where it would be long."""

from __future__ import annotations

import base64
import gzip
import json

from audit.decoding import unfold
from audit.decoding.channels import Channel
from audit.detection.exhibits import Exhibits
from audit.records import Exhibit, Http

URL = "https://n4-harbour.example/a/room7?note=violet-83"


def kept(body: bytes, path: str, value: str) -> Exhibit:
    record = Http(
        capture="c", id="f1", method="POST", scheme="https", authority="t.example", path="/v1", version="2", body=body,
        headers=((b"content-type", b"application/x-www-form-urlencoded"),), request_bytes=len(body),
    )  # fmt: skip
    channel = Channel("body", body, ("application/x-www-form-urlencoded",))
    tree = unfold(body, channel.hints)
    field = next(each for each in tree.fields if each.path == path and each.data == value.encode())
    exhibits = Exhibits()
    exhibits.keep(record, channel, tree, (path, field.layers, 0, len(value)))
    (exhibit,) = exhibits.kept.values()
    return exhibit


def test_every_step_marks_the_value_or_its_coded_form() -> None:
    document = json.dumps([{"filler": "x" * 900, "url": URL, "more": "y" * 900}]).replace("/", "\\/")
    coded = base64.b64encode(gzip.compress(document.encode(), mtime=0)).decode()
    exhibit = kept(f"v=1&data={coded.replace('+', '%2B').replace('=', '%3D')}&z=2".encode(), "$[0].url", URL)
    names = [each.layer for each in exhibit.layers]
    assert names[0] == ""
    assert names[-3:] == ["base64", "gzip", "json"]
    first, unpacked, last = exhibit.layers[0], exhibit.layers[-2], exhibit.layers[-1]
    assert first.before == "v=1&data="
    assert first.after == "&z=2"
    assert unpacked.value == URL.replace("/", "\\/")
    assert unpacked.before.startswith("…")
    assert unpacked.after.endswith("…")
    assert last.value == URL
    assert exhibit.body_bytes == len(exhibit.body)


def test_what_is_long_is_cut_and_says_so() -> None:
    exhibit = kept(b"a=" + b"q" * 50_000, "a", "q" * 50_000)
    assert all(len(each.value) <= 321 for each in exhibit.layers)
    assert exhibit.layers[0].value.endswith("…")
    assert len(exhibit.body) <= 1_200
    assert exhibit.body_bytes == 50_002


def test_one_of_each_sort_is_kept() -> None:
    exhibits = Exhibits()
    assert exhibits.wants("sort")
    assert not exhibits.wants("sort")
    assert exhibits.wants("typed", typed=True)
    assert exhibits.wants("typed", typed=True)
