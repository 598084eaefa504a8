"""The production-style consumer: a topic into an index, continuously.

At least once: an offset is committed only after Elasticsearch acknowledged every record before it,
or the record lies with the dead letters. A document's ``_id`` names its record, so what comes twice
is there once. Batches overlap: while two requests are on their way the next batch is read and made
ready, and no more than that is held in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.checks import names
from labkit.decode import Spec, open_named
from labkit.decode.pipeline import condition
from labkit.elastic import Target
from labkit.enrich import Chain
from labkit.errors import UnavailableError, UsageError
from labkit.es import mappings
from labkit.es.bulk import IN_FLIGHT, Bulk, Outcome
from labkit.es.documents import Documents
from labkit.es.encode import Encoder
from labkit.es.form import Form
from labkit.kafka.cluster import Cluster
from labkit.pipelines.indexer.dead_letters import Letters, NoLetters, find_letters
from labkit.pipelines.indexer.group_consumer import POLL_S, Member, StoppedError
from labkit.registry import Registry
from labkit.times import iso, now_ms, to_ms
from labkit.waiting.notice import WaitNotice

BUSY_POLL_S = 0.05  # while requests are on their way: what they come to is booked soon
STARTS = ("resume", "earliest", "latest")
ASK_AGAIN_S = 60.0
_PASSES = {429, 500, 502, 503, 504}  # a registry's answers that the next one may not be
_REGISTRY = "the schema registry"
WARN_AFTER = 10_000  # records without the field that is to be enriched


class _TroubleError(Exception):
    """Elasticsearch went away while partitions are given up: no time to wait for it."""


def begin_at(start: Any) -> Any:
    """Return where to begin.

    It is a word of `STARTS`, or a point in time in milliseconds since the epoch.
    """
    if start in STARTS:
        return start
    try:
        return to_ms(start)
    except UsageError as error:
        raise UsageError(
            f"start must be {', '.join(STARTS)} or a point in time, not {start!r}",
            hint="such as 2016-03-01",
        ) from error


@dataclass
class Indexer:
    """Copies a topic into an index until cancelled.

    Parameters
    ----------
    cluster, target : Cluster, Target
    topic, group : str
    index : str
        A name, or a pattern such as ``irc-%Y.%m``; see `labkit.es.mappings.IndexName`.
    start : {"resume", "earliest", "latest"} or a point in time
        Where to begin: at the group's committed offsets (the log's start without a commit), or,
        whatever was committed, at the log's start, its end, or the first record at or after a time.
    enrich : Chain
        What to add to the documents.
    decode, key_decode : Spec
        What the records are, see `labkit.decode`. What cannot be decoded goes to the dead letters.
    where : str, optional
        Only records that fulfil this condition, as `Window.read` takes it; the group passes over
        the others.
    metadata : bool
        Whether documents say where they came from, see `labkit.es.metadata`.
    registry : Registry, optional
        Where decoders have their schemas from. While it is away it is waited for.
    dead_letter : Path or str, optional
        Where refused records are put aside with origin, reason and source: a file of JSON lines, or
        ``index:NAME``. Without one, a refused record ends the run with an error and is not passed
        over.
    once : bool
        Stop at the end the topic has now.
    say : callable
        Takes one line of text.
    metrics : callable, optional
        Takes the counts every `every_s` seconds.
    """

    cluster: Cluster
    target: Target
    topic: str
    index: str
    group: str
    start: Any = "resume"
    enrich: Chain = field(default_factory=lambda: Chain([]))
    decode: Spec = "json"
    key_decode: Spec = "raw"
    where: str | None = None
    metadata: bool = False
    registry: Registry | None = None
    dead_letter: Path | str | None = None
    once: bool = False
    every_s: float = 10.0
    say: Callable[[str], None] = print
    metrics: Callable[[dict[str, Any]], None] | None = None

    outcome: Outcome = field(default_factory=Outcome, init=False)
    _rejected: int = field(default=0, init=False)
    _checked: bool = field(default=False, init=False)
    _filtered: int = field(default=0, init=False)
    _notice: WaitNotice = field(init=False)
    _leaving: bool = field(default=False, init=False)
    _others_said: bool = field(default=False, init=False)
    _settling: bool = field(default=False, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _letters: Letters = field(default_factory=NoLetters, init=False)
    _cut: set[str] = field(default_factory=set, init=False)
    _noted: set[Any] = field(default_factory=set, init=False)
    _indices: set[str] = field(default_factory=set, init=False)
    _renewed: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        self._notice = WaitNotice(self.say)
        names.topic(self.topic)
        self.name = mappings.IndexName(self.index)
        self.start = begin_at(self.start)
        names.group(self.group)
        if self.group.startswith(names.GROUP_PREFIX):
            raise UsageError(
                f"an indexer needs a production group; {self.group!r} is a lab's",
                hint="name a production group, such as indexer.logstash-es",
            )

        if "auto" in (self.decode, self.key_decode):
            raise UsageError(
                "an indexer cannot decode by 'auto', for another start might choose otherwise",
                hint="`labkit replay TOPIC --last 100 --decode auto --json` says what it is",
            )
        form = Form(open_named(self.decode), open_named(self.key_decode), self.metadata).check()
        self._condition = condition(self.where)
        self.encoder = Encoder(form, self.registry, self.enrich, self.name, self._condition)

    def run(self, stop: threading.Event | None = None) -> dict[str, int]:
        """Copy until `stop` is set, or to the frozen end with `once`; return the counts."""
        self._stop = stop or self._stop
        self._letters = find_letters(self.dead_letter, self.target, self._wait)
        member = self.member = Member(
            self.cluster,
            self.topic,
            self.group,
            self.start,
            self.say,
            self._stop,
            leaving=self._leave,
        )
        bulk = self.bulk = Bulk(
            self.target,
            self.index,
            patience_s=None,
            waiting=self._wait,
            give_up=self._stop.is_set,
            make=self._make,
        )
        try:
            partitions = self.cluster.partitions(self.topic)
            member.require_rights()  # before anything is made
            self._letters.check()
            # what is committed now
            ends = self.cluster.bounds(self.topic, partitions, "stable") if self.once else None
            with self.target.errors(f"make index {self.name.undated!r}"):
                self._make_first()
            member.join()
            self._loop(ends)
        except StoppedError:
            self.say("stopped while waiting; what was not acknowledged is read again next time")
            self._tell()
        finally:
            # what is not settled by now is not waited for when the group is left
            self._leaving = True
            bulk.close()
            self._letters.close()
            member.close()
        if self.once:
            self._show_written()
            if self.outcome.sent + self._filtered:
                self._say_missing()
        return self.counts

    @property
    def counts(self) -> dict[str, int]:
        """The counts: ``sent = indexed + existing + rejected + unsent``.

        What a condition left out is counted as filtered.
        """
        filtered = {} if self.where is None else {"filtered": self._filtered}
        return {**self.outcome.counts, "rejected": self._rejected, **filtered}

    # the loop ----------------------------------------------------------------------------------------

    def _loop(self, ends: dict[int, int] | None) -> None:
        reported, warned = time.monotonic(), False
        while not self._stop.is_set() and not (ends is not None and self._is_finished(ends)):
            messages = self.member.read(BUSY_POLL_S if self.bulk.busy else POLL_S)
            if messages is not None:
                batch, stretch = messages
                docs = self._documents(batch)
                self.bulk.put(docs, (stretch, batch.num_rows - len(docs) - len(docs.rejects)))
            self._settle(0 if messages is None and self.bulk.trouble else IN_FLIGHT)
            if messages is None and not self.bulk.busy:
                self.member.commit_ends()
            if not warned and self.outcome.sent + self._filtered > WARN_AFTER:
                warned = True
                self._say_missing()
            if time.monotonic() - reported >= self.every_s:
                reported = time.monotonic()
                self._tell()
        self._settle(0)
        self._tell()

    def _is_finished(self, ends: dict[int, int]) -> bool:
        """Tell whether the group has read all up to `ends`, whichever member did."""
        if not self.member.has_reached(ends):
            return False
        held_elsewhere = self.member.elsewhere(ends)
        if held_elsewhere and not self._others_said:
            numbers = ", ".join(map(str, sorted(held_elsewhere)))
            self.say(
                f"waiting until partitions {numbers} are read: other members of the group hold them"
            )
        self._others_said = bool(held_elsewhere)
        return not held_elsewhere

    def _settle(self, leave: int) -> None:
        """Book, commit and forget the batches that are settled, in the order they were read."""
        if self._settling:  # within a callback of a poll that is made while waiting
            return
        self._settling = True
        try:
            for (stretch, filtered), outcome in self.bulk.take_settled(leave):
                self._resume()
                if outcome.unsent:  # cancelled while Elasticsearch was away
                    raise StoppedError
                if outcome.rejects:
                    self._letters.put(outcome.rejects)
                    self.say(f"{len(outcome.rejects)} refused records put aside in {self._letters}")
                self._rejected += len(outcome.rejects)
                # they are safe; a pipeline that runs for months must not keep them
                outcome.rejects.clear()
                self.outcome.add(outcome)
                self._filtered += filtered
                self.member.commit(stretch)
        finally:
            self._settling = False

    def _leave(self) -> None:
        """Settle what is on its way before its partitions go to another member.

        It is left unsettled when that would take long.
        """
        if self.bulk.trouble or self._leaving:
            return
        self._leaving = True
        try:
            self._settle(0)
        except _TroubleError:
            pass  # the next owner reads these records again
        finally:
            self._leaving = False

    def _tell(self) -> None:
        self._say_notes()
        if self.metrics:
            counts = {**self.counts, "positions": self.member.positions}
            seconds = time.monotonic() - self._began
            self.metrics(
                {
                    "time": iso(now_ms()), "group": self.group, "index": self.index, **counts,
                    "lag_records": self.member.lag_records, "records_per_s": round(self.outcome.sent / seconds, 1),
                    "waiting": self.bulk.trouble or self.member.trouble or None,
                }
            )  # fmt: skip

    def _say_notes(self) -> None:
        """Say once what decoding has to say, such as which field became text."""
        decoder = self.encoder.told_by
        # of a field once: how often its values disagree changes with each batch
        notes: dict[Any, str] = {**{note: note for note in decoder.notes}, **decoder.disagreements}
        for subject, note in notes.items():
            if subject not in self._noted:
                self._noted.add(subject)
                self.say(f"note: {note}")

    # waiting -----------------------------------------------------------------------------------------

    def _wait(self, reason: str, server: str = "Elasticsearch") -> None:
        """Stay a member of the group while a server is waited for.

        Paused partitions deliver nothing.
        """
        if self._leaving:
            raise _TroubleError
        if self._stop.is_set():
            raise StoppedError
        self._notice.wait(server, reason)
        self.member.pause()

    def _resume(self, server: str = "Elasticsearch") -> None:
        if self._notice.end(server):
            self.member.resume()

    def _documents(self, batch: pa.RecordBatch) -> Documents:
        """Return a batch's documents.

        Wait while the registry does not answer, for the records are not to blame.
        """
        while True:
            try:
                docs, trouble = self.encoder.of_raw(batch), self.encoder.trouble
            except UnavailableError as error:
                trouble = error
            if trouble is None:
                self._check_condition()
                self._resume(_REGISTRY)
                self._ask_again(docs)
                return docs
            refused = trouble.facts.get("status", 0) not in _PASSES
            if refused and not isinstance(trouble, UnavailableError):
                raise trouble
            self._wait(trouble.message, _REGISTRY)
            self._stop.wait(POLL_S)
            self.encoder.renew()

    def _check_condition(self) -> None:
        """Refuse a condition with a misspelt field before records are left out by it."""
        if self._condition is not None and self._condition.seen and not self._checked:
            self._condition.check_fields(self._condition.seen)
            self._checked = True

    def _ask_again(self, docs: Documents) -> None:
        """Forget, now and then, ids the registry did not know: one may be registered later."""
        if docs.rejects and time.monotonic() - self._renewed > ASK_AGAIN_S:
            self._renewed = time.monotonic()
            self.encoder.renew()

    # indices -----------------------------------------------------------------------------------------

    def _make_first(self) -> None:
        if not self.name.dated:
            self._make(self.index, {})
            if why := mappings.doubling(self.target, self.index):
                self.say(f"warning: {why}")
        else:
            # a wrong password shows now, not later
            self.target.has_index(self.name.undated)

    def _make(self, index: str, fields: Mapping[str, Any]) -> None:
        """Make an index, or add what it lacks of the fields that its documents have."""
        mapping = mappings.mapping(properties=self.encoder.properties)
        meta = (
            self.encoder.form.meta
            if self.where is None
            else {**self.encoder.form.meta, "where": self.where}
        )
        if meta:
            mapping["_meta"] = {"labkit": meta}
        mappings.ensure(self.target, names.index(index), mapping)
        self._indices.add(index)
        mappings.settle_condition(self.target, index, self.where)
        cut = set(mappings.extend(self.target, index, fields)) - self._cut if fields else set()
        if cut:
            self._cut |= cut
            self.say(f"warning: {mappings.cut_fractions(index, sorted(cut))}")

    def _show_written(self) -> None:
        """Make what was written visible: who ran it once counts or compares the index next."""
        with suppress(UnavailableError):  # it becomes visible by itself, in a second or so
            for index in sorted(self._indices):
                self.target.refresh(index)

    def _say_missing(self) -> None:
        checks = [self.enrich.check] if self.enrich.missing else []
        checks += [self._condition.check_seen] if self._condition else []
        for check in checks:
            try:
                check()
            except UsageError as error:
                self.say(f"warning: {error.message}; {error.hint}")
