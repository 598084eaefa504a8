"""Decode: raw bytes become columns, a step that can be repeated without reading Kafka again.

A decoder parses batches alone and then brings them under the one schema that holds for all of them, so that the
columns are the same whatever the batch size. A module may be one (``json``, ``text``, ``raw``), or an object
(``registry.Binary``). ``avro(path)`` and ``protobuf(path)`` are decoders by a schema's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

import pyarrow as pa

from labkit.decode.json_shape import Shape
from labkit.decode.schema_files import SchemaFile, avro, is_named, named, protobuf
from labkit.decode.topics import Configured
from labkit.decode.wire_format import with_header_ids
from labkit.errors import ConfigError, LabkitError, UsageError
from labkit.topic_settings import DECODERS, SCHEMA_FORMS

if TYPE_CHECKING:
    from labkit.registry import Registry

__all__ = ["avro", "protobuf"]

PLAIN = ("json", "text", "raw")
REGISTRY = ("avro", "protobuf", "jsonschema")
NAMES = DECODERS
# how a decoding's own notes start
NOTES = ("value = ", "key = ", "auto chose ", "decoded as ", "schema ids ", "decoding was ", "keys: ", "field ")


class Parsed(Protocol):
    """One batch's values, with a schema of their own."""

    @property
    def errors(self) -> dict[int, str]:
        """Row to the reason why its value could not be decoded."""

    @property
    def schema(self) -> Any:
        """What `Decoder.unify` takes: field to type, in the decoder's own terms."""


@runtime_checkable
class Decoder(Protocol):
    """Turns values into columns.

    It may also have ``notes`` and ``disagreements`` (for the receipt), ``lasting`` (see `lasting`) and ``ready`` (see
    `ready`).
    """

    def parse(self, values: pa.BinaryArray) -> Any:
        """Return one batch as `Parsed`; a null is a tombstone: null fields and no error."""

    def unify(self, schemas: Iterable[Any]) -> Any:
        """Return the one schema that holds for all batches."""

    def columns(self, parsed: Any, schema: Any) -> pa.Table:
        """Return a batch's fields under that schema, one row per value."""


Spec: TypeAlias = "str | SchemaFile | Configured | Decoder | Callable[[bytes], Any]"
HINT = f"one of {', '.join(NAMES)}, {SCHEMA_FORMS}, labkit.decode.avro(…), .protobuf(…), or a function that takes bytes"


def decoder(spec: Spec, *, registry: Registry | None = None) -> Decoder:
    """Return the decoder `spec` names or is: a name, a schema's file, a function of one value's bytes, or a decoder.

    Raises
    ------
    UsageError
        When there is none of that name; ``auto`` must be chosen first, see `resolved`.
    ConfigError
        When it needs a registry and the profile has none.
    """
    spec = opened(spec)
    if isinstance(spec, str):
        return _named(spec, registry)
    if isinstance(spec, SchemaFile):
        return spec.decoder()
    if isinstance(spec, Decoder):
        return spec
    if callable(spec):
        from labkit.decode.custom import Own

        return Own(spec)
    raise UsageError(f"decode={spec!r}", hint=HINT)


def opened(spec: Spec) -> Spec:
    """Return a decoder whose name says a schema's file, or which labkit.toml names, as what that is."""
    if isinstance(spec, Configured):
        return spec.opened()
    return named(spec) if isinstance(spec, str) and is_named(spec) else spec


def said_of(*specs: Spec) -> list[str]:
    """Return what a receipt should say of where decoders are named."""
    return [spec.note for spec in specs if isinstance(spec, Configured)]


def _named(name: str, registry: Registry | None) -> Decoder:
    if name in PLAIN:
        return plain(name)
    if name not in REGISTRY:
        raise UsageError(f"decode={name!r}", hint=HINT)
    if registry is None:
        raise ConfigError(
            f"decode={name!r} needs a schema registry, and this profile has none",
            hint="write [profiles.NAME.registry] with its url into labkit.toml; "
            "on the local stack: `labkit up --registry`, then connect again",
        )
    from labkit.decode.registry import Binary, JsonSchema

    return JsonSchema(registry) if name == "jsonschema" else Binary(registry, name)


def plain(name: str) -> Decoder:
    """Return the decoder of JSON, text or bytes: the module, or one made of its class where it has state."""
    module = import_module(f"labkit.decode.{name}")
    return cast(Decoder, module.Json() if hasattr(module, "Json") else module)


