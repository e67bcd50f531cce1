"""Published shapes with known content: the vectors that were made for this project and round-tripped
elsewhere. The whole address must come out of each, with the layers that lead to it."""

from __future__ import annotations

import base64

import pytest

from audit.adapters import load
from audit.adapters.fingerprints import java_hash, sensors_form
from audit.decoding.channels import channels
from audit.detection.needles import Needles
from audit.detection.roles import roles
from audit.detection.search import Searcher
from audit.records import Canary, Http
from tests.adapters.test_recognition import ESCAPED, PLAIN

URL = "https://c4n4ry-p2t1.example.test/a/b?q=tok-9f31#frag"
SEARCHER = Searcher(Needles([Canary(id="page", kind="url", value=URL)]))
FULL = "EjMaMRIvaHR0cHM6Ly9jNG40cnktcDJ0MS5leGFtcGxlLnRlc3QvYS9iP3E9dG9rLTlmMzE="
PREFIX = "EggaBgoEF_IFvQ=="


def post(body: bytes) -> Http:
    return Http(
        capture="c", id="1", host="any.example", method="POST", scheme="https", authority="any.example", path="/any",
        version="1.1", body=body, headers=((b"Content-Type", b"application/x-www-form-urlencoded"),),
    )  # fmt: skip


def get(request: str) -> Http:
    return Http(
        capture="c", id="1", host="sba.yandex.net", method="GET", scheme="https", authority="sba.yandex.net",
        path=f"/v4/threatMatches:find?$req={request}", version="2",
    )  # fmt: skip


@pytest.mark.parametrize("body", [PLAIN, ESCAPED], ids=["plain", "slashes escaped"])
def test_a_sensors_body_shows_the_address_and_the_private_flag(body: bytes) -> None:
    (sighting,) = SEARCHER.search(channels(post(body))).sightings
    assert (sighting.match.granularity, sighting.match.form) == ("full", "plain")
    assert sighting.path == "$[0].properties.url"
    assert sighting.layers == ("form", "percent", "base64", "gzip", "json")
    assert sighting.excerpt.endswith("#frag")
    (adapter,) = load().recognise(post(body))
    parts = channels(post(body))
    told = {(t.role, t.value) for t in roles(parts, SEARCHER.open(parts), (load()["xiaomi-sensors"],))}
    assert ("private_flag", b"privacy") in told
    assert adapter.id == "sensors-analytics"


def test_the_checksum_is_that_of_the_base64_text() -> None:
    for body, crc in ((PLAIN, 1850956737), (ESCAPED, -1488359601)):
        text = (
            body.partition(b"data_list=")[2].replace(b"%2F", b"/").replace(b"%2B", b"+").replace(b"%3D", b"=")
        )
        assert java_hash(text) == crc
        assert sensors_form("", body) == "A"


def test_the_full_address_in_protobuf_is_told_and_the_hash_prefix_is_not() -> None:
    (sighting,) = SEARCHER.search(channels(get(FULL))).sightings
    assert sighting.match.granularity == "full"
    assert (sighting.channel, sighting.path) == ("url.query", "2.3.2")
    assert sighting.layers[-2:] == ("base64", "protobuf")
    assert SEARCHER.search(channels(get(PREFIX))).sightings == ()


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_name_in_base64_is_found_at_every_alignment_without_delimiters(shift: int) -> None:
    cores = ["YzRuNHJ5LXAydD", "M0bjRyeS1wMnQx", "jNG40cnktcDJ0M"]
    text = base64.b64encode(b"?" * shift + b"c4n4ry-p2t1.example.test/a" + b"!" * 9).decode().rstrip("=")
    assert cores[shift] in text
    for around in (text, f"x{text}", f"word{text}Word"):
        body = f'{{"note":"glued {around} here"}}'.encode()
        found = SEARCHER.search(channels(post(body))).sightings
        assert [s.match.granularity for s in found] == ["host"], around
