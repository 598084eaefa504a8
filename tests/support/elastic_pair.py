"""Two Elasticsearch nodes of one cluster, each to be killed and started; the first is master."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import elasticsearch as elasticsearch_client
import psutil

from labkit.stack import elasticsearch, process
from labkit.stack.artefacts import elasticsearch_home
from labkit.stack.java import find_java
from labkit.stack.state import HOST, Service, State
from support.waiting import until

VERSION = "8.19.21"
NAMES = ("one", "two")


class ElasticPair:
    """The two nodes, in a state folder of their own."""

    def __init__(self, root: Path) -> None:
        self.state = State.load(root)
        self.state.ensure_secrets()
        self.services = {name: Service(name, VERSION, process.free_port()) for name in NAMES}
        self._transport = {name: process.free_port() for name in NAMES}

    def settings(self, role: str) -> dict[str, Any]:
        """Return what the client takes: both hosts."""
        hosts = [f"http://{HOST}:{service.port}" for service in self.services.values()]
        return {"hosts": hosts, "basic_auth": [role, self.state.passwords[role]]}

    def client(self, name: str) -> elasticsearch_client.Elasticsearch:
        """Return an administrator's client of one node."""
        login = ("admin", self.state.passwords["admin"])
        host = f"http://{HOST}:{self.services[name].port}"
        return elasticsearch_client.Elasticsearch(host, basic_auth=login, max_retries=0)

    def start(self, name: str) -> None:
        """Start a node; it takes ten seconds until it answers."""
        service, folder = self.services[name], self.state.root / name
        home = elasticsearch_home(VERSION, lambda text: None)
        elasticsearch.configure(
            folder, home, self.state, service,
            cluster__name="labkit-pair", node__name=name, discovery__type="multi-node",
            node__roles="[master, data, ingest]" if name == NAMES[0] else "[data, ingest]",
            transport__port=self._transport[name],
            discovery__seed_hosts=f'["{HOST}:{self._transport[NAMES[0]]}"]',
            **({"cluster__initial_master_nodes": f'["{name}"]'} if name == NAMES[0] else {}),
        )  # fmt: skip
        log = folder / elasticsearch.LOG
        elasticsearch.launch(service, folder, home, find_java(17), self.state.run_id, log=log)

    def heal(self) -> None:
        """Start what is dead, and wait until the cluster is whole."""
        for name, service in self.services.items():
            if process.running(service) is None:
                self.start(name)
        self.wait_whole()

    def wait_whole(self) -> None:
        """Wait until both nodes have joined and every shard is there."""
        wanted = {"wait_for_nodes": "2", "wait_for_status": "yellow", "timeout": "1s"}
        until(lambda: self._health(wanted), "a cluster of two nodes", 240)

    def _health(self, wanted: dict[str, str]) -> bool:
        try:
            return not self.client(NAMES[0]).cluster.health(**wanted)["timed_out"]  # type: ignore[arg-type]
        except (elasticsearch_client.ApiError, elasticsearch_client.TransportError):
            return False

    def kill(self, name: str) -> None:
        """Kill a node and what it started."""
        main = psutil.Process(self.services[name].pid)
        family = [*main.children(recursive=True), main]
        for one in family:
            one.kill()
        psutil.wait_procs(family, 20)

    def holder(self, index: str) -> str:
        """Return the node that holds the only shard of an index."""
        for name in NAMES:
            try:
                (shard,) = self.client(name).cat.shards(index=index, format="json")
            except (elasticsearch_client.ApiError, elasticsearch_client.TransportError):
                continue
            return str(shard["node"])  # type: ignore[index]
        raise AssertionError(f"nobody tells where {index} is")


@contextmanager
def elastic_pair(root: Path) -> Iterator[ElasticPair]:
    """Run two nodes whose data is in `root`."""
    pair = ElasticPair(root)
    try:
        for name in NAMES:
            pair.start(name)
        pair.wait_whole()
        yield pair
    finally:
        for service in pair.services.values():
            if process.running(service):
                process.stop(service)
        shutil.rmtree(root, ignore_errors=True)
