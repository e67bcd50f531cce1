"""A web server for a real browser: HTTP/2, and WebSocket over HTTP/1 or inside HTTP/2, that notes all it sees."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Request
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

from .talks import Exchanged, certificate_files, digest

PAGE = b"""<!doctype html><title>waiting</title><script>
const body = n => Array.from({length: n}, (_, i) => "abcdefgh"[(i * n) % 8]).join("");
const ask = n => fetch("/form?turn=" + n, {method: "POST", body: body(n * 3001)}).then(r => r.arrayBuffer());
const talk = () => new Promise(done => {
  const live = new WebSocket("wss://" + location.host + "/live");
  let left = 3;
  live.onopen = () => { live.send("first words"); live.send(body(90000)); live.send(new Uint8Array([1, 2, 255])); };
  live.onmessage = () => { if (!--left) { live.close(); done(); } };
});
Promise.all([1, 2, 3, 4, 5].map(ask)).then(talk).then(() => document.title = "done");
</script>"""


class Server:
    """Listens on `port` from the start; use as a context."""

    def __init__(self, folder: Path, *, inside: bool) -> None:
        """With `inside`, WebSocket connections may be opened inside of HTTP/2 (RFC 8441)."""
        self._inside = inside
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*map(str, certificate_files(folder)))
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[Exchanged] = []
        self.heard: list[bytes] = []

    def __enter__(self) -> Server:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as sock:
                (self._http2 if sock.selected_alpn_protocol() == "h2" else self._websocket)(sock)
        except OSError:
            return

    def _answer(self, path: str) -> tuple[str, bytes]:
        if path == "/":
            return "text/html", PAGE
        return "application/octet-stream", (path * 40_000).encode()[: 100_000 + len(path)]

    def _http2(self, sock: ssl.SSLSocket) -> None:
        end = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        if self._inside:
            end.local_settings = h2.settings.Settings(
                client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
            )
        end.initiate_connection()
        sock.sendall(end.data_to_send())
        asked: dict[int, tuple[dict[str, str], list[bytes]]] = {}
        waiting: dict[int, bytes] = {}
        sockets: dict[int, FrameProtocol] = {}
        parts: dict[int, list[bytes]] = {}
        while data := sock.recv(1 << 16):
            for event in end.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    fields = {
                        (n if isinstance(n, str) else n.decode()): (v if isinstance(v, str) else v.decode())
                        for n, v in event.headers
                    }
                    asked[event.stream_id] = fields, []
                    if fields[":method"] == "CONNECT":
                        end.send_headers(event.stream_id, [(":status", "200")])
                        sockets[event.stream_id] = FrameProtocol(client=False, extensions=[])
                        parts[event.stream_id] = []
                elif isinstance(event, h2.events.DataReceived):
                    end.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    if event.stream_id in sockets:
                        self._frames(end, event.stream_id, event.data, sockets, parts)
                    else:
                        asked[event.stream_id][1].append(event.data)
                if isinstance(event, h2.events.StreamEnded) and event.stream_id not in sockets:
                    fields, body = asked[event.stream_id]
                    kind, answer = self._answer(fields[":path"])
                    end.send_headers(event.stream_id, [(":status", "200"), ("content-type", kind)])
                    waiting[event.stream_id] = answer
                    self.seen.append(
                        Exchanged(fields[":method"], fields[":path"], digest(b"".join(body)), digest(answer))
                    )
            for stream in list(waiting):
                while waiting[stream] and (
                    room := min(end.local_flow_control_window(stream), end.max_outbound_frame_size)
                ):
                    end.send_data(stream, waiting[stream][:room])
                    waiting[stream] = waiting[stream][room:]
                if not waiting[stream]:
                    end.end_stream(stream)
                    del waiting[stream]
            sock.sendall(end.data_to_send())

    def _frames(
        self, end: h2.connection.H2Connection, stream: int, data: bytes, sockets: dict[int, FrameProtocol],
        parts: dict[int, list[bytes]],
    ) -> None:  # fmt: skip
        frames = sockets[stream]
        frames.receive_bytes(data)
        for frame in frames.received_frames():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                payload = frame.payload
                parts[stream].append(payload.encode() if isinstance(payload, str) else bytes(payload))
                if frame.message_finished:
                    self.heard.append(b"".join(parts[stream]))
                    parts[stream].clear()
                    end.send_data(stream, frames.send_data(str(len(self.heard[-1])), fin=True))
            elif frame.opcode is Opcode.CLOSE:
                end.send_data(stream, frames.close(1000), end_stream=True)

    def _websocket(self, sock: ssl.SSLSocket) -> None:
        end = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        parts: list[bytes] = []
        while data := sock.recv(1 << 16):
            end.receive_data(data)
            for event in end.events():
                if isinstance(event, Request):
                    sock.sendall(end.send(AcceptConnection(extensions=[PerMessageDeflate()])))
                elif isinstance(event, Message):
                    parts.append(event.data.encode() if isinstance(event.data, str) else bytes(event.data))
                    if event.message_finished:
                        self.heard.append(b"".join(parts))
                        parts.clear()
                        sock.sendall(end.send(Message(data=str(len(self.heard[-1])))))
                elif isinstance(event, CloseConnection):
                    sock.sendall(end.send(event.response()))
                    return
