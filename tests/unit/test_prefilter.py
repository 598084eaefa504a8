"""A record is passed over by its bytes only where decoding it would change nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decode import find_decoder
from labkit.decode.each_record import EachRecord
from labkit.decode.filter import Where
from labkit.errors import UsageError
from support.records import raw_batch

FIRST = b'{"a": "x", "n": 1}'
WORDS = ["x", "ab", "ab/c", "5", "true", "", "a b", "é", "ab%"]
NUMBERS = ["5", "-5", "50", "5.0", "0.5e1", "50e-1", "5.5", "123456789012345", "5e400", "-0", "0",
           "9007199254740993", "123456789012345678901"]  # fmt: skip
OTHERS = [
    "null",
    "true",
    "[]",
    '["x"]',
    "{}",
    '{"a": "x"}',
    "[5]",
    "05",
    "NaN",
    '"ab\udcff"',
    '"x',
    "5, 5",
]
ODD = [
    None,
    b"",
    b"{",
    b"[5]",
    b"\0\0\0\0\1{}",
    b'{"A": "x"}',
    b'{"a": "z", "A": "x"}',
    b'{"x": {"a": 5}}',
]


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """Return a text's JSON, some of its characters escaped."""
    letters = []
    for letter in text:
        escaped = r"\/" if letter == "/" else f"\\u{ord(letter):04x}"
        letters.append(draw(st.sampled_from([letter, letter, escaped])))
    return f'"{"".join(letters)}"'


VALUES = st.one_of(
    st.sampled_from(WORDS).flatmap(spelled), st.sampled_from(NUMBERS), st.sampled_from(OTHERS)
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(st.sampled_from(["a", "n"]), min_size=1, max_size=3))
    colon = draw(st.sampled_from([":", " :\t"]))
    members = [f"{draw(spelled(name))}{colon}{draw(VALUES)}" for name in names]
    return f"{{{','.join(members)}}}".encode(errors="surrogateescape")


RECORDS = st.lists(st.one_of(objects(), objects(), objects(), st.sampled_from(ODD)), max_size=6)
TEXTS = st.sampled_from(WORDS).map("'{}'".format)
INTEGERS = st.sampled_from(["5", "0", "50", "123456789012345"])


