"""Fixtures: a real stack of the tests' own, apart from one the user may have running."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from labkit.charts.jsonschema_import import import_jsonschema
from labkit.errors import StackError, UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.sinks.scratch_index import list_indices
from labkit.stack import local
from labkit.stack.state import State
from support.cluster import ThreeBrokers, three_brokers
from support.secure_stack import SecureStack, running
from support.stack import MORTAL, missing, new_state_dir, run_labkit, stack_folder
from support.waiting import until

import_jsonschema()  # before any test module does: it would cost each worker a second
# beside other tests an example takes as long as it takes
hypothesis.settings.register_profile(
    "labkit", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("labkit")
pytest_plugins = [
    "support.workers",
    "support.cleaning",
    "support.indexing",
    "support.irc",
    "support.jupyter",
    "support.spooling",
]


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    """Heed SIGINT, here and in what is started: a script's background jobs ignore it from birth."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Give signals back: `labkit index`, `tail` and `extract irc` take them in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _quick_servers() -> None:
    """Compile the servers' code quickly and not well: most of a short life is their start."""
    os.environ.setdefault("LABKIT_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session", autouse=True)
def _no_window_cache() -> None:
    """Read Kafka each time: the cache has tests of its own."""
    os.environ["LABKIT_CACHE_GB"] = "0"


@pytest.fixture(scope="session", autouse=True)
def _user() -> None:
    """Be another user in each worker: `lab.gc()` of one takes nothing away from another."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["LABKIT_USER"] = f"test_{worker}"


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[State]:
    """A running stack: `shared` by all workers, or `alone` for a test marked so.

    See support/workers.py. ``LABKIT_TEST_STATE`` names one that runs already and is left alone.
    """
    folder = stack_folder(getattr(request, "param", "shared"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LABKIT_STATE", str(folder))
        # the tests' own stack, whatever the user works on
        environment.delenv("LABKIT_PROFILE", raising=False)
        try:
            state = local.up(say=lambda text: None)
        except StackError as error:
            missing("the local stack", error)
        yield state


@pytest.fixture(scope="session")
def lab(stack: State) -> Lab:
    """The lab as an analyst has it."""
    return connect()


@pytest.fixture(scope="session")
def both(stack: State) -> Lab:
    """The lab with Elasticsearch 9.5.3 (target ``es-9.5.3``) beside the 8 that is there."""
    if "es-9.5.3" not in connect().targets or not all(row["running"] for row in local.status()):
        try:
            local.up(
                [service.version for service in stack.targets.values()] + ["9.5.3"],
                say=lambda text: None,
            )
        except StackError as error:
            missing("Elasticsearch 9.5.3", error)
    return connect()


@pytest.fixture(scope="session")
def mortal(pytestconfig: pytest.Config) -> Iterator[Path]:
    """A second stack, whose servers tests may kill; what is killed is started after the test."""
    folder = new_state_dir()
    try:
        run_labkit(folder, "up")
        pytestconfig.stash[MORTAL] = folder
        yield folder
    finally:
        pytestconfig.stash[MORTAL] = None
        run_labkit(folder, "down", "--purge")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch, stack: State) -> Iterator[str]:
    """A user of the test's own, whose scratch indices are gone after it."""
    user = f"test_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("LABKIT_USER", user)
    yield user
    for target in connect().targets.values():
        with suppress(UnavailableError):  # another worker is just starting it
            for row in list_indices(target):
                if row["index"].startswith(f"scratch-{user}-"):
                    target.client.indices.delete(index=row["index"])


@pytest.fixture(scope="session")
def admin(stack: State) -> Cluster:
    """Kafka as its administrator has it."""
    return Cluster(stack.credentials("admin")["kafka"])


