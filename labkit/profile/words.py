"""The words that a profile's text and page share.

They are values, shares, sizes, times, and how exact they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.decode.cells import cell
from labkit.profile.fields import FieldStats, value_cell
from labkit.profile.result import Profile, high, low, main_kind, shares
from labkit.text.counts import number_of
from labkit.times import iso

if TYPE_CHECKING:
    from labkit.profile.records import RecordStats

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_MANY = 0.5  # distinct values a value: more of them, and the frequent ones say little


def percent(share: float) -> str:
    """Return a share as text; what is not all or nothing is never shown as 100 % or 0 %."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    shown = f"{100 * share:.0f}" if 0.01 <= share <= 0.99 else f"{100 * share:.1f}"
    if shown in ("0.0", "100.0"):
        return "<0.1 %" if share < 0.5 else ">99.9 %"
    return f"{shown} %"


def size(count: float) -> str:
    """Return bytes as text."""
    for unit, word in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {word}"
    return f"{count:.0f} B"


def number(value: Any) -> str:
    """Return a number with four digits, or all of those before its point."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def kind_words(field: FieldStats) -> str:
    """Return a field's type, or its types with their shares where values disagree."""
    kind_shares = shares(field)
    if len(kind_shares) < 2:
        return main_kind(field)
    return ", ".join(f"{kind} {percent(share)}" for kind, share in kind_shares.items())


def distinct_words(profile: Profile, field: FieldStats) -> str:
    """Return how many distinct values there are; ``~`` where it is an estimate."""
    if field.distinct is None:
        return ""
    return f"{field.distinct:,}" if field.exact and not profile.sampled else f"~{field.distinct:,}"


def value_words(field: FieldStats, most: int = 24) -> str:
    """Return the values in few words: the frequent ones, or from where to where they go."""
    kind = main_kind(field)
    if kind in ("object", "null"):
        return ""
    if kind in ("list", "map"):
        return f"{number(low(field))} to {number(high(field))} items"
    if kind in ("integer", "number", "decimal") and (field.distinct or 0) > TOP_NUMBERS:
        middle = field.numbers.quantiles((0.5,))[0]
        return f"{number(low(field))} … {number(middle)} … {number(high(field))}"
    if kind in ("time", "local time", "date", "time of day", "duration"):
        return f"{cell(low(field))} … {cell(high(field))}"
    if field.distinct and field.distinct > _MANY * field.values and field.values > TOP_NUMBERS:
        return value_cell(field.example, most=2 * most)
    return ", ".join(
        f"{value_cell(value, most=most)} {percent(count / field.values)}"
        for value, count in field.top(5)
    )


TOP_NUMBERS = 10


def head_lines(profile: Profile) -> list[str]:
    """Return the facts about all records, a line each; how many they are comes first."""
    stats = profile.records
    lines = [
        _count_line(profile),
        _time_line(profile),
        _partition_line(stats),
        _key_line(profile),
        _header_line(stats),
        _value_line(stats),
    ]
    if stats.undecodable:
        reason = "".join(f": {cell(reason, most=60)}" for reason, _ in stats.reasons.top(1))
        lines.append(f"{stats.undecodable:,} could not be decoded{reason}")
    if profile.left_out:
        lines.append(
            f"{profile.left_out:,} more fields are not shown: the deepest, of these the last by name"
        )
    return [line for line in lines if line]


def _count_line(profile: Profile) -> str:
    if profile.sampled:
        return (
            f"a sample: {len(profile):,} of {profile.planned:,} records; all figures are estimates"
        )
    if not profile.complete:
        why = ", ".join(profile.receipt.reasons) if profile.receipt else ""
        return f"INCOMPLETE ({why}): {len(profile):,} records of {profile.planned:,} planned"
    return f"{number_of(len(profile), 'record')}, all of them"


def _time_line(profile: Profile) -> str:
    stats = profile.records
    parts = []
    if stats.first_ms is not None:
        parts.append(f"from {iso(stats.first_ms)} to {iso(stats.last_ms)}")
    if stats.untimed and profile.receipt is not None:  # an index's documents have no time of Kafka
        parts.append(f"{stats.untimed:,} without a time")
    return "; ".join(parts)


def _partition_line(stats: RecordStats) -> str:
    counts = [partition.records for partition in stats.partitions.values()]
    if not counts:
        return ""
    if len(counts) == 1:
        return "1 partition"
    low, high = min(counts), max(counts)
    spread = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{len(counts)} partitions, {spread} records each"


def _key_line(profile: Profile) -> str:
    stats = profile.records
    if profile.receipt is None or not stats.records:
        return ""
    if not stats.keyed:
        return "keys: none"
    about = "~" if stats.keys.error or profile.sampled else ""
    top = ", ".join(
        f"{cell(key, most=24)} {percent(count / stats.keyed)}" for key, count in stats.keys.top(3)
    )
    return f"keys: {percent(stats.keyed / stats.records)} of records, {about}{stats.distinct_keys:,} distinct; {top}"


def _header_line(stats: RecordStats) -> str:
    most = stats.headers.top(5)
    if not most:
        return ""
    more = f" and {stats.headers.distinct - 5:,} more" if stats.headers.distinct > 5 else ""
    return f"headers: {', '.join(f'{cell(name)} {percent(n / stats.records)}' for name, n in most)}{more}"


def _value_line(stats: RecordStats) -> str:
    middle, most = stats.value_bytes.quantiles((0.5, 0.95))
    if middle is None or most is None:
        return ""
    parts = [f"values: {size(middle)} (median), {size(most)} (95 %), largest {size(stats.largest)}"]
    parts += [number_of(stats.tombstones, "tombstone")] if stats.tombstones else []
    parts += [f"{stats.empty:,} empty"] if stats.empty else []
    return "; ".join([*parts, f"{size(stats.bytes)} in all"])
