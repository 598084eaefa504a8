"""What is known of each field, added up batch by batch: its types, values and times.

Nested fields have a dotted path. An object is a field (``author``) and so is each of its members
(``author.name``); the items of a list are the field ``tags[]``. A name that has a dot or a bracket
itself is quoted: ``"a.b"``.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.cells import cell
from labkit.profile.origins import NO_TIME, Origins
from labkit.profile.sketches import Distinct, Sample, TopValues, hashes
from labkit.tables.arrow import is_text
from labkit.tables.nested import list_owners, map_entries

MOST_FIELDS = 2_000
# characters: longer texts and bytes are told apart by a prefix and their length when values are
# counted
LONG = 200
Keys: TypeAlias = "Callable[[], np.ndarray]"  # a random number for each value


@dataclass
class FieldStats:
    """One field's account.

    Attributes
    ----------
    path : str
    present : int
        Records that have a value other than null in it.
    values : int
        Values: more than `present` for the items of lists.
    kinds : Counter
        Values by type: boolean, integer, number, text, time, local time (it has no zone), date,
        time of day, duration, decimal, bytes, object, list, map.
    low, high : dict
        The smallest and the largest value, by type; of a list how many items it has.
    first_ms, last_ms : int or None
        The times of the first and the last record that has it.
    example : Any
        The first value of the lowest partition that has one.
    """

    path: str
    present: int = 0
    values: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    low: dict[str, Any] = field(default_factory=dict)
    high: dict[str, Any] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None
    example: Any = None
    numbers: Sample = field(default_factory=Sample)
    _distinct: Distinct = field(default_factory=Distinct)
    _top: TopValues | None = None
    _example_partition: int | None = None

    @property
    def error(self) -> int:
        """How much a count of `top` may be too small."""
        return self._top.error if self._top else 0

    @property
    def exact(self) -> bool:
        """Whether `distinct` and `top` are exact."""
        return self.error == 0

    @property
    def distinct(self) -> int | None:
        """How many distinct values there are; None for objects, lists and maps.

        Where numbers and texts disagree they are texts, as in a table.
        """
        if self._top is None:
            return None
        return self._top.distinct if self.exact else min(self._distinct.estimate(), self.values)

    def top(self, number: int) -> list[tuple[Any, int]]:
        """Return the most frequent values with their counts."""
        return self._top.top(number) if self._top else []

    def counts_by_value(self) -> dict[Any, int]:
        """Return the counts of all values that are kept, by value."""
        if self._top is None:
            return {}
        table = self._top.table()
        return dict(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True))

    def add(self, array: pa.Array, rows: np.ndarray, origins: Origins, shares: Shares) -> None:
        """Add the values of one batch.

        Parameters
        ----------
        array : pyarrow.Array
            One entry for each value, nulls too.
        rows : numpy array
            Each entry's record in the batch, ascending.
        origins : Origins
            Of the batch's records.
        shares : mapping
            How many values of each type a text column has whose values disagree, by its path.
            What is not of these values, as it counts more or fewer, is not used.
        """
        valid = np.asarray(pc.is_valid(array))
        count = int(np.count_nonzero(valid))
        if not count:
            return
        records = rows[valid]
        self.values += count
        self.present += 1 + int(np.count_nonzero(np.diff(records)))
        self._add_times(origins.times[records])
        kind = kind_of(array.type)
        kinds = shares.get(self.path, {}) if kind == "text" else {}
        kinds = kinds if sum(kinds.values()) == count else {kind: count}
        self.kinds.update(kinds)
        # only numbers need keys
        values, keys = array.drop_null(), partial(origins.keys_of_values, records)
        self._choose_example(values, origins.partitions[records])
        self._add_values(kind, values, keys)
        for other in (set(kinds) & {"integer", "number"}) - {kind}:
            self._add_numbers(other, values, keys)

    def _choose_example(self, values: pa.Array, partitions: np.ndarray) -> None:
        place = int(partitions.argmin())
        if self._example_partition is None or partitions[place] < self._example_partition:
            self._example_partition = int(partitions[place])
            self.example = _shorten(values.slice(place, 1))[0].as_py()

    def _add_times(self, times: np.ndarray) -> None:
        dated_times = times[times != NO_TIME]
        if len(dated_times):
            first, last = int(dated_times.min()), int(dated_times.max())
            self.first_ms = first if self.first_ms is None else min(self.first_ms, first)
            self.last_ms = last if self.last_ms is None else max(self.last_ms, last)

    def _add_values(self, kind: str, array: pa.Array, keys: Keys) -> None:
        if kind == "object":
            return
        if kind in ("list", "map"):
            array = distinct = pc.list_value_length(map_entries(array) if kind == "map" else array)
        else:
            values = _plain(_shorten(array))
            self._top = self._top or TopValues(values.type)
            distinct = self._top.count(values)
            self._distinct.add(hashes(distinct))
        self._add_bounds(kind, distinct)
        if kind in ("integer", "number", "decimal", "list", "map"):
            floats = pc.cast(array, pa.float64(), safe=False)
            self.numbers.add(floats.to_numpy(zero_copy_only=False), keys())

    def _add_numbers(self, kind: str, texts: pa.Array, keys: Keys) -> None:
        """Add those of a text column's values that are numbers.

        A text that looks like one is taken for one.
        """
        pattern = (
            r"^-?[0-9]+$"
            if kind == "integer"
            else r"^-?[0-9]+(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)$"
        )
        fits = pc.match_substring_regex(texts, pattern)
        numbers = pc.cast(texts.filter(fits), pa.float64())
        if len(numbers):
            self._add_bounds(kind, numbers)
            self.numbers.add(numbers.to_numpy(zero_copy_only=False), keys()[np.asarray(fits)])

    def _add_bounds(self, kind: str, array: pa.Array) -> None:
        bounds = pc.min_max(array).as_py()
        low, high = bounds["min"], bounds["max"]
        if low is not None:
            self.low[kind] = min(self.low.get(kind, low), low)
            self.high[kind] = max(self.high.get(kind, high), high)


Shares = Mapping[str, Mapping[str, int]]


class Fields:
    """The fields of all records, in the order they were first seen, or that of a table.

    Of more than `MOST_FIELDS` those are known that come first by `_rank`, whatever came first.
    """

    def __init__(self) -> None:
        self.known: dict[str, FieldStats] = {}
        self.left_out: set[str] = set()
        self._ranked: list[tuple[int, str]] = []  # the known ones

    def add(self, table: pa.Table | pa.RecordBatch, origins: Origins, shares: Shares) -> None:
        """Add a batch's columns.

        Parameters
        ----------
        table : pyarrow.Table or RecordBatch
            The records' own fields, one row per record.
        origins, shares
            As `FieldStats.add` takes them.
        """
        rows = np.arange(table.num_rows)
        for name, column in zip(table.schema.names, table.columns, strict=True):
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            for path, leaf, owners in walk(quote_name(name), _undictionary(array), rows):
                if self._knows(path):
                    self.known[path].add(leaf, owners, origins, shares)

    def _knows(self, path: str) -> bool:
        """Tell whether a field is one of the known, a new one too; it may put out another."""
        if path in self.known or path in self.left_out:
            return path in self.known
        self.known[path] = FieldStats(path)
        insort(self._ranked, _rank(path))
        if len(self._ranked) > MOST_FIELDS:
            _, last = self._ranked.pop()
            del self.known[last]
            self.left_out.add(last)
        return path in self.known

    def arrange(self, table: pa.Table) -> None:
        """Bring the fields into the order of a table's columns; what it does not have is last."""
        paths: dict[str, None] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            array = column.combine_chunks()
            paths |= dict.fromkeys(
                path for path, _, _ in walk(quote_name(name), array, np.arange(len(array)))
            )
        paths |= dict.fromkeys(sorted(self.known))
        self.known = {path: self.known[path] for path in paths if path in self.known}


