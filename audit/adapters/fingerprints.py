"""Recognition by content, on any host: what a protocol cannot help showing whoever receives it.

Each is a cheap question asked first and a proof after it. Must never unfold anything large, and never
answer from a name alone. Sources: Sensors Analytics SDKs (Android AnalyticsMessages, JavaScript), RFC 6960
appendix A (OCSP over HTTP), RFC 8484 (DNS over HTTPS), Sentry's envelope documentation.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np

from audit.adapters.model import Fingerprint

_MAX_HASHED = 4 << 20
_START = 1 << 16
_PEEK = 4096
_STEP = 1 << 15
_POWERS = np.multiply.accumulate(np.full(_STEP, 31, np.uint32), dtype=np.uint32)
_POWERS = np.concatenate((np.ones(1, np.uint32), _POWERS[:-1]))[::-1].copy()
_FORM_START = re.compile(rb"(?:^|&)(crc|gzip|data_list|data|ext)=")
_SENSORS_NAMES = (b'"distinct_id"', b'"_track_id"', b'"identities"', b'"$lib_version"')
_SENSORS_KEYS = (b'"ekey"', b'"pkv"', b'"payloads"')
_SENSORS_PLUGIN = (b'"key_id"', b'"key_hash"', b'"payload"')
_ENVELOPE_HEAD = (b'"event_id"', b'"sent_at"', b'"dsn"', b'"sdk"')
_HASH_OIDS = (b"\x2b\x0e\x03\x02\x1a", b"\x60\x86\x48\x01\x65\x03\x04\x02")
_OCSP_PATH = re.compile(r"/(?:[A-Za-z0-9._-]{1,40}/){0,3}(M[A-Za-z0-9+/_%-]{40,400}={0,2})")


class Request(NamedTuple):
    """What recognition looks at. `path` is without the query."""

    method: str
    path: str
    query: str
    media: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def java_hash(text: bytes) -> int:
    """Java's String.hashCode of ASCII text: signed, 32 bits (java.lang.String documentation)."""
    value = 0
    for start in range(0, len(text), _STEP):
        part = np.frombuffer(text, np.uint8, min(_STEP, len(text) - start), start).astype(np.uint32)
        value = value * pow(31, len(part), 1 << 32) + int((part * _POWERS[-len(part) :]).sum(dtype=np.uint32))
        value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def sensors_form(query: str, body: bytes) -> str | None:
    """Which of the request forms of Sensors Analytics this is: `A` (gzip), `B` or `C` (event or transport
    encryption), `D` or `E` (single event in query or body), `F` (batch without gzip), `G` (encryption
    plug-in); None where it is none. The checksum must hold wherever the form has one."""
    inside = "D" if not body else "E"
    form = body or query.encode("utf-8", "surrogateescape")
    if b"data" not in form or not _FORM_START.search(form[:_PEEK]):
        return None
    fields = _form(form)
    sent = fields.get(b"data_list") or fields.get(b"data")
    if not sent or len(sent) > _MAX_HASHED:
        return None
    start = unquote_to_bytes(sent[:_START])
    shape = _sensors_shape(start, fields.get(b"gzip", b""), batch=b"data_list" in fields)
    if shape is None:
        return None
    said = fields.get(b"crc") or _after_crc(unquote_to_bytes(fields.get(b"ext", b"")[:_PEEK]))
    if not said:
        return shape if shape in "BCFG" else None
    if said != str(java_hash(unquote_to_bytes(sent))).encode():
        return None
    return inside if shape == "single" else shape


def _sensors_shape(start: bytes, gzip: bytes, *, batch: bool) -> str | None:
    head = start[:_PEEK]
    if head.startswith((b"[{", b"{")):
        if gzip in (b"9", b"13") and all(name in start for name in _SENSORS_KEYS):
            return "B" if gzip == b"9" else "C"
        return "G" if all(name in head for name in _SENSORS_PLUGIN) else None
    try:
        opened = b64decode(head[: len(head) & ~3], validate=True)
    except (Base64Error, ValueError):
        return None
    if opened.startswith(b"\x1f\x8b"):
        return "A"
    if not opened.startswith((b"[{", b"{")) or not any(name in opened for name in _SENSORS_NAMES):
        return None
    return "F" if batch else "single"


