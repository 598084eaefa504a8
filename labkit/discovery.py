"""What a window shows at a glance, before anybody knows what to ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.checks import names
from labkit.checks.habits import COUNT_OPTIONS, PATTERN_OPTIONS
from labkit.checks.validation import part_of, refuses, whole_number
from labkit.config.profiles import Profile as Settings
from labkit.elastic import Target
from labkit.groups.guard import watch_groups
from labkit.kafka.cluster import Cluster
from labkit.reads import NOTHING, WindowReads
from labkit.replay.reader import Isolation, OnExpired
from labkit.tables.dataframe import in_zone
from labkit.waiting.interrupt import OnInterrupt, quiet_stop

if TYPE_CHECKING:
    import pandas as pd

    from labkit.decode import Spec
    from labkit.es.index import Index
    from labkit.profile.result import Profile
    from labkit.sinks.replay import Replay
    from labkit.trace.result import Trace
    from labkit.window import Window

AUTO_SAMPLE = 200_000  # offsets that `Lab.profile` looks at of a window with more than `MOST_READ`
MOST_READ = 2_000_000
SLACK_MS = 60_000  # records lie out of time order by no more than that, as `Lab.window` has it

_OF_REPLAY = "it goes on the result: .where(), .decode(types=...), .enrich()"
_GUARD = "lab.guard() around it looks at the groups"
_ALL_OF_REPLAY = dict.fromkeys(("where", "types", "enrich"), _OF_REPLAY)
_BRIEF = "it ends as soon as it has its records"


@part_of("Window")
class WindowDiscovery(WindowReads):
    """The part of `Window` that looks at what is in it."""

    @refuses(
        types="a profile shows the types that are there",
        enrich="read(enrich=...).profile() has the new columns",
        max_bytes="sample= bounds what is read",
    )
    @quiet_stop(NOTHING)
    def profile(
        self,
        *,
        sample: int | None = None,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        where: str | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Profile:
        """Return what is in the window: fields, their types and values, keys, headers, volume.

        The records are read once, in constant memory. Shown in a notebook it is a table with bars,
        printed it is text of 80 columns, ``.to_pandas()`` has one row per field.

        Parameters
        ----------
        sample : int, optional
            Look at so many records only, taken from 20 places spread evenly over the window; the
            profile says so.
        decode, key_decode, where, isolation, on_expired, deadline, guard, progress, on_interrupt
            As in `read`.

        Examples
        --------
        >>> lab.window("irc", last="7d").profile()  # doctest: +SKIP
        """
        from labkit.profile.collect import of_window, sample_plans
        from labkit.replay.receipt import StopReason
        from labkit.waiting.progress import bar

        spec = self._spec(
            decode=decode, key_decode=key_decode, where=where, isolation=isolation, on_expired=on_expired,
            deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        if sample is not None:
            sample = whole_number(sample, "sample", "how many records, such as 100000", low=1)
        sampled = sample is not None and sample < self.plan.size
        plans = sample_plans(self.plan, sample) if sampled and sample else [self.plan]
        with (
            bar(self.plan.topic, sum(plan.size for plan in plans), progress) as advance,
            watch_groups(self.lab.cluster, guard) as summarize_guard,
        ):
            profile = of_window(
                self.lab.cluster, self.plan, plans, replace(spec, guard=False), registry=self.lab.registry,
                advance=advance,
            )  # fmt: skip
        if profile.receipt is not None:
            receipt = replace(profile.receipt, guard=summarize_guard())
            profile = replace(profile, receipt=receipt)
            cancelled = bool({StopReason.INTERRUPT, StopReason.PENDING} & set(receipt.reasons))
            self._conclude("profile", receipt, spec, cancelled=cancelled, part={"profile": profile})
        return profile

    @refuses(
        where="read() takes conditions: w.read(where=\"nick = 'alice' and message like '%kafka%'\")",
        **PATTERN_OPTIONS,
        types=_OF_REPLAY,
        enrich=_OF_REPLAY,
        max_bytes="limit= and deadline= bound what is read",
        guard=_GUARD,
        progress=_BRIEF,
    )
    @quiet_stop(NOTHING)
    def find(
        self,
        what: str | re.Pattern[str],
        *,
        field: str | None = None,
        limit: int = 20,
        newest: bool = True,
        in_: str | Sequence[str] = ("value",),
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Replay:
        """Find records by a text or a pattern, the newest first; no more is read than that takes.

        Parameters
        ----------
        what : str or re.Pattern
            A text that must be in it, upper and lower case as given; or ``re.compile(…)``, searched
            for in each text.
        field : str, optional
            Only in this field of the value: ``"message"``, ``"author.name"``, ``"tags[]"``. By
            default anywhere in the value: in its bytes as they are, or in a text within it without
            its escapes.
        limit : int
            How many records at most.
        newest : bool
            From the window's end back; else from its start on.
        in_ : str or sequence of str
            Where to look: "value", "key", "headers" (names and values).
        decode, key_decode, isolation, on_expired, deadline, on_interrupt
            As in `read`.

        Returns
        -------
        Replay
            The hits by time, the newest first (with ``newest=False`` the oldest first). Its receipt
            says how far the search went: what was not looked at is not planned in it. Where records
            lie out of time order by more than the minute that is allowed for, an older slice may
            hold a newer hit.

        Examples
        --------
        >>> w.find("kafka streams", field="message")  # doctest: +SKIP
        >>> w.find(re.compile(r"time(d )?out", re.I))  # doctest: +SKIP
        """
        from labkit.find.matching import Needle
        from labkit.find.search import find

        spec = self._spec(
            decode, key_decode, isolation=isolation, on_expired=on_expired, deadline=deadline, guard=False,
            on_interrupt=on_interrupt,
        )  # fmt: skip
        needle = Needle.of(what, field, in_)
        count = whole_number(limit, "limit", "how many records at most, such as 20", low=1)
        slack_ms = 0 if self.plan.timestamp_type == "LogAppendTime" else SLACK_MS
        replay, cancelled = find(
            self.lab.cluster, self.plan, needle, spec, limit=count, newest=newest, slack_ms=slack_ms,
            registry=self.lab.registry, timezone=self.lab.timezone,
        )  # fmt: skip
        reached = (
            f"{replay.receipt.planned:,} of {self.plan.size:,} searched, with {len(replay):,} hits"
        )
        return self._conclude_replay("find", replay, spec, cancelled=cancelled, reached=reached)

    @refuses(
        key_decode="key= is the decoder of the keys",
        **COUNT_OPTIONS,
        **_ALL_OF_REPLAY,
        max_bytes="the newest record of a key may come last: all are read",
    )
    def latest(
        self,
        key: Spec | None = None,
        *,
        decode: Spec | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Replay:
        """Return the newest record of each key, as a compacted topic would keep it.

        Keys whose newest record is a tombstone are left out. Memory grows with the number of keys
        (and the partitions each is in), not with that of records.

        Parameters
        ----------
        key : as `key_decode` of `read`
            How keys become columns ``_key_<field>``. Keys are the same when their bytes are; with
            "json" when they mean the same, whatever the order of their members.
        decode, isolation, on_expired, deadline, guard, progress, on_interrupt
            As in `read`.

        Returns
        -------
        Replay
            One row per key, ordered by partition, then offset. In a partition the highest offset is
            the newest; of a key in several partitions the record with the newest time. Records that
            are superseded, tombstones and records without a key count as filtered, and the receipt
            says how many of each there are.

        Examples
        --------
        >>> lab.window("users").latest().to_pandas()  # doctest: +SKIP
        """
        from labkit.find.latest import check_key, latest

        check_key(key)
        spec = self._spec(
            decode, key, isolation=isolation, on_expired=on_expired, deadline=deadline, guard=guard, progress=progress,
            on_interrupt=on_interrupt,
        )  # fmt: skip
        with self._open(spec) as source:
            replay = latest(source).in_zone(self.lab.timezone)
        cancelled = source.reading.was_cancelled
        self._conclude("latest", replay.receipt, spec, cancelled=cancelled, part={"replay": replay})
        return replay

    @refuses(
        **_ALL_OF_REPLAY,
        max_bytes="before= and after= bound what is read",
        guard=_GUARD,
        progress=_BRIEF,
    )
    @quiet_stop(NOTHING)
    def around(
        self,
        partition: int | None = None,
        offset: int | None = None,
        n: int = 10,
        *,
        time: Any = None,
        before: int | None = None,
        after: int | None = None,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Replay:
        """Return a record and its neighbours in time, in all partitions of the window.

        Only a few records are read.

        Parameters
        ----------
        partition, offset : int, optional
            The record.
        time : str or datetime, optional
            In the place of a record: the neighbours of this point in time, in the lab's zone
            without one of its own.
        n : int
            How many neighbours on each side, at most 10,000.
        before, after : int, optional
            How many on that side, in the place of `n`.
        decode, key_decode, isolation, on_expired, deadline, on_interrupt
            As in `read`.

        Returns
        -------
        Replay
            By time, the newest last; where times are equal by partition and offset. Of a record
            without a time by offset. Its receipt is that of the offsets that were looked at.

        Examples
        --------
        >>> lab.window("irc").around(2, 4711, 3)  # doctest: +SKIP
        >>> lab.window("irc").around(time="2016-03-01T12:00")  # doctest: +SKIP
        """
        from labkit.find.around import MOST, Anchor, around

        spec = self._spec(
            decode, key_decode, isolation=isolation, on_expired=on_expired, deadline=deadline, guard=False,
            on_interrupt=on_interrupt,
        )  # fmt: skip
        hint = f"how many records on each side? 0 to {MOST:,}"
        n = whole_number(n, "n", hint, low=0, high=MOST)
        sides = {
            side: whole_number(n if count is None else count, side, hint, low=0, high=MOST)
            for side, count in (("before", before), ("after", after))
        }
        anchor = Anchor.of(partition, offset, time, self.lab.timezone)
        replay, cancelled = around(
            self.lab.cluster, self.plan, anchor, spec, **sides, registry=self.lab.registry,
            timezone=self.lab.timezone,
        )  # fmt: skip
        reached = f"{len(replay):,} neighbours"
        return self._conclude_replay("around", replay, spec, cancelled=cancelled, reached=reached)


@part_of("Lab")
class LabDiscovery:
    """The part of `Lab` that looks at what is in a topic."""

    connection: Settings
    role: str
    cluster: Cluster
    timezone: tzinfo
    window: Callable[..., Window]
    index: Callable[..., Index]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """The Elasticsearch clusters by name."""
        return {
            name: Target(name, settings, role=self.role)
            for name, settings in self.connection.elasticsearch.items()
        }

    def indices(self, *patterns: str) -> pd.DataFrame:
        """Return one row per index that you may look at, on each of the Elasticsearch targets.

        Parameters
        ----------
        *patterns : str
            Only indices that one of these matches, see `topics`; without any, all but hidden ones.

        Returns
        -------
        DataFrame
            By target, then name: index, target, documents (those within ``nested`` fields too),
            bytes, created, scratch (whether it is one, of any user); of those that labkit made also
            topic, window (the hash of the one loaded last), expires, shortfall (why it is not whole).
            What may not be seen is missing. A target that is away is a warning.
        """
        from labkit.es.catalog import indices_frame

        targets, profile = self.targets.values(), self.connection.name
        return in_zone(indices_frame(targets, patterns, profile=profile), self.timezone)

    @quiet_stop(NOTHING)
    def profile(
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
        sample: int | str | None = "auto",
        **options: Any,
    ) -> Profile:
        """Return what is in a topic: fields, their types and values, keys, headers, volume.

        Parameters
        ----------
        topic : str
        start, end, last, on, offsets, partitions, slack
            The window, as in `window`; by default all of the topic.
        sample : int, "auto" or None
            Look at so many records only; "auto": at 200,000 of a window with more than 2,000,000,
            which the profile says; None: at all.
        **options
            Those of `Window.profile`.

        Examples
        --------
        >>> lab.profile("irc", last="1d")  # doctest: +SKIP
        """
        window = self.window(
            topic, start=start, end=end, last=last, on=on, offsets=offsets, partitions=partitions, slack=slack
        )  # fmt: skip
        if sample == "auto":
            sample = AUTO_SAMPLE if len(window) > MOST_READ else None
        return window.profile(sample=sample, **options)  # type: ignore[arg-type]

    def trace(
        self,
        topic: str,
        partition: int | None = None,
        offset: int | None = None,
        *,
        key: str | None = None,
        index: str | Index | None = None,
        group: str | None = None,
        where: str | None = None,
        dead_letters: str | Path | None = None,
        document_id: str | None = None,
        target: str = "default",
        decode: Spec | None = None,
        key_decode: Spec | None = None,
    ) -> Trace:
        """Return where one record is, and why it is not where it is missed; nothing is written.

        Parameters
        ----------
        topic : str
        partition, offset : int, optional
            The record.
        key : str, optional
            In their place: the newest record with this key.
        index : str or Index, optional
            The index it should be in; an alias and a pattern will do.
        group : str, optional
            The consumer group that should have read it.
        where : str, optional
            The condition that leaves records out, as in `Window.read`; by default the one that the
            index keeps.
        dead_letters : str or path, optional
            What ``labkit index --dead-letter`` names: a file, or ``index:NAME``.
        document_id : str, optional
            The document's ``_id``, where it is not ``topic-partition-offset``.
        target : str
            The Elasticsearch cluster of the indices.
        decode, key_decode : as in `Window.read`
            How the record is shown, and `where` is asked of it; it is compared with its document as
            the index says that it was made, else so.

        Returns
        -------
        Trace
            Shown as text or HTML: ``.verdict`` in a sentence, ``.steps`` one for each place,
            ``.to_pandas()``.

        Examples
        --------
        >>> lab.trace("irc", 2, 4711, index="irc", group="indexer.logstash-es")  # doctest: +SKIP
        """
        from labkit.decode.pipeline import condition
        from labkit.trace import places, run

        condition(where)  # a wrong condition fails before anything is asked
        places.check_one_given(partition, offset, key)
        if isinstance(index, str):
            index = self.index(index, target=target)
        letters: Any = dead_letters
        if isinstance(dead_letters, str) and dead_letters.startswith(places.DEAD_LETTER_INDEX):
            name = dead_letters.removeprefix(places.DEAD_LETTER_INDEX)
            letters = self.index(name, target=target)
        if group is not None:
            names.group(group)
        if key is not None:
            place = places.find_key(self.window(topic), key)
            if place is None:
                return run.without_record(topic, key)
            partition, offset = place
        hint = 'a record\'s place, such as lab.trace("irc", 2, 4711)'
        question = places.Question(
            topic, whole_number(partition, "partition", hint, low=0),
            whole_number(offset, "offset", hint, low=0), where=where,
            group=group, index=index, dead_letters=letters, document_id=document_id,
            decode=decode, key_decode=key_decode,
        )  # fmt: skip
        return run.trace(self.cluster, self.window, question)
