"""Recorder: what the device sends is on disk when it has left the device.

    mitmdump -s addons/recorder.py --set recorder_file=EXPERIMENT/flows.mitm --set recorder_keys=EXPERIMENT/keys.log

Every flow is appended to one file in mitmproxy's own flow format (a sequence of tnetstrings), so mitmproxy reads it
too. A flow is written more than once: when its request is complete (before anything is sent upstream), while its
messages grow, and when it ended. **The last state of a flow id is the flow**; the earlier ones are there for the
case that no later one follows.

- Each record is one write to the end of the file: what was written survives the end of this process, however it ends.
  Once a second it is brought to the disk itself, and so are the keys: a power cut takes the last second at most.
- The file is readable by its owner only, and so is its folder where the recorder makes it. TLS keys go into a key log
  of their own (NSS format), if one is named.
- Where the disk refuses, the half-written record is cut off again and the proxy stops: no traffic goes unrecorded.
- On the next start a record that was cut off by a crash is removed from the tail; a file that is no flow file, or is
  broken elsewhere, is refused and left as it is.
- A conversation (WebSocket, TCP, UDP) is written at each message. So that a long one is not written anew each time, it
  is continued in further flows, each with the next messages, whose metadata `continues` names the first one.
- Bodies of responses beyond a size are passed on and not kept; what the device sends is always kept whole.
- mitmproxy reuses one DNS flow where a client reuses a query id; here each query is a flow of its own.

Not recorded: CONNECT requests that lead somewhere, and the bodies that mitmproxy is told to stream.
It must never change what is sent, wait for the network, or hold traffic back in memory.
Format: mitmproxy/io (mitmproxy 11.0 and 12.x).
"""

import logging
import os
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from mitmproxy import ctx, dns, exceptions, http, tcp, udp
from mitmproxy.addonmanager import Loader
from mitmproxy.net import tls
from mitmproxy.utils import human

from audit.recording.flowbytes import FlowBytes, encode

logger = logging.getLogger(__name__)

PART = 2 * 1024  # bytes of messages up to which one flow is written anew at each message
MESSAGE_OVERHEAD = 64  # what one message costs in the file beside its content, roughly
SURFACE = 1.0  # seconds at most until what was written is on the disk itself
LARGE = "20m"  # response bodies from here on are passed on and not kept
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


def keep_on_surface(path: Path, fd: int, closing: threading.Event) -> None:
    """Brings what was appended to a file to the disk itself, about once a second, until it is closing. Runs in
    a thread of its own. A disk that refuses ends the process: what was promised is lost otherwise."""
    surfaced = 0
    while not closing.wait(SURFACE):
        try:
            written = os.fstat(fd).st_size
            if surfaced != written:
                os.fdatasync(fd)
        except OSError as error:
            if not closing.is_set():
                sys.stderr.write(f"recorder: cannot write {path}: {error.strerror}. The proxy stops.\n")
                sys.stderr.flush()
                os._exit(1)
            return
        surfaced = written


