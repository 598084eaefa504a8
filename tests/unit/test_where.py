"""SQL does not tell fields apart that differ only in case.

A question about one of them is refused, not answered by the other.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from labkit.decode import find_decoder
from labkit.decode.each_record import EachRecord
from labkit.decode.filter import Where
from labkit.errors import UsageError
from labkit.es.encode import Encoder
from labkit.es.form import PLAIN, Form
from labkit.replay.receipt import Receipt
from labkit.sinks.replay import Replay
from support.records import raw_batch
from support.replays import RECEIPT

WHOLE = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g")
TABLE = pa.table({"m": ["x", "y"], "userId": [1, None], "userid": [None, 2]})


@pytest.mark.parametrize("condition", ["userid = 2", '"userId" = 1', "m = 'x' and USERID > 0"])
def test_a_condition_on_one_of_two_spellings_is_refused(condition: str) -> None:
    with pytest.raises(UsageError, match="userId and userid differ only in case"):
        Where(condition).rows(TABLE)


def test_also_when_they_come_in_different_batches() -> None:
    where = Where("userid > 0")
    assert where.rows(TABLE.select(["m", "userid"])).tolist() == [1]
    with pytest.raises(UsageError, match="differ only in case"):
        where.rows(TABLE.select(["m", "userId"]))


def test_a_condition_on_other_fields_is_answered() -> None:
    assert Where("m = 'y'").rows(TABLE).tolist() == [1]


@pytest.mark.parametrize(
    "condition",
    ["price > 1.5", "price + 1 > 0", "price between 1 and 3", "price > timestamp '2020-01-01'", "price.amount = 1",
     "list_contains(price, 'a')", "price like 'a%'", "not price"],
)  # fmt: skip
def test_a_field_that_a_batch_lacks_is_null_whatever_it_is_elsewhere(condition: str) -> None:
    assert Where(condition).rows(TABLE).tolist() == []
    for kind in (pa.null(), pa.string(), pa.large_string()):  # decoders have the last one
        table = TABLE.append_column("Price", pa.nulls(2, kind))
        assert Where(condition).rows(table).tolist() == []


def test_a_field_with_some_texts_is_told_of_where_numbers_are_asked() -> None:
    with pytest.raises(UsageError, match="Cannot compare") as caught:
        Where("n > 5").rows(pa.table({"n": pa.array(["7", "x"], pa.large_string())}))
    assert 'try_cast("n" as double)' in str(caught.value.hint)
    rows = Where('try_cast("n" as double) > 5').rows(pa.table({"n": pa.array(["7", "x"])}))
    assert rows.tolist() == [0]


@pytest.mark.parametrize("condition", ["", " \n"])
def test_an_empty_text_is_no_condition(condition: str) -> None:
    """DuckDB told of a cast of a tuple."""
    with pytest.raises(UsageError, match="where must be a condition in SQL, not"):
        Where(condition)


def records(*values: Any) -> pa.RecordBatch:
    return raw_batch([value if value is None else json.dumps(value).encode() for value in values])


def test_one_record_of_another_kind_keeps_no_other_from_being_asked() -> None:
    """Beside one text a field's numbers were texts, and no number compares with those."""
    each, module = EachRecord(Where("n > 5")), find_decoder("json")
    values = [{"n": 1}, {"n": 7}, {"n": "x"}, {"n": {"a": 9}}, None, {}, {"n": 8}]
    rows, failures = each.rows(records(*values), module)
    assert (rows.tolist(), sorted(failures), each.asked, each.failed) == ([1, 6], [2, 3], 5, 2)
    assert "Cannot compare" in failures[2]
    rows, failures = each.rows(records(*[{"n": "x"}] * 200), module)
    assert (len(rows), len(failures)) == (0, 200)


