"""Each family of codings against published vectors and the corners that chains do not reach: layers,
paths and offsets as they are told."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import cramjam
import lz4.block
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.decoding import may_hide, unfold
from audit.decoding.coding import Bounds, Purse
from audit.decoding.lzstring import decompress
from audit.decoding.opaque import entropy, opaque_values
from audit.decoding.radix import unbase58
from audit.records import Field
from tests.decoding import chains

URL = b"https://c4n4ry.example.test/a/b?q=tok-9f31"


def opened(data: bytes, hints: tuple[str, ...] = ()) -> list[Field]:
    return unfold(data, hints).fields[1:]


def reach(data: bytes, value: bytes, hints: tuple[str, ...] = ()) -> Field:
    """The first field whose data is `value`."""
    found = [field for field in opened(data, hints) if field.data == value]
    assert found, [(field.layers, field.path, field.data[:80]) for field in opened(data, hints)]
    return found[0]


@pytest.mark.parametrize(
    ("body", "value", "layers"),
    [
        (b"a%2Fb%2fc%20d", b"a/b/c d", ("percent",)),
        (b"%2568%2565%256C%256C%256F", b"hello", ("percent", "percent")),
        (b"%u5317%u4EAC", "北京".encode(), ("percent",)),
        (b"&lt;a&gt; &#26481;&#x4EAC; &copy;", "<a> 東京 ©".encode(), ("html",)),
        (b"http:\\/\\/a.example\\/\\u0062", b"http://a.example/b", ("escape",)),
        (b"say \\ud83d\\ude00 now", "say 😀 now".encode(), ("escape",)),
        (b"caf=C3=A9 au lait", "café au lait".encode(), ("quoted-printable",)),
        ("北京 weather".encode("utf-16"), "北京 weather".encode(), ("utf-16le",)),
        ("red shoes".encode("utf-16-be"), b"red shoes", ("utf-16be",)),
        ("red shoes".encode("utf-32-le"), b"red shoes", ("utf-32le",)),
        ("red shoes".encode("utf-32-be"), b"red shoes", ("utf-32be",)),
        ("北京天气 today".encode("gb18030"), "北京天气 today".encode(), ("gb18030",)),
        (b"see xn--bcher-kva.example now", "bücher.example".encode(), ("punycode",)),
        (b"68:74:74:70:3a:2f:2f:61", b"http://a", ("hex",)),
        (b"\\x68\\x74\\x74\\x70\\x3a\\x2f\\x2f\\x61", b"http://a", ("escape",)),
        (b"0x68, 0x74, 0x74, 0x70, 0x3a, 0x2f, 0x2f, 0x61", b"http://a", ("hex",)),
        (b"68_74_74_70_3a_2f_2f_61", b"http://a", ("hex",)),
        (b"68;74;74;70;3A;2F;2F;61", b"http://a", ("hex",)),
        (b"\n".join([URL.hex().encode()[:48], URL.hex().encode()[48:]]), URL, ("hex",)),
        (b"NB2HI4B2F4XWC3TFPBQW24DMMU", b"http://anexample", ("base32",)),
        (b"2NEpo7TZRRrLZSi2U", b"Hello World!", ("base58",)),
        (b"<~87cURD_*#TDfTZ)~>", b"Hello, world", ("ascii85",)),
        (b"begin 644 a.txt\n+:&5L;&\\@=V]R;&0\n`\nend\n", b"hello world", ("uuencode",)),
        (b"data:text/plain;charset=utf-8;base64,cmVkIHNob2VzIA==", b"red shoes ", ("data-url",)),
        (b"data:,red%20shoes", b"red shoes", ("data-url",)),
        (b"[104,116,116,112,58,47,47,97]", b"http://a", ("bytes",)),
        (b"[-28,-72,-83,32,104,101,108,108,111]", "中 hello".encode(), ("bytes",)),
    ],
)  # fmt: skip
def test_a_coding_alone(body: bytes, value: bytes, layers: tuple[str, ...]) -> None:
    assert reach(body, value).layers == layers


@pytest.mark.parametrize("mtime", range(0x5AF93F00, 0x5AF93F00 + 256, 8))
def test_base64_in_a_form_whose_plus_was_not_encoded_opens_without_padding_too(mtime: int) -> None:
    value = base64.b64encode(gzip.compress(b'[{"w": "marble otter h4q2"}]', mtime=mtime)).rstrip(b"=")
    assert b"marble otter h4q2" in {field.data for field in unfold(b"data_list=" + value, ("form",)).fields}


def test_a_picture_in_an_address_is_one_value_and_not_guessed_at() -> None:
    picture = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(3000)
    fields = opened(b"data:image/png;base64," + base64.b64encode(picture))
    assert [(field.layers, field.opaque, field.data) for field in fields] == [(("data-url",), True, picture)]


def test_a_plus_in_a_form_is_a_space_and_may_be_a_plus() -> None:
    assert {f.data for f in opened(b"q=red+shoes", ("form",))} >= {b"red+shoes", b"red shoes"}
    body = b"d=" + base64.b64encode(b"??>>" + URL)
    assert b"+" in body
    assert any(URL in field.data for field in opened(body, ("form",)))


@pytest.mark.parametrize("glue", [b"", b"x", b"tok", b"Id5", b"data4"])
@pytest.mark.parametrize("tail", [b"", b".sig", b"/x"])
def test_base64_glued_to_other_letters(glue: bytes, tail: bytes) -> None:
    for payload in (URL, gzip.compress(URL)):
        body = glue + base64.b64encode(payload).rstrip(b"=") + tail
        assert any(URL in field.data for field in opened(body)), body


@pytest.mark.parametrize("before", [1, 2, 3])
def test_base64_within_bytes_at_any_alignment(before: int) -> None:
    body = b"\x01\x02\x03A"[-before:] + b"zz" + base64.b64encode(gzip.compress(URL)) + b"\x00\xff"
    assert any(URL in field.data for field in opened(body))


@pytest.mark.parametrize("packed", [gzip.compress(URL), zlib.compress(URL)], ids=["gzip", "zlib"])
def test_compressed_at_an_inner_offset(packed: bytes) -> None:
    body = b"\x01" + len(packed).to_bytes(3, "big") + b"\x01\x29\0\0" + packed
    assert reach(body, URL).offset == 8


def test_two_members_one_after_another() -> None:
    body = gzip.compress(b"first half, ") + gzip.compress(URL)
    assert reach(body, b"first half, " + URL).layers == ("gzip",)


def test_declared_codings_are_undone_in_their_order() -> None:
    body = zlib.compress(gzip.compress(b'{"u":"x1"}'))
    assert reach(body, b"x1", ("deflate", "gzip", "application/json")).layers == ("zlib", "gzip", "json")


def test_a_declaration_that_is_not_true_is_passed_over() -> None:
    assert reach(b"a=1&b=%41%42%43%44", b"ABCD", ("gzip", "form")).layers == ("form", "percent")


def test_where_a_value_lies_in_its_structure_is_told() -> None:
    body = b'{"list":[{"a b":"one"},{"u":"two"}]}'
    assert [(f.path, f.data) for f in opened(body) if f.data in (b"one", b"two")] == [
        ('$.list[0]["a b"]', b"one"), ("$.list[1].u", b"two"),
    ]  # fmt: skip


def test_json_lines_records_and_documents_within_text() -> None:
    assert reach(b'{"a":"one"}\n{"a":"two"}\n', b"two").layers == ("ndjson", "json")
    assert reach(b'\x1e{"a":"one"}\n\x1e{"a":"two"}\n', b"two").layers == ("ndjson", "json")
    assert reach(b'callback({"a":"one"});', b"one").layers == ("json",)
    assert reach(b'{"a":"one"}{"a":"two"}', b"two").layers == ("json",)
    assert reach(b"a=1&b=two%20words\nc=3&d=x", b"two words").path == "b"


def test_xml_tells_elements_and_attributes() -> None:
    body = b'<?xml version="1.0"?><log><item id="i1"><![CDATA[a < b]]></item><u href="x&amp;y"/></log>'
    assert reach(body, b"a < b").path == "log.item"
    assert reach(body, b"i1").path == "log.item.@id"
    assert reach(body, b"x&y").path == "log.u.@href"


def test_multipart_tells_names_and_files() -> None:
    body = (
        b'--b0undary\r\nContent-Disposition: form-data; name="meta"\r\n\r\n{"u":"one"}\r\n'
        b'--b0undary\r\nContent-Disposition: form-data; name="f"; filename="my.bin"\r\n\r\n'
        + gzip.compress(b"two two two") + b"\r\n--b0undary--\r\n"
    )  # fmt: skip
    assert reach(body, b"one", ("multipart/form-data",)).path == "$.u"
    assert reach(body, b"two two two").path == "f"
    assert reach(body, b"my.bin").path == "f.filename"


def test_protobuf_tells_field_numbers() -> None:
    # the two Safe Browsing requests: one carries an address, the other four bytes of a hash
    leak = b"EjMaMRIvaHR0cHM6Ly9jNG40cnktcDJ0MS5leGFtcGxlLnRlc3QvYS9iP3E9dG9rLTlmMzE="
    field = reach(leak, b"https://c4n4ry-p2t1.example.test/a/b?q=tok-9f31")
    assert (field.layers, field.path) == (("base64", "protobuf"), "2.3.2")
    prefix = hashlib.sha256(b"c4n4ry-p2t1.example.test/a/b?q=tok-9f31").digest()[:4]
    # too short to be called a message by itself; declared, it is read
    assert (
        reach(base64.urlsafe_b64decode("EggaBgoEF_IFvQ=="), prefix, ("application/x-protobuf",)).path
        == "2.3.1"
    )


def test_grpc_frames_compressed_or_not() -> None:
    message = chains.delimited(1, b"first text")
    packed = gzip.compress(chains.delimited(2, b"second text"))
    body = b"\0" + struct.pack(">I", len(message)) + message + b"\1" + struct.pack(">I", len(packed)) + packed
    assert reach(body, b"first text").layers == ("grpc", "protobuf")
    assert reach(body, b"second text").layers == ("grpc", "gzip", "protobuf")


def test_dns_messages_tell_their_names() -> None:
    # RFC 8484, 4.1.1: a query for www.example.com in base64url
    field = reach(b"AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB", b"www.example.com")
    assert (field.layers[-1], field.path) == ("dns", "question[0].name")
    pointed = b"\0\0\x81\x80\0\1\0\1\0\0\0\0\1a\7example\0\0\1\0\1\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1b\xc0\x0e"
    assert reach(pointed, b"b.example").path == "answer[0].data"


def test_a_token_tells_header_and_payload() -> None:
    # RFC 7519, 3.1
    token = (
        b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    assert reach(b"Bearer " + token, b"joe").layers == ("jwt", "json")


def test_an_address_within_an_address_keeps_its_own_query() -> None:
    body = b"https://a.example/r?to=https%3A%2F%2Fb.example%2Fx%3Fq%3Dred%2520shoes&z=1"
    assert reach(body, b"https://b.example/x?q=red%20shoes").path == "to"
    assert reach(body, b"red shoes").layers == ("url", "percent", "url", "percent")


def test_lz_string_vectors() -> None:
    # made with lz-string's own compressor
    # (its base64 form is base64 of its bytes)
    assert reach(b"BYUwNmD2AEoTcpA=", b"hello hello hello").layers[-1] == "lz-string"
    assert reach(b"OYJwbw+wpgBIkdqE10oA", "größe 安静".encode()).layers[-1] == "lz-string"
    assert decompress("", 10) == ""


def test_sensors_analytics_bodies_open_to_their_events() -> None:
    facts = Path(__file__).resolve().parents[2].parent / "shared/facts/leaks-and-protocols.md"
    if not facts.is_file():
        pytest.skip("the folder ../shared/facts is absent")
    bodies = re.findall(r"crc=-?\d+&gzip=1&data_list=\S+", facts.read_text())
    assert len(bodies) == 2
    for body in bodies:
        field = reach(
            body.encode(),
            b"https://c4n4ry-p2t1.example.test/a/b?q=tok-9f31#frag",
        )
        assert field.layers == ("form", "percent", "base64", "gzip", "json")
        assert field.path == "$[0].properties.url"


def test_what_stays_closed_is_opaque_with_size_and_entropy() -> None:
    sealed = random.Random(9).randbytes(4096)
    tree = unfold(b'{"payload":"' + base64.b64encode(sealed) + b'","n":"plain text"}')
    (value,) = opaque_values(tree.fields)
    assert (value.path, value.layers, value.size) == ("$.payload", ("json", "base64"), 4096)
    assert 7.9 < value.entropy <= 8
    assert entropy(b"") == entropy(b"aaaa") == 0
    assert entropy(b"abcd") == 2


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_base58_is_the_inverse_of_its_encoder(data: bytes) -> None:
    assert unbase58(chains.base58(data, random.Random(0))) == data


@settings(deadline=None)
@given(
    st.text(
        st.characters(codec="utf-8", max_codepoint=0xFFEF, exclude_categories=("C", "Zl", "Zp")), min_size=1
    )
)
def test_lz_string_is_the_inverse_of_its_encoder(text: str) -> None:
    if any("\x7f" <= c < "\xa0" for c in text):
        return
    bits = "".join(map(str, chains.lz_string_bits(text)))
    assert decompress(bits + "0000", 1 << 20) == text


@settings(deadline=None, max_examples=400)
@given(st.integers(0, 2**32))
def test_nothing_is_hidden_where_may_hide_says_no(seed: int) -> None:
    chain = chains.chain(1, random.Random(seed))
    disguised = chain.names[0] in ("reversed", "rot13", "xor")
    assert may_hide(chain.body) or disguised or chain.value in chain.body.replace(b"+", b" ")


def test_a_purse_says_each_bound_once() -> None:
    purse = Purse.filled(Bounds(work=10, fields=2))
    assert purse.charge(10)
    assert not purse.charge(1)
    assert not purse.charge(1)
    assert purse.take(1)
    assert not purse.take(1)
    assert [hit.bound for hit in purse.hits] == ["time", "fields"]


@pytest.mark.parametrize("breaks", [b"\n\t", b"\r\n    ", b"\n"])
def test_base64_in_indented_lines_is_one_value(breaks: bytes) -> None:
    text = b", ".join(b"%d bottles" % count for count in range(40))
    lines = base64.b64encode(text)
    body = (
        b"<data>" + breaks + breaks.join(lines[at : at + 76] for at in range(0, len(lines), 76)) + b"</data>"
    )
    assert reach(body, text).layers[-1] == "base64"


@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
def test_base64_whose_plus_was_read_as_a_space(packed: Callable[[bytes], bytes]) -> None:
    value = json.dumps([{"u": URL.decode(), "n": random.Random(5).randbytes(300).hex()}]).encode()
    sent = base64.b64encode(packed(value))
    assert sent.count(b"+") > 1
    assert reach(sent.replace(b"+", b" "), value).layers == ("base64", packed.__module__)
    assert not [
        field for field in opened(b"the quick brown fox jumps over the lazy dog again") if field.layers
    ]


def test_an_array_of_bytes_as_javascript_writes_a_typed_one() -> None:
    body = json.dumps({"d": {str(at): byte for at, byte in enumerate(URL)}}).encode()
    assert may_hide(body)
    assert reach(body, URL).layers == ("json", "bytes")
    other = json.dumps({"d": {str(at + 1): byte for at, byte in enumerate(URL)}}).encode()
    assert not [field for field in opened(other) if field.data == URL]


def test_short_ascii85_with_quotes_may_hide_something() -> None:
    assert may_hide(base64.a85encode(b"fluxkompensato"))


def test_each_value_of_a_document_is_guessed_at() -> None:
    inner = [json.dumps({"u": URL.decode(), "n": at, "of": "several"}).encode() for at in range(3)]
    body = json.dumps([base64.a85encode(value).decode() for value in inner]).encode()
    assert all(reach(body, value).layers == ("json", "ascii85") for value in inner)


@pytest.mark.parametrize(
    ("encode", "layer"),
    [
        (base64.a85encode, "ascii85"),
        (lambda data: cramjam.snappy.compress_raw(data).read(), "snappy"),
        (lambda data: lz4.block.compress(data, store_size=False), "lz4"),
        (lambda data: bytes(byte ^ 0x13 for byte in data), "xor"),
    ],
)
def test_a_whole_document_outweighs_what_chance_opens(encode: Callable[[bytes], bytes], layer: str) -> None:
    """Percent signs in ascii85, words and digests that stay readable in snappy and LZ4."""
    chance = random.Random(3)
    events = [{"id": chance.randbytes(16).hex(), "t": 1_700_000_000 + 37 * at} for at in range(12)]
    value = json.dumps({"events": [*events, {"u": URL.decode()}]}).encode()
    assert reach(encode(value), value).layers == (layer,)


def test_every_value_of_a_name_that_an_object_has_twice() -> None:
    escaped = URL.replace(b"/", b"\\u002f")
    fields = opened(b'{"a": [{"u":"' + escaped + b'","u":"x","t":"two","u":"last one"}]}')
    assert [(field.path, field.data) for field in fields if field.parent == 0] == [
        ("$.a[0].u[0]", URL), ("$.a[0].u[1]", b"x"), ("$.a[0].u[2]", b"last one"), ("$.a[0].t", b"two"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_read_into_ciphertext(seed: int) -> None:
    """The value of a form that is percent-encoded base64 of random bytes opens that far and stays closed."""
    chance = random.Random(seed)
    body = b"v=2&k=" + quote(base64.b64encode(chance.randbytes(200)), safe="").encode() + b"&n=1"
    for field in opened(body):
        assert not {"xor", "reversed", "rot13"} & {*field.layers}, field.layers


def test_short_words_are_no_pairs_of_digits() -> None:
    assert not may_hide(b'{"text":"ends of an of of of an of of of ends"}')
    assert may_hide(b'{"text":"68 74 74 70 3a 2f 2f 61 2e"}')
    assert may_hide(b'{"text":"of an of of of an of of 68 74 74 70 3a 2f 2f 61 2e"}')


@pytest.mark.parametrize("sign", [rb"%[0-9A-F]{2}", rb"\\[n'\"/]"])
def test_adobe_s_marks_tell_ascii85_whatever_its_letters_look_like(sign: bytes) -> None:
    chance = random.Random(7)
    value, made = next(
        (value, made)
        for value in (chance.randbytes(8).hex().encode() + URL for _ in range(50_000))
        if re.search(sign, made := base64.a85encode(value, adobe=True))
    )
    assert [field.layers for field in opened(made) if field.data == value] == [("ascii85",)]


def test_percent_signs_among_odd_marks_may_be_there_by_chance() -> None:
    chance = random.Random(7)
    value, made = next(
        (value, made)
        for value in (chance.randbytes(8).hex().encode() + URL for _ in range(50_000))
        if re.search(rb"%[01][0-9A-F]", made := base64.b85encode(value))
    )
    assert ("base85",) in [field.layers for field in opened(made) if field.data == value]


def test_a_script_full_of_marks_hides_no_address() -> None:
    script = (
        b"!function(){var a=$('#x');a[0]={};b=`<%24>`;c|=~d;go('" + quote(URL, safe="").encode() + b"')}();"
    )
    assert [field.layers for field in opened(script) if URL in field.data] == [("percent",)]


def test_byte_values_behind_other_letters() -> None:
    values = b"D" + json.dumps(list(URL)).encode()
    assert reach(values, URL).layers == ("bytes",)


@pytest.mark.parametrize(("encode", "layer"), [(base64.b85encode, "base85"), (base64.a85encode, "ascii85")])
def test_a_token_without_marks_may_be_base85(encode: Callable[[bytes], bytes], layer: str) -> None:
    chance = random.Random(7)
    value, made = next(
        (value, made)
        for value in (chance.randbytes(6).hex().encode() for _ in range(50_000))
        if (made := encode(value)).isalnum()
    )
    assert layer in [field.layers[-1] for field in opened(made) if field.data == value]
