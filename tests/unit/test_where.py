"""SQL does not tell fields apart that differ only in case: such a question is refused, not answered by one of them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from labkit.errors import UsageError
from labkit.load.frame import Replay
from labkit.load.where import Where

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


def test_a_query_that_names_one_is_refused_and_one_of_others_answered() -> None:
    replay = Replay(TABLE, None)  # type: ignore[arg-type]  # a query does not look at the receipt
    with pytest.raises(UsageError, match="differ only in case"):
        replay.sql("select UserId from replay")
    assert replay.sql("select m from replay")["m"].tolist() == ["x", "y"]
