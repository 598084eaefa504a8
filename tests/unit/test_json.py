"""JSON to columns, by the rule that the module states.

The table is the same however the records are cut into batches.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.checks import suggest
from labkit.decode.json import Json
from labkit.decode.json_shape import HUGE
from labkit.decode.keys import Both
from labkit.decode.pipeline import ahead
from support.records import raw_batch

Records = list[bytes | None]


def decode(
    records: Records, cuts: Any = (), *, most: int = 4
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[int, str]]:
    """Decode the records in batches cut at `cuts`, by two threads; by one after the other with 0.

    Return schema, rows and errors.
    """
    decoder = Json()  # what it learns of one batch it tries on those that follow
    edges = [0, *sorted(cuts), len(records)]
    values = (pa.array(records[first:last], pa.binary()) for first, last in pairwise(edges))
    batches = (pa.record_batch({"value": value}) for value in values)
    jobs = ((batch, decoder.ready()) for batch in batches)
    # types are looked for in parts of a batch: let there be several of them
    with patch("labkit.decode.json._PART", 2 if len(records) < 10 else 200):
        parsed = list(ahead(jobs, lambda job: job[1](job[0]), most=most, threads=2))
    schema = decoder.unify([batch.schema for batch in parsed])
    types: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    errors: dict[int, str] = {}
    for one, first, last in zip(parsed, edges, edges[1:], strict=False):
        table = decoder.columns(one, schema)
        table.validate(full=True)
        types = {field.name: field.type for field in table.schema}
        assert list(types) == list(schema.fields)
        assert not types or table.num_rows == last - first
        rows += table.to_pylist() if types else [{}] * (last - first)
        errors |= {first + row: reason for row, reason in one.errors.items()}
    return types, rows, errors


# the rule, once more and as plainly as possible ------------------------------------------------------------


class Word(str):
    """A number as it is written."""


def loads(text: bytes | str) -> Any:
    return json.loads(text, parse_float=Word, parse_int=Word)


def kind(value: Any) -> Any:
    """Return a value's type: None for null, a dict of fields, a one-item list, or a word."""
    if isinstance(value, dict):
        return {name: kind(item) for name, item in value.items()}
    if isinstance(value, list):
        items = None
        for item in value:
            items = together(items, kind(item))
        return [items]
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Word):
        if any(mark in value for mark in ".eE"):
            return "number"
        return (
            "integer"
            if abs(int(value)) <= 2**53
            else "long"
            if -(2**63) <= int(value) < 2**63
            else "text"
        )
    return None if value is None else "text"


def together(left: Any, right: Any) -> Any:
    if left is None or right is None or left == right:
        return right if left is None else left
    if isinstance(left, dict) and isinstance(right, dict):
        return {name: together(left.get(name), right.get(name)) for name in {**left, **right}}
    if isinstance(left, list) and isinstance(right, list):
        return [together(left[0], right[0])]
    types = [kind if isinstance(kind, str) else "nested" for kind in (left, right)]
    return {"integer long": "long", "integer number": "number"}.get(" ".join(sorted(types)), "text")


def plain(dtype: pa.DataType) -> Any:
    """Return an Arrow type in the words of `kind`."""
    if pa.types.is_struct(dtype):
        return {field_.name: plain(field_.type) for field_ in dtype}
    if pa.types.is_large_list(dtype):
        return [plain(dtype.value_type)]
    return {
        pa.bool_(): "boolean",
        pa.int64(): "integer",
        pa.float64(): "number",
        pa.large_string(): "text",
    }[dtype]


def settled(of: Any) -> Any:
    if isinstance(of, dict):
        return {name: settled(item) for name, item in of.items()} or "text"
    if isinstance(of, list):
        return [settled(of[0])]
    return "integer" if of == "long" else of or "text"


def expected(records: Records) -> tuple[dict[str, Any], set[int]]:
    """Return the fields' types and the rows at fault, by the rule."""
    fields: dict[str, Any] = {}
    faults = set()
    for row, record in enumerate(records):
        try:
            value = {} if record is None else loads(record.decode())
        except ValueError:
            value = None
        if isinstance(value, dict):
            fields = together(fields, kind(value))
        else:
            faults.add(row)
    return {name: settled(item) for name, item in fields.items()}, faults


