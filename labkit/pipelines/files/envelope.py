"""Take a line of JSON that holds a whole record apart: ``to_jsonl(path, envelope=True)`` writes it.

It has key, value, headers (a list of key and value, in their order) and timestamp (ISO 8601). A key
or value is text, or ``{"base64": "…"}``, or null. Topic, partition and offset say where the record
was; it gets new ones.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import orjson

from labkit.pipelines.delivery import kafka_ms

HINT = 'to_jsonl(path, envelope=True) and `labkit replay -o FILE.jsonl --envelope` write such lines; of others the ' \
    "whole line is the value: leave --envelope out"  # fmt: skip


@dataclass(frozen=True)
class Envelope:
    """A record and its time.

    ``stamp`` is in milliseconds since the epoch, None where the record has no time that Kafka
    takes.
    """

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    stamp: int | None


def open_envelope(line: bytes) -> Envelope:
    """Return the record of a line.

    Raises
    ------
    ValueError
        With the reason, when the line is no envelope.
    """
    try:
        parts = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(parts, dict) or not {"key", "value", "headers", "timestamp"} <= parts.keys():
        raise ValueError("it must be an object with key, value, headers and timestamp")
    headers = parts["headers"]
    if not isinstance(headers, list) or not all(
        isinstance(pair, dict) and _is_header(pair) for pair in headers
    ):
        raise ValueError('headers must be a list of {"key": text, "value": …}')
    pairs = [(pair["key"], _bytes(pair["value"], f"header {pair['key']!r}")) for pair in headers]
    time = parts["timestamp"]
    if not isinstance(time, str | None):
        raise ValueError(f"timestamp must be ISO 8601 text or null, not {time!r}")
    stamp = None if time is None else kafka_ms(time)
    return Envelope(_bytes(parts["key"], "key"), _bytes(parts["value"], "value"), pairs, stamp)


def _is_header(pair: dict[str, Any]) -> bool:
    return pair.keys() == {"key", "value"} and isinstance(pair["key"], str)


def _bytes(value: Any, what: str) -> bytes | None:
    if value is None or isinstance(value, str):
        return None if value is None else value.encode()
    packed = value.get("base64") if isinstance(value, dict) else None
    if not isinstance(packed, str):
        raise ValueError(f'{what} must be text, {{"base64": "…"}} or null')
    try:
        return b64decode(packed, validate=True)
    except ValueError as error:
        raise ValueError(f"{what} is not base64: {error}") from error