@pytest.fixture(scope="session")
def three() -> Iterator[ThreeBrokers]:
    """Three Kafka brokers to kill.

    `LABKIT_TEST_THREE` names a folder where they stay for the next run.
    """
    state_folder = os.environ.get("LABKIT_TEST_THREE")
    folder = Path(state_folder) if state_folder else new_state_dir()
    try:
        with three_brokers(folder, keep=bool(state_folder)) as cluster:
            yield cluster
    except StackError as error:
        missing("the cluster of three brokers", error)


@pytest.fixture(scope="session")
def secure() -> Iterator[SecureStack]:
    """Kafka and Elasticsearch behind TLS.

    `LABKIT_TEST_SECURE` names a folder where they stay for the next run.
    """
    state_folder = os.environ.get("LABKIT_TEST_SECURE")
    folder = Path(state_folder) if state_folder else new_state_dir()
    try:
        with running(folder, keep=bool(state_folder)) as secure:
            yield secure
    except StackError as error:
        missing("the stack behind TLS", error)
    finally:
        if not state_folder:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def registry_url(stack: State) -> str:
    """The real schema registry of the stack, started now."""
    try:
        return local.up(say=lambda text: None, with_registry=True).registry["url"]
    except StackError as error:
        missing("the schema registry", error)
        raise


@pytest.fixture(scope="session")
def registry_lab(registry_url: str) -> Lab:
    """The lab of an analyst whose profile has a schema registry."""
    lab = connect()
    assert lab.registry is not None
    return lab


@pytest.fixture
def make_topic(admin: Cluster, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Make topics named after the test; they are gone after it."""
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import NewTopic

    names: list[str] = []

    def make(partitions: int = 1, **config: str) -> str:
        label = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
        name = f"irc-test-{label}-{uuid.uuid4().hex[:8]}"
        # tests write records of long ago: without this the broker deletes them when it looks, every
        # five minutes
        settings = {"retention.ms": "-1"} | {
            key.replace("_", "."): value for key, value in config.items()
        }
        admin.ask(
            lambda client: client.create_topics([NewTopic(name, partitions, 1, config=settings)]),
            what="make it",
            done_already=KafkaError.TOPIC_ALREADY_EXISTS,
        )
        names.append(name)
        # create_topics answers a moment before others see it
        until(lambda: name in admin.topics(), "the topic")
        return name

    yield make
    if names:
        admin.ask(
            lambda client: client.delete_topics(names),
            what="delete it",
            done_already=KafkaError.UNKNOWN_TOPIC_OR_PART,
        )


@pytest.fixture
def produce(admin: Cluster) -> Callable[..., None]:
    """Write values to a topic.

    ``produce(topic, [b"…"], partition=0, timestamps=[…], keys=[…], headers=[…])``.
    """

    def write(
        topic: str,
        values: list[bytes | None],
        *,
        partition: int = 0,
        timestamps: list[int] | None = None,
        keys: list[bytes | None] | None = None,
        headers: list[Any] | None = None,
    ) -> None:
        producer = admin.producer(linger_ms=5)
        failed: list[Any] = []
        for row, value in enumerate(values):
            extra: dict[str, Any] = {}
            if timestamps:
                extra["timestamp"] = timestamps[row]
            if keys:
                extra["key"] = keys[row]
            if headers:
                extra["headers"] = headers[row]
            while True:
                try:
                    producer.produce(
                        topic,
                        value,
                        partition=partition,
                        on_delivery=lambda e, m: failed.append(e) if e else None,
                        **extra,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(30) == 0
        assert not failed, failed[0]

    return write


@pytest.fixture
def group(admin: Cluster) -> Iterator[str]:
    """The name of a foreign group; the group is gone after the test."""
    name = f"other.{uuid.uuid4().hex[:10]}"
    yield name
    admin.admin.delete_consumer_groups([name])[name].exception(15)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the windows that are kept, in a cache of the test's own."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    return tmp_path / "windows"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the ``labkit.toml`` that is used; it is not in the working folder."""

    def write(text: str) -> Path:
        path = tmp_path / "labkit.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("LABKIT_CONFIG", str(path))
        return path

    return write