def same(found: Any, value: Any, of: Any) -> bool:
    """Tell whether a cell holds the record's value, under the column's type.

    Numbers in texts are as they were written.
    """
    if value is None:
        return found is None
    if isinstance(of, dict):
        return found.keys() == of.keys() and all(
            same(found[name], value.get(name), of[name]) for name in of
        )
    if isinstance(of, list):
        return len(found) == len(value) and all(
            same(*pair, of[0]) for pair in zip(found, value, strict=True)
        )
    if of == "text":
        return found == value if isinstance(value, str) else loads(found) == value
    exact = {"number": float, "integer": int, "boolean": bool}[of](value)
    return found == exact and type(found) is type(exact)


# records ---------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c"])
integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
numbers = st.sampled_from([0.5, -1.25, 1e10])
# a number as it is written; see `text_of`
words = st.sampled_from(
    ["@3.0@", "@1.10@", "@1e3@", "@-0@", "@-0.0@", "@9007199254740993@", "@12345678901234567890@"]
)
texts = st.sampled_from(["", "x", "1", "null", 'ä\n"', '"d":null', '\\" : \\'])
scalars = st.none() | st.booleans() | integers | numbers | words | texts
objects_of_scalars = st.dictionaries(names, scalars, max_size=3)
objects_of_integers = st.dictionaries(names, integers | st.none(), max_size=3)
lists_of_one_kind = st.one_of(
    *(
        st.lists(items | st.none(), max_size=3)
        for items in (st.booleans(), integers, numbers, texts, objects_of_integers)
    )
)
values = (
    scalars
    | objects_of_scalars
    | lists_of_one_kind
    | st.dictionaries(names, lists_of_one_kind, max_size=2)
)
broken = st.sampled_from(
    [
        None,
        b"",
        b" ",
        b"{",
        b"[1]",
        b"3",
        b"null",
        b"plain",
        b'{"a":1} {"a":2}',
        b'{"a":05}',
        b'{"a":1-2}',
        b'"\xff"',
        b"\x00\x00\x00\x00\x07ab",
    ]
)


def text_of(value: Any, **options: Any) -> bytes:
    """Return a value's JSON with numbers spelled as `words` are."""
    return json.dumps(value, **options).replace('"@', "").replace('@"', "").encode()


def written(objects: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Records]:
    good = objects.map(text_of)
    indented = objects.map(lambda value: text_of(value, indent=1, ensure_ascii=False))
    spaced = objects.map(lambda value: text_of(value, separators=(" ,", "  : ")))
    return st.lists(good | good | indented | spaced | broken, min_size=1, max_size=8)


records_and_cuts = written(st.dictionaries(names, values, max_size=3)).flatmap(
    lambda records: st.tuples(st.just(records), st.sets(st.integers(0, len(records))))
)


@settings(deadline=None, max_examples=200)
@given(records_and_cuts)
def test_any_split_into_batches_gives_the_same_rows_types_and_errors(
    given: tuple[Records, set[int]],
):
    records, cuts = given
    whole_table = decode(records)
    for most in (0, 4):
        parts = decode(records, cuts, most=most)
        assert {name: plain(dtype) for name, dtype in whole_table[0].items()} == {
            name: plain(dtype) for name, dtype in parts[0].items()
        }
        assert whole_table[1:] == parts[1:]


@settings(deadline=None, max_examples=200)
@given(records_and_cuts)
def test_types_values_and_errors_are_those_of_the_rule(given: tuple[Records, set[int]]):
    records, cuts = given
    schema, rows, errors = decode(records, cuts, most=0)
    types, faults = expected(records)
    assert {name: plain(dtype) for name, dtype in schema.items()} == types
    assert set(errors) == faults
    assert len(rows) == len(records)
    for row, record in enumerate(records):
        value = {} if record is None or row in faults else loads(record)
        assert same(rows[row], value, types) or not types


