"""What every decoder is: values of a batch become columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from labkit.waiting.interrupt import Cancelled

if TYPE_CHECKING:
    from labkit.errors import LabkitError

FieldPath: TypeAlias = tuple[str, ...]
"""Where a field is: names from the outermost one in; items of lists and maps are ``[]``."""


class Parsed(Protocol):
    """One batch's values, with a schema of their own."""

    @property
    def errors(self) -> dict[int, str]:
        """Row to the reason why its value could not be decoded."""

    @property
    def schema(self) -> Any:
        """What `Decoder.unify` takes: field to type, in the decoder's own terms."""


class Decoder(ABC):
    """Turns values into columns; `parse`, `unify` and `columns` are enough."""

    parallel: bool = False  # whether several batches may be parsed at a time, see `ready`
    keeps_text: bool = False  # whether a value's bytes are the text of its fields, but for escapes

    @abstractmethod
    def parse(self, values: pa.BinaryArray) -> Any:
        """Return one batch as `Parsed`; a null is a tombstone: null fields and no error."""

    @abstractmethod
    def unify(self, schemas: Iterable[Any]) -> Any:
        """Return the one schema that holds for all batches."""

    @abstractmethod
    def columns(self, parsed: Any, schema: Any) -> pa.Table:
        """Return a batch's fields under that schema, one row per value."""

    def parse_batch(self, batch: pa.RecordBatch) -> Any:
        """Return one batch of raw records as `Parsed`."""
        return self.parse(batch.column("value"))

    def parse_keys(self, batch: pa.RecordBatch) -> Any:
        """Return the keys of one batch of raw records as `Parsed`."""
        return self.parse(batch.column("key"))

    def ready(self) -> Callable[[pa.RecordBatch], Any]:
        """Return `parse_batch` for the next batch.

        Where `parallel`, it is asked for in the batches' order.
        """
        return self.parse_batch

    def kinds(self, parsed: Any, names: Iterable[str]) -> np.ndarray | None:
        """Return a number for each row: rows with one number have one type in each field named.

        What is asked of such rows together does not depend on how records are batched. None where
        all rows have one type; names count in any case.
        """
        return None

    def anew(self) -> Decoder:
        """Return this decoder without what it knows of the types of other batches."""
        return self

    def key_columns(self, parsed: Any, schema: Any) -> pa.Table:
        """Return the columns of decoded keys; none of a decoder of values alone."""
        return pa.table({})

    def heed(self, cancelled: Cancelled) -> None:  # noqa: B027  most are fast
        """Take note of what tells an interrupt; for decoders that may be slow."""

    @property
    def parts(self) -> tuple[Decoder, ...]:
        """What decodes the values and, where keys are decoded too, what decodes the keys."""
        return (self,)

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return []

    @property
    def disagreements(self) -> dict[FieldPath, str]:
        """Fields that hold values of several types: path to what the receipt should say of it."""
        return {}

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same.

        Not where a registry was away or did not know an id.
        """
        return True

    @property
    def trouble(self) -> LabkitError | None:
        """Why a registry could not answer, if so; then the records are not to blame."""
        return None
