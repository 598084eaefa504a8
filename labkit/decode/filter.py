"""A filter in SQL on records as they come: one in ten million is found in little memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.arrow import is_text
from labkit.duckdb_sql import (
    check_case,
    columns,
    connect,
    duckdb,
    nodes,
    reason,
    register,
    syntax,
    with_headers,
)
from labkit.errors import UsageError
from labkit.replay.content_hash import Content
from labkit.replay.receipt import Receipt
from labkit.suggest import did_you_mean

# a field may be called `batch`: `batch.id` is what is within it, not the column `id` of all records
_ALIAS = '"records of a batch"'
_HINT = "write a condition as in SQL's WHERE, such as: channel = '#kafka' and nick like 'a%'"


class Where:
    """One condition, in DuckDB's SQL, over the columns of a decoded batch.

    A field that a batch lacks is null in it.

    Attributes
    ----------
    columns : set of str
        The columns it asks, of which some record must have each.
    inner : set of str
        What its subqueries name: columns of the records or of their own.

    Raises
    ------
    UsageError
        When it is no condition.
    """

    def __init__(self, condition: str) -> None:
        self.condition = condition
        self._connection = connect()
        self._sql = with_headers(self._connection, condition)
        tree = self._syntax()
        subqueries = [
            node.pop("subquery") for node in nodes(tree) if node.get("class") == "SUBQUERY"
        ]
        if any(node.get("table_name") == "batch" for node in nodes(subqueries)):
            raise UsageError(
                f"where={condition!r} asks of all records, but each batch is checked by itself",
                hint="read the window, then ask with .sql()",
            )
        self.columns = {path[0] for path in columns(tree)}
        self.inner = {path[0] for path in columns(subqueries)} - self.columns
        self._names: set[str] = set()  # of all batches seen

    def _syntax(self) -> Any:
        statements, why = syntax(self._connection, f"select 1 from batch where ({self._sql}\n)")
        if len(statements) != 1:
            raise UsageError(f"where={self.condition!r}: {why or 'not one condition'}", hint=_HINT)
        return statements[0]["where_clause"]

    def rows(self, table: pa.Table) -> Any:
        """Return the numbers of the rows that fulfil the condition."""
        self._names |= set(table.column_names)
        check_case(self._names, self.columns | self.inner)
        try:
            return self._rows(self._with_columns(table))
        except UsageError as error:
            untyped = self._without_types(table)
            if untyped is table or not isinstance(error.__cause__, duckdb.BinderException):
                raise
            return self._rows(self._with_columns(untyped))

    def _rows(self, numbered: pa.Table) -> Any:
        number = _free_name(numbered.column_names)
        numbered = numbered.append_column(number, pa.array(np.arange(len(numbered))))
        try:
            register(self._connection, "batch", numbered)
            matches = self._connection.execute(
                f"select {number} from batch as {_ALIAS} where ({self._sql}\n)"
            ).fetchnumpy()
        except duckdb.Error as error:
            hint = self._texts_hint(numbered) or _HINT
            raise UsageError(f"where={self.condition!r}: {reason(error)}", hint=hint) from error
        finally:
            self._connection.unregister("batch")
        return np.sort(np.asarray(matches[number], np.int64))

    def _texts_hint(self, table: pa.Table) -> str:
        """Return how to compare a field as a number that has texts in some records."""
        texts = [
            column.name
            for column in table.schema
            if column.name in self.columns and pa.types.is_large_string(column.type)
        ]
        if not texts:
            return ""
        return (
            f'{", ".join(texts)} has texts, in some records at least: read(types={{{texts[0]!r}: "float"}}) makes '
            "numbers of what can be one"
        )

    def _with_columns(self, table: pa.Table) -> pa.Table:
        """Add the columns that no record here has: others may have them."""
        names = {name.lower() for name in table.column_names}
        for name in sorted(self.columns | self.inner):
            if name.lower() not in names:
                table = table.append_column(name, pa.nulls(len(table)))
        return table

    def _without_types(self, table: pa.Table) -> pa.Table:
        """Make nulls that compare with anything of texts that no record here has.

        Other batches of JSON may have numbers there; without a value a column is text.
        """
        for place, column in enumerate(table.schema):
            if is_text(column.type) and table.column(place).null_count == len(table):
                table = table.set_column(place, column.name, pa.nulls(len(table)))
        return table

    @property
    def seen(self) -> frozenset[str]:
        """The columns of the records so far."""
        return frozenset(self._names)

    def learn(self, seen: Iterable[str]) -> None:
        """Take over what another one of this condition has `seen`."""
        self._names |= set(seen)

    def with_condition(self, receipt: Receipt, content: Content) -> Receipt:
        """Return the receipt of a reading with its condition and the hash of what fulfilled it."""
        note = f"only records where {self.condition}; the others count as filtered"
        return replace(receipt, hash=content.hash).with_notes(note)

    def check(self, receipt: Receipt) -> None:
        """Raise when a complete reading had no record with a column that the condition names."""
        if receipt.complete:
            self.check_seen()

    def check_seen(self) -> None:
        """Raise when a column it names was in none of the records so far."""
        names = {name.lower() for name in self._names}
        missing = sorted(name for name in self.columns if names and name.lower() not in names)
        if missing:
            raise self._missing(missing)

    def check_fields(self, names: Iterable[str]) -> None:
        """Raise when a column the condition names looks like a slip, before all is read.

        That is one that is in none of some records, and nearly the name of one that is. A field of
        which a few hundred records tell nothing may be rare; one letter beside a field is a slip.
        """
        lowered = {name.lower() for name in names}
        candidates = (
            name
            for name in self.columns
            if not name.startswith("_") and f'"{name}"' not in self.condition
        )
        missing = sorted(name for name in candidates if name.lower() not in lowered)
        if any(did_you_mean(name, lowered) for name in missing):
            self._names |= set(names)
            raise self._missing(
                missing, " of a sample", '; a rare field is written in double quotes: "name"'
            )

    def _missing(self, missing: list[str], what: str = "", more: str = "") -> UsageError:
        names = sorted(self._names)
        suggestion = "".join(did_you_mean(name, names) for name in missing)
        return UsageError(
            f"where={self.condition!r}: no record{what} has {', '.join(missing)}",
            hint=f"{suggestion}there is: {', '.join(names)}{more}",
        )


def _free_name(names: Iterable[str]) -> str:
    """Return a name for the rows' numbers that no column has, in any case."""
    taken, name = {name.lower() for name in names}, "__row"
    while name in taken:
        name += "_"
    return name
