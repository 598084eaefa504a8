"""What is JSON and what is not, case by case, in the manner of JSONTestSuite (RFC 8259)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labkit.decode.json import Json

REFUSED = [
    b"", b" ", b"{", b"}", b"[", b"]", b"1", b'"x"', b"null", b"true", b"[1]", b"{}{}", b"{} {}", b'{"a":1} {"a":2}',
    b'{"a":1}x', b'{"a":1},', b'{"a":1}]', b'{"a":1}}', b'{"a":1', b'{"a":[1}', b'{"a":{"b":1]}', b'{"a":1,}', b"{,}",
    b'{"a"}', b'{"a":}', b'{"a":,}', b"{:1}", b'{"a"::1}', b'{"a":1 "b":2}', b'{"a":1;"b":2}', b'{"a":1,,"b":2}',
    b"{a:1}", b"{'a':1}", b"{1:1}", b"{null:1}", b"{true:1}", b'{"a":01}', b'{"a":-01}', b'{"a":00}', b'{"a":+1}',
    b'{"a":1.}', b'{"a":.5}', b'{"a":-.5}', b'{"a":-}', b'{"a":--1}', b'{"a":1e}', b'{"a":1e+}', b'{"a":1.5.5}',
    b'{"a":0x1F}', b'{"a":1_000}', b'{"a":1,000}', b'{"a":NaN}', b'{"a":nan}', b'{"a":Infinity}', b'{"a":-Infinity}',
    b'{"a":Inf}', b'{"a":-Inf}', b'{"a":inf}', b'{"a":1e400}', b'{"a":-1e400}', b'{"a":undefined}', b'{"a":True}',
    b'{"a":nul}', b'{"a":tru}', b'{"a":TRUE}', b'{"a":truefalse}', b'{"a":"x}', b"{\"a\":'x'}", b'{"a":"\\x41"}',
    b'{"a":"\\u12"}', b'{"a":"\\u12G4"}', b'{"a":"\\"}', b'{"a":"\\a"}', b'{"a":"x\ny"}', b'{"a":"x\ty"}',
    b'{"a":"x\x00y"}', b'{"a":"x\x1fy"}', b'{"a\n":1}', b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xe2\x82"}', b'{"\xff":1}', b'{"a":"\\ud800"}', b'{"a":"\\udc00"}',
    b'{"a":"\\ud800\\ud800"}', b'{"\\ud800":1}', b'\xef\xbb\xbf{"a":1}', '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-16-le"), b'{"a":1/*x*/}', b'{"a":1}//x', b'{"a":1}#', b'\x0c{"a":1}', b'{"a":\x0b1}',
    b'\xc2\xa0{"a":1}', b'{"a":\xe2\x80\xa81}', b'{"a":*}', b'{"a":(1)}', b'{"a":[1,]}', b'{"a":[,1]}', b'{"a":[1 2]}',
    b'{"a":[1:2]}', b'{"a":["x"}', b'{"a":[}', b"{}\x00", b'{"a\\u0000":1}', b"{[]}", b"[{}]", b'{"a":@}', b"\x00{}",
]  # fmt: skip
ACCEPTED: list[tuple[bytes, Any]] = [
    (b"{}", {}),
    (b' {"a":1} ', {"a": 1}),
    (b'\r\n\t{"a":1}\n', {"a": 1}),
    (b'{\n  "a" :\t[\r\n1 ]\n}', {"a": [1]}),
    (b'{"a":0}', {"a": 0}),
    (b'{"a":-0}', {"a": 0}),
    (b'{"a":-0.0}', {"a": -0.0}),
    (b'{"a":1E+2}', {"a": 100.0}),
    (b'{"a":1e-2}', {"a": 0.01}),
    (b'{"a":0e0}', {"a": 0.0}),
    (b'{"a":123e-10000000}', {"a": 0.0}),
    (b'{"a":0.1000000000000000055511151231257827}', {"a": 0.1}),
    (b'{"a":5e-324}', {"a": 5e-324}),
    (b'{"a":1.7976931348623157e308}', {"a": 1.7976931348623157e308}),
    (b'{"a":9223372036854775807}', {"a": 2**63 - 1}),
    (b'{"a":-9223372036854775808}', {"a": -(2**63)}),
    (b'{"a":-9223372036854775809}', {"a": "-9223372036854775809"}),
    (b'{"a":true,"b":false,"c":null}', {"a": True, "b": False, "c": None}),
    (b'{"":1}', {"": 1}),
    (b'{"a":""}', {"a": ""}),
    (b'{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t"}', {"a": '"\\/\b\f\n\r\t'}),
    (b'{"a":"\\u0041\\u00e9\\u20ac"}', {"a": "Aé€"}),
    (b'{"a":"\\uD834\\uDD1E"}', {"a": "𝄞"}),
    (b'{"a":"\\u0000"}', {"a": "\0"}),
    (b'{"a":"\x7f"}', {"a": "\x7f"}),
    ('{"ä":"€𝄞\u2028\ufeff\uffff"}'.encode(), {"ä": "€𝄞\u2028\ufeff\uffff"}),
    (b'{"a":"{} [] , : //"}', {"a": "{} [] , : //"}),
    (b'{"a":"NaN Infinity 12345678901234567890"}', {"a": "NaN Infinity 12345678901234567890"}),
    (b'{"a":[]}', {"a": []}),
    (b'{"a":{}}', {"a": "{}"}),
    (b'{"a":[[],[[]]]}', {"a": [[], [[]]]}),
    (b'{"a":[null,1]}', {"a": [None, 1]}),
    (b'{"a":[null,[null,{"b":null}]]}', {"a": [None, [None, {"b": None}]]}),
    (b'{"a":1,"a":2}', {"a": 2}),
    (b'{"a":"2016-03-01T00:00:00Z"}', {"a": "2016-03-01T00:00:00Z"}),
]
BESIDE = [b'{"a":1}', b'{"a":0.5}', b'{"a":"x"}', b'{"a":{"b":1}}', b'{"a":[1.5]}', b'{"b":1}']


def decoded(batches: list[list[bytes]]) -> tuple[list[dict[str, Any]], list[int]]:
    """Return rows and the numbers of those at fault."""
    decoder = Json()
    parsed = [decoder.parse(pa.array(batch, pa.binary())) for batch in batches]
    schema = decoder.unify([batch.schema for batch in parsed])
    rows = [row for batch in parsed for row in decoder.columns(batch, schema).to_pylist()]
    starts = [sum(map(len, batches[:number])) for number in range(len(batches))]
    return rows, [
        start + row for start, batch in zip(starts, parsed, strict=True) for row in batch.errors
    ]


@pytest.mark.parametrize("record", REFUSED)
def test_what_is_no_json_object_is_refused(record: bytes):
    """Alone, among records of any type, and under types known from an earlier batch."""
    assert decoded([[record]])[1] == [0]
    for source in BESIDE:
        assert decoded([[source, record, source]])[1] == [1]
        assert decoded([[source], [source, record, record, source]])[1] == [2, 3]


def test_no_two_faults_make_up_for_one_another():
    """What is two objects and what is none are not taken for two records together."""
    for pair in (
        [b'{"a":1} {"a":2}', b" "],
        [b'{"a":', b"1}"],
        [b'{"a":1}{"a":2}', b'{"a":{}', b"}"],
        [b'{"a":"', b'"}'],
    ):
        for before in ([], [[b'{"a":1}']]):
            rows, faults = decoded([*before, [*pair, b'{"a":3}']])
            assert faults == [len(before) + row for row in range(len(pair))]
            assert rows[-1]["a"] == 3


@pytest.mark.parametrize(("record", "value"), ACCEPTED)
def test_json_is_taken_as_it_is(record: bytes, value: dict[str, Any]):
    rows, faults = decoded([[record]])
    assert not faults
    assert [row for row in rows if row] == ([value] if value else [])
    name = next(iter(value), "b")
    again, faults = decoded([[b'{"%s":null}' % name.encode()], [record, b"{}", record]])
    assert not faults
    assert again == [
        dict.fromkeys(value or [name]),
        value or {name: None},
        dict.fromkeys(value or [name]),
        value or {name: None},
    ]
