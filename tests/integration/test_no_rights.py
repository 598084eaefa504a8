"""Principals that lack a right.

Each error names who, the operation, the resource, and the role that has it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labkit import cli
from labkit.acl import Grant
from labkit.checks import names
from labkit.errors import AccessError, NotFoundError, UsageError
from labkit.lab import Lab
from labkit.notebook.lag_board import LagBoard
from labkit.notebook.picker import WindowPicker
from labkit.notebook.widgets import browse
from labkit.replay.follow import Follower
from labkit.stack.state import write_private
from support.secure_stack import SecureStack
from support.waiting import until

GROUP = "indexer.production"


@dataclass
class Principals:
    """One who may do nothing; one who may read the topic, describe groups, and read an index."""

    topic: str
    settings: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    nobody: Lab
    reader: Lab

    @property
    def own(self) -> str:
        return f"labkit.{names.user()}."


@pytest.fixture(scope="module")
def principals(secure: SecureStack) -> Principals:
    topic = secure.new_topic()
    name, password = secure.new_user("reader")
    readable = Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ"))
    secure.grant(name, [readable, Grant("GROUP", "*", False, ("DESCRIBE",))])
    index_reader = {"cluster": [], "indices": [{"names": [topic], "privileges": ["read"]}]}
    settings = {
        "nobody": (secure.kafka(*secure.new_user("nobody")), {}),
        "reader": (secure.kafka(name, password), {"default": secure.new_es_user(index_reader)}),
    }
    labs = {setting: secure.lab(kafka, **targets) for setting, (kafka, targets) in settings.items()}
    until(lambda: list(labs["reader"].topics()["topic"]) == [topic])
    return Principals(topic, settings, **labs)


Act = Callable[[Principals], Any]
# what is tried, who tries it, the operation and resource that lack, and the arguments of `labkit acl`
METHODS: dict[str, tuple[Act, str, str, str, str]] = {
    "window": (lambda it: it.nobody.window(it.topic), "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}"),
    "profile": (lambda it: it.nobody.profile(it.topic), "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}"),
    "read": (
        lambda it: it.nobody.window(it.topic, offsets={0: (0, 2)}).read(),
        "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}",
    ),
    "retention": (
        lambda it: it.nobody.retention(it.topic), "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}"
    ),
    "attach": (
        lambda it: it.nobody.attach(it.topic, name="x").read(1),
        "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}",
    ),
    "lag": (lambda it: it.nobody.lag(GROUP), "nobody", "Describe", f"group '{GROUP}'", "lab"),
    "delete_group": (
        lambda it: it.nobody.delete_group(f"{it.own}x"), "nobody", "Describe", "group '{own}x'", "lab"
    ),
    "attach as a reader": (
        lambda it: it.reader.attach(it.topic, name="x").read(1),
        "reader", "Read", "group '{own}x'", "lab --topic {topic}",
    ),
    "to_topic": (
        lambda it: it.reader.window(it.topic).to_topic("x", ttl="1h"),
        "reader", "Create", "topic '{own}x.incomplete'", "lab --topic 'labkit.*'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_method_names_the_right_and_the_role(method: str, principals: Principals) -> None:
    act, principal_name, operation, resource, arguments = METHODS[method]
    with pytest.raises(AccessError) as caught:
        act(principals)
    places = {"topic": principals.topic, "own": principals.own}
    principal = getattr(principals, principal_name).cluster.principal
    assert principal in caught.value.message
    assert f"the ACL {operation}" in caught.value.hint
    assert f" on {resource.format(**places)} is missing" in caught.value.hint
    assert (
        f"`labkit acl --principal {principal} --role {arguments.format(**places)}` prints"
        in caught.value.hint
    )


@pytest.mark.parametrize("method", ["topics", "groups", "offsets", "lag"])
def test_an_empty_list_names_the_right_that_may_be_missing(
    method: str, principals: Principals
) -> None:
    """Kafka leaves out in silence what a principal may not see: the list was empty, no more."""
    options = {"samples": 1} if method == "lag" else {}
    who = principals.nobody.cluster.principal
    with pytest.warns(
        UserWarning, match=f"^no .* is there, or {who} may not see it .right Describe."
    ) as caught:
        assert getattr(principals.nobody, method)(**options).empty
    grant = f"`labkit acl --principal {who} --role lab` prints what to grant"
    assert str(caught[0].message).endswith(grant)


def test_widgets_name_the_right_that_may_be_missing(principals: Principals) -> None:
    """The board said that no group has committed anything, the picker that there is no topic."""
    nobody = principals.nobody
    who = nobody.cluster.principal
    board = LagBoard(nobody, None, every="1s", limit="1m", patience="5.5s")
    assert (
        f"no group with a commit is there, or {who} may not see it (right Describe)" in board.text()
    )
    assert (
        f"no group with a commit is there, or {who} may not see it (right Describe)"
        in board.view.value
    )
    with pytest.raises(
        UsageError, match=f"no topic is there, or {who} may not see it .right Describe."
    ):
        WindowPicker(nobody)


def test_a_name_to_browse_that_is_neither_topic_nor_index_tells_of_the_topic(
    principals: Principals, secure: SecureStack
) -> None:
    """It said of a topic's name that Elasticsearch refuses, lacks or has no target for."""
    hidden, reader, nobody = secure.new_topic(), principals.reader, principals.nobody
    for lab, name in ((nobody, hidden), (nobody, "Irc-Upper"), (reader, hidden)):
        with pytest.raises(AccessError) as refused:
            browse(lab, name)
        who = lab.cluster.principal
        assert f"{who} may not describe topic '{name}'" in refused.value.message
        assert f"the ACL Describe on topic '{name}' is missing" in str(refused.value.hint)
    assert "neither as a topic nor as an index" in refused.value.message
    assert "; an index: its role lacks a privilege" in str(refused.value.hint)
    seer = secure.lab(secure.kafka("admin", secure.state.passwords["admin"]))
    with pytest.raises(NotFoundError, match="topic"):
        browse(seer, f"{hidden}x")


