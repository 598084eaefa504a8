"""Load a window into a scratch index: streamed, counted, and to be sent again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import pyarrow as pa

from labkit.checks import names
from labkit.checks.habits import no_attribute
from labkit.checks.user_line import warn
from labkit.decode.pipeline import Decoding, condition
from labkit.elastic import Target, passes
from labkit.errors import LabkitError, ServerError, UnavailableError, UsageError
from labkit.es import mappings
from labkit.es.bulk import Bulk, Outcome
from labkit.es.documents import Documents, Reject, of_records
from labkit.es.encode import Encoder
from labkit.es.form import PLAIN, Form
from labkit.read_spec import ReadSource
from labkit.replay.plan import Plan
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt, StopReason
from labkit.replay.sample import explain_empty, sample
from labkit.sinks.scratch_index import ScratchIndex, ensure, identity, note_load, require_same
from labkit.text import html
from labkit.text.visible import visible
from labkit.times import length_ms
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled
from labkit.waiting.notice import WaitNotice

if TYPE_CHECKING:
    import pandas as pd

    from labkit.decode.filter import Where
    from labkit.enrich.chain import Chain

REJECT_COLUMNS = tuple(Reject.__dataclass_fields__)
AGAIN_S = 0.5

Answer = TypeVar("Answer")


@dataclass
class Load:
    """A window's records in a scratch index.

    Attributes
    ----------
    index : ScratchIndex
    receipt : Receipt
        Of the read.
    outcome : Outcome
        Of the writes.
    interrupted : bool
        Whether Stop or Ctrl-C came.
    """

    index: ScratchIndex
    receipt: Receipt
    outcome: Outcome = field(repr=False)
    interrupted: bool = False

    if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

        def __getattr__(self, name):
            """Point to what the index has, and those who know pandas to its frame."""
            if hasattr(ScratchIndex, name) and not name.startswith("_"):
                raise AttributeError(f"a Load has no .{name}, its index has: load.index.{name}")
            thing = "a Load has no .{name}, a frame of its index has"
            raise no_attribute(self, name, thing, "load.index.to_pandas()")

    @property
    def counts(self) -> dict[str, int]:
        """The counts: ``sent = indexed + existing + rejected + unsent``.

        Existing ones were there before, and are as they were, whatever this load's options.
        """
        return self.outcome.counts

    @property
    def complete(self) -> bool:
        """Whether the whole window was read and each of its records has its document."""
        return self.receipt.complete and not self.outcome.rejects and not self.outcome.unsent

    @property
    def shortfall(self) -> str:
        """Why the index has not all of the window, in one line; empty when it has."""
        counts = self.counts
        parts = [self.receipt.shortfall]
        parts += [f"{_records_were(counts['unsent'])} not sent"] * bool(counts["unsent"])
        parts += [f"{_records_were(counts['rejected'])} refused"] * bool(counts["rejected"])
        return "; ".join(filter(None, parts))

    @property
    def rejects(self) -> pd.DataFrame:
        """The refused records: topic, partition, offset, status, type, reason, source."""
        import pandas as pd

        cells = attrgetter(*REJECT_COLUMNS)
        rows = [cells(reject) for reject in self.outcome.rejects]
        return pd.DataFrame(rows, columns=list(REJECT_COLUMNS))

    def resend(self, rejects: pd.DataFrame) -> dict[str, int]:
        """Send mended rejects again, under the same ``_id``; return the counts of this sending.

        What is no longer among the rejects was sent before and is left alone; what the cluster does
        not take stays.

        Parameters
        ----------
        rejects : DataFrame
            Rows of `rejects` whose ``source`` was mended: JSON text or a dict.
        """
        missing = {"topic", "partition", "offset", "source"} - set(rejects.columns)
        if missing:
            raise UsageError(
                f"columns are missing: {', '.join(sorted(missing))}",
                hint="mend rows of load.rejects",
            )
        waiting = {
            (reject.topic, reject.partition, reject.offset): reject
            for reject in self.outcome.rejects
        }
        mended: list[dict[str, Any]] = rejects.to_dict("records")  # type: ignore[assignment]
        by_origin = {(row["topic"], row["partition"], row["offset"]): row for row in mended}
        rows = [row for origin, row in by_origin.items() if origin in waiting]
        bulk = Bulk(self.index.target, self.index.name)
        try:
            outcome = bulk.send(_documents(rows)) if rows else Outcome()
        finally:
            bulk.close()
        if not outcome.unsent:  # else which of them is there is not known: they may be sent again
            left = [reject for origin, reject in waiting.items() if origin not in by_origin]
            self.outcome.rejects = left + outcome.rejects
            self.outcome.indexed += outcome.indexed
            self.outcome.existing += outcome.existing
            note_load(self.index, self.receipt.window, self.shortfall)
        return outcome.counts

    @property
    def _summary(self) -> str:
        counts = self.counts
        parts = " + ".join(
            f"{counts[name]:,} {name}" for name in ("indexed", "existing", "rejected", "unsent")
        )
        lines = [
            f"{self.index.name} on {self.index.target.name}: {counts['sent']:,} sent = {parts}"
        ]
        if counts["existing"]:
            lines.append(
                "  existing ones are as an earlier load made them; "
                "to make them anew, delete the index and load again"
            )
        if self.outcome.unsent:
            lines.append(
                f"  given up: {self.outcome.first_error or 'the cluster was busy too long'}; load again to go on"
            )
        if self.outcome.rejects:
            lines.append(f"  refused, such as: {self.outcome.rejects[0].reason}; see .rejects")
        return "\n".join(map(visible, lines))  # Elasticsearch's reasons quote records

    def __str__(self) -> str:
        return f"{self._summary}\n{self.receipt}"

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        colour = html.GREEN if self.complete else html.RED
        return html.box(colour, html.lines(self._summary)) + self.receipt._repr_html_()


def _documents(rows: list[dict[str, Any]]) -> Documents:
    origins = [(str(row["topic"]), int(row["partition"]), int(row["offset"])) for row in rows]
    return of_records(origins, pa.array([_source(row["source"]) for row in rows], pa.binary()))


def _source(source: Any) -> bytes:
    if isinstance(source, str):
        try:
            source = orjson.loads(source)
        except orjson.JSONDecodeError as error:
            raise UsageError(
                f"a source is not JSON: {error}", hint="mend it, or leave the row out"
            ) from error
    return orjson.dumps(source)


@dataclass(frozen=True)
class Shape:
    """How a new scratch index is to be: layers of mappings, and settings."""

    mappings: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        template: Mapping[str, Any] | None,
        mapping: Mapping[str, Any] | None,
        settings: Mapping[str, Any] | None,
    ) -> Shape:
        """Return a template's shape, with a mapping and settings put on top."""
        parts = dict(template or {})
        parts = dict(parts.get("template", parts))  # as the template API returns it
        odd = set(parts) - {"mappings", "settings", "aliases", "index_patterns", "order", "version"}
        if odd:
            raise UsageError(
                f"template must have mappings and settings, not {', '.join(sorted(odd))}",
                hint='such as template={"mappings": {…}, "settings": {…}}',
            )
        layers = tuple(layer for layer in (parts.get("mappings"), mapping) if layer)
        return cls(layers, {**parts.get("settings", {}), **(settings or {})})


