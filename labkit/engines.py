"""A window on a cluster: the part of `Window` that hands its slices to Dask and Spark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.checks.validation import part_of, refuses
from labkit.reads import WindowReads
from labkit.replay.reader import Isolation, OnExpired

if TYPE_CHECKING:
    from distributed import Client
    from pyspark.sql import DataFrame, SparkSession

    from labkit.decode import Spec
    from labkit.enrich import Enricher
    from labkit.read_spec import ReadSpec
    from labkit.sinks.dask.access import Access
    from labkit.sinks.dask.frame import Frame, Schema
    from labkit.sinks.scratch import Load, Request

_LAZY = "a slice is read to its end when it is computed: make a smaller window, such as lab.window(topic, last=10_000)"
_SPARKS = "Spark gets raw records and has its own way: from_json(), filter(), withColumn()"
_READS_ITSELF = "Spark reads the offsets itself, when it computes the frame"


@part_of("Window")
class WindowEngines(WindowReads):
    """The part of `Window` for other engines: a cluster's workers read the same frozen offsets."""

    @refuses(
        types="schema='all' finds the types, and the frame's astype() gives others",
        where="choose rows of the frame, which are those of to_pandas()",
        max_bytes=_LAZY,
        deadline=_LAZY,
        guard="lab.guard() around the computation looks at the groups",
        progress="Dask shows its own: its dashboard, or dask.diagnostics.ProgressBar",
        on_interrupt="Dask ends a computation in its own way",
    )
    def to_dask(
        self,
        client: Client | None = None,
        *,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        schema: Schema = "sample",
        slice_records: int | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        send_profile: bool = False,
    ) -> Frame:
        """Return the window as a lazy ``dask.dataframe``.

        It has one task for each slice of the frozen offsets.

        Parameters
        ----------
        client : distributed.Client, optional
            Of the cluster that computes it; left out: the client in force, else the threads of this
            process.
        decode, key_decode : str, callable or Decoder
            As in `read`. A function travels to the workers; what it uses must be there.
        enrich : enrichers, optional
            Add columns, as in `read`, slice by slice; their types are those that the sample's
            records get.
        schema : {"sample", "all"}
            Columns and types must be known before anything is computed. "sample" takes those of a
            few records of each of the largest partitions: a value of another type is null then and
            its record has ``_error``, a field the sample lacks is no column and the receipt names
            it, and ``_value`` has every record's bytes (`labkit.decode.fixed_schema` has the whole
            rule). "all" has the workers read the window once for its schema: the frame then equals
            `read()`.
        slice_records : int, optional
            Offsets in a slice, at most; by default about 64 MB of keys and values, judged by a
            sample. Partitions with more are cut, small ones share a slice.
        isolation, on_expired : str
            As in `read`.
        send_profile : bool
            Send this profile's settings, passwords too, with the tasks. By default only its name
            travels, and each worker looks it up, in its own ``labkit.toml`` and environment.

        Returns
        -------
        dask.dataframe.DataFrame
            Columns and order are those of `Replay.to_pandas`, but keys are bytes. Its
            ``.receipt()`` adds up what the workers reported of the slices computed so far. Each
            computation reads Kafka again; ``.persist()`` keeps the records in the cluster.

        Raises
        ------
        IncompleteError
            When it is computed and a slice cannot be read to its end.
        WindowExpiredError, ConfigError, UsageError
        """
        from labkit.sinks.dask.access import engine

        client = engine(client)  # says so when Dask is not installed
        from labkit.sinks.dask.frame import to_dask

        spec = self._spec(
            decode,
            key_decode,
            enrich=enrich,
            isolation=isolation,
            on_expired=on_expired,
            guard=False,
        )
        access = self._access(send_profile)
        return to_dask(access, self.plan, client, spec, schema=schema, slice_records=slice_records)

    @refuses(
        **dict.fromkeys(("decode", "key_decode", "types", "where", "enrich"), _SPARKS),
        **dict.fromkeys(
            ("on_expired", "max_bytes", "deadline", "guard", "progress", "on_interrupt"),
            _READS_ITSELF,
        ),
    )
    def to_spark(
        self,
        spark: SparkSession,
        *,
        isolation: Isolation = "read_committed",
        slice_records: int | None = None,
    ) -> DataFrame:
        """Return the window as a lazy Spark DataFrame, read by Spark's own Kafka source.

        Parameters
        ----------
        spark : pyspark.sql.SparkSession
            With the package ``org.apache.spark:spark-sql-kafka-0-10_2.13`` of its version in
            ``spark.jars.packages``.
        isolation : {"read_committed", "read_uncommitted"}
            As in `read`.
        slice_records : int, optional
            Offsets in a Spark partition, at most; by default one for each Kafka partition.

        Returns
        -------
        pyspark.sql.DataFrame
            Columns as `batches` has them; the same records. There is no receipt: Spark fails by
            itself (``failOnDataLoss``) when records are gone. What travels to the executors, and
            what is hidden of it, stands in `labkit.sinks.spark`.

        Raises
        ------
        ConfigError
            When Spark lacks that package, or a setting of the profile has no counterpart in Kafka's
            Java client.
        IncompleteError
            When an open transaction hides a part of the window.
        WindowExpiredError
        """
        from labkit.sinks.spark import to_spark

        return to_spark(
            self.lab.cluster, self.plan, spark, self._spec(isolation=isolation), slice_records
        )

    def _load_by_workers(
        self,
        client: Client,
        spec: ReadSpec,
        request: Request,
        slice_records: int | None,
        *,
        send_profile: bool,
    ) -> Load:
        """Load the window into a scratch index by the workers of a Dask cluster.

        See `Window.to_scratch`.
        """
        from labkit.groups.guard import watch_groups
        from labkit.sinks.dask.access import engine
        from labkit.waiting.progress import bar

        engine(client)  # says so when Dask is not installed
        from labkit.sinks.dask import scratch

        access = self._access(send_profile)
        with (
            bar(self.plan.topic, self.plan.size, spec.progress) as advance,
            watch_groups(self.lab.cluster, spec.guard) as seen,
        ):
            load = scratch.load(
                access,
                self.plan,
                client,
                spec,
                request,
                slice_records=slice_records,
                advance=advance,
            )
        return replace(load, receipt=replace(load.receipt, guard=seen()))

    def _access(self, send_profile: bool) -> Access:
        """Return how workers come to this lab's servers."""
        from labkit.sinks.dask.access import Access, Connection

        profile = self.lab.connection
        connection = Connection(self.lab.cluster, self.lab.registry, profile.elasticsearch)
        return Access(
            profile.name, profile.role, sent=profile if send_profile else None, here=connection
        )
