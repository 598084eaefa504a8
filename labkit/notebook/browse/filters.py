"""What was clicked, as a condition in SQL that `Window.read` takes: the widget and the code show the same records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from labkit.errors import UsageError

OPS = ("is", "in", "between", "has", "text", "sql")


@dataclass(frozen=True)
class Filter:
    """One chip.

    Attributes
    ----------
    op : str
        ``is`` (a value, or None), ``between`` (low, high; half-open), ``has`` (any value), ``text`` (in any text field,
        or in `field`), ``sql`` (a condition as it is).
    field : tuple of str
        The path of names; empty for ``text`` in all fields and for ``sql``.
    value : Any
    negated, on : bool
    items : bool
        Whether the field is the items of a list: one of them fulfils it.
    """

    op: str
    field: tuple[str, ...] = ()
    value: Any = None
    negated: bool = False
    on: bool = True
    items: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Filter:
        """Return a filter of what the browser sent.

        Raises
        ------
        UsageError
            When it is none.
        """
        if raw.get("op") not in OPS:
            raise UsageError(f"a filter's op must be one of {', '.join(OPS)}, not {raw.get('op')!r}")
        path = tuple(str(part) for part in raw.get("field") or ())
        return cls(
            str(raw["op"]), path, raw.get("value"), bool(raw.get("negated")), raw.get("on") is not False,
            bool(raw.get("items")),
        )  # fmt: skip

    def sql(self, texts: Sequence[tuple[str, ...]]) -> str:
        """Return the condition; `texts` are the fields that hold texts, for a search in all of them."""
        found = self._positive(texts)
        return f"not coalesce({found}, false)" if self.negated else found

    def _positive(self, texts: Sequence[tuple[str, ...]]) -> str:
        if self.op == "sql":
            return f"({self.value})"
        if self.op == "text":
            fields = [self.field] if self.field else list(texts)
            parts = [f"contains({column(path)}, {literal(str(self.value))})" for path in fields]
            return "false" if not parts else parts[0] if len(parts) == 1 else f"({' or '.join(parts)})"
        name = column(self.field)
        if self.items:
            return f"list_contains({name}, {literal(self.value)})"
        if self.op == "has":
            return f"{name} is not null"
        if self.op == "is":
            return f"{name} is null" if self.value is None else f"{name} = {literal(self.value)}"
        low, high = self.value
        parts = [f"{name} >= {literal(low)}"] if low is not None else []
        parts += [f"{name} < {literal(high)}"] if high is not None else []
        return " and ".join(parts) or "true"


def condition(filters: Iterable[Filter], texts: Sequence[tuple[str, ...]]) -> str | None:
    """Return the condition of all filters that are switched on; None where there is none."""
    parts = [one.sql(texts) for one in filters if one.on]
    return " and ".join(parts) if parts else None


def column(path: Sequence[str]) -> str:
    """Return a field as SQL names it."""
    return ".".join(_name(part) for part in path)


def _name(text: str) -> str:
    if text.isidentifier() and text.isascii() and text.lower() not in _reserved():
        return text
    quoted = text.replace('"', '""')
    return f'"{quoted}"'


@cache
def _reserved() -> frozenset[str]:
    """Return the words that are no names in DuckDB's SQL without quotes."""
    from labkit.duckdb_sql import duckdb

    with duckdb.connect() as connection:
        found = connection.execute(
            "select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'"
        ).fetchall()
    return frozenset(name for (name,) in found)


def literal(value: Any) -> str:
    """Return a value as SQL writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping) and set(value) == {"time"}:
        return f"timestamptz {literal(value['time'])}"
    text = str(value).replace("'", "''")
    return f"'{text}'"