anything = st.recursive(
    scalars | st.integers(2**63, 2**127),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@example([b'{"a":["x"]}', b'{"a":[[],false]}'], {1})
@example([b'{"a":12345678901234567890}', b'{"a":0.5}'], {1})
@given(written(st.dictionaries(names, anything, max_size=3)), st.sets(st.integers(0, 1)))
def test_any_split_of_any_json_gives_the_same_types(records: Records, cuts: set[int]):
    whole_table, parts = (
        {name: plain(dtype) for name, dtype in decode(records, bounds)[0].items()}
        for bounds in ((), cuts)
    )
    assert whole_table == parts == expected(records)[0]


def test_the_order_of_the_fields_does_not_depend_on_which_thread_was_first() -> None:
    """Each batch has fields that those before it lack, and takes its own time."""
    batches = [
        [b'{"f%d": 1, "all": %d}' % (number, row) for row in range(1 + 997 * number % 400)]
        for number in range(30)
    ]
    cuts = np.cumsum([len(batch) for batch in batches])[:-1].tolist()
    schema, _, _ = decode([record for batch in batches for record in batch], cuts)
    assert list(schema) == ["f0", "all", *(f"f{number}" for number in range(1, 30))]


@pytest.mark.parametrize(
    "records",
    [
        [b'{"nick":"a","n":1}', b'{"nick":"b","ok":true,"n":2}', b'{"late":1}'],
        [b'{"user":{"b":1}}', b'{"user":{"a":1,"b":2}}'],
    ],
)
def test_the_order_of_the_fields_does_not_depend_on_the_batches(records: Records):
    orders = {str(decode(records, cuts)[0]) for cuts in ((), {1}, {2}, {1, 2})}
    assert len(orders) == 1


def test_fields_come_in_order_of_first_sight_across_batches():
    assert list(decode([b'{"b":1}', b'{"c":1}', b'{"a":1}'], {1, 2})[0]) == ["b", "c", "a"]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", 'c"', "d\\"]), values, max_size=3),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",", "\t:")]),
)
def test_a_field_first_seen_in_a_later_batch_is_not_passed_over(
    objects: list[dict[str, Any]], marks: tuple[str, str]
):
    records: Records = [
        text_of(document, separators=marks, ensure_ascii=False) for document in objects
    ]
    whole_table, parts = decode(records), decode(records, range(1, len(records)))
    assert list(whole_table[0]) == list(parts[0])
    assert whole_table[1:] == parts[1:]


# the rule by example ---------------------------------------------------------------------------------------

RULE = [
    ([b'{"a":1}', b'{"a":null}', b"{}"], "integer", [1, None, None]),
    ([b'{"a":1}', b'{"a":0.5}'], "number", [1.0, 0.5]),
    ([b'{"a":1}', b'{"a":"x"}'], "text", ["1", "x"]),
    ([b'{"a":1}', b'{"a":true}'], "text", ["1", "true"]),
    ([b'{"a":{"b":1}}', b'{"a":"x"}'], "text", ['{"b": 1}', "x"]),
    (
        [b'{"a":{"b":1}}', b'{"a":{"c":"x"}}'],
        {"b": "integer", "c": "text"},
        [{"b": 1, "c": None}, {"b": None, "c": "x"}],
    ),
    ([b'{"a":{"b":1}}', b'{"a":{"b":"x"}}'], {"b": "text"}, [{"b": "1"}, {"b": "x"}]),
    ([b'{"a":[1]}', b'{"a":[0.5]}', b'{"a":[]}'], ["number"], [[1.0], [0.5], []]),
    ([b'{"a":[1]}', b'{"a":1}'], "text", ["[1]", "1"]),
    ([b'{"a":null}', b"{}"], "text", [None, None]),
    ([b'{"a":{}}'], "text", ["{}"]),
    ([b'{"a":9223372036854775807}'], "integer", [2**63 - 1]),
    ([b'{"a":9223372036854775808}', b'{"a":1}'], "text", [str(2**63), "1"]),
    ([b'{"a":12345678901234567890123}'], "text", ["12345678901234567890123"]),
    ([b'{"a":"2016-03-01"}'], "text", ["2016-03-01"]),
]


