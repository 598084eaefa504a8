"""The rule for fields of JSON that disagree, over polars types. Pure; `labkit.decode.json` states it."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import polars as pl

Schema = dict[str, Any]
"""Field to polars type, in order of first sight."""

_SCALARS = (pl.Boolean, pl.Int64, pl.Float64, pl.String)


def is_plain(schema: Schema) -> bool:
    """Tell whether each type is one the rule hands out."""
    return all(narrowed(dtype) == dtype for dtype in schema.values())


def narrowed(dtype: Any) -> Any:
    """Return the type kept for what polars inferred: integers beyond 64 bits are text."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: narrowed(one.dtype) for one in sorted(dtype.fields, key=lambda one: one.name)})
    if isinstance(dtype, pl.List):
        return pl.List(narrowed(dtype.inner))
    return dtype if dtype in _SCALARS or dtype == pl.Null else pl.String()


def settled(dtype: Any) -> Any:
    """Return the type of a column at the end: what was null throughout is text."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: settled(one.dtype) for one in dtype.fields}) if dtype.fields else pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(settled(dtype.inner))
    return pl.String() if dtype == pl.Null else dtype


def has(dtype: Any, test: Callable[[Any], bool]) -> bool:
    """Tell whether `test` holds for a type or for one within it."""
    inner = [one.dtype for one in dtype.fields] if isinstance(dtype, pl.Struct) else []
    inner += [dtype.inner] if isinstance(dtype, pl.List) else []
    return test(dtype) or any(has(one, test) for one in inner)


def kind(value: Any) -> Any:
    """Return the type of one value, by the rule."""
    if isinstance(value, dict):
        return pl.Struct({name: kind(value[name]) for name in sorted(value)})
    if isinstance(value, list):
        return pl.List(reduce(merged, map(kind, value), pl.Null()))
    kinds = {bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64(), type(None): pl.Null()}
    return kinds.get(type(value), pl.String())


def merged_fields(left: Schema, right: Schema) -> Schema:
    """Merge two schemas; a field without a value so far takes its place where it first has one."""
    both = {name: merged(left.get(name, pl.Null()), right.get(name, pl.Null())) for name in (*left, *right)}
    seen = [name for side in (left, right) for name, dtype in side.items() if dtype != pl.Null]
    unseen = sorted(name for name, dtype in both.items() if dtype == pl.Null)
    return {name: both[name] for name in dict.fromkeys([*seen, *unseen])}


def merged(left: Any, right: Any) -> Any:
    """Return the one type for values of two types."""
    if right in (left, pl.Null):
        return left
    if left == pl.Null:
        return right
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        fields = [{one.name: one.dtype for one in side.fields} for side in (left, right)]
        return pl.Struct(dict(sorted(merged_fields(*fields).items())))
    if isinstance(left, pl.List) and isinstance(right, pl.List):
        return pl.List(merged(left.inner, right.inner))
    if {left, right} == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    return pl.String()
