"""Flows as bytes: what mitmproxy reads back is what it would have written itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.io import tnetstring
from mitmproxy.test import tflow

from audit.recording.flowbytes import FlowBytes, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.binary() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(VALUES)
def test_any_value_reads_back(value: Any) -> None:
    assert tnetstring.loads(encode(value)) == tnetstring.loads(tnetstring.dumps(value))


@pytest.mark.parametrize(
    "flow",
    [tflow.tflow(resp=True), tflow.tflow(err=True), tflow.twebsocketflow(), tflow.ttcpflow(), tflow.tudpflow(), tflow.tdnsflow(resp=True)],
)  # fmt: skip
def test_a_flow_reads_back_also_after_its_connection_changed(flow: Any) -> None:
    maker = FlowBytes()
    for moment in (1.0, 2.0):
        flow.client_conn.timestamp_end = moment
        flow.comment = "b\u00fcro"
        written = tnetstring.loads(encode(maker.state(flow)))
        assert written == tnetstring.loads(tnetstring.dumps(flow.get_state()))


def test_text_that_is_no_utf8_costs_no_flow() -> None:
    flow = tflow.tflow()
    flow.client_conn.sni = "bad\udc80.example"
    written: Any = tnetstring.loads(encode(FlowBytes().state(flow)))
    assert written["client_conn"]["sni"] == "bad\\udc80.example"


def test_what_has_no_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="no tag for object"):
        encode({"a": object()})
