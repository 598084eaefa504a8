"""Enrichers that change fields, in tables and in documents.

Debezium's and Connect's envelopes are unwrapped, fields renamed and dropped.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from labkit import enrich
from labkit.decode.table import from_batches
from labkit.enrich import Chain
from labkit.errors import UsageError
from labkit.es.encode import Encoder
from labkit.es.form import Form
from labkit.replay.records import RAW_SCHEMA
from support.records import raw_batch

AT_MS, SEEN_MS = 1_456_833_600_000, 1_456_833_600_250
AT, SEEN = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (AT_MS, SEEN_MS))
ADA = {"id": 1, "name": "Ada", "email": "ada@example.org"}
RENAMED = {**ADA, "name": "Ada L."}
SCHEMA = {
    "type": "struct",
    "optional": False,
    "name": "shop.public.customers.Envelope",
    "fields": [],
}


def envelope(op: str, before: Any, after: Any, **source: Any) -> dict[str, Any]:
    """Return an envelope as Debezium 2 writes it for PostgreSQL."""
    return {
        "before": before,
        "after": after,
        "source": {
            "version": "2.7.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": AT_MS, "snapshot": "false",
            "db": "shop", "sequence": '["1","2"]', "schema": "public", "table": "customers", "txId": 7, "lsn": 99,
            "xmin": None, **source,
        },
        "op": op,
        "ts_ms": SEEN_MS,
        "transaction": None,
    }  # fmt: skip


ENVELOPES: list[Any] = [
    envelope("r", None, ADA, snapshot="last"),
    envelope("c", None, {**ADA, "id": 2}),
    envelope("u", ADA, RENAMED),
    envelope("d", RENAMED, None),
    None,
]
ROWS = [
    (1, "Ada", "r", False), (2, "Ada", "c", False), (1, "Ada L.", "u", False), (1, "Ada L.", "d", True),
    (None, None, None, True),
]  # fmt: skip


def raw(values: list[Any]) -> pa.RecordBatch:
    rows = [
        {"topic": "t", "partition": 0, "offset": n, "timestamp": AT_MS, "timestamp_type": "CreateTime",
         "value": None if value is None else json.dumps(value).encode()}
        for n, value in enumerate(values)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)


def table(values: list[Any], *enrichers: Any) -> pa.Table:
    return Chain(enrichers).table(from_batches([raw(values)], "json"))


def documents(values: list[Any], *enrichers: Any) -> list[dict[str, Any]]:
    docs = Encoder(chain=Chain(enrichers)).of_raw(raw(values))
    assert not docs.rejects
    return [json.loads(source) for source in docs.sources.to_pylist()]


def wrapped(values: list[Any]) -> list[Any]:
    return [None if value is None else {"schema": SCHEMA, "payload": value} for value in values]


@pytest.mark.parametrize("values", [ENVELOPES, wrapped(ENVELOPES), [*wrapped(ENVELOPES)[:2], *ENVELOPES[2:]]],
                         ids=["plain", "wrapped", "mixed"])  # fmt: skip
def test_debezium_becomes_the_rows_and_what_became_of_them(values: list[Any]) -> None:
    table_ = table(values, enrich.unwrap("debezium"))
    assert [name for name in table_.column_names if not name.startswith("_")] == [
        "email",
        "id",
        "name",
    ]
    rows = table_.to_pylist()
    assert [(row["id"], row["name"], row["__op"], row["__deleted"]) for row in rows] == ROWS
    assert [row["__source_time"] for row in rows] == [AT] * 4 + [None]
    assert [row["__time"] for row in rows] == [SEEN] * 4 + [None]
    assert [row["__table"] for row in rows] == ["customers"] * 4 + [None]
    assert table_.column_names[:5] == ["_topic", "_partition", "_offset", "_timestamp", "email"]
    assert table_.column_names[-5:] == ["_timestamp_type", "_key", "_headers", "_value", "_error"]


def test_a_field_that_only_a_delete_has_and_one_that_changed_its_type_are_kept() -> None:
    values = [
        envelope("c", None, {"id": 1, "n": 5}),
        envelope("d", {"id": 2, "n": "x", "old": True}, None),
    ]
    rows = table(values, enrich.unwrap("debezium")).to_pylist()
    assert [(row["id"], row["n"], row["old"]) for row in rows] == [(1, "5", None), (2, "x", True)]


def test_deletes_alone_and_tombstones_alone() -> None:
    assert table([envelope("d", ADA, None)], enrich.unwrap("debezium"))["name"].to_pylist() == [
        "Ada"
    ]
    assert table([None], enrich.unwrap("debezium")).num_rows == 1


def test_records_that_are_no_envelopes_keep_their_fields() -> None:
    rows = table(
        [ENVELOPES[0], {"heartbeat": 3, "id": "own"}], enrich.unwrap("debezium")
    ).to_pylist()
    assert [(row["id"], row["id_"], row["heartbeat"]) for row in rows] == [
        (1, None, None),
        (None, "own", 3),
    ]
    with pytest.raises(UsageError, match=r"no record has an op\nHint: there is: nick"):
        table([{"nick": "ada"}], enrich.unwrap("debezium"))


def test_connects_payload_becomes_the_fields() -> None:
    rows = table(
        [*wrapped([ADA, {"id": 2}]), {"id": 3}, None], enrich.unwrap("connect")
    ).to_pylist()
    assert [(row["id"], row["name"]) for row in rows] == [
        (1, "Ada"),
        (2, None),
        (3, None),
        (None, None),
    ]
    assert "schema" not in rows[0]
    assert table(wrapped(["just text"]), enrich.unwrap("connect"))["payload"].to_pylist() == [
        "just text"
    ]
    with pytest.raises(UsageError, match="no record has a payload"):
        table([ADA], enrich.unwrap("connect"))


def test_documents_are_the_rows_too_whatever_the_batch() -> None:
    chain = [enrich.unwrap("debezium"), enrich.drop(["email"]), enrich.rename({"name": "called"})]
    rows = documents(ENVELOPES, *chain, enrich.parse("called", r"(?P<first>\w+)"))
    assert [entry.get("called") for entry in rows] == ["Ada", "Ada", "Ada L.", "Ada L.", None]
    assert rows[2]["first"] == "Ada"
    assert rows[0]["__source_time"] == "2016-03-01T12:00:00.000Z"
    assert not {"before", "after", "source", "op", "email", "name"} & set(rows[0])
    assert documents([{"nick": "ada"}], enrich.unwrap("debezium"))[0]["nick"] == "ada"


def test_a_change_after_what_adds_fields_is_refused_for_documents() -> None:
    with pytest.raises(UsageError, match="must come before what adds fields"):
        documents([ADA], enrich.parse("name", r"(?P<first>\w+)"), enrich.drop(["email"]))


def test_fields_are_renamed_and_dropped_also_within_objects() -> None:
    values = [{"_id": 1, "user": {"name": "ada", "ip": {"v4": "x", "v6": "y"}}, "a": 1}]
    rows = table(values, enrich.rename({"_id": "order_id", "a": "b"}), enrich.drop(["user.ip.v4"]))
    row = rows.to_pylist()[0]
    assert (row["order_id"], row["b"], row["user"]) == (1, 1, {"name": "ada", "ip": {"v6": "y"}})
    assert table([{"a": 1, "b": 2}], enrich.rename({"a": "b", "b": "a"})).to_pylist()[0]["a"] == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: enrich.unwrap("debezum"), "must be 'debezium' or 'connect', not 'debezum'"),
        (lambda: enrich.rename({}), "rename takes a dict"),
        (
            lambda: enrich.rename({"a": "_value"}),
            "'_value' is metadata, not a field of the records",
        ),
        (lambda: enrich.drop([]), "drop takes names"),
        (lambda: enrich.drop(["_offset"]), "'_offset' is metadata, not a field of the records"),
        (
            lambda: table([{"u": {"name": 1}}], enrich.rename({"u.name": "name"})),
            "rename takes whole fields",
        ),
        (
            lambda: table([{"a": 1, "b": 2}], enrich.rename({"a": "b"})),
            "there is a field 'b' already",
        ),
        (lambda: table([{"name": 1}], enrich.drop(["nane"])), "did you mean 'name'?"),
        (
            lambda: table([{"u": {"name": 1}}], enrich.drop(["u.nane"])),
            "there is no field 'u.nane'",
        ),
        (lambda: enrich.named("unwrap:"), "write geoip:FIELD"),
    ],
)
def test_what_cannot_be_is_said(make: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert message in str(caught.value)


def test_the_command_line_names_them() -> None:
    assert enrich.named("unwrap:debezium") == enrich.unwrap("debezium")
    assert enrich.named("drop:_id,source.db") == enrich.drop(["_id", "source.db"])
    assert enrich.named("rename:_id=order_id,a=b") == enrich.rename({"_id": "order_id", "a": "b"})


# one odd record among others ------------------------------------------------------------------------------


def test_one_odd_record_takes_no_others_fields() -> None:
    """Beside one text a batch's rows are texts: all of them lost their fields, without a word."""
    odd = {"op": "c", "after": "text", "source": 5, "ts_ms": "yesterday"}
    mongo = {**envelope("c", None, None), "after": json.dumps({"id": 9, "name": "Eve"})}
    values = [*ENVELOPES, odd, mongo, {**envelope("c", None, ADA), "ts_ms": 0.5}]
    raw = raw_batch([None if value is None else json.dumps(value).encode() for value in values])
    docs = Encoder(chain=Chain([enrich.unwrap("debezium")])).of_raw(raw)
    assert [(one.offset, one.reason[:7]) for one in docs.rejects] == [(5, "after: ")]
    sources = [json.loads(source) for source in docs.sources.to_pylist()]
    names = [source.get("name") for source in sources]
    assert names == ["Ada", "Ada", "Ada L.", "Ada L.", None, "Eve", "Ada"]
    assert sources[0]["__time"] == "2016-03-01T12:00:00.250Z"
    assert "__time" not in sources[6]
    batch = from_batches([raw], "json")
    table = Chain([enrich.unwrap("debezium")]).table(batch)
    assert [row["name"] for row in table.select(["name"]).to_pylist()][5:] == [None, "Eve", "Ada"]
    assert table["_error"].to_pylist()[5].startswith("after: ")