def _rank(path: str) -> tuple[int, str]:
    """Return how deep a field is, and its path.

    It does not depend on the records, so a field that is put out never comes back.
    """
    return len(_PART.findall(path)), path


def quote_name(name: str) -> str:
    """Return a field's name as a part of a path."""
    if name and not any(mark in name for mark in '.[]"'):
        return name
    return '"' + name.replace('"', '""') + '"'


_PART = re.compile(r'"((?:[^"]|"")*)"|([^."\[\]]+)|(\[\])')


def parts_of(path: str) -> tuple[tuple[str, ...], bool, bool]:
    """Return a path's names, whether it is a list's items, and whether it is within such items."""
    parts = _PART.findall(path)
    marks = [bool(mark) for _, _, mark in parts]
    names = tuple(quoted.replace('""', '"') or bare for quoted, bare, mark in parts if not mark)
    items = sum(marks) == 1 and marks[-1]
    return names, items, any(marks) and not items


def kind_of(dtype: pa.DataType) -> str:
    """Return the word for an Arrow type."""
    tests: list[tuple[Callable[[Any], bool], str]] = [
        (pa.types.is_boolean, "boolean"), (pa.types.is_integer, "integer"), (pa.types.is_floating, "number"),
        (pa.types.is_decimal, "decimal"), (_is_local_time, "local time"), (pa.types.is_timestamp, "time"),
        (pa.types.is_date, "date"), (pa.types.is_time, "time of day"),
        (pa.types.is_duration, "duration"), (pa.types.is_struct, "object"), (pa.types.is_map, "map"),
        (pa.types.is_list, "list"), (pa.types.is_large_list, "list"),
        (pa.types.is_binary, "bytes"), (pa.types.is_large_binary, "bytes"), (pa.types.is_fixed_size_binary, "bytes"),
        (pa.types.is_null, "null"),
    ]  # fmt: skip
    return next((word for test, word in tests if test(dtype)), "text")


