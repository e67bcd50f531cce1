"""The evidence manifest: what belonged to an audit, by SHA-256, signed by whoever vouches for it.

`manifest.json` lists every capture, key log, plan, result and report with its digest, and the version of
the tool; `manifest.json.sig` is an Ed25519 signature (RFC 8032) of exactly those bytes, with the public
key. A signature proves that the holder of the key saw these files as they are; it proves nothing about
when or how they were recorded. Private keys are read, never written here or anywhere in the result.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from audit.records import Audit, Tool

NAME = "manifest.json"
SIGNATURE = "manifest.json.sig"
SCHEMA = 1
_ADDED = 20  # files outside the manifest that are named one by one
_RESULTS = ("findings.json", "report.html", "report.pdf", "report-unmasked.html", "report-unmasked.pdf")
_PLANS = ("experiment.toml", "plan.toml", "events.jsonl")


class BadManifest(ValueError):  # noqa: N818 (named as the reader says it)
    """A manifest, signature or key that cannot be used: one line with the file, the reason and the remedy."""


class Entry(Struct, frozen=True, kw_only=True):
    """One file. `path` is relative to the manifest's folder; `role`: capture, keys, plan, result."""

    path: str
    role: str
    sha256: str
    bytes: int


class Manifest(Struct, frozen=True, kw_only=True):
    """The content of `manifest.json`."""

    schema: int
    tool: Tool
    files: tuple[Entry, ...]


class Signature(Struct, frozen=True, kw_only=True):
    """The content of `manifest.json.sig`; both values are base64."""

    algorithm: str
    public_key: str
    signature: str


class Outcome(Struct, frozen=True, kw_only=True):
    """What a verification found, in plain words. `sound`: nothing changed, and a signature fits if there is one."""

    sound: bool
    signed_by: str | None
    lines: tuple[str, ...]


def make(folder: Path, audit: Audit, captures: Iterable[tuple[Path, str]]) -> Manifest:
    """The manifest of an audit whose results lie in `folder`; `captures` are files and their roles.
    Raises BadManifest where a file that the audit names is missing or is another one."""
    digests = {capture.name: capture.sha256 for capture in audit.captures}
    files: dict[str, Entry] = {}
    for path, role in captures:
        entry = _entry(path, folder, role)
        known = digests.get(entry.path) or digests.get(path.name)
        if role == "capture" and known and known != entry.sha256:
            raise BadManifest(
                f"{path}: is not the file that was analysed (its SHA-256 differs); run `analyze` again"
            )
        files[entry.path] = entry
    for name in (*_PLANS, *_RESULTS):
        if (folder / name).is_file():
            entry = _entry(folder / name, folder, "plan" if name in _PLANS else "result")
            files.setdefault(entry.path, entry)
    return Manifest(
        schema=SCHEMA, tool=audit.tool, files=tuple(files[name] for name in sorted(files))
    )  # fmt: skip


