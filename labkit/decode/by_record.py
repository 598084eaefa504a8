"""Records read one by one, each under its own schema, and the columns of a batch of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from labkit.decode import merge
from labkit.decode.avro_values import shorten_value
from labkit.decode.decoder import Decoder, FieldPath
from labkit.decode.merge import Fields

_SHOWN = 8  # problems named of one record
_REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError)


class Reader(Protocol):
    """Reads records written under one schema."""

    fields: Fields
    struct: pa.DataType
    name: str
    problems: list[str]
    disagreements: dict[FieldPath, str]

    @property
    def notes(self) -> list[str]: ...

    def read(self, payload: bytes) -> dict[str, Any]: ...


class UnreadableError(Exception):
    """Why a record cannot be read."""


@dataclass
class Part:
    """Records of one batch written under one schema."""

    rows: np.ndarray
    table: pa.Table


@dataclass
class Parsed:
    """One batch, by schemas, in the order of their first records."""

    count: int
    parts: list[Part] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def schema(self) -> Fields:
        """Field to Arrow type, of all the batch's schemas."""
        no_fields: Fields = {}
        return reduce(
            merge.merge_fields, (dict(_fields(part.table)) for part in self.parts), no_fields
        )


def _fields(table: pa.Table) -> Iterable[tuple[str, pa.DataType]]:
    return ((column.name, column.type) for column in table.schema)


class Located(NamedTuple):
    """What reads a record.

    Attributes
    ----------
    schema : hashable
        Records with the same one are read alike.
    name : str
        The schema's, for messages.
    reader : Reader
    payload : bytes
        The record without what is in front of it.
    """

    schema: Any
    name: str
    reader: Reader
    payload: bytes


class ByRecord(Decoder):
    """What decoders of records that need a schema share."""

    kind: str

    @cached_property
    def _read_by(self) -> dict[Any, Reader]:
        """What read records, by its schema."""
        return {}

    @property
    def disagreements(self) -> dict[FieldPath, str]:
        """Fields of several types, in a union or by schema: path to what the receipt should say."""
        readers = list(self._read_by.values())
        within = {path: note for one in readers for path, note in one.disagreements.items()}
        return within | merge.disagreements([reader.fields for reader in readers])

    @cached_property
    def rounded(self) -> merge.Rounded:
        """Integers of one schema that became other numbers.

        Another schema has fractions in the same field.
        """
        return merge.Rounded()

    @abstractmethod
    def locate(self, value: bytes) -> Located:
        """Return what reads a value; raise UnreadableError where nothing does."""

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Read one batch of values, each under its own schema."""
        parsed = Parsed(len(values))
        groups: dict[Any, tuple[Located, list[int], list[Any]]] = {}
        for row, value in enumerate(values.to_pylist()):
            if value is None:
                continue
            try:
                located = self.locate(value)
            except UnreadableError as error:
                parsed.errors[row] = str(error)
                continue
            schema, name, reader, payload = located
            try:
                record = reader.read(payload)
            # whatever bytes make the parsers stumble over: the row stays
            except Exception as error:
                parsed.errors[row] = f"not {self.kind} of {name}: {self.explain(value, error)}"
                continue
            if reader.problems:
                parsed.errors[row] = f"{self.kind} of {name}: {_join_problems(reader.problems)}"
            if schema not in groups:
                self._read_by[schema] = reader
            _, rows, objects = groups.setdefault(schema, (located, [], []))
            rows.append(row)
            objects.append(record)
        for located, rows, objects in groups.values():
            reason = f"a value of {located.name} that no column holds"
            part = _part(located.reader, rows, objects, parsed.errors, reason)
            if len(part.rows):
                parsed.parts.append(part)
        parsed.parts.sort(key=lambda one: int(one.rows[0]))
        return parsed

    def explain(self, value: bytes, error: Exception) -> str:
        """Return why a value cannot be read."""
        return reason_of(error)

    def unify(self, schemas: Iterable[Fields]) -> Fields:
        """Return the one schema that holds for all batches."""
        return merge.unify(schemas)

    def kinds(self, parsed: Parsed, names: Iterable[str]) -> np.ndarray | None:
        """Return a number for each row: that of its schema, where schemas disagree on a field."""
        lowered = {name.lower() for name in names}
        types: dict[str, set[pa.DataType]] = {}
        for part in parsed.parts:
            for column in part.table.schema:
                if column.name.lower() in lowered:
                    types.setdefault(column.name, set()).add(column.type)
        if all(len(of_field) < 2 for of_field in types.values()):
            return None
        numbers = np.zeros(parsed.count, np.int64)
        for number, part in enumerate(parsed.parts, 1):
            numbers[part.rows] = number
        return numbers

    def columns(self, parsed: Parsed, schema: Fields) -> pa.Table:
        """Return the batch's fields under the common schema."""
        if not schema:
            return pa.table({})
        if not parsed.parts:
            return pa.table({name: pa.nulls(parsed.count, kind) for name, kind in schema.items()})
        places = np.concatenate([part.rows for part in parsed.parts])
        order = None
        if len(places) != parsed.count or (np.diff(places) < 0).any():
            positions = np.full(parsed.count, -1)
            positions[places] = np.arange(len(places))
            order = pa.array(positions, mask=positions < 0)
        return pa.table(
            {name: self._column(parsed.parts, name, kind, order) for name, kind in schema.items()}
        )

    def _column(
        self, parts: list[Part], name: str, kind: pa.DataType, order: pa.Array | None
    ) -> pa.Array:
        pieces = [
            merge.cast(part.table[name].combine_chunks(), kind, self.rounded)
            if part.table.schema.get_field_index(name) >= 0
            else pa.nulls(len(part.rows), kind)
            for part in parts
        ]
        column = pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)
        return column if order is None else column.take(order)


