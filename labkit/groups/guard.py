"""Before and after: did any group that is not the lab's change while the lab worked?"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from types import TracebackType

from labkit import names
from labkit.groups.offsets import Group, list_groups
from labkit.kafka import Cluster


@dataclass(frozen=True)
class Change:
    """One thing that is different after."""

    group: str
    what: str
    before: str
    after: str


@dataclass
class Guard:
    """Foreign groups' members and committed offsets before and after a block.

    Offsets alone do not say who moved them: a group that its own consumers move while the block runs is reported as
    changed. What the lab's principal may not do (`labkit acl`) is the stronger proof.
    """

    cluster: Cluster
    changes: list[Change] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    _before: dict[str, Group] = field(default_factory=dict, repr=False)
    _finished: bool = False

    def __enter__(self) -> Guard:
        return self.start()

    def start(self) -> Guard:
        """Take the first look; for work that spreads over several cells of a notebook."""
        self._before = self._foreign()
        self.watched = sorted(self._before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Guard:
        """Take the second look and compare."""
        after = self._foreign()
        self.changes = [
            change
            for name in sorted({*self._before, *after})
            for change in compare(name, self._before.get(name), after.get(name))
        ]
        self._finished = True
        return self

    def _foreign(self) -> dict[str, Group]:
        return {one.name: one for one in list_groups(self.cluster) if not one.name.startswith(names.GROUP_PREFIX)}

    @property
    def untouched(self) -> bool:
        """Whether every foreign group was the same before and after; False while the block still runs."""
        return self._finished and not self.changes

    def report(self) -> str:
        """Return the comparison as text."""
        if not self._finished:
            return "the guarded block has not ended yet"
        groups = f"{len(self.watched)} group{'' if len(self.watched) == 1 else 's'} that are not the lab's"
        if not self.changes:
            listed = ", ".join(self.watched[:8]) + (" …" if len(self.watched) > 8 else "")
            return f"untouched: members and committed offsets of {groups} are the same as before ({listed or 'none'})"
        lines = [f"changed while the block ran, of {groups}:"]
        lines += [f"  {one.group}: {one.what}: {one.before} -> {one.after}" for one in self.changes]
        lines.append("  offsets do not say who moved them; the lab joins and commits only to groups named labkit.*")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        colour = "#2e7d32" if self.untouched else "#ef6c00"
        body = escape(self.report()).replace("\n", "<br>")
        return f'<div style="border-left:4px solid {colour};padding:2px 12px">{body}</div>'


def compare(name: str, before: Group | None, after: Group | None) -> list[Change]:
    """Return what differs between two looks at one group."""
    if before is None or after is None:
        return [
            Change(name, "group", "absent" if before is None else "present", "absent" if after is None else "present")
        ]
    changes = []
    if before.members != after.members:
        changes.append(Change(name, "members", _members(before), _members(after)))
    for where in sorted({*before.committed, *after.committed}):
        old, new = before.committed.get(where), after.committed.get(where)
        if old != new:
            changes.append(Change(name, f"{where[0]}[{where[1]}]", str(old), str(new)))
    return changes


def _members(group: Group) -> str:
    return ", ".join(one.client_id for one in group.members) or "none"
