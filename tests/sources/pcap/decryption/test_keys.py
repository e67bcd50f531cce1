"""Where secrets come from: several logs, logs that grow, blocks in the capture from their place on; and exports."""

from __future__ import annotations

import base64
import json
import random
import re
import ssl
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit.cli import cli
from audit.protocols import key_log, tls_protection, tls_session
from audit.records import AnyRecord, Flow, Gap, Http, WebSocketMessage
from audit.sources import BadCapture, Wanted, read
from tests.sources.pcap import craft

from . import talks
from .wire import Wire


def pcapng(wire: Wire, blocks: dict[int, bytes], folder: Path) -> Path:
    """The packets as a pcapng, with secrets before the packets of these numbers."""
    parts = [craft.section(), craft.interface(link=101)]
    for number, packet in enumerate(wire.packets):
        if number in blocks:
            log = blocks[number]
            parts.append(
                craft.block(10, (0x544C534B).to_bytes(4, "little") + len(log).to_bytes(4, "little") + log)
            )
        parts.append(craft.enhanced(packet, 1_700_000_000_000_000 + number))
    path = folder / "made.pcapng"
    path.write_bytes(b"".join(parts))
    return path


def test_blocks_count_from_their_place_on(tmp_path: Path) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path)
    first = talks.https(wire, ends, 1, 3, 40_001)
    border = len(wire.packets)
    second = talks.https(wire, ends, 2, 3, 40_002)
    log = (tmp_path / "keys.log").read_bytes()
    before = talks.opened(pcapng(wire, {0: log}, tmp_path))
    assert talks.exchanged(before) == first + second
    assert {r.secured_by for r in before if isinstance(r, Http)} == {"dsb"}
    between = talks.opened(pcapng(wire, {border: log}, tmp_path))
    assert talks.exchanged(between) == second
    flows = [r for r in between if isinstance(r, Flow)]
    assert [(f.observability, f.reason, f.secured_by) for f in flows] == [
        ("metadata_only", "no_key", None), ("observed", None, "dsb"),
    ]  # fmt: skip


def test_secrets_written_while_the_handshake_goes_on(tmp_path: Path) -> None:
    """An app that records writes them as it learns them, a few packets late."""
    wire = Wire()
    ends = talks.contexts(tmp_path)
    said = talks.https(wire, ends, 3, 3, 40_001)
    hello = next(
        n for n, packet in enumerate(wire.packets) if packet[40:41] == b"\x16" and packet[45:46] == b"\x02"
    )
    log = (tmp_path / "keys.log").read_bytes()
    assert talks.exchanged(talks.opened(pcapng(wire, {hello + 1: log}, tmp_path))) == said


def test_the_first_secrets_of_a_capture_come_after_the_handshake(tmp_path: Path) -> None:
    wire = Wire()
    said = talks.https(wire, talks.contexts(tmp_path), 3, 3, 40_001)
    log = (tmp_path / "keys.log").read_bytes()
    for place in range(6, 18):
        records = talks.opened(pcapng(wire, {place: log}, tmp_path))
        assert talks.exchanged(records) == said, place
        assert {r.secured_by for r in records if isinstance(r, Http)} == {"dsb"}


def test_a_log_that_grows_while_it_is_read(tmp_path: Path) -> None:
    from audit.sources.pcap.decryption.ring import KeyRing

    path = tmp_path / "keys.log"
    path.write_bytes(b"CLIENT_RANDOM " + b"11" * 32 + b" " + b"22" * 24)
    ring = KeyRing((path,))
    assert ring.keys.count == 0
    with path.open("ab") as file:
        file.write(b"22" * 24 + b"\n")
    ring.refresh()
    assert ring.keys.count == 1


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    wire = Wire()
    talks.https(wire, talks.contexts(tmp_path), 4, 1)
    capture = wire.write(tmp_path)
    with pytest.raises(BadCapture, match="key log cannot be read"):
        talks.opened(capture, tmp_path / "nowhere.log")
    told = CliRunner().invoke(cli, ["inspect", str(capture), "--keys", str(tmp_path / "nowhere.log")])
    assert told.exit_code == 2


