"""The account of a read: it adds up, says why it ended, and survives being written down."""

from __future__ import annotations

import copy
import json
import pickle
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import IncompleteError
from labkit.replay.receipt import (
    _WHY,
    GAPS_NOTE,
    UNDATED_NOTE,
    PartitionReceipt,
    Receipt,
    StopReason,
)
from labkit.times import length_ms

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
REASONS = sorted(_WHY)


def receipt(*partitions: PartitionReceipt, **changed: Any) -> Receipt:
    arguments: dict[str, Any] = {
        "topic": "irc",
        "cluster_id": "c",
        "window": "abcd",
        "isolation": "read_committed",
        "partitions": partitions,
        "bytes": 1_500_000,
        "elapsed_s": 0.25,
        "group": "labkit.me.replay-1",
    }
    return Receipt(**{**arguments, **changed})


counts = st.integers(0, 1_000_000)


@st.composite
def partition_receipts(draw: st.DrawFn) -> PartitionReceipt:
    read, filtered, gaps, unread, start = (draw(counts) for _ in range(5))
    reason = draw(st.sampled_from(REASONS))
    first = draw(st.none() | st.integers(T0, T0 + 1000))
    return PartitionReceipt(
        partition=draw(st.integers(0, 99)),
        start=start,
        end=start + read + filtered + gaps + unread,
        read=read,
        filtered=filtered,
        gaps=gaps,
        unread=unread,
        undecodable=draw(st.integers(0, read)),
        first_offset=None if first is None else start,
        last_offset=None if first is None else start,
        first_timestamp_ms=first,
        last_timestamp_ms=first,
        out_of_order=draw(st.integers(0, 5)),
        max_inversion_ms=draw(counts),
        stop_reason=reason,
        stop_offset=start,
    )


receipts = st.builds(
    lambda partitions, notes: receipt(*partitions, notes=tuple(notes)),
    st.lists(partition_receipts(), max_size=4, unique_by=lambda one: one.partition),
    st.lists(st.text(max_size=20), max_size=2),
)


def test_the_totals_are_the_sums_over_the_partitions():
    total = receipt(
        PartitionReceipt(
            0, 10, 30, read=11, filtered=4, gaps=3, unread=2, undecodable=1, stop_reason="cap"
        ),
        PartitionReceipt(4, 0, 500, read=500, undecodable=7),
        PartitionReceipt(5, 7, 7),
    )
    counts = {"planned": 520, "read": 511, "filtered": 4, "gaps": 3, "unread": 2, "undecodable": 8}
    assert total.counts == counts
    assert {name: getattr(total, name) for name in counts} == counts
    assert "520 planned = 511 read + 4 filtered out + 3 gaps + 2 not reached" in str(total)


def test_tab_shows_the_totals_and_a_misspelt_one_is_an_error():
    empty = receipt()
    assert {"planned", "read", "filtered", "gaps", "unread", "undecodable"} <= set(dir(empty))
    with pytest.raises(AttributeError, match="unreed"):
        _ = empty.unreed  # type: ignore[attr-defined]


def test_an_errors_facts_are_attributes_that_tab_shows_and_that_travel():
    error = IncompleteError("short", receipt=receipt())
    error.add_facts(deleted=["a"])
    again = pickle.loads(pickle.dumps(error))
    for error_ in (error, again):
        assert {"receipt", "deleted"} <= set(dir(error_))
        assert error_.facts == {"receipt": error_.receipt, "deleted": ["a"]}
        assert not hasattr(error_, "replay")


def test_one_partition_that_ended_early_makes_the_receipt_incomplete():
    complete_part = PartitionReceipt(0, 0, 5, read=5)
    short = PartitionReceipt(1, 0, 5, unread=5, stop_reason="deadline")
    assert (receipt(complete_part).complete, receipt(complete_part).reasons) == (True, {})
    total = receipt(
        complete_part,
        short,
        replace(short, partition=7),
        replace(short, partition=3, stop_reason="cap"),
    )
    assert total.complete is False
    assert total.reasons == {"deadline": [1, 7], "cap": [3]}


@given(receipts)
def test_every_receipt_can_be_shown_and_says_whether_it_is_complete(found: Receipt):
    text, html = str(found), found._repr_html_()
    assert repr(found) == text
    assert text.startswith("complete: " if found.complete else "INCOMPLETE: ")
    assert (">complete<" in html) == found.complete
    assert "filtered out" in html  # by time or by where=: never said to be one of them
    for reason in found.reasons:
        assert _WHY[reason] in text
        assert f"{found.planned:,}" in text