@pytest.mark.parametrize(
    "values",
    [
        [{"user": {"id": 1, "mail": "SECRET"}}, {"user": "odd"}],
        [{"user": [{"id": 1, "mail": "SECRET"}, {"mail": None}]}, {"user": []}],
        [{"user": [{"id": 1, "mail": "SECRET"}]}, {"user": {"mail": "SECRET", "id": 2}}],
    ],
    ids=["beside a text", "in a list", "in a list beside an object"],
)
def test_a_field_that_is_dropped_is_nowhere(values: list[Any]) -> None:
    """Of objects in lists, and of all beside one odd record, it stayed in the documents."""
    raw = raw_batch([json.dumps(value).encode() for value in values])
    docs = Encoder(chain=Chain([enrich.drop(["user.mail"])])).of_raw(raw)
    assert len(docs) == len(values)
    assert not [source for source in docs.sources.to_pylist() if b"SECRET" in source]
    assert b"1" in docs.sources[0].as_py()


ODD = [{"id": n, "user": {"name": f"u{n}"}, "total": n + 0.5} for n in range(3)]
ODD += [
    {"id": 3, "user": "odd", "total": 2**60 + 1},
    {"id": 4, "user": {"name": 7}, "total": "n/a"},
]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_documents_keep_the_types_of_their_own_record(size: int) -> None:
    """One odd record made texts of the objects and numbers of its whole batch, and only there."""
    encoder = Encoder(chain=Chain([enrich.rename({"id": "key"})]))
    lines = [json.dumps(row).encode() for row in ODD]
    documents = []
    for start in range(0, len(lines), size):
        docs = encoder.of_raw(raw_batch(lines[start : start + size]))
        documents += map(json.loads, docs.sources.to_pylist())
    assert documents == [
        {"key": row["id"], **{name: row[name] for name in row if name != "id"}} for row in ODD
    ]
    assert encoder.fields["total"] == {"type": "double"}


