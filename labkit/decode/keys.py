"""Keys decoded beside values: columns ``_key_<field>``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.decode.decoder import Decoder, FieldPath
from labkit.decode.merge import without_way
from labkit.errors import LabkitError
from labkit.waiting.interrupt import Cancelled

PREFIX = "_key_"


@dataclass
class Parsed:
    """One batch's values and keys."""

    value: Any
    key: Any

    @property
    def errors(self) -> dict[int, str]:
        """Row to reason; of a key's after a value's."""
        reasons = dict(self.value.errors)
        for row, reason in self.key.errors.items():
            own = f"key: {reason}"
            reasons[row] = f"{reasons[row]}; {own}" if row in reasons else own
        return dict(sorted(reasons.items()))

    @property
    def schema(self) -> tuple[Any, Any]:
        """The values' and the keys'."""
        return self.value.schema, self.key.schema


class Both(Decoder):
    """A decoder of values and one of keys, as one."""

    def __init__(self, value: Decoder, key: Decoder) -> None:
        self.value, self.key = value, key

    @property
    def parts(self) -> tuple[Decoder, ...]:
        """What decodes the values, and what the keys."""
        return self.value, self.key

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [*self.value.notes, *(f"keys: {note}" for note in self.key.notes)]

    @property
    def disagreements(self) -> dict[FieldPath, str]:
        """Fields that hold values of several types: path to what the receipt should say of it."""
        of_keys = {
            (PREFIX + path[0], *path[1:]): f"keys: {without_way(note)}"
            for path, note in self.key.disagreements.items()
        }
        return {**self.value.disagreements, **of_keys}

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return self.value.lasting and self.key.lasting

    @property
    def trouble(self) -> LabkitError | None:
        """What kept a registry from answering."""
        return self.value.trouble or self.key.trouble

    def heed(self, cancelled: Cancelled) -> None:
        """Let both know of an interrupt."""
        self.value.heed(cancelled)
        self.key.heed(cancelled)

    def parse(self, values: pa.BinaryArray) -> Any:
        """Refuse: values alone are no records."""
        raise TypeError("keys are decoded beside values: give parse_batch the records")

    def parse_batch(self, batch: pa.RecordBatch) -> Parsed:
        """Decode one batch of records."""
        keys = self.key.parse_keys(batch)
        return Parsed(self.value.parse_batch(batch), keys)

    def unify(self, schemas: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Return the schemas that hold for all batches."""
        pairs = list(schemas)
        return self.value.unify([schema for schema, _ in pairs]), self.key.unify(
            [schema for _, schema in pairs]
        )

    def kinds(self, parsed: Parsed, names: Iterable[str]) -> np.ndarray | None:
        """Return a number for each row by the values' fields and the keys'."""
        names = list(names)
        of_keys = [name[len(PREFIX) :] for name in names if name.lower().startswith(PREFIX)]
        both = [self.value.kinds(parsed.value, names), self.key.kinds(parsed.key, of_keys)]
        columns = [numbers for numbers in both if numbers is not None]
        return np.unique(np.stack(columns), axis=1, return_inverse=True)[1] if columns else None

    def anew(self) -> Decoder:
        """Return this decoder without what it knows of the types of other batches."""
        return Both(self.value.anew(), self.key.anew())

    def columns(self, parsed: Parsed, schema: tuple[Any, Any]) -> pa.Table:
        """Return the fields of the values."""
        table: pa.Table = self.value.columns(parsed.value, schema[0])
        return table

    def key_columns(self, parsed: Parsed, schema: tuple[Any, Any]) -> pa.Table:
        """Return the fields of the keys, under names of their own."""
        table = self.key.columns(parsed.key, schema[1])
        return table.rename_columns([PREFIX + name for name in table.column_names])
