"""What a user tries next.

That is frames of another library, another table in SQL, settings in another form, and odd files.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient

from labkit import charts, cli, enrich
from labkit.acl import recipe
from labkit.compare.run import compare
from labkit.config.profiles import Profile, load_profile
from labkit.config.secrets import is_secret
from labkit.decode.table import from_batches
from labkit.elastic import Target
from labkit.enrich.chain import Chain
from labkit.errors import (
    ConfigError,
    DeadlineError,
    LabkitError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from labkit.groups import own
from labkit.groups.offsets import Group
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.notebook.inspector import RecordInspector
from labkit.notebook.parameter_types import _guess_value
from labkit.notebook.tail import Tail
from labkit.pipelines.files.journal import Begun, Head
from labkit.registry import Registry
from labkit.replay.plan import Plan
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks import scratch_index
from labkit.sinks.replay import Replay

RECEIPT = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g")


def replay(*values: bytes, times: list[int] | None = None) -> Replay:
    rows = [
        {
            "topic": "irc",
            "partition": 0,
            "offset": n,
            "timestamp": at,
            "timestamp_type": "CreateTime",
            "value": value,
        }
        for n, (value, at) in enumerate(zip(values, times or range(len(values)), strict=True))
    ]
    return Replay(
        from_batches([pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)], "json"), RECEIPT
    )


# SQL -------------------------------------------------------------------------------------------------------


def test_differences_of_times_are_lengths_of_time() -> None:
    replayed = replay(b"{}", b"{}", times=[0, 90_061_000])
    frame = replayed.sql(
        "select max(_timestamp) - min(_timestamp) took, interval '1 month' far from replay"
    )
    assert frame["took"].dt.total_seconds().tolist() == [90_061]
    assert frame["far"].tolist() == ["1 months"]
    assert "1 days" in str(frame)
    steps = replayed.sql(
        "select _timestamp - lag(_timestamp) over (order by _timestamp desc) d from replay order by 1"
    )
    assert steps["d"].dt.total_seconds().fillna(0).tolist() == [-90_061, 0]


def test_a_query_may_join_tables_that_are_given_and_sees_no_others() -> None:
    frame = replay(b'{"nick":"ann"}', b'{"nick":"bob"}')
    teams = pd.DataFrame({"nick": ["ann"], "team": ["x"]})
    joined = frame.sql(
        "select team, count(*) n from replay join teams using (nick) group by 1", teams=teams
    )
    assert joined.to_dict("list") == {"team": ["x"], "n": [1]}
    for hidden in ("teams", "connection", "self"):
        with pytest.raises(UsageError, match="does not exist") as caught:
            frame.sql(f"select * from {hidden}")
        assert "sql(query, teams=frame)" in str(caught.value.hint)


# comparing -------------------------------------------------------------------------------------------------


def window() -> Any:
    return SimpleNamespace(
        plan=SimpleNamespace(topic="irc", ranges=[SimpleNamespace(partition=0, start=0, end=1)])
    )


def test_within_a_window_documents_that_name_no_record_are_not_passed_over() -> None:
    left = pd.DataFrame({"id": [1, 2], "a": [1, 2]})
    right = pd.DataFrame({"id": [1, 2], "a": [3, 4]})
    options: Any = {"targets": None, "latency": False, "key": "id", "within": window()}
    with pytest.raises(UsageError, match="nothing in table tells which record"):
        compare(left, right, **options)
    frame = pd.DataFrame({"_id": ["irc-0-0", "of-its-own"], "id": [1, 2], "a": [1, 2]})
    comparison = compare(frame, frame, **options)
    assert comparison.counts["same"] == 1
    assert not comparison.complete
    assert "1 documents do not tell which record they were" in str(comparison.reasons)


def test_the_columns_of_enrichers_are_not_compared_and_it_says_so() -> None:
    plain = replay(b'{"n":1}')
    comparison = compare(
        plain.enrich(enrich.apply(lambda frame: {"m": frame["n"]})),
        plain,
        targets=None,
        latency=False,
    )  # type: ignore[arg-type]
    assert any("without the columns of enrichers" in note for note in comparison.notes)
    assert not compare(plain, plain, targets=None, latency=False).notes  # type: ignore[arg-type]
    # it has nothing to tell of itself
    silent = replay(b'{"s":"x"}').enrich(enrich.parse("s", "(?P<letter>.)"))
    assert compare(silent, silent, targets=None, latency=False).notes  # type: ignore[arg-type]


# charts ----------------------------------------------------------------------------------------------------


def test_charts_of_a_polars_frame() -> None:
    frame = replay(b'{"nick":"ann","n":1}', b'{"nick":"bob","n":2}').to_polars()
    frame = frame.with_columns(pl.col("nick").cast(pl.Categorical).alias("kind"))
    assert charts.top(frame, "kind").data["value"].tolist() == ["ann", "bob"]
    assert charts.timeline(frame, by="_topic").data["records"].sum() == 2
    assert charts.distribution(frame, "nick").to_dict()
    assert charts.distribution(frame, "n", by="nick").to_dict()


def test_values_that_look_alike_have_names_of_their_own() -> None:
    words = ["", " ", "  ", "\x02hi", "\x1dhi", "\u202ehi"]
    table = pa.table({"word": [word for n, word in enumerate(words) for _ in range(6 - n)]})
    labels = charts.top(table, "word").data["value"].tolist()
    assert labels == ["(empty)", '" "', '"  "', "\u2402hi", "\u241dhi", "<U+202E>hi"]


def test_the_time_of_an_index_may_be_text() -> None:
    frame = pd.DataFrame(
        {"@timestamp": ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], "at": ["x", "y"]}
    )
    assert charts.timeline(frame).data["records"].sum() == 2


# widgets, enrichers, parameters ----------------------------------------------------------------------------


def test_a_record_of_a_far_time_and_half_a_pair_can_be_looked_into() -> None:
    inspector = RecordInspector(replay(b'{"a":"\\ud800"}', times=[1_700_000_000_000_000]))
    assert "irc[0]@0" in inspector.view.value
    inspector.view.value.encode()
    with pytest.raises(UsageError, match="inspect takes a Replay, not a DataFrame"):
        RecordInspector(pd.DataFrame())  # type: ignore[arg-type]


def test_a_tail_without_such_a_decoder_fails_at_once() -> None:
    cluster = SimpleNamespace(partitions=lambda _: [0])
    lab: Any = SimpleNamespace(
        cluster=cluster, registry=None, decoders=lambda _, decode: (decode, "raw")
    )
    for decode in ("jsn", "avro"):
        with pytest.raises(ValueError, match=decode):
            Tail(lab, "irc", last=1, rows=1, decode=decode, limit="1h")
    for decode in ("json", "auto", "text"):
        Tail(lab, "irc", last=1, rows=1, decode=decode, limit="1h")


def test_a_function_that_changes_its_mind_about_a_type_is_told() -> None:
    def moody(frame: pd.DataFrame) -> dict[str, Any]:
        return {"x": ["text"] * len(frame) if frame["n"].iloc[0] else [1] * len(frame)}

    table = pa.table({"n": list(range(0, 200_001))})
    with pytest.raises(UsageError, match="other types for some records"):
        Chain(enrich.apply(moody)).table(table)


def test_a_parameter_that_would_be_infinite_is_text() -> None:
    assert _guess_value("12e4567") == "12e4567"
    assert _guess_value("12e4") == 120_000.0


# clients ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Any:
    """librdkafka's own mock of a broker.

    A topic that is asked for is made, as Kafka does by default.
    """
    client = AdminClient({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = client.list_topics(timeout=5).brokers.values()
    return client, f"{broker.host}:{broker.port}"


def _cluster(**settings: Any) -> Cluster:
    cluster = Cluster({name.replace("_", "."): value for name, value in settings.items()})
    cluster.__dict__["cluster_id"] = "mock"  # it has none
    return cluster


def test_a_misspelt_topic_is_not_made_by_being_asked_for(broker: Any) -> None:
    client, address = broker
    with pytest.raises(NotFoundError):
        _cluster(bootstrap_servers=address).partitions("irc-misspelt")
    assert "irc-misspelt" not in client.list_topics(timeout=5).topics


def test_one_broker_that_is_away_is_not_all_of_them(broker: Any) -> None:
    _, address = broker
    for servers, away in ((f"{address},127.0.0.1:1", False), ("127.0.0.1:1", True)):
        cluster = _cluster(bootstrap_servers=servers)
        for _ in range(20):
            cluster.admin.poll(0.05)
        assert cluster.is_hopeless(4, 60) is away


def test_the_protocol_of_kip_848_takes_its_settings_from_the_broker() -> None:
    cluster = _cluster(bootstrap_servers="127.0.0.1:1", group_protocol="consumer")
    cluster.consumer(
        group="labkit.x",
        session_timeout_ms=20_000,
        partition_assignment_strategy="cooperative-sticky",
    ).close()


def test_a_login_may_be_one_text() -> None:
    es = {"hosts": ["http://127.0.0.1:1"], "basic_auth": "alice:se:cret"}
    assert Target("default", es).user == "alice"
    assert Target("default", es).client._headers["authorization"] == "Basic YWxpY2U6c2U6Y3JldA=="
    registry = Registry({"url": "http://127.0.0.1:1", "basic_auth": "alice:se:cret"})
    assert registry.user == "alice"
    assert Target("default", {"hosts": [], "bearer_auth": "t"}).user == "the token's owner"
    assert "lab" in Target("default", {"cloud_id": "lab:ZXhhbXBsZS5jb20kYSRi"}).address


def test_a_target_that_is_away_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    index = {"index": "scratch-me-x", "target": "there", "expired": True}

    def listed(target: Target) -> list[dict[str, Any]]:
        if target.name == "away":
            raise UnavailableError("no answer")
        return [index]

    monkeypatch.setattr(scratch_index, "list_indices", listed)
    monkeypatch.setattr(scratch_index.ScratchIndex, "drop", lambda _: None)
    monkeypatch.setattr(own, "list_own_groups", lambda _: [])
    settings = {name: {"hosts": ["http://127.0.0.1:1"]} for name in ("away", "there")}
    lab = Lab(Profile("two", "lab", {"bootstrap.servers": "127.0.0.1:1"}, settings))
    with pytest.warns(UserWarning, match="away is left out: no answer") as warned:
        assert lab.scratch()["index"].tolist() == ["scratch-me-x"]
    assert {warning.filename for warning in warned} == {__file__}  # the caller's line
    with pytest.raises(UnavailableError) as caught:
        lab.gc()
    assert caught.value.facts["deleted"] == ["scratch-me-x"]
    assert "scratch topics" not in str(caught.value)
    assert any("127.0.0.1:1" in note for note in caught.value.__notes__)  # Kafka was away too


def own_group(name: str, error: LabkitError | None = None) -> Group:
    return Group(name, "empty", "classic", (), {}, error)


def test_a_query_without_a_table_is_told_how_to_give_one() -> None:
    lab = Lab(Profile("none", "lab", {"bootstrap.servers": "127.0.0.1:1"}, {}))
    with pytest.raises(UsageError, match="Table with name irc does not exist") as caught:
        lab.sql("select * from irc")
    assert "pg_class" not in str(caught.value)
    assert "no table was given: lab.sql(query, irc=lab.window(" in caught.value.hint


def test_what_gc_could_not_look_at_is_an_error_once_the_rest_is_deleted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Groups without an answer were left out in silence; the command named nothing it deleted."""
    groups = [own_group("labkit.me.a", DeadlineError("no answer")), own_group("labkit.me.b")]
    monkeypatch.setattr(own, "list_own_groups", lambda _: groups)
    monkeypatch.setattr(own, "delete_group", lambda *_: None)
    monkeypatch.setattr("labkit.sinks.topic.collect", lambda _: iter(["labkit.me.topic"]))
    lab = Lab(Profile("no target", "lab", {"bootstrap.servers": "127.0.0.1:1"}, {}))
    with pytest.raises(DeadlineError, match="no answer") as caught:
        lab.gc()
    assert caught.value.facts["deleted"] == ["labkit.me.b", "labkit.me.topic"]
    monkeypatch.setattr("labkit.cli.lists.open_lab", lambda _: lab)
    assert cli.main(["gc"]) == 1
    assert capsys.readouterr().out == "deleted labkit.me.b\ndeleted labkit.me.topic\n"


