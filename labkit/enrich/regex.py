"""Parts of a text field as columns, by a regular expression."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import UsageError


@dataclass(frozen=True)
class Parse:
    """See `parse`."""

    field: str
    regex: str
    columns: tuple[str, ...] = dataclasses.field(init=False)
    properties: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        hint = r"name the groups, such as (?P<code>\d+); the syntax is RE2's: no look-around, no back-references"
        try:
            kind = pc.extract_regex(pa.array([""]), pattern=self.regex).type
        except pa.ArrowInvalid as error:
            raise UsageError(f"parse regex {self.regex!r}: {error}", hint=hint) from error
        if not kind.num_fields:
            raise UsageError(f"parse regex {self.regex!r} has no named group", hint=hint)
        object.__setattr__(self, "columns", tuple(column.name for column in kind))

    def add(self, table: pa.Table) -> pa.Table:
        """Return a column for each named group; null where the expression does not match."""
        groups = pc.extract_regex(table.column(self.field).combine_chunks(), pattern=self.regex)
        return pa.table({name: pc.struct_field(groups, [name]) for name in self.columns})

    def notes(self) -> tuple[str, ...]:
        """Nothing to say."""
        return ()


def parse(field: str, regex: str) -> Parse:
    r"""Take the text of `field` apart: each named group becomes a column of text.

    Parameters
    ----------
    field : str
    regex : str
        RE2 syntax; it may match anywhere in the text. Where it does not match, the columns are
        null.

    Raises
    ------
    UsageError
        When `regex` is not a regular expression, or has no named group.

    Examples
    --------
    >>> labkit.enrich.parse("message", r"(?P<number>\d+) records")  # doctest: +SKIP
    """
    return Parse(field, regex)
