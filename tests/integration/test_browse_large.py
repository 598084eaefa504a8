"""A browser of many records shows the newest at once; one of an index reads a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from labkit import Lab, widgets
from labkit.errors import UsageError
from labkit.notebook.browse import documents, source
from labkit.notebook.browse.documents import Documents
from labkit.notebook.browse.filters import Filter
from labkit.notebook.browse.widget import Browse
from support.registry import avro_schema, avro_values

FIRST_MS = 1_792_890_000_000
COUNT = 3_000


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Return a topic of two partitions; only its oldest record has the field `old`."""
    name = str(make_topic(2))
    for partition in (0, 1):
        numbers = range(partition, COUNT, 2)
        values = [b'{"n": %d%s}' % (n, b', "old": "needle"' if n == 0 else b"") for n in numbers]
        produce(
            name, values, partition=partition, timestamps=[FIRST_MS + 1000 * n for n in numbers]
        )
    return name


def open_at_once(lab: Lab, what: Any, **options: Any) -> Browse:
    arguments = {
        "decode": None,
        "time_field": None,
        "limit": None,
        "view": None,
        "anew": True,
        "at_once": True,
    }
    return Browse(lab, what, **{**arguments, **options})


def on_a_loop(look: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `look` in a thread: this one may have the loop of another test's browser."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, look()).result()


def numbers(browse: Browse, start: int = 0, count: int = 3) -> list[str]:
    return [row[1] for row in browse.records.page(start, count, ["n"])]


def test_the_newest_are_here_at_once_and_then_all(
    lab: Lab, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "AT_ONCE", 100)

    async def look() -> None:
        browse = open_at_once(lab, topic)
        assert browse.records.there == 100
        assert numbers(browse) == ["2999", "2998", "2997"]
        assert browse.source.said == "the newest 100 of 3,000 records; reading the others"
        assert not browse.source.whole
        assert "'old'" not in str([field.label for field in browse.records.fields])
        for _ in range(200):
            await asyncio.sleep(0.05)
            if browse.records.there == COUNT:
                break
        assert (browse.records.there, browse.source.said, browse.source.whole) == (
            COUNT,
            "3,000 records",
            True,
        )
        assert browse.box.about["said"] == "3,000 records"
        assert "old" in [field.label for field in browse.records.fields]
        scope: dict[str, Any] = {"lab": lab}
        exec(browse.code, scope)
        assert len(scope["r"]) == len(browse.replay) == COUNT

    on_a_loop(look)


def test_a_record_is_found_again_when_older_ones_have_later_times(
    lab: Lab, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "AT_ONCE", 10)
    topic = str(make_topic(1))
    times = [FIRST_MS + (100 + n if n < 5 else n) for n in range(30)]
    produce(topic, [b'{"n": %d}' % n for n in range(30)], timestamps=times)

    async def look() -> None:
        browse = open_at_once(lab, topic)
        browse._query({"filters": []})
        record_id = browse._detail({"place": 2})["id"]
        browse.wait()
        assert browse._detail({"id": record_id})["place"] == 2  # as the page still knows them
        assert browse._query({"filters": [], "ids": [record_id, None]})["places"] == [7, None]
        assert numbers(browse, 7, 1) == ["27"]
        assert browse._detail({"id": record_id})["place"] == 7

    on_a_loop(look)


def test_what_needs_all_records_waits_for_them(
    lab: Lab, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "AT_ONCE", 100)

    async def look() -> None:
        browse = open_at_once(lab, topic)
        browse.box.filters = [{"op": "text", "value": "needle"}]
        assert browse.where == "regexp_matches(old, '(?i)needle')"
        assert browse.to_pandas()["n"].tolist() == [0]
        browse.box.filters = [{"op": "has", "field": ["old"]}]
        browse = open_at_once(lab, topic, view=browse.view)  # whose field no newest record has
        assert browse.records.count == 1
        assert len(open_at_once(lab, topic).replay) == COUNT

    on_a_loop(look)


def test_last_n_and_partitions_are_chosen_in_the_widget(lab: Lab, topic: str) -> None:
    browse = Browse(lab, topic, decode=None, time_field=None, limit=None, view=None, anew=True)
    assert browse.box.about["part"] == {"last": COUNT, "partitions": [0, 1], "chosen": [0, 1]}
    browse._open({"last": "1_000", "partitions": [1]})
    assert numbers(browse, 0, 2) == ["2999", "2997"]
    assert (browse.records.there, browse.source.whole) == (1_000, False)
    assert browse.source.said == "the newest 1,000 of 1,500 records"
    assert "partition 1" in browse.source.title
    assert browse.box.about["part"] == {"last": 1_000, "partitions": [0, 1], "chosen": [1]}
    scope: dict[str, Any] = {"lab": lab}
    exec(browse.code, scope)
    assert len(scope["r"]) == 1_000
    for wrong in ("x", "0", None):
        with pytest.raises(UsageError):
            browse._open({"last": wrong, "partitions": []})
    browse._open({"last": 2_000_000, "partitions": []})
    assert (browse.records.there, browse.source.whole) == (COUNT, True)


@pytest.fixture
def index(lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]) -> Iterator[Any]:
    """Return an index of 600 documents with times, many of them the same, and 40 without one."""
    topic = str(make_topic(1))
    values = []
    for n in range(640):
        at = None if n < 40 else FIRST_MS + n // 100 * 1000
        document = {
            "n": n,
            "nick": f"u{n % 5}",
            "ok": bool(n % 2),
            "o": {"p": n % 3},
            "words": f"the lag of {n}",
        }
        values.append(json.dumps({**document, "at": at}).encode())
    produce(topic, values)
    mapping = {"at": {"type": "date"}, "many": {"type": "nested"}}
    load = lab.window(topic).to_scratch(f"documents-{topic[-6:]}", mapping=mapping, progress=False)
    yield load.index
    load.index.drop()