def encode(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, the same for the same files."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def sign(content: bytes, key: Ed25519PrivateKey) -> bytes:
    """The bytes of `manifest.json.sig` for these bytes of a manifest."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    made = Signature(
        algorithm="Ed25519",
        public_key=base64.b64encode(public).decode(),
        signature=base64.b64encode(key.sign(content)).decode(),
    )
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def load_key(path: Path, password: bytes | None = None) -> Ed25519PrivateKey:
    """A private key in PEM (PKCS #8) or OpenSSH form; raises BadManifest."""
    try:
        data = path.read_bytes()
        load = (
            serialization.load_ssh_private_key
            if b"OPENSSH" in data[:64]
            else serialization.load_pem_private_key
        )
        key = load(data, password)
    except OSError as error:
        raise BadManifest(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError):
        raise BadManifest(
            f"{path}: cannot be read as a private key, or its password is another; "
            "make one with `openssl genpkey -algorithm ed25519`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadManifest(f"{path}: is no Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")
    return key


def load_public(path: Path) -> bytes:
    """The 32 bytes of a public key in PEM or OpenSSH form; raises BadManifest."""
    data = _read(path, "name the file of a public key")
    try:
        ssh = data.startswith(b"ssh-")
        key = (serialization.load_ssh_public_key if ssh else serialization.load_pem_public_key)(data)
    except (ValueError, TypeError):
        raise BadManifest(
            f"{path}: cannot be read as a public key; give one in PEM or OpenSSH form"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadManifest(f"{path}: is no Ed25519 key")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def verify(folder: Path, expected: bytes | None = None) -> Outcome:
    """Whether the files in and around `folder` are those of its manifest. `expected`: the public key (32
    bytes) that must have signed. Raises BadManifest where there is no manifest to hold them against."""
    content = _read(folder / NAME, "make one with `privacy-audit sign`")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadManifest(f"{folder / NAME}: no manifest: {error}; restore it or sign again") from None
    if manifest.schema != SCHEMA:
        raise BadManifest(
            f"{folder / NAME}: is of schema {manifest.schema}, and this version knows {SCHEMA}; "
            "verify it with the version that it names"
        )
    lines: list[str] = []
    sound = True
    signer: str | None = None
    path = folder / SIGNATURE
    if path.is_file():
        sound, signer, said = _signed(path, content, expected)
        lines.append(said)
    elif expected:
        sound = False
        lines.append("The manifest is not signed, so nobody vouches for it: its signature is missing.")
    else:
        lines.append(
            "The manifest is not signed: it shows what changed by accident, not what was changed on purpose."
        )
    same = 0
    for entry in manifest.files:
        change = _changed(folder, entry)
        if change:
            sound = False
            lines.append(change)
        else:
            same += 1
    total = len(manifest.files)
    lines.append(
        f"All {total} files are as they were."
        if same == total
        else f"{same} of {total} files are as they were."
    )
    lines += _added(folder, manifest)
    return Outcome(sound=sound, signed_by=signer, lines=tuple(lines))  # fmt: skip


def _signed(path: Path, content: bytes, expected: bytes | None) -> tuple[bool, str | None, str]:
    try:
        made = msgspec.json.decode(_read(path, "restore it or sign again"), type=Signature)
        public = base64.b64decode(made.public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(made.signature, validate=True), content
        )
    except InvalidSignature:
        return False, None, "The signature does not fit: the manifest itself was changed after it was signed."
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError):
        return False, None, f"{path.name} cannot be read as a signature: it was damaged or replaced."
    name = fingerprint(public)
    if expected is not None and public != expected:
        return False, name, f"The signature is sound, but it was made with another key: {name}."
    return True, name, f"The signature is sound. It was made with the key {name}."


def fingerprint(public: bytes) -> str:
    """How a public key is called: `ed25519:` and the start of its SHA-256."""
    return "ed25519:" + hashlib.sha256(public).hexdigest()[:16]


def _changed(folder: Path, entry: Entry) -> str | None:
    place = folder / entry.path
    if not place.is_file():
        return f"{entry.path} ({entry.role}) is missing."
    size = place.stat().st_size
    if size != entry.bytes:
        grown = "longer" if size > entry.bytes else "shorter"
        return f"{entry.path} ({entry.role}) was changed: it is {abs(size - entry.bytes):,} bytes {grown} than it was."
    if _digest(place) != entry.sha256:
        return (
            f"{entry.path} ({entry.role}) was changed: it is as long as before, but its content is another."
        )
    return None


def _added(folder: Path, manifest: Manifest) -> list[str]:
    """What lies beside the files of the manifest and is none of them. It changes nothing that was signed, but
    must not be taken for a part of it."""
    known = {entry.path for entry in manifest.files} | {NAME, SIGNATURE}
    others = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in known)
    lines = [
        f"{name} is not in the manifest: it was added later or left out, and nobody vouches for it."
        for name in others[:_ADDED]
    ]
    more = len(others) - _ADDED
    return [*lines, f"{more:,} more files are not in the manifest either."] if more > 0 else lines


def _entry(path: Path, folder: Path, role: str) -> Entry:
    try:
        size = path.stat().st_size
        return Entry(path=_relative(path, folder), role=role, sha256=_digest(path), bytes=size)
    except OSError as error:
        raise BadManifest(
            f"{path}: {error.strerror or error}; put it back, or analyse again without it"
        ) from None


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadManifest(f"{path}: {error.strerror or error}; {remedy}") from None
