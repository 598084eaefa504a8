"""pandas' type of nested Arrow values.

pandas' own has no `nunique`, `drop_duplicates`, `describe` or `groupby` for them.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.arrays import ArrowExtensionArray

from labkit.tables.nested import NULL, ranks

_NESTED_NAME = re.compile(
    r"(struct|list|large_list|fixed_size_list|map)<.*>(\[\d+\])?\[(labkit|pyarrow)\]", re.DOTALL
)


@pd.api.extensions.register_extension_dtype
class NestedDtype(pd.ArrowDtype):
    """An Arrow type of objects or lists."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The type's name, not one of pandas' own: it refuses those with parameters within."""
        return f"{self.pyarrow_dtype}[labkit]"

    @classmethod
    def construct_from_string(cls, text: str) -> NestedDtype:
        """Return a type that takes the column of a Parquet file as it is.

        Pandas wrote only the type's name there.
        """
        if not _NESTED_NAME.fullmatch(text):
            raise TypeError(
                f"{text!r} must be the name of a nested Arrow type, such as 'struct<a: int64>[pyarrow]'"
            )
        return cls(pa.struct([]))

    def __from_arrow__(self, array: Any) -> NestedArray:
        return NestedArray(array)

    def construct_array_type(self) -> type[Any]:
        return NestedArray


class NestedArray(ArrowExtensionArray):  # type: ignore[misc]
    """Objects or lists, compared by their values."""

    def __init__(self, values: Any) -> None:
        super().__init__(values)
        self._dtype = NestedDtype(values.type)

    def _ranks(self) -> np.ndarray:
        array = self.__arrow_array__().combine_chunks()
        return ranks(array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks))

    def factorize(self, use_na_sentinel: bool = True) -> tuple[np.ndarray, Any]:
        own = self._ranks()
        values, first, codes = np.unique(own, return_index=True, return_inverse=True)
        order = np.argsort(first)  # pandas numbers values as they come
        if use_na_sentinel:
            order = order[values[order] != NULL]
        place = np.full(len(values), -1, np.intp)
        place[order] = np.arange(len(order))
        return place[codes], self.take(first[order])

    def unique(self) -> Any:
        return self.factorize(use_na_sentinel=False)[1]

    def value_counts(self, dropna: bool = True) -> pd.Series:
        codes, values = self.factorize(use_na_sentinel=dropna)
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        return pd.Series(counts, index=pd.Index(values, copy=False), name="count", dtype="Int64")

    def argsort(
        self,
        *,
        ascending: bool = True,
        kind: Any = "quicksort",
        na_position: str = "last",
        **_: Any,
    ) -> np.ndarray:
        own = self._ranks().astype(np.int64)
        missing = own == NULL
        keys = own if ascending else -own
        rest = np.flatnonzero(~missing)
        rest = rest[np.argsort(keys[rest], kind="stable")]
        nulls = np.flatnonzero(missing)
        return np.concatenate((nulls, rest) if na_position == "first" else (rest, nulls))
