"""A broker that dies while a client logs in has not refused the login."""

from __future__ import annotations

import pytest

from labkit.errors import UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.stack.process import free_port
from labkit.stack.state import State
from support.forwarding import forwarding

SASL_HANDSHAKE = b"\x00\x11"  # the key of the request, after its length


@pytest.mark.parametrize("broken", [2, 1_000_000], ids=["twice", "always"])
def test_a_connection_that_breaks_in_the_login_is_no_refusal(stack: State, broken: int) -> None:
    """It was told as "refused the login of User:lab", and ended what could have waited."""
    settings = stack.credentials("lab")["kafka"]
    host, port = settings["bootstrap.servers"].split(":")
    door, logins = free_port(), 0

    def cuts(data: bytes) -> bool:
        nonlocal logins
        is_login = data[4:6] == SASL_HANDSHAKE
        logins += is_login
        return is_login and logins <= broken

    cluster = Cluster(settings | {"bootstrap.servers": f"127.0.0.1:{door}"})
    with forwarding(door, host, int(port), cuts):
        if broken == 2:
            assert cluster.topics()
        else:
            with pytest.raises(UnavailableError, match="no answer from Kafka"):
                cluster.topics()
    assert logins > 2
