"""Kafka records as Elasticsearch documents, column by column.

A record's value goes through as the bytes it is: never parsed, joined column-wise into the
request's lines. Its ``_id`` is ``topic-partition-offset``, so loading a record again finds it there
and changes nothing. What is no JSON object becomes a document all the same, tagged as Logstash tags
it (``_jsonparsefailure``; a tombstone ``_tombstone``), with the text in ``message`` and its origin
in ``labkit``. What enrichers add is spliced onto the end of the object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import find_decoder
from labkit.enrich.chain import Added, Chain
from labkit.es.json_append import Fragments, fragments, splice, splice_one
from labkit.es.mappings import IndexName
from labkit.replay.records import join_bytes, replace_rows
from labkit.times import has_date, iso

# one object: a new set of fields is another object
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})
_MORE = "more"
# half of a surrogate pair: Elasticsearch takes it, orjson does not
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_MARK = b"\xef\xbb\xbf"  # U+FEFF in UTF-8, a byte order mark where it is the first


@dataclass(frozen=True)
class Reject:
    """A record that has no document, with where it came from and why.

    Attributes
    ----------
    status : int
        Elasticsearch's; 0 when an enricher's function failed for the record.
    """

    topic: str
    partition: int
    offset: int
    status: int
    type: str
    reason: str
    source: str


@dataclass
class Documents:
    """Documents about to be sent: columns of one length, and the records that will have none.

    Attributes
    ----------
    ids, sources : Array
    origin : RecordBatch
        topic, partition, offset, timestamp, value; ``more``, what was added to each document, where
        something was.
    indices : Array or None
        The index of each, where they do not all go into one.
    rejects : list of Reject
        Records left out.
    fields : mapping
        How the index must have mapped some of their fields before they come.
    """

    ids: pa.StringArray
    sources: pa.BinaryArray
    origin: pa.RecordBatch
    indices: pa.StringArray | None = None
    rejects: list[Reject] = field(default_factory=list)
    fields: Mapping[str, Any] = field(default_factory=lambda: NO_FIELDS)

    def take(self, rows: Iterable[int]) -> Documents:
        """Return some of them."""
        numbers = pa.array(list(rows), pa.int64())
        indices = None if self.indices is None else self.indices.take(numbers)
        columns = (self.ids.take(numbers), self.sources.take(numbers), self.origin.take(numbers))
        return Documents(*columns, indices, fields=self.fields)

    def slice(self, first: int, last: int) -> Documents:
        """Return those from `first` up to `last`, exclusive."""
        count = last - first
        indices = None if self.indices is None else self.indices.slice(first, count)
        columns = (
            self.ids.slice(first, count),
            self.sources.slice(first, count),
            self.origin.slice(first, count),
        )
        return Documents(*columns, indices, fields=self.fields)

    def chunks(self, request_bytes: int) -> list[Documents]:
        """Split into requests of about `request_bytes`."""
        sizes = pc.fill_null(pc.binary_length(self.sources), 0).to_numpy() + 64
        total = np.cumsum(sizes)
        cuts, base = [0], 0
        while len(total) and base < total[-1]:
            cut = max(int(np.searchsorted(total, base + request_bytes, side="right")), cuts[-1] + 1)
            cuts.append(min(cut, len(self)))
            base = int(total[cuts[-1] - 1])
        return [self.slice(first, last) for first, last in pairwise(cuts)]

    def body(self) -> bytes:
        """Return the two lines of each for a bulk request."""
        action = [pa.scalar(b'{"create":{"_id":"', pa.binary())]
        if self.indices is not None:
            action = [
                pa.scalar(b'{"create":{"_index":"', pa.binary()),
                self.indices.cast(pa.binary()),
                pa.scalar(b'","_id":"', pa.binary()),
            ]
        lines = pc.binary_join_element_wise(
            *action,
            self.ids.cast(pa.binary()),
            pa.scalar(b'"}}\n', pa.binary()),
            self.sources,
            pa.scalar(b"\n", pa.binary()),
            pa.scalar(b"", pa.binary()),
        )
        return bytes(join_bytes(lines))

    def __len__(self) -> int:
        return len(self.ids)


def documents(
    batch: pa.RecordBatch,
    chain: Chain | None = None,
    name: IndexName | None = None,
    *,
    more: Sequence[Fragments] = (),
    columns: Callable[[pa.RecordBatch], pa.Table] | None = None,
) -> Documents:
    """Return a raw batch's records as documents.

    Parameters
    ----------
    batch : RecordBatch
    chain : Chain, optional
        Enrichers. A record one of their functions fails for is a reject.
    name : IndexName, optional
        When it is a pattern, each document has an index of its own.
    more : sequence of Fragments
        What else each document gets, a text for each record.
    columns : callable, optional
        Makes columns of the batch, for functions among the enrichers; by default from its JSON.
    """
    topic = batch.column("topic").cast(pa.string())
    numbers = (batch.column(column).cast(pa.string()) for column in ("partition", "offset"))
    ids = pc.binary_join_element_wise(topic, *numbers, "-")
    values = batch.column("value")
    text = bytes(join_bytes(values))
    if b"\n" in text:  # one document, one line; only space in JSON
        values = pc.replace_substring(values, pattern=b"\n", replacement=b" ")
    values = replace_rows(
        values, {row: _stand_in(batch.slice(row, 1)) for row in _unfit(values, text)}
    )
    origin = batch.select(["topic", "partition", "offset", "timestamp", "value"])
    indices = name.of(batch.column("timestamp")) if name is not None and name.dated else None
    if more:  # for stand-ins that are made when Elasticsearch has refused the value
        texts = pc.binary_join_element_wise(
            *(part.texts for part in more), pa.scalar(b"", pa.binary())
        )
        origin = origin.append_column(_MORE, texts)
    added = chain.added_columns(batch, columns or _all_columns) if chain else Added()
    sources = splice(values, [*fragments(added), *more])
    return _without_failures(Documents(ids, sources, origin, indices), added)


def of_records(origins: Sequence[tuple[str, int, int]], sources: pa.BinaryArray) -> Documents:
    """Return `sources` as the documents of records.

    `origins` has each record's topic, partition and offset.
    """
    topics, partitions, offsets = zip(*origins, strict=True)
    origin = pa.RecordBatch.from_pydict(
        {
            "topic": pa.array(topics, pa.string()),
            "partition": pa.array(partitions, pa.int32()),
            "offset": pa.array(offsets, pa.int64()),
            "timestamp": pa.nulls(len(origins), pa.timestamp("ms", tz="UTC")),
            "value": sources,
        }
    )
    return Documents(
        pa.array(["-".join(map(str, origin_parts)) for origin_parts in origins]), sources, origin
    )


def _all_columns(batch: pa.RecordBatch) -> pa.Table:
    """Decode a batch whole, for a function that may read any of its columns."""
    from labkit.decode.table import from_batches

    return from_batches([batch], "json")


def _without_failures(docs: Documents, added: Added) -> Documents:
    if not added.failures:
        return docs
    rejects = [
        _reject_of(docs.slice(row, row + 1), 0, "enrich", reason)
        for row, reason in sorted(added.failures.items())
    ]
    left = docs.take(row for row in range(len(docs)) if row not in added.failures)
    return replace(left, rejects=rejects)


def _reject_of(one: Documents, status: int, kind: str, reason: str) -> Reject:
    origin = one.origin.select(["topic", "partition", "offset", "value"]).to_pylist()[0]
    source = (origin.pop("value") or b"").decode("utf-8", "replace")
    return Reject(**origin, status=status, type=kind, reason=reason, source=source)


def reject_answered(one: Documents, item: dict[str, Any]) -> Reject:
    """Return the reject of a document that Elasticsearch answered with an error."""
    error = item["error"]
    cause = error.get("caused_by", {}).get("reason")
    reason = f"{error.get('reason')}: {cause}" if cause else str(error.get("reason"))
    origin = one.origin.select(["topic", "partition", "offset"]).to_pylist()[0]
    source = one.sources[0].as_py().decode("utf-8", "replace")
    return Reject(
        **origin, status=item["status"], type=str(error.get("type")), reason=reason, source=source
    )


def concat(parts: list[Documents]) -> Documents:
    """Return several as one."""
    indices = [part.indices for part in parts if part.indices is not None]
    return Documents(
        pa.concat_arrays([part.ids for part in parts]),
        pa.concat_arrays([part.sources for part in parts]),
        pa.Table.from_batches([part.origin for part in parts]).combine_chunks().to_batches()[0],
        pa.concat_arrays(indices) if indices else None,
        fields=parts[0].fields,
    )


def _unfit(values: pa.BinaryArray, text: bytes) -> list[int]:
    """Return the rows that cannot pass as they are: null, empty, or not UTF-8.

    `text` has the bytes of all of them. Elasticsearch also reads UTF-16, UTF-32 and a byte order
    mark, keeps such bytes as they are, and then puts them in the middle of its UTF-8 answers.
    """
    unfit = pc.equal(pc.fill_null(pc.binary_length(values), 0), 0)
    # what is nowhere in the batch needs no look at each value: one byte is found ten times as fast
    # as several
    if b"\x00" in text:  # no JSON in UTF-8 has one anywhere; JSON in UTF-16 or UTF-32 has many
        unfit = pc.or_(unfit, pc.fill_null(pc.match_substring(values, b"\x00"), False))
    if _MARK[:1] in text:  # within a text U+FEFF is a character as any other
        unfit = pc.or_(unfit, pc.fill_null(pc.starts_with(values, _MARK), False))
    rows: list[int] = np.flatnonzero(unfit.to_numpy(zero_copy_only=False)).tolist()
    try:
        values.cast(pa.string())
        return rows
    except pa.ArrowInvalid:
        return sorted(
            {
                *rows,
                *(
                    row
                    for row, value in enumerate(values.to_pylist())
                    if value and not _is_utf8(value)
                ),
            }
        )


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _stand_in(origin: pa.RecordBatch) -> bytes:
    """Return the document of a record that is no JSON object."""
    record = origin.select(["topic", "partition", "offset", "value"]).to_pylist()[0]
    stamp = origin.column("timestamp").cast(pa.int64())[0].as_py()
    value = record.pop("value")
    document: dict[str, Any] = (
        {"@timestamp": iso(stamp)} if stamp is not None and has_date(stamp) else {}
    )
    if value is None:
        document |= {"tags": ["_tombstone"], "labkit": record}
    else:
        document |= {
            "message": value.decode("utf-8", "replace"),
            "tags": ["_jsonparsefailure"],
            "labkit": {**record, "error": "the value is not a JSON object"},
        }
    return orjson.dumps(document)


def unparsable(one: Documents) -> Documents | None:
    """Return the stand-in of a document that was refused because it is no JSON object.

    It is None when it is one.
    """
    source = one.sources[0].as_py()
    try:
        if isinstance(orjson.loads(_HALF_PAIR.sub(rb"\\u003f", source)), dict):
            return None
    except orjson.JSONDecodeError:
        pass
    document: bytes | None = _stand_in(one.origin)
    if _MORE in one.origin.schema.names:
        document = splice_one(document, one.origin.column(_MORE).to_pylist())
    return replace(one, sources=pa.array([document], pa.binary()))


def as_stored(batch: pa.RecordBatch, more: Sequence[Fragments] = ()) -> Documents:
    """Return a raw batch's records as an index holds them.

    What is no JSON object has a stand-in.
    """
    docs = documents(batch, more=more)
    odd = {
        row: unparsable(docs.slice(row, row + 1))
        for row in find_decoder("json").parse(docs.sources).errors
    }
    new = {
        row: document.sources[0].as_py() for row, document in odd.items() if document is not None
    }
    return replace(docs, sources=replace_rows(docs.sources, new))
