"""A window on a Dask cluster: how its workers reach the servers, and how their receipts come back.

What travels in a task is the profile's name, never its secrets: each worker looks the profile up as
`connect` does, in its own ``labkit.toml`` and environment (``LABKIT_STATE`` for the local stack).
Only with ``send_profile=True`` the settings travel with the tasks, passwords too: in an object that
shows none, but as plain bytes on Dask's wire and disks, so give that cluster TLS. A worker that
looks at another cluster than the window's refuses.

Receipts come back as events of Dask's scheduler, each before its slice is known to be done; a slice
computed again replaces its receipt. Without a client the slices are read in this process's threads,
and the receipts stay here.
"""

from __future__ import annotations

import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.checks.extras import needs_extra
from labkit.checks.validation import whole_number
from labkit.config.profiles import LOCAL, Profile, load_profile
from labkit.elastic import Target
from labkit.errors import ConfigError, DeadlineError, LabkitError, UnavailableError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.registry import Registry
from labkit.replay.plan import Plan
from labkit.replay.receipt import Receipt
from labkit.replay.sample import sample
from labkit.replay.slices import merge_receipts
from labkit.text.counts import number_of

if TYPE_CHECKING:
    import pyarrow as pa
    from distributed import Client

SLICE_BYTES = 64_000_000  # of keys and values; a frame of them takes three to four times as much
MOST_RECORDS = 1_000_000
PATIENCE_S = 60.0  # how long a slice waits for a broker before it fails
Result = TypeVar("Result")
UNKNOWN_RECORDS = 100_000  # in a slice, where there is no record to judge by
_HINT = (
    "workers look the profile up as labkit.connect() does: give them its labkit.toml and variables, or "
    "send_profile=True, which sends them the settings, passwords too"
)


@dataclass(frozen=True, eq=False)
class Connection:
    """The servers of one profile."""

    cluster: Cluster
    registry: Registry | None
    targets: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def target(self, name: str) -> Target:
        """Return one Elasticsearch cluster."""
        if name not in self.targets:
            raise ConfigError(
                f"a worker's profile has no Elasticsearch target {name!r}", hint=_HINT
            )
        return Target(name, self.targets[name])


@dataclass(frozen=True)
class Access:
    """How a worker comes to a connection. It travels in the tasks, and shows no secret.

    Attributes
    ----------
    profile, role : str
        What the worker looks up.
    token : str
        Names this use of the cluster: its tasks, its receipts.
    sent : Profile, optional
        The settings themselves, when they are to travel.
    here : Connection, optional
        The connection of the process that made it; it stays there.
    """

    profile: str
    role: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    sent: Profile | None = field(default=None, repr=False, compare=False)
    here: Connection | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "here": None}

    def connection(self) -> Connection:
        """Return the connection, one for the life of this process."""
        return self.here or _connection(self)


@lru_cache(maxsize=8)
def _connection(access: Access) -> Connection:
    profile = access.sent or _look_up(access)
    registry = Registry(profile.registry) if profile.registry else None
    return Connection(Cluster(profile.kafka), registry, profile.elasticsearch)


def _look_up(access: Access) -> Profile:
    try:
        if access.profile != LOCAL:
            return load_profile(access.profile)
        from labkit.stack.state import local_profile

        return local_profile(access.role)
    except LabkitError as error:
        raise ConfigError(f"on a worker: {error.message}", hint=_HINT) from error


