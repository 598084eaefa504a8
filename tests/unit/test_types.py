"""Types that a reader gives to fields whose values disagree."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decode import find_decoders, notes
from labkit.decode.types import Typed, types_of
from labkit.errors import UsageError


def decoded(
    batches: list[list[bytes]], types: dict[str, Any]
) -> tuple[pa.Table, list[list[int]], list[str]]:
    module, _, _ = find_decoders("json", "raw", types=types, sample=list)
    parsed = [module.parse(pa.array(batch, pa.binary())) for batch in batches]
    schema = module.unify([batch.schema for batch in parsed])
    table = pa.concat_tables([module.columns(batch, schema) for batch in parsed])
    return table, [list(batch.errors.items()) for batch in parsed], notes(module)


RECORDS = [
    b'{"total":1,"n":1}',
    b'{"total":2.50,"n":"x"}',
    b'{"total":"98 EUR"}',
    b'{"total":"7.5"}',
    b'{"total":null}',
    b"{}",
]


@pytest.mark.parametrize("batches", [[RECORDS], [[one] for one in RECORDS]])
def test_what_disagrees_is_null_with_the_reason(batches: list[list[bytes]]) -> None:
    """BEHAVIOURS 57: and the receipt no longer names the field."""
    table, errors, notes_ = decoded(batches, {"total": "float"})
    assert table["total"].to_pylist() == [1.0, 2.5, None, 7.5, None, None]
    assert table["total"].type == pa.float64()
    assert [reason for error in errors for _, reason in error] == [
        "field 'total' is no double here: '98 EUR'"
    ]
    assert notes_ == ['field n: 1 number, 1 text → text; read(types={"n": "float"})']


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("int", [1, "2", 3.0, 3.5, True, "x", None], [1, 2, 3, None, None, None, None]),
        (float, [1, "2.5", 2**53 + 1, False], [1.0, 2.5, float(2**53), None]),
        ("bool", [True, "x", 1, "false"], [True, None, None, False]),
        (str, [1, "x", True, {"a": [1]}], ["1", "x", "true", '{"a": [1]}']),
        (pa.int8(), [1, 300], [1, None]),
    ],
)
def test_each_type_takes_what_reads_as_it(kind: Any, values: list[Any], found: list[Any]) -> None:
    """BEHAVIOURS 57."""
    records = [json.dumps({"a": value}).encode() for value in values]
    table, errors, _ = decoded([records], {"a": kind})
    assert table["a"].to_pylist() == found
    assert [row for row, _ in errors[0]] == [
        row
        for row, (value, one) in enumerate(zip(values, found, strict=True))
        if one is None and value is not None
    ]


def test_numbers_that_are_to_be_text_keep_their_spelling() -> None:
    """BEHAVIOURS 36."""
    batches = [[b'{"a":1.10}', b'{"a":3.0}'], [b'{"a":1e3}'], [b'{"a":"x"}']]
    assert decoded(batches, {"a": "text"})[0]["a"].to_pylist() == ["1.10", "3.0", "1e3", "x"]


def test_texts_become_times_or_an_error_of_their_row() -> None:
    table, errors, _ = decoded(
        [[b'{"at":"2026-03-01T10:00:00.5Z"}', b'{"at":"soon"}']], {"at": "time"}
    )
    assert [None if one is None else one.isoformat() for one in table["at"].to_pylist()] == [
        "2026-03-01T10:00:00.500000+00:00", None,
    ]  # fmt: skip
    assert [row for row, _ in errors[0]] == [1]


def test_a_field_that_no_record_has_is_noted_and_a_type_that_is_none_refused() -> None:
    note = "field totl of types= is in no record"
    assert decoded([[b'{"a":1}']], {"totl": "float"})[2] == [note]
    near = decoded([[b'{"total":1}']], {"totl": "float"})[2]
    assert near == [f"{note}; did you mean 'total'?"]
    with pytest.raises(UsageError, match=r"types\['a'\] must be a type, not 'flot'"):
        types_of({"a": "flot"})


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.sampled_from(
            [
                b"1",
                b"2.50",
                b'"x"',
                b'"3"',
                b"true",
                b"null",
                b"[1]",
                b'{"b":1}',
                b"9007199254740993",
            ]
        ),
        min_size=2,
        max_size=8,
    ),
    st.integers(1, 7),
    st.sampled_from(["float", "int", "bool", "text"]),
)
def test_the_cut_into_batches_changes_no_typed_value(
    values: list[bytes], cut: int, kind: str
) -> None:
    records = [b'{"a":%s}' % value for value in values]
    in_one_batch = decoded([records], {"a": kind})
    parts = decoded([records[:cut], records[cut:]], {"a": kind})
    assert in_one_batch[0]["a"].to_pylist() == parts[0]["a"].to_pylist()
    assert len(in_one_batch[1][0]) == sum(map(len, parts[1]))


def test_only_what_can_work_beside_itself_is_asked_to() -> None:
    assert find_decoders("json", "raw", types={"a": int}, sample=list).decoder.parallel
    assert not Typed(find_decoders("text", "raw", sample=list).decoder, {}).parallel


def test_an_interrupt_reaches_a_function_within_a_typed_decoder_and_one_of_keys():
    """Each wrapper passes it on: a function of the reader's own may be slow."""
    choice = find_decoders(lambda _: {"a": 1}, lambda _: {"k": 1}, types={"a": int}, sample=list)
    choice.decoder.heed(lambda: True)
    batch = pa.record_batch({"value": pa.array([b"x"]), "key": pa.array([b"y"])})
    assert choice.decoder.parse_batch(batch).errors == {
        0: "not decoded: it was interrupted; key: not decoded: it was interrupted"
    }
    assert not choice.decoder.lasting
