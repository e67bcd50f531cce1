"""Real captures with their keys against what another analyser decrypts; skipped where the corpus is absent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from audit.protocols import tls_session
from audit.records import AnyRecord, Flow, Gap, Http
from audit.sources import Wanted, read

from ..corpus import CORPUS, table

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not there")
CAPTURES = CORPUS / "captures"
KEYED = [
    ("mercury/test/data/test_decrypt.pcap", "mercury_test_decrypt.keys"),
    ("pcapFS/tests/crypto/all_ciphers_test/all_ciphers.pcap", "pcapfs_all_ciphers.keys"),
    ("pcapFS/tests/crypto/feature_test/feature_test.pcap", "pcapfs_feature_test.keys"),
    ("pcapFS/tests/system/system-tests.pcap", "pcapfs_system_tests.keys"),
    ("pcapFS/tests/system/system-tests.pcapng", "pcapfs_system_tests.keys"),
    ("illustrated-tls12/captures/capture.pcap", "illustrated_tls12.keys"),
    ("illustrated-quic/captures/capture.pcap", "illustrated_quic.keys"),
    ("suricata-verify/tests/ja4-rules-disabled/input.pcap", "suricata_ja4_rules_disabled.keys"),
]
CARRIED = [
    ("mercury_test_decrypt_dsb.pcapng", KEYED[0][0]),
    ("pcapfs_all_ciphers_dsb.pcapng", KEYED[1][0]),
    ("suricata_cloudflare_quic_dsb.pcapng", KEYED[7][0]),
]
Rows = Counter[tuple[str, str, str, str]]


def records(path: Path, *keys: Path) -> list[AnyRecord]:
    return list(read(path, path.name, Wanted(keys=keys)))


def told(found: list[AnyRecord]) -> Rows:
    return Counter(
        (r.version.partition(".")[0], r.method, r.authority, r.path) for r in found if isinstance(r, Http)
    )


def truth(capture: str) -> Rows:
    rows = table(CORPUS / "truth" / f"{capture.replace('/', '__')}.decrypted.tsv")
    return Counter(
        (row["version"].removeprefix("HTTP/"), row["method"], row["authority"], row["path"]) for row in rows
    )


@pytest.mark.parametrize(("capture", "keys"), KEYED)
def test_all_requests(capture: str, keys: str) -> None:
    found = records(CAPTURES / capture, CORPUS / "keys" / keys)
    assert told(found) == truth(capture)
    secured = {r.secured_by for r in found if isinstance(r, Http) and r.dport == 443}
    assert secured <= {"keylog"}


@pytest.mark.parametrize(("carrying", "capture"), CARRIED)
def test_secrets_that_the_capture_carries(carrying: str, capture: str) -> None:
    found = records(CORPUS / "with-secrets" / carrying)
    assert told(found) == truth(capture)
    assert {r.secured_by for r in found if isinstance(r, Http)} == {"dsb"}
    assert {r.secured_by for r in found if isinstance(r, Flow) and r.observability == "observed"} == {"dsb"}


def test_hellos_without_keys_are_named() -> None:
    found = records(CAPTURES / KEYED[0][0], CORPUS / "keys" / KEYED[0][1])
    assert sum(told(found).values()) == 19
    reasons = ["lost", *["no_key"] * 4]  # one of them began before the capture
    assert sorted(r.reason for r in found if isinstance(r, Gap)) == reasons
    unopened = [r for r in found if isinstance(r, Flow) and r.observability == "metadata_only"]
    assert sorted(str(flow.reason) for flow in unopened) == reasons
    assert {flow.secured_by for flow in unopened} == {None}


def test_every_application_record_of_every_cipher_authenticates(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[tls_session.Session] = []
    begin = tls_session.Session.__init__

    def noted(self: tls_session.Session, *given: object) -> None:
        begin(self, *given)  # type: ignore[arg-type]
        sessions.append(self)

    monkeypatch.setattr(tls_session.Session, "__init__", noted)
    found = records(CAPTURES / KEYED[1][0], CORPUS / "keys" / KEYED[1][1])
    assert sum(told(found).values()) == 10
    assert [session.opened for session in sessions] == ["keylog"] * 31
    assert sum(session.unread for session in sessions) == 0
    assert [r for r in found if isinstance(r, Gap)] == []


def test_two_captures_share_a_client_random() -> None:
    """The keys of both at hand, neither capture is opened with the other's."""
    both = CORPUS / "keys" / "illustrated_tls12.keys", CORPUS / "keys" / "illustrated_quic.keys"
    for capture in ("illustrated-tls12/captures/capture.pcap", "illustrated-quic/captures/capture.pcap"):
        (flow,) = (r for r in records(CAPTURES / capture, *both) if isinstance(r, Flow))
        assert (flow.observability, flow.secured_by) == ("observed", "keylog")
    (flow,) = (r for r in records(CAPTURES / "illustrated-tls12/captures/capture.pcap", both[1])
               if isinstance(r, Flow))  # fmt: skip
    assert (flow.observability, flow.reason, flow.secured_by) == ("metadata_only", "no_key", None)