def test_what_gc_deleted_before_an_error_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [own_group("labkit.me.a"), own_group("labkit.me.b")]
    monkeypatch.setattr(own, "list_own_groups", lambda _: groups)
    monkeypatch.setattr("labkit.sinks.topic.collect", lambda _: iter(()))

    def delete(_: Any, group: str) -> None:
        if group.endswith("b"):
            raise UnavailableError("no answer")

    monkeypatch.setattr(own, "delete_group", delete)
    lab = Lab(Profile("no target", "lab", {"bootstrap.servers": "127.0.0.1:1"}, {}))
    with pytest.raises(UnavailableError) as caught:
        lab.gc()
    assert caught.value.facts["deleted"] == ["labkit.me.a"]


@pytest.mark.parametrize(
    ("role", "granted"), [("indexer", "indexer"), ("admin", "lab"), ("", "lab")]
)
def test_a_lab_works_as_the_role_of_its_profile(role: str, granted: str) -> None:
    settings = {"default": {"hosts": ["http://127.0.0.1:1"]}}
    lab = Lab(Profile("local", role, {"bootstrap.servers": "127.0.0.1:1"}, settings))
    assert (lab.cluster.role, lab.target("default").role) == (granted, granted)


def test_an_administrator_finds_the_rights_of_each_role() -> None:
    indexer, extractor = (
        recipe("User:etl", role=role, topic="irc") for role in ("indexer", "extractor")
    )
    assert "--operation Read --topic 'irc' --resource-pattern-type literal" in indexer
    assert "--group 'indexer.' --resource-pattern-type prefixed" in indexer
    assert "role/labkit_indexer" in indexer
    assert "--operation Write --topic 'irc' --resource-pattern-type literal" in extractor
    with pytest.raises(UsageError, match="the topic that the extractor may write is not named"):
        # it granted writing to, and making, every topic there is
        recipe("User:etl", role="extractor")
    assert "pattern-type prefixed" in recipe("User:etl", role="extractor", topic="irc*")
    with pytest.raises(UsageError, match="admin"):
        recipe("User:etl", role="admin")


