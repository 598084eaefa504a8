"""What a real bash offers of the cluster's names, by the script that `labkit completion` prints."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from labkit.kafka.cluster import Cluster
from labkit.stack.state import State
from support.stack import LABKIT

Offered = Callable[..., list[str]]


@pytest.fixture
def offered(stack: State, tmp_path: Path) -> Offered:
    """Return what bash offers after some words, the last of which is begun."""
    command = [*LABKIT, "completion", "bash"]
    script = subprocess.run(command, capture_output=True, text=True, check=True)
    (tmp_path / "labkit.sh").write_text(script.stdout)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "LABKIT_STATE": str(stack.root)}

    def complete(*words: str) -> list[str]:
        program = """source labkit.sh
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _shtab_labkit labkit "${@: -1}" "${@: -2:1}"; printf '%s\\n' "${COMPREPLY[@]}" """
        result = subprocess.run(
            ["bash", "-c", program, "bash", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return result.stdout.split()

    return complete


def test_topics_and_their_fields_are_completed(
    offered: Offered, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b'{"nick": "a", "number": 1}', b'{"nick": "b", "text": "c"}'])
    for command in ("window", "replay", "index", "retention"):
        assert offered("labkit", command, topic[:-3]) == [topic]
    assert offered("labkit", "doctor", "--topic", topic[:-3]) == [topic]
    assert offered("labkit", "find", topic, "x", "--field", "n") == ["nick", "number"]
    assert offered("labkit", "find", topic, "x", "--field", "nobody") == []


def test_groups_whose_names_are_one_plain_word(
    offered: Offered, admin: Cluster, make_topic: Any, tmp_path: Path
) -> None:
    """Foreign text stands in a shell here: no name is run, or taken for two."""
    topic, label = make_topic(), f"other.{uuid.uuid4().hex[:8]}"
    groups = [f"{label}.plain", f"{label}.$(touch harm)", f"{label}.`touch harm`", f"{label}. a"]
    for group in groups:
        consumer = admin.consumer(group=group)
        consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
        consumer.close()
    try:
        assert offered("labkit", "lag", label) == [f"{label}.plain"]
        assert offered("labkit", "groups", "delete", label) == [f"{label}.plain"]
        assert not (tmp_path / "harm").exists()
    finally:
        admin.ask_each(
            lambda client, some: client.delete_consumer_groups(some), groups, what="delete"
        )


def test_profiles_and_the_names_of_the_profile_typed(
    stack: State, make_topic: Any, tmp_path: Path, offered: Offered
) -> None:
    topic = make_topic()
    lines = [f'"{name}" = "{value}"' for name, value in stack.credentials("lab")["kafka"].items()]
    file = tmp_path / "own.toml"
    file.write_text("\n".join(["[profiles.prod.kafka]", *lines]))
    file.chmod(0o600)
    script = tmp_path / "labkit.sh"
    script.write_text(f"export LABKIT_CONFIG={file} LABKIT_STATE=/nowhere\n{script.read_text()}")
    assert offered("labkit", "topics", "--profile", "pr") == ["prod"]
    assert offered("labkit", "window", "--profile", "prod", topic[:-3]) == [topic]
    assert offered("labkit", "window", topic[:-3]) == []


def test_a_prompt_does_not_wait_as_long_as_a_command(tmp_path: Path) -> None:
    """While brokers are away a command waits for a minute, and Tab did too."""
    program = (
        "import sys; from labkit.cli import completion, main; completion._PATIENCE_S = 1; "
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["completion", "groups", "labkit", "lag", "--profile", "prod", "indexer."]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = tmp_path / "own.toml"
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        file.write_text(f'[profiles.prod.kafka]\n"bootstrap.servers" = "{address}"\n')
        file.chmod(0o600)
        result = subprocess.run(
            [sys.executable, "-c", program, *words],
            env={**os.environ, "LABKIT_CONFIG": str(file)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")  # not "no answer"


def test_fields_where_options_stand_before_the_topic(
    offered: Offered, make_topic: Any, produce: Any
) -> None:
    """The word after the command was taken for the topic, also when it was an option."""
    topic = make_topic()
    produce(topic, [b'{"nick": "a", "number": 1}'])
    for options in (["--profile", "local"], ["--oldest", "--limit", "=", "5"], ["--json"]):
        words = ["labkit", "find", *options, topic, "x", "--field", "n"]
        assert offered(*words) == ["nick", "number"], words
