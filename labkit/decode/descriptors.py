"""Protobuf descriptors: a compiled file and its imports in a pool, and the message to read."""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from labkit.checks.suggest import MOST_LISTED, did_you_mean
from labkit.errors import UsageError
from labkit.text.visible import first_few

_OWN = "google/protobuf/"  # what every protoc has with it


class Descriptors:
    """The files of a ``FileDescriptorSet`` as a pool.

    Attributes
    ----------
    files : dict
        Name to file, in the order they were compiled: imports first.

    Raises
    ------
    UsageError
        When it is not a descriptor, or lacks an import.
    """

    def __init__(self, content: bytes, path: str = "the schema") -> None:
        self._path = path
        self._hint = f"make it so: protoc --include_imports --descriptor_set_out={path} FILE.proto"
        try:
            self.files = {file.name: file for file in FileDescriptorSet.FromString(content).file}
        except DecodeError:
            self.files = {}
        if not self.files:
            raise UsageError(
                f"{path} holds no compiled descriptors", hint=f"{self._hint}, or name the .proto"
            )
        self._pool = descriptor_pool.DescriptorPool()
        self._added: set[str] = set()
        for name in self.files:
            self._add_with_imports(name)

    def _add_with_imports(self, first: str) -> None:
        """Add a file to the pool after those it imports.

        Imports may be deeper than Python's stack.
        """
        waiting, opened = [first], set()
        while waiting:
            name = waiting[-1]
            file = self.files.get(name) or _own_file(name)
            if file is None:
                raise UsageError(f"{self._path} lacks {name!r}, which it imports", hint=self._hint)
            missing = [name for name in file.dependency if name not in self._added]
            if not missing:
                self._add(waiting.pop(), file)
            elif name in opened:
                raise UsageError(f"{self._path}: {name!r} imports itself", hint=self._hint)
            else:
                opened.add(name)
                waiting += missing

    def _add(self, name: str, file: FileDescriptorProto) -> None:
        if name in self._added:
            return
        self._added.add(name)
        try:
            self._pool.AddSerializedFile(file.SerializeToString())
            self._pool.FindFileByName(name)
        except (TypeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UsageError(
                f"{self._path}: {name!r} cannot be used: {reason}", hint=self._hint
            ) from error

    def messages(self, file: str | None = None) -> list[str]:
        """Return the full names of a file's messages, those within others last.

        By default of all files.
        """
        names = (
            [file]
            if file in self.files
            else [name for name in self.files if not name.startswith(_OWN)]
        )
        waiting: list[Any] = []
        for name in names:
            waiting += self._pool.FindFileByName(name).message_types_by_name.values()
        full_names = []
        while waiting:
            full_names += [str(message.full_name) for message in waiting]
            inner = chain.from_iterable(message.nested_types for message in waiting)
            waiting = [message for message in inner if not message.GetOptions().map_entry]
        return full_names

    def file(self, name: str) -> Any:
        """Return the descriptor of a file."""
        return self._pool.FindFileByName(name)

    def find(self, message: str) -> Any:
        """Return the descriptor of a message by its full name."""
        return self._pool.FindMessageTypeByName(message)


def _own_file(name: str) -> FileDescriptorProto | None:
    """Return one of Protobuf's own files, such as that of Timestamp."""
    if not name.startswith(_OWN) or not name.endswith(".proto"):
        return None
    stem = name.removeprefix(_OWN).removesuffix(".proto")
    if not stem.isidentifier():
        return None
    try:
        content = import_module(f"google.protobuf.{stem}_pb2").DESCRIPTOR.serialized_pb
    except ImportError:
        return None
    return FileDescriptorProto.FromString(content)


def choose_message(
    descriptors: Descriptors, message: str | None, path: str, file: str | None
) -> str:
    """Return the full name of the message; without `message`, the file's only one.

    Raises
    ------
    UsageError
        When there is no such message, or there are several and none is named.
    """
    messages = descriptors.messages()
    own = descriptors.messages(file)
    listed = first_few(own, MOST_LISTED)
    if not own:
        raise UsageError(f"{path} has no message", hint="name the file with the messages")
    if message is None:
        tops = [name for name in own if not any(name.startswith(f"{parent}.") for parent in own)]
        if len(tops) > 1:
            raise UsageError(
                f"{path} has {len(tops):,} messages, and message= names none",
                hint=f"message= one of: {listed}",
            )
        return tops[0]
    if message not in messages:
        by_end = [
            name for name in messages if name.rpartition(".")[2] == message.rpartition(".")[2]
        ]
        near = (
            f"did you mean {' or '.join(map(repr, by_end[:3]))}? "
            if by_end
            else did_you_mean(message, messages)
        )
        raise UsageError(f"{path} has no message {message!r}", hint=f"{near}it has: {listed}")
    return message
