"""The object a notebook holds.

It joins the rooms below, imported when they are used, and does no work of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta, tzinfo
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from labkit import times
from labkit.checks import names
from labkit.checks.habits import no_attribute
from labkit.checks.suggest import did_you_mean
from labkit.checks.user_line import warn
from labkit.checks.validation import refuses, renamed
from labkit.config.profiles import (
    LOCAL,
    Profile,
    default_profile,
    how_to_add_elasticsearch,
    load_profile,
    local_topics,
)
from labkit.consumers import LabConsumers
from labkit.discovery import LabDiscovery
from labkit.elastic import Target
from labkit.errors import ConfigError, LabkitError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.queries import LabQueries
from labkit.replay.freeze import freeze
from labkit.text import html
from labkit.times import iso, to_ms
from labkit.topics import topics_frame
from labkit.waiting.interrupt import OnInterrupt
from labkit.waiting.progress import in_notebook
from labkit.window import Window

if TYPE_CHECKING:
    import pandas as pd

    from labkit.compare import Comparison
    from labkit.decode import Spec
    from labkit.doctor import Diagnosis
    from labkit.es.index import Index
    from labkit.groups.adhoc import AdHocGroup
    from labkit.registry import Registry
    from labkit.sinks.scratch_index import ScratchIndex


def connect(
    profile: str | None = None, *, role: str = "lab", timezone: str | tzinfo | None = None
) -> Lab:
    """Return a Lab on the local stack, or on the cluster `profile` of ``labkit.toml`` names.

    Parameters
    ----------
    profile : str, optional
        ``local`` or a profile's name; left out: what ``LABKIT_PROFILE`` names, else ``local``.
    role : {"lab", "indexer", "extractor", "admin"}
        Whose credentials to use on the local stack; ``lab`` may do what a lab needs and no more.

    timezone : str or tzinfo, optional
        Where days are, and what a time without a zone means: a name of the IANA database, such as
        ``"Europe/Vienna"``. Windows, records, DataFrames, lists, charts and the widgets show their
        times in it, and name it. UTC by default; what is stored and receipts are in UTC, and so are
        times, hours and days in SQL and ``where``: ``_timestamp at time zone 'Europe/Vienna'``.

    Raises
    ------
    ConfigError
        When there is no such profile or role.
    UsageError
        When there is no such time zone.
    StackError
        When there is no local stack yet.
    """
    zone = times.find_zone(timezone)
    settings = find_profile(profile, role=role)
    for warning in settings.warnings:
        warn(str(warning))
    return Lab(settings, timezone=zone)


def find_profile(name: str | None = None, *, role: str = "lab") -> Profile:
    """Return the profile `name`."""
    name = default_profile() if name is None else name
    if name != LOCAL:
        return load_profile(name)
    from labkit.stack.state import local_profile

    topics = local_topics()
    return replace(local_profile(role), topics=topics)


class Lab(LabConsumers, LabDiscovery, LabQueries):
    """A connection to one Kafka cluster and its Elasticsearch targets.

    Nothing is asked of a server until a method needs it. `role` is which of labkit's roles it works
    as, by default the profile's: an error about a missing right names it.
    """

    def __init__(
        self, profile: Profile, *, timezone: tzinfo = UTC, role: str | None = None
    ) -> None:
        self.timezone = timezone
        self.role = role or profile.granted_role
        self.connection = profile
        self.cluster = Cluster(profile.kafka, role=self.role)
        if in_notebook():
            html.frames_as_they_are()

    def __repr__(self) -> str:
        targets = ", ".join(self.connection.elasticsearch) or "none"
        return (
            f"Lab on {self.cluster.address} as {self.cluster.principal}; Elasticsearch: {targets}"
        )

    @html.view
    def _repr_html_(self) -> str:
        from html import escape

        return (
            f"<b>Lab</b> on <code>{escape(self.cluster.address)}</code> as {escape(self.cluster.principal)}; "
            f"Elasticsearch: {escape(', '.join(self.connection.elasticsearch) or 'none')}<br>"
            "next: <code>lab.topics()</code> <code>lab.groups()</code> <code>lab.window(topic, last='6h')</code>"
        )

    @cached_property
    def registry(self) -> Registry | None:
        """The schema registry, or None when the profile has none."""
        from labkit.registry import Registry

        return Registry(self.connection.registry) if self.connection.registry else None

    def target(self, name: str = "default") -> Target:
        """Return one Elasticsearch cluster."""
        if name not in self.targets:
            near, names_there = did_you_mean(name, self.targets), ", ".join(self.targets)
            raise ConfigError(
                f"there is no Elasticsearch target {name!r}",
                hint=f"{near}this profile has: {names_there}"
                if names_there
                else how_to_add_elasticsearch(self.connection.name),
            )
        return self.targets[name]

    if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

        def __getattr__(self, name):
            """Point to what a window has."""
            if not name.startswith("_") and hasattr(Window, name):
                raise AttributeError(
                    f"a Lab has no .{name}, a window has: lab.window(topic).{name}"
                )
            thing = "a Lab has no .{name}, the frame of a window has"
            raise no_attribute(self, name, thing, "lab.window(topic).to_pandas()")

        def __getitem__(self, topic):
            """Say how a topic's records are read."""
            raise UsageError(
                f"a Lab has no [{topic!r}]",
                hint=f"lab.window({topic!r}).read() reads a topic, lab.profile({topic!r}) shows what is in it",
            )

    # windows -----------------------------------------------------------------------------------------

    @refuses(
        limit="last=100 is the newest 100 records",
        n="last=100 is the newest 100 records",
        hours='last="2h" is the last two hours',
        days='last="2d" is the last two days',
        since='start="yesterday" is from then on',
        until='end="today" is until then',
    )
    def window(
        self,
        topic: str,
        *,
        start: Any = None,
        end: Any = None,
        last: str | timedelta | int | None = None,
        on: str | date | None = None,
        offsets: Mapping[int, tuple[int, int]] | None = None,
        partitions: Iterable[int] | int | None = None,
        slack: str = "1m",
    ) -> Window:
        """Freeze a part of `topic` as offsets; costs a few requests and reads no record.

        Parameters
        ----------
        topic : str
        start, end : str, datetime or "earliest" / "latest", optional
            Half-open [start, end), in the lab's time zone (UTC by default) when they have none.
            Left out: the log's start, the log's end now.
        last : str, timedelta or int, optional
            ``"6h"``: the last six hours; ``10_000``: the newest 10,000 records.
        on : str or date, optional
            A day, week or month in the lab's time zone: ``"yesterday"``, ``"monday"``,
            ``"2016-03-01"``, ``"2016-W09"``, ``"2016-03"``.
        offsets : dict, optional
            ``{partition: (start, end)}``, half-open.
        partitions : iterable of int, or int, optional
            Only these, with bounds of the other kinds.
        slack : str
            Producers set a record's CreateTime, so records may lie out of time order: the offsets
            are widened by this on both sides and each record's time is checked when it is read.
            Topics with LogAppendTime need none.

        Raises
        ------
        NotFoundError
            When there is no such topic.
        WindowError, UsageError
            When the bounds cannot be.
        """
        plan = freeze(
            self.cluster, topic, start=start, end=end, last=last, on=on, offsets=offsets, partitions=partitions,
            slack=slack, zone=self.timezone,
        )  # fmt: skip
        return Window(plan, self)

    def decoders(
        self, topic: str, decode: Spec | None = None, key_decode: Spec | None = None
    ) -> tuple[Spec, Spec]:
        """Return how a topic's values and keys are decoded.

        It is as given, else as ``labkit.toml`` says, else JSON for values and raw for keys.
        """
        from labkit.decode.topics import topic_decoders

        return topic_decoders(self.connection.topics, topic, decode, key_decode)

    # lists -------------------------------------------------------------------------------------------

    def topics(self, *patterns: str) -> pd.DataFrame:
        """Return one row per topic, with what it holds and keeps.

        Its columns are partitions, records (by offsets), what is kept, and the time of the newest
        record.

        Parameters
        ----------
        *patterns : str
            Only topics that one of these matches: ``"irc*"``, ``"orders.?"``; without any, all. One
            that matches none is a warning, with the name that may have been meant.

        Notes
        -----
        ``records`` counts offsets; compaction and transactions leave fewer records. ``earliest``
        and ``latest`` are the sums over the partitions of the log's first offset and its end.
        ``newest`` is the latest time of a record, in the lab's time zone, as the brokers (3.0 and
        newer) keep it. What a topic does not tell is missing: where a partition has no leader,
        where the right DescribeConfigs is, or where the topic was deleted meanwhile.
        """
        return topics_frame(self.cluster, patterns, self.timezone)

    def retention(self, topic: str, keep: str | None = None) -> float:
        """Return for how many days `topic` keeps records; -1.0 for ever.

        With `keep`, set it first, where allowed.

        Parameters
        ----------
        keep : str, optional
            Such as ``"90d"``.
        """
        self.cluster.partitions(topic)
        if keep is not None:
            self.cluster.alter_topic(topic, {"retention.ms": str(times.length_ms(keep))})
        ms = int(self.cluster.topic_settings([topic])[topic]["retention.ms"])
        return -1.0 if ms < 0 else ms / 86_400_000

    def attach(self, topic: str, *, name: str, start: Any = None) -> AdHocGroup:
        """Join the ad hoc consumer group ``labkit.<user>.<name>``; see `AdHocGroup`.

        Parameters
        ----------
        topic, name : str
        start : "earliest", "latest" or a point in time, optional
            Where to begin; left out: at the group's commits, else at the log's start.
        """
        from labkit.groups.adhoc import AdHocGroup

        return AdHocGroup(
            self.cluster, topic, name, start, self.registry, self.decoders(topic), self.timezone
        )

    def doctor(self, *, topic: str | None = None, indices: str = "irc*") -> Diagnosis:
        """Try each thing a lab needs, from the servers' names to the last ACL.

        Each is one line, with the fix. It takes 13 seconds at most, changes nothing and touches
        nothing of others.

        Parameters
        ----------
        topic : str, optional
            The topic to try reading; left out: the first that has records and may be read.
        indices : str
            The Elasticsearch indices the lab reads.
        """
        from labkit.doctor import examine

        return examine(self.connection, topic=topic, indices=indices)

    # downstreams -------------------------------------------------------------------------------------

    def index(self, name: str, *, target: str = "default") -> Index:
        """Return a handle that reads the index `name`, such as a production one; it cannot write.

        Parameters
        ----------
        name : str
            An index, an alias, or a pattern such as ``"irc-*"``.
        target : str
            The Elasticsearch cluster, as the profile names it.
        """
        from labkit.es.index import Index

        return Index(names.index_pattern(name), self.target(target), timezone=self.timezone)

    @renamed(time="time_field")
    def compare(
        self,
        a: Any,
        b: Any,
        *,
        key: str | Sequence[str] | None = None,
        ignore: Sequence[str] = (),
        only: Sequence[str] = (),
        tolerance: Any = None,
        target: str = "default",
        time_field: str = "@timestamp",
        within: Window | None = None,
        keep: int = 10_000,
        latency: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Comparison:
        """Compare two downstreams of the same records, in bounded memory; neither is written to.

        Parameters
        ----------
        a, b : Replay, Window, Load, ScratchIndex, Index, str, DataFrame or Arrow table
            A text names an index on `target`; ``"irc@es-9.5.3"`` one on another. A frame's columns
            are the fields; ``_id``, or ``_topic _partition _offset``, name the records.
        key : str or sequence of str, optional
            Fields that pair documents, such as ``"msgid"``; left out: their origin, which is their
            ``_id``.
        ignore, only : sequence of str
            Leave these fields out, or compare only these; with all below them, and ``*`` for any
            characters.
        tolerance : float, str or dict, optional
            ``0.01``: numbers may differ by so much; ``"1%"``: by a part of the larger one;
            ``"5s"``: texts that are times may, however they are written. ``{"lat": 0.001,
            "@timestamp": "0s"}``: by field.
        target : str
            The Elasticsearch cluster of names without one.
        time_field : str
            The field that says when, for the chart.
        within : Window, optional
            Only documents whose origin is among its frozen offsets: an index that has more than the
            window, such as production's, is then compared for the window alone.
        keep : int
            How many documents `changed`, `only_left` and `only_right` hold at most; counts are
            exact all the same.
        latency : bool
            Where both are indices, also measure how long each takes to answer a handful of queries.
        progress : bool, optional
            Show a bar; by default in a notebook or a terminal only.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, which has the part as its ``.comparison``;
            or return it.

        Returns
        -------
        Comparison
        """
        from labkit.compare import compare

        return compare(
            a, b, targets=self.target, key=key, ignore=ignore, only=only, tolerance=tolerance, target=target,
            time_field=time_field, within=within, keep=keep, latency=latency, progress=progress,
            on_interrupt=on_interrupt, timezone=self.timezone,
        )  # fmt: skip

    # what the lab made -------------------------------------------------------------------------------

    def scratch(self) -> pd.DataFrame:
        """Return this user's scratch indices and topics.

        Columns: kind, index, target, documents, bytes, topic, expires (in the lab's time zone, with its distance from
        UTC), expired, shortfall (why an index or topic has not all of a window that was written into it; empty when it
        has). ``topic`` is where an index's records came from, or, of kind "topic", the scratch topic; its ``documents``
        are its records by offsets.
        A target or a Kafka that is away is a warning.
        """
        from labkit.sinks.scratch_index import scratch_frame

        frame = scratch_frame(self.targets.values(), self.cluster)
        if self.timezone is UTC:
            return frame
        return frame.assign(
            expires=frame["expires"].map(lambda text: text and iso(to_ms(text), self.timezone))
        )

    def scratch_index(self, name: str, *, target: str = "default") -> ScratchIndex:
        """Return the handle of a scratch index that is there."""
        from labkit.sinks.scratch_index import ScratchIndex

        return ScratchIndex(names.scratch_name(name), self.target(target), timezone=self.timezone)

    def delete_scratch(self, name: str, *, target: str | None = None) -> str:
        """Delete one of your scratch indices or topics now; return its whole name.

        Parameters
        ----------
        name : str
            As `scratch` lists it, or without ``scratch-<user>-`` or ``labkit.<user>.``.
        target : str, optional
            The Elasticsearch cluster, where several have an index of that name.

        Raises
        ------
        NotFoundError
            When it is none of yours: nothing else is deleted.
        UsageError
            When several have the name.
        """
        from labkit.sinks.scratch_index import delete

        return delete(self.targets, self.cluster, name, target)

    def gc(self) -> list[str]:
        """Delete what this user no longer needs, and return the names.

        That is expired scratch indices and topics, and ad hoc groups without members. A server that
        is away keeps the others from nothing: its error comes at the end, and ``.deleted`` has the
        names.
        """
        from labkit.groups.own import collect_groups
        from labkit.sinks import topic
        from labkit.sinks.scratch_index import collect

        gone: list[str] = []
        errors: list[LabkitError] = []
        for work in (
            *(partial(collect, target) for target in self.targets.values()),
            partial(collect_groups, self.cluster),
            partial(topic.collect, self.cluster),
        ):
            try:
                gone.extend(work())
            except LabkitError as error:
                errors.append(error)
        if errors:
            first, *others = errors
            first.add_facts(deleted=gone)
            for other in others:
                first.add_note(f"also: {other.message}")
            raise first
        return gone
