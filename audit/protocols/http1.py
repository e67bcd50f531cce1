"""HTTP/1 as seen from aside: both directions of a connection, read passively.

RFC 9112 (framing), RFC 9110 (which responses have no body, upgrades, CONNECT). Transfer codings are
undone, content codings are kept. Reads what real senders send (bare LF, folded lines, targets with
spaces, HTTP/0.9 requests) and never judges it. Must never raise, wait for bytes that were lost, nor
hold more of a message than its bounds: what was cut says so.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

MAX_HEAD = 1 << 16
MAX_CHUNK_LINE = 4096
MAX_BODY = 8 << 20
MAX_WAITING = 1024
"""Requests without a response that are remembered for pairing."""
MAX_HELD = 1 << 16
"""Bytes kept behind a request to upgrade or CONNECT until the response decides."""
MAX_SKIPPED = 1 << 20
"""Bytes kept of what is no HTTP."""
_MAX_TARGET = 16384  # in a line that is looked for after loss
_TURNS = 1  # requests and responses that take turns before one is again believed to answer the other
_ENDLESS = 1 << 40

Headers = tuple[tuple[str, str], ...]
"""Names as sent and values without surrounding blanks, both latin-1, in the order sent."""


class Request(NamedTuple):
    """A request. `start` and `end` are offsets in its direction of the connection, lost bytes counted.

    `size` is the length of the body as received, of which `body` holds at most MAX_BODY bytes; `cut` says
    that it holds less. `lost` bytes of the body are missing in the capture and stand as zeros. `complete`
    is False where the connection ended early. `number` counts the connection's requests from 0. `lines` are
    its header lines (see `values`).
    """

    number: int
    method: str
    target: str
    version: str
    lines: bytes
    trailers: Headers
    body: bytes
    size: int
    cut: bool
    lost: int
    complete: bool
    start: int
    end: int

    @property
    def headers(self) -> Headers:
        """Its headers, read when they are asked for."""
        return _headers(self.lines[1:])


class Response(NamedTuple):
    """A final response, fields as in Request; `number` is its request's, None where that is not known."""

    number: int | None
    status: int
    reason: str
    version: str
    lines: bytes
    trailers: Headers
    body: bytes
    size: int
    cut: bool
    lost: int
    complete: bool
    start: int
    end: int

    @property
    def headers(self) -> Headers:
        """Its headers, read when they are asked for."""
        return _headers(self.lines[1:])


class Tunnel(NamedTuple):
    """Bytes of one direction that are no HTTP/1 any more, since a CONNECT or an upgrade was accepted.

    `protocol` is `connect` or the Upgrade header's value in lower case; `number` the request's.
    """

    response: bool
    protocol: str
    number: int | None
    data: bytes
    start: int


class Skipped(NamedTuple):
    """Bytes that could not be read as HTTP, and why; of a request direction also what they are, except for those that
    are lost. `cut` says that `data` holds not all."""

    response: bool
    start: int
    end: int
    reason: str
    data: bytes = b""
    cut: bool = False


Event = Request | Response | Tunnel | Skipped

_METHODS = (
    b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"PROPFIND",
    b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"REPORT", b"SEARCH", b"SUBSCRIBE",
    b"UNSUBSCRIBE", b"NOTIFY", b"M-SEARCH", b"PURGE", b"LINK", b"UNLINK", b"MERGE", b"CHECKOUT", b"DESCRIBE",
    b"BITS_POST", b"CCM_POST", b"RPC_IN_DATA", b"RPC_OUT_DATA", b"VERSION-CONTROL", b"ACL", b"BIND", b"MKCALENDAR",
)  # fmt: skip
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_VERSION = re.compile(rb" HTTP/(\d\.\d)[ \t]*\r?$")
_OLD_REQUEST = re.compile(rb"GET +(\S+)[ \t]*\r?$")
_CUT_REQUEST = re.compile(rb"(" + b"|".join(map(re.escape, _METHODS)) + rb") ([^ \r]*)")
_STATUS = re.compile(rb"HTTP/(\d\.\d) +(\d{3})(?: ([^\r\n]*))?")
_REQUEST_START = re.compile(rb"(?:" + b"|".join(map(re.escape, _METHODS)) + rb") [^\r\n]{0,4096}")
_REQUEST_LINE = re.compile(
    rb"(?:(?:"
    + b"|".join(map(re.escape, _METHODS))
    + rb")|(?<=\n)[A-Z_-]{3,32}) [!-~\x80-\xff][^\r\n]{0,%d}? HTTP/1\.[01]\r?\n" % _MAX_TARGET
)
_LINE_END = re.compile(rb" HTTP/1\.[01]\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5]\d\d(?: [^\r\n]{0,512})?\r?\n")
_BLANK = re.compile(rb"\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?$")
_FOLDED = re.compile(rb"\n[ \t]")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |$)")
_NO_BODY = frozenset({204, 304})


