"""SQL over tables, and over windows in constant memory.

A window's records land raw in a file of a folder of their own, while the fields' types are found
out; DuckDB then reads that file, decoded batch by batch under the one schema that holds for all, as
often as the query needs, and spills into the same folder. So a window that was not read to its end
is known before a query is answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.checks.suggest import typed
from labkit.decode import notes
from labkit.decode.pipeline import ahead
from labkit.errors import IncompleteError, LabkitError, UsageError
from labkit.files.whole_file import PENDING, cast_to, read_spooled, settle_columns
from labkit.read_spec import ReadSource
from labkit.replay.receipt import Receipt, StopReason
from labkit.replay.sample import explain_empty
from labkit.sinks.files import spool
from labkit.sinks.second_pass import SecondPass
from labkit.tables import duckdb_sql
from labkit.tables.dataframe import numbers, to_pandas
from labkit.tables.duckdb_intervals import in_microseconds, with_carried_days
from labkit.tables.nested import without_offsets
from labkit.waiting import interrupt

if TYPE_CHECKING:
    import pandas as pd

MEMORY = "1GB"  # of DuckDB, for a query of windows; more is spilled to the disk
# why a window ends early that the user asked to read so
_WANTED = frozenset({StopReason.CAP, StopReason.EXPIRED})


@dataclass
class SpooledWindow:
    """A window's records in a file, as a table that DuckDB can read again and again.

    Attributes
    ----------
    receipt : Receipt
        Of the read.
    layout : pyarrow.Schema
        Of all columns as they are decoded.
    wanted : list of str
        The columns that a query names; others are not decoded for it.
    error : BaseException or None
        What went wrong while DuckDB read it: DuckDB has only its text.
    """

    path: Path
    receipt: Receipt
    decode_batch: Any
    layout: pa.Schema
    untyped: list[str]
    wanted: list[str] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def column_names(self) -> list[str]:
        """All columns."""
        return list(self.layout.names)

    def _schema(self) -> pa.Schema:
        return for_duckdb(self.layout.empty_table().select(self.wanted)).schema

    def __arrow_c_schema__(self) -> Any:
        return self._schema().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Begin another pass over the records."""
        reader = pa.RecordBatchReader.from_batches(self._schema(), self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            with pa.OSFile(str(self.path)) as raw:
                for table in ahead(read_spooled(raw), self._table, most=1):
                    yield from table.to_batches()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise

    def _table(self, batch: pa.RecordBatch) -> pa.Table:
        return for_duckdb(
            cast_to(self.decode_batch(batch), self.layout, self.untyped).select(self.wanted)
        )


def for_duckdb(table: pa.Table) -> pa.Table:
    """Return a table that DuckDB takes as it is."""
    return in_microseconds(without_offsets(table))


def spool_window(source: ReadSource, path: Path) -> SpooledWindow:
    """Read a window into a file at `path`.

    Raises
    ------
    UsageError
        When the disk has no room for it.
    """
    decoding, decoder_notes = source.decoding(most=PENDING)
    decoder, chain = decoding.decoder, source.spec.chain
    try:
        with path.open("xb") as raw:
            second = SecondPass(decoder, *spool(decoding, raw), chain)
    except LabkitError:  # Kafka's are OSErrors too
        raise
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="the records of a window are kept there while it is asked; TMPDIR names another folder",
        ) from error
    with pa.OSFile(str(path)) as raw:
        second.look_ahead(read_spooled(raw))
        first = second.table(next(read_spooled(raw)))
    untyped = [column.name for column in first.schema if pa.types.is_null(column.type)]
    layout = settle_columns(first.schema)
    read = explain_empty(source.reading.cluster, decoding.final_receipt())
    read = second.receipt(read).with_notes(*decoder_notes, *notes(decoder), *chain.notes())
    return SpooledWindow(path, read, second.table, layout, untyped)


def require_whole(name: str, receipt: Receipt) -> str:
    """Return why a window is a part, as the user wanted it, or nothing.

    Raises
    ------
    IncompleteError
        When it ended early for a reason that the caller did not ask for: the answer would be short in
        silence.
    """
    if set(receipt.reasons) <= _WANTED:
        return receipt.shortfall
    hint = typed(
        "read() keeps the part: w.read().sql(…)",
        "`labkit replay -o FILE.parquet` writes the part to a file",
    )
    if StopReason.OPEN_TRANSACTION in receipt.reasons:
        reads_on = 'isolation="read_uncommitted" reads on; or '
        hint = f"{typed(reads_on, '')}end the window before it"
    raise IncompleteError(
        f"{name} was not read to its end, so the query was not asked: {receipt.shortfall}",
        hint=hint,
        receipt=receipt,
    )