@dataclass(frozen=True)
class Request:
    """What is asked of a load. It can travel to other processes.

    Attributes
    ----------
    name : str
        Of the index, without its prefix.
    target : str
        The Elasticsearch cluster.
    form : Form
        How records become documents.
    shape : Shape
        How the index is made.
    ttl : str
        After this long it expires.
    patience : str
        How long to go on when the cluster is away or too busy.
    """

    name: str
    target: str
    form: Form = PLAIN
    shape: Shape = field(default_factory=Shape)
    ttl: str = "2d"
    patience: str = "2m"


def load(source: ReadSource, target: Target, request: Request) -> Load:
    """Load a window into a scratch index of this user, streaming.

    An index of that name is added to: records that are in it already are counted as existing. An
    interrupt ends the load early, and so does a cluster that is away or too busy for longer than
    the request's patience; the counts and the receipt say how far it got.
    """
    reading, spec = source.reading, source.spec
    index, where = ScratchIndex(names.scratch_name(request.name), target), condition(spec.where)
    form = request.form.settle(lambda: sample(reading.cluster, reading.plan), source.registry)
    encoder = Encoder(form, source.registry, spec.chain)
    reading.check()  # a window that cannot be read makes no index
    index_uuid = prepare(index, reading.plan, encoder, request, where=spec.where)
    with interrupt.listen() as cancelled:
        encoder.decoder.heed(cancelled)
        outcome, receipt = pour(
            reading, index, encoder, where=where, patience=request.patience, cancelled=cancelled
        )
        finish(index, outcome, index_uuid, request.patience)
    check_names(index, outcome, receipt, where, encoder.chain)
    receipt = explain_empty(reading.cluster, receipt)
    return conclude(Load(index, receipt, outcome, interrupted=cancelled()))


