"""Consumer groups: the part of `Lab` that lists, judges and moves them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from labkit.checks.validation import part_of
from labkit.groups.guard import Guard
from labkit.groups.history import read_history, to_frame
from labkit.groups.judgement import lag_frame
from labkit.groups.offsets import groups_frame, offsets_frame
from labkit.groups.reset import delete, plan_reset
from labkit.kafka.cluster import Cluster
from labkit.tables.dataframe import in_zone
from labkit.waiting.interrupt import OnInterrupt

if TYPE_CHECKING:
    import pandas as pd


@part_of("Lab")
class LabConsumers:
    """The part of `Lab` about consumer groups: those of others are only looked at."""

    cluster: Cluster
    timezone: tzinfo

    def groups(self, *patterns: str) -> pd.DataFrame:
        """Return one row per group: group, state, protocol, members, topics, lag, verdict.

        Parameters
        ----------
        *patterns : str
            Only groups that one of these matches: ``"indexer.*"``; without any, all. One that
            matches none is a warning, with the name that may have been meant.

        Notes
        -----
        Kafka leaves out, in silence, groups and commits in topics that you may not describe: then
        a lag is that of the topics you may.
        ``members`` is missing where the client cannot see them: of share groups and of Kafka
        Streams' own kind.
        The verdict of one look is ``ok`` (lag 0), ``stopped`` (no member, lag left), ``idle``
        (workers of Connect or of a schema registry, which commit nothing) or ``unknown``; what a
        group with members and a lag is doing takes several looks.
        """
        return groups_frame(self.cluster, patterns)

    def offsets(self, *patterns: str) -> pd.DataFrame:
        """Return the offsets of groups: one row per group and partition.

        Its columns: committed, log_start, log_end, lag, flag, member, host. Without a commit
        ``committed`` and ``lag`` are missing, not 0. ``flag`` says what is odd: ``no commit``,
        ``expired`` (committed before the log's start), ``beyond end`` (made again or cut back?);
        or why the log's ends are missing: ``not allowed``, ``no leader``, ``no answer``.

        Parameters
        ----------
        *patterns : str
            Only groups that one of these matches; see `groups`, also of what Kafka leaves out.
        """
        return offsets_frame(self.cluster, patterns)

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
        """Look several times at what consumers do, and return a verdict per partition.

        A verdict is ok, idle, slow, stalled, stopped, rewound or unknown. The rules stand in
        `labkit.groups.lag`.

        Parameters
        ----------
        group : str, several of them, or a DataFrame of `lag_history`; by default all groups
            A name, or a pattern such as ``"indexer.*"`` of what there is at each look.
            A history is judged by its newest `samples` looks, but none before a gap; no server is
            asked.
        samples : int
            How many looks; a verdict needs 3. Where commits stand still it takes as many more as
            the patience needs.
        every : str
            The time between two looks.
        record : path, optional
            Also append the looks to this history.
        patience : str
            A standstill of commits is called one when it is no shorter. Consumers usually commit
            every 5 s; of one that commits each minute, as sinks of Connect, Flink and Spark may,
            ``"65s"`` tells.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, which has what was seen as its ``.frame``;
            or return that.

        Returns
        -------
        DataFrame
            One row per group and partition: verdict, doing (reading | idle | offline | stuck | unknown), why, lag,
            behind_s (age of the record at the committed offset), since (``19:12 (49 min)``, in the lab's zone: since
            when records wait; by the oldest one's own time, or, where ``since_by`` is ``looks``, by when it was seen),
            read_per_s, written_per_s, eta_s, and the last look.
            ``.attrs["verdict"]`` and ``.attrs["why"]`` tell of the group as a whole, also of one without
            a row.

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
            zone=self.timezone,
        )

    def lag_history(self, path: str | os.PathLike[str]) -> pd.DataFrame:
        """Return recorded looks at consumers: one row per look, group and partition.

        ``labkit lag --watch --record PATH`` records them, and so does `lag`. `lag` judges it,
        `labkit.charts.lag` draws it. No server is asked. Times are in the lab's zone.
        """
        return in_zone(to_frame(read_history(path)), self.timezone)

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
            One of the lab's, ``labkit.*``; another one only with `i_own_this_group` and a role that
            may. It must have no members.
        to : "earliest", "latest", a point in time or ``{partition: offset}``

        Returns
        -------
        DataFrame
            One row per partition: topic, partition, committed, target, moves, log_start, log_end.
        """
        plan = plan_reset(
            self.cluster, group, topic, to, i_own_this_group=i_own_this_group, zone=self.timezone
        )
        if execute:
            plan.execute()
        return plan.frame(executed=execute)

    def delete_group(self, group: str) -> None:
        """Delete one of the lab's own groups, ``labkit.*``, with its commits.

        It must have no members.
        """
        delete(self.cluster, group)

    def guard(self) -> Guard:
        """Return a context manager that compares every foreign group before and after its block."""
        return Guard(self.cluster)