def several(constants: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(constants, min_size=2, max_size=3).map(lambda some: f"({', '.join(some)})")


LEAVES = st.one_of(
    st.builds("a = {}".format, TEXTS),
    st.builds("n = {}".format, INTEGERS),
    st.builds("a in {}".format, several(TEXTS)),
    st.builds("n in {}".format, several(INTEGERS)),
    st.builds("a like '{}'".format, st.sampled_from(["%b%", "a_", "%", "x%", "%/c", "%5%"])),
    st.builds("{} = {}".format, st.sampled_from(["a", "n"]), st.one_of(TEXTS, INTEGERS)),
)
CONDITIONS = st.one_of(
    LEAVES,
    st.builds("({}) {} ({})".format, LEAVES, st.sampled_from(["and", "or"]), LEAVES),
)


def ask(condition: str, records: list[bytes | None], cuts: list[int], *, narrowed: bool) -> Any:
    """Return what comes of asking a condition of records, batch by batch, and how it ends."""
    each, module = EachRecord(Where(condition)), find_decoder("json")
    matching: list[int] = []
    raw = raw_batch(records)
    try:
        for first, last in pairwise([0, *sorted(cuts), len(records)]):
            part = batch = raw.slice(first, last - first)
            if narrowed:
                part, _ = each.narrow(batch, module)
            rows, _ = each.rows(part, module)
            matching += part.take(pa.array(rows))["offset"].to_pylist()
        each.where.check_seen()
        each.check()
    except UsageError as error:
        return error.message
    return matching, each.failed, each.notes


def assert_nothing_changes(condition: str, records: list[bytes | None], cuts: list[int]) -> None:
    assert Where(condition).needles is not None
    expected = ask(condition, records, cuts, narrowed=False)
    assert ask(condition, records, cuts, narrowed=True) == expected


@settings(max_examples=100, deadline=None)
@given(CONDITIONS, RECORDS, st.integers(0, 6))
def test_what_is_passed_over_changes_no_row_count_or_note(
    condition: str, records: list[bytes | None], cut: int
) -> None:
    assert_nothing_changes(condition, [FIRST, *records], [1, 1 + min(cut, len(records))])


@pytest.mark.parametrize(
    ("condition", "value"),
    [("a = 'x'", r'"\u0078"'), ("a = 'é'", r'"\u00E9"'), ("a = 'a/b'", r'"a\/b"'), ("a like '%b'", r'"a\u0062"'),
     ("a = '5'", "5.0"), ("a = 'x'", "{}"), ("a = 'x'", '["x"]'), ("a = 'true'", "true"),
     ("n = 5", "5.0"), ("n = 5", "0.5e1"), ("n = 5", "50e-1"), ("n = 0", "-0"), ("n = 5", '"x"'), ("n = 5", '"5"'),
     ("n = 5", "12345678901234567890"), ("n = 5", "[]"), ("a = 'q' or n = 5", "5"), ("a = 'q' and n = 5", '"x"')],
)  # fmt: skip
def test_what_may_be_written_or_fail_in_another_way_is_decoded(condition: str, value: str) -> None:
    field = condition[0] if "n" not in condition else "n"
    for name in (field, f"\\u{ord(field):04x}"):
        record = f'{{"{name}":{value}}}'.encode()
        assert_nothing_changes(condition, [FIRST, record, b'{"a":"y"}', record], [1, 3])


@pytest.mark.parametrize("other", [b'{"A": "y"}', b'{"a": "y", "A": 5}'])
def test_a_field_in_another_case_is_refused_all_the_same(other: bytes) -> None:
    """From then on no record can be asked: SQL does not tell the two apart."""
    records = [FIRST, b'{"a": "y"}', other, b'{"a": "z"}', b'{"a": "y"}']
    assert_nothing_changes("a = 'x'", records, [1, 4])


@pytest.mark.parametrize(
    ("condition", "records"),
    [("n = 'bob'", ['{"n": 5}', '{"n": 6}']), ("n = 'bob'", ['{"n": "y"}']),
     ("b = 'x'", ['{"b": "y"}']), ("b = 'x'", ['{"B": "y"}'])],
)  # fmt: skip
def test_what_the_records_never_had_is_told_at_the_end(condition: str, records: list[str]) -> None:
    """A text that is compared with numbers only, and a field that none has, are slips."""
    assert_nothing_changes(condition, [FIRST, *map(str.encode, records)], [1])


def test_a_condition_that_could_be_asked_of_no_record_is_refused_as_early_as_without() -> None:
    text = b'{"n": "x"}'
    assert_nothing_changes("n = 5", [*[text] * 60, b'{"n": 6}', *[text] * 50], [60])


@pytest.mark.parametrize(
    ("condition", "records", "left"),
    [("n = 5", ['{"n": 5}', '{"n": 6}', '{"n": 5.0}', '{"n": "x"}', '{"a": "5"}', "{"], [0, 2, 3]),
     ("a = 'x'", ['{"a": "x"}', '{"a":"y","b":"x"}', r'{"a": "\u0078"}', '{"a": "\\n"}', '{"a": 1}'], [0, 2, 4]),
     ("a like '%b/_c%'", ['{"a": "ab/xcd"}', r'{"a": "b\/xc"}', '{"a": "b", "n": 7}'], [0, 1]),
     ("a in ('x', 'y') and n = 5", ['{"a": "x", "n": 6}', '{"a": "y", "n": 5}', '{"n": 5}'], [1, 2]),
     ("a = 'x' or n = 5", ['{"a": "x"}', '{"n": 5}', '{"a": "z", "n": 6}'], [0, 1]),
     ("a = 'é'", ['{"a": "é"}', r'{"a": "\u00e9"}', '{"a": "e"}'], [0, 1])],
)  # fmt: skip
def test_only_what_may_fulfil_a_condition_is_decoded(
    condition: str, records: list[str], left: list[int]
) -> None:
    each, module = EachRecord(Where(condition)), find_decoder("json")
    raw = raw_batch([line.encode() for line in records])
    assert each.narrow(raw, module)[0] is raw  # nothing is known of the fields yet
    each.rows(raw_batch([FIRST]), module)
    part, rows = each.narrow(raw, module)
    assert (part["offset"].to_pylist(), rows.tolist()) == (left, left)


@pytest.mark.parametrize(
    "condition",
    ["a != 'x'", "not a = 'x'", "a ilike 'x'", "lower(a) = 'x'", "a.b = 'x'", "a is null or a = 'x'", "n > 5",
     "n = 5.0", "n = 1234567890123456", "a = b", "a::int = 5", "_key = 'x'", "a = 'x' and n > 5",
     "a = 'x' or header('h') = 'x'", "a = (select 'x')", "a in (select 'x')", "a = 'a\"b'", "n in (5, '5')"],
)  # fmt: skip
def test_of_other_conditions_every_record_is_decoded(condition: str) -> None:
    assert Where(condition).needles is None


@pytest.mark.parametrize("decode", ["text", "raw"])
def test_of_what_is_no_json_every_record_is_decoded(decode: str) -> None:
    each, module = EachRecord(Where("text = 'x'")), find_decoder(decode)
    each.rows(raw_batch([b"x", b"y"]), module)
    raw = raw_batch([b"y", b"x"])
    assert each.narrow(raw, module)[0] is raw
