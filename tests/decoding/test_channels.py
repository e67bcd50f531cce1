"""What of a request is looked into."""

from __future__ import annotations

import pytest

from audit.decoding.channels import channels
from audit.records import Http, MqttMessage


@pytest.mark.parametrize(
    ("authority", "told", "looked_at"),
    [
        ("a.example", b"a.example", False),
        ("a.example", b"A.example:80", False),
        ("[2001:db8::1]", b"[2001:db8::1]", False),
        ("a.example", b"secret.example", True),
        ("a.example:8080", b"secret.example:8080", True),
    ],
)
def test_a_host_that_is_not_where_it_goes_is_looked_into(
    authority: str, told: bytes, looked_at: bool
) -> None:
    request = Http(
        capture="c", id="1", method="GET", scheme="http", authority=authority, path="/", version="1.1",
        headers=((b"Host", told),),
    )  # fmt: skip
    assert ("header:host" in [one.name for one in channels(request)]) == looked_at


def test_topic_and_content_of_mqtt() -> None:
    said = MqttMessage(capture="c", id="1", topic="home/door", bytes=4, data=b"open")
    assert [(one.name, one.data) for one in channels(said)] == [("mqtt", b"home/door"), ("mqtt", b"open")]
    (who,) = channels(MqttMessage(capture="c", id="1", topic=None, bytes=4, data=b"lamp"))
    assert who.data == b"lamp"
