"""Schemas from files instead of a registry, for bytes without a frame.

They are ``.avsc``, ``.proto`` or compiled descriptors. A schema is read, compiled and tried when it
is named. What is kept is its content: it travels to Dask's workers, which need no file, and names
the window in the cache, so a changed file is read anew.
"""

from __future__ import annotations

import errno
import hashlib
import os
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from labkit.config.topics import SCHEMA_FORMS
from labkit.decode.by_record import ByRecord, Located, Reader, reason_of
from labkit.decode.wire_format import is_framed, schema_id
from labkit.errors import UsageError

MOST_BYTES = 10_000_000  # of a schema's file
FilePath: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True)
class SchemaFile(ABC):
    """A schema's content, as `decode=` and `key_decode=` take it.

    Attributes
    ----------
    path : str
        Where it was read.
    """

    path: str

    kind = ""

    @property
    @abstractmethod
    def content(self) -> bytes:
        """What decides how records are read."""

    @abstractmethod
    def reader(self) -> Reader:
        """Return a new reader of records."""

    @property
    def hash(self) -> str:
        """The content's hash, 16 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @property
    def cache_name(self) -> str:
        """A name for files of what it decoded."""
        return f"{self.kind}-{self.hash}"

    def decoder(self) -> FileDecoder:
        """Return a new decoder."""
        return FileDecoder(self.kind, Path(self.path).name, self.hash, self.reader())

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the content for `from_json`, with the file's name and not its folder."""

    @staticmethod
    def from_json(kept: Mapping[str, Any]) -> SchemaFile | None:
        """Return the schema that `to_json` gave; None when it is none, whoever wrote it."""
        file, kind = str(kept.get("file")), kept.get("kind")
        try:
            schema: SchemaFile = (
                AvroFile(file, tuple(map(str, kept["texts"])))
                if kind == "avro"
                else ProtobufFile(
                    file, b64decode(kept["descriptors"], validate=True), kept["message"]
                )
            )
            _try(schema)
        except (UsageError, KeyError, TypeError, ValueError):
            return None
        return schema


class FileDecoder(ByRecord):
    """The decoder of records that are nothing but what one schema says."""

    def __init__(self, kind: str, name: str, content_hash: str, reader: Reader) -> None:
        self.kind, self._reader, self._source = kind, reader, name
        self._hash = content_hash
        self._located = Located(0, f"{name} {reader.name}".rstrip(), reader, b"")

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        origin = f"decoded as {self.kind} by {self._located.name} (sha256 {self._hash})"
        return [origin, *(f"schema {self._source}: {note}" for note in self._reader.notes)]

    def locate(self, value: bytes) -> Located:
        """Return the one reader there is."""
        schema, name, reader, _ = self._located
        return Located(schema, name, reader, value)  # in a third of the time of _replace

    def explain(self, value: bytes, error: Exception) -> str:
        """Return why a value cannot be read; what looks framed says so."""
        reason = reason_of(error)
        if not is_framed(value):
            return reason
        return f"{reason}; it starts as Confluent's wire format does, with schema id {schema_id(value)}: a registry's"


@dataclass(frozen=True)
class AvroFile(SchemaFile):
    """An Avro schema and those it names.

    Attributes
    ----------
    texts : tuple of str
        The schemas as JSON, each after those it names; the last is that of the records.
    """

    texts: tuple[str, ...] = field(repr=False)

    kind = "avro"

    def __repr__(self) -> str:
        return f"labkit.decode.avro({self.path!r})"

    @property
    def content(self) -> bytes:
        """The schemas' texts."""
        return "\n".join(self.texts).encode()

    def to_json(self) -> dict[str, Any]:
        """Return the schemas' texts, see `SchemaFile.to_json`."""
        return {"kind": self.kind, "file": Path(self.path).name, "texts": list(self.texts)}

    def reader(self) -> Reader:
        """Return a new reader of records."""
        from labkit.decode.avro_reader import Reader

        *references, own = self.texts
        others_texts = tuple(_Text(text) for text in references)
        return Reader(
            _Text(own, tuple(_Reference(number) for number in range(len(others_texts)))),
            lambda _, at: others_texts[at],
        )


@dataclass(frozen=True)
class _Reference:
    """A reference as the registry's schemas have it."""

    version: int
    subject: str = ""


@dataclass(frozen=True)
class _Text:
    """A schema as the registry gives it."""

    schema_str: str
    references: tuple[_Reference, ...] = ()