def check_query(query: str, names: Iterable[str], given: Mapping[str, Any]) -> None:
    """Refuse what cannot be asked, before anything is read.

    That is no query, or a table that the query does not name.

    Raises
    ------
    UsageError
    """
    if not isinstance(query, str) or not query.strip():
        raise UsageError(
            f"a query must be a text, not {query!r}",
            hint='such as "select nick, count(*) n from replay group by 1"',
        )
    duckdb_sql.refuse_extensions(query)
    names = list(names)
    for name, table in given.items():
        if isinstance(table, str | bytes | int | float | bool) or table is None or callable(table):
            raise UsageError(
                f"{name} must be a table, not {table!r}",
                hint="a table is a Window, Replay, DataFrame or Arrow table; of an option check the name",
            )
    with duckdb_sql.connect() as connection:
        trees, why = duckdb_sql.syntax(connection, duckdb_sql.with_headers(connection, query))
    if "yntax error" in why:
        quoted = " and ".join(f"`{name}`" for name in names)
        subject = f"the table is {quoted}" if len(names) == 1 else f"the tables are {quoted}"
        raise UsageError(
            f"DuckDB refused this: {why}", hint=f"{subject}, the query is SQL as DuckDB has it"
        )
    tables = {name.lower() for name in duckdb_sql.tables(trees)}
    unused = [name for name in names if name.lower() not in tables]
    if trees and unused:
        raise UsageError(
            f"the query does not read {', '.join(unused)}",
            hint=f"write `… from {unused[0]}`; it reads {_list_tables(tables)}",
        )