RULE += [  # BEHAVIOURS 36: exact, as it is written
    ([b'{"a":9007199254740993}', b'{"a":0.5}'], "text", ["9007199254740993", "0.5"]),
    ([b'{"a":9007199254740992}', b'{"a":0.5}'], "number", [9007199254740992.0, 0.5]),
    ([b'{"a":9007199254740993}', b'{"a":1}'], "integer", [9007199254740993, 1]),
    (
        [b'{"a":[9007199254740993]}', b'{"a":[1.0,2]}'],
        ["text"],
        [["9007199254740993"], ["1.0", "2"]],
    ),
    (
        [b'{"a":{"b":-9007199254740993}}', b'{"a":{"b":2.50}}'],
        {"b": "text"},
        [{"b": "-9007199254740993"}, {"b": "2.50"}],
    ),
    (
        [b'{"a":3.0}', b'{"a":1.10}', b'{"a":1e3}', b'{"a":"x"}'],
        "text",
        ["3.0", "1.10", "1e3", "x"],
    ),
    ([b'{"a":-0}', b'{"a":true}', b'{"a":-0.0}'], "text", ["-0", "true", "-0.0"]),
    ([b'{"a":{"b":1.10}}', b'{"a":"x"}'], "text", ['{"b": 1.10}', "x"]),
    ([b'{"a":[1.0,[2e0]]}', b'{"a":2}'], "text", ["[1.0, [2e0]]", "2"]),
    ([b'{"a":1.7e18}', b'{"a":1}'], "number", [1.7e18, 1.0]),
    (
        [b'{"a":18446744073709551615}', b'{"a":1}', b'{"a":2.0}'],
        "text",
        ["18446744073709551615", "1", "2.0"],
    ),
]
RULE += [  # BEHAVIOURS 37: the last of a name twice
    ([b'{"a":1,"a":2}'], "integer", [2]),
    ([b'{"a":1,"a":"x"}', b'{"a":"y"}'], "text", ["x", "y"]),
    ([b'{"a":{"b":"x"},"a":{"c":1}}'], {"c": "integer"}, [{"c": 1}]),
    ([b'{"a":{"b":"x","b":null}}', b'{"a":{"b":2}}'], {"b": "integer"}, [{"b": None}, {"b": 2}]),
    ([b'{"a":[{"b":1,"b":2}]}'], [{"b": "integer"}], [[{"b": 2}]]),
    ([b'{"a":1,"\\u0061":2}'], "integer", [2]),
]


@pytest.mark.parametrize(("records", "of", "found"), RULE)
def test_a_field_has_the_type_of_the_rule_whatever_the_batches(
    records: Records, of: Any, found: list[Any]
):
    """BEHAVIOURS 15, 36, 37."""
    for cuts in ((), range(1, len(records))):
        schema, rows, errors = decode(records, cuts)
        assert {name: plain(dtype) for name, dtype in schema.items()} == {"a": of}
        assert [row["a"] for row in rows] == found
        assert errors == {}


def test_what_is_no_json_object_has_a_reason_and_a_tombstone_has_none():
    reasons = decode(
        [
            None,
            b"",
            b" ",
            b"[1]",
            b"3",
            b"{",
            b"\x00\x00\x00\x01\x00ab",
            b'{"a":1}',
            b"\xef\xbb\xbf{}",
        ]
    )[2]
    assert sorted(reasons) == [1, 2, 3, 4, 5, 6, 8]
    assert reasons[1] == "an empty value is not JSON"
    assert [reasons[3], reasons[4]] == [
        "JSON, but not an object: list",
        "JSON, but not an object: int",
    ]
    assert (
        reasons[6]
        == "Confluent wire format (schema id 256), not JSON: it needs the schema registry"
    )
    assert all(reasons[row].startswith("not JSON: ") for row in (2, 5, 8))


def test_numbers_json_does_not_know_are_errors():
    assert sorted(decode([b'{"a":NaN}', b'{"a":01}', b'{"a":Infinity}', b'{"a":1}'])[2]) == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e400"])
def test_numbers_json_does_not_know_are_errors_beside_long_integers_too(number: bytes):
    assert list(decode([b'{"a":%s,"b":12345678901234567890123}' % number])[2]) == [0]


def test_the_text_of_a_value_does_not_depend_on_the_batches():
    records: Records = [b'{"a":[false,12345678901234567890123]}', b'{"a":1}']
    assert decode(records) == decode(records, {1})
    assert decode(records)[1][0]["a"] == "[false, 12345678901234567890123]"


def test_a_late_change_of_type_costs_no_record():
    count = 30_000
    records: Records = [b'{"n":%d}' % number for number in range(count)]
    _, rows, errors = decode(
        [*records, b'{"n":"x"}', b"broken", b'{"n":{"a":[1,"y"]}}'], {10_000, 20_000}
    )
    assert len(rows) == count + 3
    assert [row["n"] for row in rows[count - 1 :]] == ["29999", "x", None, '{"a": [1, "y"]}']
    assert list(errors) == [count + 1]


def test_integers_of_any_length_are_text():
    for digits in (39, 60, 400):
        _, rows, errors = decode([b'{"a":1%s}' % (b"0" * digits), b'{"a":1}'])
        assert errors == {}
        assert rows[0]["a"] == "1" + "0" * digits


def test_half_a_surrogate_pair_is_not_silently_another_text():
    _, rows, errors = decode([b'{"a":"x\\ud800"}'])
    assert errors or "\x00" not in rows[0]["a"]


