"""Enrichers that change the fields: envelopes unwrapped, fields renamed or dropped.

Debezium's envelope is ``before``, ``after``, ``source``, ``op`` and times, alone or as the
``payload`` beside its ``schema``. Unwrapped, a record has the row's fields: those after the change,
of a delete those before it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import must_be_one_of, unknown_field
from labkit.decode import merge, plain
from labkit.decode.json_rows import load_record, spell_numbers, spell_value
from labkit.decode.json_shape import Shape
from labkit.decode.keys import PREFIX
from labkit.decode.pipeline import RESERVED
from labkit.errors import UsageError
from labkit.tables.arrow import is_text, join_chunks
from labkit.tables.nested import with_items

_ROWS = ("payload", "before", "after", "source")
_ENVELOPE = ("before", "after", "source", "op", "ts_ms", "ts_us", "ts_ns", "transaction")
_TIME = pa.timestamp("ms", "UTC")


@dataclass(frozen=True)
class Change:
    """What all of them share: they read no one field, and say nothing of an index."""

    properties: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)
    field: None = dataclasses.field(default=None, init=False, repr=False)

    def change(self, table: pa.Table, *, whole: bool) -> pa.Table:
        """Return a decoded table with other fields.

        Parameters
        ----------
        whole : bool
            Whether the table has the fields of all records; a batch of documents may lack some.
        """
        raise NotImplementedError

    def opens_texts(self, schema: Any) -> bool:
        """Tell whether it takes JSON texts apart, of records with a decoder's schema."""
        return False

    def open_texts(self, values: pa.BinaryArray) -> pa.BinaryArray:
        """Return JSON records with objects in the place of the texts that it takes apart."""
        return values

    def add(self, table: pa.Table) -> pa.Table:
        """Add nothing: fields change in their place."""
        return pa.table({})

    def notes(self) -> tuple[str, ...]:
        """Nothing to say."""
        return ()


@dataclass(frozen=True)
class Unwrap(Change):
    """See `unwrap`."""

    kind: str

    def change(self, table: pa.Table, *, whole: bool) -> pa.Table:
        """Return the table with the payload's fields, of Debezium's with the row's."""
        own = _fields(table)
        errors: dict[int, str] = {}
        for name in _ROWS:
            own |= _objects(name, own.get(name), errors)
        table = _with_errors(table, errors)
        payload = own.get("payload")
        if payload is not None and pa.types.is_struct(payload.type):
            own = _spread_payload(own)
            for name in _ROWS[1:]:
                own |= _objects(name, own.get(name), errors)
            table = _with_errors(table, errors)
        elif self.kind == "connect":
            if whole and len(table) and payload is None:
                raise UsageError(
                    "unwrap('connect'): no record has a payload", hint=f"there is: {', '.join(own)}"
                )
            own.pop("schema", None)
        if self.kind == "connect":
            return _with_fields(table, own)
        values = table.column("_value")
        if "op" in own:
            return _with_fields(table, _rows(own, values))
        if whole and len(table) - values.null_count:
            present = ", ".join(_fields(table)) or "no field at all"
            raise UsageError("unwrap('debezium'): no record has an op", hint=f"there is: {present}")
        return table

    def opens_texts(self, schema: Any) -> bool:
        """Tell whether a row of some record is a text, or one of several kinds."""
        paths: list[tuple[str, ...]] = [(name,) for name in _ROWS]
        paths += [("payload", name) for name in _ROWS]
        return any(
            _has_texts(schema[0] if isinstance(schema, tuple) else schema, path) for path in paths
        )

    def open_texts(self, values: pa.BinaryArray) -> pa.BinaryArray:
        """Return JSON records with objects in the place of the texts that it takes apart."""
        return pa.array(map(_open_texts_of, values.to_pylist()), values.type)

    def notes(self) -> tuple[str, ...]:
        """Return what a receipt should tell."""
        return (f"unwrapped from {self.kind}'s envelopes",)


def _has_texts(schema: Any, path: tuple[str, ...]) -> bool:
    """Tell whether a field is text, of JSON not only for lack of a value."""
    if isinstance(schema, Shape):
        return dict(schema.walk()).get(path, Shape()).kinds["texts"] > 0
    kind = pa.struct(list(schema.items()))
    for name in path:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return False
        kind = kind.field(name).type
    return is_text(kind)