def _list_tables(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no table"


def ask(
    query: str,
    own: Mapping[str, pa.Table | SpooledWindow],
    given: Mapping[str, Any],
    folder: Path | None = None,
) -> pd.DataFrame:
    """Return DuckDB's answer as a DataFrame.

    Parameters
    ----------
    own : mapping
        Tables of records by name.
    given : mapping
        More tables: DataFrames, Arrow tables.
    folder : Path, optional
        Where DuckDB may spill; then it has little memory.

    Raises
    ------
    UsageError
        When DuckDB refuses the query, or it needs more memory than there is.
    """
    duckdb_sql.refuse_extensions(query)
    config: dict[str, Any] = (
        {} if folder is None else {"memory_limit": MEMORY, "temp_directory": str(folder)}
    )
    with duckdb_sql.connect(files=True, **config) as connection:
        query = duckdb_sql.with_headers(connection, query)
        # none of PIVOT and the like: its words are taken for names
        trees, _ = duckdb_sql.syntax(connection, query)
        names = (
            {part for path in duckdb_sql.columns(trees) for part in path}
            if trees
            else set(_words(query))
        )
        all_names = {name.lower() for table in own.values() for name in table.column_names}
        try:
            for name, table in given.items():
                duckdb_sql.register(connection, name, table)
            foreign = {column for name in given for column in connection.table(name).columns}
            for name, table in own.items():
                duckdb_sql.check_case(table.column_names, names)
                ready = _ready(name, table, trees, all_names, foreign, alone=len(own) == 1)
                duckdb_sql.register(connection, name, ready)
            answer = _interruptible(connection, lambda: _answer(connection, query))
        except duckdb_sql.duckdb.Error as error:
            raise _query_error(error, own) from error
    return to_pandas(numbers(answer))


def _answer(connection: Any, query: str) -> pa.Table:
    answer = connection.sql(query)
    return (
        pa.table({}) if answer is None else with_carried_days(connection, answer).to_arrow_table()
    )


def _interruptible(connection: Any, work: Callable[[], pa.Table]) -> pa.Table:
    """Return what `work` returns, and let Ctrl-C interrupt it.

    It runs in a thread: DuckDB at work hears no Ctrl-C, and this thread does. An interrupt is
    noted, not raised: raised here, it could leave a lock held that the thread needs for its answer.
    """
    with (
        interrupt.listen(patient=True) as cancelled,
        ThreadPoolExecutor(1, thread_name_prefix="labkit-sql") as thread,
    ):
        answer = thread.submit(work)
        while not wait([answer], timeout=0.1).done:
            # again and again: the query may not have begun yet, or be where DuckDB takes no
            # interrupt
            if cancelled():
                with suppress(duckdb_sql.duckdb.Error):
                    connection.interrupt()
        if cancelled():
            raise KeyboardInterrupt
        return answer.result()


def _words(query: str) -> list[str]:
    return re.findall(r"\w+", query)


def _ready(
    name: str,
    table: pa.Table | SpooledWindow,
    trees: list[Any],
    all_names: set[str],
    foreign: set[str],
    *,
    alone: bool,
) -> pa.Table | SpooledWindow:
    """Return the table with the columns that the query needs.

    A name alone is not its column where it is `foreign`, one of the tables that the user gave.
    """
    if isinstance(table, pa.Table):
        return table if len(table) else _table_of_nothing(name, table, trees, foreign, alone=alone)
    if not table.receipt.read:
        empty = table.layout.empty_table()
        return _table_of_nothing(name, empty, trees, foreign, alone=alone)
    table.wanted = _needed_columns(table.column_names, trees, all_names)
    return table


def _needed_columns(columns: list[str], trees: list[Any], all_names: set[str]) -> list[str]:
    """Return which of the columns a query can need.

    It is all of them, unless its syntax names each that it needs.
    """
    nodes = list(duckdb_sql.nodes(trees))
    paths = duckdb_sql.columns(trees)
    joined = {name for node in nodes for name in node.get("using_columns") or ()}
    names = {part.lower() for path in paths for part in path} | {name.lower() for name in joined}
    aliases = {node["alias"].lower() for node in nodes if node.get("alias")}
    whole_rows = any(
        len(path) == 1 and path[0].lower() not in all_names | aliases for path in paths
    )
    all_named = trees and not whole_rows and not any(
        node.get("class") == "STAR" or node.get("ref_type") == "NATURAL" for node in nodes
    )  # fmt: skip
    needed_columns = [name for name in columns if name.lower() in names] if all_named else columns
    return needed_columns or columns[:1]  # `count(*)` needs rows alone


def _table_of_nothing(
    name: str, table: pa.Table, query: Any, foreign: set[str], *, alone: bool
) -> pa.Table:
    """Return the table of an empty window with the fields that a query names.

    No record tells which fields there are.
    """
    nodes = list(duckdb_sql.nodes(query))
    read = {node["table_name"]: node.get("alias") for node in nodes if node.get("table_name")}
    called = {name, read.get(name)}  # as in `from replay r`
    others = foreign | read.keys() | set(read.values())

    def asked(tree: Any) -> set[str]:
        paths = duckdb_sql.columns(tree)
        qualified = {path[1] for path in paths if len(path) > 1 and path[0] in called}
        return qualified | ({path[0] for path in paths} - others if alone else set())

    aliased = [node for node in nodes if node.get("alias")]
    # `lower(nick) as nick` asks for nick
    own = {node["alias"] for node in aliased if node["alias"] not in asked(node)}
    joined = {column for node in nodes for column in node.get("using_columns") or ()}
    for column in sorted((asked(query) - own | joined) - set(table.column_names)):
        table = table.append_column(column, pa.nulls(0))
    return table


def _query_error(error: Exception, own: Mapping[str, pa.Table | SpooledWindow]) -> BaseException:
    """Return the error that the user should see.

    What broke in a source comes before what DuckDB made of it.
    """
    broken = [
        table.error for table in own.values() if isinstance(table, SpooledWindow) and table.error
    ]
    if broken:
        return broken[0]
    if isinstance(error, duckdb_sql.duckdb.OutOfMemoryException):
        return UsageError(
            f"the query needs more memory or disk than there is: {duckdb_sql.reason(error)}",
            hint="aggregate, or choose fewer columns and records; "
            f"{typed('to_parquet(path)', '`labkit replay -o FILE.parquet`')} writes all of them to a file",
        )
    return UsageError(
        f"DuckDB refused this: {duckdb_sql.reason(error)}",  # type: ignore[arg-type]
        hint=_tables_there(own),
    )


def _tables_there(own: Mapping[str, pa.Table | SpooledWindow]) -> str:
    if not own:
        return "no table was given: lab.sql(query, irc=lab.window('irc', last='1d'))"
    columns = {name: ", ".join(table.column_names) for name, table in own.items()}
    if len(columns) == 1:
        [(name, names)] = columns.items()
        there = f"the table is `{name}`: {names}"
    else:
        there = "the tables are: " + "; ".join(
            f"{name}: {names}" for name, names in columns.items()
        )
    return f"{there}; {duckdb_sql.other_tables()}"