def hostile(records: list[AnyRecord]) -> None:
    assert not [r for r in records if isinstance(r, Http)]
    assert {r.reason for r in records if isinstance(r, Gap)} <= {"no_key", "lost", "unsupported"}


def test_hostile_logs_open_nothing_and_break_nothing(tmp_path: Path) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path)
    for number in range(4):
        talks.https(wire, ends, number, 4, 40_000 + number)
    capture = wire.write(tmp_path)
    lines = [x for x in (tmp_path / "keys.log").read_text().splitlines() if x[:1] != "#"]
    chance = random.Random(9)
    bad = tmp_path / "bad.log"
    bad.write_bytes(chance.randbytes(1 << 20))
    hostile(talks.opened(capture, bad))
    # every secret of every connection is another one's, many times
    secrets = [line.split()[2] for line in lines]
    bad.write_text(
        "".join(
            f"{label} {known} {chance.choice(secrets)[::-1]}\n"
            for line in lines
            for label, known, _ in [line.split()]
            for _ in range(50)
        )
    )
    hostile(talks.opened(capture, bad))
    # the handshake's secrets are right and the rest is wrong
    bad.write_text("\n".join(line if "HANDSHAKE" in line else line[:-4] + "0000" for line in lines) + "\n")
    hostile(talks.opened(capture, bad))
    bad.write_text("CLIENT_RANDOM " + "a" * (1 << 21))
    hostile(talks.opened(capture, bad))


