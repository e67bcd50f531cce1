"""A relay between real programs and a server on this machine that puts what passes on a wire."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType

from .wire import Wire


class Relay:
    """Listens on `port` and passes every connection on to the server's; use as a context."""

    def __init__(self, wire: Wire, server: int) -> None:
        self._wire, self._server = wire, server
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._count = 0

    def __enter__(self) -> Relay:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for thread in self._threads[1:]:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass(self, client: socket.socket) -> None:
        try:
            upstream = socket.create_connection(("127.0.0.1", self._server))
        except OSError:
            client.close()
            return
        with client, upstream as server:
            with self._lock:
                self._count += 1
                on = self._wire.tcp(40_000 + self._count)
            ready = selectors.DefaultSelector()
            ready.register(client, selectors.EVENT_READ, True)
            ready.register(server, selectors.EVENT_READ, False)
            open_ends = 2
            while open_ends:
                for key, _ in ready.select():
                    source, sink = (client, server) if key.data else (server, client)
                    try:
                        data = source.recv(1 << 16)
                    except OSError:
                        data = b""
                    if data:
                        with self._lock:
                            on.send(data, up=key.data)
                        try:
                            sink.sendall(data)
                        except OSError:  # a browser may hang up on what it opened in advance
                            open_ends = 0
                        continue
                    open_ends -= 1
                    ready.unregister(source)
                    try:
                        sink.shutdown(socket.SHUT_WR)
                    except OSError:
                        open_ends = 0
            with self._lock:
                on.close()
