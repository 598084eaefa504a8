"""Values as UTF-8 text in one column, ``text``.

What is not UTF-8 is null there and has ``_error``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from labkit.decode.decoder import Decoder


@dataclass
class Parsed:
    """One batch's values as text."""

    text: pa.LargeStringArray
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def schema(self) -> dict[str, Any]:
        """One field, ``text``."""
        return {"text": self.text.type}


class Text(Decoder):
    """The decoder of UTF-8."""

    keeps_text = True

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Decode one batch of values."""
        try:
            return Parsed(values.cast(pa.large_string()))
        except pa.ArrowInvalid:
            return _one_by_one(values)

    def unify(self, schemas: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Return the schema, always the same."""
        return {"text": pa.large_string()}

    def columns(self, parsed: Parsed, schema: dict[str, Any]) -> pa.Table:
        """Return the column ``text``."""
        return pa.table({"text": parsed.text})


def _one_by_one(values: pa.BinaryArray) -> Parsed:
    errors: dict[int, str] = {}
    texts: list[str | None] = []
    for row, value in enumerate(values.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            errors[row] = f"not UTF-8: {error.reason} at byte {error.start}"
    return Parsed(pa.array(texts, pa.large_string()), errors)
