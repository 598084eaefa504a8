"""What a browser of records follows is read as any window is.

It is exact, and its code makes the same records.
"""

from __future__ import annotations

from typing import Any

import pytest

import labkit
from labkit import Lab, widgets
from labkit.errors import UsageError
from labkit.notebook.browse import follow
from support.waiting import until


def test_what_comes_is_added_once_whatever_its_types(
    lab: Lab, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = str(make_topic(2))
    produce(topic, [b'{"a": 1, "o": {"p": 1}}'] * 5, partition=0)
    browse = widgets.browse(lab, topic, anew=True)
    assert follow.grow(browse.source, None).records is None

    produce(topic, [b'{"a": "x", "o": {"q": [1]}}'] * 3, partition=0)  # other types than before
    produce(topic, [b"\xff garbage", None, b'{"new": true}'], partition=1)
    grown = follow.grow(browse.source, None)
    assert (grown.new, grown.trouble, len(grown.source.table)) == (6, "", 11)
    assert grown.records is not None
    assert {"new", "o.p", "o.q"} <= {field.label for field in grown.records.fields}
    assert follow.grow(grown.source, None).records is None

    monkeypatch.setattr(follow, "STEP", 4)  # two of each partition
    produce(topic, [b'{"a": 2}'] * 5, partition=0)
    steps = [grown := follow.grow(grown.source, None) for _ in range(4)]
    assert [step.new for step in steps] == [2, 2, 1, 0]

    browse.source = grown.source
    scope: dict[str, Any] = {"lab": lab}
    exec(browse.code, scope)
    assert len(scope["r"]) == len(browse.replay) == len(grown.source.table) == 16
    assert browse.replay.receipt.complete
    assert scope["r"].table["_offset"].to_pylist() == browse.replay.table["_offset"].to_pylist()

    monkeypatch.setattr(follow, "MOST", 17)
    produce(topic, [b"{}"] * 2, partition=1)
    with pytest.raises(UsageError, match="2 records came, and 16 are here: at most 17"):
        follow.grow(grown.source, None)


def test_an_open_transaction_is_waited_for_not_skipped(
    lab: Lab, admin: Any, make_topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = str(make_topic(1))
    monkeypatch.setattr(follow, "_DEADLINE", "2s")
    browse = widgets.browse(lab, topic, anew=True)
    producer = admin.producer(transactional_id=f"labkit.{topic}")
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b'{"a": 1}')
    producer.flush(30)
    waiting = follow.grow(browse.source, None)
    assert waiting.records is None
    producer.commit_transaction(30)
    # the coordinator answers before the partition has the transaction's end
    until(lambda: admin.bounds(topic, [0], "stable") == {0: 2})
    grown = follow.grow(browse.source, None)
    assert (grown.new, grown.trouble) == (1, "")


def test_rows_are_those_that_the_page_knows_until_it_asks_anew(
    lab: Lab, make_topic: Any, produce: Any
) -> None:
    topic = str(make_topic(1))
    produce(topic, [b'{"n": %d}' % n for n in range(5)], timestamps=[*range(1, 6)])
    browse = widgets.browse(lab, topic, anew=True)

    def newest() -> tuple[str, str]:
        ((_, cells),) = browse._page({"start": 0, "count": 1, "columns": ["n"]})["lines"]
        return cells[1], browse._detail({"place": 0})["value"]

    browse._query({"filters": []})
    produce(topic, [b'{"n": 5}'], timestamps=[6])
    grown = follow.grow(browse.source, None, browse.records)
    assert grown.records is not None
    browse.source, browse.records = grown.source, grown.records
    number, value = newest()
    assert (number, "4" in value) == ("4", True)
    browse._query({"filters": []})
    number, value = newest()
    assert (number, "5" in value) == ("5", True)


def test_an_index_is_browsed_by_the_times_of_its_records(make_topic: Any, produce: Any) -> None:
    topic = str(make_topic(1))
    produce(
        topic,
        [b'{"n": %d}' % n for n in range(8)],
        timestamps=[1_792_890_000_000 + 900_000 * n for n in range(8)],
        headers=[[("trace", b"t%d" % n), ("trace", b"again")] for n in range(8)],
    )
    vienna = labkit.connect(timezone="Europe/Vienna")
    load = vienna.window(topic).to_scratch(f"browse-{topic[-6:]}", metadata=True, progress=False)
    try:
        browse = widgets.browse(vienna, load.index, anew=True)
        assert browse.records.page(0, 1, ["n"]) == [["2026-10-25 03:45:00.000 +01:00", "7"]]
        browse.box.filters = [
            browse._span({"text": "2026-10-25T02:00+02:00 – 2026-10-25 03:00"})["filter"]
        ]
        zoomed = browse._query({"filters": browse.box.filters})["histogram"]
        assert zoomed["edges"][-1] == 1_792_890_000_000 + 3_600_000  # the time that was typed
        assert sum(zoomed["series"][0]["counts"]) == 4
        assert browse.to_pandas()["n"].tolist() == [3, 2, 1, 0]
        assert browse.where is not None
        assert "2026-10-25T00:00:00.000Z" in str(browse.where)
        assert load.index.count(browse.where) == 4
        shown = browse._detail({"place": 1})
        assert shown["headers"] == [["trace", "t2"], ["trace", "again"]]
        assert shown["tree"][0] == {
            "name": "n", "shown": "2", "filter": {"field": ["n"], "value": 2}
        }  # fmt: skip
        browse._query({"filters": [{"op": "is", **shown["tree"][0]["filter"]}]})
        assert browse.records.count == 1
        code = {"lab": vienna}
        exec(shown["code"], code)
        assert code["df"]["n"].tolist() == [2]
    finally:
        load.index.drop()
