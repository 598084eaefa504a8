"""Confluent's wire format: a zero byte, four bytes of a schema's id, the record. Pure."""

from __future__ import annotations

HEAD = 5  # a zero byte and the id


def framed(value: bytes) -> bool:
    """Tell whether a value may be of Confluent's wire format; of Avro a record without fields has no more bytes."""
    return len(value) >= HEAD and value[0] == 0


def schema_id(value: bytes) -> int:
    """Return the schema's id of a framed value."""
    return int.from_bytes(value[1:5], "big")
