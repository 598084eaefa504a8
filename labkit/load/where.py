"""A filter on the records as they come, in SQL, so that a needle in ten million records takes little memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.duck import check_case, duckdb
from labkit.errors import UsageError

_HINT = "write a condition as in SQL's WHERE, such as: channel = '#kafka' and nick like 'a%'"


class Where:
    """One condition, in DuckDB's SQL, over the columns of a decoded batch.

    A field that a batch lacks is null in it.

    Raises
    ------
    UsageError
        When it is no condition.
    """

    def __init__(self, condition: str) -> None:
        self.condition = condition
        self._connection = duckdb.connect()
        self._connection.execute("set timezone = 'UTC'")
        self.columns = self._columns()
        self._names: set[str] = set()  # of all batches seen

    def _columns(self) -> set[str]:
        query = f"select 1 from batch where ({self.condition}\n)"
        rows = self._connection.execute("select json_serialize_sql($1)", [query]).fetchall()
        tree: dict[str, Any] = json.loads(rows[0][0])
        if tree.get("error") or len(tree["statements"]) != 1:
            raise UsageError(f"where={self.condition!r}: {tree.get('error_message', 'not one condition')}", hint=_HINT)
        return set(_references(tree["statements"][0]["node"]["where_clause"]))

    def rows(self, table: pa.Table) -> Any:
        """Return the numbers of the rows that fulfil the condition."""
        present = {name.lower() for name in table.column_names}
        self._names |= set(table.column_names)
        check_case(self._names, {name.lower() for name in self.columns}.__contains__)
        for name in sorted(self.columns):
            if name.lower() not in present:
                table = table.append_column(name, pa.nulls(len(table), pa.string()))
        numbered = table.append_column("__row", pa.array(np.arange(len(table))))
        self._connection.register("batch", numbered)
        try:
            found = self._connection.execute(f"select __row from batch where ({self.condition}\n)").fetchnumpy()
        except duckdb.Error as error:
            raise UsageError(f"where={self.condition!r}: {error}", hint=_HINT) from error
        finally:
            self._connection.unregister("batch")
        return np.sort(np.asarray(found["__row"], np.int64))

    def check(self) -> None:
        """Raise when a column it names was in none of the records."""
        known = {name.lower() for name in self._names}
        missing = sorted(name for name in self.columns if known and name.lower() not in known)
        if missing:
            raise UsageError(
                f"where={self.condition!r}: no record has {', '.join(missing)}",
                hint=f"there is: {', '.join(sorted(known))}",
            )


def _references(node: Any) -> list[str]:
    """Return the columns named in a part of DuckDB's syntax tree."""
    if isinstance(node, list):
        return [name for one in node for name in _references(one)]
    if not isinstance(node, dict):
        return []
    own = [node["column_names"][0]] if node.get("class") == "COLUMN_REF" else []
    return own + [name for one in node.values() for name in _references(one)]
