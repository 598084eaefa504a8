"""A port that leads to a server: what is away until a test lets it come."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def _cut_none(_data: bytes) -> bool:
    return False


@contextmanager
def forwarding(
    port: int, host: str, to_port: int, cuts: Callable[[bytes], bool] = _cut_none
) -> Iterator[None]:
    """Pass on what comes to `port` to a server, and back; at the end connections are cut.

    A connection is cut before that, too, when `cuts` tells so of what comes.
    """
    connections: list[socket.socket] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connections.append(self.request)
            with socket.create_connection((host, to_port)) as server:
                back = threading.Thread(target=_pass_on, args=(server, self.request), daemon=True)
                back.start()
                _pass_on(self.request, server, cuts)
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


def _pass_on(
    source: socket.socket, target: socket.socket, cuts: Callable[[bytes], bool] = _cut_none
) -> None:
    with suppress(OSError):
        while (data := source.recv(65_536)) and not cuts(data):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
