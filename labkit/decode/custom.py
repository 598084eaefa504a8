"""Decoders of one's own: a function that takes one value's bytes.

What it returns becomes columns by the rule of ``labkit.decode.json``: a dict's fields, or anything
else JSON-like in one column ``value``; None is a record without fields. Times become text in ISO
8601, decimals and UUIDs text, bytes text where they are UTF-8, else base64. What it raises becomes
the row's ``_error``. It is not called for tombstones, and runs in another thread than the
notebook's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from labkit.decode.json import FromJson
from labkit.tables.arrow import decimal_text
from labkit.waiting.interrupt import Cancelled, never

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


class Own(FromJson):
    """The decoder that calls `function` for each value.

    Parameters
    ----------
    function : callable
        Takes bytes; returns a dict or anything JSON-like.
    """

    def __init__(self, function: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.function = function
        self._cancelled: Cancelled = never
        self._left = 0

    def __repr__(self) -> str:
        return f"Own({getattr(self.function, '__name__', repr(self.function))})"

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        left = f"decoding was interrupted: {self._left:,} records were not passed to the decoder; .decode(…) does it"
        return [*super().notes, *([left] if self._left else [])]

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return not self._left

    def heed(self, cancelled: Cancelled) -> None:
        """Ask `cancelled` before each value: a function of one's own may be slow."""
        self._cancelled = cancelled

    def parse(self, values: pa.BinaryArray) -> Any:
        """Call the function for each value of one batch."""
        errors: dict[int, str] = {}
        lines: list[bytes | None] = []
        for row, value in enumerate(values.to_pylist()):
            if value is None:
                lines.append(None)
                continue
            if self._cancelled():  # an own function may be slow, and an interrupt is answered soon
                lines.append(b"{}")
                errors[row] = "not decoded: it was interrupted"
                self._left += 1
                continue
            try:
                lines.append(_line(self.function(value)))
            # the function is the user's: whatever it raises is the row's, not the read's
            except Exception as error:
                lines.append(b"{}")
                errors[row] = _reason(error)
        parsed = self.parse_objects(pa.array(lines, pa.binary()))
        parsed.errors = dict(sorted({**parsed.errors, **errors}.items()))
        return parsed


def _line(found: Any) -> bytes:
    if found is None:
        return b"{}"
    record = found if isinstance(found, dict) else {"value": found}
    try:
        return orjson.dumps(record, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        if "64-bit" not in str(error):
            raise
        # integers of any length
        return json.dumps(record, default=_plain, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()  # noqa: PLR0124  pandas' NaT, which is no time
    if isinstance(value, Decimal):
        return decimal_text(value)
    if type(value).__module__ in ("uuid", "ipaddress", "pathlib"):
        return str(value)
    raise TypeError(f"the decoder returned a {type(value).__name__}, which is not a JSON value")


def _reason(error: Exception) -> str:
    if isinstance(error, orjson.JSONEncodeError) and isinstance(error.__cause__, TypeError):
        error = error.__cause__
    text = " ".join(str(error).split())[:200]
    return f"the decoder raised {type(error).__name__}" + (f": {text}" if text else "")
