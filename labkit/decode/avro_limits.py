"""Check how deep an Avro record goes and how many values it claims, before it is decoded.

fastavro recurses in C without looking at its stack, and makes as many values as a block claims, so
a few bytes under a recursive schema end the process. Only schemas under which that can happen are
walked: what recurses, and what has values of no bytes (nulls, empty records) in lists or in large
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labkit.decode.limits import DEPTH, LimitError, most_values, too_deep, too_much

_FREE_VALUES = 100  # values of no bytes that a schema may have without being walked
_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_NUMBERS = ("int", "long", "enum")
_TEXTS = ("bytes", "string")
Skip = Callable[[int, int], int]
"""Takes a position and a depth, and returns the position behind the value."""


def needs_walk(schema: Any, named: Mapping[str, Any]) -> bool:
    """Tell whether a schema's records can be deeper, or more work, than their size tells."""
    look = _Look(named)
    free = look.free(schema, 0)
    return look.risky or free > _FREE_VALUES


class _Look:
    """Counts the values of no bytes in a schema, and finds what recurses."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self.named, self.risky = named, False
        self._known: dict[str, int] = {}
        self._open: set[str] = set()

    def free(self, schema: Any, depth: int) -> int:
        """Return how many values of no bytes a value may have, its lists' items once."""
        if depth > DEPTH:
            self.risky = True
            return 0
        if isinstance(schema, list):
            return sum(self.free(branch, depth + 1) for branch in schema if branch != "null")
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(kind, list | dict):
            return self.free(kind, depth + 1)
        if kind in ("record", "error"):
            return self._record(schema, depth)
        if kind in self.named and isinstance(schema, str):
            return self.free(self.named[kind], depth + 1)
        return self._simple(schema, kind, depth)

    def _simple(self, schema: Any, kind: str, depth: int) -> int:
        if kind in ("array", "map"):
            count = self.free(schema["items" if kind == "array" else "values"], depth + 1)
            self.risky |= kind == "array" and count > 0
            return count
        return int(kind == "null" or (kind == "fixed" and not schema["size"]))

    def _record(self, schema: Any, depth: int) -> int:
        name = schema["name"]
        if name in self._open:
            self.risky = True
            return 0
        if name not in self._known:
            self._open.add(name)
            fields = schema["fields"]
            count = sum(self.free(field["type"], depth + 1) for field in fields)
            self._known[name] = count if fields else 1
            self._open.discard(name)
        return self._known[name]


class Walker:
    """Checks records of one schema, byte by byte.

    Parameters
    ----------
    schema : dict, list or str
        As `fastavro.parse_schema` returns it.
    named : mapping
        Full name to schema.
    """

    def __init__(self, schema: Any, named: Mapping[str, Any]) -> None:
        self._named = named
        self._made: dict[str, Skip] = {}
        self._payload = b""
        self._left = 0
        self._skip = self._of(schema)

    def check(self, payload: bytes) -> None:
        """Raise LimitError when a record is too deep or claims too many values, or ends early."""
        self._payload, self._left = payload, most_values(len(payload))
        self._skip(0, 0)

    def _of(self, schema: Any) -> Skip:
        if isinstance(schema, list):
            return self._union([self._of(branch) for branch in schema])
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(kind, list | dict):
            return self._of(kind)
        if kind in ("array", "map"):
            item = self._of(schema["items" if kind == "array" else "values"])
            return self._blocks(item if kind == "array" else self._entry(item))
        if kind in ("record", "error"):
            return self._record(schema)
        return self._scalar(schema, kind)

    def _scalar(self, schema: Any, kind: str) -> Skip:
        if kind in _NUMBERS:
            return lambda place, _: self._number(place)[1]
        if kind in _TEXTS:
            return self._text
        if kind in _FIXED or kind == "fixed":
            size = _FIXED[kind] if kind in _FIXED else schema["size"]
            return lambda place, _: self._spend(place + size)
        return self._reference(kind)

    def _reference(self, name: str) -> Skip:
        """Return what skips a named type, which may be one that is being made."""

        def skip(place: int, depth: int) -> int:
            return self._made[name](place, depth)

        if name not in self._made and name in self._named:
            self._made[name] = skip
            self._made[name] = self._of(self._named[name])
        return skip

    def _record(self, schema: Any) -> Skip:
        name = schema["name"]
        fields: list[Skip] = []

        def skip(place: int, depth: int) -> int:
            if depth >= DEPTH:
                raise too_deep()
            self._spend(place)
            for field in fields:
                place = field(place, depth + 1)
            return place

        self._made[name] = skip
        fields += [self._of(field["type"]) for field in schema["fields"]]
        return skip

    def _union(self, branches: list[Skip]) -> Skip:
        def skip(place: int, depth: int) -> int:
            number, place = self._number(place)
            if not 0 <= number < len(branches):
                raise LimitError(f"branch {number} of a union of {len(branches)}")
            return branches[number](place, depth)

        return skip

    def _blocks(self, item: Skip) -> Skip:
        def skip(place: int, depth: int) -> int:
            if depth >= DEPTH:
                raise too_deep()
            while True:
                count, place = self._number(place)
                if not count:
                    return place
                if count < 0:  # then the block's bytes follow
                    count, place = -count, self._number(place)[1]
                if count > self._left:
                    raise too_much(len(self._payload))
                for _ in range(count):
                    place = item(place, depth + 1)

        return skip

    def _entry(self, value: Skip) -> Skip:
        return lambda place, depth: value(self._text(place, depth), depth)

    def _text(self, place: int, _: int) -> int:
        size, place = self._number(place)
        if size < 0:
            raise LimitError(f"a length of {size}")
        return self._spend(place + size)

    def _number(self, place: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self._payload[place] if place < len(self._payload) else self._end()
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise LimitError("a number of more than ten bytes")
        self._spend(place)
        return (value >> 1) ^ -(value & 1), place

    def _spend(self, place: int) -> int:
        self._left -= 1
        if self._left < 0:
            raise too_much(len(self._payload))
        return place if place <= len(self._payload) else self._end()

    def _end(self) -> int:
        raise LimitError("it ends early")