def _asked(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Method, target and version of a request line. Takes time in proportion to its length, whatever
    stands in it, which one pattern for all of it would not."""
    at = line.rfind(b" HTTP/")
    method, space, target = line[: max(at, 0)].partition(b" ")
    version = _VERSION.match(line, at) if space else None
    if version is None or b"\r" in target or not _METHOD.fullmatch(method):
        return None
    return method, target.strip(b" "), version[1]


@lru_cache(maxsize=64)
def _answered(line: bytes) -> tuple[str, int, str] | None:
    """Version, status and reason of a status line, of which there are few."""
    match = _STATUS.fullmatch(line.removesuffix(b"\r").rstrip(b" \t"))
    if match is None:
        return None
    version, status, reason = match.groups(b"")
    return version.decode("latin-1"), int(status), reason.decode("latin-1")


def starts_request(data: bytes) -> bool:
    """Whether bytes begin like a request of a method in use."""
    return _REQUEST_START.match(data) is not None


def begins(data: bytes) -> bool:
    """Whether bytes that start like a request go on like one: the line names a version, or is all there is
    (a request of HTTP/0.9 has one line, RFC 1945, 4.1), or headers follow it, or it is not complete."""
    line, newline, rest = data.partition(b"\n")
    if not newline or _asked(line):
        return True
    following = rest.lstrip(b"\r\n").partition(b"\n")[0]
    return _OLD_REQUEST.match(line) is not None and (not following or b":" in following)


def odd(data: bytes) -> bool:
    """Whether the first line has the words of a request line and is none."""
    line = data.partition(b"\n")[0]
    return line.count(b" ") >= 2 and not _asked(line)


def words(data: bytes) -> tuple[str, str]:
    """Method and target of a line that is no proper request line, as far as they go."""
    method, _, rest = data.partition(b"\n")[0].partition(b" ")
    return method.decode("latin-1"), rest.partition(b" ")[0].rstrip(b"\r").decode("latin-1")


def starts_response(data: bytes) -> bool:
    """Whether bytes begin like a response."""
    return data[:7] == b"HTTP/1." and data[8:9] == b" "


def _could_start(data: bytes, response: bool) -> bool:
    """Whether a line that is not complete yet can become the first of a message."""
    return b"HTTP/".startswith(data[:5]) if response else _TOKEN.match(data) is not None


def _request_line(data: bytes) -> re.Match[bytes] | None:
    """The first complete request line; looks only at lines that name the version."""
    version = data.find(b" HTTP/1.")
    while version >= 0:
        begin = max(data.rfind(b"\n", 0, version), 0)
        end = data.find(b"\n", version) + 1
        if not end:
            return None
        # a line that ends otherwise, or what stands too far from its end, need not be searched
        last = data.rfind(b" HTTP/1.", version, end)
        begin = max(begin, data.rfind(b"\r", begin, last), last - _MAX_TARGET - 64, end - MAX_HEAD)
        if _LINE_END.match(data, last) and (match := _REQUEST_LINE.search(data, begin, end)):
            return match
        version = data.find(b" HTTP/1.", end)
    return None


def _unfolded(text: bytes) -> bytes:
    """Header lines, folded ones joined (RFC 9112, 5.2)."""
    return _FOLD.sub(b" ", text) if _FOLDED.search(text) else text


def _headers(text: bytes) -> Headers:
    """Header lines as pairs, lines without a colon left out."""
    found = []
    for line in text.decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.append((name.rstrip(), value.strip(" \t\r")))
    return tuple(found)


def values(lines: bytes, wanted: bytes) -> list[str]:
    """The values of a header, without reading the others. `lines` each begin with a line feed; `wanted` is
    the name in lower case behind one."""
    return _values(lines, lines.lower(), wanted)


def _values(lines: bytes, lowered: bytes, wanted: bytes) -> list[str]:
    found: list[str] = []
    at = lowered.find(wanted)
    while at >= 0:
        begin = at + len(wanted)
        end = lowered.find(b"\n", begin)
        rest, colon, value = lines[begin : end if end >= 0 else len(lines)].partition(b":")
        if colon and (not rest or not rest.decode("latin-1").strip()):
            found.append(value.strip(b" \t\r").decode("latin-1"))
        at = lowered.find(wanted, end) if end >= 0 else -1
    return found


class _At:
    """Where a direction stands: plain numbers, asked for several times per message."""

    SEEK, HEAD, LENGTH, CHUNK_LINE, CHUNK, CHUNK_END, TRAILERS, CLOSE, HELD, TUNNEL = range(10)


class _Head(NamedTuple):
    """A first line and its headers; status is 0 for a request."""

    method: str
    target: str
    status: int
    reason: str
    version: str
    lines: bytes
    lowered: bytes

    def values(self, wanted: bytes) -> str:
        """The values of a header, joined."""
        return ",".join(_values(self.lines, self.lowered, wanted)) if wanted in self.lowered else ""


class _Waiting(NamedTuple):
    number: int
    method: str


@dataclass(slots=True)
class _Direction:
    """One direction: its buffer, and the message that is being read."""

    response: bool
    at: int = _At.HEAD
    buffer: bytes = b""
    offset: int = 0
    head: _Head | None = None
    number: int | None = None
    start: int = 0
    left: int = 0
    parts: list[bytes] = field(default_factory=list)
    held: int = 0
    size: int = 0
    lost: int = 0
    trailers: Headers = ()
    head_cut: bool = False
    reason: str = ""
    skipped_from: int = 0
    skipped: list[bytes] = field(default_factory=list)
    skipped_size: int = 0


class Connection:
    """Both directions of one connection; feed them in the order the bytes were seen as far as known."""

    def __init__(self, *, max_body: int = MAX_BODY, whole: bool = False) -> None:
        """`whole` says that both directions are seen from their first byte on."""
        self._whole = whole
        self._up = _Direction(False)
        self._down = _Direction(True)
        self._max_body = max_body
        self._waiting: deque[_Waiting] = deque()
        self._requests = 0
        self._orphaned = False  # whether the last response was nobody's
        self._unsure = (
            False  # whole messages may be missing, so that counting does not tell whose a response is
        )
        self._since = 0  # requests since the last response began
        self._turns = 0  # in a row, one request and one response, since counting became useless
        self._ahead = 0  # responses that were captured before their requests
        self._upgrade: _Waiting | None = None
        self._protocol = ""
        self.tunnel: str | None = None
        """The protocol of the tunnel that this connection became, once it has."""

    def feed(self, data: bytes, response: bool) -> list[Event]:
        """The messages that are complete with these bytes of one direction."""
        side = self._down if response else self._up
        events: list[Event] = []
        if side.at is _At.TUNNEL:
            side.buffer = data
            self._hand_out(side, events)
        elif side.at is _At.CLOSE:
            self._body(side, data)
            side.offset += len(data)
        elif side.at is _At.LENGTH and not side.buffer and len(data) < side.left:
            self._body(side, data)
            side.left -= len(data)
            side.offset += len(data)
        else:
            side.buffer = side.buffer + data if side.buffer else data
            self._run(side, events)
        return events

    def room(self) -> int:
        """How many of the next bytes of a response lie inside of its body and do not end it."""
        side = self._down
        if side.buffer:
            return 0
        if side.at is _At.LENGTH or side.at is _At.CHUNK:
            return max(side.left - 1, 0)
        return _ENDLESS if side.at is _At.CLOSE else 0

    def skip(self, size: int) -> None:
        """Count the next bytes of a response, for which there is room, without reading them; its body will
        lack them."""
        side = self._down
        if side.at is not _At.CLOSE:
            side.left -= size
        side.size += size
        side.offset += size

    def gap(self, size: int, response: bool) -> list[Event]:
        """`size` bytes of one direction are missing here."""
        side = self._down if response else self._up
        events: list[Event] = []
        if size <= 0:
            return events
        if side.at is _At.TUNNEL:
            side.offset += size
        elif side.at is _At.CLOSE:
            self._hole(side, size)
        elif side.at in {_At.LENGTH, _At.CHUNK} and size < side.left:
            side.left -= size
            self._hole(side, size)
        elif side.at is _At.LENGTH and size == side.left:
            self._hole(side, size)
            self._emit(side, events, complete=True)
        else:
            if side.at is _At.HELD and side.buffer and not starts_request(side.buffer):
                self._release(events, tunnel=True)
                side.offset += size
                return events
            if side.head is not None:
                self._emit(side, events, complete=False)
            elif side.at is _At.HEAD:
                self._cut_head(side, events)
            self._astray(side)
            self._seek(side, "lost")
            self._pass_over(side, len(side.buffer))
            side.offset += size
        return events

    def _astray(self, side: _Direction) -> None:
        """Whole messages may be missing: which response is whose is known again when they take turns."""
        self._unsure = True
        self._turns = 0
        if not side.response:
            self._requests += self._ahead
            self._ahead = 0
        elif len(self._waiting) > 1:
            self._waiting.clear()

    def finish(self, response: bool) -> list[Event]:
        """One direction ended: what was begun, and what could not be read."""
        side = self._down if response else self._up
        events: list[Event] = []
        if side.at is _At.HELD:
            self._release(events, tunnel=not starts_request(side.buffer))
        if side.at is _At.CLOSE:
            self._emit(side, events, complete=True)
        elif side.head is not None:
            self._emit(side, events, complete=False)
        elif side.at is _At.HEAD and side.buffer.strip() and not self._cut_head(side, events):
            self._seek(side, "no HTTP")
        if side.at is _At.SEEK:
            self._pass_over(side, len(side.buffer))
            self._found(side, events)
        side.buffer = b""
        return events

    def _cut_head(self, side: _Direction, events: list[Event]) -> bool:
        """Tell of a head that is cut what it says so far; False where that is no head."""
        line, newline, _ = side.buffer.partition(b"\n")
        cut = None if newline or side.response else _CUT_REQUEST.match(line)
        if not (_answered if side.response else _asked)(line) and not cut:
            return False
        side.head_cut = True
        if cut:
            side.start = side.offset
            self._take(side, len(side.buffer))
            method, target = (part.decode("latin-1") for part in cut.groups())
            self._request(side, _Head(method, target, 0, "", "", b"", b""), events)
        else:
            text = side.buffer[:MAX_HEAD]
            self._head(side, text, len(text), events)
        if side.head is not None:
            self._emit(side, events, complete=False)
        side.head_cut = False
        return True

    def _run(self, side: _Direction, events: list[Event]) -> None:
        """Read the buffer as far as it goes."""
        while side.buffer and _STEPS[side.at](self, side, events):
            pass

    @staticmethod
    def _take(side: _Direction, size: int) -> bytes:
        taken = side.buffer[:size]
        side.buffer = side.buffer[size:]
        side.offset += len(taken)
        return taken

    # Each step returns whether it got on; if not, it needs more bytes.

    def _step_seek(self, side: _Direction, events: list[Event]) -> bool:
        buffer = side.buffer
        match = _STATUS_LINE.search(buffer) if side.response else _request_line(buffer)
        if match:
            self._pass_over(side, match.start())
            self._found(side, events)
            side.at = _At.HEAD
            return True
        # only a line that is not yet complete can still become a start
        line = buffer.rfind(b"\n") + 1
        self._pass_over(side, max(line - 1, len(buffer) - MAX_HEAD // 4, 0))
        return False

    def _step_head(self, side: _Direction, events: list[Event]) -> bool:
        buffer = side.buffer
        if buffer[0] in b"\r\n":
            # empty lines before a message (RFC 9112, 2.2)
            blank = len(buffer) - len(buffer.lstrip(b"\r\n"))
            self._take(side, blank)
            return True
        match = _BLANK.search(buffer, 0, MAX_HEAD)
        end = buffer.find(b"\n")
        if end < 0 or (match is None and not self._plausible(side, buffer[:end])):
            if end >= 0 or len(buffer) > MAX_HEAD or not _could_start(buffer, side.response):
                self._give_up(side, "no HTTP")
                return True
            return False
        if match is None:
            old = None if side.response else _OLD_REQUEST.match(buffer[:end])
            if old and b" HTTP/" not in buffer[:end]:
                return self._head(side, buffer[: end + 1], end + 1, events)
            if len(buffer) >= MAX_HEAD:
                told = self._cut_head(side, events)
                self._seek(side, "limit")
                self._pass_over(side, 0 if told else 1)  # not to find the same again
                return True
            return False
        return self._head(side, buffer[: match.start() + 1], match.end(), events)

    @staticmethod
    def _plausible(side: _Direction, line: bytes) -> bool:
        if side.response:
            return _answered(line) is not None
        return _asked(line) is not None or _OLD_REQUEST.match(line) is not None

    def _head(self, side: _Direction, text: bytes, size: int, events: list[Event]) -> bool:
        """Take a head of `size` bytes and see what follows it."""
        line, _, rest = text.partition(b"\n")
        said = self._first(line, side.response)
        if said is None:
            self._give_up(side, "no HTTP")
            return True
        side.start = side.offset
        self._take(side, size)
        lines = b"\n" + _unfolded(rest) if rest else b""
        head = _Head(*said, lines, lines.lower())
        if side.response:
            self._response(side, head, events)
        else:
            self._request(side, head, events)
        return True

    @staticmethod
    def _first(line: bytes, response: bool) -> tuple[str, str, int, str, str] | None:
        """What the first line says, as a head has it."""
        if response:
            answered = _answered(line)
            return answered and ("", "", answered[1], answered[2], answered[0])
        asked = _asked(line)
        if asked is None:
            old = _OLD_REQUEST.match(line)
            return old and ("GET", old[1].decode("latin-1"), 0, "", "0.9")
        method, target, version = asked
        return method.decode("latin-1"), target.decode("latin-1"), 0, "", version.decode("latin-1")

    def _request(self, side: _Direction, head: _Head, events: list[Event]) -> None:
        side.head = head
        side.number = self._requests
        self._requests += 1
        if self._ahead:
            self._ahead -= 1
            self._frame(side, head, until_close=False)
            if not side.left and side.at is _At.LENGTH:
                self._emit(side, events, complete=True)
            return
        if self._unsure:
            # its sender would not have gone on without the answers, which the capture lost
            self._waiting.clear()
        self._since += 1
        waiting = _Waiting(side.number, head.method)
        self._waiting.append(waiting)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
        if head.method == "CONNECT":
            self._upgrade, self._protocol = waiting, "connect"
        elif (upgrade := head.values(b"\nupgrade")) and "upgrade" in head.values(b"\nconnection").lower():
            self._upgrade, self._protocol = waiting, upgrade.lower()
        self._frame(side, head, until_close=False)
        if not side.left and side.at is _At.LENGTH:
            self._emit(side, events, complete=True)

    def _response(self, side: _Direction, head: _Head, events: list[Event]) -> None:
        if 100 <= head.status < 200 and head.status != 101:
            return
        since, self._since = self._since, 0
        if self._unsure:
            # late packets may shift a response behind the next request, but not one after the other
            self._turns = self._turns + 1 if since == 1 else 0
            if self._turns > _TURNS:
                self._unsure = False
            else:
                self._waiting.clear()
        if self._orphaned and len(self._waiting) > 1:
            # some of these requests have their responses among those that came before them
            self._waiting.clear()
            self._orphaned = False
        waiting = self._waiting.popleft() if self._waiting else None
        side.head = head
        side.number = waiting.number if waiting else None
        begun = self._whole or self._requests
        if waiting is None and begun and not self._unsure and self._up.at is not _At.SEEK:
            # nobody answers what was not asked: packets were captured out of order
            side.number = self._requests + self._ahead
            self._ahead += 1
        self._orphaned = side.number is None
        asked = self._upgrade is not None and waiting == self._upgrade
        accepted = head.status == 101 or (
            waiting is not None and waiting.method == "CONNECT" and head.status // 100 == 2
        )
        if accepted:
            if not asked:
                self._protocol = head.values(b"\nupgrade").lower() or "connect"
            self.tunnel = self._protocol
            side.left = 0
            side.at = _At.LENGTH
            self._emit(side, events, complete=True)
            side.at = _At.TUNNEL
            self._upgrade = waiting
            self._hand_out(side, events)
            if self._up.at in {_At.HELD, _At.HEAD, _At.SEEK}:
                self._release(events, tunnel=True)
            return
        if head.status in _NO_BODY or (waiting is not None and waiting.method == "HEAD"):
            side.left = 0
            side.at = _At.LENGTH
        else:
            self._frame(side, head, until_close=True)
        if not side.left and side.at is _At.LENGTH:
            self._emit(side, events, complete=True)
        if asked:
            self._upgrade = None
            if self._up.at is _At.HELD:
                self._release(events, tunnel=False)

    @staticmethod
    def _frame(side: _Direction, head: _Head, *, until_close: bool) -> None:
        """How long the body is (RFC 9112, 6.3)."""
        side.left = 0
        coding = head.values(b"\ntransfer-encoding").lower()
        if coding.endswith("chunked"):
            side.at = _At.CHUNK_LINE
            return
        length = head.values(b"\ncontent-length").rpartition(",")[2].strip()  # the last counts
        if coding and until_close:
            side.at = _At.CLOSE
        elif length.isascii() and length.isdigit() and len(length) < 18:
            side.left = int(length)
            side.at = _At.LENGTH
        else:
            side.at = _At.CLOSE if until_close else _At.LENGTH

    def _step_length(self, side: _Direction, events: list[Event]) -> bool:
        data = self._take(side, side.left)
        side.left -= len(data)
        self._body(side, data)
        if not side.left:
            self._emit(side, events, complete=True)
        return True

    def _step_close(self, side: _Direction, _events: list[Event]) -> bool:
        self._body(side, self._take(side, len(side.buffer)))
        return False

    def _step_chunk_line(self, side: _Direction, events: list[Event]) -> bool:
        end = side.buffer.find(b"\n")
        if end < 0 and len(side.buffer) < MAX_CHUNK_LINE:
            return False
        match = _CHUNK.match(side.buffer[:end]) if 0 <= end < MAX_CHUNK_LINE else None
        if match is None:
            self._emit(side, events, complete=False)
            self._seek(side, "no chunk")
            return True
        self._take(side, end + 1)
        side.left = int(match[1], 16)
        side.at = _At.CHUNK if side.left else _At.TRAILERS
        return True

    def _step_chunk(self, side: _Direction, _events: list[Event]) -> bool:
        data = self._take(side, side.left)
        side.left -= len(data)
        self._body(side, data)
        if not side.left:
            side.at = _At.CHUNK_END
        return True

    def _step_chunk_end(self, side: _Direction, events: list[Event]) -> bool:
        if side.buffer == b"\r":
            return False
        if side.buffer.startswith((b"\r\n", b"\n")):
            self._take(side, 1 if side.buffer[0] == 10 else 2)
            side.at = _At.CHUNK_LINE
        else:
            self._emit(side, events, complete=False)
            self._seek(side, "no chunk")
        return True

    def _step_trailers(self, side: _Direction, events: list[Event]) -> bool:
        buffer = side.buffer
        if buffer.startswith((b"\r\n", b"\n")):
            self._take(side, 1 if buffer[0] == 10 else 2)
            self._emit(side, events, complete=True)
            return True
        match = _BLANK.search(buffer, 0, MAX_HEAD)
        if match is None:
            if len(buffer) < MAX_HEAD and buffer != b"\r":
                return False
            if buffer == b"\r":
                return False
            self._emit(side, events, complete=False)
            self._seek(side, "limit")
            return True
        side.trailers = _headers(self._take(side, match.end())[: match.start() + 1])
        self._emit(side, events, complete=True)
        return True

    def _step_held(self, side: _Direction, events: list[Event]) -> bool:
        if len(side.buffer) <= MAX_HELD:
            return False
        self._release(events, tunnel=not starts_request(side.buffer))
        return True

    def _step_tunnel(self, side: _Direction, events: list[Event]) -> bool:
        self._hand_out(side, events)
        return False

    def _release(self, events: list[Event], *, tunnel: bool) -> None:
        """The request direction goes on, as a tunnel or with the next request."""
        side = self._up
        if tunnel:
            if side.at is _At.SEEK:
                self._found(side, events)
            side.at = _At.TUNNEL
            self.tunnel = self.tunnel or self._protocol
            self._hand_out(side, events)
        else:
            self._upgrade = None
            side.at = _At.HEAD
            self._run(side, events)

    def _hand_out(self, side: _Direction, events: list[Event]) -> None:
        """Give away all that is in the buffer as bytes of the tunnel."""
        if side.buffer:
            number = self._upgrade.number if self._upgrade else None
            start = side.offset
            data = self._take(side, len(side.buffer))
            events.append(Tunnel(side.response, self.tunnel or "", number, data, start))

    def _body(self, side: _Direction, data: bytes) -> None:
        """Keep body bytes up to the bound, and count all of them."""
        side.size += len(data)
        if data and side.held < self._max_body:
            part = data[: self._max_body - side.held]
            side.parts.append(part)
            side.held += len(part)

    def _hole(self, side: _Direction, size: int) -> None:
        """Lost bytes of a body: zeros in their place, so that offsets stay true."""
        zeros = min(size, self._max_body - side.held)
        self._body(side, bytes(zeros))
        side.size += size - zeros
        side.lost += size
        side.offset += size

    def _emit(self, side: _Direction, events: list[Event], *, complete: bool) -> None:
        """Tell the message that was read and make ready for the next."""
        head = side.head
        if head is None:
            return
        complete = complete and not side.head_cut
        body = side.parts[0] if len(side.parts) == 1 else b"".join(side.parts)
        rest = (
            side.trailers,
            body,
            side.size,
            side.size > len(body),
            side.lost,
            complete,
            side.start,
            side.offset,
        )
        if side.response:
            events.append(Response(side.number, head.status, head.reason, head.version, head.lines, *rest))
        else:
            events.append(
                Request(side.number or 0, head.method, head.target, head.version, head.lines, *rest)
            )
        side.head = None
        side.parts = []
        side.held = side.size = side.lost = side.left = 0
        side.trailers = ()
        waits = not side.response and self._upgrade is not None and self._upgrade.number == side.number
        side.at = _At.HELD if waits else _At.HEAD
        if waits and self.tunnel:
            side.at = _At.TUNNEL

    @staticmethod
    def _seek(side: _Direction, reason: str) -> None:
        if side.at is not _At.SEEK:
            side.at = _At.SEEK
            side.reason = reason
            side.skipped_from = side.offset

    def _give_up(self, side: _Direction, reason: str) -> None:
        """Look for another start, but not where this one was."""
        self._seek(side, reason)
        self._pass_over(side, 1)

    @classmethod
    def _pass_over(cls, side: _Direction, size: int) -> None:
        """Take bytes that are no HTTP."""
        data = cls._take(side, size)
        if not side.response and data:
            side.skipped.append(data[: max(MAX_SKIPPED - side.skipped_size, 0)])
            side.skipped_size += len(data)

    @staticmethod
    def _found(side: _Direction, events: list[Event]) -> None:
        if side.offset > side.skipped_from:
            data, cut = b"".join(side.skipped), side.skipped_size > MAX_SKIPPED
            events.append(Skipped(side.response, side.skipped_from, side.offset, side.reason, data, cut))
        side.skipped_from = side.offset
        side.skipped, side.skipped_size = [], 0


_STEPS = (
    Connection._step_seek,
    Connection._step_head,
    Connection._step_length,
    Connection._step_chunk_line,
    Connection._step_chunk,
    Connection._step_chunk_end,
    Connection._step_trailers,
    Connection._step_close,
    Connection._step_held,
    Connection._step_tunnel,
)
