"""Arrow tables as pandas DataFrames."""

from __future__ import annotations

from datetime import UTC, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import UsageError
from labkit.tables.arrow import is_text
from labkit.text.visible import a_type_of
from labkit.times import END_MS, FIRST_MS

if TYPE_CHECKING:
    import pandas as pd

# as Arrow lays it out
_INTERVAL = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
_MOST_DAYS = 106_751_990  # with less than a day beside them they fit in 64 bits of microseconds


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as a DataFrame that keeps null integers integers and times in UTC.

    Numbers are pandas' own and not Arrow-backed, which know no ``%``. A time that no date can hold
    is missing: pandas has room for it, and fails when it is to be shown. Bytes are of the type that
    pandas can sort and choose from when they are more than 2 GiB.
    """
    import pandas as pd

    from labkit.tables.decimal_pandas import DecimalDtype
    from labkit.tables.nested_pandas import NestedDtype

    text = pd.StringDtype("pyarrow", na_value=np.nan)
    own = numbers_dtypes()

    def dtype(kind: pa.DataType) -> Any:
        if pa.types.is_temporal(kind) and not pa.types.is_date(kind) and not pa.types.is_time(kind):
            return None
        if pa.types.is_dictionary(kind) or pa.types.is_floating(kind):
            return None
        if is_text(kind):
            return text
        if pa.types.is_decimal(kind):
            return DecimalDtype(kind)
        return own.get(kind) or (NestedDtype if pa.types.is_nested(kind) else pd.ArrowDtype)(kind)

    table = without_far_times(table)
    for place, field in enumerate(table.schema):
        if (wide := wide_type(field.type)) != field.type:
            table = table.set_column(place, field.name, table.column(place).cast(wide))
    frame: pd.DataFrame = table.to_pandas(types_mapper=dtype)
    return frame


def records_frame(table: pa.Table, *, text_keys: bool = True) -> pd.DataFrame:
    """Return decoded records as a DataFrame; their keys are texts where all of them are."""
    return to_pandas(with_text_keys(table) if text_keys else table)


def with_text_keys(table: pa.Table) -> pa.Table:
    """Return a table whose ``_key`` is text where every key is UTF-8 without NUL.

    Keys that are binary numbers hardly ever are.
    """
    place = table.schema.get_field_index("_key")
    if place < 0:
        return table
    try:
        keys = table.column(place).cast(pa.large_string())
    except pa.ArrowInvalid:
        return table
    return (
        table
        if pc.any(pc.match_substring(keys, "\0")).as_py()
        else table.set_column(place, "_key", keys)
    )


def from_frame(frame: Any) -> pa.Table:
    """Return a pandas or polars DataFrame, or an Arrow table, as an Arrow table.

    An index that is more than the rows' numbers becomes the first columns.

    Raises
    ------
    UsageError
        When it has no Arrow form.
    """
    import pandas as pd

    try:
        if isinstance(frame, pd.DataFrame):
            own = frame.index.names != [None] or not isinstance(frame.index, pd.RangeIndex)
            frame = frame.reset_index() if own else frame
            return pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UsageError(
            f"this DataFrame has no Arrow form: {error}",
            hint="make columns of one kind of values, under unique names",
        ) from error
    raise UsageError(
        f"a DataFrame is needed, not {a_type_of(frame)}",
        hint="give a pandas or polars one, or an Arrow table",
    )


def in_zone(frame: pd.DataFrame, zone: tzinfo) -> pd.DataFrame:
    """Return a frame whose times have this zone; they are the same moments."""
    if zone is UTC:
        return frame
    times = frame.select_dtypes("datetimetz")
    return frame.assign(**{str(name): times[name].dt.tz_convert(zone) for name in times})


def wide_type(kind: pa.DataType) -> pa.DataType:
    """Return a type whose bytes, within lists and objects too, may be more than 2 GiB together.

    They are not copied.
    """
    if pa.types.is_binary(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(wide_type(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([member.with_type(wide_type(member.type)) for member in kind])
    return kind


def without_far_times(table: pa.Table) -> pa.Table:
    """Return a table whose times are all such as a date can hold; others are missing."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field, only_dates(table.column(place)))
    return table


