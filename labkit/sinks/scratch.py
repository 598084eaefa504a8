"""Scratch indices: throw-away indices of one user's lab, with an expiry of their own.

Their names are ``scratch-<user>-…``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import escape
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from labkit import html, interrupt, names
from labkit.decode.pipeline import Decoding, condition
from labkit.elastic import Target
from labkit.errors import LabkitError, NotFoundError, UsageError
from labkit.es import mappings
from labkit.es.bulk import Bulk, Outcome
from labkit.es.documents import Documents, Reject, of_records
from labkit.es.encode import PLAIN, Encoder, Form
from labkit.es.index import Index, condition_of, kept_notes
from labkit.interrupt import Cancelled
from labkit.read_spec import ReadSource
from labkit.replay.plan import Plan
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt, StopReason
from labkit.replay.sample import sample
from labkit.sinks import topic
from labkit.times import iso, length_ms, now_ms
from labkit.wait_notice import WaitNotice

if TYPE_CHECKING:
    import pandas as pd

    from labkit.decode.filter import Where
    from labkit.kafka import Cluster

REJECT_COLUMNS = tuple(Reject.__dataclass_fields__)


@dataclass(frozen=True, repr=False)
class ScratchIndex(Index):
    """One scratch index, ``scratch-<user>-…``: it is read as any `Index`, and can be dropped."""

    def refresh(self) -> None:
        """Make what was written visible."""
        with self.target.errors(f"refresh index {self.name!r}"):
            self.target.client.indices.refresh(index=self.name)

    def extend(self, ttl: str = "2d") -> str:
        """Let it expire `ttl` from now; return when that is, in UTC.

        The expiry stands in the index's own ``_meta``; `Lab.gc` reads it.
        """
        names.scratch_index(self.name)
        expires = iso(now_ms() + length_ms(ttl)) or ""
        with self.target.errors(f"put off the expiry of {self.name!r}"):
            client = self.target.client.indices
            meta = client.get_mapping(index=self.name)[self.name]["mappings"].get("_meta", {})
            labkit_meta = {**meta.get("labkit", {}), "expires": expires}
            client.put_mapping(index=self.name, meta={**meta, "labkit": labkit_meta})
        return expires

    def drop(self) -> None:
        """Delete it."""
        names.scratch_index(self.name)
        with self.target.errors(f"delete index {self.name!r}"):
            self.target.client.indices.delete(index=self.name)


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

    @property
    def counts(self) -> dict[str, int]:
        """The ledger: ``sent = indexed + existing + rejected + unsent``.

        Existing ones were there before.
        """
        return self.outcome.counts

    @property
    def complete(self) -> bool:
        """Whether the whole window was read and each of its records has its document."""
        return self.receipt.complete and not self.outcome.rejects and not self.outcome.unsent

    @property
    def rejects(self) -> pd.DataFrame:
        """The refused records: topic, partition, offset, status, type, reason, source."""
        import pandas as pd

        cells = attrgetter(*REJECT_COLUMNS)
        rows = [cells(reject) for reject in self.outcome.rejects]
        return pd.DataFrame(rows, columns=list(REJECT_COLUMNS))

    def resend(self, rejects: pd.DataFrame) -> dict[str, int]:
        """Send mended rejects again, under the same ``_id``; return the ledger of this sending.

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
        return outcome.counts

    def __str__(self) -> str:
        counts = self.counts
        ledger = " + ".join(
            f"{counts[name]:,} {name}" for name in ("indexed", "existing", "rejected", "unsent")
        )
        lines = [
            f"{self.index.name} on {self.index.target.name}: {counts['sent']:,} sent = {ledger}"
        ]
        if self.outcome.unsent:
            lines.append(
                f"  given up: {self.outcome.first_error or 'the cluster was busy too long'}; load again to go on"
            )
        if self.outcome.rejects:
            lines.append(f"  refused, such as: {self.outcome.rejects[0].reason}; see .rejects")
        return "\n".join([*lines, str(self.receipt)])

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        text = escape(str(self).split("\n" + str(self.receipt))[0]).replace("\n", "<br>")
        return (
            html.box(html.GREEN if self.complete else html.RED, text) + self.receipt._repr_html_()
        )


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
                f"template= has {', '.join(sorted(odd))}",
                hint='give {"mappings": …, "settings": …}',
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
    form = request.form.settled(lambda: sample(reading.cluster, reading.plan), source.registry)
    encoder = Encoder(form, source.registry, spec.chain)
    index_uuid = prepare(index, reading.plan, encoder, request, where=spec.where)
    with interrupt.listen() as cancelled:
        encoder.module.heed(cancelled)
        outcome, receipt = pour(
            reading, index, encoder, where=where, patience=request.patience, cancelled=cancelled
        )
        finish(index, outcome, index_uuid)
    if where is not None:
        where.check(receipt)
    encoder.chain.check()
    return Load(index, receipt, outcome, interrupted=cancelled())


def _identity(index: ScratchIndex) -> str:
    """Return what tells an index from a later one of its name."""
    with index.target.errors(f"look at index {index.name!r}"):
        settings = index.target.client.indices.get_settings(
            index=index.name, name="index.uuid", flat_settings=True
        )
    return str(settings[index.name]["settings"]["index.uuid"])


