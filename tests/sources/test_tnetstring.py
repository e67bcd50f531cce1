"""Typed netstrings: the same values as mitmproxy's parser, and bounds it does not have."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.io import tnetstring as theirs

from audit.sources import tnetstring

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def loads(data: bytes) -> object:
    part = tnetstring.element(data, 0, len(data))
    return tnetstring.parse(part)


@given(VALUES)
def test_reads_what_mitmproxy_writes(value: object) -> None:
    assert loads(theirs.dumps(value)) == value  # type: ignore[arg-type]


@given(st.text(alphabet="0123456789:,;#^!~]}truefalse-", max_size=60))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        loads(text.encode())


def nested(levels: int) -> bytes:
    data = b"0:]"
    for _ in range(levels):
        data = b"%d:%s]" % (len(data), data)
    return data


def test_depth_is_bounded() -> None:
    assert loads(nested(tnetstring.MAX_DEPTH - 1))
    with pytest.raises(ValueError, match="levels deep"):
        loads(nested(5000))


def test_negative_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        loads(b"-1:" * 40 + b"]" * 40)


def test_the_number_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tnetstring, "MAX_VALUES", 10)
    with pytest.raises(ValueError, match="more than 10 values"):
        loads(theirs.dumps([None] * 11))
