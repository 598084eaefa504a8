"""Show all of labkit at work once, from the extractor to the proof that counts agree."""

from __future__ import annotations

import ast
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from labkit.config.folders import JOURNAL
from labkit.elastic import Target
from labkit.errors import DeadlineError, NotFoundError, StackError
from labkit.groups.offsets import lags, list_groups
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.notebook import bundled, rerun
from labkit.pipelines import IrcExtractor, extract_files
from labkit.stack import local, process
from labkit.stack.access import TOPIC
from labkit.stack.state import HOST, Service, State, local_profile, lock_stack

GROUP = "indexer.logstash-es"
INDEX = "irc"
CHANNEL = "#labkit"
_NOTEBOOK = "01-discover.ipynb"
_NEXT_IN_PROJECT = (
    "  make lab    opens JupyterLab in notebooks/",
    "  make down   stops everything",
)
_NEXT_INSTALLED = (
    "  labkit new --course notebooks   copies the notebooks; jupyter lab opens them",
    "  labkit down                     stops everything",
)
_WEEK = timedelta(weeks=1)
_TALK = (
    "hello, is this thing on?",
    "it is: every line here becomes one record in Kafka, raw",
    "even żółć and \x02bold\x02 and 🎉?",
    "the untouched bytes are in the header irc.line",
    "and who reads them?",
    "indexer.logstash-es does, all the time; a lab may, whenever it likes, and no other member notices",
)