def _open_texts_of(value: bytes | None) -> bytes | None:
    """Return a JSON record with objects for texts of such; itself where there is none."""
    if value is None or load_record(value)[1]:
        return value
    record = spell_numbers(value)
    _open_members(record)
    if isinstance(record.get("payload"), dict):
        _open_members(record["payload"])
    return spell_value(record).encode()


def _open_members(record: dict[str, Any]) -> None:
    """Put objects in the place of texts of such."""
    for name in _ROWS:
        text = record.get(name)
        line = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else b""
        if line[:1] == b"{" and not load_record(line)[1]:
            record[name] = spell_numbers(line)


def _objects(name: str, column: Any, errors: dict[int, str]) -> dict[str, Any]:
    """Return a column of texts as objects, which it would be but for some of its values.

    Beside one text a batch's objects are texts, too; MongoDB's connector writes only such. A value
    that is none is null, and in `errors`.
    """
    if column is None or not is_text(column.type) or column.null_count == len(column):
        return {}
    texts = join_chunks(column)
    decoder = plain("json")
    parsed: Any = decoder.parse(texts.cast(pa.binary()))
    if name == "payload" and len(parsed.errors) == len(texts) - texts.null_count:
        return {}  # it has no objects: Connect's are texts as well
    if name != "source":  # of which nothing but what came with the row is taken
        for row, reason in parsed.errors.items():
            errors.setdefault(row, f"{name}: {reason}")
    members = decoder.columns(parsed, decoder.unify([parsed.schema]))
    invalid = np.asarray(texts.is_null())
    invalid[list(parsed.errors)] = True
    arrays = [join_chunks(member) for member in members.columns]
    return {
        name: pa.StructArray.from_arrays(
            arrays, fields=list(members.schema), mask=pa.array(invalid)
        )
        if arrays
        else pa.nulls(len(texts), pa.struct([]))
    }


def _with_errors(table: pa.Table, errors: Mapping[int, str]) -> pa.Table:
    """Return a table whose rows have these errors, where they have none yet."""
    if not errors:
        return table
    place = table.column_names.index("_error")
    texts = table.column(place).to_pylist()
    for row, reason in errors.items():
        texts[row] = texts[row] or reason
    return table.set_column(place, "_error", pa.array(texts, pa.string()))


