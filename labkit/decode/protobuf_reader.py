"""Protobuf schemas as Arrow types, and a reader of messages of one type.

Integers have 64 bits (``uint64`` unsigned), fractions are doubles, enums text by their names, bytes
binary, maps maps. ``Timestamp`` is a time of microseconds, ``Duration`` a duration of such (finer
ones are cut, and named), the wrappers (``Int64Value`` …) their value or null; ``Struct``,
``Value`` and ``ListValue`` are text, as JSON, or null where they are; maps are by key; a message that holds itself
is JSON, too, from there on. A field that knows whether it is set (``optional``, ``oneof``,
messages) is null when it is not; any other has its default.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import DecodeError

from labkit.decode.avro_values import shorten_value
from labkit.decode.decoder import FieldPath
from labkit.decode.limits import COLUMNS, MORE, LimitError, columns_note, most_values, too_much
from labkit.decode.merge import BINARY, TEXT, Fields, fields_of, fit, text

DEPTH = 24  # Arrow takes 64 levels
_INTEGERS = ("INT32", "SINT32", "SFIXED32", "INT64", "SINT64", "SFIXED64", "UINT32", "FIXED32")
_SCALARS: dict[int, pa.DataType] = {
    **{getattr(FieldDescriptor, f"TYPE_{name}"): pa.int64() for name in _INTEGERS},
    FieldDescriptor.TYPE_UINT64: pa.uint64(),
    FieldDescriptor.TYPE_FIXED64: pa.uint64(),
    FieldDescriptor.TYPE_FLOAT: pa.float64(),
    FieldDescriptor.TYPE_DOUBLE: pa.float64(),
    FieldDescriptor.TYPE_BOOL: pa.bool_(),
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_ENUM: TEXT,
    FieldDescriptor.TYPE_BYTES: BINARY,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Convert = Callable[[Any], Any]
_GOOGLE = "google.protobuf."
_WRAPPERS = {
    f"{_GOOGLE}{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool")
} | {
    f"{_GOOGLE}StringValue",
    f"{_GOOGLE}BytesValue",
}


class Reader:
    """Reads messages of one type.

    Parameters
    ----------
    descriptor : google.protobuf.descriptor.Descriptor
        The message's.

    Attributes
    ----------
    fields : dict
        Column to Arrow type.
    name : str
        The message's full name.
    problems : list of str
        Which values of the message read last mean nothing (a time beyond the calendar), and are
        null.
    """

    def __init__(self, descriptor: Any) -> None:
        self.name = str(descriptor.full_name)
        self._class: Any = message_factory.GetMessageClass(descriptor)
        self._ready = True  # values are as Arrow takes them
        self._converts: dict[str, list[tuple[str, Convert]]] = {}
        self._columns = self._size = self._left = 0
        self._cut = ""  # the first time that was: a file's records are decoded twice, so no count
        self.problems: list[str] = []
        self.disagreements: dict[FieldPath, str] = {}  # a field has one type
        self._rest: list[str] = []
        kind = self._struct(descriptor, ())
        self.fields: Fields = fields_of(kind)
        self.struct, self._descriptor = kind, descriptor

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        cut = f"times were cut to whole microseconds, the first to {self._cut}"
        return [
            *([columns_note(len(self._rest))] if self._rest else []),
            *([cut] if self._cut else []),
        ]

    def read(self, payload: bytes) -> dict[str, Any]:
        """Return one message's fields; raises what the bytes make the parser stumble over."""
        message = self._class()
        self._size, self._left = len(payload), most_values(len(payload))
        self.problems = []
        try:
            message.ParseFromString(payload)
        except DecodeError as error:
            raise ValueError(str(error)) from error
        record = self._plain(self._descriptor, message)
        if self._rest:
            record[MORE] = {name: record.pop(name) for name in self._rest}
        return record if self._ready else fit(record, self.struct)

    # types -------------------------------------------------------------------------------------------

    def _struct(self, descriptor: Any, inside: tuple[str, ...]) -> pa.DataType:
        fields = list(descriptor.fields)
        wide = inside and self._columns + len(fields) > COLUMNS
        if descriptor.full_name in inside or len(inside) >= DEPTH or wide:
            self._ready = False
            return TEXT
        if len(fields) > COLUMNS:
            self._ready, self._rest = False, [field.name for field in fields[COLUMNS - 1 :]]
            fields = fields[: COLUMNS - 1]
        self._columns += len(fields)
        within = (*inside, descriptor.full_name)
        kinds = [(field.name, self._field(field, within)) for field in fields]
        return pa.struct([*kinds, (MORE, TEXT)] if self._rest and not inside else kinds)

    def _field(self, field: Any, inside: tuple[str, ...]) -> pa.DataType:
        if _is_map(field):
            self._ready = False
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            return pa.map_(_SCALARS[key.type], self._single(value, inside))
        kind = self._single(field, inside)
        return pa.large_list(kind) if _is_repeated(field) else kind

    def _single(self, field: Any, inside: tuple[str, ...]) -> pa.DataType:
        of = field.message_type
        if of is None:
            return _SCALARS[field.type]
        well_known = {
            f"{_GOOGLE}Timestamp": pa.timestamp("us", "UTC"),
            f"{_GOOGLE}Duration": pa.duration("us"),
            **{f"{_GOOGLE}{name}": TEXT for name in ("Struct", "Value", "ListValue")},
            "confluent.type.Decimal": TEXT,  # each value has a scale of its own
        }
        if of.full_name in _WRAPPERS:
            return _SCALARS[of.fields_by_name["value"].type]
        return well_known.get(of.full_name) or self._struct(of, inside)

    # values ------------------------------------------------------------------------------------------

    def _plain(self, descriptor: Any, message: Any) -> dict[str, Any]:
        converts = self._converts.get(descriptor.full_name)
        if converts is None:
            converts = [(field.name, self._get(field)) for field in descriptor.fields]
            self._converts[descriptor.full_name] = converts
        self._left -= len(converts)
        if self._left < 0:  # two bytes make a message with a default for each of its fields
            raise too_much(self._size)
        return {name: self._value(name, convert, message, name) for name, convert in converts}

    def _value(self, place: str, convert: Convert, source: Any, name: str | None = None) -> Any:
        """Return what a field (`name`) of `source`, or `source` as an item, means.

        Null, and a problem, for nothing.
        """
        count = len(self.problems)
        try:
            value = convert(source)
        except LimitError:
            raise
        except (ValueError, OverflowError, ArithmeticError, SerializeToJsonError) as error:
            raw_value = (
                str(source if name is None else getattr(source, name)).replace("\n", " ").strip()
            )
            self.problems.append(f"{place}: {shorten_value(raw_value)} has no meaning ({error})")
            return None
        # what was noted within this value is below its place
        self.problems[count:] = [
            f"{place}{problem}" if problem.startswith("[") else f"{place}.{problem}"
            for problem in self.problems[count:]
        ]
        return value

    def _items(
        self, convert: Convert, items: Iterable[tuple[Any, Any]]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each item's key and meaning.

        One that means nothing is null, and the others stay.
        """
        for key, item in items:
            yield key, self._value(f"[{key}]", convert, item)

    def _get(self, field: Any) -> Convert:
        """Return what takes a field's value out of a message."""
        name = field.name
        if _is_map(field):
            item = self._convert(field.message_type.fields_by_name["value"])
            of = field.message_type.fields_by_name["value"].message_type
            if of is not None:  # looking a missing key up would make it
                return lambda message: dict(
                    self._items(
                        item,
                        (
                            (key, getattr(message, name)[key])
                            for key in sorted(getattr(message, name))
                        ),
                    )
                )
            return lambda message: {
                key: item(value) for key, value in sorted(getattr(message, name).items())
            }
        convert = self._convert(field)
        if _is_repeated(field) and field.message_type is not None:
            return lambda message: [
                value for _, value in self._items(convert, enumerate(getattr(message, name)))
            ]
        if _is_repeated(field):
            return lambda message: [convert(value) for value in getattr(message, name)]
        if field.has_presence:
            return lambda message: (
                convert(getattr(message, name)) if message.HasField(name) else None
            )
        return lambda message: convert(getattr(message, name))

    def _convert(self, field: Any) -> Convert:
        of = field.message_type
        if of is None:
            if field.type != FieldDescriptor.TYPE_ENUM:
                return lambda value: value
            # of several names for a number the first, as Protobuf's JSON has it
            names = {value.number: value.name for value in reversed(field.enum_type.values)}
            return lambda value: names.get(value, str(value))
        if of.full_name in _TIMES:
            return lambda value: self._time(_TIMES[of.full_name], value)
        return _KNOWN.get(of.full_name) or (
            (lambda value: value.value)
            if of.full_name in _WRAPPERS
            else (lambda value: self._plain(of, value))
        )

    def _time(self, convert: Convert, value: Any) -> Any:
        converted = convert(value)
        if value.nanos % 1000 and not self._cut:
            self._cut = text(converted)
        return converted


def _is_repeated(field: Any) -> bool:
    return bool(
        field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    )


def _is_map(field: Any) -> bool:
    return bool(
        _is_repeated(field)
        and field.message_type is not None
        and field.message_type.GetOptions().map_entry
    )


def _duration(value: Any) -> timedelta:
    micros = abs(value.nanos) // 1000
    return timedelta(seconds=value.seconds, microseconds=micros if value.nanos > 0 else -micros)


def _timestamp(value: Any) -> datetime:
    return _EPOCH + _duration(value)


def _decimal(value: Any) -> str:
    sign, digits, _ = Decimal(int.from_bytes(value.value, "big", signed=True)).as_tuple()
    # exact: arithmetic would round to 28 digits
    return f"{Decimal((sign, digits, -value.scale)):f}"


def _any_json(value: Any) -> str | None:
    """Return a value of any kind as text; null is none, and not the text."""
    json_value = _in_order(MessageToDict(value))
    return None if json_value is None else text(json_value)


def _in_order(value: Any) -> Any:
    """Return a JSON value with its members by name: Protobuf's own order is by chance."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


_TIMES: dict[str, Convert] = {f"{_GOOGLE}Timestamp": _timestamp, f"{_GOOGLE}Duration": _duration}
_KNOWN: dict[str, Convert] = {
    **{f"{_GOOGLE}{name}": _any_json for name in ("Struct", "Value", "ListValue")},
    "confluent.type.Decimal": _decimal,
}


def descriptor_of(schema: Any, referenced: Callable[[str, int], Any], path: tuple[int, ...]) -> Any:
    """Return the descriptor of a registry's message.

    Parameters
    ----------
    schema : confluent_kafka.schema_registry.Schema
        As a descriptor in base64, or as the text of a ``.proto``.
    referenced : callable
        Takes a subject and a version and returns that schema.
    path : tuple of int
        Which of the file's messages: its number, then those of messages within.
    """
    if _descriptor(schema) is None:
        from labkit.decode.proto_text import compile_text

        return _message(compile_text(schema, referenced), path)
    return _message(_file(schema, referenced), path)


def _file(schema: Any, referenced: Callable[[str, int], Any]) -> Any:
    from confluent_kafka.schema_registry.common.protobuf import _init_pool

    pool = descriptor_pool.DescriptorPool()
    _init_pool(pool)
    return _add(pool, "labkit/this.proto", schema, referenced, set())


def _add(
    pool: Any, name: str, schema: Any, referenced: Callable[[str, int], Any], known: set[str]
) -> Any:
    """Add a schema to the pool under `name`, those it refers to first."""
    for reference in schema.references or ():
        if reference.name not in known:
            known.add(reference.name)
            _add(
                pool,
                reference.name,
                referenced(reference.subject, reference.version),
                referenced,
                known,
            )
    proto = _descriptor(schema)
    if proto is None:
        raise ValueError(
            f"the registry gives {name!r} as text, but what refers to it as a descriptor"
        )
    proto.name = name
    pool.Add(proto)
    return pool.FindFileByName(name)


def _descriptor(schema: Any) -> Any:
    """Return a schema's descriptor; None where the registry gives text."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    try:
        return FileDescriptorProto.FromString(
            binascii.a2b_base64(schema.schema_str.encode(), strict_mode=True)
        )
    except (ValueError, DecodeError):
        return None


def _message(file: Any, path: tuple[int, ...]) -> Any:
    messages = list(file.message_types_by_name.values())
    message = None
    for number in path:
        if not 0 <= number < len(messages):
            raise ValueError(f"message number {list(path)} is not in the schema")
        message = messages[number]
        messages = list(message.nested_types)
    return message