def test_many_records_it_cannot_be_asked_of_are_not_asked_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of objects beside texts took a minute: each was decoded and asked alone."""
    queries, ask = [], Where._ask
    monkeypatch.setattr(Where, "_ask", lambda *given: queries.append(given) or ask(*given))
    values = [b'{"m":"1","n":%d}' % n if n % 2 else b'{"m":{"a":%d}}' % n for n in range(6_000)]
    each = EachRecord(Where("m = '1'"))
    rows, failures = each.rows(raw_batch(values), find_decoder("json"))
    assert rows.tolist() == list(range(1, 6_000, 2))
    assert sorted(failures) == list(range(0, 6_000, 2))
    assert (each.asked, each.failed) == (3_000, 3_000)
    assert "can't be cast" in failures[0]
    assert failures[5_998] == "the condition cannot be asked of it, as of others of its type"
    assert len(queries) < 15


def test_a_condition_that_no_record_can_be_asked_is_an_error() -> None:
    each, module = EachRecord(Where("n.x > 5")), find_decoder("json")
    assert len(each.rows(records(*[{"n": 1}] * 50), module)[1]) == 50
    with pytest.raises(UsageError, match="Cannot extract field"):
        each.rows(records(*[{"n": 1}] * 50), module)


def test_an_encoder_rejects_what_its_condition_cannot_be_asked_of() -> None:
    for form in (PLAIN, Form("json", metadata=True)):
        docs = Encoder(form, where=Where("n > 5")).of_raw(records({"n": 7}, {"n": "x"}, {"n": 1}))
        assert docs.ids.to_pylist() == ["t-0-0"]
        assert [(one.offset, one.type, one.source) for one in docs.rejects] == [
            (1, "where", '{"n": "x"}')
        ]


def ask_in_batches(condition: str, values: list[Any], size: int) -> tuple[list[Any], int]:
    """Return the values that fulfil a condition, and of how many it could not be asked."""
    each, module = EachRecord(Where(condition)), find_decoder("json")
    matching = []
    for start in range(0, len(values), size):
        part = values[start : start + size]
        rows, _ = each.rows(records(*part), module)
        matching += [part[row] for row in rows]
    each.where.check_seen()
    each.check()
    return matching, each.failed


BEYOND = 2**53 + 1
ODD_USERS = [{"user": {"id": 1}}, {"user": {"name": "x"}}, {"user": "odd"}, {"user": {}}, None, {}]
BASKETS = [{"items": [{"price": 4}]}, {"items": []}, {}, {"items": [{"id": 4}]}, {"items": None}]


@pytest.mark.parametrize(
    ("condition", "values", "matching", "failed"),
    [("n > '5'", [{"n": 10}, {"n": 7}, {"n": "x"}, {"n": "10"}, {"n": 4.5}], [0, 1, 2], 0),
     ("n > '5.5'", [{"n": 6}, {"n": 5}, {"n": 5.7}], [0, 2], 0),
     ("n > 5", [{"n": 10}, {"n": "x"}, {"n": 4.5}], [0], 1),
     ("n = 'x'", [{"n": 10}, {"n": "x"}, {"n": True}], [1], 0),
     ("a.n > '5'", [{"a": {"n": 10}}, {"a": {"n": "x"}}, {"a": {"n": "10"}}], [0, 1], 0),
     (f"n = {BEYOND}", [{"n": BEYOND}, {"n": 0.5}, {"n": "x"}], [0], 1),
     (f"a.n = {BEYOND}", [{"a": {"n": BEYOND}}, {"a": {"n": 0.5}}, {"a": {"n": BEYOND - 2}}], [0], 0),
     ("user.name = 'x'", ODD_USERS, [1], 1),
     ("user['name'] = 'x'", ODD_USERS[:2], [1], 0),
     ("USER.Name like 'x%'", ODD_USERS[:2], [1], 0),
     ("a.b.c = 1", [{"a": {"b": None}}, {"a": {}}, {"a": {"b": {"c": 1}}}], [2], 0),
     ("items[1].price > 3", BASKETS, [0], 0),
     ("len([x for x in items if x.price > 3]) > 0", BASKETS, [0], 0),
     ("list_contains(tags, 'a')", [{"tags": ["a", 1]}, {"tags": []}, {"tags": ["a"]}], [0, 2], 0)],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 2, 100])
def test_each_record_is_asked_by_its_own_types_however_records_are_batched(
    condition: str, values: list[Any], matching: list[int], failed: int, size: int
) -> None:
    """The types of a batch decided: '10' was less than '5' beside a text."""
    assert ask_in_batches(condition, values, size) == ([values[row] for row in matching], failed)


@pytest.mark.parametrize(
    ("condition", "values", "error"),
    [("user.nmae = 'x'", ODD_USERS[:2], "no record has user.nmae"),
     ("n = 'bob'", [{"n": 1}, {"n": 2.5}], "Could not convert string 'bob'")],
)  # fmt: skip
def test_a_slip_within_an_object_and_a_text_no_record_has_are_told_at_the_end(
    condition: str, values: list[Any], error: str
) -> None:
    for size in (1, 100):
        with pytest.raises(UsageError, match=error):
            ask_in_batches(condition, values, size)


TAGS = pa.table({"n": [1, 2], "tags": [["a"], ["b"]]})


@pytest.mark.parametrize(
    "condition",
    ["len([x for x in tags if x = 'a']) > 0", "len(list_filter(tags, lambda x, i: x = 'a' and n > 0)) = 1",
     "exists (select 1 from unnest(tags) t(x) where x = 'a')", "n = (select min(x) from (values (1), (2)) t(x))"],
)  # fmt: skip
def test_names_of_the_condition_s_own_are_no_fields(condition: str) -> None:
    where = Where(condition)
    assert where.rows(TAGS).tolist() == [0]
    where.check(WHOLE)


@pytest.mark.parametrize("condition", ["batch.id = 9", "__row = 7", "__ROW = 7 and batch.id > 0"])
def test_fields_named_as_what_is_asked_of_are_fields(condition: str) -> None:
    """`batch.id` was the column `id`, and `__row` took the place of the rows' numbers."""
    rows = [
        {"id": 9, "batch": {"id": 1}, "__row": 0, "__row_": 7},
        {"id": 1, "batch": {"id": 9}, "__row": 7, "__row_": 0},
    ]
    assert Where(condition).rows(pa.Table.from_pylist(rows)).tolist() == [1]


