"""Enrichers one after the other, for tables and for documents.

An enricher that reads one field sees each distinct value once; what it adds is then taken for all
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from labkit.checks.suggest import did_you_mean
from labkit.decode import fields
from labkit.enrich.functions import FunctionError
from labkit.enrich.shapes import Change, Unwrap
from labkit.errors import UsageError
from labkit.replay.notes import NoteSource, notes_about
from labkit.tables.nested import field_column, field_names

SLICE_ROWS = 100_000
MOST_FAILURES = 100


class Enricher(Protocol):
    """Columns in, more columns out.

    Attributes
    ----------
    field : str or None
        The one field it reads, as text; None when it reads all columns.
    properties : mapping
        How Elasticsearch is to index what it adds.
    """

    @property
    def field(self) -> str | None: ...

    @property
    def properties(self) -> Mapping[str, Any]: ...

    def add(self, table: pa.Table) -> pa.Table:
        """Return the new columns, a row for each row of `table`."""

    def notes(self) -> tuple[str, ...]:
        """Return what a receipt should tell."""


@dataclass
class Added:
    """What a chain adds to a batch's documents.

    Attributes
    ----------
    parts : list
        For each enricher the distinct rows it added, and which of them each record has (null:
        none).
    failures : dict
        Row to reason.
    """

    parts: list[tuple[pa.Table, pa.Array]] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)

    def column(self, name: str) -> Any:
        """Return an added column, or None."""
        for table, rows in reversed(self.parts):
            if name in table.column_names:
                return table.column(name).take(rows)
        return None


def _flat(some: Any) -> Iterator[Any]:
    if isinstance(some, str) or not isinstance(some, Iterable):
        yield some
        return
    for part in some:
        yield from _flat(part) if isinstance(part, list | tuple) else [part]


class Chain:
    """A list of enrichers; lists in it are taken apart.

    Raises
    ------
    UsageError
        When one of them is not an enricher.
    """

    def __init__(self, enrichers: Iterable[Enricher | Iterable[Enricher]] | Enricher) -> None:
        listed = list(_flat(enrichers))
        for enricher in listed:
            if not (hasattr(enricher, "add") and hasattr(enricher, "field")):
                raise UsageError(
                    f"enrich must be enrichers, not {enricher!r}",
                    hint="write such as enrich=[labkit.enrich.geoip('ip')]; a function goes into labkit.enrich.apply()",
                )
        names = [name for enricher in listed for name in enricher.properties]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(
                f"enrich: {twice[0]!r} would be added twice", hint="give one of them another prefix"
            )
        self.enrichers: tuple[Enricher, ...] = tuple(listed)
        self._missing = {enricher.field for enricher in listed if enricher.field is not None}
        self._sample: pa.BinaryArray | None = None

    def __bool__(self) -> bool:
        return bool(self.enrichers)

    @property
    def properties(self) -> dict[str, Any]:
        """How Elasticsearch is to index what is added."""
        rules: dict[str, Any] = {}
        for enricher in self.enrichers:
            rules |= enricher.properties
        return rules

    @property
    def finds_errors(self) -> bool:
        """Whether an enricher puts reasons into ``_error``."""
        return any(isinstance(enricher, Unwrap) for enricher in self.enrichers)

    def opens_texts(self, schema: Any) -> bool:
        """Tell whether enrichers take JSON texts apart, of records with a decoder's schema."""
        return any(
            enricher.opens_texts(schema)
            for enricher in self.enrichers
            if isinstance(enricher, Change)
        )

    def open_texts(self, values: pa.BinaryArray) -> pa.BinaryArray:
        """Return JSON records with objects in the place of the texts that are taken apart."""
        for enricher in self.enrichers:
            values = enricher.open_texts(values) if isinstance(enricher, Change) else values
        return values

    def notes(self) -> tuple[str, ...]:
        """Return what the receipt should tell."""
        texts = dict.fromkeys(note for enricher in self.enrichers for note in enricher.notes())
        return tuple(notes_about(NoteSource.ENRICHMENT, texts))

    # tables ------------------------------------------------------------------------------------------

    def table(self, table: pa.Table) -> pa.Table:
        """Return a decoded table with the added columns at its end.

        Raises
        ------
        UsageError
            When a field is not there, or a function fails.
        """
        for enricher in self.enrichers:
            if isinstance(enricher, Change):
                table = enricher.change(table, whole=True)
                continue
            if enricher.field is not None:
                # an empty window has no fields
                none = not len(table) and enricher.field not in table.column_names
                column = (
                    pa.chunked_array([], pa.string())
                    if none
                    else _text_column(table, enricher.field)
                )
                distinct = column.dictionary_encode().combine_chunks()
                added = _take_rows(
                    enricher.add(pa.table({enricher.field: distinct.dictionary})), distinct.indices
                )
            elif not len(table):
                continue
            else:
                pieces = [
                    enricher.add(table.slice(first, SLICE_ROWS))
                    for first in range(0, max(1, len(table)), SLICE_ROWS)
                ]
                added = _together(pieces)
            table = _append_columns(table, added)
        return table

    @property
    def changes(self) -> tuple[Change, ...]:
        """The enrichers that change what fields a document has.

        Raises
        ------
        UsageError
            When one comes after what adds fields: those are added to the finished document.
        """
        first = tuple(takewhile(lambda one: isinstance(one, Change), self.enrichers))
        late = [
            enricher for enricher in self.enrichers[len(first) :] if isinstance(enricher, Change)
        ]
        if late:
            raise UsageError(
                f"enrich: {late[0]!r} must come before what adds fields",
                hint="put it first in the list",
            )
        return first  # type: ignore[return-value]

    def change_fields(self, batch: pa.Table) -> pa.Table:
        """Return the decoded table of a batch of documents with its fields changed."""
        for change in self.changes:
            batch = change.change(batch, whole=False)
        return batch

    # documents ---------------------------------------------------------------------------------------

    def added_columns(
        self, batch: pa.RecordBatch, decode: Callable[[pa.RecordBatch], pa.Table]
    ) -> Added:
        """Return what is added to a raw batch's documents.

        `decode` makes columns of all fields, where needed.
        """
        result = Added()
        values = batch.column("value")
        raw = fields.texts(
            values, [enricher.field for enricher in self.enrichers if enricher.field is not None]
        )
        table: pa.Table | None = None
        for enricher in self.enrichers[len(self.changes) :]:
            if enricher.field is None:
                table = decode(batch) if table is None else table
                result.parts.append(_function(enricher, _with(table, result), result.failures))
                continue
            column = result.column(enricher.field)
            column = (
                raw[enricher.field] if column is None else column.combine_chunks().cast(pa.string())
            )
            if enricher.field in self._missing and column.null_count < len(column):
                self._missing.discard(enricher.field)
            distinct = column.dictionary_encode()
            result.parts.append(
                (enricher.add(pa.table({enricher.field: distinct.dictionary})), distinct.indices)
            )
        if self._missing and len(values):
            self._sample = values.slice(0, 1000)
        return result

    def check(self) -> None:
        """Raise when a field was in none of the records seen."""
        if self._missing and self._sample is not None:
            present = ", ".join(sorted(fields.names(self._sample))) or "no field at all"
            missing = ", ".join(sorted(map(repr, self._missing)))
            raise UsageError(
                f"enrich: no record has a value in {missing}", hint=f"there is: {present}"
            )

    def learn(self, other: Chain) -> None:
        """Take over what the same chain has seen elsewhere, so that `check` judges by all of it."""
        self._missing &= other._missing
        self._sample = self._sample if other._sample is None else other._sample

    @property
    def missing(self) -> set[str]:
        """The fields no record had so far."""
        return set(self._missing)