def _require_same(index: ScratchIndex, index_uuid: str) -> None:
    """Raise when the index was deleted during the load.

    Elasticsearch makes it anew, as it sees fit, for the rest.
    """
    with suppress(NotFoundError):
        if _identity(index) == index_uuid:
            return
        meta = index.target.client.indices.get_mapping(index=index.name)[index.name][
            "mappings"
        ].get("_meta", {})
        if "labkit" not in meta:  # nobody's but this load's
            index.drop()
    raise NotFoundError(
        f"index {index.name!r} was deleted while it was loaded",
        hint="load again; did another notebook drop it, or `labkit gc` after it expired?",
        index=index.name,
    )


def prepare(
    index: ScratchIndex, plan: Plan, encoder: Encoder, request: Request, *, where: str | None
) -> str:
    """Make the index for a plan's documents, and as the user wants it.

    Return what `finish` knows it by.
    """
    shape = request.shape
    mapping = mappings.mapping(*shape.mappings, properties=encoder.properties)
    ensure(index, request.ttl, plan, mapping, shape.settings, form=encoder.form, where=where)
    with index.target.errors(f"map the fields of {index.name!r}"):
        mappings.extend(index.target, index.name, encoder.fields)
    return _identity(index)


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

    notice = WaitNotice(lambda text: interrupt.warn(text, UserWarning))

    def wait(reason: str) -> None:
        notice.wait("Elasticsearch", f"{reason} ({patience} at most)")

    def give_up() -> bool:
        return cancelled() or bool(outcome.unsent)

    bulk = Bulk(
        index.target, index.name, patience_s=patience_s, waiting=wait, give_up=give_up,
        make=lambda name, fields: cut.update(mappings.extend(index.target, name, fields)),
    )  # fmt: skip
    records = Decoding(reading, encoder.module, where=where)
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


def finish(index: ScratchIndex, outcome: Outcome, index_uuid: str) -> None:
    """Make what was written visible, where the cluster answers.

    Raise when the index was deleted meanwhile.
    """
    if outcome.unsent:
        return
    if outcome.indexed:
        index.refresh()
    _require_same(index, index_uuid)


def _book(bulk: Bulk, outcome: Outcome, leave: int = 0) -> None:
    for _, settled_outcome in bulk.settled(leave):
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


def ensure(
    index: ScratchIndex,
    ttl: str,
    plan: Plan,
    mapping: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    form: Form = PLAIN,
    where: str | None = None,
) -> None:
    """Make the index, or put off the expiry of the one that is there.

    It keeps the condition of its loads, as long as all have the same.
    """
    expires = now_ms() + length_ms(ttl)
    meta = {
        "made_by": names.user(),
        "topic": plan.topic,
        "window": plan.hash,
        "expires": iso(expires),
        **form.meta,
    }
    with index.target.errors(f"make index {index.name!r}"):
        if where is not None and (
            not index.target.has_index(index.name) or where == condition_of(kept_notes(index))
        ):
            meta["where"] = where
        shape = {**mapping, "_meta": {"labkit": meta}}
        mappings.ensure(index.target, index.name, shape, {**mappings.SETTINGS, **(settings or {})})
        index.target.client.indices.put_mapping(index=index.name, meta={"labkit": meta})


def listed(target: Target) -> list[dict[str, Any]]:
    """Return one row per scratch index.

    Its columns: index, target, documents, bytes, topic, expires, expired.
    """
    mine = f"{names.SCRATCH_PREFIX}{names.user()}-*"
    rows = []
    with target.errors("list the scratch indices"):
        answer = target.client.indices.get_mapping(index=mine, allow_no_indices=True)
        stats = target.client.indices.stats(index=mine, metric="docs,store")["indices"]
    for name, entry in sorted(answer.items()):
        meta = entry["mappings"].get("_meta", {}).get("labkit", {})
        primaries = stats.get(name, {}).get("primaries", {})
        rows.append(
            {
                "index": name,
                "target": target.name,
                "documents": primaries.get("docs", {}).get("count", 0),
                "bytes": primaries.get("store", {}).get("size_in_bytes", 0),
                "topic": meta.get("topic"),
                "expires": meta.get("expires"),
                "expired": bool(meta.get("expires")) and meta["expires"] < (iso(now_ms()) or ""),
            }
        )
    return rows


def scratch_frame(targets: Iterable[Target], cluster: Cluster) -> pd.DataFrame:
    """Return this user's scratch indices and topics; see `labkit.lab.Lab.scratch`."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    errors: list[LabkitError] = []
    target_list = list(targets)
    for target in target_list:
        try:
            rows += [{"kind": "index", **row} for row in listed(target)]
        except LabkitError as error:
            errors.append(error)
            if len(errors) == len(target_list):
                raise
            warnings.warn(f"{target.name} is left out: {error.message}", stacklevel=3)
    try:
        rows += topic.listed(cluster)
    except LabkitError as error:
        warnings.warn(f"scratch topics are left out: {error.message}", stacklevel=3)
    columns = ["kind", "index", "target", "documents", "bytes", "topic", "expires", "expired"]
    return pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})


def collect(target: Target) -> list[str]:
    """Delete this user's expired scratch indices; return their names."""
    gone = []
    for row in listed(target):
        if row["expired"]:
            with suppress(NotFoundError):  # somebody else's gc was faster
                ScratchIndex(row["index"], target).drop()
                gone.append(row["index"])
    return gone
