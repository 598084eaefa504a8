"""No decoding: the bytes stay in ``_value`` and no field is added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from labkit.decode.decoder import Decoder


@dataclass
class Parsed:
    """One batch, as it is."""

    errors: dict[int, str] = field(default_factory=dict)
    schema: dict[str, Any] = field(default_factory=dict)


class Raw(Decoder):
    """The decoder that adds no field."""

    keeps_text = True

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Return nothing new."""
        return Parsed()

    def unify(self, schemas: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Return the empty schema."""
        return {}

    def columns(self, parsed: Parsed, schema: dict[str, Any]) -> pa.Table:
        """Return no columns."""
        return pa.table({})
