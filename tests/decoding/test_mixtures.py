"""Two codings that hide each other: each mixture was once missed, and stays found."""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
from collections.abc import Callable
from urllib.parse import quote_plus

import lz4.block
import pytest

from audit.decoding import unfold
from audit.detection.needles import Needles
from audit.records import Canary

HOST = b"q7.velvet-z6zv83.example"
ADDRESS = b"https://" + HOST + b"/k42mlnv2/harbour?q=tok-p81yob6"
TERM = b"thistle harbour 64af02"
NEEDLES = Needles([
    Canary(id="u", value=ADDRESS.decode(), kind="url"),
    Canary(id="t", value=TERM.decode(), kind="term"),
])  # fmt: skip


def under(data: bytes, key: int) -> bytes:
    return bytes(byte ^ key for byte in data)


def uuencoded(data: bytes) -> bytes:
    lines = [binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45)]
    return b"begin 644 data\n" + b"".join(lines) + b"`\nend\n"


def listed(data: bytes) -> bytes:
    return b"[" + b", ".join(b"%d" % byte for byte in data) + b"]"


def references(data: bytes) -> bytes:
    return b"".join(b"&#%d;" % byte for byte in data)


def parts(data: bytes) -> bytes:
    return b'--b7f3\r\nContent-Disposition: form-data; name="d"\r\n\r\n' + data + b"\r\n--b7f3--\r\n"


MIXTURES: dict[str, Callable[[bytes], bytes]] = {
    "byte values, spaces as plus": lambda d: quote_plus(listed(d)).encode(),
    "UTF-32 in base85": lambda d: base64.b85encode(d.decode().encode("utf-32-be")),
    "UTF-32 in lower base32": lambda d: base64.b32encode(d.decode().encode("utf-32-be")).rstrip(b"=").lower(),
    "UTF-16 in percent under a key": lambda d: under(
        "".join(f"%{byte:02X}" for byte in d.decode().encode("utf-16-le")).encode(), 0xDD
    ),
    "UTF-16 in a sized LZ4 block, inside bytes": lambda d: base64.b64encode(
        b"\0\x07\x9c\xf1D" + lz4.block.compress(d.decode().encode("utf-16-le")) + b"\0\xff"
    ),
    "UTF-16 under a letter": lambda d: under(d.decode().encode("utf-16-le"), 0x57),
    "ascii85 under a high key": lambda d: under(base64.a85encode(d), 0xE5),
    "uuencode under a high key": lambda d: under(uuencoded(references(d)), 0x8C),
    "byte values under a key": lambda d: under(listed(d), 0x75),
    "references under a key, behind a header": lambda d: base64.b64encode(
        b"\0\x07\x9c" + under(references(d), 0xD4) + b"\0\xff"
    ),
    "under a key, behind a header": lambda d: base64.b64encode(b"\0\x07\x9c" + under(d, 0x46) + b"\0\xff"),
    "rotated CDATA": lambda d: codecs.encode(
        f"<e><v>1</v><value><![CDATA[{d.decode()}]]></value></e>", "rot13"
    ).encode(),
    "a part inside bytes": lambda d: base64.b64encode(b"\0\x07?" + parts(b"\0\x01" + under(d, 0x93)) + b"\0\xff"),
    "LZ4 whose letters show the host": lambda d: base64.b85encode(
        lz4.block.compress(b"GET https://" + HOST + b"/ -- 00:11:22\n" + d, store_size=False)
    ),
    "byte values in uuencode": lambda d: uuencoded(listed(d)),
    "base64 glued to four letters": lambda d: b"xY3z" + base64.b64encode(d) + b".Zq81",
    "hex in base64 glued to seven letters": lambda d: b"rDADleU" + base64.b64encode(d.hex().upper().encode()),
    "base64 with line breaks of base64": lambda d: base64.encodebytes(base64.encodebytes(d + b" " + d)),
    "UTF-16 in quoted-printable": lambda d: quopri.encodestring(d.decode().encode("utf-16"), quotetabs=True),
}  # fmt: skip


@pytest.mark.parametrize("value", [ADDRESS, TERM], ids=["address", "term"])
@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_opens(name: str, value: bytes) -> None:
    tree = unfold(MIXTURES[name](value), sought=NEEDLES)
    told = {match.granularity for field in tree.fields for match in NEEDLES.find(field.data)}
    assert told & ({"full", "no_scheme"} if value is ADDRESS else {"term"}), name


def test_references_before_quoted_printable_are_no_bar_to_a_rotation() -> None:
    data = codecs.encode(ADDRESS.decode(), "rot13").replace("/", "&#x2F;").encode()
    found = [field for field in unfold(data, sought=NEEDLES).fields if field.layers == ("html", "rot13")]
    assert [field.data for field in found] == [ADDRESS]


def test_a_beginning_of_what_is_sought_is_a_value_of_a_short_binary_document() -> None:
    tree = unfold(b"\x81\xa1q\xafthistle harbour", sought=NEEDLES, sparing=True)
    assert ("$.q", b"thistle harbour") in [(field.path, field.data) for field in tree.fields]
