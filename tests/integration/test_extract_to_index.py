"""The direct form: documents are named so that none swallows another and none is doubled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.elastic import Target
from labkit.lab import connect
from labkit.stack.state import State
from support.stack import LABKIT

LINES = "".join(f'{{"n":{number}}}\n' for number in range(5))


@pytest.fixture
def index(stack: State, me: str) -> Iterator[str]:
    name = f"irc-direct-{me}"
    yield name
    root(stack).client.options(ignore_status=404).indices.delete(index=name)


def root(stack: State) -> Target:
    return connect(role="admin").target()


def extract(index: str, *paths: object, given: str = "") -> str:
    command = [*LABKIT, "extract", "files", *map(str, paths), "--to-index", index]
    command += ["--role", "indexer", "--again"]
    result = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def count(stack: State, index: str) -> int:
    client = root(stack).client
    client.indices.refresh(index=index)
    return int(client.count(index=index)["count"])


def test_files_of_one_name_in_two_folders_are_two_files(
    stack: State, index: str, tmp_path: Path
) -> None:
    paths = [tmp_path / day / "irc.jsonl" for day in ("monday", "tuesday")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(LINES)
    extract(index, *paths)
    assert count(stack, index) == 10
    extract(index, *paths)
    assert count(stack, index) == 10


def test_a_file_that_grew_adds_what_is_new_and_one_that_was_rewritten_is_not_taken_for_the_old(
    stack: State, index: str, tmp_path: Path
) -> None:
    path = tmp_path / "irc.jsonl"
    path.write_text(LINES)
    extract(index, path)
    path.write_text(LINES + '{"n":5}\n')
    extract(index, path)
    assert count(stack, index) == 6
    path.write_text('{"other":1}\n{"other":2}\n')
    extract(index, path)
    assert count(stack, index) == 8


def test_what_is_piped_in_twice_is_there_twice(stack: State, index: str) -> None:
    """Nothing tells one run's first line from the next one's."""
    for _ in range(2):
        extract(index, "-", given=LINES)
    assert count(stack, index) == 10
