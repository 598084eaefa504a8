"""Commands about consumer groups and who may do what: groups, offsets, lag, acl."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from labkit.cli.common import (
    INCOMPLETE,
    OK,
    Commands,
    command,
    json_option,
    names_command,
    open_lab,
    profile_options,
    stop_event,
    table_command,
)
from labkit.cli.terminal import out, print_table, say
from labkit.errors import UsageError
from labkit.options import Parser

if TYPE_CHECKING:
    from labkit.groups.lag import GroupVerdict, Judged

_SHOWN = ["group", "topic", "partition", "verdict", "lag", "behind_s", "read_per_s", "written_per_s", "eta_s", "member"]
_CHECK = (
    "exit with 3 when a group is slow, stalled, stopped or rewound, its topic was made again, or one that is named "
    "has a partition that cannot be looked at or has records and no commit, or no partition at all"
)
_PATIENCE = (
    "how long commits may stand still: a little more than the consumers wait between two "
    "(default: 5.5s; 65s for sinks that commit each minute)"
)
_FEW = 10  # groups that each have a line at each look


def register(commands: Commands) -> None:
    """Add the family's commands."""
    _group_commands(commands)
    table_command(commands, "offsets", lambda lab: lab.offsets(), "list each group's offsets and lag")
    _lag_command(commands)
    acl = command(commands, "acl", _acl, "print what an administrator must grant for a lab")
    acl.add_argument("--principal", default="User:alice", help="such as User:alice")
    roles = ("lab", "indexer", "extractor")
    acl.add_argument("--role", choices=roles, default="lab", help="for `labkit index`, `labkit extract` (default: lab)")
    acl.add_argument("--topic", help="the topic, or a prefix: 'irc*' (default: all; the extractor must name it)")
    acl.add_argument("--indices", default="irc*", help="the indices it may read or write (default: irc*)")
    formats = ("kafka-acls", "terraform", "elasticsearch-role")
    acl.add_argument("--format", choices=formats, help="only this (default: the commands, and how to set the role)")


def _group_commands(commands: Commands) -> None:
    groups = table_command(commands, "groups", lambda lab: lab.groups(), "list the consumer groups, or change one")
    kinds = groups.add_subparsers(dest="kind", metavar="PATTERN… | reset | delete", parser_class=Parser)
    text = "list the groups; `labkit groups PATTERN…` does it too"
    listed = names_command(kinds, "list", lambda lab, *patterns: lab.groups(*patterns), text, "indexer.*")
    groups.implied = "list"
    reset = command(kinds, "reset", _reset, "move the commits of a group without members")
    reset.add_argument("group", metavar="GROUP")
    reset.add_argument("--topic", required=True)
    reset.add_argument("--to", required=True, metavar="WHERE", help="earliest, latest, a time (UTC), or 0:100,1:250")
    reset.add_argument("--execute", "--yes", action="store_true", help="do it; without it the plan is shown")
    reset.add_argument("--i-own-this-group", action="store_true", help="also a group that is not named labkit.*")
    delete = command(kinds, "delete", _delete, "delete a group named labkit.* with its commits")
    delete.add_argument("group", metavar="GROUP")
    for one in (listed, *(json_option(profile_options(changing, "lab")) for changing in (reset, delete))):
        for option in one._actions:
            if option.dest in ("profile", "role", "json"):  # what was given before the word counts, too
                option.default = argparse.SUPPRESS


def _reset(options: argparse.Namespace) -> int:
    text = options.to
    to = _offsets(text) if re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text) else text
    found = open_lab(options).reset(
        options.group, options.topic, to, execute=options.execute, i_own_this_group=options.i_own_this_group
    )
    print_table(found, options)
    say(f"{options.group} is reset" if options.execute else "nothing was changed: --execute does it")
    return OK


def _offsets(text: str) -> dict[int, int]:
    pairs = [one.split(":") for one in text.split(",")]
    found = {int(partition): int(offset) for partition, offset in pairs}
    if len(found) < len(pairs):
        raise UsageError(f"{text!r} names a partition twice", hint="write such as 0:100,1:250")
    return found


def _delete(options: argparse.Namespace) -> int:
    open_lab(options).delete_group(options.group)
    out(json.dumps([options.group]) if options.json else f"deleted {options.group}")
    return OK


def _lag_command(commands: Commands) -> None:
    lag = command(commands, "lag", _lag, "look at groups several times and tell what their consumers do")
    json_option(profile_options(lag, "lab"))
    lag.add_argument("groups", nargs="*", metavar="GROUP", help="default: all")
    lag.add_argument("--samples", type=int, help="how many looks (default: 5; with --watch: until it is stopped)")
    lag.add_argument("--every", metavar="TIME", help="time between two looks (default: 2s; with --watch: 10s)")
    lag.add_argument("--patience", metavar="TIME", default="5.5s", help=_PATIENCE)
    lag.add_argument("--record", metavar="FOLDER", help="append the looks to a history of Parquet files")
    how = lag.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="go on until it is stopped")
    how.add_argument("--check", action="store_true", help=_CHECK)
    lag.add_argument("--max-lag", type=int, metavar="N", help="with --check: also when a group's lag is above N")