def test_an_index_answers_where_it_is(
    lab: Lab, index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(index), "to_arrow", None)  # it reads no document
    browse = widgets.browse(lab, index, time_field="at", anew=True)
    records = browse.records
    assert isinstance(records, Documents)
    assert (records.there, records.count, browse.source.said) == (640, 640, "640 documents")
    assert browse.box.about["language"] == "Lucene"
    kinds = {field.label: (field.kind, round(field.present, 2)) for field in records.fields}
    assert kinds["n"] == ("integer", 1)
    assert kinds["at"] == ("time", 0.94)
    assert kinds["o.p"] == ("integer", 1)
    assert kinds["words"] == ("text", 1)
    histogram = records.histogram()
    assert (sum(histogram["all"]), histogram["undated"]) == (600, 40)
    stacked = records.histogram(("nick",))
    assert [line["label"] for line in stacked["series"]] == ["u0", "u1", "u2", "u3", "u4"]
    assert sum(sum(line["counts"]) for line in stacked["series"]) == 600
    nick = records.values("nick")
    assert (nick["present"], nick["distinct"], nick["about"]) == (640, 5, False)
    assert nick["top"][0] == {"shown": "u0", "value": "u0", "count": 128}
    assert sum(records.values("n")["numbers"]["counts"]) == 640
    assert {entry["value"] for entry in records.values("ok")["top"]} == {True, False}
    browse.box.filters = [
        {"op": "is", "field": ["nick"], "value": "u1"},
        {"op": "has", "field": ["at"]},
    ]
    answer = browse._query({"filters": browse.box.filters})
    assert (answer["count"], sum(answer["histogram"]["series"][0]["counts"])) == (120, 120)
    assert index.count(browse.where) == 120
    browse._query({"filters": [{"op": "text", "value": "lag of 63"}]})
    assert records.count == 11  # 63 and 630 to 639
    with pytest.raises(UsageError):
        browse._query({"filters": [{"op": "sql", "value": "n:["}]})