@given(receipts)
def test_a_receipt_written_down_reads_back(found: Receipt):
    again = Receipt.from_dict(json.loads(found.to_json()))
    assert again == found
    assert str(again) == str(found)
    assert json.loads(found.to_json())["complete"] == found.complete


@given(receipts)
def test_a_receipt_can_be_copied_and_pickled(found: Receipt):
    assert pickle.loads(pickle.dumps(found)) == found == copy.deepcopy(found)


def test_where_it_stopped_is_named():
    text = str(
        receipt(
            PartitionReceipt(
                3, 0, 9000, read=5000, unread=4000, stop_reason="cap", stop_offset=5000
            )
        )
    )
    assert "3@5,000" in text
    assert "9,000 planned = 5,000 read + 0 filtered out + 0 gaps + 4,000 not reached" in text
    assert "max_bytes was reached" in text


def test_gaps_are_explained_only_where_there_are_some():
    assert GAPS_NOTE not in str(receipt(PartitionReceipt(0, 0, 5, read=5)))
    assert GAPS_NOTE in str(receipt(PartitionReceipt(0, 0, 5, read=4, gaps=1)))


@pytest.mark.parametrize(
    ("worst", "said", "slack"),
    [
        (1, "1 ms", "1s"),
        (1000, "1,000 ms", "1s"),
        (1001, "1,001 ms", "2s"),
        (60_000, "0:01:00", "60s"),
        (60_001, "0:01:00", "2m"),
        (3_600_001, "1:00:00", "2h"),
        (8_145_758_177, "94 days, 6:42:38", "95d"),
    ],
)
def test_the_proposed_slack_covers_the_worst_step_back(worst: int, said: str, slack: str):
    part = PartitionReceipt(0, 0, 5, read=5, out_of_order=2, max_inversion_ms=worst)
    assert f"2 records out of time order, by up to {said}: a slack of '{slack}' covers it" in str(
        receipt(part)
    )


@given(st.integers(1, 10**10))
def test_a_proposed_slack_is_a_length_labkit_takes_and_enough(worst: int):
    text = str(receipt(PartitionReceipt(0, 0, 5, read=5, out_of_order=1, max_inversion_ms=worst)))
    slack = re.search(r"a slack of '(\w+)'", text)
    assert slack
    assert length_ms(slack[1]) >= worst


def test_the_span_is_that_of_all_partitions():
    total = receipt(
        PartitionReceipt(0, 0, 1, read=1, first_timestamp_ms=T0 + 5, last_timestamp_ms=T0 + 9),
        PartitionReceipt(1, 0, 1, read=1, first_timestamp_ms=T0, last_timestamp_ms=T0 + 6),
        PartitionReceipt(2, 0, 0),
    )
    assert total.span_ms == (T0, T0 + 9)
    assert "from 2016-03-01T00:00:00.000Z to 2016-03-01T00:00:00.009Z" in str(total)
    assert receipt(PartitionReceipt(0, 0, 0)).span_ms == (None, None)


def test_undecodable_records_are_counted_in_words():
    text = str(receipt(PartitionReceipt(0, 0, 5, read=5, undecodable=2)))
    assert "2 of the read could not be decoded" in text


def test_html_is_escaped():
    html = receipt(topic="<b>", isolation="<i>", notes=("<script>",))._repr_html_()
    assert "<script>" not in html
    assert "<code>&lt;b&gt;</code>" in html


def test_an_attribute_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError):
        receipt().nothing  # noqa: B018


def test_a_time_that_no_date_can_hold_is_shown_as_the_number_and_noted():
    far = 1_700_000_000_000_000
    total = receipt(
        PartitionReceipt(
            0, 0, 2, read=2, first_timestamp_ms=T0, last_timestamp_ms=far, stop_offset=2
        )
    )
    assert f"from 2016-03-01T00:00:00.000Z to {far} ms" in str(total)
    assert f"2016-03-01T00:00:00.000Z … {far} ms (UTC)" in total._repr_html_()
    assert UNDATED_NOTE in total.all_notes
    near = receipt(
        PartitionReceipt(
            0, 0, 2, read=2, first_timestamp_ms=T0, last_timestamp_ms=T0, stop_offset=2
        )
    )
    assert UNDATED_NOTE not in near.all_notes


def test_a_receipt_is_taken_apart_into_plain_values() -> None:
    """Dask's messages between processes take no enum, though it is a text."""
    (part,) = receipt(PartitionReceipt(0, 0, 5, unread=5, stop_reason=StopReason.CAP)).to_dict()[
        "partitions"
    ]
    assert (part["stop_reason"], type(part["stop_reason"])) == ("cap", str)
