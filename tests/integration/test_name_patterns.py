"""Lists by patterns of names: topics, groups, indices, in Python and on the command line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from confluent_kafka import TopicPartition

from labkit import cli
from labkit.errors import NotFoundError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from support.waiting import until


def test_topics_by_several_patterns(lab: Lab, make_topic: Callable[..., str], produce: Any) -> None:
    first, second = make_topic(2), make_topic()
    produce(first, [b"1", b"2"], partition=1)
    every = lab.topics()
    matching = lab.topics(f"{first[:-2]}*", second)
    assert matching["topic"].tolist() == sorted([first, second])
    assert matching.set_index("topic").loc[first, ["partitions", "records"]].tolist() == [2, 2]
    assert set(matching["topic"]) < set(every["topic"])
    newest = matching.set_index("topic")["newest"]
    assert abs((pd.Timestamp.now("UTC") - newest[first]).total_seconds()) < 60
    assert newest.isna()[second]
    # the newest by its own time, also behind a later one
    produce(second, [b"3"], timestamps=[1_456_790_400_000])
    produce(second, [b"4"], timestamps=[1_456_704_000_000])
    in_tokyo = Lab(lab.connection, timezone=ZoneInfo("Asia/Tokyo")).topics(second)
    assert in_tokyo["newest"].map(str).tolist() == ["2016-03-01 09:00:00+09:00"]
    no_topics = lab.topics("no such*", "IRC-TEST*")  # upper and lower case differ, as in Kafka
    assert no_topics.empty
    assert no_topics.columns.tolist() == every.columns.tolist()
    assert str(no_topics["records"].dtype) == "Int64"


def test_groups_are_chosen_by_patterns(
    lab: Lab, admin: Cluster, make_topic: Callable[..., str]
) -> None:
    topic, mark = make_topic(), uuid.uuid4().hex[:8]
    names = [f"indexer.{mark}-a", f"indexer.{mark}-b", f"other.{mark}"]
    for name in names:
        consumer = admin.consumer(group=name)
        consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
        consumer.close()
    until(lambda: set(names) <= set(lab.groups()["group"]), "the groups")
    assert lab.groups(f"indexer.{mark}*")["group"].tolist() == names[:2]
    assert lab.groups(f"*{mark}-a", f"other.{mark}")["group"].tolist() == [names[0], names[2]]
    assert lab.offsets(f"indexer.{mark}*")["group"].tolist() == names[:2]
    assert lab.offsets("indexer.nobody*").empty
    judged = lab.lag([f"indexer.{mark}*", names[2]], samples=1)
    assert judged["group"].tolist() == names
    with pytest.raises(NotFoundError, match=r"no consumer group matches 'indexer.nobody\*'"):
        lab.lag("indexer.nobody*", samples=1)
    no_groups = lab.groups("indexer.nobody*")
    assert no_groups.empty
    assert no_groups.columns.tolist() == lab.groups().columns.tolist()
    for future in admin.admin.delete_consumer_groups(names).values():
        future.result(15)


def test_indices_with_the_window_they_came_from(
    lab: Lab, stack: Any, make_topic: Callable[..., str], produce: Any, me: str
) -> None:
    from labkit.elastic import Target

    topic = make_topic()
    produce(topic, [b'{"n": 1}', b'{"n": 2}'])
    window = lab.window(topic)
    load = window.to_scratch("catalog")
    production = f"irc-test-{uuid.uuid4().hex[:8]}"
    client = Target("default", stack.credentials("admin")["elasticsearch"]).client
    client.index(index=production, document={"n": 1}, refresh=True)
    client.indices.put_mapping(index=production, meta={"labkit": "somebody's own"})
    try:
        table = lab.indices(load.index.name, f"{production}*").set_index("index")
        assert table["documents"].to_dict() == {load.index.name: 2, production: 1}
        assert table["scratch"].to_dict() == {load.index.name: True, production: False}
        assert table.loc[load.index.name, "window"] == window.plan.hash
        assert table.loc[load.index.name, "topic"] == topic
        assert table["topic"].isna()[production]
        assert (table["bytes"] > 0).all()
        age_s = (table["expires"] - table["created"])[load.index.name].total_seconds()
        assert abs(age_s - 2 * 86_400) < 60
        client.indices.close(index=production)
        closed = lab.indices(production)
        assert closed["index"].tolist() == [production]
        assert closed["documents"].isna().all()
        no_indices = lab.indices("no-such-*")
        assert no_indices.empty
        assert no_indices.columns.tolist() == lab.indices().columns.tolist()
        assert str(no_indices["created"].dtype) == "datetime64[ms, UTC]"
    finally:
        client.indices.delete(index=production)


def test_what_is_no_pattern_is_refused_before_a_server_is_asked() -> None:
    from labkit.config.profiles import Profile

    away = Lab(Profile("away", "lab", {"bootstrap.servers": "127.0.0.1:1"}, {}))
    for ask in (away.topics, away.groups, away.indices):
        for odd in ("", 5, ["irc*"]):
            with pytest.raises(UsageError, match="a pattern must be a text such as"):
                ask(odd)


def test_the_commands_take_patterns(
    lab: Lab,
    make_topic: Callable[..., str],
    produce: Any,
    me: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = make_topic()
    produce(topic, [b'{"n": 1}'])
    load = lab.window(topic).to_scratch("names")
    capsys.readouterr()

    def run(*words: str) -> Any:
        assert cli.main(words) == 0
        return json.loads(capsys.readouterr().out)

    assert [row["topic"] for row in run("topics", f"{topic[:-1]}?", "--json")] == [topic]
    assert run("topics", "no such*", "--json") == run("groups", "no such*", "--json") == []
    assert run("groups", "--json", "list", "no such*") == []
    assert [row["documents"] for row in run("indices", load.index.name, "--json")] == [1]
    assert run("indices", load.index.name, "--json")[0]["created"].startswith("20")
    assert cli.main(["indices", load.index.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert load.index.name in lines[1]
    assert lab.window(topic).plan.hash[:8] in lines[1]
    assert cli.main(["groups", "reset"]) == cli.main(["topics", ""]) == 2


@pytest.mark.parametrize("noun", ["topics", "groups", "offsets", "indices"])
def test_a_misspelt_name_brings_the_one_that_was_meant(
    lab: Lab, admin: Cluster, me: str, make_topic: Any, produce: Any, capsys: Any, noun: str
) -> None:
    """Python's lists said nothing of it, the commands only that there is none."""
    topic, group = make_topic(), f"indexer.{uuid.uuid4().hex[:8]}"
    produce(topic, [b"{}"])
    consumer = admin.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    consumer.close()
    index = lab.window(topic).to_scratch("meant").index.name
    name = {"topics": topic, "indices": index}.get(noun, group)
    until(lambda: group in set(lab.groups()["group"]), "the group")
    list_names = getattr(lab, noun)
    meant = rf"named '{name}x' is there, or .* may not see it .*: did you mean '{name}'\? `labkit acl --"
    with pytest.warns(UserWarning, match=meant) as caught:
        listed = list_names(name, f"{name}x").iloc[:, 0]
    assert set(listed) == {name}
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(
        UserWarning, match=r"named '\*no such\*' is there, or .* may not see"
    ) as caught:
        assert list_names("*no such*").empty
    assert "did you mean" not in str(caught[0].message)
    with pytest.warns(UserWarning, match=meant):
        assert cli.main([noun, f"{name}x"]) == 1
    assert capsys.readouterr().out == "none\n"
    with pytest.warns(UserWarning, match="may not see"):
        assert cli.main([noun, "*no such*"]) == 0


def test_a_pattern_of_several_that_matches_no_group_is_named(
    lab: Lab, admin: Cluster, make_topic: Any
) -> None:
    """A misspelt pattern was judged as groups that are in order."""
    topic, group = make_topic(), f"indexer.{uuid.uuid4().hex[:8]}"
    consumer = admin.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()
    until(lambda: group in set(lab.groups()["group"]), "the group")
    with pytest.warns(UserWarning, match=r"no consumer group matches 'indxer\.\*'"):
        judged = lab.lag([f"{group}*", "indxer.*"], samples=1)
    assert judged["group"].tolist() == [group]
