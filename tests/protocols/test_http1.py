"""HTTP/1 connections seen from aside: framing, pairing, tunnels, loss."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.protocols import connect, http1
from audit.protocols.malformed import Malformed


def exchange(up: bytes, down: bytes = b"", *, ended: bool = True) -> list[http1.Event]:
    connection = http1.Connection()
    events = connection.feed(up, False) + connection.feed(down, True)
    if ended:
        events += connection.finish(False) + connection.finish(True)
    return events


def requests(events: list[http1.Event]) -> list[http1.Request]:
    return [event for event in events if isinstance(event, http1.Request)]


def responses(events: list[http1.Event]) -> list[http1.Response]:
    return [event for event in events if isinstance(event, http1.Response)]


def test_a_request_and_its_response() -> None:
    up = (
        b"POST /a?b=c HTTP/1.1\r\nHost: x.example\r\nX-Folded: one\r\n  two\r\nContent-Length: 5\r\n\r\nhello"
    )
    events = exchange(
        up,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
    )
    (request,) = requests(events)
    assert (request.method, request.target, request.version, request.body) == (
        "POST",
        "/a?b=c",
        "1.1",
        b"hello",
    )
    assert request.headers == (("Host", "x.example"), ("X-Folded", "one two"), ("Content-Length", "5"))
    assert (request.complete, request.cut, request.lost, request.start, request.end) == (
        True,
        False,
        0,
        0,
        len(up),
    )
    (response,) = responses(events)
    assert (response.number, response.status, response.reason, response.body) == (0, 200, "OK", b"abcde")
    assert response.trailers == (("T", "v"),)


def test_pairing_with_bodies_that_are_not_there() -> None:
    up = b"".join(
        b"%s /%d HTTP/1.1\r\n\r\n" % (method, n) for n, method in enumerate([b"HEAD", b"GET", b"GET", b"GET"])
    )
    down = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
        b"HTTP/1.1 200\nContent-Length: 2\n\nok"
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end"
    )
    found = [(r.number, r.status, r.body, r.complete) for r in responses(exchange(up, down))]
    assert found == [
        (0, 200, b"", True),
        (1, 304, b"", True),
        (2, 200, b"ok", True),
        (3, 200, b"until the end", True),
    ]


def test_connect_hands_out_the_tunnel() -> None:
    connection = http1.Connection()
    events = connection.feed(b"CONNECT secret.example:8443 HTTP/1.1\r\n\r\n\x16\x03\x01", False)
    assert [type(event) for event in events] == [http1.Request]
    assert connect.target(requests(events)[0].target) == ("secret.example", 8443)
    events = connection.feed(b"HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x03", True)
    assert events[1:] == [
        http1.Tunnel(True, "connect", 0, b"\x16\x03\x03", 39),
        http1.Tunnel(False, "connect", 0, b"\x16\x03\x01", 40),
    ]
    assert connection.tunnel == "connect"
    connection.gap(5, False)
    assert connection.feed(b"more", False) == [http1.Tunnel(False, "connect", 0, b"more", 48)]


def test_a_refused_connect_goes_on_as_http() -> None:
    up = b"CONNECT a:1 HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n"
    down = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No\r\n\r\n"
    events = exchange(up, down)
    assert [r.target for r in requests(events)] == ["a:1", "/next"]
    assert [r.number for r in responses(events)] == [0, 1]


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_upgrades(protocol: str) -> None:
    up = b"GET /chat HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n\r\n" % protocol.encode()
    events = exchange(up + b"\x81\x80abcd", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n\x81\0")
    tunnels = [
        (event.response, event.protocol, event.data) for event in events if isinstance(event, http1.Tunnel)
    ]
    assert tunnels == [(True, protocol, b"\x81\0"), (False, protocol, b"\x81\x80abcd")]


def test_an_upgrade_that_was_not_taken_up() -> None:
    up = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"
    events = exchange(up, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert [request.target for request in requests(events)] == ["/", "/2"]
    assert [request.target for request in requests(exchange(up))] == [
        "/",
        "/2",
    ]  # its responses are not captured


@pytest.mark.parametrize(
    ("line", "target", "version"),
    [
        (b"GET http://a.example/x HTTP/1.0\n\n", "http://a.example/x", "1.0"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "*", "1.1"),
        (b"GET /two words HTTP/1.1\r\n\r\n", "/two words", "1.1"),
        (b"GET /old\r\n", "/old", "0.9"),
        (b"\r\n\r\nM-SEARCH * HTTP/1.1\r\n\r\n", "*", "1.1"),
        (b"FANCY /\xe9 HTTP/1.1\r\n\r\n", "/\xe9", "1.1"),
    ],
)
def test_odd_requests(line: bytes, target: str, version: str) -> None:
    (request,) = requests(exchange(line))
    assert (request.target, request.version, request.complete) == (target, version, True)


def test_a_start_in_the_middle_of_a_stream() -> None:
    events = exchange(
        b"rest of a body\r\nGET /later HTTP/1.1\r\nHost: a\r\n\r\n", b"tail</html>HTTP/1.1 204 x\r\n\r\n"
    )
    assert [(type(e).__name__) for e in events] == ["Skipped", "Request", "Skipped", "Response"]
    assert events[0] == http1.Skipped(False, 0, 16, "no HTTP", b"rest of a body\r\n")
    assert requests(events)[0].start == 16


BODY = b"x" * 1000
STREAM = b"".join(
    b"POST /%d HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n%s" % (number, len(BODY), BODY)
    for number in range(4)
)
EACH = len(STREAM) // 4


@pytest.mark.parametrize(
    ("at", "size"),
    [(0, 10), (10, 30), (100, 500), (200, EACH), (EACH - 100, 100), (EACH - 5, 20), (EACH, EACH)],
)
def test_reading_goes_on_after_loss(at: int, size: int) -> None:
    connection = http1.Connection()
    events = connection.feed(STREAM[:at], False) + connection.gap(size, False)
    events += connection.feed(STREAM[at + size :], False) + connection.finish(False)
    found = {request.target: request for request in requests(events)}
    untouched = [n for n in range(4) if (n + 1) * EACH <= at or n * EACH >= at + size]
    for number in untouched:
        request = found[f"/{number}"]
        assert (request.body, request.complete, request.lost) == (BODY, True, 0)
        assert (request.start, request.end) == (number * EACH, (number + 1) * EACH)
    told = sum(e.end - e.start for e in events if isinstance(e, http1.Skipped)) + sum(
        r.lost for r in found.values()
    )
    assert told >= size
    for number, request in found.items():
        if int(number[1:]) not in untouched:
            assert request.lost or not request.complete


def test_after_a_lost_response_the_next_one_is_not_given_to_it() -> None:
    connection = http1.Connection()
    connection.feed(b"GET /0 HTTP/1.1\r\n\r\n", False)
    connection.gap(80, True)
    connection.feed(b"GET /1 HTTP/1.1\r\n\r\n", False)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    (response,) = responses(connection.feed(answer, True))
    assert response.number is None  # it may be late
    numbers = []
    for _ in range(3):
        connection.feed(b"GET /next HTTP/1.1\r\n\r\n", False)
        numbers += [response.number for response in responses(connection.feed(answer, True))]
    assert numbers == [None, 3, 4]  # believed again when requests and responses take turns


@pytest.mark.parametrize(
    "line",
    [
        b"GET " + b" " * 60_000 + b"x\r\n",
        b"GET " + b" " * 60_000 + b"HTTP/1.1x\r\n\r\n",
        b"GET a" * 12_000 + b" HTTP/1.1x\r\n",
        b"GET a HTTP/1.1 " * 4_000 + b"\n",
    ],
)
def test_lines_made_to_take_long_do_not(line: bytes) -> None:
    """With one pattern for a whole line the first of these takes a day."""
    assert len(requests(exchange(line))) <= 1
    assert not requests(exchange(b"\x00" + line))  # looked for after rubbish


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET  HTTP/1.1", ""),
        (b"GET   /a  b   HTTP/1.1 \t\r", "/a  b"),
        (b"GET /a HTTP/1.0 HTTP/1.1\r", "/a HTTP/1.0"),
        (b"GET \t/ HTTP/1.1", "\t/"),
        (b"GET HTTP/1.1", None),
        (b"GET /a\rb HTTP/1.1", None),
        (b"GET /a HTTP/1.1 HTTP/x", None),
        (b"G(T /a HTTP/1.1", None),
        (b"G" * 33 + b" /a HTTP/1.1", None),
    ],
)
def test_where_a_request_line_s_target_begins_and_ends(line: bytes, target: str | None) -> None:
    found = [each.target for each in requests(exchange(line + b"\n\n")) if each.version != "0.9"]
    assert found == ([] if target is None else [target])


def test_bounds_are_told() -> None:
    connection = http1.Connection(max_body=10)
    (request,) = requests(
        connection.feed(b"PUT / HTTP/1.1\r\nContent-Length: 25\r\n\r\n" + b"0123456789" * 2 + b"abcde", False)
    )
    assert (request.body, request.size, request.cut, request.complete) == (b"0123456789", 25, True, True)
    endless = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (http1.MAX_HEAD // 6 + 9) + b"\r\n"
    events = exchange(endless + b"GET /after HTTP/1.1\r\n\r\n")
    assert [event.reason for event in events if isinstance(event, http1.Skipped)] == ["limit"]
    begun, after = requests(events)
    assert (begun.target, begun.complete, len(begun.headers) > 10_000) == ("/", False, True)
    assert after.target == "/after"


def test_a_message_cut_by_the_end() -> None:
    (request,) = requests(exchange(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nonly this"))
    assert (request.body, request.complete) == (b"only this", False)
    (request,) = requests(exchange(b"GET /cut HTTP/1.1\r\nHost: a.exam"))
    assert (request.target, request.headers, request.complete) == ("/cut", (("Host", "a.exam"),), False)


UP = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nX: y\r\n\r\n"
    b"\r\nHEAD /h HTTP/1.1\n\nPUT /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzrubbish\r\nGET /z HTTP/1.1\r\n\r\n"
    b"GET /w HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
)
DOWN = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n"
    b"Content-Length: 0\r\n\r\nHTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n\x81\x00\x81\x00"
)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    cuts = [0]
    for size in sizes:
        cuts.append(min(cuts[-1] + size, len(data)))
    return [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=True) if a < b]


def merged(events: list[http1.Event]) -> list[http1.Event]:
    """Tunnel data joined: how it is cut follows the pieces."""
    found: list[http1.Event] = []
    for event in events:
        before = found[-1] if found else None
        if (
            isinstance(event, http1.Tunnel)
            and isinstance(before, http1.Tunnel)
            and before.response == event.response
        ):
            found[-1] = before._replace(data=before.data + event.data)
        else:
            found.append(event)
    return found


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=40), st.lists(st.integers(1, 40), max_size=40), st.booleans())
def test_pieces_do_not_matter(up: list[int], down: list[int], garbage: bool) -> None:
    prefix = b"\x00\x01 no HTTP/1.1 here\r\n" if garbage else b""
    connection = http1.Connection()
    events = [e for piece in pieces(prefix + UP, up) for e in connection.feed(piece, False)]
    events += [e for piece in pieces(prefix + DOWN, down) for e in connection.feed(piece, True)]
    for response in (False, True):
        events += connection.finish(response)
    whole = exchange(prefix + UP, prefix + DOWN)
    assert merged([e for e in events if isinstance(e, http1.Tunnel) and not e.response]) == merged(
        [e for e in whole if isinstance(e, http1.Tunnel) and not e.response]
    )
    for response in (False, True):
        kept = (http1.Response,) if response else (http1.Request,)
        assert [e for e in events if isinstance(e, kept)] == [e for e in whole if isinstance(e, kept)]
    assert [r.number for r in responses(events)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[2001:db8::1]:80", ("2001:db8::1", 80)), ("a.example", ("a.example", 443)), ("[::1]", ("::1", 443))],
)
def test_connect_targets(text: str, expected: tuple[str, int]) -> None:
    assert connect.target(text) == expected


@pytest.mark.parametrize("text", ["", ":80", "a:99999", "a:x", "a" * 600])
def test_what_is_no_connect_target(text: str) -> None:
    with pytest.raises(Malformed):
        connect.target(text)


def test_the_middle_of_a_body_may_be_counted_instead_of_read() -> None:
    connection = http1.Connection()
    connection.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False)
    assert connection.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + bytes(10), True) == []
    assert connection.room() == 89, "the last byte of a body ends it"
    connection.skip(50)
    (response,) = connection.feed(bytes(40) + b"HTTP/1.1 204 No", True)
    assert isinstance(response, http1.Response)
    assert (response.size, response.end - response.start, response.complete) == (100, 140, True)
    assert not connection.room(), "a head has to be read"
