"""Recorder: what the device sends is on disk when it has left the device.

    mitmdump -s addons/recorder.py --set recorder_file=EXPERIMENT/flows.mitm

Every flow is appended to one file in mitmproxy's own flow format (a sequence of tnetstrings), so mitmproxy reads it
too. A flow is written more than once: when its request is complete (before anything is sent upstream), while its
messages grow, and when it ended. **The last state of a flow id is the flow**; the earlier ones are there for the
case that no later one follows.

- Each record is one write to the end of the file: what was written survives the end of this process, however it ends.
- The file is readable by its owner only, and so is its folder where the recorder makes it.
- Where the disk refuses, the half-written record is cut off again and the proxy stops: no traffic goes unrecorded.
- On the next start a record that was cut off by a crash is removed from the tail; a file that is no flow file, or is
  broken elsewhere, is refused and left as it is.
- A long conversation (WebSocket, TCP, UDP) is written at each message while small, then whenever it has grown by a
  quarter: the file stays within a few times the traffic, and a crash loses at most the last fifth of such a flow.
- mitmproxy reuses one DNS flow where a client reuses a query id; here each query is a flow of its own.

Not recorded: CONNECT requests to the proxy itself, and the bodies that mitmproxy is told to stream.
It must never change a flow, wait for the network, or hold traffic back in memory.
Format: mitmproxy/io (mitmproxy 11.0 and 12.x).
"""

import logging
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mitmproxy import ctx, dns, exceptions, flow, http, tcp, udp
from mitmproxy.addonmanager import Loader
from mitmproxy.io import tnetstring

logger = logging.getLogger(__name__)

SMALL = 16 * 1024  # bytes of messages up to which a conversation is written anew at each message
GROWTH = 4  # beyond that: when the messages not yet written are 1/GROWTH of those that are
MESSAGE_OVERHEAD = 64  # what one message costs in the file beside its content, roughly
LENGTH_DIGITS = 12  # of a tnetstring's length


def end_of_whole_records(fd: int) -> int:
    """The offset behind the last whole record of an open flow file; what follows it was cut off.

    Raises ValueError where the file is something else than whole records and at most one that was cut off.
    """
    size = os.fstat(fd).st_size
    offset = 0
    while offset < size:
        head = os.pread(fd, LENGTH_DIGITS + 1, offset)
        length, colon, _ = head.partition(b":")
        end = offset + len(length) + 1 + int(length) if colon and length.isdigit() else size
        cut_off = end >= size and (bool(colon) or offset + len(head) == size) and length.isdigit()
        if cut_off and offset > 0:
            return offset
        if cut_off or not colon or os.pread(fd, 1, end) != b"}":
            raise ValueError(f"no flow record at byte {offset}")
        offset = end + 1
    return offset


class FlowFile:
    """One flow file, open for appending whole records."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened, ValueError where it holds anything but flows."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.size = end_of_whole_records(self.fd)
            os.fchmod(self.fd, 0o600)
            if cut_off := os.fstat(self.fd).st_size - self.size:
                os.ftruncate(self.fd, self.size)
                logger.warning(f"recorder: {path}: removed {cut_off} bytes of a record cut off by a crash.")
        except BaseException:
            os.close(self.fd)
            raise

    def append(self, record: bytes) -> None:
        """Writes the record whole or not at all; raises OSError where the disk refuses."""
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(record)

    def close(self) -> None:
        """Brings the file to the disk's surface and closes it."""
        os.fsync(self.fd)
        os.close(self.fd)


