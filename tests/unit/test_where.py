"""SQL does not tell fields apart that differ only in case.

A question about one of them is refused, not answered by the other.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from labkit.decode.filter import Where
from labkit.errors import UsageError
from labkit.replay.receipt import Receipt
from labkit.sinks.replay import Replay
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
    assert (
        Where(condition).rows(TABLE.append_column("Price", pa.nulls(2, pa.string()))).tolist() == []
    )


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
    found = Replay(table, RECEIPT).sql("select sum(n) n, sum(big) big, 1.25 price from replay")
    assert [str(one) for one in found.dtypes] == ["Int64", "float64", "float64"]
    assert (found / 2).iloc[0].tolist() == [1.5, 2.0**61 * 3, 0.625]
