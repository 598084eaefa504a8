"""DuckDB: where connections are made, and what a query may reach.

A query never fetches an extension, so it reaches no network, and never sees Python's variables.
Only ``sql`` may read files. Interrupted while it is imported, DuckDB would abort the process, and a
notebook's kernel with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from labkit import interrupt
from labkit.duckdb_intervals import cut_times, in_microseconds, refuse_cut_durations
from labkit.errors import UsageError
from labkit.nested import rebuilt, without_offsets

with interrupt.hold_back():
    import duckdb

_HEADER_MACRO = """
    create or replace macro header_of(headers, wanted) as
    try(decode(list_filter(headers, lambda one_header: one_header.key = wanted)[-1].value))
"""
_HEADER_CALL = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|\bheader\s*\(""", re.IGNORECASE)

__all__ = [
    "check_case",
    "columns",
    "connect",
    "duckdb",
    "nodes",
    "reason",
    "register",
    "syntax",
    "tables",
    "with_headers",
]

_NO_EXTENSIONS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
}


def connect(
    *, files: bool = False, locked: bool = True, **config: str
) -> duckdb.DuckDBPyConnection:
    """Return a connection of its own, in UTC.

    Parameters
    ----------
    files : bool
        Whether queries may read and write this user's files; a COPY of ``sql`` does.
    locked : bool
        Whether settings stay as they are; labkit's own queries may change them.
    **config
        Settings of DuckDB.
    """
    connection = duckdb.connect(config={**_NO_EXTENSIONS, **config})
    outside = "" if files else "set enable_external_access = false;"
    lock = "set lock_configuration = true;" if locked else ""
    connection.execute(
        f"set timezone = 'UTC'; set python_enable_replacements = false; {outside} {lock}"
    )
    return connection


def refuse_extensions(query: str) -> None:
    """Raise UsageError when one of a query's statements installs or loads an extension."""
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error:
        return  # it is refused where it is asked
    if any(statement.type == duckdb.StatementType.LOAD for statement in statements):
        raise UsageError(
            "sql installs and loads no extension: a query does not reach the network",
            hint="fetch the data yourself, and give it by name: sql(query, teams=frame)",
        )


def register(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> None:
    """Make a table known to DuckDB.

    DuckDB refuses some slices of nested columns, cuts durations to microseconds, and takes times of
    nanoseconds for another type, so those are changed first.
    """
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    elif type(table).__module__.partition(".")[0] == "polars" and hasattr(table, "to_arrow"):
        table = table.to_arrow()
    if isinstance(table, pa.Table):
        table = in_microseconds(without_offsets(table))
    elif type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "dtypes"):
        refuse_cut_durations(table)
        table = _frame_without_offsets(table)
    connection.register(name, table)


def _frame_without_offsets(frame: Any) -> Any:
    """Return a pandas frame without slices of nested Arrow columns, and times of nanoseconds."""
    frame = frame.copy(deep=False)
    for place, dtype in enumerate(frame.dtypes):
        kind = getattr(dtype, "pyarrow_dtype", None)
        if kind is None:
            continue
        column = frame.iloc[:, place].array
        values = column.__arrow_array__()
        if pa.types.is_nested(kind):
            values = rebuilt(values)
        if (cut := cut_times(kind)) != kind:
            values = values.cast(cut, safe=False)
        frame.isetitem(place, type(column)(values))
    return frame


def reason(error: duckdb.Error) -> str:
    """Return what DuckDB says, without the list of all functions of the name."""
    return str(error).partition("Candidate functions:")[0].strip()


def syntax(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[Any], str]:
    """Return the syntax trees of a query's statements.

    When it is not SELECT alone: none of them, and DuckDB's reason.
    """
    rows = connection.execute("select json_serialize_sql($1)", [query]).fetchall()
    tree: dict[str, Any] = json.loads(rows[0][0])
    if tree["error"]:
        return [], str(tree.get("error_message", "not understood"))
    return [statement["node"] for statement in tree["statements"]], ""


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield each object in a syntax tree."""
    if isinstance(tree, dict):
        yield tree
    for child in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        yield from nodes(child)


def columns(tree: Any, own: frozenset[str] = frozenset()) -> set[tuple[str, ...]]:
    """Return the columns that a syntax tree names, as written: ``a.b`` is two parts.

    A lambda's parameters do not count.
    """
    if isinstance(tree, list):
        return {path for node in tree for path in columns(node, own)}
    if not isinstance(tree, dict):
        return set()
    if tree.get("class") == "LAMBDA":
        own |= {path[0] for path in columns(tree["lhs"])}
    path = tuple(tree["column_names"]) if tree.get("class") == "COLUMN_REF" else ()
    paths = {path} if path and path[0] not in own else set()
    return paths | {path for node in tree.values() for path in columns(node, own)}


def with_headers(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return a query in which ``header('trace-id')`` is the text of that header of a record.

    Of several of a name the last; null without one, or without UTF-8. What stands in quotes
    stays as it is.
    """
    connection.execute(_HEADER_MACRO)
    return _HEADER_CALL.sub(lambda call: call[1] or "header_of(_headers, ", query)


def tables(tree: Any) -> set[str]:
    """Return the tables that a syntax tree reads from, without those that it makes (with)."""
    own: set[str] = set()
    for node in nodes(tree):
        own |= {entry["key"] for entry in (node.get("cte_map") or {}).get("map", [])}
    return {node["table_name"] for node in nodes(tree) if node.get("type") == "BASE_TABLE"} - own


def check_case(names: Iterable[str], asked: set[str]) -> None:
    """Refuse fields that differ only in case, where the SQL names them (`asked`).

    DuckDB takes whichever comes first, quoted or not, without a word.
    """
    lower = {name.lower() for name in asked}
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(name.lower(), set()).add(name)
    for spelling, same in spellings.items():
        if len(same) > 1 and spelling in lower:
            raise UsageError(
                f"fields {' and '.join(sorted(same))} differ only in case, which SQL does not tell apart",
                hint="choose with pandas or polars, or rename one in a copy of .table",
            )