def both(
    decode: Spec,
    key_decode: Spec,
    *,
    types: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    sample: Callable[[], Iterable[pa.RecordBatch]],
) -> tuple[Any, list[str], bool]:
    """Return the decoder of a topic's records, what ``auto`` says of its choices, and whether it would choose so again.

    Parameters
    ----------
    decode, key_decode : str, callable or Decoder
        ``key_decode="raw"`` leaves keys alone.
    types : dict, optional
        Field of the values to its type, see `labkit.decode.types`.
    sample : callable
        Returns raw batches to choose by; called only when something is "auto".
    """
    specs, notes, lasting = chosen(decode, key_decode, registry=registry, sample=sample)
    value: Any = decoder(specs[0], registry=registry)
    if types:
        from labkit.decode.types import Typed, types_of

        value = Typed(value, types_of(types))
    if isinstance(specs[1], str) and specs[1] == "raw":
        return value, notes, lasting
    from labkit.decode.keys import Both

    return Both(value, decoder(specs[1], registry=registry)), notes, lasting


def chosen(
    decode: Spec,
    key_decode: Spec,
    *,
    registry: Registry | None = None,
    sample: Callable[[], Iterable[pa.RecordBatch]],
) -> tuple[list[Spec], list[str], bool]:
    """Return what `both` makes decoders of: `decode` and `key_decode`, with a name in the place of "auto"."""
    notes: list[str] = []
    lasting = True
    specs = [opened(decode), opened(key_decode)]
    notes += said_of(decode, key_decode)
    batches = list(sample()) if "auto" in specs else []
    found: list[Spec] = []
    for spec, column in zip(specs, ("value", "key"), strict=True):
        one = spec
        if isinstance(spec, str) and spec == "auto":
            from labkit.decode.auto import choose

            looked_at = [item for batch in batches for item in batch.column(column).to_pylist()]
            headed = [item for batch in batches for item in with_header_ids(batch, column).to_pylist()]
            choice = choose(looked_at, registry, of=f"{column}s", headed=headed)
            notes.append(choice.why)
            one, lasting = choice.name, lasting and choice.lasting
        found.append(one)
    return found, notes, lasting


def parse(decoder: Any, batch: pa.RecordBatch) -> Any:
    """Return one batch of raw records as its decoder parses it."""
    return decoder.parse_batch(batch) if hasattr(decoder, "parse_batch") else decoder.parse(batch.column("value"))


def ready(decoder: Any) -> Callable[[pa.RecordBatch], Any]:
    """Return `parse` for the next batch; a decoder that lets several work at a time is told in the batches' order."""
    if not hasattr(decoder, "ready"):
        return partial(parse, decoder)
    parse_values = decoder.ready()
    return lambda batch: parse_values(batch.column("value"))


def key_columns(decoder: Any, parsed: Any, schema: Any) -> pa.Table:
    """Return the columns of decoded keys; none for a decoder of values alone."""
    return decoder.key_columns(parsed, schema) if hasattr(decoder, "key_columns") else pa.table({})


def notes(decoder: Any) -> list[str]:
    """Return what the decoder has to say for the receipt."""
    return [*getattr(decoder, "notes", ()), *getattr(decoder, "disagreements", ())]


def gathered(schemas: list[Any], schema: Any) -> list[Any]:
    """Return what `Decoder.unify` needs of the schemas so far and of one more: equal ones once, shapes as their sum."""
    if schemas and isinstance(schema, Shape):
        return [schemas[0] + schema]
    return schemas if schema in schemas else [*schemas, schema]


def lasting(decoder: Any) -> bool:
    """Tell whether decoding again gives the same; not where a registry was away or did not know an id."""
    return bool(getattr(decoder, "lasting", True))


def trouble(decoder: Any) -> LabkitError | None:
    """Return what kept a registry from answering, where it did: the records are not to blame for it."""
    schemas = (getattr(one, "schemas", None) for one in _parts(decoder))
    return next((one.trouble for one in schemas if one is not None and one.trouble is not None), None)


def heed(decoder: Any, interrupted: Callable[[], bool]) -> None:
    """Let decoders that may be slow know of an interrupt."""
    for one in _parts(decoder):
        if hasattr(one, "interrupted"):
            one.interrupted = interrupted


def _parts(decoder: Any) -> list[Any]:
    return [decoder, getattr(decoder, "value", None), getattr(decoder, "key", None)]


def cache_name(decode: Spec, key_decode: Spec, registry: Registry | None) -> str | None:
    """Return a name under which a decoded window may be kept; None for functions: two may share a name.

    `opened` comes first: a schema's content names it, not its file, which may change.
    """
    names = []
    for spec in (decode, key_decode):
        if isinstance(spec, SchemaFile):
            names.append(spec.cache_name)
        elif isinstance(spec, str) and spec in NAMES:
            names.append(spec)
        else:
            return None
    if names[1] == "raw":
        names.pop()
    if registry is not None and {*REGISTRY, "auto"} & set(names):
        names.append(registry.hash)
    return "-".join(names)
