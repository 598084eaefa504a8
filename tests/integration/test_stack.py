"""The local stack's life: started once by many, killed, recovered, stopped.

And what stands in its way, in one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import NewTopic

from labkit.elastic import Target
from labkit.errors import JavaNotFoundError, LabkitError, StackError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.stack import access, artefacts, java, kafka, local, process
from labkit.stack.state import Service, State
from support.stack import LABKIT, missing, new_state_dir
from support.waiting import until

pytestmark = pytest.mark.slow  # starts, stops and kills stacks of its own

RECORDS = 2_000


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LABKIT, *arguments],
        env={**os.environ, "LABKIT_STATE": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run_labkit(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command on the stack in `folder`; return its exit code and what it wrote."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def family(folder: Path) -> list[psutil.Process]:
    """Return all servers of the stack in `folder`, whoever their parent is.

    They work in it or name it.
    """
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and works_in(process, folder)
    ]


def works_in(one: psutil.Process, folder: Path) -> bool:
    try:
        if one.status() == psutil.STATUS_ZOMBIE:
            return False
        return str(folder) in one.cwd() or any(
            str(folder) in argument for argument in one.cmdline()
        )
    except psutil.Error:
        return False


def end(processes: list[psutil.Process]) -> None:
    for child in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(processes, timeout=20)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder; whatever was started in it is stopped."""
    new_folder = new_state_dir()
    yield new_folder
    end(family(new_folder))
    shutil.rmtree(new_folder, ignore_errors=True)


