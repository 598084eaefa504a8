"""Scratch indices: throw-away indices of one user's lab, with an expiry of their own.

Their names are ``scratch-<user>-…``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.checks import names
from labkit.checks.suggest import did_you_mean, typed, way
from labkit.checks.user_line import warn
from labkit.elastic import Target
from labkit.errors import LabkitError, NotFoundError, UsageError
from labkit.es import mappings
from labkit.es.catalog import rows_of_targets
from labkit.es.form import PLAIN, Form
from labkit.es.index import Index, condition_of, notes_kept
from labkit.replay.plan import Plan
from labkit.sinks import topic
from labkit.times import iso, length_ms, now_ms

LOADING = "its load has not ended, or was ended from outside"
NOTE_S = 10.0  # to note how a load ended, when the cluster may be away

if TYPE_CHECKING:
    import pandas as pd

    from labkit.kafka.cluster import Cluster


@dataclass(frozen=True, repr=False)
class ScratchIndex(Index):
    """One scratch index, ``scratch-<user>-…``: it is read as any `Index`, and can be dropped."""

    def refresh(self) -> None:
        """Make what was written visible."""
        with self.target.errors(f"refresh index {self.name!r}"):
            self.target.client.indices.refresh(index=self.name)

    def extend(self, ttl: str = "2d") -> str:
        """Let it expire `ttl` from now; return when that is, in UTC.

        The expiry stands in the index's own ``_meta``; `Lab.gc` reads it.
        """
        names.scratch_index(self.name)
        expires = iso(now_ms() + length_ms(ttl)) or ""
        with self.target.errors(f"put off the expiry of {self.name!r}"):
            client = self.target.client
            mapping = client.indices.get_mapping(index=self.name)[self.name]["mappings"]
            notes = {**mappings.notes_in(mapping), "expires": expires}
            mappings.put_notes(client, self.name, mapping, notes)
        return expires

    def drop(self) -> None:
        """Delete it."""
        names.scratch_index(self.name)
        with self.target.errors(f"delete index {self.name!r}"):
            self.target.client.indices.delete(index=self.name)


def ensure(
    index: ScratchIndex,
    ttl: str,
    plan: Plan,
    mapping: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    form: Form = PLAIN,
    where: str | None = None,
) -> None:
    """Make the index, or put off the expiry of the one that is there.

    It keeps the condition of its loads, as long as all have the same, and notes that this one has
    not ended.
    """
    expires = now_ms() + length_ms(ttl)
    notes = {
        "made_by": names.user(),
        "topic": plan.topic,
        "window": plan.hash,
        "expires": iso(expires),
        **form.meta,
    }
    with index.target.errors(f"make index {index.name!r}"):
        earlier = notes_kept(index) if index.target.has_index(index.name) else []
        if where is not None and (not earlier or where == condition_of(earlier)):
            notes["where"] = where
        shortfalls = mappings.shortfalls_in(earlier[0]) if earlier else {}
        notes["incomplete"] = {**shortfalls, plan.hash: LOADING}
        shape = {**mapping, "_meta": {"labkit": notes}}
        mappings.ensure(index.target, index.name, shape, {**mappings.SETTINGS, **(settings or {})})
        index.target.client.indices.put_mapping(index=index.name, meta={"labkit": notes})


def note_load(index: ScratchIndex, window: str, shortfall: str) -> None:
    """Note in the index why it has not all of a window, or that it has.

    A cluster that does not answer leaves the note that the load has not ended.
    """
    brief = index.target.client.options(request_timeout=NOTE_S, max_retries=0)
    with suppress(LabkitError), index.target.errors(f"note the load of {index.name!r}"):
        mapping = brief.indices.get_mapping(index=index.name)[index.name]["mappings"]
        notes = mappings.notes_in(mapping)
        shortfalls = {**mappings.shortfalls_in(notes), window: shortfall}
        notes["incomplete"] = {name: why for name, why in shortfalls.items() if why}
        mappings.put_notes(brief, index.name, mapping, notes)


def identity(index: ScratchIndex) -> str:
    """Return what tells an index from a later one of its name."""
    with index.target.errors(f"look at index {index.name!r}"):
        settings = index.target.client.indices.get_settings(
            index=index.name, name="index.uuid", flat_settings=True
        )
    return str(settings[index.name]["settings"]["index.uuid"])


def require_same(index: ScratchIndex, index_uuid: str) -> None:
    """Raise when the index was deleted during the load.

    Elasticsearch makes it anew, as it sees fit, for the rest.
    """
    with suppress(NotFoundError):
        if identity(index) == index_uuid:
            return
        if not any(notes_kept(index)):  # made by this load
            index.drop()
    raise NotFoundError(
        f"index {index.name!r} was deleted while it was loaded",
        hint="load again; did another notebook drop it, or `labkit gc` after it expired?",
        index=index.name,
    )


def list_indices(target: Target) -> list[dict[str, Any]]:
    """Return one row per scratch index.

    Its columns: kind, index, target, documents, bytes, topic, expires, expired, shortfall.
    """
    mine = f"{names.SCRATCH_PREFIX}{names.user()}-*"
    rows = []
    with target.errors("list the scratch indices"):
        answer = target.client.indices.get_mapping(index=mine, allow_no_indices=True)
        stats = target.client.indices.stats(index=mine, metric="docs,store")["indices"]
    for name, entry in sorted(answer.items()):
        notes = mappings.notes_in(entry["mappings"])
        expires = notes.get("expires") if isinstance(notes.get("expires"), str) else None
        primaries = stats.get(name, {}).get("primaries", {})
        rows.append(
            {
                "kind": "index",
                "index": name,
                "target": target.name,
                "documents": primaries.get("docs", {}).get("count", 0),
                "bytes": primaries.get("store", {}).get("size_in_bytes", 0),
                "topic": notes.get("topic"),
                "expires": expires,
                "expired": expires is not None and expires < (iso(now_ms()) or ""),
                "shortfall": "; ".join(mappings.shortfalls_in(notes).values()),
            }
        )
    return rows


def scratch_frame(targets: Iterable[Target], cluster: Cluster) -> pd.DataFrame:
    """Return this user's scratch indices and topics; see `labkit.lab.Lab.scratch`."""
    import pandas as pd

    rows = rows_of_targets(targets, list_indices)
    try:
        rows += topic.list_topics(cluster)
    except LabkitError as error:
        warn(f"scratch topics are left out: {error.message}")
    columns = [
        "kind",
        "index",
        "target",
        "documents",
        "bytes",
        "topic",
        "expires",
        "expired",
        "shortfall",
    ]
    return pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})


