"""A function of one's own as an enricher."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labkit.errors import UsageError
from labkit.tables.dataframe import numbers_dtypes


@dataclass(frozen=True)
class Apply:
    """See `apply`."""

    function: Callable[[Any], Any]
    arrow: bool
    properties: dict[str, Any] = dataclasses.field(default_factory=dict)
    field: None = dataclasses.field(default=None, init=False)

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__qualname__", self.function))

    def add(self, table: pa.Table) -> pa.Table:
        """Return the columns the function returns for a batch."""
        try:
            argument = table if self.arrow else table.to_pandas(types_mapper=numbers_dtypes().get)
            # the function may write into what it is given
            before = argument if self.arrow else argument.copy(deep=False)
            result = _as_table(_drop_unchanged(self.function(argument), before))
        except Exception as error:
            raise FunctionError(
                f"enrich: {self.name}() failed: {type(error).__name__}: {error}",
                hint="it gets the columns of a batch and returns new columns of the same length",
            ) from error
        if result.num_rows != table.num_rows:
            raise FunctionError(
                f"enrich: {self.name}() returned {result.num_rows:,} rows for {table.num_rows:,}",
                hint="return one row for each row given",
            )
        return result

    def notes(self) -> tuple[str, ...]:
        """Return what a receipt should tell."""
        return (f"enriched by {self.name}()",)


class FunctionError(UsageError):
    """A function given to `apply` failed."""


def apply(
    function: Callable[[Any], Any],
    *,
    frame: str | None = None,
    mapping: Mapping[str, Any] | None = None,
) -> Apply:
    """Add the columns that `function` returns.

    Parameters
    ----------
    function : callable
        Gets a batch's columns (those of a decoded frame: ``_topic _partition _offset _timestamp``,
        the fields, ``_value`` …) and returns new columns of the same length: a DataFrame, a named
        Series, a ``pyarrow.Table`` or a dict of columns. Columns it was given and returns unchanged
        are left out. How records are batched is not defined, so each row should depend on that row
        alone.
    frame : {"pandas", "arrow"}, optional
        What it is given; by default Arrow when its first parameter is annotated as a ``Table``,
        else pandas.
    mapping : dict, optional
        The new fields in Elasticsearch: ``{"price": {"type": "double"}}``; by default as
        Elasticsearch sees fit.

    Notes
    -----
    When it raises, reading into a frame or a file ends with one error that names it. A load into
    Elasticsearch tries the batch's records apart: those it fails for are rejects with the reason,
    the others go in. When it fails for more than a hundred of a batch, that is taken for a bug in
    it and is an error there too.
    """
    if not callable(function):
        raise UsageError(
            f"apply takes a function, not {function!r}", hint="one of a batch's columns"
        )
    if frame not in (None, "pandas", "arrow"):
        raise UsageError(
            f"frame must be 'pandas' or 'arrow', not {frame!r}", hint="what the function takes"
        )
    return Apply(
        function, frame == "arrow" if frame else _wants_arrow(function), dict(mapping or {})
    )


def load_function(text: str) -> Callable[[Any], Any]:
    """Return the function that ``module:function`` names.

    Modules in the working folder are found too.
    """
    import sys
    from importlib import import_module
    from pathlib import Path

    module, _, name = text.partition(":")
    hint = "write module:function; the module is looked for in the working folder and among the installed ones"
    if not module or not name:
        raise UsageError(f"a function must be MODULE:NAME, not {text!r}", hint=hint)
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        loaded = import_module(module)
        for part in name.split("."):
            loaded = getattr(loaded, part)
    except Exception as error:  # the module's own code may raise any
        raise UsageError(
            f"{text!r} cannot be loaded: {type(error).__name__}: {error}", hint=hint
        ) from error
    if not callable(loaded):
        raise UsageError(f"{text!r} is not a function", hint=hint)
    return loaded


def _wants_arrow(function: Callable[[Any], Any]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    return first is not None and "Table" in str(first.annotation)


def _drop_unchanged(result: Any, before: Any) -> Any:
    """Return a table without the columns that a function returned as it was given them."""
    import pandas as pd

    if isinstance(result, pd.DataFrame | pd.Series):
        result = _align(result)
    if not isinstance(result, pa.Table | pd.DataFrame) or type(result) is not type(before):
        return result
    names, names_before = (
        list(frame.column_names if isinstance(frame, pa.Table) else frame.columns)
        for frame in (result, before)
    )
    same = [
        name
        for name in names_before
        if names.count(name) == 1 and result[name].equals(before[name])
    ]
    if len(same) == len(names):
        raise ValueError("it returned no new column")
    return result.drop(same) if isinstance(result, pa.Table) else result.drop(columns=same)


def _as_table(result: Any) -> pa.Table:
    import pandas as pd

    if isinstance(result, pa.RecordBatch):
        return pa.Table.from_batches([result])
    if isinstance(result, pa.Table):
        return result
    if isinstance(result, pd.Series):
        if result.name is None:
            raise ValueError("a Series needs a name")
        result = result.to_frame()
    if isinstance(result, dict):
        return pa.table({name: _array(column) for name, column in result.items()})
    if isinstance(result, pd.DataFrame):
        result = result.copy(deep=False)
        result.columns = [str(name) for name in result.columns]
        return pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata()
    raise TypeError(f"it returned {type(result).__name__}, not columns")


def _array(column: Any) -> Any:
    import pandas as pd

    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    return (
        pa.Array.from_pandas(_align(column)) if isinstance(column, pd.Series) else pa.array(column)
    )


def _align(result: Any) -> Any:
    """Return a frame or Series in the records' order.

    A function may have sorted it, which its index tells.
    """
    rows = result.index
    moved = (
        rows.is_unique and not rows.is_monotonic_increasing and set(rows) == set(range(len(rows)))
    )
    return result.sort_index() if moved else result