class Own:
    """The stack of this module, started by two commands at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        processes = [start(folder, "up"), start(folder, "up")]
        self.answers = [
            (process.communicate(timeout=200), process.returncode) for process in processes
        ]

    @property
    def state(self) -> State:
        return State.load(self.folder)

    @property
    def pids(self) -> dict[str, int]:
        return {name: service.pid for name, service in self.state.services.items()}

    @property
    def ports(self) -> dict[str, tuple[int, int]]:
        return {
            name: (service.port, service.controller_port)
            for name, service in self.state.services.items()
        }

    def kafka(self) -> Cluster:
        return Cluster(self.state.credentials("admin")["kafka"])

    def target(self, name: str = "default", role: str = "admin") -> Target:
        return Target(name, self.state.credentials(role)["elasticsearch_targets"][name])

    def up(self, *arguments: str) -> str:
        code, _, err = run_labkit(self.folder, "up", *arguments)
        assert code == 0, err
        return err


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    folder = new_state_dir()
    try:
        yield Own(folder)
    finally:
        run_labkit(folder, "down", "--purge")
        end(family(folder))
        shutil.rmtree(folder, ignore_errors=True)


# a life, in this order -----------------------------------------------------------------------------------


def test_two_ups_at_once_make_one_stack(own: Own) -> None:
    assert [code for _, code in own.answers] == [0, 0], own.answers
    assert sum("starting Kafka" in err for (_, err), _ in own.answers) == 1
    assert sum("Kafka 4.4.0 is running" in err for (_, err), _ in own.answers) == 1
    assert len(family(own.folder)) == 3  # Kafka, Elasticsearch's launcher, Elasticsearch


def test_up_again_joins_what_runs(own: Own) -> None:
    before = own.pids
    output = own.up()
    assert "Kafka 4.4.0 is running" in output
    assert "Elasticsearch 8.19.21 is running" in output
    assert own.pids == before


def test_status_tells_what_runs(own: Own) -> None:
    code, out, _ = run_labkit(own.folder, "status", "--json")
    rows = {row["service"]: row for row in json.loads(out)}
    assert code == 0
    assert {name: row["pid"] for name, row in rows.items()} == own.pids
    assert all(row["running"] and row["memory_mb"] > 100 for row in rows.values())
    assert {row["address"] for row in rows.values()} == {
        f"127.0.0.1:{port}" for port, _ in own.ports.values()
    }


def fill(own: Own) -> str:
    """Make a topic and an index of `RECORDS` each, of one name."""
    name, producer = f"irc-test-{uuid.uuid4().hex[:8]}", own.kafka().producer()
    own.kafka().ask(lambda client: client.create_topics([NewTopic(name, 1, 1)]), what="make it")
    for number in range(RECORDS):
        producer.produce(name, b'{"n": %d}' % number)
    assert producer.flush(30) == 0
    operations = [
        line
        for number in range(RECORDS)
        for line in ({"create": {"_id": str(number)}}, {"n": number})
    ]
    assert not own.target().client.bulk(index=name, operations=operations)["errors"]
    return name


@pytest.mark.chaos
def test_a_server_that_was_not_written_down_is_ended_and_started_again(own: Own) -> None:
    """A server that has no note holds the port for ever.

    A command that is killed between starting it and noting its pid leaves one.
    """
    noted = json.loads((own.folder / "stack.json").read_text())
    noted["services"]["kafka"]["pid"] = 0
    (own.folder / "stack.json").write_text(json.dumps(noted))
    ports = own.ports
    assert "starting Kafka" in own.up()
    assert own.ports == ports
    assert len(family(own.folder)) == 3


@pytest.mark.chaos
def test_up_waits_for_what_a_killed_up_has_just_started(folder: Path) -> None:
    """It took the process for a Kafka that answers: "is it running?"."""
    killed = start(folder, "up")
    until(
        lambda: any("kafka.Kafka" in process.cmdline() for process in family(folder)),
        "Kafka's process",
    )
    killed.kill()
    killed.communicate()
    state = State.load(folder)  # what `up` does first; Elasticsearch has no part in this
    process.end_strays(folder, state.services.values())
    kafka.start(state, lambda _text: None)
    access.ensure(Cluster(state.credentials("admin")["kafka"]))
    assert len(family(folder)) == 1


@pytest.mark.chaos
def test_after_kill_9_of_both_up_recovers_with_the_data(own: Own) -> None:
    """The servers are killed by the pid that `status` shows.

    For Elasticsearch that is its launcher, whose child ends a moment later.
    """
    name, ports, passwords, pids = fill(own), own.ports, own.state.passwords, own.pids
    for pid in pids.values():
        psutil.Process(pid).kill()
    code, out, _ = run_labkit(own.folder, "status", "--json")
    assert (code, [row["running"] for row in json.loads(out)]) == (3, [False, False])
    own.up()
    assert set(own.pids.values()).isdisjoint(pids.values())
    assert (own.ports, own.state.passwords) == (ports, passwords)
    assert own.kafka().bounds(name, [0], "latest") == {0: RECORDS}
    assert own.target().count(name) == RECORDS
    assert set(access.bindings()) <= access._known_rules(own.kafka())
    assert len(family(own.folder)) == 3


def test_both_elasticsearch_versions_run_side_by_side(own: Own) -> None:
    before = own.pids
    own.up("--elasticsearch", "8.19.21", "--elasticsearch", "9.5.3")
    assert {name: own.target(name).version for name in own.state.targets} == {
        "default": "8.19.21",
        "es-9.5.3": "9.5.3",
    }
    assert before.items() <= own.pids.items()
    indexer = own.target("es-9.5.3", "indexer")
    indexer.client.index(index="irc-test-nine", document={"n": 1}, refresh=True)
    assert indexer.count("irc-test-nine") == 1
    assert not own.target().client.indices.exists(index="irc-test-nine")


def test_down_leaves_no_process_and_keeps_the_data(own: Own) -> None:
    own.up("--elasticsearch", "8.19.21", "--elasticsearch", "9.5.3")  # or it joins them
    ports = own.ports
    before = {*family(own.folder), *(psutil.Process(pid) for pid in own.pids.values())}
    assert len(before) >= 5  # Kafka, and two launchers with their servers
    code, out, err = run_labkit(own.folder, "down")
    assert (code, err) == (0, "")
    assert sorted(out.split("\n")[:-1]) == [
        "stopped elasticsearch",
        "stopped es-9.5.3",
        "stopped kafka",
    ]
    # what ended waits to be asked for by its parent
    until(lambda: not [process for process in before if process.is_running()])
    assert own.ports == ports
    assert (own.folder / "kafka" / "data").is_dir()


def test_a_taken_port_is_named_in_one_line(own: Own) -> None:
    port, _ = own.ports["kafka"]
    with socket.create_server(("127.0.0.1", port)):
        code, out, err = run_labkit(own.folder, "up")
    message, hint = err.splitlines()
    assert (code, out) == (1, "")
    assert message == f"labkit: port {port}, kept for Kafka, is taken by another process"
    assert hint.startswith("Hint: ")
    assert str(port) in hint
    assert family(own.folder) == []


def test_down_purge_removes_all_that_was_there(own: Own) -> None:
    assert run_labkit(own.folder, "down", "--purge")[0] == 0
    assert {path.name for path in own.folder.iterdir()} <= {"lock"}
    code, out, _ = run_labkit(own.folder, "status")
    assert (code, out) == (3, "there is no local stack; `labkit up` starts one\n")


# what stands in the way ----------------------------------------------------------------------------------


def one_line_and_a_hint(err: str) -> tuple[str, str]:
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("labkit: ")
    assert lines[1].startswith("Hint: ")
    return lines[0], lines[1]


def never(*_arguments: Any) -> Service:
    raise AssertionError("a server was started")


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`folder` as the stack of this process."""
    monkeypatch.setenv("LABKIT_STATE", str(folder))
    return folder


