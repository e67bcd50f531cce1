"""Keyed layers: each cipher undone, keys that follow from fields, lines that cannot be read."""

from __future__ import annotations

import base64
import gzip
import hashlib
from urllib.parse import quote

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from audit.decoding.keyed import SpecificationError, parse, unfold_with

TEXT = b'{"url":"https://c4n4ry.example.test/a?q=1"}'
KEY = bytes(range(16))
IV = bytes(range(16, 32))


def padded(data: bytes) -> bytes:
    size = 16 - len(data) % 16
    return data + bytes([size]) * size


def encrypted(cipher: Cipher, data: bytes) -> bytes:
    engine = cipher.encryptor()
    return engine.update(data) + engine.finalize()


def repeated_xor(data: bytes, key: bytes) -> bytes:
    return bytes(c ^ key[i % len(key)] for i, c in enumerate(data))


CASES = {
    f"aes-cbc:key=hex:{KEY.hex()},iv=prefix16": IV + encrypted(Cipher(AES(KEY), CBC(IV)), padded(TEXT)),
    f"aes-cbc:key=hex:{KEY.hex()},iv=hex:{IV.hex()}": encrypted(Cipher(AES(KEY), CBC(IV)), padded(TEXT)),
    "aes-ecb:key='0123456789abcdef'": encrypted(Cipher(AES(b"0123456789abcdef"), ECB()), padded(TEXT)),
    f"aes-gcm:key=base64:{base64.b64encode(KEY).decode()}, iv=prefix12": IV[:12]
    + AESGCM(KEY).encrypt(IV[:12], TEXT, None),
    "rc4:key=text:secret.": encrypted(Cipher(ARC4(b"secret."), None), TEXT),
    "xor:key=hex:5a17c3": repeated_xor(TEXT, b"\x5a\x17\xc3"),
}


@pytest.mark.parametrize("specification", CASES)
def test_a_cipher_is_undone_in_whatever_wraps_it(specification: str) -> None:
    body = base64.b64encode(CASES[specification])
    tree = unfold_with([parse(specification)], body)
    field = next(f for f in tree.fields if f.data == b"https://c4n4ry.example.test/a?q=1")
    assert field.layers == ("base64", specification.partition(":")[0], "json")


def test_what_was_compressed_before_it_was_encrypted_opens() -> None:
    body = IV + encrypted(Cipher(AES(KEY), CBC(IV)), padded(gzip.compress(TEXT)))
    tree = unfold_with([parse(f"aes-cbc:key=hex:{KEY.hex()},iv=prefix16")], body)
    assert tree.fields[-1].layers[:3] == ("aes-cbc", "gzip", "json")


def test_a_key_follows_from_fields_of_the_same_request() -> None:
    key = hashlib.md5(b"seed:app7-device9").hexdigest()[:16].encode()
    value = base64.b64encode(encrypted(Cipher(AES(key), ECB()), padded(TEXT))).decode()
    body = f"app_id=app7&device_id=device9&stat_value={quote(value, safe='')}".encode()
    rule = parse("aes-ecb:key=hex(md5('seed:' + field app_id + '-' + field device_id))[:16]")
    assert any(b"c4n4ry" in field.data for field in unfold_with([rule], body, ("form",)).fields)


def test_without_the_field_the_value_stays_opaque() -> None:
    body = base64.b64encode(CASES["rc4:key=text:secret."])
    tree = unfold_with([parse("rc4:key=md5(field nowhere)")], body)
    assert tree.fields[-1].opaque


def test_the_wrong_key_opens_nothing() -> None:
    for specification in (
        "rc4:key=text:other",
        f"aes-gcm:key=hex:{IV.hex()},iv=prefix12",
        "xor:key=hex:01020304",
    ):
        for body in CASES.values():
            opened = unfold_with([parse(specification)], body).fields
            assert not any(
                field.layers[-1:] == (specification.partition(":")[0],) for field in opened
            ) or any(b"c4n4ry" in field.data for field in opened)


@pytest.mark.parametrize(
    ("specification", "said"),
    [
        ("des:key=hex:00", "none of aes-cbc"),
        ("aes-cbc", "none of aes-cbc"),
        ("aes-cbc:iv=prefix16", "has no key="),
        ("aes-cbc:key=hex:00", "needs an iv="),
        ("rc4:key=hex:0g", "'0g' is no hex"),
        ("rc4:key=md5('a'", "at character 16, expected ')'"),
        ("rc4:key=", "expected a value"),
        ("rc4:key='a' 'b'", "expected ','"),
        ("rc4:secret", "expected key= or iv="),
        ("rc4:key=__import__('os')", "expected a value"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(specification: str, said: str) -> None:
    with pytest.raises(SpecificationError, match="decoder ") as refused:
        parse(specification)
    assert said in str(refused.value)