class Recorder:
    """The addon: mitmproxy's events to records."""

    def __init__(self) -> None:
        self.file: FlowFile | None = None
        self.grown: dict[str, tuple[int, int]] = {}  # flow id -> bytes of messages (written, not yet written)

    def load(self, loader: Loader) -> None:
        """Declares the one option."""
        loader.add_option("recorder_file", str, "", "File that every flow is appended to.")

    def configure(self, updated: set[str]) -> None:
        """Opens the file, or says why not."""
        if "recorder_file" not in updated or not ctx.options.recorder_file:
            return
        self.done()
        path = Path(ctx.options.recorder_file).expanduser()
        try:
            self.file = FlowFile(path)
        except OSError as error:
            why = f"cannot write {path}: {error.strerror}"
        except ValueError as error:
            why = f"{path} is no mitmproxy flow file ({error}): name another file"
        else:
            return
        raise exceptions.OptionsError(f"recorder: {why}")  # type: ignore[no-untyped-call]

    def running(self) -> None:
        """Refuses to run without a file, and lets no DNS query go upstream before it is recorded."""
        if self.file is None:
            self.stop("no file to write to: give one with --set recorder_file=PATH")
        loaded = ctx.master.addons
        resolver = loaded.get("dnsresolver")  # type: ignore[no-untyped-call]
        if (
            resolver in loaded.chain
        ):  # it stands before all scripts; a new list, as the old one is being walked
            loaded.chain = [addon for addon in loaded.chain if addon is not resolver] + [resolver]

    def done(self) -> None:
        """Closes the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def stop(self, why: str) -> None:
        """Ends the proxy at once: its log would not be shown any more, and no further hook must run."""
        sys.stderr.write(f"recorder: {why}\nThe proxy stops: nothing may pass unrecorded.\n")
        sys.stderr.flush()
        sys.exit(1)

    def write(self, state: Any) -> None:
        """Appends one state of a flow, or stops the proxy."""
        if self.file is None:
            return
        try:
            self.file.append(tnetstring.dumps(state))
        except OSError as error:
            self.stop(f"cannot write {self.file.path}: {error.strerror}")

    def write_grown(self, conversation: flow.Flow, messages: Sequence[Any]) -> None:
        """Appends the flow if its last message makes it worth it."""
        written, waiting = self.grown.get(conversation.id, (0, 0))
        waiting += len(messages[-1].content) + MESSAGE_OVERHEAD
        if written < SMALL or waiting * GROWTH >= written:
            self.write(conversation.get_state())
            written, waiting = written + waiting, 0
        self.grown[conversation.id] = (written, waiting)

    def write_ended(self, conversation: flow.Flow) -> None:
        """Appends the flow's last state."""
        self.grown.pop(conversation.id, None)
        self.write(conversation.get_state())

    # HTTP and WebSocket

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """A streamed request leaves before its body is complete."""
        if flow.request.stream:
            self.write(flow.get_state())

    def request(self, flow: http.HTTPFlow) -> None:
        """The request is complete, and nothing of it has gone upstream."""
        self.write(flow.get_state())

    def response(self, flow: http.HTTPFlow) -> None:
        """The flow ended, or becomes a WebSocket."""
        self.write(flow.get_state())

    def error(self, flow: http.HTTPFlow) -> None:
        """The flow broke off."""
        self.write(flow.get_state())

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """A message in either direction."""
        if flow.websocket is not None:
            self.write_grown(flow, flow.websocket.messages)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """The WebSocket closed."""
        self.write_ended(flow)

    # TCP and UDP

    def tcp_start(self, flow: tcp.TCPFlow) -> None:
        """A connection of no known protocol."""
        self.write(flow.get_state())

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """A chunk in either direction."""
        self.write_grown(flow, flow.messages)

    def tcp_end(self, flow: tcp.TCPFlow) -> None:
        """The connection closed."""
        self.write_ended(flow)

    def tcp_error(self, flow: tcp.TCPFlow) -> None:
        """The connection broke off."""
        self.write_ended(flow)

    def udp_start(self, flow: udp.UDPFlow) -> None:
        """The first datagram of a conversation is on its way."""
        self.write(flow.get_state())

    def udp_message(self, flow: udp.UDPFlow) -> None:
        """A datagram in either direction."""
        self.write_grown(flow, flow.messages)

    def udp_end(self, flow: udp.UDPFlow) -> None:
        """The conversation timed out."""
        self.write_ended(flow)

    def udp_error(self, flow: udp.UDPFlow) -> None:
        """The conversation broke off."""
        self.write_ended(flow)

    # DNS

    def dns_request(self, flow: dns.DNSFlow) -> None:
        """A query; a response that the flow still carries belongs to an earlier one."""
        self.write({**self.dns_state(flow), "response": None})

    def dns_response(self, flow: dns.DNSFlow) -> None:
        """The answer."""
        self.write(self.dns_state(flow))

    def dns_error(self, flow: dns.DNSFlow) -> None:
        """No answer."""
        self.write(self.dns_state(flow))

    @staticmethod
    def dns_state(flow: dns.DNSFlow) -> dict[str, Any]:
        """The flow's state under an id of this very query."""
        query = uuid.uuid5(uuid.UUID(flow.id), repr(flow.request.timestamp))
        return {**flow.get_state(), "id": str(query)}


addons = [Recorder()]
