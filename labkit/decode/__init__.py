"""Decode: raw bytes become columns, a step that can be repeated without reading Kafka again.

A decoder parses batches alone and then brings them under the one schema that holds for all of them,
so that the columns are the same whatever the batch size (`labkit.decode.decoder`). ``avro(path)``
and ``protobuf(path)`` are decoders by a schema's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pyarrow as pa

from labkit.checks.suggest import did_you_mean
from labkit.config.topics import DECODERS, SCHEMA_FORMS
from labkit.decode.decoder import Decoder
from labkit.decode.json_shape import Shape
from labkit.decode.schema_files import SchemaFile, avro, is_named, open_schema, protobuf
from labkit.decode.topics import Configured
from labkit.decode.wire_format import with_header_ids
from labkit.errors import ConfigError, UsageError
from labkit.replay.notes import Note, NoteSource, notes_about

if TYPE_CHECKING:
    from labkit.registry import Registry

__all__ = ["avro", "protobuf"]

PLAIN = ("json", "text", "raw")
REGISTRY = ("avro", "protobuf", "jsonschema")
NAMES = DECODERS


Spec: TypeAlias = "str | SchemaFile | Configured | Decoder | Callable[[bytes], Any]"
HINT = f"one of {', '.join(NAMES)}, {SCHEMA_FORMS}, labkit.decode.avro(…), .protobuf(…), or a function that takes bytes"


def find_decoder(spec: Spec, *, registry: Registry | None = None) -> Decoder:
    """Return the decoder that `spec` names, or is.

    It is a name, a schema's file, a function of one value's bytes, or a decoder.

    Raises
    ------
    UsageError
        When no decoder has that name; ``auto`` must be chosen first, see `choose_decoders`.
    ConfigError
        When it needs a registry and the profile has none.
    """
    spec = open_named(spec)
    if isinstance(spec, str):
        return _decoder_named(spec, registry)
    if isinstance(spec, SchemaFile):
        return spec.decoder()
    if isinstance(spec, Decoder):
        return spec
    if callable(spec):
        from labkit.decode.custom import Own

        return Own(spec)
    raise UsageError(f"{spec!r} is not a decoder", hint=HINT)


def open_named(spec: Spec) -> Spec:
    """Return what a decoder's name stands for, when that is a schema's file or of labkit.toml."""
    if isinstance(spec, Configured):
        return spec.open_decoder()
    return open_schema(spec) if isinstance(spec, str) and is_named(spec) else spec


def describe_source(*specs: Spec) -> list[Note]:
    """Return what a receipt should say of where decoders are named."""
    return notes_about(
        NoteSource.DECODING, (spec.note for spec in specs if isinstance(spec, Configured))
    )


def _decoder_named(name: str, registry: Registry | None) -> Decoder:
    if name in PLAIN:
        return plain(name)
    if name not in REGISTRY:
        raise UsageError(f"{name!r} is not a decoder", hint=f"{did_you_mean(name, NAMES)}{HINT}")
    if registry is None:
        raise ConfigError(
            f"decode={name!r} needs a schema registry, and this profile has none",
            hint="write [profiles.NAME.registry] with its url into labkit.toml; "
            "on the local stack: `labkit up --registry`, then connect again",
        )
    from labkit.decode.registry import Binary, JsonSchema

    return JsonSchema(registry) if name == "jsonschema" else Binary(registry, name)


def plain(name: str) -> Decoder:
    """Return a new decoder of JSON, text or bytes."""
    kind: type[Decoder] = getattr(import_module(f"labkit.decode.{name}"), name.capitalize())
    return kind()


class DecoderChoice(NamedTuple):
    """How records are decoded.

    Attributes
    ----------
    decoder : Decoder
    notes : list of Note
        What ``auto`` says of its choices, and where decoders are named.
    lasting : bool
        Whether it would be chosen so again.
    """

    decoder: Decoder
    notes: list[Note]
    lasting: bool


def find_decoders(
    decode: Spec,
    key_decode: Spec,
    *,
    types: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    sample: Callable[[], Iterable[pa.RecordBatch]],
) -> DecoderChoice:
    """Return the decoder of a topic's records.

    Parameters
    ----------
    decode, key_decode : str, callable or Decoder
        ``key_decode="raw"`` leaves keys alone.
    types : dict, optional
        Field of the values to its type, see `labkit.decode.types`.
    sample : callable
        Returns raw batches to choose by; called only when something is "auto".
    """
    specs, notes, lasting = choose_decoders(decode, key_decode, registry=registry, sample=sample)
    value = find_decoder(specs[0], registry=registry)
    if types:
        from labkit.decode.types import Typed, types_of

        value = Typed(value, types_of(types))
    if isinstance(specs[1], str) and specs[1] == "raw":
        return DecoderChoice(value, notes, lasting)
    from labkit.decode.keys import Both

    return DecoderChoice(Both(value, find_decoder(specs[1], registry=registry)), notes, lasting)


def choose_decoders(
    decode: Spec,
    key_decode: Spec,
    *,
    registry: Registry | None = None,
    sample: Callable[[], Iterable[pa.RecordBatch]],
) -> tuple[list[Spec], list[Note], bool]:
    """Return `decode` and `key_decode` with a decoder's name in the place of "auto"."""
    lasting = True
    specs = [open_named(decode), open_named(key_decode)]
    notes = describe_source(decode, key_decode)
    batches = list(sample()) if "auto" in specs else []
    resolved: list[Spec] = []
    for spec, column in zip(specs, ("value", "key"), strict=True):
        decided = spec
        if isinstance(spec, str) and spec == "auto":
            from labkit.decode.auto import choose

            looked_at = [item for batch in batches for item in batch.column(column).to_pylist()]
            headed = [
                item for batch in batches for item in with_header_ids(batch, column).to_pylist()
            ]
            choice = choose(looked_at, registry, of=f"{column}s", headed=headed)
            notes.append(Note(choice.why, NoteSource.DECODING))
            decided, lasting = choice.name, lasting and choice.lasting
        resolved.append(decided)
    return resolved, notes, lasting


def notes(decoder: Decoder) -> list[Note]:
    """Return what the decoder has to say for the receipt."""
    disagreements = [note for _, note in sorted(decoder.disagreements.items())]
    return notes_about(NoteSource.DECODING, [*decoder.notes, *disagreements])


def gather_schemas(schemas: list[Any], schema: Any) -> list[Any]:
    """Return the schemas so far and one more, for `Decoder.unify`.

    Equal schemas are kept once, shapes are added up.
    """
    if schemas and isinstance(schema, Shape):
        return [schemas[0] + schema]
    return schemas if schema in schemas else [*schemas, schema]


def cache_name(decode: Spec, key_decode: Spec, registry: Registry | None) -> str | None:
    """Return a name under which a decoded window may be kept; None for functions.

    Two functions may share a name. `open_named` comes first: a schema's content names it, not its file,
    which may change.
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
