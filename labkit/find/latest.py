"""The newest record of each key of a window, as a compacted topic would keep it.

Within a partition the record with the highest offset counts. A key that is in several partitions
has one record, the one with the newest time. Rows are dropped as the window is read, so memory
grows with the number of keys, not with that of records.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import did_you_mean, typed
from labkit.decode import notes, open_named
from labkit.decode.pipeline import by_partition
from labkit.decode.schema_files import is_named
from labkit.decode.table import assemble
from labkit.profile.origins import times_of
from labkit.read_spec import ReadSource
from labkit.replay.content_hash import Content
from labkit.replay.reader import BATCH_RECORDS
from labkit.replay.records import RAW_SCHEMA
from labkit.replay.sample import explain_empty
from labkit.sinks.replay import Replay, take_rows
from labkit.sinks.replay_filter import recount
from labkit.waiting import interrupt

_IDENTITY = "identity"  # a column beside those of the records: what is equal for records of one key


@dataclass
class Newest:
    """The newest record of each key in each partition, of the batches so far.

    Parameters
    ----------
    as_json : bool
        Compare keys by what they mean as JSON, whatever the order of members; keys that are no JSON
        by their bytes.
    """

    as_json: bool = False
    keyless: Counter[int] = field(default_factory=Counter)
    _kept: pa.Table = field(
        default_factory=lambda: pa.Table.from_batches([], _schema()), init=False
    )
    _waiting: list[pa.RecordBatch] = field(default_factory=list, init=False)
    _size: int = field(default=0, init=False)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in a batch.

        What is not the newest is forgotten when as many wait as there are keys.
        """
        has_key = batch.column("key").is_valid()
        if not pc.all(has_key).as_py():
            self.keyless += by_partition(
                batch.filter(pc.invert(has_key)).column("partition").to_numpy()
            )
            batch = batch.filter(has_key)
        if not batch.num_rows:
            return
        keys = batch.column("key")
        identity = (
            pa.array(map(_canonical, keys.to_pylist()), pa.binary()) if self.as_json else keys
        )
        wide = pa.table([*batch.columns, identity], schema=_schema())
        self._waiting += take_rows(wide, _newest_rows(wide, by_partition_too=True)).to_batches()
        self._size += self._waiting[-1].num_rows
        if self._size > max(BATCH_RECORDS, len(self._kept)):
            self._forget_older()

    def _forget_older(self) -> None:
        table = pa.concat_tables([self._kept, pa.Table.from_batches(self._waiting, _schema())])
        self._kept = take_rows(table, _newest_rows(table, by_partition_too=True))
        self._waiting = []
        self._size = 0

    def result(self) -> tuple[pa.Table, int, int]:
        """Return one record for each key, by partition and offset, and two counts.

        They are how many keys are in several partitions, and how many ended with a tombstone and
        are left out.
        """
        self._forget_older()
        newest = take_rows(self._kept, _newest_rows(self._kept, by_partition_too=False))
        several = len(self._kept) - len(newest)
        if several:
            counts = self._kept[_IDENTITY].value_counts().field("counts")
            several = pc.sum(pc.greater(counts, 1)).as_py()
        present = newest.filter(newest["value"].is_valid())
        places = pc.sort_indices(
            present, sort_keys=[("partition", "ascending"), ("offset", "ascending")]
        )
        ordered = take_rows(present, places).select(RAW_SCHEMA.names)
        return ordered, int(several), len(newest) - len(present)


def _schema() -> pa.Schema:
    return RAW_SCHEMA.append(pa.field(_IDENTITY, pa.binary()))


def _canonical(key: bytes) -> bytes:
    try:
        return b"json " + orjson.dumps(orjson.loads(key), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return b"bytes " + key


def _newest_rows(table: pa.Table, *, by_partition_too: bool) -> pa.Array:
    """Return the row of each key's newest record.

    It is the newest by offset in each partition, and by time among the partitions.
    """
    if not len(table):
        return pa.array([], pa.int64())
    codes = pa.concat_arrays(
        [
            chunk.indices
            for chunk in table[_IDENTITY].dictionary_encode().unify_dictionaries().chunks
        ]
    ).to_numpy()
    partitions, offsets = table["partition"].to_numpy(), table["offset"].to_numpy()
    if by_partition_too:
        order = np.lexsort((offsets, partitions, codes))
        run = np.stack([codes[order], partitions[order]])
    else:
        order = np.lexsort((offsets, partitions, times_of(table["timestamp"]), codes))
        run = codes[order][np.newaxis]
    is_last = np.append((run[:, 1:] != run[:, :-1]).any(axis=0), True)
    return pa.array(np.sort(order[is_last]))


def latest(source: ReadSource) -> Replay:
    """Return the newest record of each key as a Replay; see `labkit.Window.latest`."""
    reading, (decoder, decoder_notes, _) = source.reading, source.choose_decoder()
    newest = Newest(as_json=open_named(source.spec.key_decode) == "json")
    with interrupt.listen() as cancelled:
        decoder.heed(cancelled)
        for batch in reading.batches(cancelled):
            newest.add(batch)
        records, several, tombstoned = newest.result()
        batches = records.to_batches(max_chunksize=BATCH_RECORDS)
        table = assemble(batches, [decoder.parse_batch(batch) for batch in batches], decoder)
    receipt = reading.receipt()
    read = receipt.read
    receipt = recount(receipt, table, content=Content.of(batches))
    summary = _in_words(read, len(table), several, tombstoned, newest.keyless)
    receipt = receipt.with_notes(*decoder_notes, *notes(decoder), *summary)
    return Replay(
        table, explain_empty(reading.cluster, receipt) if not read else receipt, source.registry
    )


def _in_words(
    read: int, left: int, several: int, tombstoned: int, keyless: Counter[int]
) -> list[str]:
    without_key = keyless.total()
    superseded = read - left - tombstoned - without_key
    lines = [
        f"the newest record of each of {left + tombstoned:,} keys in this window; filtered out are {superseded:,} "
        f"records superseded by a newer one of their key, {tombstoned:,} tombstones (the newest of their key: it is "
        f"deleted) and {without_key:,} records without a key"
    ]
    if several:
        lines.append(
            f"{several:,} keys are in several partitions: of those the record with the newest time counts"
        )
    return lines


def check_key(key: Any) -> None:
    """Refuse what `key` cannot be, before anything is read."""
    from labkit.decode import NAMES
    from labkit.errors import UsageError

    if isinstance(key, int):
        raise UsageError(
            f"key must say how keys are decoded, not {key!r}",
            hint=typed(
                f"lab.window(topic, last={key}) has the newest records",
                f"`labkit tail TOPIC --last {key}` shows the newest records",
            ),
        )
    if isinstance(key, str) and key not in NAMES and not is_named(key):
        query = f'select distinct on ("{key}") * from replay order by "{key}", _timestamp desc'
        raise UsageError(
            f"key must be one of {', '.join(map(repr, NAMES))}, not {key!r}: it says how the records' keys are decoded",
            hint=f"{did_you_mean(key, NAMES)}the newest of each value of a field: "
            + typed(f"w.sql('{query}')", f"`labkit sql TOPIC '{query}'`"),
        )
