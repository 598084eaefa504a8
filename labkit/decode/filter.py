"""A filter in SQL on records as they come: one in ten million is found in little memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import did_you_mean, typed
from labkit.decode.prefilter import needles_of
from labkit.errors import UsageError
from labkit.replay.content_hash import Content
from labkit.replay.receipt import Receipt
from labkit.tables.arrow import is_text, join_chunks
from labkit.tables.duckdb_sql import (
    check_case,
    columns,
    columns_beside_texts,
    connect,
    duckdb,
    indexed_columns,
    members,
    nodes,
    reason,
    register,
    syntax,
    with_headers,
)
from labkit.tables.nested import with_items

# a field may be called `batch`: `batch.id` is what is within it, not the column `id` of all records
_ALIAS = '"records of a batch"'
_FRACTION = re.compile(r"\s*[-+]?\d*\.\d+\s*")
_HINT = "write a condition as in SQL's WHERE, such as: channel = '#kafka' and nick like 'a%'"


class Where:
    """One condition, in DuckDB's SQL, over the columns of a decoded batch.

    A field that a batch lacks is null in it, also one within objects. A number that is compared with
    a text that is no number is compared as text.

    Attributes
    ----------
    columns : set of str
        The columns it asks, of which some record must have each.
    inner : set of str
        What its subqueries name: columns of the records or of their own.
    needles : Needles or None
        By which a JSON record is passed over that it need not be asked of.

    Raises
    ------
    UsageError
        When it is no condition.
    """

    def __init__(self, condition: str) -> None:
        if not isinstance(condition, str):
            raise UsageError(
                f"where must be a text, a condition in SQL, not {type(condition).__name__}",
                hint="such as where=\"nick = 'alice' and message like '%lag%'\"",
            )
        if not condition.strip():
            raise UsageError(
                f"where must be a condition in SQL, not {condition!r}",
                hint=f"leave it out, or {_HINT}",
            )
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
                hint=typed(
                    "read the window, then ask with .sql()", "`labkit sql` asks of all records"
                ),
            )
        self.needles = needles_of(tree)
        paths = columns(tree)
        self.columns = {path[0] for path in paths}
        self.inner = {path[0] for path in columns(subqueries)} - self.columns
        self._paths = {path for path in paths if len(path) > 1}
        self._members = members([tree, subqueries])
        self._lists = indexed_columns([tree, subqueries])
        self._beside_texts = columns_beside_texts([tree, subqueries])
        self._beside_fractions = columns_beside_texts([tree, subqueries], _FRACTION)
        self._names: set[str] = set()  # of all batches seen
        self._members_seen: dict[str, set[str]] = {}  # within objects, by column, in lower case
        self._texts_seen: set[str] = set()  # columns with texts in some record, in lower case
        self._made_texts: dict[str, UsageError] = {}  # columns of numbers, and why they had to be

    def _syntax(self) -> Any:
        statements, why = syntax(self._connection, f"select 1 from batch where ({self._sql}\n)")
        if len(statements) != 1:
            raise UsageError(f"where={self.condition!r}: {why or 'not one condition'}", hint=_HINT)
        return statements[0]["where_clause"]

    def rows(self, table: pa.Table) -> Any:
        """Return the numbers of the rows that fulfil the condition."""
        self._see(table)
        check_case(self._names, self.names)
        numbered = self._with_fractions(self._with_columns(table))
        try:
            return self._rows(numbered)
        except UsageError as error:
            for other in (self._without_types(numbered), self._with_texts(numbered, error)):
                if other is not numbered:
                    with suppress(UsageError):
                        return self._rows(other)
            raise error

    def rows_apart(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that fulfil the condition, and those of which it cannot be asked.

        Each row is asked by itself, in one query.

        Raises
        ------
        UsageError
            When DuckDB asks it of all rows at once only: it has a subquery, or is never the same.
        """
        table = self._with_fractions(self._with_columns(table))
        rows, answers = self._ask(
            table, f"select {{row}}, try(coalesce(({self._sql}\n), false)) from batch as {_ALIAS}"
        )
        fulfilled = np.ma.asarray(answers)
        return np.sort(rows[fulfilled.filled(False)]), np.sort(rows[np.ma.getmaskarray(fulfilled)])

    @property
    def names(self) -> set[str]:
        """The columns that it names, in subqueries too."""
        return self.columns | self.inner

    def _see(self, table: pa.Table) -> None:
        self._names |= set(table.column_names)
        for place, name in self._places(table, self.names):
            kind = table.schema.types[place]
            if inner := set(_member_names(kind)):
                self._members_seen.setdefault(name, set()).update(inner)
            if is_text(kind) and table.column(place).null_count < len(table):
                self._texts_seen.add(name)

    @staticmethod
    def _places(table: pa.Table, names: Iterable[str]) -> list[tuple[int, str]]:
        """Return the places of some columns, in any case, with their names in lower case."""
        lowered = {name.lower() for name in names}
        pairs = enumerate(map(str.lower, table.column_names))
        return [(place, name) for place, name in pairs if name in lowered]

    def _rows(self, table: pa.Table) -> np.ndarray:
        (rows,) = self._ask(table, f"select {{row}} from batch as {_ALIAS} where ({self._sql}\n)")
        return np.sort(rows)

    def _ask(self, table: pa.Table, query: str) -> list[np.ndarray]:
        """Return the answer's columns; ``{row}`` in the query, the row's number, is the first."""
        number = _free_name(table.column_names)
        numbered = table.append_column(number, pa.array(np.arange(len(table))))
        try:
            register(self._connection, "batch", numbered)
            answer = self._connection.execute(query.replace("{row}", number, 1)).fetchnumpy()
        except duckdb.Error as error:
            hint = self._kinds_hint(table) or _HINT
            why = reason(error).partition("\nLINE ")[0].strip()
            raise UsageError(f"where={self.condition!r}: {why}", hint=hint) from error
        finally:
            self._connection.unregister("batch")
        return [np.asarray(answer.pop(number), np.int64), *answer.values()]

    def _kinds_hint(self, table: pa.Table) -> str:
        """Return which field has texts in some records, and how to compare it all the same."""
        objects = {path[0] for path in self._paths}
        texts = [
            column.name
            for column in table.schema
            if column.name in self.columns and pa.types.is_large_string(column.type)
        ]
        if not texts:
            return ""
        if objects & {*texts}:
            return f"{', '.join(sorted(objects & {*texts}))} is no object there"
        return (
            f"{', '.join(texts)} has texts, in some records at least: "
            f'try_cast("{texts[0]}" as double) is a number where it can be one'
        )

    def _with_columns(self, table: pa.Table) -> pa.Table:
        """Add the columns that no record here has: others may have them."""
        names = {name.lower() for name in table.column_names}
        for name in sorted(self.names):
            if name.lower() not in names:
                table = table.append_column(name, pa.nulls(len(table)))
        return table

    def _with_fractions(self, table: pa.Table) -> pa.Table:
        """Return the table with fractions for integers that are compared with ``'5.5'``.

        DuckDB would round that to an integer, but not where a record here has a fraction.
        """
        for place, _ in self._places(table, self._beside_fractions):
            if pa.types.is_integer(table.schema.types[place]):
                with suppress(pa.ArrowInvalid):  # beyond 2^53
                    numbers = table.column(place).cast(pa.float64())
                    table = table.set_column(place, table.column_names[place], numbers)
        return table

    def _without_types(self, table: pa.Table) -> pa.Table:
        """Return the table with nulls for values that no record here has; itself without such.

        Other batches of JSON may have numbers there; without a value a column is text. Objects have
        the members that are asked of them.
        """
        lists = {name.lower() for name in self._lists}
        items = pa.struct([(name, pa.null()) for name in sorted(self._members)])
        for place, name in self._places(table, self.names):
            array = join_chunks(table.column(place))
            loose = _loosen(array, sorted(self._members))
            if name in lists and pa.types.is_null(loose.type):
                loose = pa.nulls(len(array), pa.large_list(items))
            if not loose.type.equals(array.type):
                table = table.set_column(place, table.column_names[place], loose)
        return table

    def _with_texts(self, table: pa.Table, error: UsageError) -> pa.Table:
        """Return the table with texts for numbers that are compared with texts."""
        for place, name in self._places(table, self._beside_texts):
            if _is_plain(table.schema.types[place]):
                texts = table.column(place).cast(pa.large_string())
                table = table.set_column(place, table.column_names[place], texts)
                self._made_texts.setdefault(name, error)
        return table

    @property
    def is_settled(self) -> bool:
        """Whether no record that is passed over can change what `check_seen` says."""
        lowered = {name.lower() for name in self.columns}
        spellings = {name for name in self._names if name.lower() in lowered}
        texts = {name.lower() for name in self._beside_texts}
        return spellings == self.columns and texts <= self._texts_seen

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
        for name, error in self._made_texts.items():
            if name not in self._texts_seen:
                raise error
        for column, *inner in sorted(self._paths):
            seen = self._members_seen.get(column.lower())
            lacking = [name for name in inner if seen and name.lower() not in seen]
            if seen and lacking:
                near = "".join(did_you_mean(name, seen) for name in lacking)
                raise UsageError(
                    f"where={self.condition!r}: no record has {'.'.join([column, *inner])}",
                    hint=f"{near}{column} has: {', '.join(sorted(seen))}",
                )

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
        # = "alice", or = alice: SQL takes both for a field
        quotes = suggestion or f"a text stands in single quotes, '{missing[0]}'; "
        return UsageError(
            f"where={self.condition!r}: no record{what} has {', '.join(missing)}",
            hint=f"{quotes}there is: {', '.join(names)}{more}",
        )