@pytest.mark.chaos
def test_a_damaged_state_file_is_one_line_and_purge_helps(folder: Path) -> None:
    (folder / "stack.json").write_text('{"services": {"kafka": 5}}')
    for command in (["up"], ["status"], ["down"], ["topics"], ["credentials", "lab"]):
        code, _, err = run_labkit(folder, *command)
        message, hint = one_line_and_a_hint(err)
        assert code == 1
        assert f"{folder / 'stack.json'} is damaged" in message
        assert "labkit down --purge" in hint
    assert run_labkit(folder, "down", "--purge")[0] == 0
    assert run_labkit(folder, "status")[0] == 3


def test_purge_ends_the_servers_also_when_the_state_file_is_damaged(here: Path) -> None:
    state = State(here)
    state.ensure_secrets()
    kafka.start(state, lambda _text: None)
    servers = family(here)
    assert servers
    (here / "stack.json").write_text("{")
    try:
        local.down(purge=True, say=lambda _text: None)
        assert family(here) == []
    finally:
        end(servers)


def test_without_java_up_says_how_to_install_it(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_options: Any) -> str:
        raise ConnectionError("no network")

    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("LABKIT_JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(java, "_FOLDERS", ())
    monkeypatch.setattr("cjdk.java_home", refused)
    with pytest.raises(
        JavaNotFoundError, match=r"Java 17 or newer is needed; found: none"
    ) as caught:
        local.up(say=lambda _text: None)
    assert "LABKIT_JAVA_HOME" in caught.value.hint
    assert State.load(here).services == {}


@pytest.mark.chaos
def test_without_space_up_says_how_much_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)
    )
    monkeypatch.setattr(kafka, "start", never)
    with pytest.raises(StackError, match=r"^1 MB are free in .*, 500 MB are needed") as caught:
        local.up(say=lambda _text: None)
    assert "LABKIT_STATE" in caught.value.hint


@pytest.mark.chaos
def test_a_full_disk_while_starting_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_options: Any) -> Service:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kafka, "start", full)
    with pytest.raises(StackError, match="could not be started: No space left on device"):
        local.up(say=lambda _text: None)


@pytest.mark.parametrize("version", ["7.0", "", "9.5.3 ", "../../x"])
def test_an_unknown_version_is_refused_before_anything_is_started(
    version: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "start", never)
    with pytest.raises(UsageError, match="is not among the versions of this labkit"):
        local.up([version], say=lambda _text: None)


@pytest.mark.parametrize("command", [["up"], ["down", "--purge"]])
def test_a_state_folder_that_cannot_be_made_is_one_line(command: list[str]) -> None:
    code, out, err = run_labkit(Path("/proc/labkit"), *command)
    if command[0] == "up":
        assert code == 1
        assert "LABKIT_STATE" in one_line_and_a_hint(err)[1]
    else:
        assert (code, out, err) == (0, "there is no local stack\n", "")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root drops to another user"
)
def test_a_folder_the_servers_user_cannot_reach_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    code, _, err = run_labkit(tmp_path / "closed" / "state", "up")
    message, hint = one_line_and_a_hint(
        "\n".join(line for line in err.splitlines() if "labkit" in line or "Hint" in line)
    )
    assert code == 1
    assert "cannot reach" in message
    assert "LABKIT_STATE" in hint


@pytest.mark.chaos
def test_a_server_that_dies_while_starting_shows_the_end_of_its_log(here: Path) -> None:
    (here / "kafka" / "data").mkdir(parents=True)
    (here / "kafka" / "data" / "meta.properties").write_text(
        "version=1\ncluster.id=x\nnode.id=77\n"
    )
    with pytest.raises(StackError, match="kafka died while starting") as caught:
        local.up(say=lambda _text: None)
    assert f"the end of {here / 'kafka' / 'kafka.log'}:" in caught.value.hint
    last = (here / "kafka" / "kafka.log").read_text().splitlines()[-1].strip()
    assert caught.value.hint.splitlines()[-1].strip() == last
    assert process.running(State.load(here).services["kafka"]) is None


def test_a_pid_used_again_by_another_process_is_not_ours() -> None:
    mine = psutil.Process()
    assert process.running(Service("x", pid=mine.pid, started=process.born(mine))) == mine
    assert process.running(Service("x", pid=mine.pid, started=process.born(mine) - 1000)) is None
    assert not process.stop(Service("x", pid=mine.pid, started=process.born(mine) - 1000))


PARENT = """
import subprocess, time
print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
time.sleep(300)
"""


def test_a_server_whose_parent_does_not_ask_for_its_end_has_ended() -> None:
    """A zombie counts as ended.

    A container's first process may never ask for its end, and a kernel that started the stack does
    not.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout
            child = psutil.Process(int(parent.stdout.readline()))
            began = time.monotonic()
            assert process.stop(Service("x", pid=child.pid, started=process.born(child)))
            assert time.monotonic() - began < 10
            assert child.status() == psutil.STATUS_ZOMBIE
        finally:
            parent.kill()


# the servers' files --------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> artefacts.Artefact:
    """The smallest of the pinned files, with a cache of its own."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    return min(artefacts._read_lock(), key=lambda item: item.bytes)


def fetch(item: artefacts.Artefact) -> Path:
    try:
        return artefacts.fetch([item], lambda _text: None)[0]
    except StackError as error:
        if "could not be fetched" in error.message:
            missing("a Maven repository", error)
        raise


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "of another content, its mark left as it was": lambda path: (
        path.write_bytes(b"x" * path.stat().st_size),
        path.with_name(path.name + ".verified").touch(),
    ),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "anybody may write to it": lambda path: path.chmod(0o666),
    "anybody may write to its folder": lambda path: path.parent.chmod(0o777),
    "a link": lambda path: (path.rename(path.with_name("other")), path.symlink_to("other")),
}


def test_a_damaged_file_is_fetched_again(small: artefacts.Artefact) -> None:
    """BEHAVIOURS 77: the hash is believed, not a mark."""
    path = fetch(small)
    for kind, damage in DAMAGE.items():
        damage(path)
        assert artefacts._sha256(fetch(small)) == small.sha256, kind
        assert not path.is_symlink()
        assert {path.stat().st_mode & 0o022, path.parent.stat().st_mode & 0o022} == {0}


def test_processes_that_fetch_the_same_files_at_once_all_get_them(
    small: artefacts.Artefact,
) -> None:
    """The workers of a first `make test` did, and most of its tests had no stack."""
    fetch(small)  # a repository is there
    program = """
        from labkit.stack import artefacts
        files = sorted(artefacts._read_lock(), key=lambda item: item.bytes)[:20]
        artefacts.fetch(files, lambda text: None)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert ends == [("", 0)] * 3


def test_a_file_that_is_there_is_not_fetched_again(
    small: artefacts.Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(small)
    monkeypatch.setattr(artefacts, "_maven", never)
    assert artefacts.fetch([small], lambda _text: None) == [path]


def test_a_file_that_is_not_the_pinned_one_is_refused_and_not_kept(
    small: artefacts.Artefact,
) -> None:
    fetch(small)
    foreign = artefacts.Artefact(**{**vars(small), "sha256": "0" * 64, "bytes": small.bytes + 1})
    with pytest.raises(StackError, match="is not the pinned file"):
        artefacts.fetch([foreign], lambda _text: None)
    assert not artefacts._path(artefacts.cache_dir() / "maven", small).exists()


def test_without_a_network_the_error_is_one_line(
    small: artefacts.Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nowhere:
        def __getattr__(self, _name: str) -> Any:
            return lambda *_a, **_k: self

        def resolve(self) -> Path:
            raise ConnectionError("no route")

    monkeypatch.setattr(artefacts, "_maven", lambda *_arguments: Nowhere())
    with pytest.raises(StackError, match="could not be fetched: ConnectionError") as caught:
        artefacts.fetch([small], lambda _text: None)
    assert "network" in caught.value.hint


@pytest.mark.chaos
def test_without_space_for_the_files_nothing_is_fetched(
    small: artefacts.Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 9, 1))
    monkeypatch.setattr(artefacts, "_maven", never)
    with pytest.raises(StackError, match=r"are needed in .*, 0 MB are free") as caught:
        artefacts.fetch([small], lambda _text: None)
    assert caught.value.free_bytes == 1


def test_a_cache_folder_that_cannot_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", "/proc/labkit")
    with pytest.raises(LabkitError) as caught:
        artefacts.kafka_class_path(lambda _text: None)
    assert "LABKIT_CACHE" in (caught.value.hint or "")


def test_every_pinned_file_has_a_hash_and_a_size() -> None:
    for item in artefacts._read_lock():
        assert len(item.sha256) == 64
        assert item.bytes > 0
    assert {item.version for item in artefacts._read_lock() if item.service == "elasticsearch"} == {
        "8.19.21",
        "9.5.3",
    }
