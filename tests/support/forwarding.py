"""A port that leads to a server: what is away until a test lets it come."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def forwarding(port: int, host: str, to_port: int) -> Iterator[None]:
    """Pass on what comes to `port` to a server, and back; at the end connections are cut."""
    connections: list[socket.socket] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connections.append(self.request)
            with socket.create_connection((host, to_port)) as server:
                back = threading.Thread(target=_pass_on, args=(server, self.request), daemon=True)
                back.start()
                _pass_on(self.request, server)
                back.join(10)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            for connection in connections:
                with suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