def is_about_types(error: UsageError) -> bool:
    """Tell whether a condition does not fit the types of the records, whatever their values."""
    return isinstance(error.__cause__, duckdb.BinderException)


def _free_name(names: Iterable[str]) -> str:
    """Return a name for the rows' numbers that no column has, in any case."""
    taken, name = {name.lower() for name in names}, "__row"
    while name in taken:
        name += "_"
    return name


def _member_names(kind: pa.DataType) -> Iterator[str]:
    """Yield the names of all fields within objects of a type, in lower case."""
    for place in range(kind.num_fields):
        inner = kind.field(place)
        if pa.types.is_struct(kind):
            yield inner.name.lower()
        yield from _member_names(inner.type)


def _loosen(array: Any, members: list[str]) -> Any:
    """Return a column whose objects have these members, null where it has no value of a type."""
    kind = array.type
    if is_text(kind) and not pc.any(pc.not_equal(array, "{}")).as_py():
        return pa.nulls(len(array))  # an object without a field is text, too
    if pa.types.is_struct(kind):
        parts = {
            part.name: _loosen(column, members)
            for part, column in zip(kind, array.flatten(), strict=True)
        }
        present = {name.lower() for name in parts}
        parts |= {name: pa.nulls(len(array)) for name in members if name.lower() not in present}
        fields = [pa.field(name, column.type) for name, column in parts.items()]
        return pa.StructArray.from_arrays(list(parts.values()), fields=fields, mask=array.is_null())
    if pa.types.is_large_list(kind):
        return with_items(array, _loosen(array.flatten(), members))
    return array


def _is_plain(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )
