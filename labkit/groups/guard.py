"""Compare all foreign groups before and after the lab worked, and say what the lab could change.

Offsets do not say who moved them. What is known is reported: whether a member of a changed group bore
labkit's client id, that nothing in labkit joins or commits to a group not named ``labkit.*``, and
what the broker itself would refuse this principal: it tells, for each group, which operations it
allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from labkit.checks import names
from labkit.errors import (
    AccessError,
    DeadlineError,
    LabkitError,
    ServerError,
    UnavailableError,
    UsageError,
)
from labkit.groups.listing import list_whole
from labkit.groups.offsets import Group, list_groups, names_by_members
from labkit.kafka.cluster import Cluster
from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import first_few, visible

HIDDEN = "the client sees neither members nor commits of a share group or a new Streams group"
_NO_LOOK = (AccessError, DeadlineError, ServerError, UnavailableError)
_FEW = 5  # groups that are named in a sentence
MOST_CHANGES = 20  # kept in a receipt
# a receipt's guard looks at: some milliseconds each way; `Guard` itself looks at all
MOST_GROUPS = 100


@dataclass(frozen=True)
class Change:
    """One thing that is different after.

    Attributes
    ----------
    what : str
        ``group``, ``state``, ``members``, or ``topic[partition]`` for a committed offset.
    """

    group: str
    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return visible(f"{self.group}: {self.what}: {self.before} -> {self.after}")


@dataclass(repr=False)
class Guard:
    """Foreign groups' members, states and committed offsets before and after a block.

    Attributes
    ----------
    changes : list of Change
    watched : list of str
        The groups seen before, and not hidden after.
    unseen : dict
        Foreign groups that could not be looked at, before or after, to why: ``not allowed``, ``no
        answer``, or `HIDDEN` for kinds that show nothing.
    allowed : dict
        Changed group to what the broker allows this principal on it, such as ``{"DESCRIBE"}``;
        None: not known.
    ours : list of str
        Foreign groups with a member that bore labkit's client id, before or after.
    consumed : set of str
        Foreign groups with members, before or after.
    note : str
        Why there is no proof; empty with one.
    most : int, optional
        Look at no more groups than so many, those with members first.
    there : int
        How many foreign groups there were before.
    """

    cluster: Cluster
    changes: list[Change] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)
    allowed: dict[str, frozenset[str] | None] = field(default_factory=dict)
    ours: list[str] = field(default_factory=list)
    consumed: set[str] = field(default_factory=set)
    note: str = ""
    seconds: float = 0.0
    most: int | None = None
    there: int = 0
    _before: dict[str, Group] = field(default_factory=dict, repr=False)
    _started: bool = False
    _finished: bool = False

    def __enter__(self) -> Guard:
        return self.start()

    def start(self) -> Guard:
        """Take the first look; for work that spreads over several cells of a notebook.

        That it cannot look is noted, and ends nothing: the work that is guarded is the user's.
        """
        self.note, self.unseen = "", {}
        self._before = self._foreign()
        self.watched = sorted(self._before)
        self._started, self._finished = True, False
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Guard:
        """Take the second look and compare.

        Raises
        ------
        UsageError
            When there was no first look: all would look as if it were new.
        """
        if not self._started:
            raise UsageError(
                "this guard was not started",
                hint="with lab.guard() as proof: …, or proof = lab.guard().start()",
            )
        if not self.note:
            after = self._foreign()
            if not self.note:  # without a second look all would look as if it were gone
                self._compare_with(after)
        self._finished = True
        return self

    def _compare_with(self, after: dict[str, Group]) -> None:
        """Set what changed since the first look, and what is known of who it was."""
        before = self._before
        hidden = [
            name
            for name, group in after.items()
            if group.hidden and self._is_hidden(before.get(name))
        ]
        self.unseen |= dict.fromkeys(hidden, HIDDEN)
        self.changes = []
        for name in sorted({*before, *after} - self.unseen.keys()):
            self.changes += compare(name, before.get(name), after.get(name))
        self.watched = sorted(before.keys() - self.unseen.keys())
        looked_at = [*before.values(), *after.values()]
        self.ours = sorted({group.name for group in looked_at if self._is_ours(group)})
        self.consumed = {
            group.name for group in looked_at if group.members or not group.shows_members
        }
        with suppress(*_NO_LOOK):
            self.allowed = self._ask_allowed(sorted({change.group for change in self.changes}))

    def _is_ours(self, group: Group) -> bool:
        return any(member.client_id == self._client for member in group.members)

    @staticmethod
    def _is_hidden(group: Group | None) -> bool:
        return group is not None and group.hidden

    @property
    def by_commits(self) -> list[str]:
        """The watched groups whose members the client cannot see: Kafka Streams' own kind."""
        return [name for name in self.watched if not self._before[name].shows_members]

    def _foreign(self) -> dict[str, Group]:
        """Return all groups but the lab's that can be looked at; note those that cannot."""
        began = time.monotonic()
        try:
            listed = self._list()
        except _NO_LOOK as error:
            self.note = error.message
            listed = []
        self.seconds += time.monotonic() - began
        foreign = {
            group.name: group for group in listed if not group.name.startswith(names.GROUP_PREFIX)
        }
        self.there = max(self.there, len(foreign))
        self.unseen |= {
            name: group.state for name, group in foreign.items() if group.error is not None
        }
        return {
            name: group for name, group in foreign.items() if group.error is None and not group.gone
        }

    def _list(self) -> list[Group]:
        """Return the groups to look at, at most `most` of them."""
        self.cluster.groups.prepare()
        if self.most is None:
            return list_groups(self.cluster)
        if self.watched and self.there > self.most:
            return list_groups(self.cluster, self.watched)
        listing = list_whole(self.cluster)
        busy = sorted(names_by_members(listing).items(), key=lambda one: (not one[1], one[0]))
        foreign = [name for name, _ in busy if not name.startswith(names.GROUP_PREFIX)]
        self.there = max(self.there, len(foreign))
        if len(foreign) > self.most:
            return list_groups(self.cluster, foreign[: self.most])
        return list_groups(self.cluster, listing=listing)

    @property
    def _client(self) -> str:
        return self.cluster.client_id

    def _ask_allowed(self, groups: list[str]) -> dict[str, frozenset[str] | None]:
        """Ask the broker what it lets this principal do with each of the groups."""
        descriptions = self.cluster.groups.describe(groups, operations=True)
        return {
            name: None if isinstance(answer, LabkitError) else answer.operations
            for name, answer in descriptions.items()
        }

    # what came of it ---------------------------------------------------------------------------------

    @property
    def untouched(self) -> bool:
        """Whether every foreign group was seen to be the same before and after.

        It is False while the block still runs. Also False when one could not be looked at.
        """
        return self._finished and not (self.changes or self.note or self.unseen)

    @property
    def refused(self) -> bool:
        """Whether the broker would have refused this principal to change any changed group.

        To change it is to join it, commit to it or delete it.
        """
        return bool(self.changes) and all(
            operations is not None and not {"READ", "DELETE"} & operations
            for operations in self.allowed.values()
        )

    def report(self) -> str:
        """Return the comparison as text."""
        if not self._finished:
            return f"the guarded block has not {'ended' if self._started else 'begun'} yet"
        if self.note:
            return f"not guarded: {self.note}"
        if not (self.changes or self.watched or self.unseen):
            return f"untouched: {self.cluster.principal} sees no foreign group"
        return self._report_changes() if self.changes else self._report_no_change()

    def _report_no_change(self) -> str:
        groups = _count_groups(len(self.watched))
        listed = ", ".join(map(visible, self.watched[:8])) or "none"
        if len(self.watched) > 8:
            listed += " …"
        line = f"members and committed offsets of {groups} are the same as before ({listed})"
        if self.by_commits:
            streams = first_few(self.by_commits, _FEW)
            line += f"; of {streams} only the commits can be seen (Kafka Streams)"
        if self.unseen:
            return f"no proof for all: {line}; {self._unseen()}"
        return f"untouched: {line}"

    def _report_changes(self) -> str:
        lines = [f"{self._verdict()}, of {_count_groups(len(self.watched))}{self._and_new()}:"]
        lines += [f"  {change}" for change in self.changes[:MOST_CHANGES]]
        if len(self.changes) > MOST_CHANGES:
            lines.append(f"  … and {len(self.changes) - MOST_CHANGES:,} more, see .changes")
        lines.append(
            "  labkit joins and commits only to groups named labkit.*; offsets do not say who moved them"
        )
        if self.unseen:
            lines.append(f"  {self._unseen()}")
        lines += [f"  {fact}" for fact in self.known()]
        return "\n".join(lines)

    def _unseen(self) -> str:
        """Return how many groups could not be looked at, which and why."""
        why = ", ".join(sorted(set(self.unseen.values())))
        count = number_of(len(self.unseen), "group")
        return f"{count} could not be looked at ({why}): {first_few(sorted(self.unseen), _FEW)}"

    def known(self) -> list[str]:
        """Return what is known of who it was, one fact a line."""
        if not self.changes:
            return []
        changed = sorted(self.allowed)
        facts = [
            f"members with labkit's client id {self._client!r}: in {', '.join(self.ours)}"
            if self.ours
            else f"no member bore labkit's client id {self._client!r}, before or after"
        ]
        may = [name for name in changed if {"READ", "DELETE"} & (self.allowed[name] or set())]
        dark = [name for name in changed if self.allowed[name] is None]
        if self.refused:
            facts.append(
                f"the broker refuses {self.cluster.principal} to join, commit to or delete any of them"
            )
        if may:
            facts.append(
                f"the broker would let {self.cluster.principal} commit to {first_few(may, _FEW)}: no proof by its rules"
            )
        if dark:
            facts.append(
                f"what the broker allows {self.cluster.principal} is not known for {first_few(dark, _FEW)}"
            )
        return facts

    def summary(self) -> dict[str, Any]:
        """Return what a receipt keeps, as plain values; of the changes at most 20."""
        return {
            "text": f"guard: {self._line()}",
            "groups": len(self.watched),
            "groups_there": self.there,
            "unseen": len(self.unseen),
            "untouched": self.untouched,
            "refused": self.refused,
            "changed": len(self.changes),
            "changes": [vars(change) for change in self.changes[:MOST_CHANGES]],
            "known": self.known(),
            "seconds": round(self.seconds, 3),
        }

    def _line(self) -> str:
        if self.note:
            return f"not looked at: {self.note}"
        foreign = number_of(len(self.watched), "foreign group")
        if self.most and self.there > self.most:
            foreign += f" (of {self.there:,}, those with members first; lab.guard() looks at all)"
        dark = [self._unseen()] if self.unseen else []
        if not self.watched and not self.changes:
            return "; ".join(dark or [f"{self.cluster.principal} sees no foreign group"])
        if not self.changes:
            return "; ".join([f"{foreign} the same before and after", *dark])
        verdict = f"{self._verdict()}, of {foreign}{self._and_new()}"
        return "; ".join([verdict, *dark, *self.known()])

    def _and_new(self) -> str:
        """Return how many groups came meanwhile, which are not among those watched."""
        new = {change.group for change in self.changes} - {*self.watched}
        return f" and {number_of(len(new), 'new one')}" if new else ""

    def _verdict(self) -> str:
        """Return what is known of who changed the groups, in one clause: no more than was seen."""
        changed = {change.group for change in self.changes}
        own = {name for name in changed if name in self.consumed}
        unowned, moved = changed - own, []
        if own:
            moved.append(
                f"{number_of(len(own), 'group')} moved by {'its' if len(own) == 1 else 'their'} own consumers"
            )
        if unowned:
            moved.append(f"{number_of(len(unowned), 'group')} changed by others")
        ours = changed & set(self.ours)
        # a member with labkit's client id is then another's, such as of `labkit index`
        if self.refused:
            return f"{'this lab' if ours else 'labkit'} touched nothing; {', '.join(moved)}"
        if ours:
            joined = first_few(sorted(ours), _FEW)
            return f"no proof, a member with labkit's client id was in {joined}; {', '.join(moved)}"
        return f"labkit touched nothing, though the broker would have let it; {', '.join(moved)}"

    def __str__(self) -> str:
        return self.report()

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        proven = self.untouched or (self.refused and not self.unseen)
        colour = html.GREEN if proven else html.AMBER
        return html.box(colour, html.lines(self.report()))


def _count_groups(count: int) -> str:
    return f"{number_of(count, 'group')} that {'is' if count == 1 else 'are'} not the lab's"


def compare(name: str, before: Group | None, after: Group | None) -> list[Change]:
    """Return what differs between two looks at one group."""
    if before is None or after is None:
        return [
            Change(
                name,
                "group",
                "absent" if before is None else "present",
                "absent" if after is None else "present",
            )
        ]
    changes = []
    if _identities(before) != _identities(after):
        same = _members(before) == _members(after)
        changes.append(
            Change(
                name,
                "members",
                _members(before),
                _members(after) + (" (joined anew)" if same else ""),
            )
        )
    elif before.members != after.members:
        changes.append(Change(name, "members", *_assignments(before, after)))
    for where in sorted({*before.committed, *after.committed}):
        old, new = before.committed.get(where), after.committed.get(where)
        if old != new:
            changes.append(Change(name, f"{where[0]}[{where[1]}]", str(old), str(new)))
    if not changes and before.state != after.state:
        changes.append(Change(name, "state", before.state, after.state))
    return changes


def _identities(group: Group) -> set[tuple[str, str]]:
    return {(member.client_id, member.member_id) for member in group.members}


def _assignments(before: Group, after: Group) -> tuple[str, str]:
    """Return how many partitions each member holds: the group has spread them anew."""

    def told(group: Group) -> str:
        return ", ".join(f"{member.name} holds {len(member.assigned)}" for member in group.members)

    old, new = told(before), told(after)
    return old, new if new != old else f"{new}, others"


def _members(group: Group) -> str:
    return ", ".join(member.name for member in group.members) or "none"


@contextmanager
def watch_groups(cluster: Cluster, look: bool = True) -> Iterator[Callable[[], dict[str, Any]]]:
    """Look at the groups before and after a block.

    Yield what returns a receipt's summary, empty without a look.
    """
    if not look:
        yield dict
        return
    guard = Guard(cluster, most=MOST_GROUPS)
    guard.start()  # a read goes on without a look at the groups
    try:
        yield guard.summary
    finally:
        guard.stop()
