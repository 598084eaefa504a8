"""What a watch of lag last saw, as Prometheus text: served on a port of this machine, or in a file.

Names and labels are kafka-lag-exporter's where the meaning is the same, so that its dashboards draw
them. Two differ on purpose: ``kafka_consumergroup_group_lag_seconds`` is the age of the record at
the committed offset, not a guess between two looks; and what is not known has no series, instead of
0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from itertools import groupby, product
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from labkit.errors import UsageError
from labkit.groups.lag import VERDICTS, Judged, total_lag
from labkit.groups.verdicts import GroupVerdict

_PARTITION = ("cluster_name", "group", "topic", "partition", "member_host", "client_id")
_GROUP = ("cluster_name", "group")
_LOG = ("cluster_name", "topic", "partition")
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
Start = Callable[[dict[str, Any], Any], Any]


class LagMetrics(Collector):
    """The newest look, as a collector of its own registry.

    Parameters
    ----------
    cluster : str
        The label ``cluster_name``: the profile's name.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.registry = CollectorRegistry()
        self._look: tuple[float, list[Judged], list[GroupVerdict]] | None = None
        self._up = 0
        self.registry.register(self)

    def update(self, judged: list[Judged], verdicts: list[GroupVerdict], at_s: float) -> None:
        """Show what was judged at this time, in s since the epoch."""
        self._look, self._up = (at_s, judged, verdicts), 1

    def away(self) -> None:
        """Show that the cluster does not answer; the groups' series end, as they are unknown."""
        self._look, self._up = (None if self._look is None else (self._look[0], [], [])), 0

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all metrics."""
        look = self._look  # the server reads in a thread
        yield self._gauge(
            "labkit_lag_up", "1 when the last look at the cluster succeeded", [((), self._up)]
        )
        if look is None:
            return
        at_s, judged, verdicts = look
        yield self._gauge(
            "labkit_lag_last_look_timestamp_seconds", "When the groups were looked at", [((), at_s)]
        )
        yield from self._partitions(judged)
        yield from self._groups(judged, verdicts)
        yield from self._logs(judged)

    def _gauge(
        self, name: str, text: str, rows: Iterable[tuple[tuple[str, ...], float | None]],
        labels: tuple[str, ...] = ("cluster_name",),
    ) -> GaugeMetricFamily:  # fmt: skip
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for values, value in rows:
            if value is not None:
                gauge.add_metric((self.cluster, *values), value)
        return gauge

    def _partitions(self, judged: list[Judged]) -> Iterator[GaugeMetricFamily]:
        places = [
            (row.group, row.topic, str(row.partition), row.host, row.member) for row in judged
        ]
        for name, text, values in (
            ("offset", "The committed offset", [row.committed for row in judged]),
            ("lag", "Offsets between the commit and the log's end", [row.lag for row in judged]),
            (
                "lag_seconds",
                "Age of the record at the committed offset",
                [row.behind_s for row in judged],
            ),
        ):
            rows = zip(places, values, strict=True)
            yield self._gauge(f"kafka_consumergroup_group_{name}", text, rows, _PARTITION)

    def _groups(
        self, judged: list[Judged], verdicts: list[GroupVerdict]
    ) -> Iterator[GaugeMetricFamily]:
        groups = {name: list(rows) for name, rows in groupby(judged, key=lambda row: row.group)}
        for name, text, value in (
            (
                "max_lag",
                "The largest lag of its partitions",
                lambda rows: _largest(row.lag for row in rows),
            ),
            (
                "max_lag_seconds",
                "The largest lag in time",
                lambda rows: _largest(row.behind_s for row in rows),
            ),
            (
                "sum_lag",
                "The lag of all its partitions, when that of each is known",
                lambda rows: total_lag(rows)[0],
            ),
        ):
            rows = (((group,), value(mine)) for group, mine in groups.items())
            yield self._gauge(f"kafka_consumergroup_group_{name}", text, rows, _GROUP)
        by_topic = groupby(judged, key=lambda row: (row.group, row.topic))
        sums = ((place, total_lag(list(rows))[0]) for place, rows in by_topic)
        text = "The lag of all its partitions of a topic"
        yield self._gauge("kafka_consumergroup_group_topic_sum_lag", text, sums, (*_GROUP, "topic"))
        states = (
            ((row.group, verdict), float(row.verdict == verdict))
            for row, verdict in product(verdicts, sorted(VERDICTS))
        )
        text = "1 for the group's verdict, 0 for the others"
        yield self._gauge("labkit_consumergroup_verdict", text, states, (*_GROUP, "verdict"))

    def _logs(self, judged: list[Judged]) -> Iterator[GaugeMetricFamily]:
        logs = {(row.topic, str(row.partition)): (row.log_start, row.log_end) for row in judged}
        first = ((place, start) for place, (start, _) in logs.items())
        yield self._gauge("kafka_partition_earliest_offset", "The log's first offset", first, _LOG)
        last = ((place, end) for place, (_, end) in logs.items())
        yield self._gauge("kafka_partition_latest_offset", "The log's end", last, _LOG)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


class Outlet:
    """Where metrics go: a port, or a file that appears whole after each look.

    Parameters
    ----------
    where : str
        ``9308``: a port of this machine only; ``0.0.0.0:9308``: an address; anything else is the
        name of a file.
    """

    def __init__(self, metrics: LagMetrics, where: str) -> None:
        self.metrics = metrics
        host, _, port = where.rpartition(":")
        self._server = _serve(metrics, host or "127.0.0.1", int(port)) if port.isdecimal() else None
        self._file = "" if self._server else where

    @property
    def address(self) -> str:
        """The URL, or the name of the file."""
        if self._server is None:
            return self._file
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/metrics"

    def renew(self) -> None:
        """Write the file anew; a port needs nothing."""
        if self._server is not None:
            return
        try:
            write_to_textfile(self._file, self.metrics.registry)
        except OSError as error:
            raise UsageError(
                f"--metrics {self._file}: the file cannot be written: {error.strerror}",
                hint="write a port such as 9308, or a file in a folder that is there and yours",
            ) from error

    def close(self) -> None:
        """End the server. A file stays: its time of the last look says how old it is."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _QuietHandler(WSGIRequestHandler):
    # a line for each scrape would only fill the log
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def _serve(metrics: LagMetrics, host: str, port: int) -> WSGIServer:
    app = make_wsgi_app(metrics.registry)
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        if address.is_loopback:
            app = _only_own_names(app)
        server = make_server(str(address), port, app, _server_class(address.version), _QuietHandler)
    except (OSError, OverflowError, ValueError) as error:
        raise UsageError(
            f"--metrics {host}:{port} cannot be served: {getattr(error, 'strerror', None) or error}",
            hint="write a free port such as 9308; ADDRESS:PORT, such as 0.0.0.0:9308, opens it to other machines",
        ) from error
    threading.Thread(target=server.serve_forever, name="labkit-metrics", daemon=True).start()
    return server


def _server_class(version: int) -> type[WSGIServer]:
    import socket

    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    return type("MetricsServer", (ThreadingWSGIServer,), {"address_family": family})


def _only_own_names(app: Any) -> Any:
    """Refuse a request whose Host is not this machine's own name.

    A page in a browser could have its own name lead here, and read the groups.
    """

    def checked(environ: dict[str, Any], start: Start) -> list[bytes]:
        host = environ.get("HTTP_HOST", "")
        name = host if host.endswith("]") else host.rsplit(":", 1)[0]
        if name.lower() in _OWN_NAMES:
            return app(environ, start)  # type: ignore[no-any-return]
        start("403 Forbidden", [("Content-Type", "text/plain")])  # type: ignore[arg-type]
        return [b"ask for this by localhost or 127.0.0.1\n"]

    return checked
