"""A cluster of several hosts of which all but one are away: what can be asked of the one is."""

from __future__ import annotations

import http.server
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import elasticsearch
import pandas as pd
import pytest

from labkit import Lab, charts
from labkit.elastic import Target
from labkit.errors import UnavailableError
from labkit.es.index import Index
from labkit.es.mappings import ensure, mapping
from labkit.lab import connect


def dead_hosts(count: int) -> list[str]:
    """Return addresses where nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"http://127.0.0.1:{socket.getsockname()[1]}" for socket in sockets]
    for socket_ in sockets:
        socket_.close()
    return addresses


def scattered(lab: Lab, **more: Any) -> Target:
    """Return the target with dead hosts before and behind the real one.

    The client shuffles them.
    """
    settings = lab.target().settings
    before, behind = dead_hosts(2)
    return Target("default", {**settings, "hosts": [before, *settings["hosts"], behind], **more})


@pytest.fixture
def index() -> Iterator[str]:
    name = f"irc-test-{uuid.uuid4().hex[:8]}"
    client = connect(role="admin").target().client
    client.index(
        index=name, id="irc-0-1", document={"n": 1, "@timestamp": "2016-03-01"}, refresh=True
    )
    yield name
    client.options(ignore_status=404).indices.delete(index=[name, f"{name}-new"])


ASKS: dict[str, Callable[[Index], Any]] = {
    "count": lambda index: index.count(),
    "read": lambda index: index.to_pandas(),
    "agg": lambda index: index.agg("n"),
    "chart": lambda index: charts.distribution(index, "n"),
    "version": lambda index: index.target.version,
}


def comparable(answer: Any) -> Any:
    """Return an answer as something that can be held against another one."""
    if isinstance(answer, pd.DataFrame):
        return answer.to_json(orient="split", date_format="iso")
    return answer.to_json() if hasattr(answer, "to_json") else answer


@pytest.mark.parametrize("ask", ASKS)
def test_a_dead_host_is_passed_over(
    ask: str, lab: Lab, index: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer is the one that the living host gives alone, without a word."""
    expected = comparable(ASKS[ask](Index(index, lab.target())))
    capfd.readouterr()
    for _ in range(6):  # each client in its own order
        assert comparable(ASKS[ask](Index(index, scattered(lab)))) == expected
    assert capfd.readouterr().err == ""


def test_an_index_is_made_and_written_though_hosts_are_dead(index: str) -> None:
    writer = connect(role="indexer")
    for number in range(4):
        target = scattered(writer)
        ensure(target, f"{index}-new", mapping())
        target.client.index(
            index=f"{index}-new", id=str(number), document={"n": number}, refresh=True
        )
    admin = connect(role="admin").target().client
    assert admin.count(index=f"{index}-new")["count"] == 4
    (mappings,) = admin.indices.get_mapping(index=f"{index}-new").body.values()
    assert mappings["mappings"]["properties"].items() >= mapping()["properties"].items()


def test_a_load_does_not_wait_for_a_dead_host(
    lab: Lab, make_topic: Any, produce: Any, me: str
) -> None:
    topic = make_topic()
    produce(topic, [b'{"n":1}'] * 500)
    behind = Lab(replace(lab.connection, elasticsearch={"default": scattered(lab).settings}))
    load = behind.window(topic).to_scratch("scattered")
    assert (load.complete, load.counts["indexed"], load.outcome.first_error) == (True, 500, "")


def test_when_all_are_dead_it_is_one_error(lab: Lab) -> None:
    target = Target("default", {**lab.target().settings, "hosts": dead_hosts(3)})
    with pytest.raises(UnavailableError, match="no server listens there"):
        Index("irc", target).count()


def test_an_answer_is_not_asked_for_again(lab: Lab) -> None:
    """A cluster that is too busy is not pressed by the transport as well."""
    requests: list[str] = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            requests.append(self.path)
            self.send_response(429)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        hosts = [f"http://127.0.0.1:{server.server_port}", f"http://localhost:{server.server_port}"]
        target = Target("default", {**lab.target().settings, "hosts": hosts})
        with pytest.raises(elasticsearch.ApiError):
            target.client.bulk(operations=[b"{}\n"], index="irc")
    finally:
        server.shutdown()
        server.server_close()
    assert len(requests) == 1
