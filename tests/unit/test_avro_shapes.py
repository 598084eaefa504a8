"""Any shape of an Avro column comes back equal (issue 20.5).

It goes to Arrow, pandas, polars, DuckDB and Parquet.
"""

from __future__ import annotations

import io
import json
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka.schema_registry import Schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.decode.registry import Binary
from labkit.registry import Registry
from labkit.tables.dataframe import to_pandas
from labkit.tables.duckdb_sql import connect, register
from support.avro import logical_type


class _One(Registry):
    """A registry of one schema, fetched before."""

    def __init__(self, schema: Any) -> None:
        super().__init__({"url": "http://registry.example"})
        self._schema = Schema(json.dumps(schema), "AVRO")

    def schema(self, number: int) -> Any:
        return self._schema


_DAY, _AT = date(2016, 3, 1), datetime(2016, 3, 1, 12, tzinfo=UTC)
_SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", st.integers(-(2**63), 2**63 - 1)),
    ("double", st.floats(allow_nan=False)),
    ("string", st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    ("bytes", st.binary(max_size=4)),
    (logical_type("int", "date"), st.integers(-3000, 3000).map(lambda days: _DAY + timedelta(days=days))),
    (logical_type("long", "timestamp-millis"), st.integers(-(10**9), 10**9).map(lambda s: _AT + timedelta(seconds=s))),
    (logical_type("bytes", "decimal", precision=9, scale=2),
     st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: Decimal(n).scaleb(-2))),
]  # fmt: skip
Kind = tuple[Any, st.SearchStrategy[Any]]


def _with_more(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    """Return what holds such a type: a list, a map, an optional, an object."""

    def array(kind: Kind) -> Kind:
        return {"type": "array", "items": kind[0]}, st.lists(kind[1], max_size=3)

    def mapped(kind: Kind) -> Kind:
        return {"type": "map", "values": kind[0]}, st.dictionaries(
            st.sampled_from("abc"), kind[1], max_size=2
        )

    def optional(kind: Kind) -> Kind:
        if isinstance(kind[0], list):
            return kind
        return ["null", kind[0]], st.none() | kind[1]

    def record(kinds: list[Kind]) -> Kind:
        record_fields = [
            {"name": f"f{number}", "type": kind} for number, (kind, _) in enumerate(kinds)
        ]
        values = st.fixed_dictionaries(
            {f"f{number}": value for number, (_, value) in enumerate(kinds)}
        )
        return {"type": "record", "name": "NAME", "fields": record_fields}, values

    return st.one_of(
        inner.map(array),
        inner.map(mapped),
        inner.map(optional),
        st.lists(inner, min_size=1, max_size=2).map(record),
    )


KINDS = st.recursive(st.sampled_from(_SCALARS), _with_more, max_leaves=4)


def _named(schema: Any, count: list[int]) -> Any:
    """Give each record a name of its own."""
    if isinstance(schema, list):
        return [_named(field_, count) for field_ in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        name: _named(value, count) if name in ("type", "items", "values") else value
        for name, value in schema.items()
    }
    if result.get("name") == "NAME":
        count[0] += 1
        result["name"] = f"R{count[0]}"
        result["fields"] = [
            {**field_, "type": _named(field_["type"], count)} for field_ in result["fields"]
        ]
    return result


@st.composite
def tables(draw: Any) -> tuple[pa.Table, list[Any]]:
    """Draw a column of any shape; return it decoded, with the values that were written."""
    kind, values = draw(KINDS)
    schema = {
        "type": "record",
        "name": "Whole",
        "fields": [{"name": "x", "type": _named(kind, [0])}],
    }
    rows = draw(st.lists(values, min_size=1, max_size=5))
    parsed_schema = fastavro.parse_schema(json.loads(json.dumps(schema)))
    framed = []
    for value in rows:
        into = io.BytesIO()
        fastavro.schemaless_writer(into, parsed_schema, {"x": value})
        framed.append(b"\x00" + struct.pack(">I", 1) + into.getvalue())
    decoder = Binary(_One(schema), "avro")
    parsed = decoder.parse(pa.array([*framed, None], pa.binary()))
    assert parsed.errors == {}
    return decoder.columns(parsed, decoder.unify([parsed.schema])), [*rows, None]


def plain(value: Any) -> Any:
    """Return a value of Arrow's as Python's: a map is a dict, by its keys' order."""
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
        return {key: plain(item) for key, item in sorted(value)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in sorted(value.items())}
    return value


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_avro_column_is_what_was_written_wherever_it_goes(
    given_table: tuple[pa.Table, list[Any]],
) -> None:
    table, rows = given_table
    column = table["x"].to_pylist()
    for value, written in zip(column, rows, strict=True):
        assert _alike(value, written), (value, written)
    assert (
        pa.Table.from_pandas(to_pandas(table), schema=table.schema, preserve_index=False)[
            "x"
        ].to_pylist()
        == column
    )
    into = io.BytesIO()
    pq.write_table(table, into)
    assert pq.read_table(io.BytesIO(into.getvalue()))["x"].to_pylist() == column
    polars = pl.from_arrow(table)
    assert isinstance(polars, pl.DataFrame)
    assert polars.height == len(column)
    with connect() as connection:
        register(connection, "t", table)
        back = connection.sql("select x from t").to_arrow_table()["x"].to_pylist()
    assert [plain(item) for item in back] == [plain(item) for item in column]


def _alike(found: Any, written: Any) -> bool:
    if isinstance(written, dict) and isinstance(found, list):
        return dict(found).keys() == written.keys() and all(
            _alike(dict(found)[key], written[key]) for key in written
        )
    if isinstance(written, dict):
        return bool(found.keys() == written.keys()) and all(
            _alike(found[key], written[key]) for key in written
        )
    if isinstance(written, list):
        return len(found) == len(written) and all(map(_alike, found, written))
    return bool(found == written)
