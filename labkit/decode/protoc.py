"""protoc, of grpcio-tools: ``.proto`` files become descriptors, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from labkit.decode.schema_files import read_schema
from labkit.errors import UsageError

_TIMEOUT_S = 30
_MOST_FILES = 1000
_COMMENTS = re.compile(rb'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_IMPORT = re.compile(rb'\bimport\s+(?:public\s+|weak\s+|option\s+)?"([^"\n]+)"\s*;')
_HINT = "imports are looked for beside the file and in the folders above it; include= names others"


def compile_proto(path: Path, include: Sequence[Path] = ()) -> bytes:
    """Return the ``FileDescriptorSet`` of a file with all its imports.

    Parameters
    ----------
    include : sequence of Path
        Folders that imports are relative to; without any the file's own and those above it that
        have an import.

    Raises
    ------
    UsageError
        When it cannot be read or compiled.
    """
    read_schema(path)  # says what is wrong with the path
    path = path.absolute()
    folders = (
        [*(folder.absolute() for folder in include), path.parent]
        if include
        else _import_folders(path)
    )
    for folder in folders:
        if not folder.is_dir() or os.pathsep in str(folder):
            wrong = f"include: {str(folder)!r} must be a folder, without {os.pathsep!r} in its name"
            raise UsageError(wrong, hint=_HINT)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "descriptors"
        command = [
            sys.executable, "-P", "-m", "grpc_tools.protoc", "--include_imports", f"--descriptor_set_out={target}",
            *(f"-I{folder}" for folder in folders), str(path),
        ]  # fmt: skip
        try:
            process = subprocess.run(
                command,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"{path} was not compiled within {_TIMEOUT_S} s", hint="is it a schema?"
            ) from error
        if process.returncode or not target.is_file():
            raise UsageError(
                f"{path.name} cannot be compiled: {_complaint(process.stderr)}", hint=_HINT
            )
        return target.read_bytes()


def _complaint(output: bytes) -> str:
    """Return what protoc says first, without its warnings."""
    lines = [
        line
        for line in output.decode(errors="replace").splitlines()
        if line.strip() and "warning:" not in line
    ]
    return "; ".join(lines[:2])[:500] or "protoc says nothing"


def _import_folders(path: Path) -> list[Path]:
    """Return the folders that a file's imports are relative to.

    They are its own folder, and for each import the nearest one above that has it.
    """
    folders, visited, waiting = [path.parent], {path}, [path]
    while waiting:
        file = waiting.pop()
        for name in _imports(file):
            above = (folder for folder in (*folders, *path.parents) if (folder / name).is_file())
            folder = next(above, None)
            if folder is None:
                continue  # one of protoc's own, or protoc says that it is missing
            if folder not in folders:
                folders.append(folder)
            if folder / name not in visited and len(visited) < _MOST_FILES:
                visited.add(folder / name)
                waiting.append(folder / name)
    return folders


def _imports(path: Path) -> list[str]:
    text = _COMMENTS.sub(lambda match: match[1] or b" ", read_schema(path))
    return [os.fsdecode(name) for name in _IMPORT.findall(text) if b"\0" not in name]
