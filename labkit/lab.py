"""The object a notebook holds. It joins the rooms below, imported when they are used, and does no work of its own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from labkit import html, names, times
from labkit.config import LOCAL, Profile, default_profile, load_profile, local_topics
from labkit.discovery import LabDiscovery
from labkit.elastic import Target
from labkit.errors import ConfigError, LabkitError
from labkit.groups.guard import Guard
from labkit.groups.history import read_history, to_frame
from labkit.groups.offsets import groups_frame, offsets_frame
from labkit.groups.reset import delete, plan_reset
from labkit.groups.sampling import lag_frame
from labkit.interrupt import OnInterrupt
from labkit.kafka import Cluster
from labkit.progress import in_notebook
from labkit.queries import LabQueries
from labkit.replay.freeze import freeze
from labkit.topics import topics_frame
from labkit.window import Window

if TYPE_CHECKING:
    import pandas as pd

    from labkit.compare import Comparison
    from labkit.decode import Spec
    from labkit.doctor import Diagnosis
    from labkit.es.index import Index
    from labkit.groups.adhoc import AdHocGroup
    from labkit.registry import Registry
    from labkit.sinks.scratch import ScratchIndex


def connect(profile: str | None = None, *, role: str = "lab") -> Lab:
    """Return a Lab on the local stack, or on the cluster `profile` of ``labkit.toml`` names.

    Parameters
    ----------
    profile : str, optional
        ``local`` or a profile's name; left out: what ``LABKIT_PROFILE`` names, else ``local``.
    role : {"lab", "indexer", "extractor", "admin"}
        Whose credentials to use on the local stack; ``lab`` may do what a lab needs and no more.

    Raises
    ------
    ConfigError
        When there is no such profile or role.
    StackError
        When there is no local stack yet.
    """
    found = find_profile(profile, role=role)
    for text in found.warnings:
        warnings.warn(text, stacklevel=2)
    return Lab(found)


def find_profile(name: str | None = None, *, role: str = "lab") -> Profile:
    """Return the profile `name`."""
    name = default_profile() if name is None else name
    if name != LOCAL:
        return load_profile(name)
    from labkit.stack.state import local_profile

    topics = local_topics()
    return replace(local_profile(role), topics=topics)


class Lab(LabDiscovery, LabQueries):
    """A connection to one Kafka cluster and its Elasticsearch targets.

    Nothing is asked of a server until a method needs it.
    """

    def __init__(self, profile: Profile) -> None:
        self.connection = profile
        self.cluster = Cluster(profile.kafka)
        if in_notebook():
            html.frames_as_they_are()

    def __repr__(self) -> str:
        targets = ", ".join(self.connection.elasticsearch) or "none"
        return f"Lab on {self.cluster.address} as {self.cluster.principal}; Elasticsearch: {targets}"

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
            known = ", ".join(self.targets) or "none"
            raise ConfigError(f"there is no Elasticsearch target {name!r}", hint=f"this profile has: {known}")
        return self.targets[name]

    # windows -----------------------------------------------------------------------------------------

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
            Half-open [start, end), UTC when no zone is given. Left out: the log's start, the log's end now.
        last : str, timedelta or int, optional
            ``"6h"``: the last six hours; ``10_000``: the newest 10,000 records.
        on : str or date, optional
            A day, week or month in UTC: ``"yesterday"``, ``"monday"``, ``"2016-03-01"``, ``"2016-W09"``, ``"2016-03"``.
        offsets : dict, optional
            ``{partition: (start, end)}``, half-open.
        partitions : iterable of int, or int, optional
            Only these, with bounds of the other kinds.
        slack : str
            Producers set a record's CreateTime, so records may lie out of time order: the offsets are widened by this
            on both sides and each record's time is checked when it is read. Topics with LogAppendTime need none.

        Raises
        ------
        NotFoundError
            When there is no such topic.
        WindowError, UsageError
            When the bounds cannot be.
        """
        plan = freeze(
            self.cluster, topic, start=start, end=end, last=last, on=on, offsets=offsets, partitions=partitions,
            slack=slack,
        )  # fmt: skip
        return Window(plan, self)

    def decoders(self, topic: str, decode: Spec | None = None, key_decode: Spec | None = None) -> tuple[Spec, Spec]:
        """Return how a topic's values and keys are decoded: as given, as ``labkit.toml`` says, or JSON, raw."""
        from labkit.decode.topics import topic_decoders

        return topic_decoders(self.connection.topics, topic, decode, key_decode)

    # lists -------------------------------------------------------------------------------------------

    def topics(self, *patterns: str) -> pd.DataFrame:
        """Return one row per topic: topic, partitions, records (by offsets), earliest, latest, retention_ms, cleanup.

        Parameters
        ----------
        *patterns : str
            Only topics that one of these matches: ``"irc*"``, ``"orders.?"``; without any, all.

        Notes
        -----
        ``records`` counts offsets; compaction and transactions leave fewer records. ``earliest`` and ``latest`` are the
        sums over the partitions of the log's first offset and its end. What a topic does not tell is missing: where a
        partition has no leader, where the right DescribeConfigs is, or where the topic was deleted meanwhile.
        """
        return topics_frame(self.cluster, patterns)

    def groups(self, *patterns: str) -> pd.DataFrame:
        """Return one row per consumer group: group, state, protocol, members, topics, lag, verdict.

        Parameters
        ----------
        *patterns : str
            Only groups that one of these matches: ``"indexer.*"``; without any, all.

        Notes
        -----
        The verdict of one look is ``ok`` (lag 0), ``stopped`` (nobody reads, lag left) or ``unknown``; what a group
        with members and a lag is doing takes several looks.
        """
        return groups_frame(self.cluster, patterns)

    def offsets(self) -> pd.DataFrame:
        """Return one row per group and partition: committed, log_start, log_end, lag, flag, member, host.

        Without a commit ``committed`` and ``lag`` are missing, not 0. ``flag`` says what is odd: ``no commit``,
        ``expired`` (committed before the log's start), ``beyond end`` (was the topic made again?); or why the log's
        ends are missing: ``not allowed``, ``no leader``, ``no answer``.
        """
        return offsets_frame(self.cluster)

    def lag(
        self,
        group: str | Iterable[str] | pd.DataFrame | None = None,
        *,
        samples: int = 5,
        every: str = "2s",
        record: str | os.PathLike[str] | None = None,
        patience: str = "5.5s",
        on_interrupt: OnInterrupt = "raise",
    ) -> pd.DataFrame:
        """Look several times and return a verdict per partition: ok, idle, slow, stalled, stopped, rewound or unknown.

        The rules stand in `labkit.groups.lag`.

        Parameters
        ----------
        group : str, several of them, or a DataFrame of `lag_history`; by default all groups
            A history is judged by its newest `samples` looks, but none before a gap; no server is asked.
        samples : int
            How many looks; a verdict needs 3. Where commits stand still it takes as many more as the patience needs.
        every : str
            The time between two looks.
        record : path, optional
            Also append the looks to this history.
        patience : str
            A standstill of commits is called one when it is no shorter. Consumers usually commit every 5 s; of one that
            commits each minute, as sinks of Connect, Flink and Spark may, ``"65s"`` tells.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, which has what was seen as its ``.frame``; or return that.

        Returns
        -------
        DataFrame
            One row per group and partition: verdict, doing (reading | idle | offline | stuck | unknown), why, lag,
            behind_s (age of the record at the committed offset), since (``19:12 (49 min)``, UTC: since when records
            wait; by the oldest one's own time, or, where ``since_by`` is ``looks``, by when it was seen), read_per_s,
            written_per_s, eta_s, and the last look.
            ``.attrs["verdict"]`` and ``.attrs["why"]`` tell of the group as a whole.

        Raises
        ------
        NotFoundError
            When there is no such group.
        """
        return lag_frame(
            self.cluster,
            group,
            samples=samples,
            every=every,
            record=record,
            patience=patience,
            on_interrupt=on_interrupt,
        )

    def lag_history(self, path: str | os.PathLike[str]) -> pd.DataFrame:
        """Return what ``labkit lag --watch --record PATH`` or `lag` recorded: one row per look, group and partition.

        `lag` judges it, `labkit.charts.lag` draws it. No server is asked.
        """
        return to_frame(read_history(path))

    def reset(
        self,
        group: str,
        topic: str,
        to: str | Any | Mapping[int, int],
        *,
        execute: bool = False,
        i_own_this_group: bool = False,
    ) -> pd.DataFrame:
        """Plan to move a group's commits in `topic`; with `execute`, move them.

        Parameters
        ----------
        group : str
            One of the lab's, ``labkit.*``; another one only with `i_own_this_group` and a role that may. It must have
            no members.
        to : "earliest", "latest", a point in time or ``{partition: offset}``

        Returns
        -------
        DataFrame
            One row per partition: topic, partition, committed, target, moves, log_start, log_end.
        """
        plan = plan_reset(self.cluster, group, topic, to, i_own_this_group=i_own_this_group)
        if execute:
            plan.execute()
        return plan.frame(executed=execute)

    def delete_group(self, group: str) -> None:
        """Delete one of the lab's own groups, ``labkit.*``, with its commits; it must have no members."""
        delete(self.cluster, group)

    def retention(self, topic: str, keep: str | None = None) -> float:
        """Return for how many days `topic` keeps records; -1.0 for ever. With `keep` set it first, where allowed.

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

    def guard(self) -> Guard:
        """Return a context manager that compares every foreign group before and after its block."""
        return Guard(self.cluster)

    def attach(self, topic: str, *, name: str, start: Any = None) -> AdHocGroup:
        """Join the ad hoc consumer group ``labkit.<user>.<name>``; see `AdHocGroup`.

        Parameters
        ----------
        topic, name : str
        start : "earliest", "latest" or a point in time, optional
            Where to begin; left out: at the group's commits, else at the log's start.
        """
        from labkit.groups.adhoc import AdHocGroup

        return AdHocGroup(self.cluster, topic, name, start, self.registry, self.decoders(topic))

    def doctor(self, *, topic: str | None = None, indices: str = "irc*") -> Diagnosis:
        """Try each thing a lab needs, from the servers' names to the last ACL; one line each, with the fix.

        It takes 13 seconds at most, changes nothing and touches nothing of others.

        Parameters
        ----------
        topic : str, optional
            The topic to try reading; left out: the first that can be seen.
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

        return Index(names.index_pattern(name), self.target(target))

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
        time: str = "@timestamp",
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
            A text names an index on `target`; ``"irc@es-9.5.3"`` one on another. A frame's columns are the fields;
            ``_id``, or ``_topic _partition _offset``, name the records.
        key : str or sequence of str, optional
            Fields that pair documents, such as ``"msgid"``; left out: their origin, which is their ``_id``.
        ignore, only : sequence of str
            Leave these fields out, or compare only these; with all below them, and ``*`` for any characters.
        tolerance : float, str or dict, optional
            ``0.01``: numbers may differ by so much; ``"1%"``: by a part of the larger one; ``"5s"``: texts that are
            times may, however they are written. ``{"lat": 0.001, "@timestamp": "0s"}``: by field.
        target : str
            The Elasticsearch cluster of names without one.
        time : str
            The field that says when, for the chart.
        within : Window, optional
            Only documents whose origin is among its frozen offsets: an index that has more than the window, such as
            production's, is then compared for the window alone.
        keep : int
            How many documents `changed`, `only_left` and `only_right` hold at most; counts are exact all the same.
        latency : bool
            Where both are indices, also measure how long each takes to answer a handful of queries.
        progress : bool, optional
            Show a bar; by default in a notebook or a terminal only.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, which has the part as its ``.comparison``; or return it.

        Returns
        -------
        Comparison
        """
        from labkit.compare import compare

        return compare(
            a, b, targets=self.target, key=key, ignore=ignore, only=only, tolerance=tolerance, target=target,
            time=time, within=within, keep=keep, latency=latency, progress=progress,
            on_interrupt=on_interrupt,
        )  # fmt: skip

    # what the lab made -------------------------------------------------------------------------------

    def scratch(self) -> pd.DataFrame:
        """Return this user's scratch indices: index, target, documents, bytes, topic, expires, expired.

        Of several targets, one that is away is a warning.
        """
        from labkit.sinks.scratch import scratch_frame

        return scratch_frame(self.targets.values())

    def scratch_index(self, name: str, *, target: str = "default") -> ScratchIndex:
        """Return the handle of a scratch index that is there."""
        from labkit.sinks.scratch import ScratchIndex

        return ScratchIndex(names.scratch_name(name), self.target(target))

    def gc(self) -> list[str]:
        """Delete this user's expired scratch indices and topics, and ad hoc groups without members; return their names.

        A server that is away keeps the others from nothing: its error comes at the end, and ``.deleted`` has the names.
        """
        from labkit.groups.adhoc import collect_groups
        from labkit.sinks import topic
        from labkit.sinks.scratch import collect

        gone: list[str] = []
        errors: list[LabkitError] = []
        for work in (
            *(partial(collect, target) for target in self.targets.values()),
            partial(collect_groups, self.cluster),
            partial(topic.collect, self.cluster),
        ):
            try:
                gone += work()
            except LabkitError as error:
                errors.append(error)
        if errors:
            errors[0].facts["deleted"] = gone
            raise errors[0]
        return gone