def delete(targets: Mapping[str, Target], cluster: Cluster, name: str, target: str | None) -> str:
    """Delete one of this user's scratch indices or topics; see `labkit.lab.Lab.delete_scratch`."""
    user = names.user()
    prefixes = ("", f"{names.SCRATCH_PREFIX}{user}-", f"{names.TOPIC_PREFIX}{user}.")
    meant = {f"{prefix}{name}" for prefix in prefixes}
    rows = [
        (str(row["index"] if row["kind"] == "index" else row["topic"]), row)
        for row in scratch_frame(targets.values(), cluster).to_dict("records")
    ]
    matches = [
        (whole, row) for whole, row in rows if whole in meant and target in (None, row["target"])
    ]
    if not matches:
        near = did_you_mean(name, _short_names([whole for whole, _ in rows], prefixes))
        raise NotFoundError(
            f"there is no scratch index or topic {name!r} of {user}; nothing else is deleted",
            hint=f"{near}{way('scratch')} lists yours",
        )
    if len(matches) > 1:
        places = [
            f"{whole}@{row['target']}" if row["kind"] == "index" else whole
            for whole, row in matches
        ]
        raise UsageError(
            f"{name!r} is the name of {len(matches)}: {', '.join(places)}",
            hint=f"give the whole name, or {typed('target=', '--target')} of an index",
        )
    ((whole, row),) = matches
    if row["kind"] == "index":
        ScratchIndex(whole, targets[row["target"]]).drop()
    else:
        topic.drop(cluster, whole)
    return whole


def _short_names(whole: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """Return names as they are, and without the prefix of their user."""
    return [
        name.removeprefix(prefix)
        for name in whole
        for prefix in prefixes
        if name.startswith(prefix)
    ]


def collect(target: Target) -> Iterator[str]:
    """Delete this user's expired scratch indices; yield the name of each that is gone."""
    for row in list_indices(target):
        if row["expired"]:
            with suppress(NotFoundError):  # somebody else's gc was faster
                ScratchIndex(row["index"], target).drop()
                yield row["index"]
