"""Encoders for every coding, written or taken from libraries without regard to the decoders, and chains of
them in random order. An encoder that cannot take some data says so with None."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import html
import json
import quopri
import random
import string
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, urlencode

import brotli
import cbor2
import cramjam
import lz4.block
import lz4.frame
import msgspec
import zstandard


class Value:
    """One value that is looked for, as it is."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def holds(self, data: bytes) -> bool:
        return self.value in data

    def traced(self, data: bytes) -> bool:
        turned = self.value.decode()[::-1].encode()
        return self.value in data or turned in data or self.value.translate(_ROTATED) in data

    def keys(self, data: bytes) -> tuple[int, ...]:
        if not data:
            return ()
        return tuple(key for key in range(1, 256) if self.value in bytes(byte ^ key for byte in data))


_ROTATED = bytes(codecs.encode(chr(c), "rot13").encode("latin-1")[0] if c < 128 else c for c in range(256))
Encoder = Callable[[bytes, random.Random], bytes | None]


@dataclass(frozen=True)
class Encoding:
    """One encoder under the name of the layer that must undo it. `markless`: no header, no telling letters."""

    name: str
    encode: Encoder
    markless: bool = False


def _text(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any((c < " " and c not in "\t\r\n") or c == "\x7f" for c in text) else text


def of_text(encode: Callable[[str, random.Random], str | bytes | None]) -> Encoder:
    """An encoder that takes text only."""

    def run(data: bytes, rng: random.Random) -> bytes | None:
        text = _text(data)
        out = None if text is None else encode(text, rng)
        return out.encode() if isinstance(out, str) else out

    return run


# --- text ----------------------------------------------------------------------------------------


def percent(data: bytes, rng: random.Random) -> bytes:
    out = quote(data, safe="" if rng.random() < 0.7 else "-_.~").encode()
    if rng.random() < 0.3:
        out = b"".join(b"%%%02x" % c if rng.random() < 0.3 else b"%%%02X" % c for c in data)
    elif rng.random() < 0.3:
        out = quote(out, safe="").encode()
    return out


def entities(text: str, rng: random.Random) -> str:
    style = rng.randrange(3)
    if style == 0:
        named = html.escape(text)
        return named if named != text else "".join(f"&#{ord(c)};" for c in text)
    pick = (lambda c: f"&#{ord(c)};") if style == 1 else (lambda c: f"&#x{ord(c):X};")
    return "".join(pick(c) if not c.isalnum() or rng.random() < 0.3 else c for c in text)


def escapes(text: str, rng: random.Random) -> str:
    out = json.dumps(text)[1:-1].replace("/", "\\/")
    if out == text:
        out = "".join(f"\\u{ord(c):04x}" for c in text)
    return out


def quoted_printable(text: str, rng: random.Random) -> bytes:
    return quopri.encodestring(text.encode())


def wide(text: str, rng: random.Random) -> bytes:
    name = rng.choice(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16", "utf-32"])
    return text.encode(name)


def gb18030(text: str, rng: random.Random) -> bytes | None:
    return None if sum("一" <= c <= "鿿" for c in text) < 2 else text.encode("gb18030")


# --- radix ---------------------------------------------------------------------------------------


def hexadecimal(data: bytes, rng: random.Random) -> bytes:
    out = data.hex(rng.choice(["-", ":", " "])) if rng.random() < 0.3 else data.hex()
    if rng.random() < 0.1:
        return b"".join(b"\\x%02x" % c for c in data)
    return (out.upper() if rng.random() < 0.5 else out).encode()


def base32(data: bytes, rng: random.Random) -> bytes:
    out = base64.b32encode(data)
    if rng.random() < 0.3:
        out = out.lower()
    return out.rstrip(b"=") if rng.random() < 0.5 else out


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data: bytes, rng: random.Random) -> bytes:
    number = int.from_bytes(data, "big")
    out = ""
    while number:
        number, digit = divmod(number, 58)
        out = _BASE58[digit] + out
    return ("1" * (len(data) - len(data.lstrip(b"\0"))) + out).encode()


def base_64(data: bytes, rng: random.Random) -> bytes:
    out = base64.urlsafe_b64encode(data) if rng.random() < 0.4 else base64.b64encode(data)
    style = rng.random()
    if style < 0.3:
        return out.rstrip(b"=")
    return base64.encodebytes(data) if style > 0.85 else out


def ascii85(data: bytes, rng: random.Random) -> bytes:
    return base64.a85encode(data, adobe=rng.random() < 0.3, wrapcol=76 if rng.random() < 0.2 else 0)


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_GIT = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def base85(data: bytes, rng: random.Random) -> bytes:
    out = base64.b85encode(data)
    if rng.random() < 0.4:
        out = out.decode().translate(str.maketrans(_GIT, _Z85)).encode()
    return out


def uuencode(data: bytes, rng: random.Random) -> bytes:
    lines = [binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45)]
    return b"begin 644 data.bin\n" + b"".join(lines) + b"`\nend\n"