def test_a_trace_names_what_lets_it_see_the_group(secure: SecureStack) -> None:
    """It said of a record whose group it could not look at only that it is in the topic."""
    topic = secure.new_topic()
    name, password = secure.new_user("tracer")
    secure.grant(name, [Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ"))])
    lab = secure.lab(secure.kafka(name, password))
    until(lambda: topic in lab.cluster.topics(), "the right")
    trace = lab.trace(topic, 0, 0, group=GROUP)
    assert trace.verdict == f"It is in the topic; {GROUP} could not be looked at."
    assert f"the ACL Describe on group '{GROUP}' is missing; `labkit acl --" in str(trace)


def test_a_topic_list_names_what_fills_its_missing_cells(secure: SecureStack) -> None:
    topic = secure.new_topic()
    name, password = secure.new_user("describer")
    secure.grant(name, [Grant("TOPIC", topic, False, ("DESCRIBE",))])
    lab = secure.lab(secure.kafka(name, password))
    until(lambda: topic in lab.cluster.topics(), "the right")
    with pytest.warns(
        UserWarning, match="1 of 1 topic has missing cells: .*DescribeConfigs"
    ) as told:
        assert lab.topics()["retention_ms"].isna().all()
    assert sum("missing cells" in str(warning.message) for warning in told) == 1


def test_what_is_in_no_role_is_one_command(principals: Principals) -> None:
    with pytest.raises(AccessError) as caught:
        principals.reader.retention(principals.topic, "90d")
    assert (
        f"the ACL AlterConfigs on topic '{principals.topic}' is missing; labkit's roles"
        in caught.value.hint
    )
    assert f"--operation AlterConfigs --topic '{principals.topic}'" in caught.value.hint


@pytest.mark.parametrize("method", ["scratch load", "index"])
def test_elasticsearch_names_the_privilege_and_the_role(
    method: str, principals: Principals
) -> None:
    acts: dict[str, Callable[[], Any]] = {
        "scratch load": lambda: principals.reader.window(principals.topic).to_scratch(
            "x", ttl="1h"
        ),
        "index": lambda: principals.reader.index("irc-other").count(),
    }
    with pytest.raises(AccessError, match="is unauthorized for user") as caught:
        acts[method]()
    assert (
        "`labkit acl --role lab --indices PATTERN --format elasticsearch-role` prints"
        in caught.value.hint
    )


Profiles = Callable[[dict[str, Any], dict[str, Any]], None]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profiles:
    """Write a profile ``prod`` of Kafka's settings and Elasticsearch's targets."""

    def lines(table: str, settings: dict[str, Any]) -> list[str]:
        values = [f'"{key}" = {json.dumps(value)}' for key, value in settings.items()]
        return [f"[profiles.prod.{table}]", *values]

    def write(kafka: dict[str, Any], targets: dict[str, Any]) -> None:
        text = lines("kafka", kafka)
        for name, target in targets.items():
            text += lines(f"elasticsearch.{name}", target)
        write_private(tmp_path / "labkit.toml", "\n".join(text))
        monkeypatch.setenv("LABKIT_CONFIG", str(tmp_path / "labkit.toml"))

    return write


COMMANDS: dict[str, tuple[list[str], str, str, str, str]] = {
    "index": (
        ["index", "{topic}", "irc-x", "--group", GROUP], "reader", "Read", f"group '{GROUP}'", "indexer --topic {topic}"
    ),
    "extract": (
        ["extract", "files", "{file}", "--topic", "{topic}"],
        "reader", "Write", "topic '{topic}'", "extractor --topic {topic}",
    ),
    "extract, blind": (
        ["extract", "files", "{file}", "--topic", "{topic}"],
        "nobody", "Describe", "topic '{topic}'", "extractor --topic {topic}",
    ),
    "window": (["window", "{topic}"], "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}"),
    "tail": (["tail", "{topic}"], "nobody", "Describe", "topic '{topic}'", "lab --topic {topic}"),
    "lag": (["lag", GROUP], "nobody", "Describe", f"group '{GROUP}'", "lab"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_right_and_its_role(
    name: str,
    principals: Principals,
    secure: SecureStack,
    profile: Profiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, principal_name, operation, resource, arguments = COMMANDS[name]
    kafka, targets = principals.settings[principal_name]
    if name == "index":
        targets = {"default": secure.elasticsearch("admin", secure.state.passwords["admin"])}
    profile(kafka, targets)
    (tmp_path / "x.jsonl").write_text('{"n": 1}\n')
    places = {"topic": principals.topic, "file": str(tmp_path / "x.jsonl")}
    try:
        assert cli.main([*(word.format(**places) for word in words), "--profile", "prod"]) == 1
    finally:
        secure.es_admin.indices.delete(index="irc-x", ignore_unavailable=True)
    error_text, principal = (
        capsys.readouterr().err,
        getattr(principals, principal_name).cluster.principal,
    )
    assert f"{principal} may not" in error_text
    assert f"the ACL {operation} on {resource.format(**places)} is missing" in error_text
    assert (
        f"`labkit acl --principal {principal} --role {arguments.format(**places)}` prints"
        in error_text
    )


def test_an_index_that_may_not_be_made_names_the_role_of_the_command(
    principals: Principals,
    secure: SecureStack,
    profile: Profiles,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic, group = principals.topic, f"indexer.{uuid.uuid4().hex[:8]}"
    name, password = secure.new_user("indexer")
    readable = Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ"))
    secure.grant(name, [readable, Grant("GROUP", group, False, ("READ",))])
    kafka = secure.kafka(name, password)
    until(lambda: list(secure.lab(kafka).topics()["topic"]) == [topic])
    profile(kafka, principals.settings["reader"][1])
    index = f"irc-{uuid.uuid4().hex[:8]}"
    assert cli.main(["index", topic, index, "--group", group, "--profile", "prod"]) == 1
    error_text = capsys.readouterr().err
    assert "is unauthorized for user" in error_text
    assert index in error_text
    assert (
        "`labkit acl --role indexer --indices PATTERN --format elasticsearch-role` prints"
        in error_text
    )


def test_reading_takes_no_right_on_a_group(secure: SecureStack) -> None:
    """It failed now and then, and the error named a group that no role has a right to."""
    topic = secure.new_topic()
    name, password = secure.new_user("topic-only")
    secure.grant(name, [Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ"))])
    lab = secure.lab(secure.kafka(name, password))
    until(lambda: list(lab.topics()["topic"]) == [topic])
    window = lab.window(topic)
    for _ in range(6):
        assert window.read(progress=False).receipt.complete
        assert len(window.find("n")) == 2
        assert window.profile(progress=False).complete
    follower = Follower(lab.cluster, topic, last=2)
    began, seen, troubles = time.monotonic(), 0, set[str]()
    while time.monotonic() - began < 3:
        batch = follower.take()
        seen += 0 if batch is None else batch.num_rows
        troubles.add(follower.trouble)
        time.sleep(0.05)
    follower.close()
    assert (seen, troubles) == (2, {""})


def test_a_tail_takes_no_right_on_settings(
    secure: SecureStack, recwarn: pytest.WarningsRecorder
) -> None:
    """It warned that it assumes a kind of time, which no tail depends on."""
    topic = secure.new_topic()
    name, password = secure.new_user("tail-only")
    secure.grant(name, [Grant("TOPIC", topic, False, ("DESCRIBE", "READ"))])
    cluster = secure.lab(secure.kafka(name, password)).cluster
    until(lambda: topic in cluster.topics())
    Follower(cluster, topic, last=2).close()
    assert [str(warning.message) for warning in recwarn] == []
