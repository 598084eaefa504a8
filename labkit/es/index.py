"""Read an index back, whoever wrote it: all of its documents, some, or counts of them.

Nothing here writes. Documents are read at one point in time, page after page (``search_after``):
what is written meanwhile is not seen, and no window of 10,000 hits ends it. Fields become typed
columns by the rule of `labkit.decode.json`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.checks import names
from labkit.checks.habits import no_attribute, no_rows
from labkit.checks.suggest import did_you_mean, unknown_field
from labkit.checks.user_line import warn
from labkit.checks.validation import renamed, whole_number
from labkit.elastic import Target, count_of
from labkit.errors import IncompleteWarning, UsageError
from labkit.es import aggregations, mappings
from labkit.es.fields import UNMAPPED, is_known, known_fields
from labkit.es.index_files import IndexFiles
from labkit.es.point_in_time import asking, pages
from labkit.es.query import fields_in, query_of
from labkit.es.table import decode_batches
from labkit.text import html
from labkit.text.visible import brief, visible
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled, never

if TYPE_CHECKING:
    import pandas as pd

    from labkit.profile.result import Profile


@dataclass(frozen=True, repr=False)
class Index(IndexFiles):
    """An index, a pattern of indices or an alias, to be read.

    Attributes
    ----------
    name : str
    target : Target
        The cluster it is on.
    timezone : tzinfo
        In which times of documents are shown, and charted.
    """

    name: str
    target: Target
    timezone: tzinfo = field(default=UTC, kw_only=True, compare=False)

    if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

        def __getattr__(self, name):
            """Point those who know pandas to the frame of the documents."""
            thing = "an index has no .{name}, a frame of its documents has"
            raise no_attribute(self, name, thing, "index.to_pandas()")

        def __iter__(self):
            """Point those who make a frame of it to its own."""
            raise no_rows("an index", "index.to_pandas()")

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r} on {self.target.name})"

    @html.view
    def _repr_html_(self) -> str:
        kind = "scratch index" if type(self) is not Index else "index"
        next_ = "<code>.to_pandas()</code> <code>.sample(10)</code> <code>.count(query)</code> <code>.agg(by)</code>"
        return f"<b>{kind}</b> <code>{escape(self.name)}</code> on {escape(self.target.name)}<br>next: {next_}"

    def refresh(self) -> None:
        """Make what was written visible.

        Only for an index of one's own, a reader leaves others as they are.
        """

    def search(self, **body: Any) -> dict[str, Any]:
        """Ask Elasticsearch; the keywords are those of ``Elasticsearch.search``.

        A shard that does not answer is an error: what the others say is no answer.
        """
        with asking(self.target, f"search index {self.name!r}"):
            return dict(
                self.target.client.search(
                    index=self.name, allow_partial_search_results=False, **body
                )
            )

    def count(self, query: str | Mapping[str, Any] | None = None) -> int:
        """Return how many documents there are, or fulfil `query`, asked of the server.

        Parameters
        ----------
        query : str or dict, optional
            Elasticsearch's query DSL as a dict, or a text such as ``"nick:alice AND
            command:PRIVMSG"``.
        """
        self.warn_when_incomplete()
        return self._count(query)

    def _count(self, query: str | Mapping[str, Any] | None = None) -> int:
        self.refresh()
        action = f"count the documents of {self.name!r}"
        with asking(self.target, action):
            answer = self.target.client.count(
                index=self.name, query=self._query(query), allow_no_indices=False
            )
        return count_of(answer.body, action)

    def mapping(self) -> dict[str, Any]:
        """Return each index's mapping, by its name."""
        with asking(self.target, f"read the mapping of {self.name!r}"):
            answer = self.target.client.indices.get_mapping(index=self.name, allow_no_indices=False)
        return {name: dict(entry["mappings"]) for name, entry in answer.items()}

    def fields(self) -> dict[str, dict[str, Any]]:
        """Return each field's types.

        Asked of ``_field_caps``, which needs no more than the right to read.
        """
        fields = self.field_caps()
        for kinds in fields.values():
            kinds.pop(UNMAPPED, None)
        return fields

    def field_caps(self) -> dict[str, dict[str, Any]]:
        """Return each field's types; ``unmapped`` has the indices of a pattern that lack it."""
        with asking(self.target, f"list the fields of index {self.name!r}"):
            answer = self.target.client.field_caps(
                index=self.name, fields="*", include_unmapped=True, allow_no_indices=False
            )
        return dict(sorted(answer["fields"].items()))

    def warn_when_incomplete(self) -> None:
        """Warn the caller when a scratch index has not all of a window that was loaded into it."""
        for note in shortfall_notes(self):
            warn(note, IncompleteWarning)

    # documents -------------------------------------------------------------------------------------------

    @renamed(stop="cancelled")
    def batches(
        self,
        query: str | Mapping[str, Any] | None = None,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        cancelled: Cancelled = never,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the documents as Arrow batches of `BATCH_SCHEMA`, in constant memory.

        Parameters
        ----------
        query : str or dict, optional
            As for `count`.
        fields : sequence of str, optional
            Only these of each document, such as ``["nick", "geo.*"]``.
        limit : int, optional
            At most so many.
        cancelled : callable
            Asked before each page; once it says so, no more are read.

        Raises
        ------
        NotFoundError
            When there is no such index, or when it vanishes while it is read.
        """
        body = {"query": self._query(query), "sort": [{"_shard_doc": "asc"}]}
        yield from self._pages(body, fields, limit, cancelled)

    def _pages(
        self,
        body: dict[str, Any],
        fields: Sequence[str] | None,
        limit: int | None,
        cancelled: Cancelled,
    ) -> Iterator[pa.RecordBatch]:
        self._count()  # a pattern that matches nothing is an error, not an empty read
        self._check_fields([fields] if isinstance(fields, str) else fields or ())
        yield from pages(
            self.target, self.name, body, fields=fields, limit=limit, cancelled=cancelled
        )

    def _query(self, query: str | Mapping[str, Any] | None) -> dict[str, Any]:
        self._check_fields(fields_in(query))
        return query_of(query)

    def _check_fields(self, names: Sequence[str]) -> None:
        """Refuse a name that is nearly a field's.

        What is not mapped may be in documents all the same.
        """
        plain = [name for name in names if "*" not in name and not name.startswith("_")]
        fields = self.fields() if plain else {}
        for name in plain:
            if not is_known(fields, name) and did_you_mean(name, fields):
                raise unknown_field(name, known_fields(fields))

    def profile(
        self, query: str | Mapping[str, Any] | None = None, *, limit: int | None = None
    ) -> Profile:
        """Return what is in the documents: every field, its types, values and shares.

        See `labkit.Window.profile`.

        Parameters
        ----------
        query : str or dict, optional
            As for `count`.
        limit : int, optional
            Look at the first so many documents only; the profile says so.
        """
        from labkit.profile.collect import of_documents

        self.warn_when_incomplete()
        total = self._count(query)
        with interrupt.listen() as cancelled:
            return of_documents(
                self.name, self.batches(query, limit=limit, cancelled=cancelled), total=total
            )

    # tables ----------------------------------------------------------------------------------------------

    def to_arrow(
        self,
        query: str | Mapping[str, Any] | None = None,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        on_interrupt: interrupt.OnInterrupt = "raise",
    ) -> pa.Table:
        """Return the documents as one Arrow table.

        The options and columns are those of `to_pandas`.
        """
        return self._table(
            {"query": self._query(query), "sort": [{"_shard_doc": "asc"}]},
            fields,
            limit,
            on_interrupt,
        )

    def to_pandas(
        self,
        query: str | Mapping[str, Any] | None = None,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        on_interrupt: interrupt.OnInterrupt = "raise",
    ) -> pd.DataFrame:
        """Return the documents as a DataFrame.

        Parameters
        ----------
        query, fields, limit
            As for `batches`.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, which has what was read as its ``.frame``;
            or return that, with a warning.

        Returns
        -------
        DataFrame
            One row per document: ``_id _topic _partition _offset`` (missing where an ``_id`` names
            no record), the document's fields, ``_error``. ``frame.attrs["complete"]`` is False when
            an interrupt ended it early.
        """
        return self._frame(
            self.to_arrow(query, fields=fields, limit=limit, on_interrupt=on_interrupt)
        )

    def sample(
        self,
        n: int = 10,
        query: str | Mapping[str, Any] | None = None,
        *,
        fields: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Return `n` documents by chance, with the columns of `to_pandas`.

        The same ones for the same `seed`.
        """
        n = whole_number(n, "n", "how many documents, such as 10", low=1)
        # the same on each page
        luck = {"seed": random.getrandbits(31) if seed is None else seed, "field": "_seq_no"}
        query = {
            "function_score": {
                "query": self._query(query),
                "random_score": luck,
                "boost_mode": "replace",
            }
        }
        body = {"query": query, "sort": [{"_score": "desc"}, {"_shard_doc": "asc"}]}
        return self._frame(self._table(body, fields, n, "raise"))

    def _table(
        self,
        body: dict[str, Any],
        fields: Sequence[str] | None,
        limit: int | None,
        on_interrupt: interrupt.OnInterrupt,
    ) -> pa.Table:
        interrupt.check_policy(on_interrupt)
        self.warn_when_incomplete()
        with interrupt.listen() as cancelled:
            pages_read = self._pages(body, fields, limit, cancelled)
            table = decode_batches(pages_read, lambda note: warn(f"{self.name!r}: {note}"))
            complete = not cancelled()
        table = table.replace_schema_metadata({"complete": str(complete).lower()})
        if not complete:
            text = f"{len(table):,} documents of {self.name} were read, not all"
            if on_interrupt == "raise":
                raise interrupt.stop_error(f"stopped: {text}", frame=self._frame(table))
            warn(f"interrupted: {text}", IncompleteWarning)
        return table

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        from labkit.tables.dataframe import in_zone, to_pandas

        complete = (table.schema.metadata or {}).get(b"complete") == b"true"
        frame = in_zone(to_pandas(table.replace_schema_metadata(None)), self.timezone)
        frame.attrs["complete"] = complete
        return frame

    def agg(
        self,
        by: str | Sequence[str] | None = None,
        *,
        every: str | None = None,
        metrics: Sequence[str] = (),
        query: str | Mapping[str, Any] | None = None,
        limit: int | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Count and measure documents where they are: Elasticsearch aggregates, none is fetched.

        Parameters
        ----------
        by : str or sequence of str, optional
            A row for each value of these fields, or each combination; documents without one are a
            row of their own, and so are those whose text is longer than the field's
            ``ignore_above``.
        every : str, optional
            ``"1h"``: a row per bucket of so long, in UTC, of ``@timestamp`` or of the dates named
            in `by`.
        metrics : sequence of str
            Such as ``"avg:bytes"``, ``"max:@timestamp"``, ``"cardinality:nick"``: columns beside
            ``documents``.
        query : str or dict, optional
            As for `count`.
        limit : int, optional
            At most so many rows: those with the most documents.
        body : dict, optional
            In place of `by`, `every` and `metrics`: aggregations in Elasticsearch's own form; each
            innermost bucket is a row.

        Returns
        -------
        DataFrame
            By time, or else by documents, descending. Exact: all buckets are read, page by page.

        Raises
        ------
        UsageError
            When there is no such field, it is below a nested one, or the indices of a pattern
            disagree on it.

        Warns
        -----
        IncompleteWarning
            When a scratch index has not all of its window, or a metric is without documents whose value is not indexed.

        Examples
        --------
        >>> index.agg("channel", metrics=["cardinality:nick"])  # doctest: +SKIP
        >>> index.agg(["channel"], every="1d")  # doctest: +SKIP
        """
        self.refresh()
        self.warn_when_incomplete()
        if body is not None:
            if by or every or metrics:
                raise UsageError(
                    "body= cannot be combined with by=, every= or metrics=",
                    hint="give one or the other",
                )
            answer = self.search(size=0, query=self._query(query), aggs=dict(body))
            return aggregations.flatten_buckets(answer["aggregations"])
        asking = aggregations.Asking.of(self.field_caps(), by, every, metrics, limit)
        return asking.frame(
            lambda aggs: self.search(
                size=0, query=self._query(query), track_total_hits=True, aggs=aggs
            )
        )


@dataclass(frozen=True, repr=False)
class Part(Index):
    """The documents of an index that fulfil a query: only to be counted, by `search`."""

    query: str | Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name} where {visible(brief(str(self.query), 60))}"

    def search(self, *, query: Mapping[str, Any] | None = None, **body: Any) -> dict[str, Any]:
        """Ask Elasticsearch about those of its documents that also fulfil `query`."""
        return super().search(
            query={"bool": {"filter": [self._query(self.query), self._query(query)]}}, **body
        )


def notes_kept(index: Index) -> list[dict[str, Any]]:
    """Return what labkit keeps, in the mapping of each index, of how its documents were made."""
    return [mappings.notes_in(mapping) for mapping in index.mapping().values()]


def shortfall_notes(index: Index) -> list[str]:
    """Return a line for each reason why a scratch index has not all of a window."""
    if not index.name.startswith(names.SCRATCH_PREFIX):
        return []
    kept = [mappings.shortfalls_in(notes) for notes in notes_kept(index)]
    reasons = sorted({why for shortfalls in kept for why in shortfalls.values()})
    return [f"{index.name!r} has not all of its window: {why}" for why in reasons]


def condition_of(kept: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the condition that left records out, of `notes_kept`.

    It is None without a condition, or where indices differ. A condition reaches no files and no
    network, whoever wrote it there.
    """
    conditions = {meta.get("where") for meta in kept}
    condition = conditions.pop() if len(conditions) == 1 else None
    return condition if isinstance(condition, str) else None