# --- compression ---------------------------------------------------------------------------------


def deflate(data: bytes, rng: random.Random) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


def inner_gzip(data: bytes, rng: random.Random) -> bytes:
    body = gzip.compress(data)
    return b"\x01" + (len(body) + 4).to_bytes(3, "big") + b"\x01\x29\0\0" + body


def lz_string_bits(text: str) -> list[int]:
    """The bits of an LZ-string stream, as the library's documentation of the algorithm tells it."""
    bits: list[int] = []

    def put(value: int, width: int) -> None:
        bits.extend(value >> i & 1 for i in range(width))

    words: dict[str, int] = {}
    fresh: set[str] = set()
    room, width, word = 2, 2, ""

    def emit(word: str) -> None:
        nonlocal room, width
        if word in fresh:
            code = ord(word)
            put(0 if code < 256 else 1, width)
            put(code, 8 if code < 256 else 16)
            room -= 1
            if room == 0:
                room, width = 1 << width, width + 1
            fresh.discard(word)
        else:
            put(words[word], width)
        room -= 1
        if room == 0:
            room, width = 1 << width, width + 1

    for character in text:
        if character not in words:
            words[character] = len(words) + 3
            fresh.add(character)
        if word + character in words:
            word += character
        else:
            emit(word)
            words[word + character] = len(words) + 3
            word = character
    if word:
        emit(word)
    put(2, width)
    return bits


def lz_string(text: str, rng: random.Random) -> bytes | None:
    if not text or max(map(ord, text)) > 0xFFFF:
        return None
    bits = lz_string_bits(text)
    form = rng.choice(["base64", "uri", "utf16"])
    width = 15 if form == "utf16" else 6
    bits += [0] * (width - len(bits) % width)  # the library always writes at least one more bit
    values = [int("".join(map(str, bits[at : at + width])), 2) for at in range(0, len(bits), width)]
    if form == "utf16":
        return ("".join(chr(v + 32) for v in values) + " ").encode()
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits
    out = "".join((letters + ("+/" if form == "base64" else "+-"))[v] for v in values)
    return (out + "=" * (-len(out) % 4) if form == "base64" else out).encode()


# --- structure -----------------------------------------------------------------------------------


def json_member(text: str, rng: random.Random) -> str:
    document = {
        "event": "page_view",
        "n": rng.randrange(10**6),
        "data": {"items": ["first", text]},
        "ok": True,
    }
    out = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    return out.replace("/", "\\/") if rng.random() < 0.3 else out


def json_lines(text: str, rng: random.Random) -> str:
    lines = [json.dumps({"id": 1, "type": "session"}), json.dumps({"payload": text}), json.dumps({"id": 3})]
    return "\x1e".join(["", *(line + "\n" for line in lines)]) if rng.random() < 0.2 else "\n".join(lines)


def json_within(text: str, rng: random.Random) -> str:
    document = json.dumps({"value": text, "id": 7})
    return (
        rng.choice(["callback({});", "var state = {};", ")]}}'\n{}", "log: {} done"])
        .replace("{}", document, 1)
        .replace("}}", "}", 0)
    )