@pytest.mark.parametrize("size", [1, 2, 6])
def test_rows_that_are_texts_become_documents_of_their_own_types(size: int) -> None:
    """MongoDB's: a price that is a text once was one in all documents of its batch."""
    encoder = Encoder(chain=Chain([enrich.unwrap("debezium"), enrich.rename({"id": "key"})]))
    events = [{"op": "c", "after": json.dumps(row)} for row in ODD] + [{"op": "c", "after": "odd"}]
    lines = [json.dumps(event).encode() for event in events]
    documents, rejects = [], []
    for start in range(0, len(lines), size):
        docs = encoder.of_raw(raw_batch(lines[start : start + size]))
        documents += map(json.loads, docs.sources.to_pylist())
        rejects += docs.rejects
    rows = [{"key": row["id"], **{name: row[name] for name in row if name != "id"}} for row in ODD]
    assert [{name: document[name] for name in rows[0]} for document in documents] == rows
    assert [reject.reason.partition(":")[0] for reject in rejects] == ["after"]


def test_records_of_the_sample_are_counted_once_in_notes() -> None:
    """A load had counted 4 numbers and 2 texts of a window of three records.

    Renamed JSON keeps its own types, so its receipt says nothing of them.
    """
    batch = raw_batch([b'{"n":1}', b'{"n":2}', b'{"n":"x"}'])
    form = Form("json", "text").settle(lambda: [batch], None)
    encoder = Encoder(form, chain=Chain([enrich.rename({"n": "m"})]))
    encoder.of_raw(batch)
    (note,) = encoder.decoder.disagreements.values()
    assert note.startswith("field n: 2 numbers, 1 text → text")
    assert encoder.notes == ()