@dataclass(frozen=True)
class ProtobufFile(SchemaFile):
    """A Protobuf message and the files that it needs.

    Attributes
    ----------
    descriptors : bytes
        A ``FileDescriptorSet`` with all imports.
    message : str
        The message's full name.
    """

    descriptors: bytes = field(repr=False)
    message: str

    kind = "protobuf"

    def __repr__(self) -> str:
        return f"labkit.decode.protobuf({self.path!r}, message={self.message!r})"

    @property
    def content(self) -> bytes:
        """The descriptors and the message's name."""
        return self.descriptors + b"\0" + self.message.encode()

    def to_json(self) -> dict[str, Any]:
        """Return the descriptors in base64, see `SchemaFile.to_json`."""
        descriptors = b64encode(self.descriptors).decode()
        file = Path(self.path).name
        return {
            "kind": self.kind, "file": file, "descriptors": descriptors, "message": self.message,
        }  # fmt: skip

    def reader(self) -> Reader:
        """Return a new reader of records."""
        from labkit.decode.descriptors import Descriptors
        from labkit.decode.protobuf_reader import Reader

        return Reader(Descriptors(self.descriptors).find(self.message))


def avro(schema: FilePath) -> AvroFile:
    """Return a decoder of Avro records without a frame, by the schema in a file.

    Parameters
    ----------
    schema : path
        Of JSON, such as ``order.avsc``. A type it names and does not define is looked for beside
        it, as ``<full name>.avsc`` or ``<name>.avsc``.

    Raises
    ------
    UsageError
        When there is no such file, or it holds no schema.
    """
    from labkit.decode.avro_files import collect_schemas

    file = AvroFile(os.fspath(schema), collect_schemas(Path(schema)))
    _try(file)
    return file


def protobuf(
    schema: FilePath, *, message: str | None = None, include: FilePath | Sequence[FilePath] = ()
) -> ProtobufFile:
    """Return a decoder of Protobuf messages without a frame, by the schema in a file.

    Parameters
    ----------
    schema : path
        A ``.proto``, which protoc compiles, or descriptors that were compiled (``protoc --include_imports
        --descriptor_set_out=order.desc``).
    message : str, optional
        The full name, such as ``"shop.Order"``; may be left out where the file has one message.
    include : path or paths, optional
        Folders that imports of a ``.proto`` are relative to; by default its own, and those above
        it.

    Raises
    ------
    UsageError
        When there is no such file or message, or it cannot be compiled.
    """
    from labkit.decode.descriptors import Descriptors, choose_message
    from labkit.decode.protoc import compile_proto

    path = Path(schema)
    compiled = path.suffix != ".proto"
    folders = [include] if isinstance(include, str | os.PathLike) else list(include)
    if compiled and folders:
        raise UsageError(f"include= changes nothing: {path} is compiled", hint="leave it out")
    descriptors = (
        read_schema(path) if compiled else compile_proto(path, [Path(folder) for folder in folders])
    )
    messages = Descriptors(descriptors, str(path))
    own = None if compiled else list(messages.files)[-1]
    file = ProtobufFile(
        os.fspath(schema), descriptors, choose_message(messages, message, str(path), own)
    )
    _try(file)
    return file


def _try(schema: SchemaFile) -> None:
    """Refuse a schema that no reader can be made of."""
    try:
        schema.reader()
    except UsageError:
        raise
    except Exception as error:  # whatever the schema makes the parsers stumble over
        raise UsageError(
            f"the schema in {schema.path} cannot be used: {reason_of(error)}",
            hint="does its own tool take it?",
        ) from error


def read_schema(path: Path) -> bytes:
    """Return a schema file's content.

    Raises
    ------
    UsageError
        When it cannot be read, or is too large for a schema.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe waits for who writes to it
            raise OSError(errno.EINVAL, "it is not a regular file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"the schema {str(path)!r} cannot be read: {reason}",
            hint=f"paths are relative to {Path.cwd()}{_nearest(path)}",
        ) from error
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"{path} has more than {MOST_BYTES:,} bytes: a schema has less",
            hint="is it a file of data?",
        )
    return content


def _nearest(path: Path) -> str:
    """Return which files of that kind are there."""
    try:
        siblings = sorted(
            sibling.name for sibling in path.parent.iterdir() if sibling.suffix == path.suffix
        )
    except (OSError, ValueError):
        return ""
    return f"; {path.parent} has {', '.join(siblings[:5])}" if siblings else ""


# names on a command line and in labkit.toml ------------------------------------------------------------------


def open_schema(text: str, folder: Path = Path()) -> SchemaFile:
    """Return the schema that ``avro:FILE`` or ``protobuf:FILE#MESSAGE`` names.

    FILE is relative to `folder`.
    """
    kind, _, rest = text.partition(":")
    if kind == "avro" and rest:
        return avro(folder / rest)
    file, _, message = rest.partition("#")
    if kind == "protobuf" and file:
        return protobuf(folder / file, message=message or None)
    raise UsageError(
        f"decode must be a decoder's name or {SCHEMA_FORMS}, not {text!r}", hint="FILE is a path"
    )


def is_named(text: str) -> bool:
    """Tell whether a decoder's name has the form of a schema's file."""
    return ":" in text
