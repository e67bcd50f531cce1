"""A manifest notices every change, says it in plain words, and its signature is somebody's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.reporting import manifest
from tests.reporting import sample

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = tmp_path / "result"
    result.mkdir()
    (tmp_path / "flows.mitm").write_bytes(b"recorded")
    for name in ("findings.json", "report.html"):
        (result / name).write_text(name)
    audit = sample.audit()
    digest = hashlib.sha256(b"recorded").hexdigest()
    capture = msgspec.structs.replace(audit.captures[0], sha256=digest)
    made = manifest.make(
        result,
        msgspec.structs.replace(audit, captures=(capture,)),
        [(tmp_path / "flows.mitm", "capture")],
    )
    content = manifest.encode(made)
    (result / manifest.NAME).write_bytes(content)
    (result / manifest.SIGNATURE).write_bytes(manifest.sign(content, KEY))
    return result


def said(folder: Path, expected: bytes | None = None) -> tuple[bool, str]:
    outcome = manifest.verify(folder, expected)
    return outcome.sound, " ".join(outcome.lines)


def test_untouched_is_sound(folder: Path) -> None:
    sound, words = said(folder, PUBLIC)
    assert sound
    assert "The signature is sound." in words
    assert "All 3 files are as they were." in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "report.html").write_text("other text"), "it is 1 bytes shorter"),
        (lambda folder: (folder / "report.html").write_text("REPORT.html"), "its content is another"),
        (lambda folder: (folder.parent / "flows.mitm").unlink(), "../flows.mitm (capture) is missing."),
        (
            lambda folder: (folder / "manifest.json").write_text(
                (folder / "manifest.json").read_text().replace("report.html", "rep0rt.html")
            ),
            "the manifest itself was changed",
        ),
        (lambda folder: (folder / "manifest.json.sig").write_text("{}"), "cannot be read as a signature"),
    ],
)
def test_every_change_is_said(folder: Path, change: object, words: str) -> None:
    change(folder)  # type: ignore[operator]
    sound, text = said(folder)
    assert not sound
    assert words in text


def test_an_added_file_is_named_and_is_no_change(folder: Path) -> None:
    (folder / "report.pdf").write_text("not signed")
    sound, words = said(folder, PUBLIC)
    assert sound
    assert "report.pdf is not in the manifest" in words
    assert "nobody vouches for it" in words
    for number in range(30):
        (folder / f"more-{number}").write_text("")
    assert "11 more files are not in the manifest either." in said(folder)[1]


@pytest.mark.parametrize("content", [b'{"schema":', b"\xff\x00", b"[]", b'{"schema":9,"tool":{},"files":[]}'])
def test_a_damaged_manifest_is_one_line_with_its_remedy(folder: Path, content: bytes) -> None:
    (folder / manifest.NAME).write_bytes(content)
    with pytest.raises(manifest.BadManifest, match=r"manifest\.json: .*; (restore|verify)") as caught:
        manifest.verify(folder)
    assert "\n" not in str(caught.value)


def test_who_must_have_signed_did_not(folder: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key()
    raw = other.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert said(folder, raw)[0] is False
    (folder / manifest.SIGNATURE).unlink()
    assert said(folder, PUBLIC)[0] is False
    assert said(folder) == (True, " ".join(manifest.verify(folder).lines))
    assert "not signed" in said(folder)[1]


def test_another_capture_than_the_analysed_one_is_not_signed(folder: Path) -> None:
    audit = sample.audit()
    with pytest.raises(manifest.BadManifest, match="not the file that was analysed"):
        manifest.make(folder, audit, [(folder.parent / "flows.mitm", "capture")])


def test_keys_are_read_and_others_refused(tmp_path: Path) -> None:
    none = serialization.NoEncryption()
    forms = {"pkcs8": serialization.PrivateFormat.PKCS8, "openssh": serialization.PrivateFormat.OpenSSH}
    for name, form in forms.items():
        path = tmp_path / name
        path.write_bytes(KEY.private_bytes(serialization.Encoding.PEM, form, none))
        assert manifest.load_key(path).private_bytes_raw() == bytes(range(32))
    path = tmp_path / "rsa"
    other = rsa.generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    with pytest.raises(manifest.BadManifest, match="no Ed25519 key"):
        manifest.load_key(path)
    path.write_text("nonsense")
    with pytest.raises(manifest.BadManifest, match="cannot be read"):
        manifest.load_key(path)
