"""A window's decoded records as lines of JSON, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.decode import Spec, both, gathered, notes
from labkit.decode.merge import text, unmapped
from labkit.decode.pipeline import FIRST, LAST, Decoding, condition, decoded
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.replay.sample import sample

if TYPE_CHECKING:
    from labkit.registry import Registry

_META = {*FIRST, *LAST} - {"_error"}


def lines(
    reading: Reading,
    *,
    decode: Spec,
    key_decode: Spec = "raw",
    where: str | None = None,
    registry: Registry | None = None,
) -> tuple[Iterator[str], Callable[[], Receipt]]:
    """Return the lines, and what gives the receipt after the last of them.

    Each line is an object of the record's fields that are not null, decoded keys as ``_key_<field>`` among them, and
    ``_error`` where it could not be decoded. A tombstone has ``"_value": null``. A field has the type it has in its
    batch.
    """
    asked = condition(where)
    module, said, _ = both(decode, key_decode, registry=registry, sample=lambda: sample(reading.cluster, reading.plan))

    decoding = Decoding(reading, module, asked)
    schemas: list[Any] = []

    def write() -> Iterator[str]:
        for batch in decoding:
            schemas[:] = gathered(schemas, batch.schema)
            table = decoded(batch.raw, batch.parsed, module, module.unify([batch.schema]))
            gone = table.column("_value").is_null().to_pylist()
            yield from _json(table.drop_columns([name for name in table.column_names if name in _META]), gone)

    def receipt() -> Receipt:
        found = decoding.whole()
        if schemas:
            module.unify(schemas)  # it notes which fields disagree
        return replace(found, notes=(*found.notes, *said, *notes(module)))

    return write(), receipt


def _json(table: pa.Table, gone: list[bool]) -> Iterator[str]:
    kinds = {one.name: one.type for one in table.schema}
    for row, tombstone in zip(table.to_pylist(), gone, strict=True):
        fields: dict[str, Any] = {
            name: unmapped(value, kinds[name]) for name, value in row.items() if value is not None
        }
        yield text({**fields, "_value": None} if tombstone else fields)
