"""The fuzz target of decoding: any body."""

from __future__ import annotations

from audit.decoding import unfold
from tests.fuzz.targets import Target


def unfolded(data: bytes) -> None:
    """The tree of a body: its root is the body, every child has its parent before it."""
    tree = unfold(data)
    assert tree.fields[0].data == data
    for index, field in enumerate(tree.fields):
        assert field.parent is None or field.parent < index


_BODIES = (
    b'{"url":"https://a.example/?q=%7B%22x%22%3A1%7D","b":"aHR0cHM6Ly9hLmV4YW1wbGUv"}',
    b"a=b&c=%25257B&d=H4sIAAAAAAAAA0tMSgYAwkEkNQMAAAA",
    bytes.fromhex("0a0b6874747073 3a2f2f612e62120568656c6c6f"),
    bytes.fromhex("82a3666f6fa3626172a162c0"),
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
    b"<a b='c'>&amp;<![CDATA[d]]></a>",
)

TARGETS = {"unfold": Target(unfolded, _BODIES, ())}
