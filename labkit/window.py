"""The window a notebook holds: frozen offsets and what can be done with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.checks.habits import no_attribute, no_rows
from labkit.checks.validation import refuses
from labkit.discovery import WindowDiscovery
from labkit.engines import WindowEngines
from labkit.errors import UsageError
from labkit.export import WindowExport, check_used
from labkit.queries import WindowQueries
from labkit.replay import plan_view, read_log
from labkit.replay.freeze import warn_when_incomplete
from labkit.replay.plan import Plan, Range
from labkit.replay.reader import Isolation, OnExpired, Reading
from labkit.text import html
from labkit.waiting.interrupt import OnInterrupt, quiet_stop

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from distributed import Client

    from labkit.decode import Spec
    from labkit.enrich import Enricher
    from labkit.lab import Lab
    from labkit.replay.sample import Estimate
    from labkit.sinks.replay import Order, Replay
    from labkit.sinks.scratch import Load


@dataclass(frozen=True, repr=False)
class Window(WindowDiscovery, WindowEngines, WindowExport, WindowQueries):
    """A part of a topic, frozen as offsets [start, end) for each partition when it was made.

    Reading it twice gives the same records, as long as the topic keeps them. `Lab.window` makes one
    and reads nothing.
    """

    plan: Plan
    lab: Lab = field(compare=False)

    @property
    def topic(self) -> str:
        """The topic."""
        return self.plan.topic

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The frozen offsets, by partition."""
        return self.plan.ranges

    @property
    def offsets(self) -> dict[int, tuple[int, int]]:
        """The frozen offsets as ``lab.window(offsets=…)`` takes them."""
        return {span.partition: (span.start, span.end) for span in self.plan.ranges}

    def __len__(self) -> int:
        """How many offsets are planned: at most so many records."""
        return self.plan.size

    def to_json(self) -> str:
        """Return the window as text, such as for a papermill parameter. It holds no secret."""
        return self.plan.to_json()

    @classmethod
    def from_json(cls, text: str, lab: Lab | None = None) -> Window:
        """Return the window that `to_json` wrote; without `lab` the local stack is connected to."""
        from labkit.lab import connect

        plan, lab = Plan.from_json(text), lab or connect()
        warn_when_incomplete(lab.cluster, plan.topic)
        return cls(plan, lab)

    if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

        def __getattr__(self, name):
            """Point those who know pandas to what a read gives."""
            thing = "a Window has no .{name}, it holds offsets, not records"
            way = "w.read()" if name in ("head", "tail", "where") else "w.read().to_pandas()"
            raise no_attribute(self, name, thing, way)

        def __iter__(self):
            """Point those who make a frame of it to its own."""
            raise no_rows("a Window", "w.to_pandas()")

        def __getitem__(self, name):
            """Point those who know pandas to the records."""
            raise UsageError(
                f"a Window holds offsets, not records: it has no [{name!r}]",
                hint="w.read() returns the records; of those r['nick'] is a column",
            )

    # reading -----------------------------------------------------------------------------------------

    def reading(
        self,
        *,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        max_bytes: int | None = None,
        deadline: str | None = None,
        guard: bool = True,
    ) -> Reading:
        """Return one pass over the window, for those who want batches and receipt apart.

        The options are `read`'s.
        """
        spec = self._spec(
            isolation=isolation,
            on_expired=on_expired,
            max_bytes=max_bytes,
            deadline=deadline,
            guard=guard,
        )
        return spec.reading(self.lab.cluster, self.plan)

    @quiet_stop("stopped; nothing is kept: there is no estimate yet")
    def estimate(self) -> Estimate:
        """Judge by a sample how many records, bytes and seconds `read` will take."""
        from labkit.replay.sample import estimate

        return estimate(self.lab.cluster, self.plan)

    @refuses(
        limit="the window says how many: lab.window(topic, last=100)",
        columns='choose from what was read: r[["nick", "message"]]; or w.sql("select nick from replay")',
    )
    def read(
        self,
        *,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        max_bytes: int | None = None,
        deadline: str | None = None,
        order: Order = "partition",
        cache: bool = True,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Replay:
        """Read the window into one table.

        Parameters
        ----------
        decode : {"json", "text", "raw", "avro", "protobuf", "jsonschema", "auto"} or callable
            How values become columns; by default as ``labkit.toml`` says of the topic, else "json".
            Formats behind a schema's id need the profile's registry; "auto" chooses by a sample.
            `labkit.decode.avro` and ``protobuf`` take a schema from a file, also as
            ``"avro:FILE.avsc"``. A function takes a value's bytes and returns anything JSON-like;
            what it raises is ``_error``.
        key_decode : as `decode`
            The same for keys: columns ``_key_<field>``. "raw", the default, adds none; ``_key``
            always holds the bytes.
        types : dict, optional
            Fields' types, ``{"total": "float"}`` (int, bool, text, time): other values are null,
            with ``_error``.
        where : str, optional
            A condition in DuckDB's SQL, such as ``"channel = '#kafka'"``, asked of each record by
            the types of its own values; records left out count as filtered. The columns, and their
            types, are those of all records.
        enrich : enrichers, optional
            Add columns: ``[labkit.enrich.geoip("ip")]``; see `labkit.enrich`.
        isolation : {"read_committed", "read_uncommitted"}
            Whether records of open and aborted transactions are hidden.
        on_expired : {"error", "clamp"}
            When the window's first records are gone: refuse, or read what is left and say so in the
            receipt.
        max_bytes : int, optional
            End early, and say so, once this many bytes were read. A window in the cache that has
            more is read from the topic.
        deadline : str, optional
            End early, and say so, after this long: ``"30s"``, ``"5m"``. The cache needs no
            waiting for.
        order : {"partition", "time"}
            By partition, then offset; or by time, so that a frame's ``.tail()`` is the newest.
        cache : bool
            Take the window from this machine's cache when it was read before, and keep it there
            when it is read now.
        guard : bool
            Look at the groups that are not the lab's before and after, and say in the receipt what
            became of them.
        progress : bool, optional
            Show a bar; by default in a notebook or a terminal only.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, which ends the queued cells too and has the
            part, as its ``.replay`` and in ``labkit.stopped()``; or return the part.

        Returns
        -------
        Replay

        Raises
        ------
        WindowExpiredError
            When records are gone and `on_expired` is "error".
        """
        from labkit.sinks import replay

        replay.check_order(order)
        spec = self._spec(
            decode=decode, key_decode=key_decode, types=types, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, max_bytes=max_bytes, deadline=deadline, guard=guard, progress=progress,
            on_interrupt=on_interrupt,
        )  # fmt: skip
        with self._open(spec) as source:
            result = replay.read(source, cached=cache).in_zone(self.lab.timezone)
            if order == "time":  # by partition it is already
                result = result.ordered(order)
        self._conclude(
            "read",
            result.receipt,
            spec,
            cancelled=source.reading.was_cancelled,
            part={"replay": result},
        )
        return result

    @refuses(
        types="the batches are raw: read() gives fields types",
        enrich="the batches are raw: read() adds columns",
        max_bytes="stop the loop when there is enough",
        progress="the loop that takes the batches can show its own",
        on_interrupt="Stop ends the loop where it stands; what was yielded is there",
    )
    def batches(
        self,
        *,
        where: str | None = None,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the records as raw Arrow record batches, in constant memory.

        Parameters
        ----------
        where : str, optional
            A condition, as in `read`.
        decode, key_decode : str, callable or Decoder
            How the condition sees values and keys, as in `read`; the batches stay raw.
        isolation, on_expired, deadline, guard
            As in `read`.

        Raises
        ------
        IncompleteError
            At the end, when the window was not read to its frozen end.
        """
        from labkit.errors import IncompleteError
        from labkit.read_spec import ReadSource

        check_used(where, decode, key_decode)
        records = ReadSource.of(
            self, decode=decode, key_decode=key_decode, where=where, isolation=isolation, on_expired=on_expired,
            deadline=deadline, guard=guard,
        ).without_decoding()  # fmt: skip
        try:
            yield from records.raw()
        finally:
            receipt = records.receipt()
            if receipt.partitions:  # it began
                read_log.record(self.plan, receipt, "batches")
        records.check(receipt)
        if not receipt.complete:
            raise IncompleteError(
                f"the window was not read to its end: {', '.join(receipt.reasons)}",
                hint="the batches so far are right; .receipt of this error says how far it got",
                receipt=receipt,
            )

    def to_pandas(self, *, text_keys: bool = True, **options: Any) -> pd.DataFrame:
        """Read the window into a DataFrame, see `Replay.to_pandas`.

        `options` are those of `read`.
        """
        return self.read(**options).to_pandas(text_keys=text_keys)

    def to_polars(self, **options: Any) -> pl.DataFrame:
        """Read the window into a polars DataFrame; `options` are those of `read`."""
        return self.read(**options).to_polars()

    @refuses(
        types="mapping= gives fields their types in an index",
        max_bytes="make a smaller window, such as lab.window(topic, last=10_000)",
    )
    def to_scratch(
        self,
        name: str,
        *,
        ttl: str = "2d",
        target: str = "default",
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        metadata: bool = False,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        mapping: Mapping[str, Any] | None = None,
        template: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        patience: str = "2m",
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        client: Client | None = None,
        slice_records: int | None = None,
        send_profile: bool = False,
        on_interrupt: OnInterrupt = "raise",
    ) -> Load:
        """Load the window into the scratch index ``scratch-<user>-<name>``.

        Parameters
        ----------
        name : str
        ttl : str
            After this long `Lab.gc` removes it.
        target : str
            The Elasticsearch cluster, as the profile names it.
        decode, key_decode : str, callable or Decoder
            As in `read`. Values of JSON become documents as they are; of other formats each
            record's decoded fields do, mapped by the columns' types. A record that cannot be
            decoded is among the rejects, with the reason.
        metadata : bool
            Whether each document gets ``_kafka``: topic, partition, offset, timestamp,
            timestamp_type, key, headers.
        where : str, optional
            Load only the records that fulfil this condition, as in `read`; the others count as
            filtered.
        enrich : enrichers, optional
            Add fields to the documents: ``[labkit.enrich.geoip("ip")]``; see `labkit.enrich`. A
            document that is there already stays as it is: enrich into a new index.
        mapping : dict, optional
            Fields' types, ``{"price": {"type": "double"}}``, or a whole Elasticsearch mapping; it
            is put on top of labkit's.
        template : dict, optional
            An Elasticsearch index template's ``{"mappings": …, "settings": …}``, such as
            production's; `mapping` and `settings` win.
        settings : dict, optional
            Index settings, ``{"number_of_shards": 2}``; only for an index that is new.
        patience : str
            How long to go on when Elasticsearch is away, busy or read-only; then what is left
            counts as unsent.
        client : distributed.Client, optional
            Have the workers of this Dask cluster load it, slice by slice. A slice whose worker is
            lost is loaded again and doubles nothing: what was there already counts as existing.
        slice_records, send_profile : optional
            With `client`, as in `to_dask`.
        on_interrupt : {"raise", "keep"}
            As in `read`: `Stopped` has the Load of the part as its ``.load``, and loading again
            goes on.

        Returns
        -------
        Load
            With counts that add up, the refused records and the receipt. Loading again adds nothing
            twice.
        """
        from labkit.es.form import Form
        from labkit.sinks import scratch

        spec = self._spec(
            decode=decode, key_decode=key_decode, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        request = scratch.Request(
            name, target, Form(spec.decode, spec.key_decode, metadata).check(),
            scratch.Shape.of(template, mapping, settings), ttl=ttl, patience=patience,
        )  # fmt: skip
        if client is not None:
            load = self._load_by_workers(
                client, spec, request, slice_records, send_profile=send_profile
            )
        else:
            with self._open(spec) as source:
                load = scratch.load(source, self.lab.target(target), request)
        load = replace(load, index=replace(load.index, timezone=self.lab.timezone))
        self._conclude(
            "to_scratch", load.receipt, spec, cancelled=load.interrupted, part={"load": load},
            outcome=f"; {load.index.name} has what was loaded",
        )  # fmt: skip
        return load

    def __repr__(self) -> str:
        return plan_view.text(self.plan, self.lab.timezone)

    @html.view
    def _repr_html_(self) -> str:
        return plan_view.html(self.plan, self.lab.timezone)