# what the receipt says -------------------------------------------------------------------------------------


def disagreements(records: Records, cuts: Any = ()) -> list[str]:
    decoder = Json()
    edges = [0, *cuts, len(records)]
    parsed = [
        decoder.parse(pa.array(records[first:last], pa.binary())) for first, last in pairwise(edges)
    ]
    decoder.unify([batch.schema for batch in parsed])
    return list(decoder.disagreements.values())


ANNOUNCED = [
    (
        [b'{"total":1}', b'{"total":2.5}', b'{"total":"x"}', b'{"total":null}'],
        ['field total: 2 numbers, 1 text → text; read(types={"total": "float"})'],
    ),
    (
        [b'{"a":true}', b'{"a":"x"}'],
        ['field a: 1 boolean, 1 text → text; read(types={"a": "bool"})'],
    ),
    (
        [b'{"a":"x"}', b'{"a":true}'],
        ['field a: 1 boolean, 1 text → text; read(types={"a": "bool"})'],
    ),
    (
        [b'{"a":"x"}', b'{"a":true}', b'{"a":"y"}'],  # most would be null
        ["field a: 1 boolean, 2 texts → text"],
    ),
    ([b'{"a":{"b":1}}', b'{"a":{"b":"x"}}'], ["field a.b: 1 number, 1 text → text"]),
    ([b'{"a":[1,"x"]}', b'{"a":[2]}'], ["field a[]: 2 numbers, 1 text → text"]),
    ([b'{"a":{"b":1}}', b'{"a":"x"}'], ["field a: 1 object, 1 text → text"]),
    (
        [b'{"a":9007199254740993}', b'{"a":0.5}'],
        ["field a: 2 numbers, with integers beyond 2^53, → text"],
    ),
    ([b'{"a":18446744073709551615}'], ["field a: 1 number, with integers beyond 64 bits, → text"]),
    ([b'{"a":1}', b'{"a":0.5}', b'{"b":{}}', b'{"c":null}', b'{"d":"x"}'], []),
]


@pytest.mark.parametrize(("records", "lines"), ANNOUNCED)
def test_fields_that_disagree_are_announced(records: Records, lines: list[str]):
    """BEHAVIOURS 57: also where later batches are parsed under what the first ones showed."""
    twice = records * 2
    for cuts in ((), range(1, len(records))):
        assert disagreements(records, cuts) == lines
    assert disagreements(twice, range(1, len(twice))) == disagreements(twice)


@settings(deadline=None, max_examples=100)
@given(records_and_cuts)
def test_what_is_announced_does_not_depend_on_the_batches(given: tuple[Records, set[int]]):
    records, cuts = given
    assert sorted(disagreements(records)) == sorted(disagreements(records, sorted(cuts)))


@pytest.mark.parametrize(
    ("numbers", "kinds"),
    [
        ([7, -0, 10**15], {"integers": 3}),
        ([7, 2.5, 1e300], {"integers": 1, "fractions": 2}),
        ([7, 10**25, -(10**25)], {"integers": 1, HUGE: 2}),
    ],
    ids=["whole", "fractions", "beyond 64 bits"],
)
def test_numbers_beside_texts_are_counted_by_their_kinds(
    numbers: list[Any], kinds: dict[str, int]
) -> None:
    """An index maps a field by them: whole numbers beside a text were mapped as fractions."""
    texts = ["n/a", "5", "2.5"]
    lines = [json.dumps({"n": value}).encode() for value in [*numbers, *texts]]
    parsed = Json().parse(pa.array(lines, pa.binary()))
    assert parsed.schema.fields["n"].kinds == {**kinds, "texts": 3}


def test_a_column_that_disagrees_stays_column_wise():
    """BEHAVIOURS 57: 2 % of texts among numbers take no path of their own, record by record."""
    records: Records = [
        b'{"n":%d,"total":%s}' % (row, b'"n/a"' if row % 50 == 0 else b"%d.50" % row)
        for row in range(3000)
    ]
    decoder = Json()
    first = decoder.parse(pa.array(records, pa.binary()))
    with patch("labkit.decode.json.spell_numbers", side_effect=AssertionError("read one by one")):
        second = decoder.parse(pa.array(records, pa.binary()))
        table = decoder.columns(second, decoder.unify([first.schema, second.schema]))
    assert table["total"].to_pylist()[:2] == ["n/a", "1.50"]
    assert list(decoder.disagreements.values()) == [
        'field total: 5,880 numbers, 120 texts → text; read(types={"total": "float"})'
    ]


