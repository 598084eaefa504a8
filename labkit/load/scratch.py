"""Scratch indices: throw-away indices of one user's lab, named ``scratch-<user>-…``, with an expiry of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from labkit import interrupt, names
from labkit.elastic import Target
from labkit.errors import UsageError
from labkit.load.bulk import MAPPING, SETTINGS, Bulk, Documents, Outcome, Reject
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.times import iso, length_ms, now_ms

if TYPE_CHECKING:
    import pandas as pd

REJECT_COLUMNS = tuple(Reject.__dataclass_fields__)


@dataclass(frozen=True)
class ScratchIndex:
    """One scratch index.

    Attributes
    ----------
    name : str
        ``scratch-<user>-…``
    target : Target
        The cluster it is on.
    """

    name: str
    target: Target

    def count(self) -> int:
        """Return how many documents it holds, asked of the server."""
        return self.target.count(self.name)

    def drop(self) -> None:
        """Delete it."""
        names.scratch_index(self.name)
        with self.target.errors(f"delete index {self.name!r}"):
            self.target.client.indices.delete(index=self.name)

    def search(self, **body: Any) -> dict[str, Any]:
        """Ask Elasticsearch; the keywords are those of ``Elasticsearch.search``."""
        with self.target.errors(f"search index {self.name!r}"):
            return dict(self.target.client.search(index=self.name, **body))

    def __str__(self) -> str:
        return self.name


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
    """

    index: ScratchIndex
    receipt: Receipt
    outcome: Outcome = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """The ledger: ``sent = indexed + existing + rejected + unsent``; existing ones were there before."""
        return self.outcome.counts

    @property
    def complete(self) -> bool:
        """Whether the whole window was read and each of its records has its document."""
        return self.receipt.complete and not self.outcome.rejects and not self.outcome.unsent

    @property
    def rejects(self) -> pd.DataFrame:
        """The refused records: topic, partition, offset, status, type, reason, source."""
        import pandas as pd

        rows = [tuple(getattr(one, name) for name in REJECT_COLUMNS) for one in self.outcome.rejects]
        return pd.DataFrame(rows, columns=list(REJECT_COLUMNS))

    def resend(self, rejects: pd.DataFrame) -> dict[str, int]:
        """Send mended rejects again, under the same ``_id``; return the ledger of this sending.

        Parameters
        ----------
        rejects : DataFrame
            Rows of `rejects` whose ``source`` was mended: JSON text or a dict.
        """
        missing = {"topic", "partition", "offset", "source"} - set(rejects.columns)
        if missing:
            raise UsageError(f"columns are missing: {', '.join(sorted(missing))}", hint="mend rows of load.rejects")
        rows: list[dict[str, Any]] = rejects.to_dict("records")  # type: ignore[assignment]
        bulk = Bulk(self.index.target, self.index.name)
        try:
            outcome = bulk.send(_documents(rows)) if rows else Outcome()
        finally:
            bulk.close()
        sent = {(row["topic"], row["partition"], row["offset"]) for row in rows}
        kept = [one for one in self.outcome.rejects if (one.topic, one.partition, one.offset) not in sent]
        self.outcome.rejects = kept + outcome.rejects
        self.outcome.indexed += outcome.indexed
        self.outcome.existing += outcome.existing
        self.outcome.unsent += outcome.unsent
        return outcome.counts

    def __str__(self) -> str:
        counts = self.counts
        ledger = " + ".join(f"{counts[name]:,} {name}" for name in ("indexed", "existing", "rejected", "unsent"))
        lines = [f"{self.index.name} on {self.index.target.name}: {counts['sent']:,} sent = {ledger}"]
        if self.outcome.unsent:
            lines.append(
                f"  given up: {self.outcome.first_error or 'the cluster was busy too long'}; load again to go on"
            )
        if self.outcome.rejects:
            lines.append(f"  refused, such as: {self.outcome.rejects[0].reason}; see .rejects")
        return "\n".join([*lines, str(self.receipt)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = "#2e7d32" if self.complete else "#c62828"
        text = escape(str(self).split("\n" + str(self.receipt))[0]).replace("\n", "<br>")
        box = f'<div style="border-left:4px solid {colour};padding:2px 12px">{text}</div>'
        return box + self.receipt._repr_html_()


def _documents(rows: list[dict[str, Any]]) -> Documents:
    origin = pa.RecordBatch.from_pydict(
        {
            "topic": pa.array([str(row["topic"]) for row in rows]),
            "partition": pa.array([int(row["partition"]) for row in rows], pa.int32()),
            "offset": pa.array([int(row["offset"]) for row in rows], pa.int64()),
            "timestamp": pa.nulls(len(rows), pa.timestamp("ms", tz="UTC")),
            "value": pa.array([_source(row["source"]) for row in rows], pa.binary()),
        }
    )
    ids = pa.array([f"{row['topic']}-{int(row['partition'])}-{int(row['offset'])}" for row in rows])
    return Documents(ids, origin.column("value"), origin)


def _source(source: Any) -> bytes:
    if isinstance(source, str):
        try:
            source = orjson.loads(source)
        except orjson.JSONDecodeError as error:
            raise UsageError(f"a source is not JSON: {error}", hint="mend it, or leave the row out") from error
    return orjson.dumps(source)


def load(reading: Reading, name: str, target: Target, *, ttl: str = "2d") -> Load:
    """Load a window into the scratch index `name` of this user, streaming.

    An index of that name is added to: records that are in it already are counted as existing. An interrupt ends the
    load early; the counts and the receipt say how far it got.
    """
    index = ScratchIndex(names.scratch_name(name), target)
    ensure(index, ttl, reading)
    outcome = Outcome()
    with interrupt.asked() as reading.interrupted:
        bulk = Bulk(target, index.name, give_up=reading.interrupted)
        try:
            for batch in reading.batches():
                outcome.add(bulk.write(batch))
        finally:
            bulk.close()
        if outcome.indexed:
            with target.errors(f"refresh index {index.name!r}"):
                target.client.indices.refresh(index=index.name)
    return Load(index, reading.receipt(), outcome)


def ensure(index: ScratchIndex, ttl: str, reading: Reading) -> None:
    """Make the index, or put off the expiry of the one that is there."""
    expires = now_ms() + length_ms(ttl)
    meta = {"made_by": names.user(), "topic": reading.plan.topic, "window": reading.plan.hash, "expires": iso(expires)}
    client = index.target.client
    with index.target.errors(f"make index {index.name!r}"):
        if client.indices.exists(index=index.name):
            client.indices.put_mapping(index=index.name, meta={"labkit": meta})
        else:
            mapping = {**MAPPING, "_meta": {"labkit": meta}}
            client.indices.create(index=index.name, mappings=mapping, settings=SETTINGS)


def listed(targets: Iterable[Target], *, everyone: bool = False) -> list[dict[str, Any]]:
    """Return one row per scratch index: index, target, documents, bytes, topic, expires, expired."""
    mine = names.SCRATCH_PREFIX + ("*" if everyone else f"{names.user()}-*")
    rows = []
    for target in targets:
        with target.errors("list the scratch indices"):
            found = target.client.indices.get_mapping(index=mine, allow_no_indices=True)
            stats = target.client.indices.stats(index=mine, metric="docs,store")["indices"]
        for name, entry in sorted(found.items()):
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


def collect(targets: Iterable[Target]) -> list[str]:
    """Delete this user's expired scratch indices; return their names."""
    known = {target.name: target for target in targets}
    gone = []
    for row in listed(known.values()):
        if row["expired"]:
            ScratchIndex(row["index"], known[row["target"]]).drop()
            gone.append(row["index"])
    return gone
