"""The types of JSON records' fields, by the rule that `labkit.decode.json` states. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.decoder import FieldPath
from labkit.decode.limits import COLUMNS, MORE

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
            return pa.list_(self.items.type if self.items else pa.null())
        if not kinds:
            return pa.null()
        if kinds <= {"integers", WIDE}:
            return INTEGER
        if kinds == {"integers", "fractions"}:
            return NUMBER
        return _SCALARS.get(kinds.pop(), TEXT) if len(kinds) == 1 else TEXT

    @property
    def schema(self) -> pa.Schema:
        """The fields as Arrow's."""
        return pa.schema([(name, shape.type) for name, shape in self.fields.items()])

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
        for kind, count in other.kinds.items():
            kinds[kind] += count
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
        items = None
        if self.items:
            items = self.items.settle()
        elif "lists" in self.kinds:
            items = Shape(Counter(texts=0))
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

    def quotable(self) -> dict[str, tuple[str, ...]]:
        """Return the paths, by name, of fields whose numbers become text.

        Only fields whose name alone says which field it is are in it.
        """
        paths_of: dict[str, list[tuple[str, ...]]] = {}
        disagreeing = set()
        for path, shape in self.walk():
            paths_of.setdefault(path[-1], []).append(path)
            disagreeing |= {path} if shape.disagrees else set()
        return {
            name: places[0]
            for name, places in paths_of.items()
            if len(places) == 1 and places[0] in disagreeing and _PLAIN_NAME.fullmatch(name)
        }

    def at(self, path: tuple[str, ...]) -> Shape:
        """Return the shape of a field below."""
        shape = self
        for part in path:
            shape = (shape.items if part == "[]" else shape.fields.get(part)) or Shape()
        return shape

    def walk(self, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Shape]]:
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

    def disagreements(self) -> dict[FieldPath, str]:
        """Return each field whose values disagree, and what `read` makes of them."""
        return {path: _note(path, shape.kinds) for path, shape in self.walk() if shape.disagrees}


def _join(left: Shape | None, right: Shape | None) -> Shape:
    """Return the shape of the values of both; the one that is there where the other is missing."""
    return left + right if left and right else left or right or Shape()


def _note(path: tuple[str, ...], kinds: Counter[str]) -> str:
    """Return such as ``field n: 5 numbers, 1 text → text; read(types={"n": "float"})``."""
    counts = {kind: count for kind, count in kinds.items() if count and kind not in NUMBERS}
    if numbers := sum(kinds[kind] for kind in NUMBERS):
        counts = {"numbers": numbers, **counts}
    words = [f"{count:,} {kind if count > 1 else kind[:-1]}" for kind, count in counts.items()]
    beyond = next((kind for kind in (HUGE, WIDE) if kind in kinds), "")
    if beyond and set(counts) == {"numbers"}:
        # the numbers of other fields were not looked at one by one
        words = [f"{words[0]}, with {beyond},"]
    hint = ""
    if len(path) == 1 and len(counts) > 1 and (cast := _cast_for(counts)):
        hint = f'; read(types={{"{path[0]}": "{cast}"}})'
    return f"field {_dot_path(path)}: {', '.join(words)} → text{hint}"


def _cast_for(counts: dict[str, int]) -> str | None:
    """Return the type to suggest: that of the most values, or of those that are not texts."""
    most = max(counts, key=lambda kind: counts[kind])
    if most == "texts":
        most = next((kind for kind in _CASTS if kind in counts), "")
    return _CASTS.get(most)


def _dot_path(path: tuple[str, ...]) -> str:
    """Return a path as a person writes it."""
    return ".".join(path).replace(".[]", "[]")


def examine(table: pa.Table) -> tuple[Shape, bool]:
    """Return the shape of a parsed table, and whether its fractions must be looked at again.

    Among large fractions there may be integers that were changed, and among those that are not
    finite NaN, which is not JSON.
    """
    doubts: list[bool] = []
    shape = Shape(Counter(objects=len(table)))
    for name, column in zip(table.column_names, table.columns, strict=True):
        shape.fields[name] = _examine(
            pa.concat_arrays(column.chunks) if column.num_chunks else column, doubts
        )
    return shape, any(doubts)


def _examine(array: pa.Array, doubts: list[bool]) -> Shape:
    count, kind = len(array) - array.null_count, array.type
    shape = Shape()
    if pa.types.is_struct(kind):
        shape.fields = {
            field_type.name: _examine(part, doubts)
            for field_type, part in zip(kind, array.flatten(), strict=True)
        }
    elif pa.types.is_list(kind):
        shape.items = _examine(array.flatten(), doubts)
    if not count:
        return shape
    if kind == INTEGER:
        if _is_beyond(array, EXACT):
            wide = pc.sum(pc.or_(pc.greater(array, EXACT), pc.less(array, -EXACT))).as_py()
            shape.kinds[WIDE] = wide
            count -= wide
        if count:
            shape.kinds["integers"] = count
        return shape
    if kind == NUMBER:
        total = pc.sum(array).as_py()
        doubts.append(_is_beyond(array, EXACT - 1) or total - total != 0)
    shape.kinds[_name(kind)] = count
    return shape


def _is_beyond(array: pa.Array, bound: int) -> bool:
    extremes = pc.min_max(array)
    return bool(extremes["max"].as_py() > bound or extremes["min"].as_py() < -bound)


def _name(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "objects"
    if pa.types.is_list(kind):
        return "lists"
    # texts like times are timestamps
    return {NUMBER: "fractions", pa.bool_(): "booleans"}.get(kind, "texts")