def only_dates(times: pa.Array | pa.ChunkedArray) -> Any:
    """Return timestamps without those beyond the years 1 to 9999.

    Nanoseconds do not reach so far.
    """
    ticks = {"s": 0.001, "ms": 1, "us": 1000}.get(times.type.unit)
    if ticks is None:
        return times
    first, end = int(FIRST_MS * ticks), int(END_MS * ticks)
    numbers = times.cast(pa.int64())
    bounds = pc.min_max(numbers)
    if not bounds["min"].is_valid or (
        first <= bounds["min"].as_py() and bounds["max"].as_py() < end
    ):
        return times
    inside = pc.and_(pc.greater_equal(numbers, first), pc.less(numbers, end))
    return pc.if_else(inside, times, pa.scalar(None, times.type))


def numbers_dtypes() -> dict[pa.DataType, Any]:
    """Return pandas' own types of integers and booleans that may be missing."""
    import pandas as pd

    names = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]
    integers = {pa.type_for_alias(name.lower()): getattr(pd, f"{name}Dtype")() for name in names}
    return {**integers, pa.bool_(): pd.BooleanDtype()}


def numbers(table: pa.Table) -> pa.Table:
    """Return a table without decimals and intervals.

    pandas can hardly calculate with them, or not at all. DuckDB's sums of integers are decimals;
    one that a fraction of 64 bits cannot hold exactly stays what it is. Its differences of times
    are intervals.
    """
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if pa.types.is_decimal(column.type):
            table = table.set_column(place, name, _plain(column))
        elif column.type == pa.month_day_nano_interval():
            table = table.set_column(place, name, _length(column))
    return table


def _length(column: pa.ChunkedArray) -> pa.Array:
    """Return intervals as lengths of time, exact to the microsecond.

    As texts where one has months, which have no length of their own, or more days than 64 bits of
    microseconds hold.
    """
    if not len(column):
        return pa.array([], pa.duration("us"))
    intervals = column.combine_chunks()
    parts = np.frombuffer(intervals.buffers()[1], _INTERVAL)
    parts = parts[intervals.offset : intervals.offset + len(intervals)]
    valid = intervals.is_valid().to_numpy(zero_copy_only=False)
    if (
        parts["months"][valid].any()
        or (abs(parts["days"][valid].astype(np.int64)) > _MOST_DAYS).any()
    ):
        return pa.array(
            [
                None if interval is None else _in_words(interval)
                for interval in intervals.to_pylist()
            ],
            pa.string(),
        )
    micros = parts["days"] * np.int64(86_400_000_000) + parts["nanoseconds"] // 1000
    return pa.array(micros, mask=~valid).cast(pa.duration("us"))


def _in_words(length: Any) -> str:
    months = f"{length.months} months" if length.months else ""
    days = f"{length.days} days" if length.days else ""
    seconds = (
        f"{Decimal(length.nanoseconds).scaleb(-9).normalize():f} s" if length.nanoseconds else ""
    )
    return " ".join(part for part in (months, days, seconds) if part) or "0 s"


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return decimals as integers where all fit, else as fractions.

    As they are where that would change them.
    """
    if column.type.scale == 0:
        try:
            return pc.cast(column, pa.int64())
        except pa.ArrowInvalid:  # more than 64 bits
            pass
    fractions = pc.cast(column, pa.float64())
    if column.type.scale == 0:
        return fractions
    try:
        same = pc.all(pc.equal(pc.cast(fractions, column.type, safe=False), column)).as_py()
    except pa.ArrowInvalid:  # rounded up, it has a digit more
        same = False
    return column if same is False else fractions