@dataclass(frozen=True)
class Summary:
    """What the demo saw, asked of the servers."""

    sample_lines_sent: int
    live_records: int
    records_in_topic: int
    records_replayed: int
    receipt_complete: bool
    scratch_documents: int
    production_documents: int
    group_before: dict[str, int]
    group_after: dict[str, int]
    notebook: str
    page: str
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether all counts agree and the production group is where it was."""
        counts = {self.records_in_topic, self.records_replayed, self.scratch_documents}
        untouched = self.group_before == self.group_after and bool(self.group_before)
        return len(counts) == 1 and self.receipt_complete and untouched and self._indexed_all

    @property
    def _indexed_all(self) -> bool:
        # the topic forgets after 90 days, the production index does not
        return self.production_documents >= self.records_in_topic

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "agrees": self.agrees}

    def __str__(self) -> str:
        same = "the same before and after" if self.group_before == self.group_after else "CHANGED"
        receipt = "complete" if self.receipt_complete else "INCOMPLETE"
        return "\n".join(
            [
                "",
                "What happened" if self.agrees else "What happened: the counts DO NOT AGREE",
                f"  into the topic        {self.sample_lines_sent:,} sample lines and {self.live_records:,} records"
                f" of a live IRC channel, this time; {TOPIC} holds {self.records_in_topic:,}",
                f"  replayed              {self.records_replayed:,} records, receipt {receipt}",
                f"  scratch index         {self.scratch_documents:,} documents",
                f"  production index      {self.production_documents:,} documents, by {GROUP}, running all the time",
                f"  {GROUP}   {same}: offsets {self.group_after}",
                f"  took                  {self.seconds:.0f} s",
                "",
                "Where to look",
                f"  {self.page}   the executed notebook as a page",
                f"  {self.notebook}   and as a notebook",
                "",
                "What next",
                *(_NEXT_IN_PROJECT if bundled.in_project() else _NEXT_INSTALLED),
            ]
        )


def run(say: Callable[[str], None]) -> Summary:
    """Run the demo; running it again adds only what is new.

    The run of the notebook goes into ``runs/`` here.
    """
    began = time.monotonic()
    notebook = bundled.folder() / _NOTEBOOK
    say(
        "real servers, a topic of 120,000 records and a notebook that replays it: a minute or two the first time"
    )
    state = local.up(say=say)
    # while servers are waited for
    threading.Thread(target=rerun.import_libraries, daemon=True).start()
    extractor = Cluster(state.credentials("extractor")["kafka"], role="extractor")
    _start_indexer(state, say)
    say("sending the sample through the extractor")
    sample = extract_files(
        extractor,
        [_recent_sample(state.root)],
        TOPIC,
        timestamp_field="@timestamp",
        journal=state.root / JOURNAL,
    )
    say(f"  {sample}")
    live = _live_channel(state, extractor, say)
    lab, admin = Lab(local_profile("lab")), Lab(local_profile("admin"))
    say("waiting until the production indexer has caught up")
    _caught_up(admin.cluster, state.services["indexer"], state.root)
    before = _committed_offsets(admin.cluster)
    window = lab.window(TOPIC)
    say("running the notebook through papermill, and making a page of it")
    executed = rerun.run(
        notebook, {"window": window.to_json(), "scratch": "demo"}, progress=sys.stderr.isatty()
    )
    summary = _notebook_summary(executed.notebook)
    after = _committed_offsets(admin.cluster)
    starts, ends = lab.cluster.starts_and_ends(TOPIC, lab.cluster.partitions(TOPIC))
    held = sum(ends.values()) - sum(starts.values())
    target: Target = admin.target()
    return Summary(
        sample_lines_sent=sample.delivered,
        live_records=live,
        records_in_topic=held,
        records_replayed=summary["records_replayed"],
        receipt_complete=summary["receipt_complete"],
        scratch_documents=target.count(summary["scratch_index"]),
        production_documents=target.count(INDEX),
        group_before=before,
        group_after=after,
        notebook=str(executed.notebook.absolute()),
        page=str(executed.html.absolute()),
        seconds=round(time.monotonic() - began, 1),
    )


def _start_indexer(state: State, say: Callable[[str], None]) -> None:
    with lock_stack(state.root):
        # another command may have started some since
        state.services = State.load(state.root).services
        _start_once(state, say)


def _start_once(state: State, say: Callable[[str], None]) -> None:
    service = state.services.setdefault("indexer", Service("indexer"))
    if process.running(service):
        say("the production indexer is running")
        return
    say(f"starting the production indexer: labkit index {TOPIC} {INDEX} --group {GROUP}")
    folder = state.root / "indexer"
    folder.mkdir(exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "labkit", "index", TOPIC, INDEX, "--group", GROUP]
    command += ["--dead-letter", str(folder / "dead-letter.jsonl")]
    process.start(
        service, command, env=os.environ, cwd=folder, log=folder / "indexer.log", as_caller=True
    )
    state.save()


def _recent_sample(root: Path) -> Path:
    """Return the sample moved by whole weeks to end within the past week; the topic keeps 90 days.

    Made once: the extractor knows the file again and sends nothing twice.
    """
    folder = root / "demo"
    folder.mkdir(exist_ok=True, mode=0o700)
    target = folder / bundled.SAMPLE.removesuffix(".gz")
    if not target.exists():
        weeks = _weeks_since_end()
        part = target.with_suffix(".part")
        with gzip.open(bundled.sample(), "rb") as source, part.open("wb") as output:
            output.writelines(_move_times(line, weeks) for line in source)
        part.replace(target)
    return target


_STAMP = b'{"@timestamp":"'


def _weeks_since_end() -> timedelta:
    with gzip.open(bundled.sample(), "rb") as source:
        last = max(line[len(_STAMP) :][:23] for line in source if line.startswith(_STAMP))
    return (
        (datetime.now(UTC) - datetime.fromisoformat(last.decode()).replace(tzinfo=UTC))
        // _WEEK
        * _WEEK
    )


def _move_times(line: bytes, by: timedelta) -> bytes:
    if not line.startswith(_STAMP):
        return line
    try:
        moment = datetime.fromisoformat(line[len(_STAMP) :][:23].decode()) + by
    except ValueError:  # a line cut off on purpose
        return line
    return _STAMP + moment.isoformat(timespec="milliseconds").encode() + line[len(_STAMP) + 23 :]


# the live channel ----------------------------------------------------------------------------------------


def _live_channel(state: State, cluster: Cluster, say: Callable[[str], None]) -> int:
    """Talk on a real IRC server while the extractor listens; return how many records came of it."""
    say("following a live channel on a local IRC server through the extractor")
    with _irc_server(state.root / "demo") as server, ThreadPoolExecutor(1) as pool:
        extractor = IrcExtractor(
            cluster,
            TOPIC,
            server=HOST,
            port=server.port,
            nick="extractor",
            channels=[CHANNEL],
            say=lambda text: None,
        )
        stop = threading.Event()
        run = pool.submit(extractor.run, stop)
        try:
            server.wait_for(
                lambda: extractor.joined.wait(0.1) or run.done(),
                "the extractor did not join the channel",
            )
            if not run.done():
                _talk(server)
        finally:
            stop.set()
        report = run.result()
    say(f"  {report}")
    return int(report.counts.delivered)


@dataclass(frozen=True)
class _IrcServer:
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def wait_for(self, condition: Callable[[], bool], failure: str) -> None:
        """Call `condition` until it is true.

        Raise with `failure` when the server ends or 30 s have passed.
        """
        deadline = time.monotonic() + 30
        while not condition():
            if self.process.poll() is not None:
                raise StackError(
                    "the local IRC server ended",
                    hint=f"the end of {self.log}:\n{process.tail(self.log)}",
                )
            if time.monotonic() > deadline:
                raise DeadlineError(failure, hint=f"see {self.log}")

    def answers(self) -> bool:
        """Tell whether the server takes connections; wait a moment when it does not."""
        with socket.socket() as sock:
            if sock.connect_ex((HOST, self.port)) == 0:
                return True
        time.sleep(0.1)
        return False


@contextmanager
def _irc_server(folder: Path) -> Iterator[_IrcServer]:
    """Run the irc library's own server, which is wherever labkit is."""
    port, log = process.free_port(), folder / "ircd.log"
    command = [sys.executable, "-m", "irc.server", "-a", HOST, "-p", str(port)]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder
        )
    server = _IrcServer(port, log, child)
    try:
        server.wait_for(server.answers, "the local IRC server does not answer")
        yield server
    finally:
        child.terminate()
        child.wait(10)


