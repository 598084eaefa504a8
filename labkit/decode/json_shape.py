"""The types of JSON records' fields, by the rule that `labkit.decode.json` states. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from labkit.decode.decoder import FieldPath
from labkit.decode.limits import COLUMNS, MORE
from labkit.decode.merge import way_to_type

TEXT, INTEGER, NUMBER = pa.string(), pa.int64(), pa.float64()
EXACT = 2**53  # up to here a fraction of 64 bits holds every integer
WIDE, HUGE = "integers beyond 2^53", "integers beyond 64 bits"
NUMBERS = ("integers", "fractions", WIDE, HUGE)
_SCALARS = {"texts": TEXT, "booleans": pa.bool_(), "fractions": NUMBER}
_CASTS = {"numbers": "float", "booleans": "bool"}  # what `types=` may make of most of the values
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_@.$-]+")


@dataclass
class Shape:
    """The values of one field, or of all records.

    Attributes
    ----------
    kinds : Counter
        How many values of each kind there are; null has none.
    fields : dict
        Of objects, in order of first sight.
    items : Shape, optional
        Of lists.
    is_limited : bool
        Whether fields of a record beyond the limit are in one column of text.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    fields: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None
    is_limited: bool = False

    @property
    def type(self) -> pa.DataType:
        """The Arrow type that holds all values, by the rule."""
        kinds = set(self.kinds)
        if kinds == {"objects"}:
            return pa.struct([(name, self.fields[name].type) for name in sorted(self.fields)])
        if kinds == {"lists"}:
            # of lists of nulls Arrow's parser (26) makes invalid ones
            return pa.list_(self.items.type if self.items and self.items.kinds else TEXT)
        if not kinds:
            return pa.null()
        if kinds <= {"integers", WIDE}:
            return INTEGER
        if kinds == {"integers", "fractions"}:
            return NUMBER
        return _SCALARS.get(kinds.pop(), TEXT) if len(kinds) == 1 else TEXT

    @property
    def struct(self) -> pa.StructType:
        """The fields as Arrow's, in their order."""
        return pa.struct([(name, shape.type) for name, shape in self.fields.items()])

    @property
    def leaves(self) -> int:
        """How many columns it takes."""
        inner = [*self.fields.values(), *([self.items] if self.items else [])]
        return sum(shape.leaves for shape in inner) or 1

    def __add__(self, other: Shape) -> Shape:
        """Return the shape of the values of both.

        A field without a value so far is placed where it first has one.
        """
        own_order = [
            name for side in (self, other) for name, shape in side.fields.items() if shape.kinds
        ]
        names = dict.fromkeys([*own_order, *sorted({*self.fields, *other.fields})])
        kinds = self.kinds.copy()
        kinds.update(other.kinds)  # `+` would drop the kinds of `uncounted`
        return Shape(
            kinds,
            {name: _join(self.fields.get(name), other.fields.get(name)) for name in names},
            _join(self.items, other.items) if self.items or other.items else None,
            self.is_limited or other.is_limited,
        )

    def uncounted(self) -> Shape:
        """Return the shape without its counts: what a sample shows, of records that come again."""
        return Shape(
            Counter(dict.fromkeys(self.kinds, 0)),
            {name: shape.uncounted() for name, shape in self.fields.items()},
            self.items and self.items.uncounted(),
            self.is_limited,
        )

    def settle(self) -> Shape:
        """Return the final shape: what has no value is text, and so are objects without a field."""
        if not self.kinds or (set(self.kinds) == {"objects"} and not self.fields):
            return Shape(Counter(texts=self.kinds["objects"]))
        fields = {name: shape.settle() for name, shape in self.fields.items()}
        items = self.items and self.items.settle()
        return Shape(self.kinds.copy(), fields, items, self.is_limited)

    def with_text(self, names: Iterable[str]) -> Shape:
        """Return a record's shape with text in some fields."""
        texts = {name: self.fields[name]._as_text() for name in names if name in self.fields}
        return Shape(self.kinds, {**self.fields, **texts}, self.items, self.is_limited)

    def _as_text(self) -> Shape:
        return Shape(Counter({**self.kinds, "texts": self.kinds["texts"]}))

    def limit_fields(self) -> Shape:
        """Return a record's shape with the fields beyond the limit in one column of text."""
        if not self.is_limited and sum(shape.leaves for shape in self.fields.values()) <= COLUMNS:
            return self
        fields: dict[str, Shape] = {}
        room = COLUMNS - 1
        for name, shape in self.fields.items():
            fitting = shape if shape.leaves <= COLUMNS // 2 else shape._as_text()
            if name != MORE and room > 0 and fitting.leaves <= room:
                fields[name] = fitting
                room -= fitting.leaves
        return Shape(self.kinds, {**fields, MORE: Shape()._as_text()}, is_limited=True)

    def quotable(self) -> list[FieldPath]:
        """Return the fields that disagree whose name alone says which field it is."""
        shapes = dict(self.walk())
        names = Counter(path[-1] for path in shapes)
        return [
            path
            for path, shape in shapes.items()
            if shape.disagrees and names[path[-1]] == 1 and _PLAIN_NAME.fullmatch(path[-1])
        ]

    def walk(self, above: FieldPath = ()) -> Iterator[tuple[FieldPath, Shape]]:
        """Yield each field below with its path; items of lists are ``[]``."""
        for name, shape in self.fields.items():
            yield (*above, name), shape
            yield from shape.walk((*above, name))
        if self.items:
            yield (*above, "[]"), self.items
            yield from self.items.walk((*above, "[]"))

    @property
    def disagrees(self) -> bool:
        """Whether it is text because its values disagree."""
        return self.type == TEXT and any(
            count for kind, count in self.kinds.items() if kind != "texts"
        )

    def disagreements(self, *, hint: bool = True) -> dict[FieldPath, str]:
        """Return each field whose values disagree, with what it becomes."""
        return {
            path: _note(path, shape.kinds, hint=hint)
            for path, shape in self.walk()
            if shape.disagrees
        }


def _join(left: Shape | None, right: Shape | None) -> Shape:
    """Return the shape of the values of both; the one that is there where the other is missing."""
    return left + right if left and right else left or right or Shape()


def _note(path: FieldPath, kinds: Counter[str], *, hint: bool) -> str:
    """Return such as ``field n: 5 numbers, 1 text → text; read(types={"n": "float"})``."""
    counts = {"numbers": sum(kinds[kind] for kind in NUMBERS)}
    counts |= {kind: kinds[kind] for kind in ("booleans", "objects", "lists", "texts")}
    counts = {kind: count for kind, count in counts.items() if count}
    words = [f"{count:,} {kind if count > 1 else kind[:-1]}" for kind, count in counts.items()]
    beyond = next((kind for kind in (HUGE, WIDE) if kind in kinds), "")
    if beyond and set(counts) == {"numbers"}:
        # the numbers of other fields were not looked at one by one
        words = [f"{words[0]}, with {beyond},"]
    name = ".".join(path).replace(".[]", "[]")
    note = f"field {name}: {', '.join(words)} → text"
    cast = _CASTS.get(max(counts, key=lambda kind: counts[kind]))
    if hint and len(path) == 1 and len(counts) > 1 and cast:
        note += way_to_type(path[0], cast)
    return note