def _part(
    reader: Reader, rows: list[int], objects: list[Any], errors: dict[int, str], what: str
) -> Part:
    """Return records as columns; a value that Arrow refuses is null, with a reason."""
    try:
        column = pa.array(objects, reader.struct)
    except _REFUSED:
        held = []
        for row, value in zip(rows, objects, strict=True):
            problems: list[str] = []
            held.append(_null_unheld(value, reader.struct, "", problems))
            if problems:
                errors[row] = "; ".join(
                    [
                        *([errors[row]] if row in errors else []),
                        f"{what}: {_join_problems(problems)}",
                    ]
                )
        column = pa.array(held, reader.struct)
    return Part(
        np.array(rows, np.int64), pa.Table.from_arrays(column.flatten(), names=list(reader.fields))
    )


def _null_unheld(value: Any, kind: pa.DataType, where: str, problems: list[str]) -> Any:
    """Return a value with null for what within it no column holds."""
    try:
        pa.array([value], kind)
    except _REFUSED as error:
        inside = f"{where}." if where else ""
        if pa.types.is_struct(kind) and isinstance(value, dict):
            return {
                member.name: _null_unheld(
                    value.get(member.name), member.type, inside + member.name, problems
                )
                for member in kind
            }
        if pa.types.is_large_list(kind) and isinstance(value, list):
            return [_null_unheld(item, kind.value_type, where, problems) for item in value]
        if pa.types.is_map(kind) and isinstance(value, list):
            return [
                (key, _null_unheld(item, kind.item_type, f"{inside}{key}", problems))
                for key, item in value
            ]
        problems.append(f"{where}: {shorten_value(value)} ({reason_of(error)})")
        return None
    return value


def _join_problems(problems: list[str]) -> str:
    more = [f"and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
    return "; ".join([*problems[:_SHOWN], *more])


def reason_of(error: BaseException) -> str:
    """Return an error's kind and message on one line; the same for the same bytes."""
    if isinstance(error, EOFError):  # fastavro's text may have an address in memory
        return "its bytes end too early"
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
