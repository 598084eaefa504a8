"""How an index must map the fields of records on their way to it, learned from the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from labkit.decode.json_shape import Shape
from labkit.decode.limits import COLUMNS
from labkit.es.column_types import json_properties, properties


class LearnedFields:
    """The mapping of the fields seen so far that need one.

    Attributes
    ----------
    rules : dict
        Field to its mapping. It becomes another object when a rule is new, and only then.
    """

    def __init__(self) -> None:
        self.rules: dict[str, Any] = {}
        self._columns: pa.Schema | None = None
        self._shape = Shape()

    def learn_columns(self, schema: pa.Schema) -> None:
        """Take in the types of decoded columns."""
        if self._columns is None or not schema.equals(self._columns):
            self._columns = schema
            self._add(properties({column.name: column.type for column in schema}))

    def learn_json(self, shape: Shape) -> None:
        """Take in what some JSON records hold, for an index maps a field by its first value."""
        if self._shape.leaves <= COLUMNS:  # else names are data, and grow without end
            self._shape += shape
            self._add(json_properties(self._shape))

    def _add(self, rules: Mapping[str, Any]) -> None:
        rules = {**self.rules, **rules}
        if rules != self.rules:
            self.rules = rules
