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

from labkit.checks.suggest import typed
from labkit.errors import UsageError
from labkit.tables.duckdb_intervals import cut_times, in_microseconds, refuse_cut_durations
from labkit.tables.nested import rebuilt, without_offsets
from labkit.waiting import interrupt

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
    "columns_beside_texts",
    "connect",
    "duckdb",
    "indexed_columns",
    "members",
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
        "set timezone = 'UTC'; set python_enable_replacements = false; "
        # DuckDB's own is a widget in a notebook, which a saved one cannot show again
        f"set enable_progress_bar = false; {outside} {lock}"
    )
    return connection


def refuse_extensions(query: str) -> None:
    """Raise UsageError when one of a query's statements may install or load an extension."""
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error:
        return  # it is refused where it is asked
    if any(map(_may_load, statements)):
        raise UsageError(
            "sql installs and loads no extension, and takes no PRAGMA or IMPORT DATABASE: a query does not reach "
            "the network",
            hint=f"fetch the data yourself; {other_tables()}",
        )


def other_tables() -> str:
    """Return how a query has other tables than the records."""
    by_name = "others are given by name: sql(query, teams=frame)"
    return typed(by_name, "others are files, such as from 'teams.csv'")


def _may_load(statement: Any) -> bool:
    """Tell whether a statement may load an extension.

    IMPORT DATABASE, which is a PRAGMA, runs the statements in a file.
    """
    try:
        return statement.type in (duckdb.StatementType.LOAD, duckdb.StatementType.PRAGMA)
    except ValueError:  # a type that Python's duckdb has no name for: UPDATE EXTENSIONS
        return True


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
    """Return what DuckDB says, without its long lists and its advice that leads elsewhere."""
    text = str(error)
    for rest in ("Candidate functions:", "Please try installing", 'Did you mean "pg_'):
        text = text.partition(rest)[0]
    return text.strip()


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


def members(tree: Any) -> set[str]:
    """Return the names that a syntax tree takes out of objects: ``a.b``, ``a['b']``, ``(a).b``."""
    dotted = {name for path in _all_paths(tree) for name in path[1:]}
    extracts = (node for node in nodes(tree) if node.get("type") in _EXTRACTS)
    return dotted | {text for node in extracts for text in _texts(node)}


_EXTRACTS = ("ARRAY_EXTRACT", "STRUCT_EXTRACT")


def indexed_columns(tree: Any) -> set[str]:
    """Return the columns of which a syntax tree takes an item: ``a[1]``."""
    extracts = (node for node in nodes(tree) if node.get("type") == "ARRAY_EXTRACT")
    lists = (node["children"][0] for node in extracts if not _texts(node))
    return {node["column_names"][0] for node in lists if node.get("class") == "COLUMN_REF"}


_ANY = re.compile(".*", re.DOTALL)


def columns_beside_texts(tree: Any, pattern: re.Pattern[str] = _ANY) -> set[str]:
    """Return the columns that a syntax tree compares with texts, or gives to functions with such.

    Parameters
    ----------
    pattern : re.Pattern
        Which texts, as a whole.
    """
    beside = (node for node in nodes(tree) if any(map(pattern.fullmatch, _texts(node))))
    return {path[0] for node in beside for path in columns(node)}


def _all_paths(tree: Any) -> set[tuple[str, ...]]:
    """Return the columns that a syntax tree names, and a lambda's parameters."""
    return {
        tuple(node["column_names"]) for node in nodes(tree) if node.get("class") == "COLUMN_REF"
    }


def _texts(node: dict[str, Any]) -> list[str]:
    """Return the texts that stand in an expression itself, not in one within it."""
    operands = [*node.values(), *node.get("children", ())]
    operands += [argument.get("expression") for argument in node.get("arguments", ())]
    literals = [item.get("literal") for item in operands if isinstance(item, dict)]
    return [one["text"] for one in literals if one and one.get("kind") == "STRING"]


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