def _is_local_time(dtype: pa.DataType) -> bool:
    """Return whether these are times without a zone: they have no order among those with one."""
    return bool(pa.types.is_timestamp(dtype) and dtype.tz is None)


def walk(
    path: str, array: pa.Array, rows: np.ndarray
) -> Iterator[tuple[str, pa.Array, np.ndarray]]:
    """Yield a column and all that is within it, each with its path and its entries' records."""
    yield path, array, rows
    if pa.types.is_struct(array.type):
        for member, inner in zip(array.type, array.flatten(), strict=True):
            yield from walk(f"{path}.{quote_name(member.name)}", inner, rows)
    elif pa.types.is_map(array.type):
        entries = map_entries(array)
        yield from walk(f"{path}[]", entries.flatten().flatten()[1], rows[list_owners(entries)])
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from walk(f"{path}[]", array.flatten(), rows[list_owners(array)])


def _undictionary(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _plain(values: pa.Array) -> pa.Array:
    """Return values of a type that can be sorted, grouped and hashed everywhere."""
    if pa.types.is_fixed_size_binary(values.type):
        return values.cast(pa.binary())
    return values


def _shorten(array: pa.Array) -> pa.Array:
    """Return texts cut at `LONG`, with their length in the place of the rest.

    Bytes cut a byte later.
    """
    text = is_text(array.type)
    if not (text or pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        return array
    array = array.cast(pa.string() if text else pa.binary())
    if (pc.max(pc.binary_length(array)).as_py() or 0) <= LONG:
        return array
    if not text:
        return pc.if_else(
            pc.greater(pc.binary_length(array), LONG), pc.binary_slice(array, 0, LONG + 1), array
        )
    lengths = pc.utf8_length(array)
    start, count = pc.utf8_slice_codeunits(array, 0, LONG), pc.cast(lengths, pa.string())
    cut = pc.binary_join_element_wise(start, "… (", count, " characters)", "")
    return pc.if_else(pc.greater(lengths, LONG), cut, array)


def value_cell(value: Any, most: int = LONG) -> str:
    """Return one line for a value.

    Of one that is shortened it tells the whole length, where that is known.
    """
    if isinstance(value, str | bytes) and len(value) > LONG:
        rest = value[LONG:] if isinstance(value, str) else "…"
        return cell(value[: min(most, LONG)]) + rest
    return cell(value, most=most)