def _lag(options: argparse.Namespace) -> int:
    if options.max_lag is not None and not options.check:
        raise UsageError("--max-lag goes with --check", hint="labkit lag --check GROUP --max-lag 1000")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples {options.samples}", hint="how many looks? 3 or more for a verdict")
    return _watch(options) if options.watch else _look(options)


def _look(options: argparse.Namespace) -> int:
    found = open_lab(options).lag(
        options.groups or None, samples=options.samples or 5, every=options.every or "2s", record=options.record,
        patience=options.patience, on_interrupt="keep",
    )  # fmt: skip
    verdicts = _verdicts(found, options.groups)
    if options.check:
        return _check(verdicts, options)
    if options.json:
        print_table(found, options)
        return OK
    shown = [name for name in _SHOWN if name != "group" or found["group"].nunique() > 1]
    print_table(found[shown], options)
    for one in verdicts:
        out(one)
    if found.attrs.get("interrupted"):
        say("interrupted: judged by what was seen until then")
    return OK


def _verdicts(found: Any, named: list[str]) -> list[GroupVerdict]:
    from labkit.groups.lag import Judged, judge_groups

    names = [name for name in Judged.__slots__ if name in found]  # type: ignore[attr-defined]
    rows = found[names].astype(object).where(found[names].notna(), None)
    judged = (Judged(**dict(zip(names, row, strict=True))) for row in rows.itertuples(index=False))
    return judge_groups(judged, named)


def _check(verdicts: list[GroupVerdict], options: argparse.Namespace) -> int:
    """Print one line per group, the worst first; 3 when somebody should look at one."""
    bad = [one for one in verdicts if _alarming(one, options)]
    if options.json:
        out(json.dumps([{**_plain(one), "alarm": one in bad} for one in verdicts], indent=2))
    else:
        for one in [*bad, *(one for one in verdicts if one not in bad)]:
            out(f"{'ALARM' if one in bad else 'ok   '} {one}")
        if not verdicts:
            out("none")
    return INCOMPLETE if bad else OK


def _alarming(one: GroupVerdict, options: argparse.Namespace) -> bool:
    """Tell whether a group is bad or beyond the limit, its topic made again, or, being named, could not be seen."""
    from labkit.groups.lag import BAD

    limit, blind = options.max_lag, (one.unseen or one.uncommitted) and one.group in options.groups
    over = limit is not None and one.verdict != "idle" and (one.lag is None or one.lag > limit)
    return one.verdict in BAD or one.remade or blind or over


def _plain(one: GroupVerdict) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("group", "verdict", "why", "partitions", "lag", "unknown")}


def _watch(options: argparse.Namespace) -> int:
    from labkit.groups import sampling
    from labkit.groups.history import History
    from labkit.times import length_ms

    lab, stop = open_lab(options), stop_event()
    sampler = sampling.Sampler(lab.cluster, options.groups or None)
    every_s = sampling.every_seconds(options.every or "10s")
    keep = History(options.record).append if options.record else lambda _: None
    sampler.check()
    looks = sampling.watch(
        sampler, every_s, stop.is_set, keep=keep, away=lambda error: say(error.message),
        patience_s=length_ms(options.patience) / 1000,
    )  # fmt: skip
    before: dict[str, str] = {}
    for count, judged in enumerate(looks, 1):
        before = _print_look(judged, before, options)
        if options.samples and count >= options.samples:
            break
    return OK


def _print_look(judged: list[Judged], before: dict[str, str], options: argparse.Namespace) -> dict[str, str]:
    """Print a line for each group; of many groups, for those whose verdict is another than before."""
    from labkit.groups.lag import judge_groups
    from labkit.times import iso, now_ms

    verdicts, now = judge_groups(judged, options.groups), (iso(now_ms()) or "")[:19] + "Z"
    after = {one.group: one.verdict for one in verdicts}
    if options.json:
        for one in verdicts:
            out(json.dumps({"at": now, **_plain(one)}))
        return after
    if len(verdicts) > _FEW:
        kinds = sorted(set(after.values()))
        counts = ", ".join(f"{sum(verdict == kind for verdict in after.values())} {kind}" for kind in kinds)
        out(f"{now}  {len(verdicts)} groups: {counts}")
        verdicts = [one for one in verdicts if before and before.get(one.group) != one.verdict]
    for one in verdicts:
        out(f"{now}  {one}")
    if not after:
        out(f"{now}  no group")
    return after


def _acl(options: argparse.Namespace) -> None:
    from labkit.acl import recipe

    out(
        recipe(
            options.principal, role=options.role, topic=options.topic, indices=options.indices, form=options.format
        )
    )  # fmt: skip