class FlowFile:
    """One flow file, open for appending whole records."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened, ValueError where it holds anything but flows."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.closing = threading.Event()
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
        self.closing.set()
        os.fsync(self.fd)
        os.close(self.fd)


class Conversation:
    """What was written of a WebSocket, TCP or UDP flow: `part` 0 is the flow itself, others continue it. The
    part at hand begins with message `first` and holds about `size` bytes."""

    def __init__(self) -> None:
        self.part = self.first = self.size = 0


class Recorder:
    """The addon: mitmproxy's events to records."""

    def __init__(self) -> None:
        self.file: FlowFile | None = None
        self.conversations: dict[str, Conversation] = {}  # by flow id
        self.large = 0
        self.bytes = FlowBytes()

    def load(self, loader: Loader) -> None:
        """Declares the options."""
        loader.add_option("recorder_file", str, "", "File that every flow is appended to.")
        loader.add_option("recorder_keys", str, "", "File that TLS keys are appended to (NSS key log).")
        loader.add_option(
            "recorder_large", str, LARGE, "Response bodies of this size and more are passed on and not kept."
        )

    def configure(self, updated: set[str]) -> None:
        """Opens the files, or says why not."""
        if "recorder_large" in updated:
            try:
                self.large = human.parse_size(ctx.options.recorder_large) or 0
            except ValueError as error:
                raise exceptions.OptionsError(f"recorder_large: {error}") from None  # type: ignore[no-untyped-call]
        if "recorder_keys" in updated and ctx.options.recorder_keys:
            self.log_keys(Path(ctx.options.recorder_keys).expanduser())
        if "recorder_file" not in updated or not ctx.options.recorder_file:
            return
        self.done()
        path = Path(ctx.options.recorder_file).expanduser()
        try:
            self.file = FlowFile(path)
            surfacing = (path, self.file.fd, self.file.closing)
            threading.Thread(target=keep_on_surface, args=surfacing, daemon=True).start()
        except OSError as error:
            why = f"cannot write {path}: {error.strerror}"
        except ValueError as error:
            why = f"{path} is no mitmproxy flow file ({error}): name another file"
        else:
            return
        raise exceptions.OptionsError(f"recorder: {why}")  # type: ignore[no-untyped-call]

    @staticmethod
    def log_keys(path: Path) -> None:
        """Has mitmproxy write the TLS keys of all connections to this file, or says why not."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.fchmod(fd, 0o600)
        except OSError as error:
            why = f"recorder: cannot write {path}: {error.strerror}"
            raise exceptions.OptionsError(why) from None  # type: ignore[no-untyped-call]
        surfacing = (path, fd, threading.Event())  # the keys are appended as long as the process lives
        threading.Thread(target=keep_on_surface, args=surfacing, daemon=True).start()
        tls.log_master_secret = tls.MasterSecretLogger(path)

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
            self.file.append(encode(state))
        except OSError as error:
            self.stop(f"cannot write {self.file.path}: {error.strerror}")

    def write_message(self, flow: http.HTTPFlow | tcp.TCPFlow | udp.UDPFlow) -> None:
        """Appends the part of the conversation that its last message belongs to."""
        written = self.conversations.setdefault(flow.id, Conversation())
        messages = self.messages(flow)
        size = len(messages[-1].content) + MESSAGE_OVERHEAD
        if written.size and written.size + size > PART:
            written.part += 1
            written.first, written.size = len(messages) - 1, 0
        written.size += size
        self.write_part(flow, written)

    def write_part(self, flow: http.HTTPFlow | tcp.TCPFlow | udp.UDPFlow, written: Conversation) -> None:
        """Appends the state of the part at hand: of a long list of messages only the last few are touched."""
        place: Any = flow.websocket if isinstance(flow, http.HTTPFlow) else flow
        everything = place.messages
        place.messages = everything[written.first :]
        try:
            state = self.bytes.state(flow)
        finally:
            place.messages = everything
        if written.part:
            state["id"] = str(uuid.uuid5(uuid.UUID(flow.id), str(written.part)))
            state["metadata"] = {**state["metadata"], "continues": flow.id}
        self.write(state)

    @staticmethod
    def messages(flow: http.HTTPFlow | tcp.TCPFlow | udp.UDPFlow) -> list[Any]:
        """The messages of a conversation so far."""
        if isinstance(flow, http.HTTPFlow):
            return flow.websocket.messages if flow.websocket else []
        return flow.messages

    def write_ended(self, flow: http.HTTPFlow | tcp.TCPFlow | udp.UDPFlow) -> None:
        """Appends the last state of the last part."""
        self.write_part(flow, self.conversations.pop(flow.id, Conversation()))

    # HTTP and WebSocket

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """A streamed request leaves before its body is complete."""
        if flow.request.stream:
            self.write(self.bytes.state(flow))

    def request(self, flow: http.HTTPFlow) -> None:
        """The request is complete, and nothing of it has gone upstream."""
        self.write(self.bytes.state(flow))

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """A large download, or one of no known end, is not held in memory."""
        if flow.response is not None and not flow.response.stream:
            length = flow.response.headers.get("content-length", "")
            flow.response.stream = length.isdecimal() and len(length) < 20 and int(length) >= self.large

    def response(self, flow: http.HTTPFlow) -> None:
        """The flow ended, or becomes a WebSocket."""
        self.write(self.bytes.state(flow))

    def http_connect_error(self, flow: http.HTTPFlow) -> None:
        """The device named a host that could not be reached: no other flow will tell of it."""
        self.write(self.bytes.state(flow))

    def error(self, flow: http.HTTPFlow) -> None:
        """The flow broke off."""
        self.write(self.bytes.state(flow))

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """A message in either direction."""
        self.write_message(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """The WebSocket closed."""
        self.write_ended(flow)

    # TCP and UDP

    def tcp_start(self, flow: tcp.TCPFlow) -> None:
        """A connection of no known protocol."""
        self.write(self.bytes.state(flow))

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """A chunk in either direction."""
        self.write_message(flow)

    def tcp_end(self, flow: tcp.TCPFlow) -> None:
        """The connection closed."""
        self.write_ended(flow)

    def tcp_error(self, flow: tcp.TCPFlow) -> None:
        """The connection broke off."""
        self.write_ended(flow)

    def udp_start(self, flow: udp.UDPFlow) -> None:
        """The first datagram of a conversation is on its way."""
        self.write(self.bytes.state(flow))

    def udp_message(self, flow: udp.UDPFlow) -> None:
        """A datagram in either direction."""
        self.write_message(flow)

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

    def dns_state(self, flow: dns.DNSFlow) -> dict[str, Any]:
        """The flow's state under an id of this very query."""
        query = uuid.uuid5(uuid.UUID(flow.id), repr(flow.request.timestamp))
        return {**self.bytes.state(flow), "id": str(query)}


addons = [Recorder()]
