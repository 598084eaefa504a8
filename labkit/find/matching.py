"""Which records have a text, or match a regular expression.

The answer is exact, and a record is decoded only where that can matter. A literal is looked for in
the values' bytes first. A JSON text may hold it escaped (``\\u00e9``, ``\\n``), so a value with a
backslash is taken apart before it is left out. A regular expression is Python's own, asked of
texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import did_you_mean, typed
from labkit.decode.decoder import Decoder
from labkit.errors import UsageError
from labkit.profile.fields import parts_of, quote_name, walk
from labkit.tables.arrow import decimal_texts, is_bytes, is_text
from labkit.tables.nested import list_owners

PLACES = ("value", "key", "headers")


@dataclass(frozen=True)
class Needle:
    """What is looked for, and where.

    Attributes
    ----------
    what : str or re.Pattern
    field : str, optional
        Only in this field of the value: a name, or a path such as ``"author.name"`` or
        ``"tags[]"``.
    places : tuple of str
        Of "value", "key" and "headers", where no field is given.
    seen : set of str
        The fields of the records that were decoded.
    """

    what: str | re.Pattern[str]
    field: str | None
    places: tuple[str, ...]

    seen: set[str] = dataclass_field(default_factory=set, compare=False)

    @classmethod
    def of(cls, what: Any, field: str | None, places: str | Sequence[str]) -> Needle:
        """Return a needle of what a user wrote.

        Raises
        ------
        UsageError
            When it is neither a text nor a pattern, is empty, or the places are not known ones.
        """
        if isinstance(what, re.Pattern):
            if not isinstance(what.pattern, str):
                raise UsageError(
                    "the pattern must be of text, not of bytes", hint='write re.compile(r"…")'
                )
        elif not isinstance(what, str) or not what:
            raise UsageError(
                f"what to find must be a text of at least one character or re.compile(…), not {what!r}",
                hint='such as w.find("kafka streams")',
            )
        names = (places,) if isinstance(places, str) else tuple(places)
        if not names or set(names) - set(PLACES):
            near = "".join(did_you_mean(str(name), PLACES) for name in names if name not in PLACES)
            raise UsageError(
                f"in_ must name some of {', '.join(map(repr, PLACES))}, not {places!r}",
                hint=f'{near}such as in_=("key",)',
            )
        if field is not None and names != ("value",):
            raise UsageError(
                "field= is a field of the value: in_ must be 'value' then",
                hint="leave one of them out",
            )
        return cls(what, field, names)

    def rows(self, raw: pa.RecordBatch, decoder: Decoder) -> np.ndarray:
        """Return the rows of a raw batch that have it.

        Parameters
        ----------
        raw : RecordBatch
            Of `RAW_SCHEMA`.
        decoder : Decoder
            Of the values, for a field and for values that are no JSON or text.
        """
        if self.field is not None:
            return np.flatnonzero(self._in_fields(raw, decoder, self.field))
        hits = np.zeros(raw.num_rows, bool)
        if "value" in self.places:
            hits |= self._in_values(raw, decoder)
        if "key" in self.places:
            hits |= self._in_bytes(raw.column("key"))
        if "headers" in self.places:
            hits |= self._in_headers(raw.column("headers"))
        return np.flatnonzero(hits)

    def learn_fields(self, raw: pa.RecordBatch, decoder: Decoder) -> None:
        """Decode some records to see which fields there are."""
        parsed = decoder.parse_batch(raw)
        self.seen.update(
            path for path, _, _ in _leaves(decoder.columns(parsed, decoder.unify([parsed.schema])))
        )

    # where -----------------------------------------------------------------------------------------------

    def _in_values(self, raw: pa.RecordBatch, decoder: Decoder) -> np.ndarray:
        values = raw.column("value")
        hits = self._in_bytes(values)
        if _is_text(decoder):
            rest = np.flatnonzero(~hits & _has_escape(values))
            for row in rest:
                texts = _texts_within(values[int(row)].as_py())
                hits[row] = any(map(self._matches, texts))
            return hits
        hits |= self._in_fields(raw, decoder, None)
        return hits

    def _in_headers(self, headers: pa.Array) -> np.ndarray:
        hits = np.zeros(len(headers), bool)
        entries = headers.flatten()
        owners = list_owners(headers)
        for column in (entries.field("key").cast(pa.binary()), entries.field("value")):
            hits[owners[self._in_bytes(column)]] = True
        return hits

    def _in_fields(self, raw: pa.RecordBatch, decoder: Decoder, path: str | None) -> np.ndarray:
        """Decode what may have it, and look in one field or in all."""
        hits = np.zeros(raw.num_rows, bool)
        rows = self._candidates(raw.column("value")) if _is_text(decoder) else np.arange(len(hits))
        if not len(rows):
            return hits
        part = raw.take(pa.array(rows)) if len(rows) < raw.num_rows else raw
        parsed = decoder.parse_batch(part)
        kinds = decoder.kinds(parsed, () if path is None else parts_of(path)[0][:1])
        if kinds is None:
            hits[rows[self._in_parsed(part.num_rows, parsed, decoder, path)]] = True
            return hits
        for kind in np.unique(kinds):  # an object here is text beside one that is
            places, own = np.flatnonzero(kinds == kind), decoder.anew()
            parsed = own.parse_batch(part.take(pa.array(places)))
            hits[rows[places[self._in_parsed(len(places), parsed, own, path)]]] = True
        return hits

    def _in_parsed(self, count: int, parsed: Any, decoder: Decoder, path: str | None) -> np.ndarray:
        """Return the rows of a parsed batch that have it in a field, or in any."""
        hits = np.zeros(count, bool)
        table = decoder.columns(parsed, decoder.unify([parsed.schema]))
        for own, array, owners in _leaves(table):
            self.seen.add(own)
            if path is not None and own != path and not own.startswith((f"{path}.", f"{path}[")):
                continue
            if pa.types.is_nested(array.type):
                continue
            hits[owners[self._in_texts(array)]] = True
        return hits

    def _candidates(self, values: pa.Array) -> np.ndarray:
        """Return the rows whose value may have the text in one of its fields."""
        if isinstance(self.what, re.Pattern) or not _is_plain(self.what):
            return np.flatnonzero(np.asarray(pc.is_valid(values)))
        return np.flatnonzero(self._in_bytes(values) | _has_escape(values))

    # what ------------------------------------------------------------------------------------------------

    def _in_bytes(self, column: pa.Array) -> np.ndarray:
        if isinstance(self.what, str):
            return _true(pc.match_substring(column, self.what.encode()))
        texts = (
            value is not None and self._matches(value.decode("utf-8", "replace"))
            for value in column.to_pylist()
        )
        return np.fromiter(texts, bool, len(column))

    def _in_texts(self, array: pa.Array) -> np.ndarray:
        """Look in a decoded column; other values are searched as the text that JSON writes."""
        kind = array.type
        if is_bytes(kind):
            return self._in_bytes(array.cast(pa.binary()))
        if pa.types.is_null(kind):
            return np.zeros(len(array), bool)
        if pa.types.is_decimal(kind):
            texts = decimal_texts(array)
        else:
            texts = array if is_text(kind) else array.cast(pa.string())
        if isinstance(self.what, str):
            return _true(pc.match_substring(texts, self.what))
        return np.fromiter(
            (text is not None and self._matches(text) for text in texts.to_pylist()),
            bool,
            len(texts),
        )

    @property
    def in_any_case(self) -> str:
        """How its text is found in upper and lower case; empty where they do not differ."""
        if not isinstance(self.what, str) or self.what.swapcase() == self.what:
            return ""
        pattern = re.escape(self.what).replace("\\ ", " ")
        return typed(f"re.compile({pattern!r}, re.I)", "--ignore-case")

    def _matches(self, text: str) -> bool:
        return (
            self.what in text if isinstance(self.what, str) else self.what.search(text) is not None
        )


def _leaves(table: pa.Table) -> Iterator[tuple[str, pa.Array, np.ndarray]]:
    """Yield the columns and what is within them, each with its path and its values' rows."""
    rows = np.arange(table.num_rows)
    for name, column in zip(table.schema.names, table.columns, strict=True):
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        yield from walk(quote_name(name), array, rows)


def _is_text(decoder: Decoder) -> bool:
    """Tell whether a value's bytes are searched before it is decoded."""
    return bool(decoder.parts[0].keeps_text)


def _is_plain(text: str) -> bool:
    """Tell whether a decoded field that has `text` also has it in its bytes.

    Its bytes may have escapes. A number is shown with a spelling of its own (``1e3`` becomes
    ``1000.0``), so digits and signs alone decide nothing.
    """
    return any(char.isalpha() and char not in "eEtrufalsn" for char in text)


def _has_escape(values: pa.Array) -> np.ndarray:
    return _true(pc.match_substring(values, b"\\"))


def _texts_within(value: bytes) -> list[str]:
    """Return the texts within a JSON value, names too, without escapes.

    None for what is not JSON.
    """
    parts: list[str] = []
    with suppress(orjson.JSONDecodeError):
        _collect(orjson.loads(value), parts)
    return parts


def _collect(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            parts.append(name)
            _collect(inner, parts)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, parts)


def _true(mask: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(mask, False))
