"""What a comparison found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.checks.suggest import typed
from labkit.compare.differ import KINDS, Difference, Tally
from labkit.compare.rules import Rules, dumps
from labkit.compare.times import Times
from labkit.decode import cells
from labkit.es.point_in_time import BATCH_SCHEMA, origins
from labkit.es.table import decode_batches
from labkit.tables.dataframe import to_pandas
from labkit.text import html
from labkit.text.visible import brief, visible

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 8
RULES = "null = absent, 1 = 1.0, the order of an object's members does not matter, that of a list's items does"


_DISJOINT = (
    "the sides are different records (other times, or other topics), so there is nothing to compare one by one; "
    "{key} pairs copies by a field that names them"
)
_PERIODS = '; to compare periods: r.sql("select … from replay full join other using (…)", other=earlier.table)'
_DISJOINT_BY_KEY = "no key is on both sides: are these the fields that name a document on both?"


@dataclass(frozen=True)
class Kept:
    """The differences kept to be shown: some of them, when there are many."""

    changed: list[tuple[str, str, str, list[Difference]]]
    only_left: list[tuple[str, str]]
    only_right: list[tuple[str, str]]
    duplicates: pa.Table


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two sides, document by document and field by field.

    Attributes
    ----------
    left, right : str
        What was compared.
    key : tuple of str
        The fields that paired documents; empty: their origin (topic, partition, offset; ``_id``).
    counts : dict
        Always exact: ``left = same + changed + only_left + left_duplicates + left_keyless``
        documents, and so the right. ``duplicates`` counts keys that are there more than once on a
        side; their documents pair with none.
    reasons : tuple of str
        Why it is not complete: what is missing on a side may then be only unread.
    mappings : DataFrame or None
        Fields mapped differently: field, left, right; None unless both sides are indices.
    latency : DataFrame or None
        The same queries on both: query, left_ms, right_ms, ratio; None unless both sides are
        indices.
    notes : tuple of str
        What else the reader should know.
    """

    left: str
    right: str
    key: tuple[str, ...]
    counts: dict[str, int]
    reasons: tuple[str, ...]
    mappings: pd.DataFrame | None
    latency: pd.DataFrame | None
    notes: tuple[str, ...]
    elapsed_s: float
    rules: Rules = field(repr=False)
    kept: Kept = field(repr=False)
    tallies: dict[str, Tally] = field(repr=False)
    times: Times = field(repr=False)
    timezone: tzinfo = field(default=UTC, repr=False)

    @property
    def same(self) -> int:
        """How many documents are the same on both sides."""
        return self.counts["same"]

    @property
    def complete(self) -> bool:
        """Whether both sides were read to their end and held all they should."""
        return not self.reasons

    @property
    def identical(self) -> bool:
        """Whether each document has its equal on the other side, and all were compared.

        Mappings may differ.
        """
        odd = ("changed", "only_left", "only_right", "duplicates", "left_keyless", "right_keyless")
        return self.complete and not any(self.counts[name] for name in odd)

    # frames ----------------------------------------------------------------------------------------------

    @cached_property
    def changed(self) -> pd.DataFrame:
        """One row per changed field of a pair: what names the pair, field, kind, left, right.

        Values are JSON, so that ``1`` and ``"1"`` look different; missing is absent. By origin a
        pair is named by ``_id _topic _partition _offset``, else by the key's fields and
        ``left_id``, ``right_id``. See `cut`.
        """
        import pandas as pd

        rows = [
            (
                key,
                left_id,
                right_id,
                difference.field,
                KINDS[difference.kind],
                _json(difference.left),
                _json(difference.right),
            )
            for key, left_id, right_id, differences in self.kept.changed
            for difference in differences
        ]
        columns = ["key", "left_id", "right_id", "field", "kind", "left", "right"]
        frame = pd.DataFrame(rows, columns=columns).astype(object)
        if self.key:
            keyed = _by_key(frame.pop("key"), self.key)
            return _beside(keyed, frame).sort_values(["left_id", "field"], ignore_index=True)
        places = to_pandas(_origin(frame["key"].tolist()))
        places = places.join(frame.drop(columns=["key", "left_id", "right_id"]))
        return places.sort_values(
            [*places.columns[1:4], "_id", "field"], kind="stable", ignore_index=True
        )

    @cached_property
    def only_left(self) -> pd.DataFrame:
        """The documents that are only on the left, with the columns of `Index.to_pandas`.

        See `cut`.
        """
        return _documents(self.kept.only_left)

    @cached_property
    def only_right(self) -> pd.DataFrame:
        """The documents that are only on the right, with the columns of `Index.to_pandas`.

        See `cut`.
        """
        return _documents(self.kept.only_right)

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """One row per key that is there more than once: its names, and how often left and right.

        See `cut` for how many rows there are at most.
        """
        frame = to_pandas(self.kept.duplicates)
        keys = frame.pop("key")
        keyed = _by_key(keys, self.key) if self.key else to_pandas(_origin(keys.tolist()))
        return _beside(keyed, frame)

    @cached_property
    def fields(self) -> pd.DataFrame:
        """One row per field of the pairs, the most different ones first.

        Its columns: field, equal, changed, only_left, only_right, left_example, right_example. The
        examples are one pair of values that differ.
        """
        import pandas as pd

        rows = [(name, *tally.counts, *_example(tally)) for name, tally in self.tallies.items()]
        columns = [
            "field",
            "equal",
            "changed",
            "only_left",
            "only_right",
            "left_example",
            "right_example",
        ]
        frame = pd.DataFrame(rows, columns=columns)
        different = frame[["changed", "only_left", "only_right"]].sum(axis=1)
        return (
            frame.assign(d=-different)
            .sort_values(["d", "field"], ignore_index=True)
            .drop(columns="d")
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return the counts as one row per field, as `fields` has them.

        The other frames are attributes.
        """
        return self.fields

    @property
    def cut(self) -> dict[str, tuple[int, int]]:
        """The frames that hold only some: how many documents (or keys) they have, of how many."""
        lengths = {
            name: len(getattr(self.kept, name))
            for name in ("changed", "only_left", "only_right", "duplicates")
        }
        return {
            name: (length, self.counts[name])
            for name, length in lengths.items()
            if length < self.counts[name]
        }

    # words -----------------------------------------------------------------------------------------------

    @property
    def disjoint(self) -> bool:
        """Whether the sides share no record, though both have some: other times, other topics."""
        has_both = self.counts["left"] and self.counts["right"]
        twice = self.counts["left_duplicates"] or self.counts["right_duplicates"]
        return (
            self.complete and bool(has_both) and not (self.same or self.counts["changed"] or twice)
        )

    @property
    def verdict(self) -> str:
        """In a word: same, different, incomplete, or that the sides share no record."""
        if self.disjoint:
            return "share no record"
        return "incomplete" if not self.complete else "same" if self.identical else "different"

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, fields, mappings and latencies as plain values."""

        def rows(frame: pd.DataFrame | None) -> Any:
            return None if frame is None else json.loads(frame.to_json(orient="records"))

        return {
            "verdict": self.verdict,
            "identical": self.identical,
            "complete": self.complete,
            "left": self.left,
            "right": self.right,
            "key": list(self.key),
            "rules": str(self.rules),
            **{"counts": self.counts, "reasons": list(self.reasons), "notes": self.all_notes},
            **{
                "fields": rows(self.fields),
                "mappings": rows(self.mappings),
                "latency": rows(self.latency),
            },
            "elapsed_s": self.elapsed_s,
        }

    @property
    def all_notes(self) -> list[str]:
        """The notes, with those the counts call for."""
        kept = typed(
            ".{} has {:,} of {:,}; keep= keeps more", "{}: {:,} of {:,} are kept; see --keep"
        )
        words = [kept.format(name, *counts) for name, counts in self.cut.items()]
        if self.disjoint:
            apart = _DISJOINT.format(key=typed('key="FIELD"', "--key FIELD")) + typed(_PERIODS, "")
            words.insert(0, _DISJOINT_BY_KEY if self.key else apart)
        return [*self.notes, *words]

    def _counts_of(self, side: str) -> str:
        parts = [("same", "same"), ("changed", "changed"), (f"only_{side}", f"only {side}")]
        parts += [(f"{side}_duplicates", "with a key twice"), (f"{side}_keyless", "without a key")]
        shown = [
            f"{self.counts[name]:,} {word}"
            for name, word in parts
            if self.counts[name] or word != "without a key"
        ]
        return f"{self.counts[side]:,} {side} = {' + '.join(shown)}"

    def summary(self) -> str:
        """Return it in words: the counts, the most different fields, mappings, latencies."""
        paired = f"paired by {', '.join(self.key)}" if self.key else "paired by origin"
        lines = [f"{self.verdict.upper()}: {self.left} and {self.right}, {paired}"]
        lines += [f"  {self._counts_of(side)}" for side in ("left", "right")]
        lines += [f"  why incomplete: {reason}" for reason in self.reasons]
        different = self._different
        if len(different):
            lines += ["  fields that differ in pairs:", *_indent(_short(different.head(SHOWN)))]
            lines += (
                [f"    and {len(different) - SHOWN:,} more: see .fields"]
                if len(different) > SHOWN
                else []
            )
        if self.mappings is not None and len(self.mappings):
            lines += [f"  {len(self.mappings):,} fields are mapped differently:"]
            lines += [*_indent(_short(self.mappings.head(SHOWN)))]
            lines += [f"    and {len(self.mappings) - SHOWN:,} more: see .mappings"] * (
                len(self.mappings) > SHOWN
            )
        if self.latency is not None:
            lines += ["  time to answer, medians:", *_indent(self.latency)]
        lines += [f"  equal: {RULES}{'; ' + str(self.rules) if str(self.rules) else ''}"]
        lines += [f"  note: {note}" for note in self.all_notes]
        return "\n".join(map(visible, lines))

    @property
    def _different(self) -> pd.DataFrame:
        frame = self.fields
        return frame[frame[["changed", "only_left", "only_right"]].sum(axis=1) > 0]

    __str__ = summary
    __repr__ = summary

    @html.view
    def _repr_html_(self) -> str:
        weak = self.disjoint or not self.complete
        colour = html.GREEN if self.identical else html.AMBER if weak else html.RED
        paired = escape(", ".join(self.key)) or "origin"
        extra = [*(f"why incomplete: {reason}" for reason in self.reasons), *self.all_notes]
        notes = "".join(f"<li>{escape(note)}</li>" for note in extra)
        head = (
            f"{html.word(colour, self.verdict)} · "
            f"<code>{escape(self.left)}</code> (left) and <code>{escape(self.right)}</code> (right), paired by {paired}"
            f"<br>{escape(self._counts_of('left'))}<br>{escape(self._counts_of('right'))}"
            f'<br><span style="opacity:.7">{escape(RULES)}{escape("; " + str(self.rules) if str(self.rules) else "")}'
            f" · {self.elapsed_s:.1f} s</span>"
        )
        parts = [_html_table("fields that differ in pairs", self._different, ".fields")]
        parts.append(_html_table("mapped differently", self.mappings, ".mappings"))
        parts.append(_html_table("time to answer, medians", self.latency, ".latency"))
        return html.box(
            colour, head + (f"<ul style=margin:0>{notes}</ul>" if notes else "")
        ) + "".join(parts)


def _json(value: Any) -> str | None:
    return None if value is None else dumps(value)


def _example(tally: Tally) -> tuple[str | None, str | None]:
    return (
        (None, None)
        if tally.example is None
        else (_json(tally.example.left), _json(tally.example.right))
    )


def _origin(ids: list[str]) -> pa.Table:
    column = pa.array(ids, pa.string())
    return pa.table({"_id": column, **origins(column)})


def _beside(keyed: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return both's columns.

    One that names a document and is called as another's has ``_key`` appended.
    """
    clash = {name: f"{name}_key" for name in keyed.columns if name in frame.columns}
    return keyed.rename(columns=clash).join(frame)


def _by_key(keys: Any, names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([json.loads(key) for key in keys], columns=list(names), dtype=object)


def _documents(documents: list[tuple[str, str]]) -> pd.DataFrame:
    if not documents:
        return to_pandas(decode_batches([]))
    ids = pa.array([document_id for document_id, _ in documents], pa.string())
    columns = {"_index": pa.nulls(len(documents), pa.string()), "_id": ids, **origins(ids)}
    sources = pa.array([source.encode() for _, source in documents], pa.binary())
    frame = to_pandas(
        decode_batches(
            [pa.RecordBatch.from_pydict({**columns, "_source": sources}, schema=BATCH_SCHEMA)]
        )
    )
    return frame.sort_values(
        ["_topic", "_partition", "_offset", "_id"], kind="stable", ignore_index=True
    )


def _short(frame: pd.DataFrame, most: int = 40) -> pd.DataFrame:
    def cut(value: Any) -> Any:
        return (
            value if not isinstance(value, str) or len(value) <= most else value[: most - 1] + "…"
        )

    return frame.map(cut)


def _indent(frame: pd.DataFrame) -> list[str]:
    return ["    " + visible(line) for line in frame.to_string(index=False, na_rep="-").split("\n")]


def _html_table(title: str, frame: pd.DataFrame | None, where: str) -> str:
    if frame is None or not len(frame):
        return ""
    more = (
        f": the first {SHOWN} of {len(frame):,}, see <code>{where}</code>"
        if len(frame) > SHOWN
        else ""
    )
    return f"<p>{title}{more}</p>" + html.table(
        [str(name) for name in frame], cells.rows(frame.head(SHOWN), _html_cell)
    )


def _html_cell(value: Any, kind: pa.DataType | None = None) -> str:
    """Return a cell; an example is JSON: its text has quotes, and needs none around them."""
    is_json = isinstance(value, str) and value.startswith('"')
    return escape(visible(brief(value))) if is_json else cells.html_cell(value, kind)
