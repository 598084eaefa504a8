"""pandas' type of Arrow's decimals.

Means of pandas' own keep the decimals' scale: that of 1 and 2, as whole decimals, is 2.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.arrays import ArrowExtensionArray


class DecimalDtype(pd.ArrowDtype):
    """An Arrow type of decimals.

    `describe` and `nlargest` of numbers end in errors of Arrow and Cython for them: they are told
    that these are values of another kind.
    """

    @property
    def _is_numeric(self) -> bool:
        return False

    def __from_arrow__(self, array: Any) -> DecimalArray:
        return DecimalArray(array)

    def construct_array_type(self) -> type[Any]:
        return DecimalArray


class DecimalArray(ArrowExtensionArray):  # type: ignore[misc]
    """Decimals, whose means have as many digits as they need."""

    def __init__(self, values: Any) -> None:
        super().__init__(values)
        if pa.types.is_decimal(values.type):
            self._dtype = DecimalDtype(values.type)

    def _reduce(
        self, name: str, *, skipna: bool = True, keepdims: bool = False, **options: Any
    ) -> Any:
        if name != "mean":
            return super()._reduce(name, skipna=skipna, keepdims=keepdims, **options)
        total: Any = super()._reduce("sum", skipna=skipna)
        count = int((~self.isna()).sum())
        mean = total / count if count and isinstance(total, Decimal) else None
        if keepdims:
            return ArrowExtensionArray(pa.array([mean]))
        return self.dtype.na_value if mean is None else mean

    def _groupby_op(self, *, how: str, **options: Any) -> Any:
        if how != "mean":
            return super()._groupby_op(how=how, **options)  # type: ignore[misc]
        fractions: Any = ArrowExtensionArray(self.__arrow_array__().cast(pa.float64()))
        return fractions._groupby_op(how=how, **options)