def test_any_page_of_an_index_is_the_same_as_of_all_its_documents(
    lab: Lab, index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_SKIPPED", 37)
    records = Documents(index, "at")
    every = [row for start in range(0, 640, 20) for row in records.page(start, 20, ["n"])]
    assert len(every) == 640
    assert sorted(int(n) for _, n in every) == list(range(640))
    times = [time for time, _ in every]
    assert times[600:] == [""] * 40
    assert times[:600] == sorted(times[:600], reverse=True)
    for start in (0, 36, 99, 250, 599, 600, 630):
        assert records.page(start, 7, ["n"]) == every[start : start + 7]
    described = records.describe(place=250)
    assert f'"n": {every[250][1]}' in described["value"]
    again = records.describe(record_id=described["id"])
    assert (again["place"], again["value"], len(again["near"])) == (250, described["value"], 7)
    near = [entry for entry in again["near"] if not entry["here"]]
    assert records.describe(record_id=near[2]["id"])["place"] == 249
    assert records.describe(record_id=near[3]["id"])["place"] == 251
    undated = records.describe(place=620)["id"]
    assert (records.place_of(undated), records.place_of(described["id"])) == (620, 250)
    records.choose([Filter("is", ("ok",), int(every[250][1]) % 2 == 1)])
    here = [record_id for record_id, _ in records.list_lines(110, 30, [])]
    assert records.place_of(described["id"]) == 110 + here.index(described["id"])
    records.choose([Filter("is", ("ok",), int(every[250][1]) % 2 == 0)])
    assert records.place_of(described["id"]) is None
    assert records.describe(place=3, record_id=described["id"])["value"] == described["value"]
    records.choose([])
    assert len(records.picked_rows()()) == 640


def test_a_point_in_time_that_is_gone_is_opened_anew(index: Any) -> None:
    records = Documents(index, "at")
    index.target.client.close_point_in_time(id=records._at._id)
    assert len(records.page(0, 5, ["n"])) == 5


def test_an_index_without_a_time_and_an_empty_one_are_shown(lab: Lab, index: Any) -> None:
    browse = widgets.browse(lab, index, anew=True)
    assert browse.records.histogram()["edges"] == []
    assert browse.records.place_of(browse.records.describe(place=620)["id"]) == 620
    assert len(browse.records.page(620, 50, ["n"])) == 20
    assert "df = lab.index" in browse.code
    assert len(browse.to_pandas()) == 640
    sampled = widgets.browse(lab, index, limit=100, anew=True)
    assert sampled.source.said.startswith("100 documents of 640, not the newest")
    assert not sampled.source.whole


def test_what_no_json_is_is_decoded_by_a_sample(
    registry_lab: Lab, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "AT_ONCE", 5)
    packed, broken = make_topic(1), make_topic(1)
    values = avro_values(packed, avro_schema(nick="string"), *({"nick": f"N{n}"} for n in range(9)))
    produce(packed, values)
    produce(broken, [b"{", b'{"nick": "N1"}'])
    for at_once in (False, True):
        browse = Browse(
            registry_lab,
            packed,
            decode=None,
            time_field=None,
            limit=None,
            view=None,
            at_once=at_once,
        )
        browse.wait()
        assert browse.records.fields[0].label == "nick"
        assert "decode='auto'" in browse.code
        browse.box.filters = [{"op": "text", "value": "n7"}]
        scope: dict[str, Any] = {"lab": registry_lab}
        exec(browse.code, scope)
        assert scope["r"]["nick"].tolist() == browse.to_pandas()["nick"].tolist() == ["N7"]
        browse.box.filters = []
    browse = Browse(registry_lab, broken, decode=None, time_field=None, limit=None, view=None)
    assert browse.source.said == "2 records, 1 of them not decoded (see _error)"
    assert "decode=" not in browse.code