def form(data: bytes, rng: random.Random) -> bytes:
    pairs = [("v", b"2"), ("data", data), ("lang", b"en-US")]
    if rng.random() < 0.5:
        return urlencode(pairs).encode()
    return "&".join(f"{n}={quote(v, safe='')}" for n, v in pairs).encode()


def query(data: bytes, rng: random.Random) -> bytes:
    return b"https://collect.test/p?v=1&d=" + quote_plus(data).encode() + b"&z=9#top"


def multipart(data: bytes, rng: random.Random) -> bytes:
    edge = b"----edge%08x" % rng.randrange(1 << 32)
    file = b'; filename="blob.bin"' if rng.random() < 0.5 else b""
    return (
        b"--" + edge + b'\r\nContent-Disposition: form-data; name="v"\r\n\r\n1\r\n'
        b"--" + edge + b'\r\nContent-Disposition: form-data; name="upload"' + file + b"\r\n\r\n" + data
        + b"\r\n--" + edge + b"--\r\n"
    )  # fmt: skip


def xml(text: str, rng: random.Random) -> str | None:
    if rng.random() < 0.5 and "]]>" not in text:
        return f'<?xml version="1.0"?><log><item id="1"><![CDATA[{text}]]></item></log>'
    return f'<log n="1"><item a="b" value="{html.escape(text)}"/><t>x</t></log>'


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def delimited(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def protobuf(data: bytes, rng: random.Random) -> bytes:
    inner = varint(1 << 3) + varint(rng.randrange(1 << 40)) + delimited(3, data)
    return delimited(1, b"client-7") + delimited(2, inner) + varint(9 << 3 | 5) + struct.pack("<f", 1.5)


def grpc(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        data = gzip.compress(data)
        return b"\x01" + struct.pack(">I", len(data)) + data
    return b"\0" + struct.pack(">I", len(data)) + data


def _value(data: bytes) -> object:
    text = _text(data)
    return data if text is None else text


def msgpack(data: bytes, rng: random.Random) -> bytes:
    return msgspec.msgpack.encode({"e": "open", "t": 1588291200123, "d": [_value(data), None, 1.5]})


def cbor(data: bytes, rng: random.Random) -> bytes:
    return cbor2.dumps({"e": "open", "t": 1588291200123, "d": [_value(data), None, 1.5]})


def bond(data: bytes, rng: random.Random) -> bytes:
    """A structure with a number, a structure holding a string or blob, and a list of strings."""
    text = _text(data)
    value = (
        bytes([9 | 2 << 5]) + varint(len(data)) + data
        if text is not None
        else bytes([11 | 2 << 5, 14]) + varint(len(data)) + data
    )
    inner = bytes([10 | 6 << 5, 30]) + value + b"\0"
    names = bytes([11 | 4 << 5, 9]) + varint(2) + b"".join(varint(len(n)) + n for n in (b"name", b"open"))
    return bytes([16 | 1 << 5]) + varint(600) + names + inner + b"\0"


def token(text: str, rng: random.Random) -> str:
    def part(data: str) -> str:
        return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")

    signature = base64.urlsafe_b64encode(rng.randbytes(32)).decode().rstrip("=")
    return f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{part(json.dumps({'sub': text}))}.{signature}"


def byte_array(data: bytes, rng: random.Random) -> bytes | None:
    if not data:
        return None
    values = [c - 256 if c > 127 else c for c in data] if rng.random() < 0.3 else list(data)
    out = json.dumps(values, separators=(",", ":") if rng.random() < 0.5 else None)
    return (json.dumps({"blob": values}) if rng.random() < 0.3 else out).encode()


# --- light obfuscation ---------------------------------------------------------------------------


def reverse(data: bytes, rng: random.Random) -> bytes:
    text = _text(data)
    return data[::-1] if text is None else text[::-1].encode()


def rot13(text: str, rng: random.Random) -> str:
    return codecs.encode(text, "rot13")


def xor(data: bytes, rng: random.Random) -> bytes:
    key = rng.randrange(1, 256)
    return bytes(c ^ key for c in data)


ENCODINGS = (
    Encoding("percent", percent),
    Encoding("html", of_text(entities)),
    Encoding("escape", of_text(escapes)),
    Encoding("quoted-printable", of_text(quoted_printable)),
    Encoding("utf", of_text(wide)),
    Encoding("gb18030", of_text(gb18030)),
    Encoding("hex", hexadecimal),
    Encoding("base32", base32),
    Encoding("base58", base58),
    Encoding("base64", base_64),
    Encoding("ascii85", ascii85),
    Encoding("base85", base85),
    Encoding("uuencode", uuencode),
    Encoding("gzip", lambda data, rng: gzip.compress(data, mtime=0)),
    Encoding("zlib", lambda data, rng: zlib.compress(data, rng.randrange(1, 10))),
    Encoding("zstd", lambda data, rng: zstandard.compress(data)),
    Encoding("lz4", lambda data, rng: lz4.frame.compress(data)),
    Encoding("snappy", lambda data, rng: bytes(cramjam.snappy.compress(data))),
    Encoding("inner-gzip", inner_gzip),
    Encoding("json", of_text(json_member)),
    Encoding("ndjson", of_text(json_lines)),
    Encoding("json-within", of_text(json_within)),
    Encoding("form", form),
    Encoding("url", query),
    Encoding("multipart", multipart),
    Encoding("xml", of_text(xml)),
    Encoding("protobuf", protobuf),
    Encoding("grpc", grpc),
    Encoding("msgpack", msgpack),
    Encoding("cbor", cbor),
    Encoding("bond", bond),
    Encoding("jwt", of_text(token)),
    Encoding("bytes", byte_array),
    Encoding("deflate", deflate, markless=True),
    Encoding("brotli", lambda data, rng: brotli.compress(data), markless=True),
    Encoding("snappy-raw", lambda data, rng: bytes(cramjam.snappy.compress_raw(data)), markless=True),
    Encoding(
        "lz4-block", lambda data, rng: lz4.block.compress(data, store_size=rng.random() < 0.5), markless=True
    ),
    Encoding("lz-string", of_text(lz_string), markless=True),
    Encoding("reversed", reverse, markless=True),
    Encoding("rot13", of_text(rot13), markless=True),
    Encoding("xor", xor, markless=True),
)
_MAX_CHAIN = 200_000


@dataclass(frozen=True)
class Chain:
    """A value wrapped `names`, innermost first; `value` must stand somewhere in what `body` unfolds to."""

    value: bytes
    names: tuple[str, ...]
    body: bytes


def payload(rng: random.Random) -> tuple[bytes, bytes]:
    """A value and the small body that carries it."""
    token = "".join(rng.choices(string.ascii_lowercase + string.digits, k=6))
    value = rng.choice(
        [f"https://{token}.example.test/a/b?q=tok-{token}", f"red shoes {token}", f"北京 天气 {token}"]
    )
    body = rng.choice(
        [
            json.dumps({"u": value, "t": 1588291200}, ensure_ascii=False),
            f"u={quote(value)}&t=1588291200",
            value,
        ]
    )
    return value.encode(), body.encode()


def chain(depth: int, rng: random.Random, last: str | None = None) -> Chain:
    """A random chain of that many layers, at most one of them markless; `last` names one that must be in it."""
    while True:
        value, data = payload(rng)
        names: list[str] = []
        markless = False
        place = rng.randrange(depth)
        for index in range(depth):
            choices = [e for e in ENCODINGS if not (e.markless and markless) and e.name not in names[-1:]]
            if last and index == place:
                choices = [e for e in ENCODINGS if e.name == last]
            elif last and any(e.markless for e in ENCODINGS if e.name == last):
                choices = [e for e in choices if not e.markless]
            rng.shuffle(choices)
            for encoding in choices:
                out = encoding.encode(data, rng)
                if out is not None and out != data and len(out) < _MAX_CHAIN:
                    names.append(encoding.name)
                    markless |= encoding.markless
                    data = out
                    break
            else:
                break
        if len(names) == depth and (last is None or last in names):
            return Chain(value, tuple(names), data)
