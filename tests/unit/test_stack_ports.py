"""Which ports the services of a stack get."""

from __future__ import annotations

import socket

from labkit.stack.process import free_port
from labkit.stack.state import HOST


def test_a_port_is_free_and_none_that_a_system_lends_to_clients() -> None:
    port = free_port()
    with socket.socket() as sock, socket.socket() as client:
        sock.bind((HOST, port))
        sock.listen()
        client.connect((HOST, port))
        assert port < 32_768 <= client.getsockname()[1]