def test_a_name_of_a_key_within_a_text_is_not_quoted():
    records: Records = [
        b'{"total":1,"m":"\\"total\\": 5, total: 6"}',
        b'{"total":"x","m":"{\\"total\\":7}"}',
        b'{"m":"y","total" : -2.50e1}',
    ]
    decoder = Json()
    parsed = [decoder.parse(pa.array(records, pa.binary())) for _ in range(2)]
    columns = decoder.columns(
        parsed[1], decoder.unify([batch.schema for batch in parsed])
    ).to_pydict()
    assert columns["total"] == ["1", "x", "-2.50e1"]
    assert columns["m"] == ['"total": 5, total: 6', '{"total":7}', "y"]


@pytest.mark.parametrize(
    "value", [b"05", b"1.", b".5", b"+1", b"1-2", b"1e", b"--1", b"1true", b"truefalse", b"5 5"]
)
def test_a_number_that_is_not_json_is_none_in_a_field_of_texts_either(value: bytes):
    """Where a field disagreed, such a number was taken for its text, or ended the read."""
    records: Records = [b'{"n":"x"}', b'{"n":1}', b'{"n":true}', b'{"n":%s}' % value]
    _, rows, errors = decode(records, (3,), most=0)
    assert [row["n"] for row in rows] == ["x", "1", "true", None]
    assert list(errors) == [3]
    assert "not JSON: " in errors[3]


# more than there can be ------------------------------------------------------------------------------------


def test_fields_beyond_the_limit_are_one_column_of_text():
    """BEHAVIOURS 70: a record with 62,000 keys among others."""
    wide = json.dumps({f"f{number}": number for number in range(62_000)}).encode()
    records: Records = [b'{"n":1,"x":2.50}', wide, b'{"n":3,"f61999":1.0}', b'{"x":1}']
    for cuts in ((), (1, 2)):
        schema, rows, errors = decode(records, cuts)
        assert not errors
        assert len(schema) == 1000
        assert list(schema)[:3] == ["n", "x", "f0"]
        assert [row["n"] for row in rows] == [1, None, 3, None]
        assert rows[1]["f5"] == 5
        assert len(json.loads(rows[1]["_more"])) == 62_000 - 997
        assert [row["_more"] for row in rows[::2]] == [None, '{"f61999": 1.0}']


def test_names_that_are_values_do_not_end_the_memory():
    """BEHAVIOURS 70: objects whose names are users."""
    records: Records = [b'{"users":{"u%d":{"n":1}},"n":%d}' % (row, row) for row in range(5000)]
    schema, rows, _ = decode(records, (2500,))
    assert {name: plain(dtype) for name, dtype in schema.items()} == {
        "users": "text",
        "n": "integer",
        "_more": "text",
    }
    assert rows[4999] == {"users": '{"u4999": {"n": 1}}', "n": 4999, "_more": None}


DEEP = """
import sys, pyarrow as pa
from labkit.decode.json import Json
from labkit.decode.json_shape import HUGE
depth = int(sys.argv[1])
opened, closed = (b'{"a":', b"}") if sys.argv[2] == "objects" else (b"[", b"]")
value = b'{"a":' + opened * depth + b"1" + closed * depth + b"}"
decoder = Json()
parsed = decoder.parse(pa.array([b'{"n":1}', value], pa.binary()))
table = decoder.columns(parsed, decoder.unify([parsed.schema]))
assert table["n"].to_pylist() == [1, None]
"""


@pytest.mark.parametrize("what", ["objects", "lists"])
@pytest.mark.parametrize("depth", [20, 70, 900, 5000])
def test_one_deeply_nested_record_costs_neither_the_others_nor_the_process(depth: int, what: str):
    command = [sys.executable, "-c", DEEP, str(depth), what]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def test_a_note_names_only_what_its_reader_can_give() -> None:
    """`types=` is of reads in Python, and of the values' fields."""
    records = [b'{"n":1}', b'{"n":"x"}']
    with suggest.for_a_shell():
        assert disagreements(records) == ["field n: 1 number, 1 text → text"]
    pair, batch = Both(Json(), Json()), raw_batch([None, None])
    place = batch.schema.get_field_index("key")
    batch = batch.set_column(place, "key", pa.array(records, pa.binary()))
    pair.unify([pair.parse_batch(batch).schema])
    assert list(pair.disagreements.values()) == ["keys: field n: 1 number, 1 text → text"]
