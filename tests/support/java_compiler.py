"""Compiles Java sources of the tests, with a compiler from Maven that a JRE runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from labkit.stack.artefacts import Artefact, fetch
from labkit.stack.java import find_java

_COMPILER = Artefact(
    service="streams",
    group="org.eclipse.jdt",
    name="ecj",
    version="3.33.0",  # the last that runs on Java 17
    packaging="jar",
    sha256="f7686c4960cf70c2ebc5c500a73a8cfc04541b730c18f1c5c21329889b137f45",
    bytes=3160927,
)


def compile_java(folder: Path, name: str, source: str, jars: Iterable[Path]) -> str:
    """Compile the class `name` into `folder`; return the class path that has it and the jars."""
    path = os.pathsep.join([str(folder), *map(str, jars)])
    file = folder / f"{name}.java"
    file.write_text(source)
    java = find_java(17) / "bin" / "java"
    compiler = fetch([_COMPILER], lambda _text: None)[0]
    subprocess.run([java, "-jar", compiler, "-17", "-cp", path, "-d", folder, file], check=True)
    return path