def test_a_subquery_over_all_records_is_refused() -> None:
    """It would see one batch, and the answer would depend on how records are batched."""
    with pytest.raises(UsageError, match="asks of all records"):
        Where("n = (select max(n) from batch)")


def test_a_field_in_a_lambda_must_be_there() -> None:
    where = Where("len([x for x in tags if x = typo]) > 0")
    where.rows(TAGS)
    with pytest.raises(UsageError, match="no record has typo"):
        where.check(WHOLE)


def test_a_query_that_names_one_is_refused_and_one_of_others_answered() -> None:
    replay = Replay(TABLE, RECEIPT)
    with pytest.raises(UsageError, match="differ only in case"):
        replay.sql("select UserId from replay")
    assert replay.sql("select m from replay")["m"].tolist() == ["x", "y"]
    assert replay.sql("select count(*) userid_s, 'userid' s from replay where m = 'x'").iloc[
        0
    ].tolist() == [
        1,
        "userid",
    ]


def test_sums_are_numbers_that_pandas_calculates_with() -> None:
    """DuckDB's sum of integers has 128 bits."""
    table = pa.table({"n": [1, 2, None], "big": [2**62] * 3})
    answer = Replay(table, RECEIPT).sql("select sum(n) n, sum(big) big, 1.25 price from replay")
    assert [str(dtype) for dtype in answer.dtypes] == ["Int64", "float64", "float64"]
    assert (answer / 2).iloc[0].tolist() == [1.5, 2.0**61 * 3, 0.625]
