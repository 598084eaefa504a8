"""Give fields a reader's types: values are converted, or null with the reason in ``_error``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.checks.suggest import did_you_mean
from labkit.decode.decoder import Decoder, FieldPath
from labkit.decode.fixed_schema import fit_column
from labkit.decode.json_shape import Shape
from labkit.errors import LabkitError, UsageError
from labkit.waiting.interrupt import Cancelled

_TYPES: dict[Any, pa.DataType] = {
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "text": pa.large_string(),
    "time": pa.timestamp("us", "UTC"),
}
_TYPES |= {
    float: _TYPES["float"],
    int: _TYPES["int"],
    bool: _TYPES["bool"],
    str: _TYPES["text"],
    datetime: _TYPES["time"],
}


def types_of(asked: Mapping[str, Any] | None) -> dict[str, pa.DataType]:
    """Return the Arrow types that `read(types=…)` asks for, by field.

    Raises
    ------
    UsageError
        When one is no type.
    """
    arrow_types = {}
    for name, kind in dict(asked or {}).items():
        if not isinstance(kind, pa.DataType) and kind not in _TYPES:
            near = did_you_mean(kind, filter(_is_text, _TYPES)) if _is_text(kind) else ""
            hint = f'{near}one of "float", "int", "bool", "text", "time", or an Arrow type'
            raise UsageError(f"types[{name!r}] must be a type, not {kind!r}", hint=hint)
        arrow_types[name] = kind if isinstance(kind, pa.DataType) else _TYPES[kind]
    return arrow_types


@dataclass
class Parsed:
    """One batch as the decoder within parsed it, and its columns of given types."""

    inner: Any
    columns: dict[str, pa.Array]
    errors: dict[int, str]

    @property
    def schema(self) -> Any:
        """The decoder's own."""
        return self.inner.schema


class Typed(Decoder):
    """A decoder some of whose fields have types given beforehand.

    Parameters
    ----------
    inner : Decoder
    types : dict
        Field to Arrow type.
    """

    def __init__(self, inner: Decoder, types: Mapping[str, pa.DataType]) -> None:
        self.inner, self.types = inner, dict(types)
        self._seen: set[str] = set()
        self.parallel = inner.parallel

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        absent = sorted(self.types.keys() - self._seen) if self._seen else []
        near = {name: did_you_mean(name, self._seen).rstrip() for name in absent}
        lines = [
            f"field {name} of types= is in no record{near[name] and f'; {near[name]}'}"
            for name in absent
        ]
        return [*self.inner.notes, *lines]

    @property
    def disagreements(self) -> dict[FieldPath, str]:
        """Other fields with values of several types: path to what the receipt says of it."""
        own = {(name,) for name in self.types}
        return {path: note for path, note in self.inner.disagreements.items() if path not in own}

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return self.inner.lasting

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Decode one batch of values."""
        return self._with_types(self.inner.parse(values), len(values))

    def parse_batch(self, batch: pa.RecordBatch) -> Parsed:
        """Decode one batch of records."""
        return self._with_types(self.inner.parse_batch(batch), batch.num_rows)

    def ready(self) -> Callable[[pa.RecordBatch], Parsed]:
        """Return `parse_batch` for the next batch."""
        parse_inner = self.inner.ready()
        return lambda batch: self._with_types(parse_inner(batch), batch.num_rows)

    def heed(self, cancelled: Cancelled) -> None:
        """Let the decoder within know of an interrupt."""
        self.inner.heed(cancelled)

    @property
    def trouble(self) -> LabkitError | None:
        """What kept a registry from answering."""
        return self.inner.trouble

    def _with_types(self, inner: Any, count: int) -> Parsed:
        schema = self.inner.unify([inner.schema])
        if isinstance(schema, Shape):  # numbers that become text keep their spelling
            schema = schema.with_text(
                name for name, kind in self.types.items() if pa.types.is_large_string(kind)
            )
        table = self.inner.columns(inner, schema)
        present = set(table.column_names)
        self._seen |= present
        errors: dict[int, str] = {}
        columns = {
            name: fit_column(table[name], kind, name, errors)
            if name in present
            else pa.nulls(count, kind)
            for name, kind in self.types.items()
        }
        return Parsed(inner, columns, dict(sorted({**errors, **inner.errors}.items())))

    def kinds(self, parsed: Parsed, names: Iterable[str]) -> np.ndarray | None:
        """Return a number for each row by the fields without a given type."""
        given = {name.lower() for name in self.types}
        return self.inner.kinds(parsed.inner, [name for name in names if name.lower() not in given])

    def anew(self) -> Decoder:
        """Return this decoder without what it knows of the types of other batches."""
        return Typed(self.inner.anew(), self.types)

    def unify(self, schemas: Iterable[Any]) -> Any:
        """Return the one schema that holds for all batches."""
        return self.inner.unify(schemas)

    def columns(self, parsed: Parsed, schema: Any) -> pa.Table:
        """Return a batch's fields under that schema and the types given."""
        table = self.inner.columns(parsed.inner, schema)
        for name, column in parsed.columns.items():
            place = table.schema.get_field_index(name)
            if place >= 0:
                table = table.set_column(place, name, column)
        return table


def _is_text(kind: Any) -> bool:
    return isinstance(kind, str)