def _talk(server: _IrcServer) -> None:
    """Join the channel, say a few lines, and leave when the server has handled them all."""
    import irc.client

    reactor = irc.client.Reactor()
    handled = threading.Event()

    def speak(connection: Any, _event: Any) -> None:
        connection.join(CHANNEL)
        for line in _TALK:
            connection.privmsg(CHANNEL, line)
        # a server handles what a client sends in order: after its answer nothing is missing
        connection.ping("said")

    reactor.add_global_handler("welcome", speak)
    reactor.add_global_handler("pong", lambda _connection, _event: handled.set())
    connection = reactor.server().connect(HOST, server.port, "alice")

    def handle_next() -> bool:
        reactor.process_once(0.1)
        return handled.is_set()

    server.wait_for(handle_next, "the local IRC server did not handle what was said")
    connection.disconnect("that is all")


# what the servers say ------------------------------------------------------------------------------------


def _caught_up(admin: Cluster, indexer: Service, root: Path, timeout_s: float = 300) -> None:
    log = root / "indexer" / "indexer.log"
    deadline = time.monotonic() + timeout_s
    while True:
        rows = [row for row in lags(admin, list_groups(admin, [GROUP])) if row.topic == TOPIC]
        if rows and all(row.lag == 0 or row.log_end == row.log_start is not None for row in rows):
            return
        if process.running(indexer) is None:
            raise StackError(
                "the production indexer ended", hint=f"the end of {log}:\n{process.tail(log)}"
            )
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"{GROUP} has not caught up in {timeout_s:.0f} s", hint=f"see {log}"
            )
        time.sleep(0.5)


def _committed_offsets(admin: Cluster) -> dict[str, int]:
    return {
        f"{topic}[{p}]": at
        for (topic, p), at in sorted(list_groups(admin, [GROUP])[0].committed.items())
    }


def _notebook_summary(path: Path) -> dict[str, Any]:
    """Return what the notebook's cell tagged ``summary`` shows."""
    import nbformat

    for cell in nbformat.read(path, as_version=4).cells:
        if "summary" in cell.metadata.get("tags", []):
            summary: dict[str, Any] = ast.literal_eval(cell.outputs[-1]["data"]["text/plain"])
            return summary
    raise NotFoundError(f"{path} has no summary", hint="its last cell is tagged `summary`")
