"""The encoders: one row per coding, each from bytes to bytes, varied by a seeded random source.

They stand on the standard library, third-party compressors and a few lines of their own, never on
`audit.decoding`. A coding takes `text` (UTF-8) or any `bytes`, and gives `text` or `bytes`; `first` ones
only make sense next to the value (a charset, a name in a DNS message); `headerless` ones cannot be told
from their data and stand at most once in a chain. Formats: the RFCs that `audit/decoding` names.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import hashlib
import hmac
import html
import importlib
import json
import random
import string
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from html.entities import codepoint2name
from types import ModuleType
from typing import Literal
from urllib.parse import quote_from_bytes

import brotli
import zstandard

from tests.benchmarks.leakbench import lzstring

Kind = Literal["text", "bytes"]
Encoder = Callable[[bytes, random.Random], bytes]
_LETTERS = (string.ascii_letters + string.digits).encode()


@dataclass(frozen=True)
class Coding:
    """One way to encode. `value` limits it to values of one sort ("host", "idn", "cjk", "address")."""

    name: str
    encode: Encoder
    takes: Kind = "bytes"
    gives: Kind = "bytes"
    family: str = ""
    first: bool = False
    headerless: bool = False
    value: str = ""


def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _letters(rng: random.Random, count: int) -> bytes:
    return bytes(rng.choice(_LETTERS) for _ in range(count))


# --- characters ----------------------------------------------------------------------------------


def _percent(data: bytes, rng: random.Random) -> bytes:
    out = quote_from_bytes(data, safe="")
    return (out if "%" in out else "".join(f"%{b:02X}" for b in data)).encode()


def _percent_lower(data: bytes, rng: random.Random) -> bytes:
    kept = [i > 0 and b < 128 and chr(b).isalnum() and rng.random() < 0.7 for i, b in enumerate(data)]
    return "".join(chr(b) if keep else f"%{b:02x}" for b, keep in zip(data, kept, strict=True)).encode()


def _percent_all(data: bytes, rng: random.Random) -> bytes:
    return "".join(f"%{b:02X}" for b in data).encode()


def _html_named(data: bytes, rng: random.Random) -> bytes:
    names = {**codepoint2name, ord("/"): "sol", ord(":"): "colon", ord("?"): "quest", ord("="): "equals"}
    names |= {ord("."): "period", ord("_"): "lowbar", ord(","): "comma"}
    return "".join(f"&{names[ord(c)]};" if ord(c) in names else c for c in data.decode()).encode()


def _html_escape(data: bytes, rng: random.Random) -> bytes:
    return html.escape(data.decode()).replace("/", "&#x2F;").encode()


def _html_decimal(data: bytes, rng: random.Random) -> bytes:
    return "".join(f"&#{ord(c)};" for c in data.decode()).encode()


def _html_hex(data: bytes, rng: random.Random) -> bytes:
    return "".join(f"&#x{ord(c):x};" for c in data.decode()).encode()


def _json_slashes(data: bytes, rng: random.Random) -> bytes:
    return json.dumps(data.decode()).replace("/", "\\/").encode()


def _json_unicode(data: bytes, rng: random.Random) -> bytes:
    units = data.decode().encode("utf-16-be")
    return (
        b'"' + b"".join(b"\\u%04x" % int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)) + b'"'
    )


def _quoted_printable(data: bytes, rng: random.Random) -> bytes:
    # of binary data, line breaks are bytes like any other (RFC 2045, 6.7, rule 4)
    out = binascii.b2a_qp(data, quotetabs=True, istext=is_plain(data))
    return out if b"=" in out else b"".join(b"=%02X" % b for b in data[:70]) + out[len(data[:70]) :]


def _utf(name: str, mark: bytes) -> Encoder:
    return lambda data, rng: mark + data.decode().encode(name)


def _gb18030(data: bytes, rng: random.Random) -> bytes:
    return data.decode().encode("gb18030")


def _punycode(data: bytes, rng: random.Random) -> bytes:
    return data.decode().encode("idna")


# --- radix ---------------------------------------------------------------------------------------


def _hex(separator: str, upper: bool = False, before: str = "") -> Encoder:
    def encode(data: bytes, rng: random.Random) -> bytes:
        pairs = (f"{before}{b:02X}" if upper else f"{before}{b:02x}" for b in data)
        return separator.join(pairs).encode()

    return encode


def _base58(data: bytes, rng: random.Random) -> bytes:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, out = int.from_bytes(data), ""
    while number:
        number, rest = divmod(number, 58)
        out = alphabet[rest] + out
    return ("1" * (len(data) - len(data.lstrip(b"\0"))) + out).encode()


def _mime(data: bytes, rng: random.Random) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n").strip()


def _glued(data: bytes, rng: random.Random) -> bytes:
    return _letters(rng, rng.randint(1, 9)) + base64.b64encode(data).rstrip(b"=") + b"." + _letters(rng, 6)


def _in_binary(data: bytes, rng: random.Random) -> bytes:
    return base64.b64encode(
        b"\x00\x07\x9c\xf1"[: rng.randint(1, 4)] + bytes([len(data) & 127]) + data + b"\x00\xff"
    )


def _unix(data: bytes, rng: random.Random) -> bytes:
    lines = [binascii.b2a_uu(data[i : i + 45]) for i in range(0, len(data), 45)]
    return b"begin 644 data\n" + b"".join(lines) + b"`\nend\n"


# --- compression ---------------------------------------------------------------------------------


def _deflate(data: bytes, rng: random.Random) -> bytes:
    engine = zlib.compressobj(rng.choice((1, 6, 9)), zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()


def _behind_header(data: bytes, rng: random.Random) -> bytes:
    # Alibaba's UT: 01, three bytes of length, 01 29 00 00, then gzip
    packed = gzip.compress(data, mtime=0)
    return b"\x01" + len(packed).to_bytes(3, "big") + b"\x01\x29\x00\x00" + packed


# --- structures ----------------------------------------------------------------------------------


def _surroundings(rng: random.Random) -> dict[str, object]:
    return {
        "v": rng.randint(1, 9), "ts": 1_700_000_000_000 + rng.randint(0, 10**9), "os": "Android 14",
        "sid": rng.randbytes(8).hex(), "ok": True, "lib": {"name": "events", "version": "3.2.1"},
    }  # fmt: skip


def _json(data: bytes, rng: random.Random) -> bytes:
    inner = {"name": "page_view", "value": data.decode()}
    return json.dumps(
        {**_surroundings(rng), "events": [{"name": "start"}, inner]}, ensure_ascii=rng.random() < 0.5
    ).encode()


def _ndjson(data: bytes, rng: random.Random) -> bytes:
    rows = [_surroundings(rng), {"event": "view", "value": data.decode()}, {"event": "end"}]
    return "\n".join(json.dumps(row) for row in rows).encode() + b"\n"


def _form(data: bytes, rng: random.Random) -> bytes:
    return f"v=2&cid={rng.randint(10**8, 10**9)}&d={quote_from_bytes(data, safe='').replace('%20', '+')}&z=1".encode()


def _multipart(data: bytes, rng: random.Random) -> bytes:
    mark = b"----form" + _letters(rng, 16)
    rows = b'--%s\r\nContent-Disposition: form-data; name="v"\r\n\r\n3\r\n' % mark
    rows += b'--%s\r\nContent-Disposition: form-data; name="data"; filename="events.bin"\r\n' % mark
    return rows + b"Content-Type: application/octet-stream\r\n\r\n%s\r\n--%s--\r\n" % (data, mark)


def _multipart_nested(data: bytes, rng: random.Random) -> bytes:
    mark = b"outer" + _letters(rng, 16)
    inner = _multipart(data, rng)
    kind = b"multipart/mixed; boundary=" + inner[2 : inner.index(b"\r\n")]
    head = b'--%s\r\nContent-Disposition: form-data; name="batch"\r\nContent-Type: %s\r\n\r\n' % (mark, kind)
    return head + inner + b"\r\n--%s--\r\n" % mark


def _xml(data: bytes, rng: random.Random) -> bytes:
    value = html.escape(data.decode())
    return f'<?xml version="1.0"?><e v="1"><name>view</name><value>{value}</value></e>'.encode()


def _xml_attribute(data: bytes, rng: random.Random) -> bytes:
    return f'<e v="1"><p name="u" value="{html.escape(data.decode())}"/></e>'.encode()


def _cdata(data: bytes, rng: random.Random) -> bytes:
    return b"<e><v>1</v><value><![CDATA[" + data.replace(b"]]>", b"]]]]><![CDATA[>") + b"]]></value></e>"


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _message(data: bytes, rng: random.Random) -> bytes:
    inner = b"\x0a\x04view" + b"\x12" + _varint(len(data)) + data + b"\x18\x01"
    return (
        b"\x08"
        + _varint(rng.randint(300, 10**6))
        + b"\x1a"
        + _varint(len(inner))
        + inner
        + b"\x25\x00\x00\x80\x3f"
    )


def _grpc(data: bytes, rng: random.Random) -> bytes:
    message = _message(data, rng)
    return b"\x00" + struct.pack(">I", len(message)) + message


def _grpc_gzip(data: bytes, rng: random.Random) -> bytes:
    message = gzip.compress(_message(data, rng), mtime=0)
    return b"\x01" + struct.pack(">I", len(message)) + message


def _packed_head(size: int, rows: tuple[tuple[int, bytes, int], ...]) -> bytes:
    for limit, code, width in rows:
        if size < limit:
            return bytes([code[0] | size]) if width == 0 else code + size.to_bytes(width, "big")
    raise ValueError("too long")


def _msgpack(data: bytes, rng: random.Random) -> bytes:
    def text(value: bytes) -> bytes:
        return (
            _packed_head(
                len(value), ((32, b"\xa0", 0), (256, b"\xd9", 1), (65536, b"\xda", 2), (1 << 32, b"\xdb", 4))
            )
            + value
        )

    def binary(value: bytes) -> bytes:
        return (
            _packed_head(len(value), ((256, b"\xc4", 1), (65536, b"\xc5", 2), (1 << 32, b"\xc6", 4))) + value
        )

    value = text(data) if _is_utf8(data) else binary(data)
    return b"\x83" + text(b"v") + b"\x02" + text(b"ts") + b"\xce" + struct.pack(">I", rng.randint(1, 1 << 31)) + text(b"d") + b"\x92\xc3" + value  # fmt: skip


def _cbor(data: bytes, rng: random.Random) -> bytes:
    def head(major: int, size: int) -> bytes:
        return _packed_head(
            size,
            ((24, bytes([major << 5]), 0), (256, bytes([major << 5 | 24]), 1), (65536, bytes([major << 5 | 25]), 2),
             (1 << 32, bytes([major << 5 | 26]), 4)),
        )  # fmt: skip

    value = head(3 if _is_utf8(data) else 2, len(data)) + data
    return b"\xa3\x61v\x02\x62ts\x1a" + struct.pack(">I", rng.randint(1, 1 << 31)) + b"\x61d\x82\xf5" + value


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bond(data: bytes, rng: random.Random) -> bytes:
    # Compact Binary v1: field head `id << 5 | type`; string 9, uint32 5 (zigzag-free varint), stop 0
    def text(identifier: int, value: bytes) -> bytes:
        return bytes([identifier << 5 | 9]) + _varint(len(value)) + value

    return (
        text(1, b"Ms.Web.View")
        + bytes([2 << 5 | 5])
        + _varint(rng.randint(300, 10**6))
        + text(3, data)
        + text(4, b"en-US")
        + b"\x00"
    )


def _jwt(data: bytes, rng: random.Random) -> bytes:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = json.dumps({"sub": rng.randbytes(6).hex(), "iat": 1_700_000_000, "d": data.decode()}).encode()
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(claims)
    return signed + b"." + part(hmac.new(b"key", signed, hashlib.sha256).digest())


def _cookie(data: bytes, rng: random.Random) -> bytes:
    return f"sid={rng.randbytes(8).hex()}; last={quote_from_bytes(data, safe='')}; theme=dark".encode()


def _query_in_query(data: bytes, rng: random.Random) -> bytes:
    inner = f"https://go.redirect.example/r?k=1&to={quote_from_bytes(data, safe='')}"
    return f"https://ads.partner.example/c?p=9&u={quote_from_bytes(inner.encode(), safe='')}&e=1".encode()


def _byte_values(data: bytes, rng: random.Random) -> bytes:
    signed = rng.random() < 0.5
    return json.dumps([b - 256 if signed and b > 127 else b for b in data]).encode()


def _dns_message(data: bytes, rng: random.Random) -> bytes:
    labels = b"".join(bytes([len(label)]) + label for label in data.split(b"."))
    return rng.randbytes(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"


# --- light obfuscation ---------------------------------------------------------------------------


def _reversed(data: bytes, rng: random.Random) -> bytes:
    return data.decode()[::-1].encode() if _is_utf8(data) else data[::-1]


def _rot13(data: bytes, rng: random.Random) -> bytes:
    return codecs.encode(data.decode(), "rot13").encode()


def _xor(data: bytes, rng: random.Random) -> bytes:
    key = rng.randint(1, 255)
    return bytes(b ^ key for b in data)


def _table() -> list[Coding]:
    def both(name: str, encode: Encoder, family: str, **more: object) -> Coding:
        return Coding(name, encode, "bytes", "text", family, **more)  # type: ignore[arg-type]

    def text(name: str, encode: Encoder, family: str, **more: object) -> Coding:
        return Coding(name, encode, "text", "text", family, **more)  # type: ignore[arg-type]

    def binary(name: str, encode: Encoder, family: str, **more: object) -> Coding:
        return Coding(name, encode, "bytes", "bytes", family, **more)  # type: ignore[arg-type]

    def packed(name: str, encode: Encoder, family: str, **more: object) -> Coding:
        return Coding(name, encode, "text", "bytes", family, **more)  # type: ignore[arg-type]

    table = [
        both("percent", _percent, "text"),
        both("percent (lower, mixed)", _percent_lower, "text"),
        both("percent (every byte)", _percent_all, "text"),
        text("html (named)", _html_named, "text"),
        text("html (escaped)", _html_escape, "text", value="address"),
        text("html (decimal)", _html_decimal, "text"),
        text("html (hex)", _html_hex, "text"),
        text("json string (\\/)", _json_slashes, "text"),
        text("json string (\\u)", _json_unicode, "text"),
        both("quoted-printable", _quoted_printable, "text"),
        packed("utf-16-le", _utf("utf-16-le", b""), "text"),
        packed("utf-16-be", _utf("utf-16-be", b""), "text"),
        packed("utf-16 (mark)", _utf("utf-16-le", codecs.BOM_UTF16_LE), "text"),
        packed("utf-32-le", _utf("utf-32-le", b""), "text"),
        packed("utf-32-be", _utf("utf-32-be", b""), "text"),
        packed("gb18030", _gb18030, "text", first=True, value="cjk"),
        text("punycode", _punycode, "text", first=True, value="idn"),
        both("hex", _hex(""), "radix"),
        both("hex (upper)", _hex("", upper=True), "radix"),
        both("hex (colons)", _hex(":"), "radix"),
        both("hex (spaces)", _hex(" ", upper=True), "radix"),
        both("hex (\\x)", _hex("", before="\\x"), "radix"),
        both("base32", lambda d, r: base64.b32encode(d), "radix"),
        both("base32 (lower, unpadded)", lambda d, r: base64.b32encode(d).rstrip(b"=").lower(), "radix"),
        both("base58", _base58, "radix"),
        both("base64", lambda d, r: base64.b64encode(d), "radix"),
        both("base64 (unpadded)", lambda d, r: base64.b64encode(d).rstrip(b"="), "radix"),
        both("base64url", lambda d, r: base64.urlsafe_b64encode(d), "radix"),
        both("base64url (unpadded)", lambda d, r: base64.urlsafe_b64encode(d).rstrip(b"="), "radix"),
        both("base64 (mime)", _mime, "radix"),
        both("base64 (glued)", _glued, "radix"),
        both("base64 (in binary)", _in_binary, "radix"),
        both("ascii85", lambda d, r: base64.a85encode(d), "radix"),
        both("ascii85 (adobe)", lambda d, r: base64.a85encode(d, adobe=True), "radix"),
        both("base85", lambda d, r: base64.b85encode(d), "radix"),
        both("uuencode", _unix, "radix"),
        binary("gzip", lambda d, r: gzip.compress(d, r.choice((1, 6, 9)), mtime=0), "compression"),
        binary("gzip (offset 8)", _behind_header, "compression"),
        binary("zlib", lambda d, r: zlib.compress(d, r.choice((1, 6, 9))), "compression"),
        binary("zstd", lambda d, r: zstandard.ZstdCompressor(level=r.choice((1, 3, 9))).compress(d), "compression"),
        binary("deflate", _deflate, "compression", headerless=True),
        binary("brotli", lambda d, r: brotli.compress(d, quality=r.choice((4, 9, 11))), "compression", headerless=True),
        packed("lz-string", lambda d, r: lzstring.to_bytes(d.decode()), "compression", headerless=True),
        text("lz-string (base64)", lambda d, r: lzstring.to_base64(d.decode()).encode(), "compression", headerless=True),
        text("lz-string (address)", lambda d, r: lzstring.to_address(d.decode()).encode(), "compression", headerless=True),
        text("json", _json, "structure"),
        text("ndjson", _ndjson, "structure"),
        both("form", _form, "structure"),
        binary("multipart", _multipart, "structure"),
        binary("multipart (nested)", _multipart_nested, "structure"),
        text("xml", _xml, "structure"),
        text("xml (attribute)", _xml_attribute, "structure"),
        text("xml (cdata)", _cdata, "structure"),
        binary("protobuf", _message, "structure"),
        binary("grpc", _grpc, "structure"),
        binary("grpc (gzip)", _grpc_gzip, "structure"),
        binary("msgpack", _msgpack, "structure"),
        binary("cbor", _cbor, "structure"),
        binary("bond", _bond, "structure"),
        text("jwt", _jwt, "structure"),
        both("cookie", _cookie, "structure"),
        both("query in query", _query_in_query, "structure"),
        both("byte values", _byte_values, "structure"),
        binary("dns message", _dns_message, "structure", first=True, value="host"),
        binary("reversed", _reversed, "obfuscation", headerless=True),
        text("rot13", _rot13, "obfuscation", headerless=True),
        binary("xor", _xor, "obfuscation", headerless=True),
    ]  # fmt: skip
    frame, block = _optional("lz4.frame"), _optional("lz4.block")
    if frame and block:
        table += [
            binary("lz4 (frame)", lambda d, r: frame.compress(d), "compression"),
            binary("lz4 (block)", lambda d, r: block.compress(d, store_size=False), "compression", headerless=True),
            binary("lz4 (sized block)", lambda d, r: block.compress(d), "compression", headerless=True),
        ]  # fmt: skip
    cramjam = _optional("cramjam")
    if cramjam:
        table += [
            binary(
                "snappy", lambda d, r: bytes(cramjam.snappy.compress_raw(d)), "compression", headerless=True
            ),
            binary("snappy (framed)", lambda d, r: bytes(cramjam.snappy.compress(d)), "compression"),
        ]
    return table


CODINGS = tuple(_table())
BY_NAME = {coding.name: coding for coding in CODINGS}
MISSING = tuple(
    f"{what}: the package {package} is not installed"
    for what, package in (("lz4", "lz4.frame"), ("snappy", "cramjam"))
    if _optional(package) is None
)


def may_follow(coding: Coding, data: bytes) -> bool:
    """Whether the coding can take `data`: text must be UTF-8 without control characters."""
    return coding.takes == "bytes" or is_plain(data)


def is_plain(data: bytes) -> bool:
    """Whether `data` is text that every text format can hold."""
    return _is_utf8(data) and not any((b < 32 and b not in b"\t\r\n") or b == 127 for b in data)
