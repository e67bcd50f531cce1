"""Lists made on the device: an App Privacy Report as a capture, and connection lists that name the app."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import pipeline
from audit.records import AnyRecord, Experiment, Flow, Gap
from audit.sources import BadCapture, capture_format, read
from tests.test_pipeline import har_entry, write_har

REPORT = (
    '{"_marker":"<metadata>","exportTimestamp":"2026-11-22T18:49:16.613+01:00"}\n'
    '{"accessor":{"identifier":"com.example.browser","identifierType":"bundleID"},"category":"location",'
    '"kind":"intervalBegin","timeStamp":"2026-11-22T15:47:10.383+01:00","type":"access"}\n'
    '{"domain":"Telemetry.example.com","firstTimeStamp":"2026-11-22T15:45:12.031+01:00","context":"",'
    '"timeStamp":"2026-11-22T15:45:13.031+01:00","domainType":2,"initiatedType":"AppInitiated","hits":1,'
    '"type":"networkActivity","domainOwner":"","bundleID":"com.example.browser"}\n'
)
PCAPDROID = (
    "IPProto,SrcIP,SrcPort,DstIp,DstPort,UID,App,Proto,Status,Info,BytesSent,BytesRcvd,PktsSent,PktsRcvd,FirstSeen,"
    "LastSeen\n6,10.215.173.1,40000,198.51.100.7,443,10123,Made-up Browser,TLS,Closed,telemetry.example.com,1200,5000,"
    "10,12,1795341600500,1795341601500\n17,10.215.173.1,5353,not an address,53,,,DNS,,,,,,,x,y\n"
)
TRACKERCONTROL = (
    "uid;version;protocol;daddr;dport;time;allowed\n10123;4;6;telemetry.example.com;443;1795341600500;1\n"
)


def records(folder: Path, text: str, name: str = "list") -> list[AnyRecord]:
    path = folder / name
    path.write_text(text)
    return list(read(path, name))


def test_an_app_privacy_report_is_flows_of_names_and_apps(tmp_path: Path) -> None:
    flow, gap = records(tmp_path, REPORT)
    assert isinstance(flow, Flow)
    assert flow.names == {"report": ("telemetry.example.com",)}
    assert flow.app == "com.example.browser"
    assert (flow.observability, flow.payload_up, flow.dst) == ("metadata_only", None, None)
    assert flow.first == datetime(2026, 11, 22, 14, 45, 12, 31000, UTC).timestamp()
    assert isinstance(gap, Gap)
    assert "1 accesses to sensors" in gap.detail
    assert capture_format(tmp_path / "list") == "app-privacy-report"


def test_pcapdroid_and_trackercontrol_name_the_app(tmp_path: Path) -> None:
    flow, gap = records(tmp_path, PCAPDROID)
    assert isinstance(flow, Flow)
    assert (flow.app, flow.dst, flow.dport, flow.transport) == ("Made-up Browser", "198.51.100.7", 443, "tcp")
    assert (flow.payload_up, flow.packets_down, flow.first) == (1200, 12, 1795341600.5)
    assert isinstance(gap, Gap)
    assert gap.reason == "malformed"
    (flow,) = records(tmp_path, TRACKERCONTROL)
    assert isinstance(flow, Flow)
    assert (flow.app, flow.names) == ("10123", {"list": ("telemetry.example.com",)})
    assert capture_format(tmp_path / "list") == "connection-list"


def test_the_app_stands_beside_the_recipient_and_what_was_read_stays_read(tmp_path: Path) -> None:
    at = datetime.fromtimestamp(1795341600.6, UTC).isoformat()
    har = write_har(tmp_path / "page.har", [har_entry("GET", "https://telemetry.example.com/x", at)])
    listed = tmp_path / "list.csv"
    listed.write_text(PCAPDROID)
    audit = pipeline.analyze(
        [pipeline.Capture(har, "page.har"), pipeline.Capture(listed, "list.csv")], Experiment()
    )
    (row,) = [row for row in audit.recipients if row.recipient.host == "telemetry.example.com"]
    assert row.apps == ("Made-up Browser",)
    assert row.transmissions == {"unknown": 1}
    assert any("Listed on the device" in each for each in audit.coverage.statements)


@pytest.mark.parametrize("divider", [",", ";", "\t"])
def test_columns_may_stand_in_any_order_among_unknown_ones(tmp_path: Path, divider: str) -> None:
    row = {
        "daddr": "telemetry.example.com", "Blocked By": "nobody, as yet", "package": "com.example.browser",
        "time": "1795341600500", "dport": "443", "protocol": "6",
    }  # fmt: skip
    names = list(row)
    for turn in range(len(names)):
        order = names[turn:] + names[:turn]
        text = "\r\n".join(
            divider.join(f'"{cell}"' for cell in line) for line in (order, [row[name] for name in order])
        )
        (flow,) = records(tmp_path, text)
        assert isinstance(flow, Flow)
        assert (flow.app, flow.names["list"]) == ("com.example.browser", ("telemetry.example.com",))
        assert (flow.dport, flow.transport, flow.first) == (443, "tcp", 1795341600.5)


def test_a_list_that_names_no_recipient_is_one_error_with_file_line_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadCapture) as caught:
        records(tmp_path, "IPProto,App,FirstSeen\n6,browser,1795341600500\n")
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "list"))
    assert "line 1: no column says whom" in said
    assert "export the list again" in said
    assert "\n" not in said


def test_a_list_that_names_no_app_says_so(tmp_path: Path) -> None:
    gap, flow = records(tmp_path, "IPProto,DstIp\n6,198.51.100.7\n")
    assert isinstance(gap, Gap)
    assert "no column names the app" in gap.detail
    assert isinstance(flow, Flow)
    assert (flow.app, flow.dst) == (None, "198.51.100.7")


def test_rows_and_lines_without_sense_are_counted_not_repeated(tmp_path: Path) -> None:
    first, more = records(tmp_path, "IPProto,DstIp,App\n" + "6,x,y\n" * 5_000)
    assert isinstance(first, Gap)
    assert "row 1:" in first.detail
    assert isinstance(more, Gap)
    assert more.detail.startswith("4999 more rows")
    gaps = records(tmp_path, REPORT.splitlines(keepends=True)[0] + "x\n" * 5_000)
    assert len(gaps) == 101
    assert isinstance(gaps[-1], Gap)
    assert gaps[-1].detail.startswith("4900 more lines")


def test_values_out_of_all_measure_are_unknown(tmp_path: Path) -> None:
    text = "IPProto,DstIp,DstPort,App,FirstSeen\n6,198.51.100.7,99999999,=cmd|x,999999999999999999\n"
    (flow,) = records(tmp_path, text)
    assert isinstance(flow, Flow)
    assert (flow.dport, flow.app) == (None, "=cmd|x")
    name = '{"domain":"%s","bundleID":"b","type":"networkActivity","timeStamp":"2026-11-22T10:00:00Z"}\n'
    (gap,) = records(tmp_path, REPORT.splitlines(keepends=True)[0] + name % ("a" * 100_000))
    assert isinstance(gap, Gap)
    assert len(gap.detail) < 200


@given(st.binary(max_size=300), st.sampled_from([REPORT, PCAPDROID, TRACKERCONTROL]))
def test_any_bytes_give_records_or_one_error(tmp_path_factory: object, junk: bytes, head: str) -> None:
    folder = tmp_path_factory.mktemp("lists")  # type: ignore[attr-defined]
    path = folder / "list"
    path.write_bytes(head.encode() + junk)
    with contextlib.suppress(BadCapture):
        list(read(path, "list"))
