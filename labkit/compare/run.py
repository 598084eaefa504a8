"""The comparison itself: read both, join them, look at each pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from labkit.checks.suggest import typed
from labkit.checks.validation import whole_number
from labkit.compare import indices, rules
from labkit.compare.differ import CHANGED, EQUAL, ONLY_LEFT, ONLY_RIGHT, Differ, Difference
from labkit.compare.inputs import Side, only_within, open_side
from labkit.compare.join import Spill, read_both
from labkit.compare.result import Comparison, Kept
from labkit.compare.rules import Rules
from labkit.compare.times import Times
from labkit.elastic import Target
from labkit.errors import LabkitError, UsageError
from labkit.reads import WindowReads
from labkit.sinks.replay import Replay
from labkit.sinks.scratch import Load
from labkit.tables.duckdb_sql import duckdb
from labkit.waiting import interrupt
from labkit.waiting.progress import bar

if TYPE_CHECKING:
    from labkit.window import Window

KEEP = 10_000
KEEP_BYTES = 64_000_000
UNREADABLE, TOO_DEEP = "(unreadable)", "(nested too deeply)"


def compare(
    a: Any,
    b: Any,
    *,
    targets: Callable[[str], Target],
    key: str | Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    only: Sequence[str] = (),
    tolerance: Any = None,
    target: str = "default",
    time_field: str = "@timestamp",
    within: Window | None = None,
    keep: int = KEEP,
    latency: bool = True,
    progress: bool | None = None,
    on_interrupt: interrupt.OnInterrupt = "raise",
    timezone: tzinfo = UTC,
) -> Comparison:
    """Compare two sides; `Lab.compare` says how."""
    interrupt.check_policy(on_interrupt)
    user_rules = Rules.of(ignore, only, tolerance)
    keys = rules.texts(key, "key")
    keep = whole_number(keep, "keep", "how many documents that differ are kept to be shown?", low=0)
    _check_time_field(time_field)
    sides = open_side(a, targets, target, beside=b), open_side(b, targets, target, beside=a)
    if within is not None:
        for side in sides:
            only_within(side, within, by_origin=not keys)
    began = time.monotonic()
    totals = [side.total() or 0 for side in sides]
    with (
        Spill(keys, time_field) as spill,
        interrupt.listen() as cancelled,
        bar(f"{sides[0].name} and {sides[1].name}", sum(totals), progress) as advance,
    ):
        read_both(spill, sides, cancelled, advance)
        _check_origins(sides, keys)
        _check_keys(sides, keys, spill.keyless)
        work = _Work(user_rules, keep)
        with spill.join_sides() as (connection, pairs):
            reasons = [f"{side.name}: {why}" for side in sides for why in side.reasons]
            if cancelled():
                reasons.append(_unread_reason(sides, totals))
            for batch in pairs():
                work.look(batch)
                if cancelled() and not reasons:
                    reasons.append(f"interrupted: {work.looked:,} pairs were looked at, not all")
                    break
            twice, duplicates = _duplicates(connection, keep)
    indices_of_sides = sides[0].index, sides[1].index
    unasked: list[str] = []
    notes = _notes(sides, by_key=bool(keys))
    if within is None and not keys:
        notes += _hint_at_window((a, b), sides, work)
    if not reasons:
        notes += user_rules.check()
    comparison = Comparison(
        left=sides[0].name,
        right=sides[1].name,
        key=keys,
        rules=user_rules,
        counts=_counts(sides, work, twice, spill.keyless),
        reasons=tuple(reasons),
        kept=Kept(work.changed, work.alone[0], work.alone[1], duplicates),
        tallies=work.differ.fields,
        times=work.times,
        timezone=timezone,
        mappings=_ask_indices(indices.mappings, indices_of_sides, notes, unasked),
        latency=_ask_indices(indices.latency, indices_of_sides, notes, unasked)
        if latency and not reasons
        else None,
        notes=tuple(notes),
        elapsed_s=round(time.monotonic() - began, 2),
    )
    if (cancelled() or unasked) and on_interrupt == "raise":
        whole = ", ".join(["all documents were compared", *(f"{name} not" for name in unasked)])
        summary = "; ".join(reasons) or whole
        raise interrupt.stop_error(f"stopped: {summary}", comparison=comparison)
    return comparison


def _check_time_field(name: str) -> None:
    if not name or '"' in name:
        raise UsageError(
            f"time_field must be the name of a field, not {name!r}",
            hint="name the field that says when, such as @timestamp",
        )


def _unread_reason(sides: tuple[Side, Side], totals: Sequence[int]) -> str:
    """Return why a comparison is not whole that was interrupted while it read."""
    read = " and ".join(
        f"{side.documents + side.outside:,} of {total:,}"
        for side, total in zip(sides, totals, strict=True)
    )
    return f"interrupted while reading ({read} documents): what was not read looks like missing"


def _notes(sides: tuple[Side, Side], *, by_key: bool) -> list[str]:
    """Return how many documents are outside of the window, and what each side notes."""
    notes = []
    for side in sides:
        left_out = side.outside if by_key else side.outside + side.nameless
        if left_out:
            notes.append(f"{left_out:,} documents of {side.name} are outside of the window")
    return notes + [note for side in sides for note in side.notes]


def _hint_at_window(given: tuple[Any, Any], sides: tuple[Side, Side], work: _Work) -> list[str]:
    """Tell how to leave out what an index has beside the part of the topic that it is held to."""
    for part, side, outcome in zip(given, sides[::-1], (ONLY_RIGHT, ONLY_LEFT), strict=True):
        if isinstance(part, WindowReads | Replay | Load) and side.index and work.outcomes[outcome]:
            option = typed("within=w", "--within FILE")
            window = typed("window w", "the window that FILE has from `labkit window --json`")
            return [f"{option} leaves out what {side.name} has of other offsets than {window}"]
    return []


@dataclass
class _Work:
    """What the pairs come to."""

    rules: Rules
    keep: int
    differ: Differ = field(init=False)
    outcomes: np.ndarray = field(default_factory=lambda: np.zeros(4, np.int64))
    times: Times = field(default_factory=Times)
    changed: list[tuple[str, str, str, list[Difference]]] = field(default_factory=list)
    alone: tuple[list[tuple[str, str]], list[tuple[str, str]]] = field(
        default_factory=lambda: ([], [])
    )
    room: list[int] = field(default_factory=lambda: [KEEP_BYTES] * 3)

    def __post_init__(self) -> None:
        self.differ = Differ(self.rules)

    @property
    def looked(self) -> int:
        return int(self.outcomes.sum())

    def look(self, batch: pa.RecordBatch) -> None:
        rows = batch.drop_columns(["stamp"])
        for name in ("left", "right"):
            rows = rows.append_column(
                f"{name}_long", rules.long_numbers(batch.column(f"{name}_source"))
            )
        outcomes = np.fromiter(map(self._outcome, rows.to_pylist()), np.int8, len(batch))
        self.outcomes += np.bincount(outcomes, minlength=4)
        stamps = batch.column("stamp").fill_null(0).to_numpy()
        timed = batch.column("stamp").is_valid().to_numpy(False)
        differing = outcomes != EQUAL
        self.times.add(outcomes[differing], stamps[differing], timed[differing])

    def _outcome(self, row: dict[str, Any]) -> int:
        left, right = row["left_source"], row["right_source"]
        if row["same"]:
            self.differ.same(_document(left))
            return EQUAL
        if left is None or right is None:
            place = 0 if right is None else 1
            self._keep_alone(place, row[("left_id", "right_id")[place]], left or right or "")
            return ONLY_LEFT if right is None else ONLY_RIGHT
        try:
            differences = self.differ.pair(
                _document(left, row["left_long"]), _document(right, row["right_long"])
            )
        except RecursionError:
            differences = [Difference(TOO_DEEP, CHANGED, None, None)]
        if not differences:
            return EQUAL
        if len(self.changed) < self.keep and self.room[2] > 0:
            self.room[2] -= len(left) + len(right)
            self.changed.append((row["key"], row["left_id"], row["right_id"], differences))
        return CHANGED

    def _keep_alone(self, place: int, name: str, source: str) -> None:
        if len(self.alone[place]) < self.keep and self.room[place] > 0:
            self.room[place] -= len(source)
            self.alone[place].append((name, source))


def _document(source: str, long: bool = False) -> dict[str, Any]:
    try:
        document = rules.loads(source, long)
    except (ValueError, RecursionError):
        return {UNREADABLE: source}
    return document if isinstance(document, dict) else {UNREADABLE: source}


def _check_origins(sides: tuple[Side, Side], keys: Sequence[str]) -> None:
    """Refuse to judge by a window documents none of which tells which record it was.

    Some are a reason where fields pair the documents; where origins do, they have no partner
    anyhow.
    """
    for side in sides:
        if side.nameless and not side.documents + side.outside:
            raise UsageError(
                f"nothing in {side.name} tells which record it was, so within= cannot choose",
                hint="an _id of topic-partition-offset does, or columns _topic, _partition and _offset",
            )
        if side.nameless and keys:
            side.reasons.append(
                f"{side.nameless:,} documents do not tell which record they were: left out by within="
            )


def _check_keys(sides: tuple[Side, Side], keys: Sequence[str], keyless: list[int]) -> None:
    for side, without in zip(sides, keyless, strict=True):
        if side.documents and without == side.documents:
            fields = (
                f"the fields {', '.join(keys)}"
                if keys
                else "an _id, or columns _topic, _partition and _offset"
            )
            raise UsageError(
                f"nothing in {side.name} has {fields}",
                hint=f"{typed('key=', '--key')} names the fields that pair documents",
            )


def _duplicates(
    connection: duckdb.DuckDBPyConnection, keep: int
) -> tuple[dict[str, int], pa.Table]:
    query = """select count(*) "keys", coalesce(sum("left"), 0)::bigint "left",
               coalesce(sum("right"), 0)::bigint "right" from twice"""
    (total,) = connection.sql(query).to_arrow_table().to_pylist()
    examples = connection.sql(
        "select * from twice order by key limit $n", params={"n": keep}
    ).to_arrow_table()
    return total, examples


def _counts(
    sides: tuple[Side, Side], work: _Work, twice: dict[str, int], keyless: list[int]
) -> dict[str, int]:
    return {
        "left": sides[0].documents,
        "right": sides[1].documents,
        "same": int(work.outcomes[EQUAL]),
        "changed": int(work.outcomes[CHANGED]),
        "only_left": int(work.outcomes[ONLY_LEFT]),
        "only_right": int(work.outcomes[ONLY_RIGHT]),
        "duplicates": twice["keys"],
        "left_duplicates": twice["left"],
        "right_duplicates": twice["right"],
        "left_keyless": keyless[0],
        "right_keyless": keyless[1],
    }


def _ask_indices(
    question: Callable[[Any, Any], Any], both: tuple[Any, Any], notes: list[str], unasked: list[str]
) -> Any:
    """Ask both indices for something beside the documents; a failure becomes a note.

    The comparison stays. The name of a question that an interrupt ended is added to `unasked`.
    """
    if None in both:
        return None
    try:
        return question(*both)
    except LabkitError as error:
        notes.append(error.message)
    except KeyboardInterrupt:
        unasked.append(question.__name__)
        notes.append(f"interrupted: {question.__name__} was not asked for")
    return None
