"""List indices: who owns them, how large they are, and which window a scratch index holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.checks.names import SCRATCH_PREFIX, check_patterns, choose, why_missing
from labkit.checks.suggest import did_you_mean
from labkit.checks.user_line import warn
from labkit.config.profiles import how_to_add_elasticsearch
from labkit.elastic import Target
from labkit.errors import AccessError, LabkitError
from labkit.es.mappings import notes_in, shortfalls_in

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "index",
    "target",
    "documents",
    "bytes",
    "created",
    "scratch",
    "topic",
    "window",
    "expires",
    "shortfall",
)


def indices_frame(
    targets: Iterable[Target], patterns: Iterable[str] = (), *, profile: str
) -> pd.DataFrame:
    """Return one row per index that a pattern matches; see `labkit.lab.Lab.indices`.

    `profile` names the profile that has the targets.
    """
    import pandas as pd

    patterns, targets = check_patterns(patterns), list(targets)
    rows = rows_of_targets(targets, partial(_rows, patterns=patterns))
    if targets:
        _warn_of_missing(targets, [row["index"] for row in rows], patterns)
    else:
        warn(f"this profile has no Elasticsearch: {how_to_add_elasticsearch(profile)}")
    frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(
        {"documents": "Int64", "bytes": "Int64"}
    )
    created = pd.to_datetime(frame["created"], unit="ms", utc=True)
    expires = pd.to_datetime(frame["expires"], errors="coerce", utc=True)
    return frame.assign(
        created=created.astype("datetime64[ms, UTC]"),
        expires=expires.astype("datetime64[ms, UTC]"),
        scratch=frame["scratch"].astype(bool),
    )


def _warn_of_missing(targets: list[Target], listed: list[str], patterns: list[str]) -> None:
    """Warn when indices that were asked for, or all, are not in the list; and why they may not."""

    def near(name: str) -> str:
        rows = rows_of_targets(targets, partial(_rows, patterns=()))
        return did_you_mean(name, [row["index"] for row in rows])

    who, grant = "this user of Elasticsearch", f"{targets[0].recipe} prints what to grant"
    right = "view_index_metadata"
    text = why_missing("index", listed, patterns, who=who, right=right, grant=grant, near=near)
    if text:
        warn(text)


def rows_of_targets(
    targets: Iterable[Target], list_rows: Callable[[Target], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the rows of all targets; one that is away is a warning, that all are an error."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, LabkitError] = {}
    all_targets = list(targets)
    for target in all_targets:
        try:
            rows += list_rows(target)
        except LabkitError as error:
            errors[target.name] = error
            if len(errors) == len(all_targets):
                raise
    for name, reason in errors.items():
        warn(f"{name} is left out: {reason.message}")
    return rows


def _rows(target: Target, patterns: Iterable[str]) -> list[dict[str, Any]]:
    """Return a row for each index that this user may look at; closed ones have no counts."""
    open_or_closed = ["open", "closed"]
    with target.errors("list the indices"):
        client = target.client.indices
        settings = client.get_settings(
            index="*", expand_wildcards=open_or_closed, filter_path="*.settings.index.creation_date"
        ).body
        mappings = client.get_mapping(
            index="*", expand_wildcards=open_or_closed, filter_path="*.mappings._meta.labkit"
        ).body
    sizes = _sizes(target)
    rows = []
    for name in choose(sorted(settings), patterns):
        notes = notes_in(mappings.get(name, {}).get("mappings", {}))
        primaries = sizes.get(name, {}).get("primaries", {})
        rows.append({
            "index": name,
            "target": target.name,
            "documents": primaries.get("docs", {}).get("count"),
            "bytes": primaries.get("store", {}).get("size_in_bytes"),
            "created": int(settings[name]["settings"]["index"]["creation_date"]),
            "scratch": name.startswith(SCRATCH_PREFIX),
            "topic": notes.get("topic"),
            "window": notes.get("window"),
            "expires": notes.get("expires"),
            "shortfall": "; ".join(shortfalls_in(notes).values()) if notes else None,
        })  # fmt: skip
    return rows


def _sizes(target: Target) -> dict[str, Any]:
    """Return the indices' statistics, as far as this user may see them."""
    try:
        with target.errors("count the indices' documents"):
            stats = target.client.indices.stats(
                index="*", metric="docs,store", filter_path="indices.*.primaries"
            ).body
    except AccessError:
        return {}
    return dict(stats.get("indices", {}))