@pytest.mark.parametrize("right_first", [True, False])
def test_a_hostile_log_costs_few_attempts(
    tmp_path: Path, right_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of secrets for the connections of the capture: a bounded number of them is tried."""
    attempts = 0
    real = tls_protection.Modern.open

    def counted(
        self: tls_protection.Modern, kind: int, version: int, body: bytes, number: int
    ) -> tls_protection.Opened | None:
        nonlocal attempts
        attempts += 1
        return real(self, kind, version, body, number)

    monkeypatch.setattr(tls_protection.Modern, "open", counted)
    wire = Wire()
    ends = talks.contexts(tmp_path)
    for number in range(4):
        talks.https(wire, ends, number, 4, 40_000 + number)
    capture, log = wire.write(tmp_path), tmp_path / "keys.log"
    talks.opened(capture, log)
    needed, attempts = attempts, 0
    lines = [line.split() for line in log.read_text().splitlines() if line[:1] != "#"]
    chance = random.Random(3)
    wrong = "".join(
        f"{label} {of} {chance.randbytes(len(secret) // 2).hex()}\n"
        for label, of, secret in lines
        for _ in range(2_000)
    )
    noise = "\0" * 100_000 + "\n" + " " * 100_000 + "\n" + "CLIENT_RANDOM " + "a" * 500_000 + "\n"
    bad = tmp_path / "bad.log"
    bad.write_text(noise + (log.read_text() + wrong if right_first else wrong))
    records = talks.opened(capture, bad)
    assert len([r for r in records if isinstance(r, Http)]) == (16 if right_first else 0)
    sides, records_tried = 2 * 4, 2 * tls_session._FAILURES
    assert attempts <= needed + sides * records_tried * 2 * key_log.MAX_SAME


@pytest.mark.parametrize("right", ["", "HANDSHAKE", "SERVER_", "CLIENT_"])
@pytest.mark.parametrize("lost", [0.0, 0.03])
def test_secrets_of_which_some_are_right_cost_few_attempts(
    tmp_path: Path, right: str, lost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four wrong ones in the place of each other one; what was lost makes for more numbers to try."""
    attempts = 0
    real = tls_protection.Modern.open

    def counted(
        self: tls_protection.Modern, kind: int, version: int, body: bytes, number: int
    ) -> tls_protection.Opened | None:
        nonlocal attempts
        attempts += 1
        return real(self, kind, version, body, number)

    monkeypatch.setattr(tls_protection.Modern, "open", counted)
    wire = Wire()
    ends = talks.contexts(tmp_path)
    connections = 20
    for number in range(connections):
        talks.https(wire, ends, number, 12, 40_000 + number)
    capture, log = wire.harmed(1, lost=lost).write(tmp_path), tmp_path / "keys.log"
    opened = len([r for r in talks.opened(capture, log) if isinstance(r, Http)])
    assert opened > 150
    needed, attempts = attempts, 0
    chance = random.Random(3)
    bad = tmp_path / "bad.log"
    bad.write_text(
        "".join(
            f"{line}\n"
            if right and right in line
            else f"{' '.join(line.split()[:2])} {chance.randbytes(len(line.split()[2]) // 2).hex()}\n"
            for line in log.read_text().splitlines()
            if line[:1] != "#"
            for _ in range(4)
        )
    )
    requests = [r for r in talks.opened(capture, bad) if isinstance(r, Http) and r.method]
    assert len(requests) == (opened if right == "CLIENT_" else 0)
    each = tls_session.UNPROVEN_BUDGET // tls_session._ATTEMPT  # and more only where right ones were found
    assert attempts <= needed + connections * each


def test_a_log_that_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.sources.pcap.decryption import ring

    monkeypatch.setattr(ring, "MAX_LOG", 1_000)
    monkeypatch.setattr(ring, "_STEP", 500)
    wire = Wire()
    talks.https(wire, talks.contexts(tmp_path), 4, 1)
    capture = wire.write(tmp_path)
    log = tmp_path / "keys.log"
    assert not [r for r in talks.opened(capture, log) if isinstance(r, Gap) and r.reason == "limit"]
    log.write_bytes(log.read_bytes() + b"#" * 1_000)
    assert [r for r in talks.opened(capture, log) if isinstance(r, Gap) and r.reason == "limit"]


def test_empty_lines_are_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.protocols.key_log import Lines
    from audit.sources.pcap.decryption import ring

    fed: list[int] = []
    real = Lines.feed

    def counted(self: Lines, text: bytes) -> None:
        fed.append(len(text))
        real(self, text)

    monkeypatch.setattr(Lines, "feed", counted)
    bad = tmp_path / "bad.log"
    for nothing in (b"\n", b"\r\n", b"\r"):
        fed.clear()
        bad.write_bytes(nothing * (6 << 20))
        log = ring.KeyRing((bad,))
        assert log.cut
        assert sum(fed) <= 1 << 20
    wire = Wire()
    ends = talks.contexts(tmp_path)
    said = talks.https(wire, ends, 4, 1)
    right = (tmp_path / "keys.log").read_bytes()
    many = right + b"\n" * (2 << 20)
    found = talks.opened(pcapng(wire, {0: right, 1: many, 2: many, 3: right}, tmp_path))
    assert talks.exchanged(found) == said
    assert [r.reason for r in found if isinstance(r, Gap)] == ["limit"]
    assert sum(fed) <= 1 << 20 | len(right)


def test_several_sources_at_once(tmp_path: Path) -> None:
    """A block of the capture, a log, and a log of sessions: each connection is opened by what has its secrets."""
    wire = Wire()
    folders = [tmp_path / name for name in ("carried", "logged", "session", "nowhere")]
    said = []
    for number, folder in enumerate(folders):
        folder.mkdir()
        old = number == 2
        version = ssl.TLSVersion.TLSv1_2 if old else ssl.TLSVersion.TLSv1_3
        ends = talks.contexts(
            folder,
            version=version,
            ciphers="AES128-SHA" if old else "",
            options=ssl.OP_NO_TICKET if old else 0,
        )
        pair = talks.Pair(ends, wire.tcp(40_001 + number))
        said += [talks.http1(talks.say_over(pair), number, 3)]
        if old:
            master = (folder / "keys.log").read_text().split()[-1]
            name = pair.client.session.id.hex()  # type: ignore[union-attr]
            (folder / "keys.log").write_text(f"RSA Session-ID:{name} Master-Key:{master}\r\n")
    carried, *logs, _ = (folder / "keys.log" for folder in folders)
    capture = pcapng(wire, {0: carried.read_bytes()}, tmp_path)
    found = talks.opened(capture, *logs)
    assert talks.exchanged(found) == said[0] + said[1] + said[2]
    told = {r.sport: (r.observability, r.reason, r.secured_by) for r in found if isinstance(r, Flow)}
    assert told == {
        40_001: ("observed", None, "dsb"),
        40_002: ("observed", None, "keylog"),
        40_003: ("observed", None, "keylog"),
        40_004: ("metadata_only", "no_key", None),
    }
    assert {(r.sport, r.secured_by) for r in found if isinstance(r, Http)} == {
        (port, secured) for port, (_, _, secured) in told.items() if secured
    }
    run = CliRunner().invoke(
        cli,
        ["inspect", str(capture), "--kind", "flow,gap", *(x for log in logs for x in ("--keys", str(log)))],
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert {line["sport"]: line["secured_by"] for line in lines if line.get("secured_by")} == {
        40_001: "dsb", 40_002: "keylog", 40_003: "keylog",
    }  # fmt: skip
    (closed,) = (line for line in lines if line["kind"] == "flow" and not line.get("secured_by"))
    assert (closed["sport"], closed["reason"]) == (40_004, "no_key")
    (why,) = (line for line in lines if line["kind"] == "gap")
    assert (why["reason"], why["detail"]) == ("no_key", "no secret of this connection was given")


def test_a_log_that_is_written_while_a_capture_is_followed(tmp_path: Path) -> None:
    """The secrets come after the packets, the last of them when nothing more follows."""
    wire, log = Wire(), tmp_path / "keys.log"
    ends = talks.contexts(tmp_path)
    said, logged, borders = [], [0], [0]
    for number in range(2):
        pair = talks.Pair(ends, wire.tcp(40_001 + number))
        said += talks.http1(talks.say_over(pair), number, 1)
        logged.append(log.stat().st_size)
        borders.append(len(wire.pcap()))
    lines, packets = log.read_bytes(), wire.pcap()
    cut = 160  # within the first secret
    log.write_bytes(lines[:cut])
    capture = tmp_path / "grows.pcap"
    capture.write_bytes(packets[: borders[1]])
    steps = iter([(packets[borders[1] :], lines[cut : logged[1]]), (b"", lines[logged[1] :])])

    def more() -> bool:
        step = next(steps, None)
        for path, added in zip((capture, log), step or (), strict=False):
            with path.open("ab") as file:
                file.write(added)
        return step is not None

    found = list(read(capture, capture.name, Wanted(keys=(log,), bodies=True, more=more)))
    assert talks.exchanged(found) == said
    assert not [r for r in found if isinstance(r, Gap)]


def test_har_full_and_pcapng(tmp_path: Path) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path)
    pair = talks.Pair(ends, wire.tcp(40_001))
    said = talks.http1(talks.say_over(pair), 5, 4)
    pair.say(
        b"GET /live HTTP/1.1\r\nHost: made.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", up=True
    )  # fmt: skip
    pair.say(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", up=False)
    pair.say(b"\x81\x85\0\0\0\0hello", up=True)
    pair.say(b"\x02\x02\xff\xfe\x80\x02\xfd\xfc", up=False)
    capture, log = wire.write(tmp_path), tmp_path / "keys.log"
    out = tmp_path / "full.har"
    run = CliRunner().invoke(
        cli, ["export", str(capture), "--keys", str(log), "--format", "har-full", "-o", str(out)]
    )
    assert run.exit_code == 0
    assert "not masked" in run.output
    assert out.stat().st_mode & 0o777 == 0o600
    entries = json.loads(out.read_text())["log"]["entries"]
    assert [talks.digest(base64.b64decode(e["response"]["content"]["text"])) for e in entries[:4]] == [
        one.answered for one in said
    ]
    assert [
        talks.digest(base64.b64decode(e["request"].get("postData", {}).get("text", ""))) for e in entries[:4]
    ] == [one.sent for one in said]
    assert entries[4]["_webSocketMessages"][0]["data"] == "hello"
    assert base64.b64decode(entries[4]["_webSocketMessages"][1]["data"]) == b"\xff\xfe\xfd\xfc"
    back = talks.opened(out)
    assert [r.path for r in back if isinstance(r, Http)] == [one.path for one in said] + ["/live"]
    assert [m.data for m in back if isinstance(m, WebSocketMessage)] == [b"hello", b"\xff\xfe\xfd\xfc"]
    carrying = tmp_path / "opened.pcapng"
    run = CliRunner().invoke(
        cli, ["export", str(capture), "--keys", str(log), "--format", "pcapng", "-o", str(carrying)]
    )
    assert run.exit_code == 0
    assert talks.exchanged(talks.opened(carrying))[:4] == said
    again = tmp_path / "again.pcapng"
    run = CliRunner().invoke(
        cli, ["export", str(carrying), "--format", "pcapng", "--keys", str(log), "-o", str(again)]
    )
    assert run.exit_code == 0
    assert talks.exchanged(talks.opened(again))[:4] == said


def injected(capture: Path, *logs: Path) -> tuple[list[bytes], str]:
    """The lines of the key log inside of an exported pcapng, and what the command said."""
    out = capture.with_name("injected.pcapng")
    given = [part for log in logs for part in ("--keys", str(log))]
    run = CliRunner().invoke(cli, ["export", str(capture), *given, "--format", "pcapng", "-o", str(out)])
    assert run.exit_code == 0
    return re.findall(rb"(?:CLIENT_|SERVER_|RSA )[ -~]+", out.read_bytes()), run.output


def test_only_secrets_of_the_capture_are_put_inside(tmp_path: Path) -> None:
    wire, elsewhere = Wire(), Wire()
    outer = talks.Pair(talks.contexts(tmp_path, log="outer.log"), wire.tcp(40_001))

    class Tunnel:
        def send(self, data: bytes, *, up: bool) -> None:
            outer.say(data, up=up)

    outer.say(b"CONNECT made.example:443 HTTP/1.1\r\nHost: made.example:443\r\n\r\n", up=True)
    outer.say(b"HTTP/1.1 200 Connection established\r\n\r\n", up=False)
    inner = talks.Pair(talks.contexts(tmp_path, log="inner.log"), Tunnel())  # type: ignore[arg-type]
    said = talks.http1(talks.say_over(inner), 6, 2)
    talks.https(elsewhere, talks.contexts(tmp_path, log="other.log"), 7, 1)
    logs = [tmp_path / name for name in ("outer.log", "inner.log", "other.log")]
    mine = [
        line for log in logs[:2] for line in log.read_bytes().splitlines()
        if line[:1] != b"#" and b"EXPORTER" not in line
    ]  # fmt: skip
    capture = wire.write(tmp_path)
    inside, told = injected(capture, *logs)
    assert inside == mine
    assert "none was put inside" not in told
    assert talks.exchanged(talks.opened(tmp_path / "injected.pcapng"))[1:] == said
    inside, told = injected(capture, logs[2])
    assert inside == []
    assert "none was put inside" in told


def test_sessions_that_lines_of_rsa_name_are_put_inside(tmp_path: Path) -> None:
    wire = Wire()
    ends = talks.contexts(
        tmp_path, version=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA", options=ssl.OP_NO_TICKET
    )
    pair = talks.Pair(ends, wire.tcp(40_001))
    said = talks.http1(talks.say_over(pair), 5, 2)
    master = (tmp_path / "keys.log").read_text().split()[-1]
    log = tmp_path / "session.log"
    line = f"RSA Session-ID:{pair.client.session.id.hex()} Master-Key:{master}"  # type: ignore[union-attr]
    log.write_text(f"{line}\nRSA Session-ID:{'ab' * 32} Master-Key:{master}\n")
    assert injected(wire.write(tmp_path), log)[0] == [line.encode()]
    assert talks.exchanged(talks.opened(tmp_path / "injected.pcapng")) == said


@pytest.mark.slow
def test_a_hostile_log_does_not_slow_the_run(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    wire = Wire()
    ends = talks.contexts(tmp_path)
    for number in range(60):
        talks.https(wire, ends, number, 12, 40_000 + number)
    capture = wire.write(tmp_path)
    lines = [x for x in (tmp_path / "keys.log").read_text().splitlines() if x[:1] != "#"]
    bad = tmp_path / "bad.log"
    bad.write_text(
        "".join(
            f"{' '.join(line.split()[:2])} {n:02x}{line.split()[2][2:]}\n" for line in lines for n in range(9)
        )
    )
    taken = {}
    for name, log in (("right", tmp_path / "keys.log"), ("wrong", bad)):
        started = time.process_time()
        talks.opened(capture, log)
        taken[name] = time.process_time() - started
    record_property("wrong against right", taken["wrong"] / taken["right"])
