"""A proxy before Elasticsearch that cuts its answers short.

What was not acknowledged is sent again.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from labkit import Lab

pytestmark = pytest.mark.chaos

RECORDS = 500


@contextmanager
def cutting(address: str, cuts: list[Callable[[dict[str, Any]], Any]]) -> Iterator[str]:
    """A proxy before the real Elasticsearch.

    Each of `cuts` is done to one answer to a bulk request.
    """

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() != "accept-encoding"
            }
            request = urllib.request.Request(
                address + self.path, body, headers, method=self.command
            )
            try:
                with urllib.request.urlopen(request) as answer:
                    status, kind, content = answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as error:
                status, kind, content = error.code, error.headers, error.read()
            if "_bulk" in self.path and cuts:
                content = json.dumps(cuts.pop(0)(json.loads(content))).encode()
            self.send_response(status)
            for name in ("Content-Type", "X-Elastic-Product"):
                if kind[name]:
                    self.send_header(name, kind[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _pass

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "cut",
    [
        lambda answer: {},
        lambda answer: {"items": answer["items"][: len(answer["items"]) // 3]},
        lambda answer: {"items": []},
    ],
    ids=["an empty answer", "a third of the items", "no items"],
)
def test_the_ledger_adds_up_and_all_is_there(
    lab: Lab, make_topic: Any, produce: Any, me: str, cut: Callable[[dict[str, Any]], Any]
) -> None:
    topic = make_topic()
    produce(topic, [json.dumps({"n": n}).encode() for n in range(RECORDS)])
    settings = lab.connection.elasticsearch["default"]
    cuts = [cut, cut]
    with cutting(settings["hosts"][0], cuts) as url:
        behind = Lab(
            replace(lab.connection, elasticsearch={"default": {**settings, "hosts": [url]}})
        )
        load = behind.window(topic).to_scratch("cut")
    assert not cuts
    counts = load.counts
    assert counts["indexed"] + counts["existing"] == counts["sent"] == RECORDS
    assert counts["existing"]
    assert lab.window(topic).to_scratch("cut").index.count() == RECORDS


def test_a_document_answered_with_a_500_is_sent_again(
    lab: Lab, make_topic: Any, produce: Any, me: str
) -> None:
    topic = make_topic()
    produce(topic, [json.dumps({"n": n}).encode() for n in range(RECORDS)])

    def failed(answer: dict[str, Any]) -> dict[str, Any]:
        error = {"type": "exception", "reason": "a node died"}
        answer["items"][7] = {"create": {"status": 500, "error": error}}
        return answer

    settings = lab.connection.elasticsearch["default"]
    with cutting(settings["hosts"][0], [failed]) as url:
        behind = Lab(
            replace(lab.connection, elasticsearch={"default": {**settings, "hosts": [url]}})
        )
        load = behind.window(topic).to_scratch("failed")
    assert load.counts == {
        "sent": RECORDS,
        "indexed": RECORDS - 1,
        "existing": 1,
        "rejected": 0,
        "unsent": 0,
    }
