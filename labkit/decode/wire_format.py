"""Confluent's wire format: which schema a record was written with. Pure.

In front of the record are a zero byte and four bytes of a schema's id. Newer serialisers leave the
record as it is and put a one and the sixteen bytes of the schema's GUID (or a zero and an id) into
a header; that header in front of the record is the same format.
"""

from __future__ import annotations

import uuid
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

HEAD, GUID_HEAD = 5, 17  # a zero and the id; a one and the GUID
HEADERS = {"value": "__value_schema_id", "key": "__key_schema_id"}
SchemaId: TypeAlias = "int | str"


def is_framed(value: bytes) -> bool:
    """Tell whether a value may be of Confluent's wire format.

    Of Avro a record without fields has no more bytes.
    """
    return len(value) >= HEAD and (value[0] == 0 or (value[0] == 1 and len(value) >= GUID_HEAD))


def head_size(value: bytes) -> int:
    """Return how many bytes of a framed value name its schema."""
    return GUID_HEAD if value[0] else HEAD


def schema_id(value: bytes) -> SchemaId:
    """Return the id of a framed value's schema, or its GUID as text."""
    return (
        str(uuid.UUID(bytes=value[1:GUID_HEAD]))
        if value[0]
        else int.from_bytes(value[1:HEAD], "big")
    )


def with_header_ids(batch: pa.RecordBatch, column: str) -> pa.Array:
    """Return a batch's values or keys, with the schema ids of their headers in front.

    The first such header counts.
    """
    values, headers = batch.column(column), batch.column("headers")
    entries = headers.flatten()
    name = HEADERS[column]
    if not len(entries) or not pc.any(pc.equal(entries.flatten()[0], name)).as_py():
        return values
    framed = []
    for value, pairs in zip(values.to_pylist(), headers.to_pylist(), strict=True):
        head = next((header["value"] for header in pairs or () if header["key"] == name), None)
        framed.append(value if value is None or not head else head + value)
    return pa.array(framed, values.type)