def check_names(
    index: ScratchIndex, outcome: Outcome, receipt: Receipt, where: Where | None, chain: Chain
) -> None:
    """Raise when a field that the condition or an enricher names is in no record.

    An index that has documents of this load alone is deleted: a load of the right name would leave
    them as they are.
    """
    try:
        if where is not None:
            where.check(receipt)
        chain.check()
    except UsageError:
        with suppress(LabkitError):  # a cluster that is away must not hide the error
            if 0 < outcome.indexed == index.target.count(index.name):
                index.drop()
        raise


def conclude(load: Load) -> Load:
    """Note in the index what it lacks of the window, for `labkit.lab.Lab.scratch`."""
    note_load(load.index, load.receipt.window, load.shortfall)
    return load


def prepare(
    index: ScratchIndex, plan: Plan, encoder: Encoder, request: Request, *, where: str | None
) -> str:
    """Make the index for a plan's documents, and as the user wants it.

    A node that dies meanwhile is waited for. Return what `finish` knows the index by.
    """
    shape, target = request.shape, index.target
    mapping = mappings.mapping(*shape.mappings, properties=encoder.properties)

    def make() -> str:
        ensure(index, request.ttl, plan, mapping, shape.settings, form=encoder.form, where=where)
        with target.errors(f"map the fields of {index.name!r}"):
            mappings.extend(target, index.name, encoder.fields)
        return identity(index)

    target.reach(f"make index {index.name!r}")
    return _patiently(make, request.patience)


def _patiently(ask: Callable[[], Answer], patience: str) -> Answer:
    """Return what `ask` returns; what passes is asked again, for as long as `patience`."""
    deadline = time.monotonic() + length_ms(patience) / 1000
    notice = WaitNotice(warn)
    while True:
        try:
            return ask()
        except (ServerError, UnavailableError) as error:
            if not passes(error) or time.monotonic() > deadline:
                raise
            notice.wait("Elasticsearch", f"{error.message} ({patience} at most)")
        time.sleep(AGAIN_S)


def pour(
    reading: Reading,
    index: ScratchIndex,
    encoder: Encoder,
    *,
    where: Where | None = None,
    patience: str,
    cancelled: Cancelled,
) -> tuple[Outcome, Receipt]:
    """Send all that is read and fulfils the condition.

    It ends early when cancelled, or when the cluster takes nothing for longer than `patience`.
    """
    outcome, patience_s = Outcome(), length_ms(patience) / 1000
    cut: set[str] = set()

    notice = WaitNotice(warn)

    def wait(reason: str) -> None:
        notice.wait("Elasticsearch", f"{reason} ({patience} at most)")

    def give_up() -> bool:
        return cancelled() or bool(outcome.unsent)

    bulk = Bulk(
        index.target, index.name, patience_s=patience_s, waiting=wait, give_up=give_up,
        make=lambda name, fields: cut.update(mappings.extend(index.target, name, fields)),
    )  # fmt: skip
    records = Decoding(reading, encoder.decoder, where=where)
    try:
        for docs in encoder.documents(records, give_up):
            bulk.put(docs)
            _book(bulk, outcome, leave=1)
        _book(bulk, outcome)
    finally:
        bulk.close()
    receipt = records.receipt()
    receipt = (
        with_stop_reason(receipt, StopReason.SINK)
        if outcome.unsent and not cancelled()
        else receipt
    )
    warned = (mappings.cut_fractions(index.name, sorted(cut)),) if cut else ()
    return outcome, receipt.with_notes(*encoder.notes, *warned)


def finish(index: ScratchIndex, outcome: Outcome, index_uuid: str, patience: str) -> None:
    """Make what was written visible, where the cluster answers.

    Raise when the index was deleted meanwhile.
    """

    def settle() -> None:
        if outcome.indexed:
            index.refresh()
        require_same(index, index_uuid)

    if not outcome.unsent:
        _patiently(settle, patience)


def _book(bulk: Bulk, outcome: Outcome, leave: int = 0) -> None:
    for _, settled_outcome in bulk.take_settled(leave):
        outcome.add(settled_outcome)


def with_stop_reason(receipt: Receipt, reason: StopReason) -> Receipt:
    """Replace "interrupt" by the actual stop reason."""
    partitions = tuple(
        replace(partition, stop_reason=reason)
        if partition.stop_reason == StopReason.INTERRUPT
        else partition
        for partition in receipt.partitions
    )
    return replace(receipt, partitions=partitions)


def _records_were(count: int) -> str:
    return "1 record was" if count == 1 else f"{count:,} records were"
