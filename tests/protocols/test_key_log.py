"""Key logs as they are found: every label, every way of writing, growing, merged, wrong, hostile."""

from __future__ import annotations

import pytest

from audit.protocols import key_log
from audit.protocols.key_log import Keys, Lines, Secret

RANDOM, OTHER = bytes(range(32)), bytes(range(32, 64))
SECRET, LONG = b"\x11" * 32, b"\x22" * 48


def read(text: bytes) -> Keys:
    keys = Keys()
    lines = Lines(keys, "keylog")
    lines.feed(text)
    lines.finish()
    return keys


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("CLIENT_RANDOM", key_log.MASTER),
        ("PMS_CLIENT_RANDOM", key_log.PREMASTER),
        ("CLIENT_EARLY_TRAFFIC_SECRET", key_log.EARLY),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", key_log.HANDSHAKE[0]),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", key_log.HANDSHAKE[1]),
        ("CLIENT_TRAFFIC_SECRET_0", key_log.TRAFFIC[0]),
        ("SERVER_TRAFFIC_SECRET_0", key_log.TRAFFIC[1]),
        ("SERVER_TRAFFIC_SECRET_N", key_log.TRAFFIC[1]),
        ("QUIC_CLIENT_TRAFFIC_SECRET_0", key_log.TRAFFIC[0]),
        ("QUIC_SERVER_HANDSHAKE_TRAFFIC_SECRET", key_log.HANDSHAKE[1]),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "", "  \n"])
@pytest.mark.parametrize("upper", [False, True])
def test_labels(written: str, label: str, ending: str, upper: bool) -> None:
    random, secret = RANDOM.hex(), LONG.hex()
    if upper:
        random, secret = random.upper(), secret.upper()
    keys = read(f"# a comment\n{written} {random} {secret}{ending}".encode())
    assert keys.find(label, RANDOM) == (Secret(LONG, "keylog"),)
    assert keys.randoms() == [RANDOM]


def test_a_byte_order_mark() -> None:
    """Before the first line, also where one log was put behind another."""
    line = f"CLIENT_RANDOM {RANDOM.hex()} {LONG.hex()}\n".encode()
    marked = b"\xef\xbb\xbf" + line
    assert read(marked).find(key_log.MASTER, RANDOM)
    assert read(line + marked.replace(b" 00", b" ff")).count == 2
    assert key_log.clean(marked) == line


def test_lines_of_rsa() -> None:
    keys = read(
        f"RSA 0102030405060708 {LONG.hex()}\nRSA Session-ID:AABB Master-Key:{LONG.hex().upper()}\n".encode()
    )
    assert keys.find(key_log.ENCRYPTED_PREMASTER, bytes(range(1, 9))) == (Secret(LONG, "keylog"),)
    assert keys.find(key_log.SESSION_MASTER, b"\xaa\xbb") == (Secret(LONG, "keylog"),)
    assert keys.randoms() == []


@pytest.mark.parametrize(
    "line",
    [
        b"EXPORTER_SECRET " + RANDOM.hex().encode() + b" " + SECRET.hex().encode(),
        b"EARLY_EXPORTER_SECRET " + RANDOM.hex().encode() + b" " + SECRET.hex().encode(),
        b"ECH_SECRET " + RANDOM.hex().encode() + b" " + SECRET.hex().encode(),
        b"# CLIENT_RANDOM " + RANDOM.hex().encode() + b" " + LONG.hex().encode(),
        b"CLIENT_RANDOM " + RANDOM.hex().encode() + b" " + LONG.hex().encode()[:-2],
        b"CLIENT_RANDOM " + RANDOM.hex().encode()[:-2] + b" " + LONG.hex().encode(),
        b"CLIENT_RANDOM " + RANDOM.hex().encode() + b" " + LONG.hex().encode() + b" more",
        b"RSA Session-ID:AAB Master-Key:" + LONG.hex().encode(),
        b"\0\xff" * 5_000,
        b"CLIENT_RANDOM",
    ],
)
def test_what_is_no_secret_is_passed_over(line: bytes) -> None:
    good = f"CLIENT_TRAFFIC_SECRET_0 {RANDOM.hex()} {SECRET.hex()}\n".encode()
    keys = read(good + line + b"\n" + good)
    assert keys.count == 1


def test_a_growing_log_counts_line_by_line() -> None:
    line = f"CLIENT_RANDOM {RANDOM.hex()} {LONG.hex()}\n".encode()
    keys = Keys()
    lines = Lines(keys, "keylog")
    for at in range(len(line)):
        assert keys.count == 0
        lines.feed(line[at : at + 1])
    assert keys.count == 1
    lines.feed(line)
    assert keys.count == 1


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r", b"\n\r\n\n"])
def test_long_logs_with_every_kind_of_line_end(ending: bytes) -> None:
    lines = [b"CLIENT_RANDOM %064x %096x" % (n, n) for n in range(200)]
    keys = read(ending.join(lines))
    assert keys.count == 200
    assert len(key_log.clean(ending.join(lines)).splitlines()) == 200


def test_what_the_capture_carries_and_what_a_log_says_are_kept_apart() -> None:
    """Wrong secrets in one do not leave out the right ones of the other."""
    keys = Keys()
    for n in range(9):
        keys.add(key_log.MASTER, RANDOM, bytes((n,)) * 48, "keylog")
    keys.add(key_log.MASTER, RANDOM, LONG, "dsb")
    keys.add(key_log.MASTER, RANDOM, bytes(48), "dsb")
    found = keys.find(key_log.MASTER, RANDOM)
    assert found == (*(Secret(bytes((n,)) * 48, "keylog") for n in range(4)), Secret(LONG, "dsb"))


def test_several_secrets_for_one_connection_are_kept_up_to_a_bound() -> None:
    text = "".join(f"CLIENT_RANDOM {RANDOM.hex()} {bytes((n,)).hex() * 48}\n" for n in range(50))
    keys = read(text.encode())
    assert [secret.value[0] for secret in keys.find(key_log.MASTER, RANDOM)] == [0, 1, 2, 3]
    assert not keys.knows(OTHER)


def test_only_secrets_are_passed_on() -> None:
    line = f"CLIENT_RANDOM {RANDOM.hex()} {LONG.hex()}"
    assert key_log.clean(f"# mine\r\n  {line}\r\nmy password\n".encode()) == line.encode() + b"\n"
