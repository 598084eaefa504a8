"""SQL of windows on real topics: the answers of a full read, whole or an error.

Nothing is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition

from labkit.enrich import parse as parse_text
from labkit.errors import IncompleteError, IncompleteWarning, Stopped, UsageError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.sinks import sql as sql_module
from labkit.sinks.replay import Replay
from labkit.window import Window
from support.waiting import until

COUNT = 50_000
Make, Produce = Callable[..., str], Callable[..., None]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, which must be empty again at its end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def filled(lab: Lab, admin: Cluster) -> Iterator[Window]:
    """Two partitions.

    A field that disagrees only in the last records, a nested one, a tombstone, odd bytes.
    """
    import uuid

    from confluent_kafka.admin import NewTopic

    name = f"irc-test-sql-{uuid.uuid4().hex[:8]}"
    admin.ask(
        lambda client: client.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "-1"})]),
        what="make it",
    )
    producer = admin.producer(linger_ms=5, queue_buffering_max_messages=200_000)
    for n in range(COUNT):
        total: Any = n if n < COUNT - 5 else f"about {n}"
        value = json.dumps(
            {
                "n": n,
                "total": total,
                "nick": f"u{n % 7}",
                "who": {"ip": f"10.0.0.{n % 5}", "tags": ["a"]},
            }
        )
        producer.produce(name, value.encode(), partition=n % 2, headers=[("trace", b"t%d" % n)])
    producer.produce(name, None, key=b"gone", partition=0)
    producer.produce(name, b"\xff not json", partition=1)
    assert producer.flush(60) == 0
    yield lab.window(name)
    admin.ask(lambda client: client.delete_topics([name]), what="delete it")


@pytest.fixture(scope="module")
def whole(filled: Window) -> Replay:
    """All records, read at once."""
    return filled.read(cache=False)


@pytest.mark.parametrize(
    "query",
    [
        "select nick, count(*) n, sum(n) s from replay group by 1 order by 1",
        "select count(*) n from replay",
        "select typeof(total) kind, count(*) n from replay group by 1",
        "select * exclude (_key, _value, _headers) from replay order by _partition, _offset limit 7",
        "select who.ip ip, who.tags[1] tag, count(*) from replay group by all order by all",
        "select count(*) n from replay x join replay y using (n) where x.nick = 'u1'",
        "with few as (select n from replay where n < 9) select x.n, y.n from few x join few y using (n) order by 1",
        "select header('trace') t, n from replay where n in (3, 4) order by n",
        "pivot replay on nick using count(*) group by _partition order by _partition",
        "select count(*) n from replay where _error is not null or _value is null",
        "select max(_timestamp) > min(_timestamp) - interval 1 hour late from replay",
        "select r.nick, count(*) from replay r natural join (select 'u3' as nick) group by 1",
        "from replay select n order by n desc nulls last limit 2",
        "select replay from replay where n = 5",
    ],
)  # fmt: skip
def test_the_answer_is_that_of_a_full_read(filled: Window, whole: Replay, query: str) -> None:
    streamed = filled.sql(query)
    pd.testing.assert_frame_equal(streamed, whole.sql(query))
    receipt = streamed.attrs["receipts"]["replay"]
    assert (receipt["complete"], receipt["read"]) == (True, COUNT + 2)
    assert any("total" in note for note in receipt["notes"])  # which disagrees, and is announced
    json.dumps(streamed.attrs)


def test_conditions_types_enrichers_and_frames_beside_it(filled: Window) -> None:
    teams = pd.DataFrame({"nick": ["u1", "u2"], "team": ["red", "blue"]})
    query = "select team, count(*) n, max(last) last from replay join teams using (nick) group by 1 order by 1"
    answer = filled.sql(
        query, where="n < 700", enrich=parse_text("nick", r"u(?P<last>\d)"), teams=teams
    )
    assert answer.to_dict("list") == {"team": ["blue", "red"], "n": [100, 100], "last": ["2", "1"]}
    receipt = answer.attrs["receipts"]["replay"]
    assert receipt["planned"] == receipt["read"] + receipt["filtered"] + receipt["gaps"]
    typed = filled.sql("select sum(total) s, count(_error) bad from replay", types={"total": "int"})
    assert typed.iloc[0].tolist() == [sum(range(COUNT - 5)), 6]


def test_two_windows_are_joined(
    lab: Lab, filled: Window, make_topic: Make, produce: Produce
) -> None:
    other_topic = make_topic(2)
    produce(
        other_topic,
        [json.dumps({"n": n, "bill": n * 10}).encode() for n in range(0, 100, 10)],
        partition=1,
    )
    bills = lab.window(other_topic)
    answer = lab.sql(
        "select a.nick, b.bill from a join b using (n) order by n desc limit 2", a=filled, b=bills
    )
    assert answer.values.tolist() == [["u6", 900], ["u3", 800]]
    receipts = answer.attrs["receipts"]
    assert {name: (receipt["topic"], receipt["read"]) for name, receipt in receipts.items()} == {
        "a": (filled.topic, COUNT + 2), "b": (other_topic, 10),
    }  # fmt: skip
    again = lab.sql(
        "select count(*) n, max(length(b.text)) l from a join b on a._offset = b._offset join c on c.n = a.n",
        options={"b": {"decode": "text"}, "a": {"where": "n < 20"}},
        a=filled, b=bills, c=pa.table({"n": [0, 2, 4]}),
    )  # fmt: skip
    assert again.iloc[0].tolist() == [3, len('{"n": 20, "bill": 200}')]
    mixed = lab.sql("select count(*) n from a join b using (n)", a=bills.read(), b=bills)
    assert mixed["n"].tolist() == [10]
    assert mixed.attrs["receipts"].keys() == {"a", "b"}


def test_an_empty_window_has_the_fields_that_are_asked(
    lab: Lab, filled: Window, make_topic: Make
) -> None:
    empty = lab.window(make_topic())
    assert empty.sql("select nick, count(*) n from replay group by 1").columns.tolist() == [
        "nick",
        "n",
    ]
    assert empty.sql("select count(*) n from replay")["n"].tolist() == [0]
    left = lab.sql(
        "select a.n, b.bill from a left join b using (n) where a.n < 2 order by 1",
        a=filled,
        b=empty,
    )
    assert left["n"].tolist() == [0, 1]
    assert left["bill"].isna().all()


@pytest.mark.parametrize(
    "query",
    [
        "select team, count(*) n from replay join teams using (nick) group by 1",
        "select team, count(*) n from replay join teams on replay.nick = teams.nick group by 1",
        "select team, count(length(text)) n from replay r join teams t on r.nick = t.nick group by 1",
    ],
    ids=["using", "on", "aliases"],
)
def test_an_empty_window_leaves_the_other_tables_their_fields(
    lab: Lab, make_topic: Make, query: str
) -> None:
    teams = pa.table({"nick": ["alice"], "team": ["red"]})
    empty = lab.window(make_topic())
    for source in (empty, empty.read()):
        assert source.sql(query, teams=teams).columns.tolist() == ["team", "n"]


def test_a_window_that_ends_early_is_no_answer(
    lab: Lab, admin: Cluster, filled: Window, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic()
    produce(topic, [b'{"n": 1}'] * 5)
    producer = admin.producer(transactional_id=topic)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b'{"n": 9}', partition=0)
    producer.flush(30)
    window, query = lab.window(topic), "select sum(n) s from replay"
    with pytest.raises(
        IncompleteError, match=r"'replay'.*was not read to its end.*open transaction"
    ) as caught:
        window.sql(query)
    assert "read_uncommitted" in str(caught.value.hint)
    assert caught.value.facts["receipt"].read == 5
    with pytest.raises(IncompleteError, match="'b'"):
        lab.sql("select sum(a.n) s from a, b", a=lab.window(topic, offsets={0: (0, 3)}), b=window)
    assert window.sql(query, isolation="read_uncommitted")["s"].tolist() == [14]
    producer.abort_transaction(30)
    other_window = lab.window(topic, offsets={0: (2, 5)})
    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 4)]), what="delete records"
    )
    with pytest.warns(IncompleteWarning, match="no longer has"):
        assert other_window.sql("select count(*) n from replay", on_expired="clamp")[
            "n"
        ].tolist() == [1]
    with pytest.warns(IncompleteWarning, match="max_bytes"):
        assert 0 < filled.sql("select count(*) n from replay", max_bytes=100_000)["n"][0] < COUNT


def test_what_cannot_be_asked_is_told_before_anything_is_read(lab: Lab, filled: Window) -> None:
    def refuse(text: str, *arguments: Any, **options: Any) -> UsageError:
        with pytest.raises(UsageError, match=text) as caught:
            filled.sql(*arguments, **options)
        return caught.value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Window, "reading", None)  # reading would fail
        refuse("a query must be a text", None)
        refuse("a query must be a text", " ")
        refuse("DuckDB refused this", "selectt 1")
        hint = refuse('near "window"', "select count(*) from window").hint
        assert "the table is `replay`" in str(hint)
        refuse("does not read replay", "select 1")
        assert "it reads irc" in str(
            refuse("does not read replay", "select count(*) from irc").hint
        )
        refuse("decod must be a table, not 'avro'", "from replay", decod="avro")
        refuse("the name replay is taken", "from replay", replay=filled)
        refuse("loads no extension", "install httpfs")
        with pytest.raises(UsageError, match="options are given for 'b'"):
            lab.sql("from a", a=filled, options={"b": {}})
        with pytest.raises(UsageError, match="no option 'decod'") as caught:
            lab.sql("from a", a=filled, options={"a": {"decod": "avro"}})
        assert "did you mean 'decode'" in str(caught.value.hint)
        with pytest.raises(UsageError, match="does not read b"):
            lab.sql("from a", a=filled, b=filled)
    assert "nick" in str(refuse("DuckDB refused", "select nik from replay").hint)


def test_too_little_memory_is_an_error_that_says_what_to_do(
    filled: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_module, "MEMORY", "8MB")
    with pytest.raises(UsageError, match="more memory or disk") as caught:
        filled.sql("select list(_value) v, list(nick) n, list(who) w from replay x, range(20)")
    assert "to_parquet" in str(caught.value.hint)


def test_stop_ends_a_query(filled: Window) -> None:
    query = "select sum(x.n + y.n + z.n) s from replay x, replay y, replay z"

    def stop() -> None:
        until(
            lambda: any(thread.name.startswith("labkit-sql") for thread in threading.enumerate()),
            "the query",
        )
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Stopped, match="query was not answered"):
        filled.sql(query)
    stopper.join()
