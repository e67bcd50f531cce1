"""What an adapter or the user tells of a cipher and its key is searched; what nothing opens is told as
opaque, with its size and entropy, and is never called clean."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from audit import adapters, pipeline
from audit.adapters.loader import Adapters, parse
from audit.cli import cli
from audit.records import Audit, Canary, Experiment
from audit.reporting import findings as findings_file
from audit.reporting import html

URL = "https://n7-lantern.example/reading/room7?note=violet-83"
EVENT = json.dumps({"event": "page_open", "address": URL}).encode()
KEY, IV = bytes(range(16)), bytes(range(16, 32))


def padded(data: bytes) -> bytes:
    size = 16 - len(data) % 16
    return data + bytes([size]) * size


def run(cipher: Cipher, data: bytes) -> bytes:
    engine = cipher.encryptor()
    return engine.update(data) + engine.finalize()


def har(folder: Path, url: str, body: bytes, media: str) -> pipeline.Capture:
    request = {
        "method": "POST", "url": url, "httpVersion": "HTTP/2", "cookies": [], "queryString": [], "headersSize": -1,
        "bodySize": len(body), "headers": [{"name": "content-type", "value": media}],
        "postData": {"mimeType": media, "text": body.decode("latin-1")},
    }  # fmt: skip
    response = {
        "status": 200, "statusText": "", "httpVersion": "HTTP/2", "cookies": [], "headers": [], "headersSize": -1,
        "bodySize": 0, "redirectURL": "", "content": {"size": 0, "mimeType": ""},
    }  # fmt: skip
    entry = {
        "startedDateTime": "2026-11-22T10:00:00Z", "time": 1, "request": request, "response": response,
        "cache": {}, "timings": {},
    }  # fmt: skip
    path = folder / "sent.har"
    path.write_text(
        json.dumps({"log": {"version": "1.2", "creator": {"name": "t", "version": "1"}, "entries": [entry]}})
    )
    return pipeline.Capture(path, path.name)


def audit_of(capture: pipeline.Capture, *decoders: str) -> Audit:
    planted = Canary(id="page", kind="url", value=URL)
    return pipeline.analyze([capture], Experiment(canaries=(planted,)), decoders=decoders)


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize("written", ["raw", "hex"])
@pytest.mark.parametrize("mode", ["ecb", "cbc"])
def test_mistat_v2_is_opened_with_the_key_that_follows_from_its_fields(
    tmp_path: Path, name: str, written: str, mode: str
) -> None:
    digest = hashlib.new(name, b"seed:2882303761517000000-5411700000000-6b1f0e5d7c2a")
    key = digest.digest()[:16] if written == "raw" else digest.hexdigest()[:16].encode()
    data = padded(EVENT)
    value = run(Cipher(AES(key), ECB()), data) if mode == "ecb" else IV + run(Cipher(AES(key), CBC(IV)), data)
    body = (
        "app_id=2882303761517000000&app_key=5411700000000&device_id=6b1f0e5d7c2a&mistatv=3.1.3&stat_value="
        + quote(base64.b64encode(value), safe="")
    )
    audit = audit_of(
        har(tmp_path, "https://data.mistat.intl.xiaomi.com/mistats/v2", body.encode(),
            "application/x-www-form-urlencoded")
    )  # fmt: skip
    (finding,) = audit.findings
    assert (finding.leak_type, finding.expected) == ("B1", None)
    (place,) = finding.occurrences
    assert place.layers[-3:] == ("base64", f"aes-{mode}", "json")
    assert place.path == "$.address"
    assert ("device_id", "hardware_id") in {(i.name.split()[-1], i.kind) for i in finding.identifiers}


SPECIFICATIONS = {
    f"aes-cbc:key=hex:{KEY.hex()},iv=prefix16": IV + run(Cipher(AES(KEY), CBC(IV)), padded(EVENT)),
    "aes-ecb:key=md5(field app)": run(Cipher(AES(hashlib.md5(b"app-7").digest()), ECB()), padded(EVENT)),
    f"aes-gcm:key=base64:{base64.b64encode(KEY).decode()},iv=prefix12": IV[:12]
    + AESGCM(KEY).encrypt(IV[:12], gzip.compress(EVENT, mtime=0), None),
    "rc4:key=text:secret-key-of- + field x-key": run(Cipher(ARC4(b"secret-key-of-h7"), None), EVENT),
    "xor:key=hex:5a17c3": bytes(c ^ b"\x5a\x17\xc3"[i % 3] for i, c in enumerate(EVENT)),
}


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_an_adapter_that_declares_a_key_has_its_bodies_searched(
    tmp_path: Path, specification: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "id": "made-up", "name": "Made up", "organisation": "Made up", "kind": "telemetry", "source": "this test",
        "match": [{"hosts": ["sdk.example"]}], "decode": [{"specs": [specification], "reasoning": "made up"}],
    }  # fmt: skip
    known, _ = parse("made-up.json", json.dumps({"adapter": [row]}).encode())
    monkeypatch.setattr("audit.detection.scan.load", lambda: Adapters(known))
    monkeypatch.setattr("audit.detection.identifiers.load", lambda: Adapters(known))
    monkeypatch.setattr("audit.assessment.findings.load", lambda: Adapters(known))
    data = {"app": "app-7", "data": base64.b64encode(SPECIFICATIONS[specification]).decode()}
    capture = har(tmp_path, "https://sdk.example/v1", json.dumps(data).encode(), "application/json")
    content = json.loads(capture.path.read_text())
    content["log"]["entries"][0]["request"]["headers"].append({"name": "X-Key", "value": "h7"})
    capture.path.write_text(json.dumps(content))
    (finding,) = audit_of(capture).findings
    assert finding.leak_type == "B1"
    assert specification.partition(":")[0] in finding.occurrences[0].layers


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_a_key_that_the_user_gives_opens_what_stayed_opaque_without(
    tmp_path: Path, specification: str
) -> None:
    line = specification.replace(" + field x-key", " + text:h7")
    data = {"app": "app-7", "data": base64.b64encode(SPECIFICATIONS[specification]).decode()}
    capture = har(tmp_path, "https://sdk.example/v1", json.dumps(data).encode(), "application/json")
    (finding,) = audit_of(capture, line).findings
    assert finding.leak_type == "B1"
    assert specification.partition(":")[0] in finding.occurrences[0].layers
    body = tmp_path / "body.json"
    body.write_text(json.dumps(data))
    search = CliRunner().invoke(cli, ["search", "--value", URL, "--decoder", line, str(body)])
    assert specification.partition(":")[0] in json.loads(search.stdout)["layers"]
    tree = CliRunner().invoke(cli, ["decode", "--decoder", line, str(body)])
    assert "n7-lantern.example" in tree.stdout
    out = tmp_path / "out"
    planted = ["--canary", f"url={URL}", "--decoder", line, "-o", str(out)]
    assert CliRunner().invoke(cli, ["analyze", str(capture.path), *planted]).exit_code == 0
    assert [f["leak_type"] for f in json.loads((out / "findings.json").read_text())["findings"]] == ["B1"]
    if not specification.startswith("xor"):
        assert CliRunner().invoke(cli, ["search", "--value", URL, str(body)]).exit_code == 1
        audit = audit_of(capture)
        assert audit.findings == ()
        (closed,) = audit.coverage.opaque
        assert (closed.host, closed.channel, closed.values) == ("sdk.example", "body", 1)
        assert closed.bytes == closed.largest == len(SPECIFICATIONS[specification])
        assert closed.entropy > 5


@pytest.mark.parametrize("known", [True, False])
def test_a_short_hash_counts_where_an_adapter_knows_it_for_one(
    tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "id": "made-up", "name": "Made up", "organisation": "Made up", "kind": "telemetry", "source": "this test",
        "match": [{"hosts": ["sdk.example" if known else "other.example"]}],
        "fields": [{"channels": ["body"], "paths": ["$.k"], "role": "hash", "reasoning": "made up"}],
    }  # fmt: skip
    rows, _ = parse("made-up.json", json.dumps({"adapter": [row]}).encode())
    for module in ("detection.scan", "detection.identifiers", "assessment.findings"):
        monkeypatch.setattr(f"audit.{module}.load", lambda: Adapters(rows))
    short = hashlib.sha256(URL.encode()).hexdigest()[:16]
    body = json.dumps({"k": short, "words": "so that there is more than a hash in it"}).encode()
    found = audit_of(har(tmp_path, "https://sdk.example/v1", body, "application/json")).findings
    assert [(f.leak_type, f.occurrences[0].form) for f in found] == ([("B5", "sha256/64")] if known else [])


def test_a_line_that_cannot_be_read_is_bad_usage() -> None:
    for command in (["decode"], ["search", "--value", "abc"], ["analyze"]):
        result = CliRunner().invoke(cli, [*command, "--decoder", "des:key=hex:00", "x"])
        assert result.exit_code == 2
        assert "begins with none of" in result.stderr


def test_what_stays_closed_is_told_and_bounded_by_recipient(tmp_path: Path) -> None:
    noise = random.Random(7).randbytes(4096)
    body = base64.b64encode(noise)
    audit = audit_of(
        har(tmp_path, "https://tracking.intl.miui.com/track/v4", body, "application/octet-stream")
    )
    (closed,) = audit.coverage.opaque
    assert (closed.host, closed.mode, closed.channel) == ("tracking.intl.miui.com", "unknown", "body")
    assert (closed.transmissions, closed.values, closed.bytes, closed.largest) == (1, 1, 4096, 4096)
    assert 7.9 < closed.entropy <= 8
    assert closed.explanation == (
        "Xiaomi OneTrack (encrypted): encrypted for the server (AES, key sent under RSA)"
    )
    (said,) = [line for line in audit.coverage.statements if "could not be opened" in line]
    assert "4,096 bytes" in said
    assert "unknown" in said
    assert said.partition(":")[0] in html.render(audit)
    kept = json.loads(findings_file.encode(audit))["coverage"]["opaque"]
    assert kept[0]["bytes"] == 4096
    (verdict,) = audit.verdicts
    assert "One value that was sent could not be opened: what is in there is unknown." in verdict.statement


def test_what_reads_as_text_is_not_opaque(tmp_path: Path) -> None:
    body = json.dumps({"id": random.Random(7).randbytes(16).hex(), "words": "nothing is hidden here " * 20})
    audit = audit_of(har(tmp_path, "https://sdk.example/v1", body.encode(), "application/json"))
    assert audit.coverage.opaque == ()
    assert not any("could not be opened" in line for line in audit.coverage.statements)


def test_every_declared_layer_can_be_read() -> None:
    assert [adapter.id for adapter in adapters.load().adapters if adapter.decoders] == ["xiaomi-mistat-v2"]
