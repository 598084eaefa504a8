"""Keys decoded beside values: columns ``_key_<field>``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labkit import decode

PREFIX = "_key_"


@dataclass
class Parsed:
    """One batch's values and keys."""

    value: Any
    key: Any

    @property
    def errors(self) -> dict[int, str]:
        """Row to reason; of a key's after a value's."""
        found = dict(self.value.errors)
        for row, reason in self.key.errors.items():
            own = f"key: {reason}"
            found[row] = f"{found[row]}; {own}" if row in found else own
        return dict(sorted(found.items()))

    @property
    def schema(self) -> tuple[Any, Any]:
        """The values' and the keys'."""
        return self.value.schema, self.key.schema


class Both:
    """A decoder of values and one of keys, as one."""

    def __init__(self, value: Any, key: Any) -> None:
        self.value, self.key = value, key

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [*getattr(self.value, "notes", ()), *(f"keys: {note}" for note in getattr(self.key, "notes", ()))]

    @property
    def disagreements(self) -> list[str]:
        """Which fields hold values of several types, for the receipt."""
        keys = (f"keys: {note}" for note in getattr(self.key, "disagreements", ()))
        return [*getattr(self.value, "disagreements", ()), *keys]

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return all(getattr(one, "lasting", True) for one in (self.value, self.key))

    def parse_batch(self, batch: pa.RecordBatch) -> Parsed:
        """Decode one batch of records."""
        keys = self.key.parse_keys(batch) if hasattr(self.key, "parse_keys") else self.key.parse(batch.column("key"))
        return Parsed(decode.parse(self.value, batch), keys)

    def unify(self, schemas: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Return the schemas that hold for all batches."""
        pairs = list(schemas)
        return self.value.unify([one for one, _ in pairs]), self.key.unify([one for _, one in pairs])

    def columns(self, parsed: Parsed, schema: tuple[Any, Any]) -> pa.Table:
        """Return the fields of the values."""
        table: pa.Table = self.value.columns(parsed.value, schema[0])
        return table

    def key_columns(self, parsed: Parsed, schema: tuple[Any, Any]) -> pa.Table:
        """Return the fields of the keys, under names of their own."""
        table = self.key.columns(parsed.key, schema[1])
        return table.rename_columns([PREFIX + name for name in table.column_names])
