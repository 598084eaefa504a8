"""Two documents, field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from labkit.compare.rules import Rules, equal

EQUAL, CHANGED, ONLY_LEFT, ONLY_RIGHT = range(4)
KINDS = ("equal", "changed", "only left", "only right")
MOST_FIELDS = 10_000
OTHERS = "(all other fields)"  # beyond so many: keys made of data
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one pair; the value that is not there is None."""

    field: str
    kind: int
    left: Any
    right: Any


@dataclass
class Tally:
    """One field in all pairs: how often what, and one pair of values that differ."""

    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    example: Difference | None = None


class Differ:
    """Compares documents and counts, for each field, what came of it.

    A field is a path of objects' members, joined by dots; lists are values, not paths.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.fields: dict[str, Tally] = {}

    def pair(self, left: dict[str, Any], right: dict[str, Any]) -> list[Difference]:
        """Return how two documents differ."""
        differences: list[Difference] = []
        self._walk(left, right, "", differences)
        for difference in differences:
            tally = self._tally(difference.field)
            tally.counts[difference.kind] += 1
            tally.example = tally.example or difference
        return differences

    def same(self, document: dict[str, Any], prefix: str = "") -> None:
        """Count the fields of a document that is the same on both sides."""
        for name, value in document.items():
            if type(value) is dict:
                self.same(value, f"{prefix}{name}.")
            elif value is not None:
                self._equal(prefix + name)

    def _equal(self, path: str) -> None:
        tally = self.fields.get(path)
        if tally is not None:
            tally.counts[EQUAL] += 1
        elif self.rules.is_compared(path):
            self._tally(path).counts[EQUAL] += 1

    def _tally(self, path: str) -> Tally:
        tally = self.fields.get(path)
        if tally is None:
            path = path if len(self.fields) < MOST_FIELDS else OTHERS
            tally = self.fields.setdefault(path, Tally())
        return tally

    def _walk(
        self,
        left: dict[str, Any],
        right: dict[str, Any],
        prefix: str,
        differences: list[Difference],
    ) -> None:
        for name, left_value in left.items():
            path, right_value = prefix + name, right.get(name)
            if type(left_value) is dict and type(right_value) is dict:
                self._walk(left_value, right_value, path + ".", differences)
            elif (
                type(left_value) is dict
                or type(right_value) is dict
                or left_value is None
                or right_value is None
            ):
                self._alone(left_value, path, ONLY_LEFT, differences)
                self._alone(right_value, path, ONLY_RIGHT, differences)
            elif not self.rules.is_compared(path):
                continue
            elif equal(left_value, right_value, self.rules.near(path)):
                self._equal(path)
            else:
                differences.append(Difference(path, CHANGED, left_value, right_value))
        for name, right_value in right.items():
            if right_value is not None and left.get(name, _ABSENT) is _ABSENT:
                self._alone(right_value, prefix + name, ONLY_RIGHT, differences)

    def _alone(self, value: Any, path: str, kind: int, differences: list[Difference]) -> None:
        for name, leaf in leaves(value, path):
            if self.rules.is_compared(name):
                pair = (leaf, None) if kind == ONLY_LEFT else (None, leaf)
                differences.append(Difference(name, kind, *pair))


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each value below `path` that is no object, nulls left out."""
    if type(value) is dict:
        for name, leaf in value.items():
            yield from leaves(leaf, f"{path}.{name}")
    elif value is not None:
        yield path, value