def _after_crc(ext: bytes) -> bytes:
    return ext[4:].partition(b"&")[0] if ext.startswith(b"crc=") else b""


def _form(data: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for part in data.split(b"&", 32)[:32]:
        name, _, value = part.partition(b"=")
        fields.setdefault(name, value)
    return fields


def _sensors(request: Request) -> bool:
    return sensors_form(request.query, request.body) in ("A", "D", "E", "F")


def _sensors_encrypted(request: Request) -> bool:
    return sensors_form(request.query, request.body) in ("B", "C", "G")


def _ocsp(request: Request) -> bool:
    """GET of a DER OCSPRequest in base64 (RFC 6960, A.1)."""
    if request.method != "GET" or request.query:
        return False
    found = _OCSP_PATH.fullmatch(request.path)
    if not found:
        return False
    text = unquote_to_bytes(found[1])
    try:
        der = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (Base64Error, ValueError):
        return False
    whole = der[1] == len(der) - 2 < 128 or (der[1] == 0x81 and der[2] == len(der) - 3)
    return der[0] == 0x30 and whole and any(oid in der for oid in _HASH_OIDS)


def _dns_query(request: Request) -> bool:
    """GET of a DNS message in base64url: a header of 12 bytes asking one question (RFC 8484, 4.1)."""
    at = f"&{request.query}".find("&dns=")
    if at < 0:
        return False
    text = f"&{request.query}"[at + 5 :].partition("&")[0][:2048]
    try:
        message = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (Base64Error, ValueError):
        return False
    return len(message) > 16 and message[4:6] == b"\0\1" and not message[2] & 0x80


def _sentry(request: Request) -> bool:
    """An envelope: its first line is a JSON object of a few known names, or the sender names a key."""
    if not re.fullmatch(r"(?:/[A-Za-z0-9_-]{1,60}){0,4}/api/\d{1,20}/(?:envelope|store)/?", request.path):
        return False
    if "sentry_key=" in request.query or any(name.lower() == b"x-sentry-auth" for name, _ in request.headers):
        return True
    return any(name in request.body[:_PEEK].partition(b"\n")[0] for name in _ENVELOPE_HEAD)


def _ut_envelope(request: Request) -> bool:
    """Alibaba UT: 0x01, three bytes of length, 01 29 00 00, then gzip."""
    body = request.body
    return body[:1] == b"\1" and body[4:6] == b"\1\x29" and body[8:10] == b"\x1f\x8b"


def _measurement(request: Request) -> bool:
    """Google Analytics 4 behind a site's own name: /g/collect with a measurement id."""
    return "tid=G-" in request.query and f"&{request.query}".find("&v=2") >= 0


CHECKS: dict[Fingerprint, Callable[[Request], bool]] = {
    "sensors": _sensors,
    "sensors_encrypted": _sensors_encrypted,
    "ocsp": _ocsp,
    "dns_query": _dns_query,
    "sentry": _sentry,
    "ut_envelope": _ut_envelope,
    "measurement": _measurement,
}


def worth_asking(path: str, body: bytes) -> tuple[Fingerprint, ...]:
    """The fingerprints that a request could show, told from a few bytes. Those not named here are asked
    only in rules that name a host, a media type or the end of the path."""
    if body:
        if body[:1] == b"\1":
            return ("ut_envelope",)
        head = body[:160]
        return ("sensors", "sensors_encrypted") if b"data=" in head or b"data_list=" in head else ()
    if "data=" in path or "data_list=" in path:
        return ("sensors", "sensors_encrypted")
    return ("ocsp",) if len(path) > 60 and "/M" in path else ()