def _text_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column, or a field inside of one, as text."""
    column = field_column(table, name)
    if column is None:
        names = [field for field in field_names(table.schema) if not field.startswith("_")]
        present = ", ".join(names) or "no field at all"
        raise UsageError(
            f"enrich: no record has the field {name!r}",
            hint=f"{did_you_mean(name, names)}there is: {present}",
        )
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"enrich: field {name!r} is {column.type}, not text", hint="name a field of text"
        ) from error


def _take_rows(table: pa.Table, rows: pa.Array) -> pa.Table:
    if not table.num_rows:
        return pa.table({column.name: pa.nulls(len(rows), column.type) for column in table.schema})
    return table.take(rows)


def _append_columns(table: pa.Table, found: pa.Table) -> pa.Table:
    """Append columns; one whose name is taken gets ``_`` appended."""
    for name, column in zip(found.column_names, found.columns, strict=True):
        while name in table.column_names:
            name += "_"  # noqa: PLW2901
        table = table.append_column(name, column)
    return table


def _with(table: pa.Table, result: Added) -> pa.Table:
    for part, rows in result.parts:
        table = _append_columns(table, _take_rows(part, rows))
    return table


def _together(pieces: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(pieces, promote_options="permissive")
    except pa.ArrowException as error:
        raise UsageError(
            f"enrich: a function returned other types for some records than for others: {error}",
            hint="have it give each column one type, such as pd.Series(found, dtype='Float64')",
        ) from error


def _function(
    one: Enricher, table: pa.Table, failures: dict[int, str]
) -> tuple[pa.Table, pa.Array]:
    """Call a function for a batch; where it fails, halve the batch down to the records at fault."""
    pieces: list[tuple[int, pa.Table]] = []
    own: dict[int, str] = {}

    def work(first: int, part: pa.Table) -> None:
        try:
            pieces.append((first, one.add(part)))
        except FunctionError as error:
            if len(part) < 2:
                own[first] = error.message
                if len(own) > MOST_FAILURES:
                    raise
                return
            half = len(part) // 2
            work(first, part.slice(0, half))
            work(first + half, part.slice(half))

    work(0, table)
    failures |= own
    rows = np.full(len(table), -1, np.int64)
    at = 0
    for first, piece in pieces:
        rows[first : first + len(piece)] = np.arange(at, at + len(piece))
        at += len(piece)
    merged = _together([piece for _, piece in pieces]) if pieces else pa.table({})
    return merged, pa.array(rows, mask=rows < 0)
