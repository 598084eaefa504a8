"""Records to fill topics with."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pyarrow as pa

from labkit.replay.records import RAW_SCHEMA

# what a file of text must quote, or could change
ODD_TEXTS = [
    "a\rb",
    "a\nb",
    "a\r\nb",
    'q"uo"te',
    "co,mma",
    "",
    " ",
    "null",
    "=1+1",
    "ä😀",
    "\u2028",
    "'",
]


def read_sample(count: int) -> list[bytes]:
    """Return the first lines of the sample log."""
    with gzip.open(Path(__file__).parents[2] / "data" / "irc-sample.jsonl.gz") as lines:
        return [line.rstrip(b"\n") for line in islice(lines, count)]


def number_records(count: int, start: int = 0) -> list[bytes]:
    """Return values such as ``{"n":0}``, with the numbers from `start` on."""
    return [b'{"n":%d}' % number for number in range(start, start + count)]


def raw_batch(values: list[bytes | None], timestamp: int | None = 0) -> pa.RecordBatch:
    """Return values as records of partition 0 of topic ``t``, as the reader gives them."""
    rows = [
        {
            "topic": "t",
            "partition": 0,
            "offset": offset,
            "timestamp": timestamp,
            "timestamp_type": "CreateTime",
            "value": value,
        }
        for offset, value in enumerate(values)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)