def wait_for_brokers(read: Callable[[], Result]) -> Result:
    """Return what `read` returns, tried again for `PATIENCE_S` while no broker answers.

    A slice begins anew where another one waits in the middle of its reading: a broker that is away
    for some seconds must not fail a computation of an hour. What cannot be had for other reasons is
    raised at once.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return read()
        except (UnavailableError, DeadlineError):
            if time.monotonic() > until:
                raise
            time.sleep(1)


# slices and receipts -------------------------------------------------------------------------------------


@dataclass
class Slices:
    """A plan's slices and what the workers tell of them."""

    plan: Plan
    parts: Sequence[Plan]
    isolation: str
    said: tuple[str, ...] = ()
    begun: Counter[int] = field(default_factory=Counter)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    unknown: dict[int, dict[str, int]] = field(default_factory=dict)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take what a worker tells: that a slice was begun, or its receipt."""
        number = message["slice"]
        if "receipt" not in message:
            self.begun[number] += 1
            return
        self.receipts[number] = Receipt.from_dict(message["receipt"])
        self.unknown[number] = message["unknown"]

    def receipt(self, elapsed_s: float | None = None) -> Receipt:
        """Return the receipt of the whole plan, as far as it was computed.

        The seconds are the slices' unless given.
        """
        receipt = merge_receipts(
            self.plan, self.parts, dict(self.receipts), isolation=self.isolation
        )
        progress = f"{len(self.receipts):,} of {len(self.parts):,} slices"
        if elapsed_s is None:
            elapsed_s = receipt.elapsed_s
            progress = f"{progress}; the seconds are those of all together"
        notes = (*self.said, *receipt.notes, progress, *self._notes())
        return replace(receipt, elapsed_s=round(elapsed_s, 3), notes=notes)

    def _notes(self) -> list[str]:
        notes = []
        again = sum(count > 1 for count in self.begun.values())
        if again:
            notes.append(
                f"{again:,} slices were computed more than once; each counts once, as of the last time"
            )
        fields: Counter[str] = Counter()
        for counts in list(self.unknown.values()):
            fields.update(counts)
        if fields:
            listed = ", ".join(
                f"{name} ({number_of(count, 'record')})"
                for name, count in sorted(fields.items())[:20]
            )
            notes.append(
                f'fields the sample has not, in _value only (schema="all" makes columns of them): {listed}'
            )
        return notes


_here: weakref.WeakValueDictionary[str, Slices] = weakref.WeakValueDictionary()


def listen(client: Client | None, token: str, slices: Slices) -> None:
    """Receive the events of `token`, from the client's workers and from this process."""
    _here[token] = slices
    if client is not None:
        client.subscribe_topic(_topic(token), lambda event: slices.hear(event[1]))


def tell(
    token: str,
    number: int,
    receipt: Receipt | None = None,
    unknown: Mapping[str, int] | None = None,
) -> None:
    """Tell of a slice, on the worker that computes it."""
    message: dict[str, Any] = {"slice": number}
    if receipt is not None:
        message |= {"receipt": receipt.to_dict(), "unknown": dict(unknown or {})}
    from distributed import get_worker

    try:
        get_worker().log_event(_topic(token), message)
    except ValueError:  # no worker: a thread of this process
        if token in _here:
            _here[token].hear(message)


def _topic(token: str) -> str:
    return f"labkit-{token}"


# the client ----------------------------------------------------------------------------------------------


def engine(client: Client | None) -> Client | None:
    """Return the client to work with: the one given, else the one in force, else None for threads.

    Raises
    ------
    ConfigError
        When Dask is not installed.
    UsageError
        When it is no client that can be waited for.
    """
    with needs_extra("dask", "Dask"):
        import distributed
    if client is None:
        try:
            client = distributed.default_client()
        except ValueError:
            return None
    if not isinstance(client, distributed.Client) or client.asynchronous:
        raise UsageError(
            f"client must be a distributed.Client that is not asynchronous, not {client!r}",
            hint="such as distributed.Client(address), or leave it out for the one in force",
        )
    return client


def movable(**parts: Any) -> None:
    """Raise when something of the user's cannot travel to a worker."""
    import cloudpickle

    for name, part in parts.items():
        try:
            cloudpickle.dumps(part)
        except Exception as error:  # pickle passes on whatever an object raises
            raise UsageError(
                f"{name}={part!r} cannot travel to a worker: {type(error).__name__}: {error}",
                hint="connections, locks and open files do not travel: open them inside of the function",
            ) from error


def slice_size(
    records: int | None, cluster: Cluster, plan: Plan, seen: list[pa.RecordBatch] | None = None
) -> int:
    """Return how many offsets a slice has.

    It is as asked, else so that a slice holds about `SLICE_BYTES` by the sample.
    """
    if records is not None:
        return whole_number(records, "slice_records", "how many records? 1 or more", low=1)
    batches = sample(cluster, plan) if seen is None else seen
    count = sum(batch.num_rows for batch in batches)
    if not count:
        return UNKNOWN_RECORDS
    size = sum(batch.select(["key", "value", "headers"]).nbytes for batch in batches)
    return max(1, min(MOST_RECORDS, int(SLICE_BYTES * count / max(1, size))))