def _spread_payload(own: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the payload's in its place; one of both has whichever has a value."""
    rest = {name: column for name, column in own.items() if name not in ("payload", "schema")}
    parts = _parts(own["payload"])
    return {**rest, **{name: _either(part, rest.get(name)) for name, part in parts.items()}}


def _rows(own: dict[str, Any], values: pa.ChunkedArray) -> dict[str, Any]:
    """Return the columns of Debezium's rows, of what came with them, and of other records."""
    op = join_chunks(own["op"])
    deleted = pc.fill_null(pc.equal(op, "d"), False)
    before, after = (_parts(own.get(name)) for name in ("before", "after"))
    columns: dict[str, Any] = {}
    for name in (*after, *(name for name in before if name not in after)):
        kind = merge.merge(
            *(part[name].type if name in part else pa.null() for part in (after, before))
        )
        kind = merge.settle_type(kind)
        new, old = (
            merge.cast(part[name], kind) if name in part else pa.nulls(len(op), kind)
            for part in (after, before)
        )
        columns[name] = pc.if_else(deleted, old, new)
    source = _parts(own.get("source"))
    columns["__op"] = op
    columns["__deleted"] = pc.or_(deleted, join_chunks(pc.is_null(values)))
    columns["__source_time"] = _time(source.get("ts_ms"), len(op))
    columns["__time"] = _time(own.get("ts_ms"), len(op))
    columns |= {f"__{name}": source[name] for name in ("db", "schema", "table") if name in source}
    rest = {name: column for name, column in own.items() if name not in _ENVELOPE}
    for name, column in rest.items():
        columns[_free(name, columns)] = column
    return columns


def _parts(column: Any) -> dict[str, pa.Array]:
    """Return an object's fields; empty for any other column, such as one without a value."""
    if column is None or not pa.types.is_struct(column.type):
        return {}
    struct = join_chunks(column)
    return dict(zip((part.name for part in struct.type), struct.flatten(), strict=True))


def _time(column: Any, count: int) -> pa.Array:
    if column is None:
        return pa.nulls(count, _TIME)
    array = join_chunks(column)
    if pa.types.is_timestamp(array.type):
        return array
    if pa.types.is_floating(array.type):
        array = _whole(array)
    elif is_text(array.type):  # beside one that is none
        is_number = pc.match_substring_regex(array, r"^-?\d{1,18}$")
        array = pc.if_else(is_number, array, pa.scalar(None, array.type))
    elif not pa.types.is_integer(array.type):
        return pa.nulls(count, _TIME)
    return array.cast(pa.int64()).cast(_TIME)


def _whole(fractions: pa.Array) -> pa.Array:
    """Return the fractions that are whole numbers of 53 bits; others are null."""
    is_whole = pc.and_(pc.equal(pc.floor(fractions), fractions), pc.less(pc.abs(fractions), 2**53))
    return pc.if_else(is_whole, fractions, pa.scalar(None, fractions.type)).cast(pa.int64())


def _either(inner: pa.Array, outer: Any) -> pa.Array:
    """Return a payload's field, and the record's own where it is not wrapped."""
    if outer is None:
        return inner
    struct = join_chunks(outer)
    if _is_empty(inner) or _is_empty(struct):
        return struct if _is_empty(inner) else inner
    kind = merge.settle_type(merge.merge(inner.type, struct.type))
    return _coalesce(merge.cast(inner, kind), merge.cast(struct, kind))


def _is_empty(column: pa.Array) -> bool:
    """Tell whether a column is one of text only because no record has a value in it."""
    return bool(pa.types.is_large_string(column.type) and column.null_count == len(column))


def _coalesce(first: pa.Array, second: pa.Array) -> pa.Array:
    return pc.if_else(first.is_valid(), first, second)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


@dataclass(frozen=True)
class Rename(Change):
    """See `rename`."""

    names: tuple[tuple[str, str], ...]

    def change(self, table: pa.Table, *, whole: bool) -> pa.Table:
        """Return the table with other names of fields."""
        own, names = _fields(table), dict(self.names)
        _check_known(names, own, whole=whole and len(table) > 0)
        changes: dict[str, Any] = {}
        for name, column in own.items():
            new = names.get(name, name)
            if new in changes or (new != name and new in own and new not in names):
                raise UsageError(
                    f"rename: there is a field {new!r} already",
                    hint="drop it first, or choose another name",
                )
            changes[new] = column
        return _with_fields(table, changes)


@dataclass(frozen=True)
class Drop(Change):
    """See `drop`."""

    names: tuple[str, ...]

    def change(self, table: pa.Table, *, whole: bool) -> pa.Table:
        """Return the table without fields."""
        own = _fields(table)
        _check_known(
            [name for name in self.names if "." not in name or name in own],
            own,
            whole=whole and len(table) > 0,
        )
        for name in self.names:
            if name in own:
                del own[name]
                continue
            head, _, rest = name.partition(".")
            if head in own and rest:
                rest_of_it = _without(
                    join_chunks(own[head]), rest, name if whole and len(table) else ""
                )
                own |= {head: rest_of_it}
        return _with_fields(table, own)


def _without(column: Any, path: str, name: str) -> pa.Array:
    """Return an object without a field within it; `name` is noted where it is missing."""
    head, _, rest = path.partition(".")
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return with_items(column, _without(column.flatten(), path, name))
    if is_text(kind) and column.null_count < len(column):
        return pa.array([_text_without(text, path.split(".")) for text in column.to_pylist()], kind)
    if not pa.types.is_struct(kind) or kind.get_field_index(head) < 0:
        if name:
            names = [part.name for part in kind] if pa.types.is_struct(kind) else []
            raise unknown_field(name, names, where="drop: ")
        return column
    parts = dict(zip((part.name for part in kind), column.flatten(), strict=True))
    if rest:
        parts[head] = _without(parts[head], rest, name)
    else:
        del parts[head]
    fields = [pa.field(part_name, part.type) for part_name, part in parts.items()]
    return pa.StructArray.from_arrays(list(parts.values()), fields=fields, mask=column.is_null())


def _text_without(text: str | None, path: list[str]) -> str | None:
    """Return the JSON of an object, or of a list of such, without a field within it.

    Any other text is itself.
    """
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return text
    return json.dumps(value, ensure_ascii=False) if _remove(value, path) else text


def _remove(value: Any, path: list[str]) -> bool:
    """Take a field out of an object, or out of each of a list's; tell whether there was one."""
    if isinstance(value, list):
        removed = [_remove(item, path) for item in value]  # from each, not from the first alone
        return any(removed)
    if not isinstance(value, dict) or path[0] not in value:
        return False
    if len(path) > 1:
        return _remove(value[path[0]], path[1:])
    del value[path[0]]
    return True


def _check_known(names: Any, own: Mapping[str, Any], *, whole: bool) -> None:
    for name in names:
        if whole and name not in own:
            if "." in name:
                raise UsageError(
                    f"enrich: rename takes whole fields, not a part of one as {name!r}",
                    hint="labkit.enrich.apply takes a function that makes a column of the part",
                )
            raise unknown_field(name, own, where="enrich: ")


def _fields(table: pa.Table) -> dict[str, Any]:
    """Return the records' own fields."""
    names = [
        name for name in table.column_names if name not in RESERVED and not name.startswith(PREFIX)
    ]
    return {name: table.column(name) for name in names}


def _with_fields(table: pa.Table, own: Mapping[str, Any]) -> pa.Table:
    """Return a table with other fields in the place of the records' own.

    Those named as metadata get ``_`` appended.
    """
    names = table.column_names
    before = _fields(table)
    place = next(
        (number for number, name in enumerate(names) if name in before),
        names.index("_timestamp") + 1,
    )
    new_names = [name for name in names if name not in before]
    first = [name for name in names[:place] if name in new_names]
    columns = {name: table.column(name) for name in first}
    for name, column in own.items():
        columns[_free(name, dict.fromkeys([*RESERVED, *new_names, *columns]))] = column
    return pa.table(
        {**columns, **{name: table.column(name) for name in new_names if name not in columns}}
    )


def unwrap(kind: str) -> Unwrap:
    """Take records out of their envelopes.

    Parameters
    ----------
    kind : {"debezium", "connect"}
        "debezium": the fields of the row, after the change; of a delete those before it. With them
        come ``__op`` (c, u, r, d …; null for a tombstone), ``__deleted`` (a delete or a tombstone),
        ``__source_time`` (of the change in the database), ``__time`` (when Debezium saw it), and
        ``__db``, ``__schema``, ``__table`` where the source has them. "connect": the fields of the
        ``payload`` that Kafka Connect writes beside a ``schema``. A Debezium envelope with a schema
        is unwrapped of both at once.
    """
    if kind not in ("debezium", "connect"):
        raise must_be_one_of("unwrap", kind, ("debezium", "connect"), "unwrap('debezium')")
    return Unwrap(kind)


def rename(names: Mapping[str, str]) -> Rename:
    """Give fields other names: ``rename({"_id": "order_id"})``."""
    if (
        not isinstance(names, Mapping)
        or not names
        or not all(isinstance(name, str) for pair in names.items() for name in pair)
    ):
        raise UsageError(
            f"rename takes a dict of names, not {names!r}", hint='write rename({"_id": "order_id"})'
        )
    _check_own([*names, *names.values()])
    return Rename(tuple(names.items()))


def drop(names: Sequence[str]) -> Drop:
    """Leave fields out: ``drop(["_id", "source.db"])``; one within an object by its path."""
    listed = [names] if isinstance(names, str) else list(names)
    if not listed or not all(isinstance(name, str) and name for name in listed):
        raise UsageError(f"drop takes names of fields, not {names!r}", hint='write drop(["_id"])')
    _check_own(listed)
    return Drop(tuple(listed))


def _check_own(names: Sequence[str]) -> None:
    for name in names:
        if name in RESERVED or name.startswith(PREFIX):
            raise UsageError(
                f"{name!r} is metadata, not a field of the records",
                hint="metadata stay; df.drop(columns=…) in pandas",
            )