def test_the_path_of_a_key_is_no_secret() -> None:
    assert not is_secret("sasl.oauthbearer.assertion.private.key.file")
    assert is_secret("sasl.oauthbearer.assertion.private.key.passphrase")


# files -----------------------------------------------------------------------------------------------------


def test_a_profile_that_anybody_may_write_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labkit.toml"
    path.write_text('[profiles.mine.kafka]\n"bootstrap.servers" = "127.0.0.1:1"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.delenv("LABKIT_CONFIG", raising=False)
    path.chmod(0o600)
    assert load_profile("mine").kafka["bootstrap.servers"] == "127.0.0.1:1"
    path.chmod(0o666)
    with pytest.warns(UserWarning, match="anybody may write to it"), pytest.raises(ConfigError):
        load_profile("mine")


def test_a_last_line_that_was_half_written_is_the_only_one_sent_again() -> None:
    head = Head()
    for line in (b"one", b"two", b"thr"):
        head.add(line)
    begun, now = head.begun, [b"one", b"two", b"three", b"four"]
    assert Head.of(begun, now).lines == 0
    assert Head.of(begun.without_last, now).lines == 2
    assert Head.of(begun, [b"one", b"two", b"thr", b"four"]).lines == 3
    assert Head.of(Begun(), now).lines == 0


def test_a_window_with_a_partition_twice_is_damaged() -> None:
    plan = Plan.from_json(_plan([[0, 0, 10, 10], [1, 0, 10, 10]]))
    assert plan.size == 20
    with pytest.raises(UsageError, match="offsets are damaged"):
        Plan.from_json(_plan([[0, 0, 10, 10], [0, 0, 10, 10]]))
    with pytest.raises(UsageError, match="this is not a window"):
        Plan.from_json(_plan([[0, 0, 10, 10]], start_ms='"2024"'))


def _plan(ranges: list[list[int]], start_ms: str = "null") -> str:
    return (
        f'{{"labkit_window":1,"topic":"irc","cluster_id":"c","topic_id":"t","ranges":{ranges},"start_ms":{start_ms},'
        f'"end_ms":null,"timestamp_type":"CreateTime","asked":"all","frozen_ms":{int(time.time())}}}'
    )
